"""Values folded into sums by hour and by day, with a histogram that percentiles come from.

Pure. The histogram's buckets grow by a tenth each, so that a percentile is at most 5% off, and two
histograms add up to that of all values together (Masson et al., DDSketch, VLDB 2019). Bucket ``n``
holds the values above ``1.1 ** (n - 1)`` up to ``1.1 ** n``; values of 0 and below are in one of
their own.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

__all__ = ["DAY_S", "HOUR_S", "INTERVALS_S", "Aggregate", "Folds", "Series", "labels_text"]

HOUR_S, DAY_S = 3_600, 86_400
INTERVALS_S = (HOUR_S, DAY_S)
_US = 1_000_000
_GROWTH = 1.1
_LOG = math.log(_GROWTH)
#: The bucket of 0 and below; no positive number has it.
_NOTHING = -10_000


@dataclass(slots=True)
class Aggregate:
    """What so many values were, without the values."""

    count: int = 0
    total: float = 0.0
    minimum: float | None = None
    maximum: float | None = None
    #: How many values by bucket; empty where only the sums are known.
    histogram: Counter[int] = field(default_factory=Counter)

    @classmethod
    def of(cls, value: float) -> Aggregate:
        """Of one value."""
        bucket = _NOTHING if value <= 0 else math.ceil(math.log(value) / _LOG)
        return cls(1, value, value, value, Counter({bucket: 1}))

    def add(self, other: Aggregate) -> None:
        """Take in what others were."""
        self.count += other.count
        self.total += other.total
        least = [each for each in (self.minimum, other.minimum) if each is not None]
        most = [each for each in (self.maximum, other.maximum) if each is not None]
        self.minimum, self.maximum = min(least, default=None), max(most, default=None)
        self.histogram.update(other.histogram)

    @property
    def mean(self) -> float | None:
        """The mean value."""
        return self.total / self.count if self.count else None

    def percentile(self, share: float) -> float | None:
        """The value that this share of all values does not exceed, within 5%.

        Args:
            share: 0 to 1.

        Returns:
            ``None`` where only the sums are known.
        """
        rank, seen = share * (sum(self.histogram.values()) - 1), 0
        for bucket, count in sorted(self.histogram.items()):
            seen += count
            if seen > rank:
                middle = 2 * _GROWTH**bucket / (_GROWTH + 1)
                return self._within(0.0 if bucket == _NOTHING else middle)
        return None

    def _within(self, value: float) -> float:
        least = -math.inf if self.minimum is None else self.minimum
        most = math.inf if self.maximum is None else self.maximum
        return min(max(value, least), most)

    @property
    def row(self) -> tuple[int, float, float | None, float | None, str | None]:
        """As the store has it, and `from_row` reads it; the histogram is JSON text."""
        buckets = {str(each): count for each, count in self.histogram.items()}
        text = orjson.dumps(buckets).decode() if buckets else None
        return self.count, self.total, self.minimum, self.maximum, text

    @classmethod
    def from_row(
        cls,
        count: int,
        total: float | None,
        minimum: float | None,
        maximum: float | None,
        histogram: str | None,
    ) -> Aggregate:
        """As the store has it."""
        found = orjson.loads(histogram) if histogram else {}
        buckets = Counter({int(each): number for each, number in found.items()})
        return cls(count, total or 0.0, minimum, maximum, buckets)


class Series(NamedTuple):
    """Whose values are folded together."""

    project_key: int
    metric: str
    #: As `labels_text` makes them.
    labels: str


def labels_text(**labels: str | None) -> str:
    """Labels as sorted JSON text; those that are not known are left out."""
    known = {name: value for name, value in labels.items() if value}
    return orjson.dumps(known, option=orjson.OPT_SORT_KEYS).decode()


class Folds:
    """Values on their way to the store: by series, interval, and the interval's beginning."""

    def __init__(self) -> None:
        self.found: dict[Series, dict[int, dict[int, Aggregate]]] = {}

    def add(self, series: Series, at_us: int, what: Aggregate) -> None:
        """Take in what was at a time.

        Args:
            series: Whose it is.
            at_us: When, in microseconds since 1970.
            what: A value, or what many were.
        """
        by_interval = self.found.setdefault(series, {each: {} for each in INTERVALS_S})
        for interval_s, buckets in by_interval.items():
            start_us = at_us - at_us % (interval_s * _US)
            buckets.setdefault(start_us, Aggregate()).add(what)
