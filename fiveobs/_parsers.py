"""Turn the text of an environment variable, or a Python value, into a setting's value.

Reads nothing but its arguments. Each parser takes ``str`` (from the environment) or a Python value
(from ``configure()``) and raises `UnusableError` saying what would be valid. Safe in any thread.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

__all__ = [
    "UNSET",
    "Parser",
    "UnusableError",
    "boolean",
    "choice",
    "duration",
    "endpoint",
    "exporter",
    "fsync",
    "headers",
    "host",
    "instances",
    "level",
    "number",
    "otlp_protocol",
    "pairs",
    "path",
    "patterns",
    "sentry_dsn",
    "sentry_name",
    "size",
    "text",
    "whole",
    "words",
]

#: Takes text or a Python value, gives the setting's value or raises `UnusableError`.
Parser = Callable[[Any], Any]

#: Stands where ``None`` would be a value.
UNSET: Final = object()

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS_BYTES: Final = {
    "": 1,
    "b": 1,
    **{f"{unit}b": 1000**power for power, unit in enumerate("kmgt", start=1)},
    **{f"{unit}ib": 1024**power for power, unit in enumerate("kmgt", start=1)},
    **{unit: 1024**power for power, unit in enumerate("kmgt", start=1)},
}
_QUANTITY: Final = re.compile(r"(\d{1,18}(?:\.\d{0,9})?|\.\d{1,9})\s*([A-Za-z]*)")
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
#: What may name an HTTP header (RFC 9110, section 5.6.2).
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: 366 days: above that `threading` waits overflow on some systems.
_LONGEST_S: Final = 366 * 86400.0


class UnusableError(ValueError):
    """A value cannot be used.

    Args:
        valid: What would be valid, as the end of the sentence "use …".
        instead: What to go on with where nothing may be raised; `UNSET` means the default.
        blame: The name and the value at fault, where it is another variable than the one read.
    """

    def __init__(
        self, valid: str, *, instead: object = UNSET, blame: tuple[str, str] | None = None
    ) -> None:
        super().__init__(valid)
        self.valid = valid
        self.instead = instead
        self.blame = blame


def text(value: Any) -> str:
    """Any non-empty text without line breaks."""
    if isinstance(value, str) and value.strip() and not re.search(r"[\r\n\0]", value.strip()):
        return value.strip()
    raise UnusableError("text on one line")


def identifier(value: Any) -> str:
    """An id that stands in URLs: 1 to 64 letters, digits, dots, underscores and hyphens."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value.strip()):
        return value.strip()
    raise UnusableError("1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'")


def sentry_name(longest: int, forbidden: str, *words: str) -> Parser:
    """A text that Sentry files events under; what it would discard is refused here.

    Source: Sentry's own validator (relay), for environments and releases.

    Args:
        longest: Most characters.
        forbidden: Characters that may not be in it, beside control characters.
        words: Texts that mean nothing to Sentry.
    """
    valid = f"at most {longest} characters without {' '.join(forbidden)} or line breaks"

    def parse(value: Any) -> str:
        name = text(value)
        if len(name) > longest or name.lower() in words or not name.isprintable():
            raise UnusableError(valid)
        if any(char in name for char in forbidden):
            raise UnusableError(valid)
        return name

    return parse


def boolean(value: Any) -> bool:
    """``true`` or ``false``, and the usual other words for them."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise UnusableError("true or false (also 1/0, yes/no, on/off)")
    return word in _TRUE


def choice(*allowed: str, aliases: Mapping[str, str] | None = None) -> Parser:
    """One of a few words, in upper or lower case."""

    def parse(value: Any) -> str:
        word = str(value).strip().lower()
        word = (aliases or {}).get(word, word)
        if word not in allowed:
            raise UnusableError("one of " + ", ".join(allowed))
        return word

    return parse


#: A log level by name.
level: Final = choice("debug", "info", "warning", "error", "critical", aliases={"warn": "warning"})


def whole(least: int, most: int | None = None) -> Parser:
    """A whole number within bounds."""
    valid = f"a whole number from {least}" + ("" if most is None else f" to {most}")

    def parse(value: Any) -> int:
        if isinstance(value, (bool, float)) or not re.fullmatch(r"[+-]?\d{1,18}", str(value)):
            raise UnusableError(valid)
        result = int(value)
        if result < least or (most is not None and result > most):
            raise UnusableError(valid)
        return result

    return parse


def number(least: float, most: float | None = None) -> Parser:
    """A finite number within bounds."""
    valid = f"a number of at least {least:g}" if most is None else f"a number {least:g} to {most:g}"

    def parse(value: Any) -> float:
        try:
            result = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            raise UnusableError(valid) from None
        if not math.isfinite(result) or result < least or (most is not None and result > most):
            raise UnusableError(valid)
        return result

    return parse


def duration(least_s: float, *, plain_unit_s: float = 1.0) -> Parser:
    """A length of time in seconds: ``30s``, ``500ms``, ``2m``, or a plain number.

    Args:
        least_s: The shortest that is accepted.
        plain_unit_s: What a number without a unit counts in: 1.0 for seconds, 0.001 for
            milliseconds.
    """
    plain = "seconds" if plain_unit_s == 1.0 else "milliseconds"
    valid = f"a duration of at least {least_s:g}s, such as 30s, 500ms, 2m or a number of {plain}"

    def parse(value: Any) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            result = float(value) * plain_unit_s if abs(value) < _LONGEST_S * 1000 else math.inf
        else:
            match = _QUANTITY.fullmatch(str(value).strip())
            unit = match[2].lower() if match else "?"
            if match is None or (unit and unit not in _UNITS_S):
                raise UnusableError(valid)
            result = float(match[1]) * (_UNITS_S[unit] if unit else plain_unit_s)
        if not least_s <= result <= _LONGEST_S:
            raise UnusableError(valid)
        return result

    return parse


def fsync(value: Any) -> float:
    """Seconds between two fsyncs: ``never`` is infinity, ``always`` is 0.0."""
    word = str(value).strip().lower()
    if word in {"never", "inf"}:
        return math.inf
    if word == "always":
        return 0.0
    try:
        result: float = duration(0.0)(value)
    except UnusableError:
        raise UnusableError("never, always, or a duration such as 1s") from None
    return result


def size(least_bytes: int) -> Parser:
    """A number of bytes: ``16MiB`` and ``16M`` are binary, ``64MB`` is decimal."""
    valid = f"a size of at least {least_bytes} bytes, such as 16MiB, 64MB or 1048576"

    def parse(value: Any) -> int:
        match = None if isinstance(value, bool) else _QUANTITY.fullmatch(str(value).strip())
        if match is None or match[2].lower() not in _UNITS_BYTES:
            raise UnusableError(valid)
        result = int(float(match[1]) * _UNITS_BYTES[match[2].lower()])
        if not least_bytes <= result < 2**60:
            raise UnusableError(valid)
        return result

    return parse


def path(value: Any) -> Path:
    """An absolute path; ``~`` is the user's home directory."""
    if not isinstance(value, (str, Path)) or "\0" in str(value):
        raise UnusableError("a path")
    try:
        return Path(value).expanduser().absolute()
    except (RuntimeError, OSError):
        raise UnusableError("a path that does not need a home directory") from None


def host(value: Any) -> str:
    """A host name or address without scheme, path or port."""
    name = str(value).strip()
    if re.search(r"[\s/@\0]", name) or not name or (name.count(":") == 1):
        raise UnusableError("a host name or address alone; the port is a setting of its own")
    return name.removeprefix("[").removesuffix("]")


def _items(value: Any, separator: str, valid: str) -> list[str]:
    if isinstance(value, str):
        return [item.strip() for item in re.split(separator, value) if item.strip()]
    if isinstance(value, (list, tuple, set, frozenset)):  # others may iterate without end
        items = list(value)
        if all(isinstance(item, str) and item for item in items):
            return items
    raise UnusableError(valid)


def words(value: Any) -> tuple[str, ...]:
    """A comma-separated list, or a collection of text."""
    return tuple(_items(value, ",", "a comma-separated list of names"))


def patterns(value: Any) -> tuple[str, ...]:
    """Regular expressions on lines of their own or separated by ``;;``."""
    valid = "Python regular expressions that match some text, one a line or separated by ;;"
    items = _items(value, r"\n|;;", valid)
    good = tuple(item for item in items if _is_pattern(item))
    if len(good) < len(items):
        bad = next(item for item in items if item not in good)
        raise UnusableError(f"{valid}; {bad!r} is none", instead=good)
    return good


def _is_pattern(item: str) -> bool:
    try:
        return re.compile(item).match("") is None
    except (re.error, RecursionError, OverflowError):
        return False


def pairs(value: Any) -> dict[str, str]:
    """``key=value`` pairs separated by commas, percent-encoded, as OpenTelemetry writes them."""
    if isinstance(value, Mapping):
        return {str(key): str(item) for key, item in value.items()}
    if not isinstance(value, str):
        raise UnusableError("a mapping, or key=value pairs separated by commas")
    found: dict[str, str] = {}
    broken = 0
    for item in filter(None, (part.strip() for part in value.split(","))):
        key, equals, content = (part.strip() for part in item.partition("="))
        if key and equals:
            found[unquote(key)] = unquote(content)
        else:
            broken += 1
    if broken:
        raise UnusableError("key=value pairs separated by commas", instead=found)
    return found


def headers(value: Any) -> dict[str, str]:
    """Like `pairs`, for HTTP headers; names become lower case."""
    valid = "name=value headers separated by commas, percent-encoded, without line breaks"
    try:
        found = pairs(value)
        complete = True
    except UnusableError as error:
        found = error.instead if isinstance(error.instead, dict) else {}
        complete = False
    good = {
        name.lower(): content
        for name, content in found.items()
        if _HEADER_NAME.fullmatch(name) and not re.search(r"[\r\n\0]", content)
    }
    if not complete or len(good) < len(found):
        raise UnusableError(valid, instead=good)
    return good


def _split_url(value: Any, valid: str) -> SplitResult:
    url = str(value).strip()
    if re.search(r"[\s\0]", url):
        raise UnusableError(valid)
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable:
        raise UnusableError(valid)
    return parts


def endpoint(value: Any) -> str:
    """A URL with ``http`` or ``https``; without a scheme it is taken for ``http``."""
    return _split_url(value, "a URL such as http://localhost:4318").geturl()


def otlp_protocol(value: Any) -> str:
    """``grpc`` or ``http/protobuf``; ``http/json`` is not spoken."""
    word = str(value).strip().lower()
    if word in {"grpc", "http/protobuf"}:
        return word
    instead = "http/protobuf" if word.startswith("http") else UNSET
    raise UnusableError("grpc or http/protobuf", instead=instead)


def exporter(value: Any) -> str:
    """``otlp`` or ``none``; a list is taken when ``otlp`` is in it."""
    names = {item.lower() for item in _items(value, ",", "otlp or none")}
    if "otlp" in names:
        return "otlp"
    if names == {"none"}:
        return "none"
    # Whoever names another exporter did not ask for OTLP, so going on means sending nothing.
    raise UnusableError("otlp or none", instead="none")


def sentry_dsn(value: Any) -> str:
    """A Sentry DSN, ``https://<key>@<host>/<project number>``."""
    valid = "https://<key>@<host>/<project number>, from the project's settings in Sentry"
    if "://" not in str(value):
        raise UnusableError(valid)
    parts = _split_url(value, valid)
    if not parts.username or not re.fullmatch(r"\d+", parts.path.rpartition("/")[2]):
        raise UnusableError(valid)
    return parts.geturl()


def instances(value: Any) -> tuple[Any, ...]:
    """A list of objects (not of classes, and not one object alone)."""
    if isinstance(value, (list, tuple)) and not any(
        isinstance(item, (type, str)) for item in value
    ):
        return tuple(value)
    raise UnusableError("a list of Track instances")
