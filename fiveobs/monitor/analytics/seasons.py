"""Hours of the day and of the week at which runs usually take longer than around them.

All times are UTC, and a day begins at midnight UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy

from fiveobs.monitor.analytics.columns import Floats, Ints, Mask, Runs
from fiveobs.monitor.analytics.robust import ALPHA, corrected, grouped_median, log_of

__all__ = [
    "DAY_S",
    "FEWEST",
    "FEWEST_DAYS",
    "HOUR_S",
    "Calendar",
    "SlowSlot",
    "calendar",
    "slow_slots",
]

DAY_S, HOUR_S = 86_400.0, 3_600.0
#: Runs in a slot that are needed to judge it, and days on which they were.
FEWEST, FEWEST_DAYS = 15, 3
#: A slot is slow if it takes so many times as long as those around it, on so many of its days.
_LEAST_RATIO, _LEAST_DAYS_SHARE = 1.3, 0.75
#: What a day has to be above the usual for that, as a logarithm: 10%.
_LEAST_EXCESS = 0.095
#: Hours before and after one that it is compared with.
_AROUND = 3
#: The hours of a day, the days of a week.
_DAY, _WEEK = 24, 7
#: Shorter runs count as so long, in seconds.
_LEAST_S = 1e-3
#: 1970 began on a Thursday; Monday is 0.
_FIRST_WEEKDAY = 3


@dataclass(frozen=True, kw_only=True)
class SlowSlot:
    """A time of the day or of the week, UTC, at which runs usually take longer."""

    #: Monday is 0; ``None`` for every day.
    weekday: int | None
    #: From 0 to 23; ``None`` for all day.
    hour: int | None
    #: Runs, and the days that they were on.
    count: int
    days: int
    median_s: float
    #: The median of what it is compared with: the hours around it, or the other days.
    usual_s: float
    ratio: float
    #: How likely it is by chance, given how many slots were looked at.
    p_value: float


class Calendar(NamedTuple):
    """Where moments are in the day and the week."""

    #: Days since 1970.
    day: Ints
    weekday: Ints
    hour: Ints


def calendar(at_s: Floats) -> Calendar:
    """The day, weekday and hour of moments, UTC."""
    day = np.floor(at_s / DAY_S).astype(np.int64)
    hour = np.floor((at_s - day * DAY_S) / HOUR_S).astype(np.int64)
    return Calendar(day, (day + _FIRST_WEEKDAY) % 7, np.minimum(hour, 23))


def slow_slots(runs: Runs) -> tuple[SlowSlot, ...]:
    """The slots in which completed runs usually take longer, the slowest first.

    Hours of the day are looked at first; then, without those found, weekdays and hours of the week.
    """
    known = runs.is_completed & np.isfinite(runs.duration_s)
    logs, at = log_of(runs.duration_s[known], _LEAST_S), calendar(runs.started_at_s[known])
    days, day_of = np.unique(at.day, return_inverse=True)
    about_day = logs - grouped_median(day_of, logs, len(days))[day_of]
    daily = list(_found(_Family(at.hour, _DAY), about_day, day_of))
    rest = ~np.isin(at.hour, [each.slot for each in daily])
    weekly: list[_Found] = []
    for family, values in (
        (_Family(at.weekday, _WEEK), logs),
        (_Family(at.weekday * 24 + at.hour, _DAY * _WEEK), about_day),
    ):
        weekly += _found(family.where(rest), values[rest], day_of[rest])
        rest = rest & ~np.isin(family.slots, [each.slot for each in weekly])
    found = [_slot(each, runs.duration_s[known], at) for each in [*daily, *weekly]]
    return tuple(sorted(found, key=lambda slot: -slot.ratio))


class _Family(NamedTuple):
    """Slots that are compared with each other."""

    slots: Ints
    #: How many there are; after the last comes the first again.
    size: int

    def where(self, wanted: Mask) -> _Family:
        """Of some runs."""
        return self._replace(slots=self.slots[wanted])

    def usual(self, values: Floats) -> Floats:
        """For each slot the median of those around it; NaN if there are none."""
        medians = grouped_median(self.slots, values, self.size)
        found = np.full(self.size, np.nan)
        for slot in range(self.size):
            near = medians[self._around(slot)]
            near = near[np.isfinite(near)]
            if len(near):
                found[slot] = np.median(near)
        return found

    def _around(self, slot: int) -> Ints:
        if self.size == _WEEK:
            return np.delete(np.arange(_WEEK), slot)
        steps = np.r_[-_AROUND:0, 1 : _AROUND + 1]
        return np.asarray(slot + steps, dtype=np.int64) % self.size


class _Found(NamedTuple):
    """A slow slot of a family, and in what proportion to those around it."""

    family: _Family
    slot: int
    log_ratio: float
    p_value: float


#: All slots that are looked at: of the day, the week, and the hours of the week.
_COMPARISONS = _DAY + _WEEK + _DAY * _WEEK


def _found(family: _Family, values: Floats, day_of: Ints) -> Iterator[_Found]:
    counts = np.bincount(family.slots, minlength=family.size)
    usual = family.usual(values)
    excess = values - usual[family.slots]
    medians = grouped_median(family.slots, excess, family.size)
    chances = corrected(_chances(family, excess, counts), _COMPARISONS)
    is_slow = (counts >= FEWEST) & (medians >= np.log(_LEAST_RATIO)) & (chances < ALPHA)
    for slot in np.flatnonzero(is_slow):
        is_in = family.slots == slot
        if _recurs(excess[is_in], day_of[is_in]):
            yield _Found(family, int(slot), float(medians[slot]), float(chances[slot]))


def _chances(family: _Family, excess: Floats, counts: Ints) -> Floats:
    """How likely each slot lies so far above the rest (Wilcoxon's rank sum, as normal)."""
    known = np.isfinite(excess)
    ranks = np.zeros(len(excess))
    ranks[known] = scipy.stats.rankdata(excess[known])
    sums = np.bincount(family.slots, weights=ranks, minlength=family.size)
    many, count = np.maximum(counts, 1), int(known.sum())
    spread = np.sqrt((count + 1) * np.maximum(count - many, 1) / (12 * many))
    return np.asarray(scipy.stats.norm.sf((sums / many - (count + 1) / 2) / spread))


def _recurs(excess: Floats, day_of: Ints) -> bool:
    """Whether most days were slow, and not one that was very slow."""
    days, places = np.unique(day_of, return_inverse=True)
    above = grouped_median(places, excess, len(days)) > _LEAST_EXCESS
    return len(days) >= FEWEST_DAYS and bool(above.mean() >= _LEAST_DAYS_SHARE)


def _slot(found: _Found, duration_s: Floats, at: Calendar) -> SlowSlot:
    weekday, hour = {
        _DAY: (None, found.slot),
        _WEEK: (found.slot, None),
        _DAY * _WEEK: divmod(found.slot, _DAY),
    }[found.family.size]
    is_in = np.ones(len(duration_s), np.bool_)
    if weekday is not None:
        is_in &= at.weekday == weekday
    if hour is not None:
        is_in &= at.hour == hour
    median_s = float(np.median(duration_s[is_in]))
    ratio = float(np.exp(found.log_ratio))
    return SlowSlot(
        weekday=weekday,
        hour=hour,
        count=int(is_in.sum()),
        days=len(np.unique(at.day[is_in])),
        median_s=median_s,
        usual_s=median_s / ratio,
        ratio=ratio,
        p_value=found.p_value,
    )
