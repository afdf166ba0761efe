"""How large a value is, where that is cheap to know: about what it takes as JSON."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import orjson

#: A value made of more parts than this is not measured: it might take long.
_MAX_PARTS = 200
#: A mapping of so few short values is encoded to measure it: that is quicker than looking at each.
_FEW = 20
_LONG = 1000
_SMALL = frozenset((int, float, bool, type(None)))
#: What ``true``, ``false`` and ``null`` take, about.
_WORD_BYTES = 4
#: Bits in a decimal digit, about.
_BITS_PER_DIGIT = 3.32


def size_of(value: object) -> int | None:
    """The size in bytes; ``None`` if it is not cheap to know. Never raises.

    Text and bytes count by their length, numbers by their digits, containers by their parts, and
    arrays and tensors by ``nbytes``. Nothing large is copied or encoded.
    """
    try:
        kind = type(value)
        if kind is tuple and len(value) == 1:  # type: ignore[arg-type]
            value = value[0]  # type: ignore[index]
            kind = type(value)
        if kind is str or kind is bytes:
            return len(value)  # type: ignore[arg-type]
        if kind is dict and len(value) <= _FEW:  # type: ignore[arg-type]
            for item in value.values():  # type: ignore[attr-defined]
                if type(item) not in _SMALL and (type(item) is not str or len(item) > _LONG):
                    break
            else:
                return len(orjson.dumps(value))
        return _sum(value)
    except Exception:  # a proxy without a target, a container that changes meanwhile, …
        return None


def _sum(value: Any) -> int | None:
    total, parts, waiting = 0, 0, [value]
    for item in waiting:  # it grows as containers are met
        kind = type(item)
        measure = _MEASURES.get(kind)
        if measure is not None:
            total += measure(item)
        elif kind in _CONTAINERS:
            parts += len(item)
            if parts > _MAX_PARTS:
                return None
            total += 4 * len(item) + 1
            waiting += chain.from_iterable(item.items()) if kind is dict else item
        else:
            size = getattr(item, "nbytes", None)
            if type(size) is not int:
                return None
            total += size
    return total


_CONTAINERS = frozenset((dict, list, tuple))
_MEASURES: dict[type, Callable[[Any], int]] = {
    str: len,
    bytes: len,
    int: lambda item: int(item.bit_length() / _BITS_PER_DIGIT) + 1,
    float: lambda item: len(repr(item)),
    bool: lambda item: _WORD_BYTES,
    type(None): lambda item: _WORD_BYTES,
}
