"""The one walk that makes any value fit for JSON and takes the secrets out of it.

Reads whatever a job hands over, writes nothing, and raises nothing: jobs must not fail over what
they log. A `Redactor` may be shared between threads and is whole after a fork; the only thing it
changes is a bounded cache of names.
"""

from __future__ import annotations

import math
import numbers
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import Any, Final, TypeAlias
from uuid import UUID

from fiveobs._secrets import (
    REDACTED,
    KeyKind,
    find_pairs,
    keep_quotes,
    key_kind,
    key_words,
    redact,
    suspicious,
)

__all__ = ["REDACTED", "JsonValue", "Redactor"]

#: What JSON can hold.
JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

#: Cleans a value of some type at some depth.
_Handler: TypeAlias = "Callable[[_Walk, Any, int], JsonValue]"

#: Characters that a string keeps.
MAX_TEXT_CHARS: Final = 16 * 1024
#: Characters that one value keeps in all its longer strings together, so that cleaning has an end.
MAX_TOTAL_CHARS: Final = 256 * 1024
#: Characters that an object's repr keeps.
MAX_REPR_CHARS: Final = 1024
#: Items that a container keeps.
MAX_ITEMS: Final = 256
#: Containers within containers that are kept.
MAX_DEPTH: Final = 8
#: Values that are looked at in all.
MAX_NODES: Final = 10_000

#: How far past a cut patterns still look, so that a secret across it does not lose its shape.
_SLACK_CHARS: Final = 512
#: Strings up to this length do not count towards `MAX_TOTAL_CHARS`.
_SHORT_CHARS: Final = 256
#: The shortest string that a pattern could change.
_MIN_SECRET_CHARS: Final = 6
_MAX_KEY_CHARS: Final = 256
_CACHED_NAMES: Final = 4096
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1
#: Above this, Python refuses to write an int as decimal digits (4,300 of them).
_DECIMAL_BITS: Final = 14_000
#: What a mapping that takes the short way may hold, and how much of it.
_ATOMS: Final = frozenset({str, int, float, bool, type(None)})
_FLAT_ITEMS: Final = 32
_CYCLE: Final = "<cycle>"
_TOO_DEEP: Final = "…[cut: nested too deep]"


class Redactor:
    """Makes values fit for JSON and takes secrets out of them.

    Args:
        keys: Further names whose values are secret, in any of the usual spellings.
        patterns: Further regular expressions whose matches are secret. They see at most about
            16 KiB at a time, but one that backtracks without bound is still slow.

    Raises:
        re.error: One of the patterns is not a regular expression.
    """

    def __init__(self, keys: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        phrases = [key_words(key) for key in keys]
        self._phrases = tuple(phrase for phrase in phrases if phrase)
        self._patterns = tuple(re.compile(pattern) for pattern in patterns)
        if self._phrases:
            names = "|".join(r"[\W_]?".join(map(re.escape, phrase)) for phrase in self._phrases)
            self._pairs: re.Pattern[str] | None = find_pairs(rf"(?<![A-Za-z])(?i:{names})")
        else:
            self._pairs = None
        self._names: dict[str, tuple[str, KeyKind]] = {}

    def clean(self, value: object) -> JsonValue:
        """Any value as JSON can hold it, without secrets; never raises an `Exception`."""
        kind = type(value)
        if kind is str:
            return self.text(value)  # type: ignore[arg-type]
        try:
            flat = self._flat(value) if type(value) is dict and len(value) <= _FLAT_ITEMS else None
            return _Walk(self).value(value, 1) if flat is None else flat
        except Exception:
            return _unprintable(value)

    def _flat(self, value: dict[Any, Any]) -> JsonValue:
        """The usual case in a third of the time: a few plain values; ``None`` if it is another."""
        out: dict[str, JsonValue] = {}
        names = self._names
        for key, item in value.items():
            kind = type(item)
            if type(key) is not str or kind not in _ATOMS:
                return None
            shown, meaning = names.get(key) or self._name(key)
            if meaning is KeyKind.SECRET:
                out[shown] = REDACTED
            elif kind is str:
                if len(item) > _SHORT_CHARS:
                    return None
                out[shown] = self._text(item, cards=not meaning)
            elif kind is int or kind is float:
                if not _INT_MIN <= item <= _INT_MAX:  # NaN is not within either
                    return None
                out[shown] = item
            else:
                out[shown] = item
        return out

    def text(self, value: str) -> str:
        """One string without secrets, cut at `MAX_TEXT_CHARS`; never raises an `Exception`."""
        try:
            return self._text(value if type(value) is str else str.__str__(value), cards=True)
        except Exception:
            return _unprintable(value)

    def _text(self, value: str, *, cards: bool, limit: int = MAX_TEXT_CHARS) -> str:
        size = len(value)
        if size > limit:
            return self._cut(value, cards=cards, limit=limit)
        if not value.isascii():
            value = _whole_characters(value)
        if size < _MIN_SECRET_CHARS:
            return value if not self._patterns else self._match_extra(value)
        if size > _SHORT_CHARS or suspicious(value):
            value = redact(value, cards=cards)
        if self._patterns or self._pairs:
            value = self._match_extra(value)
        return value

    def _cut(self, value: str, *, cards: bool, limit: int) -> str:
        head = value[: limit + _SLACK_CHARS]
        kept = self._text(head, cards=cards, limit=len(head))[:limit]
        return f"{kept}…[cut {len(value) - limit} characters]"

    def _match_extra(self, value: str) -> str:
        if self._pairs is not None:
            value = self._pairs.sub(keep_quotes, value)
        for pattern in self._patterns:
            value = pattern.sub(_instead, value)
        return value

    def _name(self, name: str) -> tuple[str, KeyKind]:
        """A mapping's key as it is shown, and what it says about the value."""
        found = self._names.get(name)
        if found is None:
            kind = key_kind(name[:_MAX_KEY_CHARS], self._phrases)
            found = self._text(name, cards=False, limit=_MAX_KEY_CHARS), kind
            if len(name) <= _MAX_KEY_CHARS:
                if len(self._names) >= _CACHED_NAMES:
                    self._names.clear()
                self._names[name] = found
        return found


class _Walk:
    """One value's cleaning: what is left of its budget, and the way down to where it is."""

    __slots__ = ("cards", "chars", "nodes", "path", "redactor")

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self.nodes = MAX_NODES
        self.chars = MAX_TOTAL_CHARS
        self.path: tuple[int, ...] = ()
        self.cards = True

    def value(self, value: Any, depth: int) -> JsonValue:
        self.nodes -= 1
        before = self.path
        try:
            handler = _HANDLERS.get(type(value)) or self._handler(type(value))
            return handler(self, value, depth)
        except Exception:
            self.path = before
            return _unprintable(value)

    def text(self, value: str, _depth: int = 0) -> str:
        size = len(value)
        if size <= _SHORT_CHARS:
            return self.redactor._text(value, cards=self.cards)
        limit = min(MAX_TEXT_CHARS, self.chars)
        self.chars -= min(size, limit)
        return self.redactor._text(value, cards=self.cards, limit=limit)

    def integer(self, value: int, _depth: int) -> JsonValue:
        if _INT_MIN <= value <= _INT_MAX:
            return value
        bits = value.bit_length()
        return str(value) if bits <= _DECIMAL_BITS else f"<integer of {bits} bits>"

    def real(self, value: float, _depth: int) -> JsonValue:
        if math.isfinite(value):
            return value
        if math.isnan(value):
            return "NaN"
        return "Infinity" if value > 0 else "-Infinity"

    def mapping(self, value: Any, depth: int) -> JsonValue:
        if issubclass(type(value), dict):
            # dict.items: a subclass may have replaced its own.
            return self._inside(value, dict.items(value), dict.__len__(value), depth, self._pairs)
        items = ((key, value[key]) for key in value)
        return self._inside(value, items, len(value), depth, self._pairs)

    def sequence(self, value: Any, depth: int) -> JsonValue:
        if type(value) is tuple and len(value) == 2 and self._names_secret(value[0]):
            return [self.value(value[0], depth), REDACTED]
        members, size = _members_of(value)
        return self._inside(value, members, size, depth, self._list)

    def _inside(
        self,
        value: object,
        items: Iterable[Any],
        size: int,
        depth: int,
        walk: Callable[[Iterable[Any], int, int], JsonValue],
    ) -> JsonValue:
        """Walk a container, unless it is too deep or within itself."""
        before = self.path
        if id(value) in before:
            return _CYCLE
        if depth > MAX_DEPTH:
            return _TOO_DEEP
        self.path = (*before, id(value))
        cleaned = walk(items, size, depth + 1)
        self.path = before
        return cleaned

    def _pairs(self, items: Iterable[tuple[Any, Any]], size: int, depth: int) -> JsonValue:
        out: dict[str, JsonValue] = {}
        names, seen = self.redactor._names, 0
        try:
            for key, value in islice(items, MAX_ITEMS):
                if self.nodes <= 0:
                    break
                seen += 1
                name = key if type(key) is str else self._key(key)
                shown, kind = names.get(name) or self.redactor._name(name)
                if not kind:
                    out[shown] = self.value(value, depth)
                else:
                    out[shown] = REDACTED if kind is KeyKind.SECRET else self._id(value, depth)
        except RuntimeError:  # another thread changed it meanwhile
            size = max(size, seen + 1)
        if size > seen:
            out["…"] = f"[cut {size - seen} items]"
        return out

    def _list(self, items: Iterable[Any], size: int, depth: int) -> JsonValue:
        out: list[JsonValue] = []
        try:
            for value in islice(items, MAX_ITEMS):
                if self.nodes <= 0:
                    break
                out.append(self.value(value, depth))
        except RuntimeError:  # another thread changed it meanwhile
            size = max(size, len(out) + 1)
        if size > len(out):
            out.append(f"…[cut {size - len(out)} items]")
        return out

    def _names_secret(self, name: object) -> bool:
        """Whether the first of a pair, as in a list of headers, names a secret."""
        return type(name) is str and self.redactor._name(name)[1] is KeyKind.SECRET

    def _id(self, value: Any, depth: int) -> JsonValue:
        """A value under the name of an id: digits in it are no card number."""
        before, self.cards = self.cards, False
        try:
            return self.value(value, depth)
        finally:
            self.cards = before

    def _key(self, key: Any) -> str:
        cleaned = self.value(key, MAX_DEPTH)
        if isinstance(cleaned, str):
            return cleaned
        return self.represent(key) if isinstance(cleaned, (list, dict)) else str(cleaned)

    def _handler(self, kind: type) -> _Handler:
        """How to treat a type that is not known exactly: by its class, which nobody can fake."""
        return next((handler for base, handler in _BY_CLASS if issubclass(kind, base)), _represent)

    def represent(self, value: object, _depth: int = 0) -> str:
        """An object's repr; never raises an `Exception`."""
        try:
            if hasattr(type(value), "shape") and hasattr(type(value), "dtype"):
                # Writing out an array may take long, and wait for a GPU.
                return self._represented(f"<{type(value).__name__} {value.shape!s}>")  # type: ignore[attr-defined]
            return self._represented(repr(value))
        except Exception:
            return _unprintable(value)

    def written(self, value: object, _depth: int) -> str:
        """An object's str; never raises an `Exception`."""
        try:
            return self._represented(str(value))
        except Exception:
            return _unprintable(value)

    def _represented(self, shown: str) -> str:
        plain = str.__str__(shown)
        return self.redactor._text(plain, cards=self.cards, limit=MAX_REPR_CHARS)


def _whole_characters(value: str) -> str:
    """A string without lone surrogates, which UTF-8 cannot hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _instead(match: re.Match[str]) -> str:
    return REDACTED if match[0] else ""


def _unprintable(value: object) -> str:
    try:
        name = str.__str__(type(value).__name__)[:100]
        return f"<unprintable {_whole_characters(name)}>"
    except Exception:  # its class is hostile as well
        return "<unprintable object>"


def _members_of(value: Any) -> tuple[Iterable[Any], int]:
    """The members of a collection and how many, past what a subclass may have replaced."""
    for base in (list, tuple, set, frozenset, deque):
        if issubclass(type(value), base):
            return base.__iter__(value), base.__len__(value)
    return iter(value), len(value)


def _represent(walk: _Walk, value: Any, _depth: int) -> JsonValue:
    return walk.represent(value)


def _same(_walk: _Walk, value: Any, _depth: int) -> JsonValue:
    return value  # type: ignore[no-any-return]


def _size_of(_walk: _Walk, value: Any, _depth: int) -> JsonValue:
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    return f"<{size} bytes>"


def _iso(_walk: _Walk, value: Any, _depth: int) -> JsonValue:
    return str(value.isoformat())


def _member(walk: _Walk, value: Any, depth: int) -> JsonValue:
    if depth > MAX_DEPTH:
        return _TOO_DEEP
    return walk.value(value._value_, depth + 1)


def _as_number(walk: _Walk, value: Any, depth: int) -> JsonValue:
    if issubclass(type(value), numbers.Integral):
        return walk.integer(int(value), depth)
    return walk.real(float(value), depth)


#: By exact type: nothing of the value's own runs.
_HANDLERS: Final[dict[type, _Handler]] = {
    type(None): _same,
    bool: _same,
    str: _Walk.text,
    int: _Walk.integer,
    float: _Walk.real,
    dict: _Walk.mapping,
    **dict.fromkeys(
        (list, tuple, set, frozenset, deque, type({}.keys()), type({}.values())), _Walk.sequence
    ),
    **dict.fromkeys((bytes, bytearray, memoryview), _size_of),
    **dict.fromkeys((datetime, date, time), _iso),
    **dict.fromkeys((UUID, Decimal, timedelta), _Walk.written),
}
#: By class, the first that fits; conversions go round what a subclass may have replaced.
_BY_CLASS: Final[tuple[tuple[Any, _Handler], ...]] = (
    (Enum, _member),
    (str, lambda walk, value, _depth: walk.text(str.__str__(value))),
    (int, lambda walk, value, depth: walk.integer(int.__int__(value), depth)),
    (float, lambda walk, value, depth: walk.real(float.__float__(value), depth)),
    (Mapping, _Walk.mapping),
    ((list, tuple, set, frozenset, deque), _Walk.sequence),
    ((bytes, bytearray), _size_of),
    ((datetime, date, time), _iso),
    ((UUID, Decimal, PurePath), _Walk.written),
    (numbers.Real, _as_number),
)
