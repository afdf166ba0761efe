"""What a secret looks like: by the name it goes under, and by its own shape.

Pure functions over text; no state, safe in any thread and after a fork. Every pattern is bounded or
anchored to the start of a run of characters, so that none takes more than linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Final

__all__ = [
    "REDACTED",
    "KeyKind",
    "find_pairs",
    "keep_quotes",
    "key_kind",
    "key_words",
    "redact",
    "suspicious",
]

#: Stands where a secret was.
REDACTED: Final = "[redacted]"


class KeyKind(IntEnum):
    """What a name says about the value under it."""

    #: Nothing.
    PLAIN = 0
    #: The value is a secret, whatever it looks like.
    SECRET = 1
    #: The value is an id: digits in it are no card number.
    ID = 2


_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_SECRET_WORDS: Final = frozenset(
    (
        *("password", "passwords", "passwd", "pwd", "passphrase", "passcode", "secret", "secrets"),
        *("token", "apikey", "apikeys", "authorization", "cookie", "cookies", "dsn", "credential"),
        *("credentials", "jwt", "cvv", "cvc", "ssn", "otp", "privatekey", "accesstoken"),
        *("authtoken", "refreshtoken", "sessiontoken", "secretkey", "accesskey", "clientsecret"),
    )
)
#: A key that ends in two of these words, such as ``api_key``.
_SECRET_KEYS: Final = frozenset(
    (
        *("api", "private", "secret", "access", "signing"),
        *("encryption", "master", "shared", "auth", "account"),
    )
)
_SECRET_PAIRS: Final = frozenset(
    {("card", "number"), ("credit", "card"), ("pass", "word"), ("pass", "phrase"), ("pass", "code")}
    | {(word, key) for word in _SECRET_KEYS for key in ("key", "keys")}
)
#: Words after which a name means the same: ``password_hash``, ``authorization_header``.
_TRAILING: Final = frozenset(
    (
        *("value", "hash", "hashed", "header", "text", "string", "str", "raw", "plain"),
        *("plaintext", "encoded", "base64", "b64", "json", "confirmation", "confirm"),
        *("repeat", "again", "old", "new", "current"),
    )
)
_ID_WORDS: Final = frozenset(
    ("id", "ids", "uuid", "uuids", "guid", "key", "sha", "hash", "digest", "trace", "span")
)


def key_words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case: ``dbPassword_2`` gives ``db password 2``."""
    return tuple(word.lower() for word in _WORD.findall(name))


def key_kind(name: str, extra: Iterable[tuple[str, ...]] = ()) -> KeyKind:
    """What a name says about the value under it.

    Args:
        name: The name, in any of the usual spellings.
        extra: Words in a row that make any name a secret's.
    """
    words = key_words(name)
    for phrase in extra:
        width = len(phrase)
        if any(words[at : at + width] == phrase for at in range(len(words) - width + 1)):
            return KeyKind.SECRET
    end = len(words)
    while end > 1 and (words[end - 1] in _TRAILING or words[end - 1].isdigit()):
        end -= 1
    if end and (words[end - 1] in _SECRET_WORDS or words[end - 2 : end] in _SECRET_PAIRS):
        return KeyKind.SECRET
    return KeyKind.ID if words and words[-1] in _ID_WORDS else KeyKind.PLAIN


_NAMES: Final = (
    r"(?:(?i:passw(?:or)?d|passphrase|secret|api[ _-]?key|authorization|credentials?"
    r"|(?:private|access|signing|encryption|master|shared|auth|account)[ _-]?key)"
    r"|(?<![A-Za-z])(?i:token|dsn|pwd|cookie|cvv|cvc|ssn)|(?<=[a-z])(?:Token|Cookie|Dsn|DSN))"
)
#: Between a name and its value: quotes, an equals sign or a colon.
_JOINT: Final = r"\\{0,3}[\"']?\s{0,8}(?::=|=>|[:=])\s{0,8}"
_VALUE: Final = (
    r"(?:\\{0,3}\"[^\"\r\n]{0,4096}\"?|\\{0,3}'[^'\r\n]{0,4096}'?"
    r"|(?:(?i:bearer|basic|token|digest)[ \t]+)?[^\s,;&\"'<>\[\](){}][^\s,;&\"'<>\]})]{0,4095})"
)


def find_pairs(names: str) -> re.Pattern[str]:
    """The pattern of ``name=value`` for names that match a regular expression."""
    return re.compile(rf"({names}{_JOINT})(?!\[redacted\])({_VALUE})")


def keep_quotes(match: re.Match[str]) -> str:
    """The replacement for `find_pairs`: the name stays, and quotes stay in pairs."""
    name, value = match[1], match[2]
    bare = value.lstrip("\\")
    slashes = value[: len(value) - len(bare)]
    quote = bare[:1] if bare[:1] in {'"', "'"} else ""
    if not quote:
        return f"{name}{REDACTED}"
    if bare[1:].startswith(REDACTED):
        return match[0]
    closing = slashes + quote if len(bare) > 1 and bare.endswith(quote) else ""
    return f"{name}{slashes}{quote}{REDACTED}{closing}"


_LUHN_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_ID_BEFORE: Final = re.compile(
    r"(?i)(?:id|ids|uuid|span|trace|sha|hash|key|digest)\\?[\"']?\s{0,4}[:=#]?\s{0,4}\\?[\"']?$"
)


def _passes_luhn(digits: str) -> bool:
    total = sum(int(digit) for digit in digits[-1::-2])
    total += sum(_LUHN_DOUBLED[int(digit)] for digit in digits[-2::-2])
    return total % 10 == 0


def _mask_card(match: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", match[0])
    if not _passes_luhn(digits):
        return match[0]
    before = match.string[max(0, match.start() - 16) : match.start()]
    return match[0] if _ID_BEFORE.search(before) else REDACTED


#: Card numbers: in groups of four (or as American Express groups them), or in one run that begins
#: and is as long as an issuer's. Digits that belong to a longer run of letters, digits, dots or
#: dashes are part of an id.
_CARD: Final = re.compile(
    r"(?<![\w.\-])(?:"
    r"[2-6][0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?"
    r"|3[47][0-9]{2}([ -])[0-9]{6}\2[0-9]{5}"
    r"|4[0-9]{12}(?:[0-9]{3}){0,2}"
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9][0-9]|27[01][0-9]|2720)[0-9]{12}"
    r"|3[47][0-9]{13}|3(?:0[0-5]|[689][0-9])[0-9]{11}"
    r"|(?:6011|64[4-9][0-9]|65[0-9][0-9]|62[0-9][0-9]|35[0-9][0-9])[0-9]{12}(?:[0-9]{3})?"
    r")(?![\w\-]|\.[0-9])"
)

#: Tokens that show by their beginning whose they are.
_VENDOR: Final = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"sk-(?:(?:ant|proj|svcacct|admin|or|live|test)-[\w-]{16,}|[A-Za-z0-9_]{16,}[\w-]*)"
    r"|[srp]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|xox[a-z]-[A-Za-z0-9-]{8,}|AIza[\w-]{30,}|ya29\.[\w-]{20,}|hf_[A-Za-z0-9]{20,}"
    r"|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{30,}|dop_v1_[a-f0-9]{40,}"
    r"|SG\.[\w-]{16,128}\.[\w-]{16,}|fiveobs_[0-9a-f]{16}_[\w-]{20,})"
)

#: A test that is cheap and misses nothing, the pattern, and what to put in its place.
_Test = Callable[[str, str], bool]
_Rule = tuple[_Test, re.Pattern[str], str | Callable[[re.Match[str]], str]]


def _has(*parts: str) -> _Test:
    def test(text: str, _lower: str) -> bool:
        for part in parts:  # noqa: SIM110 - any() takes twice as long, and this runs on every text
            if part in text:
                return True
        return False

    return test


def _has_lower(*parts: str) -> _Test:
    test = _has(*parts)
    return lambda _text, lower: test(lower, lower)


_RULES: Final[tuple[_Rule, ...]] = (
    (
        _has("PRIVATE KEY"),
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r"(?s:.*?)(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
        ),
        REDACTED,
    ),
    (
        _has("@"),
        re.compile(r"(?i)(?<=http)(s?://)(?!\[redacted\])[^\s/?#\"'<>]{1,512}@"),
        rf"\1{REDACTED}@",
    ),
    (
        _has("@"),
        re.compile(
            r"(://[^\s/?#:@\"'<>\[]{0,256}:)(?!\d{1,5}(?:[/?#]|$))(?!\[redacted\]@)"
            r"[^\s@\"'<>]{1,256}@"
        ),
        rf"\1{REDACTED}@",
    ),
    (
        _has_lower("cookie"),
        re.compile(
            r"(?i)(\b(?:set-)?cookie2?[ \t]?:[ \t]{0,8})(?!\[redacted\])[^\s\"'][^\r\n\"']*"
        ),
        rf"\1{REDACTED}",
    ),
    (
        _has_lower(
            *("passw", "passphrase", "secret", "token", "key", "authorization", "credential"),
            *("dsn", "pwd", "cookie", "cvv", "cvc", "ssn"),
        ),
        find_pairs(_NAMES),
        keep_quotes,
    ),
    (
        _has("--"),
        re.compile(
            r"(?i)((?<![\w-])--[\w-]{0,32}?(?:passw(?:or)?d|secret|token|api-?key)[ \t]{1,4})"
            r"(?![\s-]|\[redacted\])[^\s]{1,1024}"
        ),
        rf"\1{REDACTED}",
    ),
    (
        _has_lower("bearer"),
        re.compile(r"(?i)\b(bearer[ \t]{1,4})[A-Za-z0-9._~+/=-]{6,}"),
        rf"\1{REDACTED}",
    ),
    (
        _has_lower("basic"),
        # Words follow "basic" too; what credentials encode to has more than small letters.
        re.compile(r"\b((?i:basic)[ \t]{1,4})(?=[a-z/]{0,64}[A-Z0-9+=])[A-Za-z0-9+/=_-]{8,}"),
        rf"\1{REDACTED}",
    ),
    (
        _has("eyJ"),
        re.compile(
            r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,3}"
        ),
        REDACTED,
    ),
    (
        _has("AKIA", "ASIA", "AGPA", "AIDA", "AROA", "ANPA", "ANVA", "A3T"),
        re.compile(
            r"(?<![A-Za-z0-9])(?:A(?:KIA|SIA|GPA|IDA|ROA|NPA|NVA)|A3T[A-Z0-9])[A-Z0-9]{16}"
            r"(?![A-Za-z0-9])"
        ),
        REDACTED,
    ),
    (
        _has(
            *("sk-", "k_live_", "k_test_", "whsec_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
            *("github_pat_", "glpat-", "xox", "AIza", "ya29.", "hf_", "npm_", "pypi-", "dop_v1_"),
            *("SG.", "fiveobs_"),
        ),
        _VENDOR,
        REDACTED,
    ),
)
_DIGITS: Final = re.compile(r"[0-9][0-9 \-]{11}[0-9]")
#: A run that is as long as a token.
_DENSE: Final = re.compile(r"[0-9A-Za-z_\-.]{13}")
#: How the tokens begin that `_RULES` finds without a name, a colon or an equals sign before them.
_BEGINNINGS: Final = re.compile(
    r"(?<![A-Za-z0-9_-])(?:sk-|[srp]k_[lt]|gh[pousr]_|gith|glpa|whse|xox|AIza|ya29|hf_|npm_|pypi-"
    r"|dop_|SG\.|fiveobs_[0-9a-f]{16}_|eyJ|A[KSGIRN3][A-Z0-9])"
)
#: Names of schemes of authorization.
_AUTH: Final = re.compile(r"(?<=[Bb])(?:earer|EARER|asic|ASIC)[ \t]")
#: Below this many characters only ``name=value`` can be a secret.
_DENSE_CHARS: Final = 13


def suspicious(text: str) -> bool:
    """Whether a short string is worth a closer look; most are not, and this is quick to say."""
    if ":" in text or "=" in text or "--" in text:
        return True
    if len(text) < _DENSE_CHARS:
        return False
    if _DENSE.search(text) and _BEGINNINGS.search(text):
        return True
    return bool(_DIGITS.search(text) or (" " in text and _AUTH.search(text)))


def redact(text: str, *, cards: bool = True) -> str:
    """A string without its secrets.

    Args:
        text: At most a few ten thousand characters; the time grows with them.
        cards: ``False`` leaves digits alone, for a value that is known to be an id.
    """
    lower = text.lower()
    for worth, pattern, instead in _RULES:
        if worth(text, lower):
            text = pattern.sub(instead, text)
    if cards and _DIGITS.search(text):
        text = _CARD.sub(_mask_card, text)
    return text
