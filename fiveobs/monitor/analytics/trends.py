"""Whether a job's duration, CPU, memory and waiting grow, and whether its workers leak memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fiveobs.monitor.analytics.columns import Floats, Runs, Steps
from fiveobs.monitor.analytics.leaks import Leak, find_leak
from fiveobs.monitor.analytics.robust import ALPHA, corrected
from fiveobs.monitor.analytics.slopes import block_medians, slope_of

__all__ = [
    "FEWEST",
    "LEAST_CHANGE",
    "LEAST_DAYS",
    "ResourceTrends",
    "Trend",
    "find_trends",
    "peak_memory",
]

#: Figures that are needed to speak of a trend, and days: over less it may be the time of day.
FEWEST, LEAST_DAYS = 50, 3.0
#: What has changed by a smaller share from the first day to the last is steady.
LEAST_CHANGE = 0.3
#: A slope is that of medians of consecutive runs: of a day each, so that the time of the day does
#: not matter, if there are so many days, or else of a quarter; and so many medians at most.
_MANY_DAYS, _QUARTERS, _MOST_BLOCKS = 10, 4, 160
#: Runs behind one of these medians at least.
_OF_BLOCK = 5
DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Trend:
    """How one figure of runs changes over time."""

    #: ``duration_s``, ``cpu_s``, ``memory_bytes`` (the most at the end of a step) or
    #: ``queue_wait_s``.
    figure: str
    #: Runs of which it is known.
    count: int
    median: float
    #: Of the figure, a day, and the 95% confidence interval.
    slope_per_day: float
    low_per_day: float
    high_per_day: float
    #: From the first run to the last, as a share of the median; ``None`` if that is 0.
    change: float | None
    #: How likely it is by chance, given how many figures were looked at.
    p_value: float
    #: ``rising`` or ``falling`` if it is large enough and sure enough, else ``steady``.
    direction: str


@dataclass(frozen=True, kw_only=True)
class ResourceTrends:
    """How what a job uses changes."""

    #: Of those figures of which enough is known.
    trends: tuple[Trend, ...]
    #: What its workers leak; ``None`` if nothing suggests that they do.
    leak: Leak | None


def find_trends(
    runs: Runs, steps: Steps, limits_bytes: Mapping[int, int] | None = None
) -> ResourceTrends:
    """Look for trends in completed runs, and for leaks in the lives of workers.

    Args:
        runs: Of one kind of job.
        steps: Theirs.
        limits_bytes: How much memory processes may have, by `Runs.worker_key`, where that is known.
    """
    done = runs.is_completed
    figures = {
        "duration_s": np.where(done, runs.duration_s, np.nan),
        "cpu_s": np.where(done, runs.cpu_s, np.nan),
        "memory_bytes": np.where(done, peak_memory(runs, steps), np.nan),
        "queue_wait_s": runs.queue_wait_s,
    }
    found = [
        _trend(name, runs.started_at_s, values, len(figures)) for name, values in figures.items()
    ]
    return ResourceTrends(
        trends=tuple(each for each in found if each is not None),
        leak=find_leak(runs, steps, limits_bytes or {}),
    )


def peak_memory(runs: Runs, steps: Steps) -> Floats:
    """The most memory, in bytes, at the end of a step of each run; NaN where none is known."""
    most = np.full(len(runs), -np.inf)
    known = np.isfinite(steps.memory_bytes)
    np.maximum.at(most, steps.run[known], steps.memory_bytes[known])
    return np.where(np.isfinite(most), most, np.nan)


def _trend(figure: str, at_s: Floats, values: Floats, comparisons: int) -> Trend | None:
    known = np.isfinite(values)
    days, values = at_s[known] / DAY_S, values[known]
    if len(values) < FEWEST:
        return None
    days = days - days[0]
    slope = slope_of([block_medians(days, values, _blocks(float(days[-1]), len(values)))])
    if slope is None:
        return None
    median, p_value = float(np.median(values)), float(corrected(slope.p_value, comparisons))
    change = slope.slope * float(days[-1]) / median if median else None
    is_sure = p_value < ALPHA and days[-1] >= LEAST_DAYS
    is_finding = is_sure and abs(change or 0.0) >= LEAST_CHANGE
    return Trend(
        figure=figure,
        count=len(values),
        median=median,
        slope_per_day=slope.slope,
        low_per_day=slope.low,
        high_per_day=slope.high,
        change=change,
        p_value=p_value,
        direction=("rising" if slope.slope > 0 else "falling") if is_finding else "steady",
    )


def _blocks(days: float, count: int) -> int:
    wanted = days if days >= _MANY_DAYS else max(days, 1) * _QUARTERS
    return int(min(wanted, _MOST_BLOCKS, count // _OF_BLOCK))
