"""Figures as people read them, in the words of the published API: "2.3 GB", "2 minutes 15 seconds".

Beside each of these stands the number itself with its unit; nothing should read these back.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeAlias

__all__ = [
    "US",
    "Number",
    "as_time",
    "duration",
    "duration_range",
    "exact_time",
    "number",
    "percentile",
    "rate",
    "rounded_duration",
    "size",
]

#: A JSON number: whole ones are written without a fraction.
Number: TypeAlias = int | float

#: Microseconds of a second.
US = 1_000_000
#: Beyond this, floating point numbers are not exact integers.
_EXACT = 2**53
_SIZES = ("bytes", "KB", "MB", "GB", "TB", "PB")
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_MILLISECOND = ("millisecond", 0.001)
#: Times that a date can be made of: years 1 to 9999.
_FIRST_US, _LAST_US = -62_135_596_800 * US, 253_402_300_799 * US


def number(value: float | None, digits: int = 2) -> Number | None:
    """Rounded; an integer if it is whole."""
    if value is None or not math.isfinite(value):
        return None
    rounded = round(value, digits)
    is_exact = abs(rounded) < _EXACT and rounded == int(rounded)
    return int(rounded) if is_exact else rounded


def as_time(at_us: int | None) -> str | None:
    """RFC 3339 in UTC, with microseconds where there are any."""
    if at_us is None:
        return None
    seconds, rest = divmod(min(max(at_us, _FIRST_US), _LAST_US), US)
    return f"{_second(seconds)}.{rest:06d}Z" if rest else f"{_second(seconds)}Z"


def exact_time(at_us: int) -> str:
    """RFC 3339 in UTC, always with microseconds: such times sort as texts do."""
    seconds, rest = divmod(min(max(at_us, _FIRST_US), _LAST_US), US)
    return f"{_second(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=16_384)  # who tracks jobs asks for the same ones again and again
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def size(size_bytes: float | None) -> str | None:
    """A size in steps of 1024: "890 MB", "2.3 GB"."""
    if size_bytes is None or not math.isfinite(size_bytes):
        return None
    value, unit = float(size_bytes), _SIZES[0]
    for unit in _SIZES:
        if abs(value) < 1023.95 or unit == _SIZES[-1]:
            break
        value /= 1024
    if unit != "bytes" and abs(value) < 9.95:
        return f"{value:.1f} {unit}"
    digits = 0 if unit == "bytes" or abs(value) >= 99.95 else 1
    return f"{number(value, digits)} {unit}"


def duration(duration_s: float | None) -> str | None:
    """Every unit that is not zero: "15 minutes 33 seconds"; below ten seconds with a fraction."""
    if duration_s is None or not math.isfinite(duration_s):
        return None
    seconds = max(duration_s, 0.0)
    if 0 < seconds < 0.001:
        return _count(number(seconds * 1000, 3) or 0, "millisecond")
    if seconds < 1:
        return _count(number(seconds, 3) or 0, "second")
    if seconds < 10:
        return _count(number(seconds, 1) or 0, "second")
    rest = round(seconds)
    parts = []
    for unit, length_s in _UNITS:
        count, rest = divmod(rest, length_s)
        if count:
            parts.append(_count(count, unit))
    return " ".join(parts)


def rounded_duration(duration_s: float | None) -> str | None:
    """One unit, with a fraction: "5.75 minutes"."""
    if duration_s is None or not math.isfinite(duration_s):
        return None
    unit, length_s = _unit_of(duration_s)
    return _count(number(duration_s / length_s) or 0, unit)


def duration_range(low_s: float | None, high_s: float | None) -> str | None:
    """From one duration to another in one unit: "20-25 minutes"."""
    if low_s is None or high_s is None or not math.isfinite(low_s + high_s):
        return None
    unit, length_s = _unit_of(high_s)
    digits = 1 if high_s / length_s < 10 else 0
    low, high = number(low_s / length_s, digits) or 0, number(high_s / length_s, digits) or 0
    return _count(high, unit) if low == high else f"{low}-{high} {unit}s"


def rate(rate_per_s: float | None, unit: str | None) -> str | None:
    """How many of what a second: "1250 records/second"."""
    if rate_per_s is None or not math.isfinite(rate_per_s):
        return None
    return f"{number(rate_per_s, 0 if rate_per_s >= 10 else 2)} {unit or 'records'}/second"


def percentile(rank: int) -> str:
    """An ordinal: "85th percentile"."""
    teen = 10 <= rank % 100 <= 20
    ending = "th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending} percentile"


def _count(count: Number, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _unit_of(duration_s: float) -> tuple[str, float]:
    """The unit in which a duration reads best."""
    if 0 < duration_s < 0.1:
        return _MILLISECOND
    for unit, length_s in _UNITS:
        if duration_s >= 2 * length_s or (length_s == 60 and duration_s >= 60):
            return unit, length_s
    return _UNITS[-1]
