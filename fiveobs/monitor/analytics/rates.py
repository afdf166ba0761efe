"""How often something fails, how sure that is, and whether it fails more often than the rest."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy

from fiveobs.monitor.analytics.columns import Floats, Ints

__all__ = ["Interval", "Z", "more_often", "wilson"]

#: Of a normal distribution, 95% is within so many standard deviations.
Z = 1.959963984540054


class Interval(NamedTuple):
    """Between what a share lies with 95% confidence."""

    low: float
    high: float


def wilson(hits: int, count: int) -> Interval:
    """The interval of a share; from 0 to 1 of nothing.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927):
    right for few and for rare ones, too, and never outside of 0 to 1.
    """
    if not count:
        return Interval(0.0, 1.0)
    share, more = float(hits / count), Z * Z / count
    middle = (share + more / 2) / (1 + more)
    reach = Z * math.sqrt(share * (1 - share) / count + more / (4 * count)) / (1 + more)
    low = max(middle - reach, 0.0) if hits else 0.0
    return Interval(low, min(middle + reach, 1.0) if hits < count else 1.0)


def more_often(failed: Ints, counts: Ints, all_failed: int, all_count: int) -> Floats:
    """For each group of a whole, how likely so many failures or more are by chance.

    Fisher's exact test, one-sided, of each group against the rest.
    """
    if not all_count:
        return np.ones(len(counts))
    found = scipy.stats.hypergeom.sf(failed - 1, all_count, all_failed, counts)
    return np.clip(np.asarray(found, dtype=np.float64), 0.0, 1.0)
