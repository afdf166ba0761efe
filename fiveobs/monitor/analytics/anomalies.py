"""What is unusual: runs that took or used more, times without the usual runs, and slow hours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fiveobs.monitor.analytics.columns import Floats, Ints, Runs, Steps
from fiveobs.monitor.analytics.quiet import QuietPeriod, quiet_periods
from fiveobs.monitor.analytics.robust import grouped_median, log_of, robust_scale
from fiveobs.monitor.analytics.seasons import SlowSlot, calendar, slow_slots
from fiveobs.monitor.analytics.trends import peak_memory

__all__ = ["FEWEST", "Anomalies", "UnusualRun", "find_anomalies"]

#: Runs that are needed to say what is usual, of a slot or of all.
FEWEST = 30
#: A run is unusual so many standard deviations above the usual, and so many times it.
LEAST_SCORE, LEAST_RATIO = 6.0, 2.0
#: Runs differ by at least this share, however alike those were that are known.
_LEAST_SCALE = 0.05
#: What is shown at most, the most unusual of them.
_MOST = 100
#: Smaller figures count as so small.
_LEAST = {"duration_s": 1e-3, "cpu_s": 1e-3, "memory_bytes": 1.0}


@dataclass(frozen=True, kw_only=True)
class UnusualRun:
    """A completed run that took longer or used more than others."""

    job_id: str
    attempt: int
    started_at_s: float
    #: ``duration_s``, ``cpu_s`` or ``memory_bytes``.
    figure: str
    value: float
    #: The median of those it is compared with, and how many times that it is.
    usual: float
    ratio: float
    #: How many standard deviations above, of logarithms (robust z).
    score: float
    #: ``hour of week`` or ``hour of day`` if it is compared with runs of the same, else ``all``.
    compared_with: str
    #: With how many runs.
    count: int


@dataclass(frozen=True, kw_only=True)
class Anomalies:
    """What is unusual."""

    #: How many there are; of these the 100 most unusual are listed, the most unusual first.
    unusual_count: int
    unusual_runs: tuple[UnusualRun, ...]
    quiet_periods: tuple[QuietPeriod, ...]
    slow_slots: tuple[SlowSlot, ...]


def find_anomalies(runs: Runs, steps: Steps, *, now_s: float) -> Anomalies:
    """Compare runs with others of the same time of the day or week, and with all.

    Args:
        runs: Of one kind of job.
        steps: Theirs.
        now_s: Until when runs would be known, in seconds since 1970.
    """
    figures = {
        "duration_s": runs.duration_s,
        "cpu_s": runs.cpu_s,
        "memory_bytes": peak_memory(runs, steps),
    }
    found = [each for name, values in figures.items() for each in _unusual(name, runs, values)]
    found.sort(key=lambda each: (-each.score, each.job_id, each.attempt))
    return Anomalies(
        unusual_count=len(found),
        unusual_runs=tuple(found[:_MOST]),
        quiet_periods=quiet_periods(runs.started_at_s, now_s=now_s),
        slow_slots=slow_slots(runs),
    )


class _Usual(NamedTuple):
    """For each run what is usual, of how many runs, and which those are."""

    median: Floats
    counts: Ints
    compared_with: Ints


_COMPARED = ("hour of week", "hour of day", "all")


def _unusual(figure: str, runs: Runs, values: Floats) -> Iterator[UnusualRun]:
    places = np.flatnonzero(runs.is_completed & np.isfinite(values))
    if len(places) < FEWEST:
        return
    logs = log_of(values[places], _LEAST[figure])
    usual = _usual(logs, runs.started_at_s[places])
    residuals = logs - usual.median
    scores = residuals / max(robust_scale(residuals), _LEAST_SCALE)
    for each in np.flatnonzero((scores >= LEAST_SCORE) & (residuals >= np.log(LEAST_RATIO))):
        place = places[each]
        yield UnusualRun(
            job_id=str(runs.job_id[place]),
            attempt=int(runs.attempt[place]),
            started_at_s=float(runs.started_at_s[place]),
            figure=figure,
            value=float(values[place]),
            usual=float(np.exp(usual.median[each])),
            ratio=float(np.exp(residuals[each])),
            score=float(scores[each]),
            compared_with=_COMPARED[usual.compared_with[each]],
            count=int(usual.counts[each]),
        )


def _usual(logs: Floats, at_s: Floats) -> _Usual:
    """Medians of the narrowest slot that has enough runs."""
    at = calendar(at_s)
    slots = (at.weekday * 24 + at.hour, at.hour, np.zeros(len(logs), np.int64))
    median, count = np.full(len(logs), np.nan), np.zeros(len(logs), np.int64)
    compared = np.zeros(len(logs), np.int64)
    for place, (codes, size) in enumerate(zip(slots, (168, 24, 1), strict=True)):
        counts = np.bincount(codes, minlength=size)[codes]
        takes = np.isnan(median) & (counts >= FEWEST)
        median[takes] = grouped_median(codes, logs, size)[codes[takes]]
        count[takes], compared[takes] = counts[takes], place
    return _Usual(median, count, compared)
