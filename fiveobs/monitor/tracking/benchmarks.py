"""How a job compares with past runs of the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from fiveobs.monitor.tracking.estimates import estimate
from fiveobs.monitor.tracking.history import MIN_RUNS
from fiveobs.monitor.tracking.human import number, percentile, rate, rounded_duration
from fiveobs.monitor.tracking.models.metrics import Benchmarks, SimilarJobs
from fiveobs.monitor.tracking.tracked import Tracked

__all__ = ["benchmarks", "compare", "rank_of"]

#: Durations that differ by less than this share are similar.
_SIMILAR = 0.05


def benchmarks(tracked: Tracked) -> Benchmarks:
    """The averages of past runs, and the job's rank among them.

    While it runs, its duration is what it is expected to be. Below `MIN_RUNS`, nothing is said.
    """
    durations = tracked.history.durations_s
    average_s = fmean(durations) if len(durations) >= MIN_RUNS else None
    average_rate = tracked.history.rate_per_s(tracked.unit)
    duration_s = _duration_s(tracked)
    similar, rank = compare(duration_s, durations), rank_of(duration_s, durations)
    return Benchmarks(
        job_type=tracked.job.job_name,
        average_job_duration=rounded_duration(average_s),
        average_job_duration_seconds=number(average_s, 3),
        average_throughput=rate(average_rate, tracked.unit),
        average_throughput_per_second=number(average_rate),
        current_performance_rank=percentile(round(rank)) if rank is not None else None,
        current_performance_rank_percentile=number(rank, 1),
        similar_jobs_comparison=similar,
        runs=len(durations),
    )


def rank_of(duration_s: float | None, others: Sequence[float]) -> float | None:
    """How many of the others took longer, in percent; of those that took as long, half.

    So a run like all others is in the middle. ``None`` as for `compare`.
    """
    if duration_s is None or len(others) < MIN_RUNS:
        return None
    slower = sum(each > duration_s for each in others)
    same = sum(each == duration_s for each in others)
    return 100 * (slower + same / 2) / len(others)


def compare(duration_s: float | None, others: Sequence[float]) -> SimilarJobs | None:
    """How many of the others took longer, as long and less, in percent that add to 100.

    ``None`` without a duration or with fewer than `MIN_RUNS` others.
    """
    if duration_s is None or len(others) < MIN_RUNS:
        return None
    slower = sum(each > duration_s * (1 + _SIMILAR) for each in others)
    faster = sum(each < duration_s * (1 - _SIMILAR) for each in others)
    counts = [slower, len(others) - slower - faster, faster]
    faster_than, similar_to, slower_than = _percents(counts)
    return SimilarJobs(faster_than=faster_than, similar_to=similar_to, slower_than=slower_than)


def _percents(counts: Sequence[int]) -> list[int]:
    """Whole percents that add to 100: the largest remainders are rounded up."""
    exact = [100 * count / sum(counts) for count in counts]
    whole = [int(each) for each in exact]
    places = sorted(range(len(exact)), key=lambda place: whole[place] - exact[place])
    for place in places[: 100 - sum(whole)]:
        whole[place] += 1
    return whole


def _duration_s(tracked: Tracked) -> float | None:
    if tracked.job.status == "completed":
        return tracked.job.duration_s
    left = estimate(tracked)
    if left is None or tracked.elapsed_s is None:
        return None
    return tracked.elapsed_s + left.remaining_s
