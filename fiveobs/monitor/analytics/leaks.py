"""Whether memory grows over the lives of workers: from run to run, until the process ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fiveobs.monitor.analytics.columns import Floats, Ints, Mask, Runs, Steps, coded
from fiveobs.monitor.analytics.robust import ALPHA, corrected, grouped_median
from fiveobs.monitor.analytics.slopes import Slope, block_medians, slope_of

__all__ = ["LEAST_GROWTH", "LEAST_GROWTH_OF_RELEASE", "LEAST_LIFE", "Leak", "find_leak"]

#: Runs of a process whose memory is known, for its life to be looked at.
LEAST_LIFE = 50
#: A suspicion takes growth by this share of what processes have, over as many runs as the usual
#: life has, and that so many lives rise in their second half.
LEAST_GROWTH, LEAST_RISING = 0.1, 0.7
#: By so much if it is that of one release, of which there are fewer lives.
LEAST_GROWTH_OF_RELEASE = 0.125
#: A process that goes on with less than this share of what it had has begun anew.
_KEPT = 0.7
#: The lives with the most runs that are looked at, and the medians that stand for each half.
_MOST_LIVES, _BLOCKS = 100, 40
#: Lives of a release that are needed to speak of it alone.
_LEAST_LIVES = 2
_HOUR_S = 3_600.0


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Memory that grows from run to run in the lives of workers."""

    #: The release whose processes these are; empty for all of them.
    release: str
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

    @property
    def at_first(self) -> float:
        """Memory in its first runs."""
        return float(np.median(self.bytes[: max(len(self.runs) // 10, 3)]))


def find_leak(runs: Runs, steps: Steps, limits_bytes: Mapping[int, int]) -> Leak | None:
    """What the workers of a kind of job leak; ``None`` if nothing suggests that they do.

    First in all lives; then in those of each release, the newest first, for a leak mostly comes
    with one.

    Args:
        runs: Of one kind of job.
        steps: Theirs.
        limits_bytes: How much memory processes may have, by `Runs.worker_key`, where that is known.
    """
    groups = list(_groups(runs, _lives(runs, _levels(runs, steps))))
    for release, lives in groups:
        least = LEAST_GROWTH_OF_RELEASE if release else LEAST_GROWTH
        growth = _growth(lives, least, len(groups))
        if growth is not None:
            return _leak(runs, release, lives, growth, limits_bytes)
    return None


def _groups(runs: Runs, lives: list[_Life]) -> Iterator[tuple[str, list[_Life]]]:
    """All lives, and those of each release: of each group the longest."""
    if lives:
        yield "", lives[:_MOST_LIVES]
    by_release: dict[str, list[_Life]] = {}
    for life in sorted(lives, key=lambda life: -life.runs[0]):
        by_release.setdefault(runs.release[life.runs[0]], []).append(life)
    if len(by_release) > 1:
        for release, own in by_release.items():
            if release and len(own) >= _LEAST_LIVES:
                yield release, sorted(own, key=lambda life: -len(life.runs))[:_MOST_LIVES]


class _Growth(NamedTuple):
    """How memory grows in some lives, and what that comes to."""

    slope: Slope
    p_value: float
    rising_lives: int
    usual_life_runs: int
    #: As a share of what processes have at first.
    share: float


def _growth(lives: list[_Life], least: float, comparisons: int) -> _Growth | None:
    """``None`` if it is too little, not sure, or not in most lives."""
    halves = [life.second_half for life in lives]
    slope = slope_of(halves)
    had = float(np.median([life.at_first for life in lives]))
    if slope is None or had <= 0:
        return None
    sizes = [len(life.runs) for life in lives]
    usual = int(np.median(np.repeat(sizes, sizes)))  # the life that a run is in, usually
    each = [slope_of([half]) for half in halves]
    rising = sum(own is not None and own.slope > 0 for own in each)
    share, p_value = slope.slope * usual / had, float(corrected(slope.p_value, comparisons))
    is_leak = share >= least and p_value < ALPHA and rising >= LEAST_RISING * len(lives)
    return _Growth(slope, p_value, rising, usual, share) if is_leak else None


def _leak(
    runs: Runs, release: str, lives: list[_Life], growth: _Growth, limits_bytes: Mapping[int, int]
) -> Leak:
    last = max(lives, key=lambda life: int(life.runs[0]))
    run, has = int(last.runs[-1]), float(np.median(last.bytes[-5:]))
    per_hour = growth.slope.slope * _runs_per_hour(runs, lives)
    limit = limits_bytes.get(int(runs.worker_key[run]))
    reached_at_s = None
    if limit is not None and per_hour > 0:
        left_s = max(limit - has, 0.0) / per_hour * _HOUR_S
        reached_at_s = float(runs.started_at_s[run]) + left_s
    return Leak(
        release=release,
        lives=len(lives),
        rising_lives=growth.rising_lives,
        runs=sum(len(life.runs) for life in lives),
        growth_per_run_bytes=growth.slope.slope,
        low_per_run_bytes=growth.slope.low,
        high_per_run_bytes=growth.slope.high,
        growth_per_hour_bytes=per_hour,
        growth_share=growth.share,
        usual_life_runs=growth.usual_life_runs,
        p_value=growth.p_value,
        worker=str(runs.worker[run]),
        memory_bytes=has,
        limit_bytes=limit,
        limit_reached_at_s=reached_at_s,
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
    """Those that are long enough, the longest first.

    A process that is not known is told by its worker's name.
    """
    known = np.flatnonzero(np.isfinite(levels))
    names = coded(runs.worker[known])
    keys = np.where(runs.worker_key[known] >= 0, runs.worker_key[known], -1 - names.codes)
    order = known[np.argsort(keys, kind="stable")]
    keys, ordered = np.sort(keys), levels[order]
    begins = np.r_[True, np.diff(keys) != 0] | _falls(ordered)
    firsts = np.flatnonzero(begins)[: len(order)]
    sizes = np.diff(np.r_[firsts, len(order)])
    longest = np.argsort(-sizes, kind="stable")
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
