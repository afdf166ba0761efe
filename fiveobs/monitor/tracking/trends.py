"""Whether a series of figures goes up or down.

The test is Mann and Kendall's with the normal approximation and correction for ties, the slope
Theil and Sen's. Sources: H. B. Mann, Econometrica 13 (1945) 245; M. G. Kendall, Rank Correlation
Methods (1975); P. K. Sen, J. Am. Stat. Assoc. 63 (1968) 1379.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean, median

__all__ = ["MIN_CHANGE", "MIN_SAMPLES", "MOST_SAMPLES", "SIGNIFICANT_Z", "direction"]

#: With fewer values, nothing is said: the normal approximation is poor.
MIN_SAMPLES = 8
#: The last so many values are looked at: five minutes of heartbeats.
MOST_SAMPLES = 60
#: Two-sided, 5 in 100: how often a series without a trend would be said to have one.
SIGNIFICANT_Z = 1.96
#: A change over the whole series smaller than this share of its mean is none, however sure.
MIN_CHANGE = 0.05


def direction(values: Sequence[float]) -> int | None:
    """1 where the values rise, -1 where they fall, 0 where neither; ``None`` if too few."""
    if len(values) < MIN_SAMPLES:
        return None
    if abs(_mann_kendall_z(values)) < SIGNIFICANT_Z:
        return 0
    change = _theil_sen_slope(values) * (len(values) - 1)
    mean = abs(fmean(values))
    if not mean or abs(change) < MIN_CHANGE * mean:
        return 0
    return 1 if change > 0 else -1


def _mann_kendall_z(values: Sequence[float]) -> float:
    count = len(values)
    score = sum(
        (later > earlier) - (later < earlier)
        for place, earlier in enumerate(values)
        for later in values[place + 1 :]
    )
    ties = sum(each * (each - 1) * (2 * each + 5) for each in Counter(values).values())
    variance = (count * (count - 1) * (2 * count + 5) - ties) / 18
    if not score or variance <= 0:
        return 0.0
    return (score - math.copysign(1, score)) / math.sqrt(variance)


def _theil_sen_slope(values: Sequence[float]) -> float:
    """The median change from one value to the next, over all pairs."""
    return median(
        (values[later] - values[earlier]) / (later - earlier)
        for earlier in range(len(values))
        for later in range(earlier + 1, len(values))
    )
