"""Whether memory grows over the lives of workers: from run to run, until the process ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fiveobs.monitor.analytics.columns import Floats, Ints, Mask, Runs, Steps, coded
from fiveobs.monitor.analytics.robust import ALPHA, grouped_median
from fiveobs.monitor.analytics.slopes import block_medians, slope_of

__all__ = ["LEAST_GROWTH", "LEAST_LIFE", "Leak", "find_leak"]

#: Runs of a process whose memory is known, for its life to be looked at.
LEAST_LIFE = 24
#: A suspicion takes growth by this share of what processes have, over as many runs as the usual
#: life has, and that so many lives rise in their second half.
LEAST_GROWTH, LEAST_RISING = 0.1, 0.7
#: A process that goes on with less than this share of what it had has begun anew.
_KEPT = 0.7
#: The lives with the most runs that are looked at, and the medians that stand for each half.
_MOST_LIVES, _BLOCKS = 100, 40
_HOUR_S = 3_600.0


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Memory that grows from run to run in the lives of workers."""

    #: Lives of processes that were looked at, how many of them rise, and their runs.
    lives: int
    rising_lives: int
    runs: int
    #: The slope over the second halves of these lives, and its 95% confidence interval.
    growth_per_run_bytes: float
    low_per_run_bytes: float
    high_per_run_bytes: float
    growth_per_hour_bytes: float
    #: Over as many runs as the usual life has, as a share of what processes have at first.
    growth_share: float
    usual_life_runs: int
    p_value: float
    #: The process that began last among those: its worker, what it has, and may have.
    worker: str
    memory_bytes: float
    limit_bytes: int | None
    #: When that will be reached, should it go on as it did; ``None`` if there is no limit.
    limit_reached_at_s: float | None


class _Life(NamedTuple):
    """The runs of a process, by place, in their order."""

    runs: Ints
    #: Resident memory, without what makes steps differ.
    bytes: Floats

    @property
    def second_half(self) -> tuple[Floats, Floats]:
        """Its place in the life, and memory, of each run after caches have filled."""
        first = len(self.runs) // 2
        numbers = np.arange(first, len(self.runs), dtype=np.float64)
        return block_medians(numbers, self.bytes[first:], _BLOCKS)


def find_leak(runs: Runs, steps: Steps, limits_bytes: Mapping[int, int]) -> Leak | None:
    """What the workers of a kind of job leak; ``None`` if nothing suggests that they do.

    Args:
        runs: Of one kind of job.
        steps: Theirs.
        limits_bytes: How much memory processes may have, by `Runs.worker_key`, where that is known.
    """
    lives = _lives(runs, _levels(runs, steps))
    if not lives:
        return None
    halves = [life.second_half for life in lives]
    whole, each = slope_of(halves), [slope_of([half]) for half in halves]
    rising = sum(slope is not None and slope.slope > 0 for slope in each)
    sizes = np.array([len(life.runs) for life in lives])
    usual = int(np.median(np.repeat(sizes, sizes)))  # the life that a run is in, usually
    had = float(
        np.median([np.median(life.bytes[: max(len(life.runs) // 10, 3)]) for life in lives])
    )
    if whole is None or had <= 0 or whole.slope * usual / had < LEAST_GROWTH:
        return None
    if whole.p_value >= ALPHA or rising < LEAST_RISING * len(lives):
        return None
    last = max(lives, key=lambda life: runs.started_at_s[life.runs[0]])
    per_hour = whole.slope * _runs_per_hour(runs, lives)
    limit = limits_bytes.get(int(runs.worker_key[last.runs[-1]]))
    at_s = float(runs.started_at_s[last.runs[-1]])
    has = float(np.median(last.bytes[-5:]))
    return Leak(
        lives=len(lives),
        rising_lives=rising,
        runs=int(sizes.sum()),
        growth_per_run_bytes=whole.slope,
        low_per_run_bytes=whole.low,
        high_per_run_bytes=whole.high,
        growth_per_hour_bytes=per_hour,
        growth_share=whole.slope * usual / had,
        usual_life_runs=usual,
        p_value=whole.p_value,
        worker=str(runs.worker[last.runs[-1]]),
        memory_bytes=has,
        limit_bytes=limit,
        limit_reached_at_s=None
        if limit is None or per_hour <= 0
        else at_s + max(limit - has, 0.0) / per_hour * _HOUR_S,
    )


def _levels(runs: Runs, steps: Steps) -> Floats:
    """Of each run the memory of its process; NaN where it is not known.

    Steps differ in what they hold: each is taken about its median, so that a run of which some
    steps are missing does not look smaller.
    """
    known = np.isfinite(steps.memory_bytes)
    run, codes, memory = steps.run[known], steps.coded.codes[known], steps.memory_bytes[known]
    of_step = grouped_median(codes, memory, len(steps.names))
    counts = np.bincount(run, minlength=len(runs))
    sums = np.bincount(run, weights=memory - of_step[codes], minlength=len(runs))
    usual = float(np.median(memory)) if len(memory) else 0.0
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / np.where(counts, counts, np.nan) + usual)


def _lives(runs: Runs, levels: Floats) -> list[_Life]:
    """Those with the most runs; a process that is not known is told by its worker's name."""
    known = np.flatnonzero(np.isfinite(levels))
    names = coded(runs.worker[known])
    keys = np.where(runs.worker_key[known] >= 0, runs.worker_key[known], -1 - names.codes)
    order = known[np.argsort(keys, kind="stable")]
    keys, ordered = np.sort(keys), levels[order]
    begins = np.r_[True, np.diff(keys) != 0] | _falls(ordered)
    firsts = np.flatnonzero(begins)[: len(order)]
    sizes = np.diff(np.r_[firsts, len(order)])
    longest = np.argsort(-sizes, kind="stable")[:_MOST_LIVES]
    return [
        _Life(
            order[firsts[each] : firsts[each] + sizes[each]], ordered[firsts[each] :][: sizes[each]]
        )
        for each in longest
        if sizes[each] >= LEAST_LIFE
    ]


def _falls(levels: Floats) -> Mask:
    """Where memory is much lower than in the two runs before, and stays so."""
    found = np.zeros(len(levels), np.bool_)
    if len(levels) > 3:
        before = np.minimum(levels[1:-2], levels[:-3])
        after = np.maximum(levels[2:-1], levels[3:])
        found[2:-1] = after < _KEPT * before
    return found


def _runs_per_hour(runs: Runs, lives: list[_Life]) -> float:
    took_s = sum(
        float(runs.started_at_s[each.runs[-1]] - runs.started_at_s[each.runs[0]]) for each in lives
    )
    steps = sum(len(life.runs) - 1 for life in lives)
    return steps * _HOUR_S / took_s if took_s > 0 else 0.0
