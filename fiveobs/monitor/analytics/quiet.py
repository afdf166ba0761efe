"""Times in which fewer runs began than usually do then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy

from fiveobs.monitor.analytics.columns import Floats, Ints, Mask
from fiveobs.monitor.analytics.robust import ALPHA, corrected
from fiveobs.monitor.analytics.seasons import HOUR_S, calendar

__all__ = ["FEWEST_DAYS", "QuietPeriod", "quiet_periods"]

#: Working days, or days of a weekend, that are needed to say what is usual on such a day.
FEWEST_DAYS = 4
#: How long a bucket may be, in hours: the shortest is taken in which usually so many runs begin.
_HOURS, _USUAL = (1, 3, 6, 24), 10.0
#: It is quiet where less than this share of the usual runs began.
LEAST_SHARE = 0.5
#: The variance of a normal distribution in squared median absolute deviations.
_MAD_SQUARED = 1.4826**2
_WEEKEND = 5
#: Buckets that are looked at, the last ones: an hour each, a little over a year.
_MOST_BUCKETS = 10_000


@dataclass(frozen=True, kw_only=True)
class QuietPeriod:
    """A time in which fewer runs began than usual."""

    begins_at_s: float
    ends_at_s: float
    count: int
    #: How many usually begin then.
    usual: float
    #: How likely so few are by chance, in the least likely part of it, given how many parts were
    #: looked at.
    p_value: float


def quiet_periods(started_at_s: Floats, *, now_s: float) -> tuple[QuietPeriod, ...]:
    """The quiet times, in order; none where too little is known.

    How many runs usually begin in a part of the day is the median of other days: working days and
    weekends have each their own. Counts are taken to be negative binomial, that is as a Poisson
    process whose rate varies: by how much is told from the middle half of what was counted.

    Args:
        started_at_s: When runs began.
        now_s: Until when they would be known.
    """
    known = started_at_s[started_at_s < now_s]
    if not len(known):
        return ()
    for hours in _HOURS:
        buckets = _Buckets.of(known, hours * HOUR_S, now_s)
        if buckets is not None and np.median(buckets.usual) >= _USUAL:
            return tuple(buckets.quiet())
    return ()


@dataclass(frozen=True, kw_only=True)
class _Buckets:
    """Complete ones, one after the other, of which it is known what is usual."""

    begins_s: Floats
    width_s: float
    counts: Ints
    usual: Floats

    @classmethod
    def of(cls, started_at_s: Floats, width_s: float, now_s: float) -> _Buckets | None:
        first = max(np.floor(started_at_s.min() / width_s) + 1, now_s // width_s - _MOST_BUCKETS)
        count = int(now_s // width_s - first)
        if count <= 0:
            return None
        places = np.floor(started_at_s / width_s - first).astype(np.int64)
        counts = np.bincount(places[(places >= 0) & (places < count)], minlength=count)
        begins_s = (first + np.arange(count)) * width_s
        usual = _usual(begins_s, counts)
        known = usual > 0
        if not known.any():
            return None
        return cls(
            begins_s=begins_s[known], width_s=width_s, counts=counts[known], usual=usual[known]
        )

    def quiet(self) -> Iterator[QuietPeriod]:
        """Those that are, joined where one follows the other."""
        chances = corrected(_chances(self.counts, self.usual), len(self.counts))
        is_quiet = (chances < ALPHA) & (self.counts <= LEAST_SHARE * self.usual)
        for low, high in _stretches(is_quiet, self.begins_s, self.width_s):
            yield QuietPeriod(
                begins_at_s=float(self.begins_s[low]),
                ends_at_s=float(self.begins_s[high - 1] + self.width_s),
                count=int(self.counts[low:high].sum()),
                usual=float(self.usual[low:high].sum()),
                p_value=float(chances[low:high].min()),
            )


def _usual(begins_s: Floats, counts: Ints) -> Floats:
    """The median of the same part of such days; 0 where too few are known."""
    at = calendar(begins_s)
    slots = np.where(at.weekday >= _WEEKEND, 24, 0) + at.hour
    usual = np.zeros(len(counts))
    for slot in np.unique(slots):
        is_in = slots == slot
        if is_in.sum() >= FEWEST_DAYS:
            usual[is_in] = np.median(counts[is_in])
    return usual


def _chances(counts: Ints, usual: Floats) -> Floats:
    """How likely so few runs or fewer are."""
    squares = (counts - usual) ** 2 / usual
    times = _MAD_SQUARED * float(np.median(squares))  # the variance, in times of a Poisson's
    if times <= 1:
        return np.asarray(scipy.stats.poisson.cdf(counts, usual))
    size = usual / (times - 1)
    return np.asarray(scipy.stats.nbinom.cdf(counts, size, size / (size + usual)))


def _stretches(wanted: Mask, begins_s: Floats, width_s: float) -> Iterator[tuple[int, int]]:
    places = np.flatnonzero(wanted)
    if len(places):
        apart = np.flatnonzero(np.diff(begins_s[places]) > 1.5 * width_s) + 1
        for group in np.split(places, apart):
            yield int(group[0]), int(group[-1]) + 1
