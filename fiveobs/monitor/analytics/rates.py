"""How often something fails, how sure that is, and whether it fails more often than the rest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from fiveobs.monitor.analytics.columns import Floats, Ints

__all__ = ["Interval", "more_often", "wilson"]


class Interval(NamedTuple):
    """Between what a share lies with 95% confidence."""

    low: float
    high: float


def wilson(failed: int, count: int) -> Interval:
    """The interval of a share; from 0 to 1 of nothing.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927):
    right for few and for rare ones, too, and never outside of 0 to 1.
    """
    if not count:
        return Interval(0.0, 1.0)
    z = float(scipy.stats.norm.ppf(0.975))
    share, more = failed / count, z * z / count
    middle = (share + more / 2) / (1 + more)
    reach = z * np.sqrt(share * (1 - share) / count + more / (4 * count)) / (1 + more)
    return Interval(float(max(middle - reach, 0.0)), float(min(middle + reach, 1.0)))


def more_often(failed: Ints, counts: Ints, all_failed: int, all_count: int) -> Floats:
    """For each group of a whole, how likely so many failures or more are by chance.

    Fisher's exact test, one-sided, of each group against the rest.
    """
    if not all_count:
        return np.ones(len(counts))
    found = scipy.stats.hypergeom.sf(failed - 1, all_count, all_failed, counts)
    return np.clip(np.asarray(found, dtype=np.float64), 0.0, 1.0)
