"""Medians, ranks and effect sizes, which a few outliers do not move.

Each takes known numbers only: who calls leaves NaN out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from fiveobs.monitor.analytics.columns import Floats, Ints

__all__ = [
    "ALPHA",
    "Rise",
    "cliffs_delta",
    "corrected",
    "grouped_median",
    "log_of",
    "rise_of",
    "robust_scale",
    "shift",
]

#: What is said may be due to chance in so many analyses of histories in which nothing is wrong, for
#: each analytic: p-values are corrected for all the comparisons that it makes (Bonferroni).
ALPHA = 0.001
#: The standard deviation of a normal distribution in median absolute deviations.
_MAD = 1.4826
#: Order statistics of each sample that are compared with each other: 90,000 differences.
_MOST_COMPARED = 300


class Rise(NamedTuple):
    """The place in a sequence at which its values become larger, if they do."""

    #: The first of the larger ones.
    place: int
    #: How likely so much of a rise somewhere is by chance, were the values independent.
    p_value: float


def log_of(values: Floats, least: float) -> Floats:
    """Natural logarithms; what is smaller counts as ``least``, which is above 0."""
    return np.log(np.maximum(values, least))


def corrected(p_values: Floats | float, comparisons: int) -> Floats:
    """Bonferroni: the chance that any of so many comparisons looks so unlikely."""
    return np.asarray(np.minimum(np.asarray(p_values) * max(comparisons, 1), 1.0))


def robust_scale(residuals: Floats) -> float:
    """The standard deviation of most of them: 1.4826 times the median absolute value."""
    return float(_MAD * np.median(np.abs(residuals))) if len(residuals) else 0.0


def shift(before: Floats, after: Floats) -> float:
    """By how much the second sample lies higher: the median of all differences.

    Hodges and Lehmann, "Estimates of location based on rank tests", Ann. Math. Stat. 34 (1963).
    Of large samples 300 evenly spaced order statistics are compared.
    """
    pair = _spaced(after)[:, None] - _spaced(before)[None, :]
    return float(np.median(pair))


def _spaced(values: Floats) -> Floats:
    ordered = np.sort(values)
    if len(ordered) <= _MOST_COMPARED:
        return ordered
    places = (np.arange(_MOST_COMPARED) + 0.5) * len(ordered) / _MOST_COMPARED
    return ordered[places.astype(np.int64)]


def cliffs_delta(before: Floats, after: Floats) -> float:
    """How often a later value is above an earlier one, less how often below: from -1 to 1.

    Cliff, "Dominance statistics", Psychological Bulletin 114 (1993). Neither may be empty.
    """
    ordered = np.sort(before)
    above = np.searchsorted(ordered, after, "left").sum()
    at_least = np.searchsorted(ordered, after, "right").sum()
    return float(above + at_least) / (len(before) * len(after)) - 1


def rise_of(values: Floats, least: int) -> Rise | None:
    """Where a sequence begins to be larger than before; ``None`` if it is too short to say.

    Pettitt, "A non-parametric approach to the change-point problem", Applied Statistics 28 (1979),
    one-sided and with the variance of tied ranks: the lowest point of the cumulative sum of ranks
    about their mean, whose distribution is that of the supremum of a Brownian bridge.

    Args:
        values: In the order of time.
        least: How many there have to be before and after; at least 1.
    """
    count = len(values)
    if count < 2 * least:
        return None
    ranks = scipy.stats.rankdata(values)
    centred = ranks - (count + 1) / 2
    sums = np.cumsum(centred)
    place = int(np.argmin(sums[least - 1 : count - least])) + least
    spread = float(centred @ centred)
    if not spread:
        return Rise(place, 1.0)
    fall = max(-float(sums[place - 1]), 0.0)
    return Rise(place, float(np.exp(-2 * fall * fall / spread)))


def grouped_median(groups: Ints, values: Floats, count: int) -> Floats:
    """The median of each group; NaN where there is nothing.

    Args:
        groups: The group of each value, from 0 to ``count - 1``.
        values: As many.
        count: How many groups there are.
    """
    order = np.lexsort((values, groups))
    ordered, sizes = values[order], np.bincount(groups, minlength=count)
    first = np.cumsum(sizes) - sizes
    found = np.full(count, np.nan)
    some = sizes > 0
    low = first[some] + (sizes[some] - 1) // 2
    high = first[some] + sizes[some] // 2
    found[some] = (ordered[low] + ordered[high]) / 2
    return found
