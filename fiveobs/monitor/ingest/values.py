"""Reads single values of a journal record: what cannot be used is not known, or refused.

A figure of a wrong type is left out (``None``), as the record's ``data`` is kept whole beside it; a
record without what every record must have is refused with ``ValueError`` or ``TypeError``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

__all__ = [
    "as_json",
    "beginning",
    "cut",
    "level_number",
    "name",
    "number",
    "to_us",
    "whole",
    "word",
]

#: The longest text that an index takes on PostgreSQL is about 2,700 bytes, four to a character.
MAX_NAME_LENGTH = 256
LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

_US = 1_000_000
_MOST_BIG, _LEAST_BIG = 2**63 - 1, -(2**63)
_MOST_SECONDS_KEPT = 10_000
#: Whole seconds by ``YYYY-mm-ddTHH:MM:SS``: the records of one second share it.
_seconds_us: dict[str, int] = {}


def level_number(level: object) -> int:
    """10 debug to 50 critical, as in ``logging``; 20 for a word that is none of them."""
    return LEVELS.get(level, 20) if isinstance(level, str) else 20


def to_us(timestamp: str) -> int:
    """RFC 3339 to microseconds since 1970.

    Raises:
        TypeError: It is no text.
        ValueError: It is no timestamp, or has no time zone.
    """
    if timestamp[26:] == "Z":  # as the journal writes it
        second_us = _seconds_us.get(timestamp[:19])
        if second_us is None:
            second_us = _second_us(timestamp[:19])
        return second_us + int(timestamp[20:26])
    moment = datetime.fromisoformat(timestamp)
    if moment.tzinfo is None:
        raise ValueError(f"timestamp: {timestamp!r} has no time zone")
    return round(moment.timestamp() * _US)


def _second_us(text: str) -> int:
    if len(_seconds_us) > _MOST_SECONDS_KEPT:
        _seconds_us.clear()
    second_us = _seconds_us[text] = int(datetime.fromisoformat(f"{text}Z").timestamp()) * _US
    return second_us


def whole(value: object) -> int | None:
    """A whole number of 64 bits; nothing else."""
    if type(value) is int and _LEAST_BIG <= value <= _MOST_BIG:
        return value
    return None


def number(value: object) -> float | None:
    """A number; nothing else."""
    kind = type(value)
    if kind is float or (kind is int and _LEAST_BIG <= value <= _MOST_BIG):  # type: ignore[operator]
        return value  # type: ignore[return-value]
    return None


def word(value: object) -> str | None:
    """A text, or a number as one; nothing else."""
    if type(value) is str:
        return value
    return str(value) if type(value) in (int, float) else None


def cut(value: object) -> str | None:
    """The beginning of a text, as long as an index takes; nothing else."""
    text = word(value)
    return None if text is None else text[:MAX_NAME_LENGTH]


def name(of: str, value: object) -> str:
    """A text that a row is found by.

    Raises:
        ValueError: It is none, is empty or is too long.
    """
    if type(value) is str and 0 < len(value) <= MAX_NAME_LENGTH:
        return value
    shown = repr(value)[:80]
    raise ValueError(f"{of}: {shown} is no text of 1 to {MAX_NAME_LENGTH} characters")


def beginning(of: str, value: object) -> str:
    """The beginning of a text that a row is found by, as long as an index takes.

    Raises:
        ValueError: It is none, or is empty.
    """
    return name(of, value[:MAX_NAME_LENGTH] if type(value) is str else value)


def as_json(value: Any) -> str | None:
    """JSON text; ``None`` stays what it is."""
    return None if value is None else orjson.dumps(value).decode()
