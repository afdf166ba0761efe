"""Slopes that outliers do not move, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy

from fiveobs.monitor.analytics.columns import Floats

__all__ = ["Slope", "block_medians", "slope_of"]

#: A confidence interval has this share of the probability.
_CONFIDENCE = 0.95


class Slope(NamedTuple):
    """How steeply something grows, for each unit of its abscissa."""

    slope: float
    #: The 95% confidence interval.
    low: float
    high: float
    #: Two-sided: how likely so much of an order, up or down, is by chance.
    p_value: float


def slope_of(strata: Sequence[tuple[Floats, Floats]]) -> Slope | None:
    """The slope within strata, each with a level of its own; ``None`` without two points anywhere.

    With one stratum, Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63
    (1968), and the test of Mann (1945) and Kendall (1975); with more, Hirsch, Slack and Smith,
    "Techniques of trend analysis for monthly water quality data", Water Resources Research 18
    (1982). Takes time and memory with the square of a stratum's size.

    Args:
        strata: Of each, the places, which ascend, and the values.
    """
    slopes, order, variance = [], 0.0, 0.0
    for places, values in strata:
        one, two = np.triu_indices(len(places), 1)
        run, rise = places[two] - places[one], values[two] - values[one]
        apart = run > 0
        slopes.append(rise[apart] / run[apart])
        order += float(np.sign(rise[apart]).sum())
        variance += _variance(values)
    every = np.sort(np.concatenate(slopes)) if slopes else np.empty(0)
    if not len(every):
        return None
    p_value = (
        2 * scipy.stats.norm.sf(max(abs(order) - 1, 0) / np.sqrt(variance)) if variance else 1.0
    )
    margin = scipy.stats.norm.ppf((1 + _CONFIDENCE) / 2) * np.sqrt(variance)
    low = int(np.floor(np.clip((len(every) - margin) / 2, 0, len(every) - 1)))
    high = int(np.ceil(np.clip((len(every) + margin) / 2, 0, len(every) - 1)))
    middle = float(np.median(every))
    return Slope(middle, float(every[low]), float(every[high]), float(min(p_value, 1.0)))


def _variance(values: Floats) -> float:
    """Of Kendall's sum of signs, were the order random; ties make it smaller."""
    _, tied = np.unique(values, return_counts=True)
    count = len(values)
    whole = count * (count - 1) * (2 * count + 5)
    return float(whole - (tied * (tied - 1) * (2 * tied + 5)).sum()) / 18


def block_medians(places: Floats, values: Floats, blocks: int) -> tuple[Floats, Floats]:
    """The medians of places and values in consecutive blocks of about the same size.

    So a slope over any number of points costs the same. Fewer points than blocks stay as they are.
    """
    if len(values) <= blocks:
        return places, values
    bounds = np.linspace(0, len(values), blocks + 1).astype(np.int64)
    parts = list(pairwise(bounds))
    of_places = np.array([np.median(places[low:high]) for low, high in parts])
    return of_places, np.array([np.median(values[low:high]) for low, high in parts])
