"""How long a job will still take, from its progress and from past runs of the same kind.

The formulas, and why these, are in ``docs/design/0004-estimates.md``.
"""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from fiveobs.monitor.store.rows import StageRow
from fiveobs.monitor.tracking.history import MIN_RUNS, History, spread
from fiveobs.monitor.tracking.human import US
from fiveobs.monitor.tracking.tracked import StageState, Tracked

__all__ = [
    "MIN_BACK_TESTS",
    "Estimate",
    "StagePlan",
    "estimate",
    "plan_stages",
    "prediction_accuracy",
    "stage_left_s",
]

#: Below this share of the work, progress says nothing about the rest yet.
MIN_SHARE = 0.01
#: Runs that took longer than the job has until now; with fewer, it is an unusual run.
MIN_LONGER = 3
#: Predictions that are made after the fact for `prediction_accuracy`, at least.
MIN_BACK_TESTS = 10


class Estimate(NamedTuple):
    """How many seconds are left, and what that rests on."""

    #: ``stages``, ``progress+history``, ``progress`` or ``history``.
    method: str
    remaining_s: float
    #: Of ten runs like it, eight lie between these; ``None`` where too few runs are known.
    low_s: float | None
    high_s: float | None
    #: Past runs behind it.
    runs: int


class StagePlan(NamedTuple):
    """When a stage that has not ended is expected to begin and to end."""

    stage: StageState
    start_us: int
    end_us: int


def estimate(tracked: Tracked) -> Estimate | None:
    """How long a running job will still take; ``None`` if nothing is known about that.

    A method whose prediction has come to pass while the job goes on was wrong: the next one has
    its say.
    """
    if not tracked.is_running or tracked.elapsed_s is None:
        return None
    return (
        _by_stages(tracked)
        or _by_progress(tracked, tracked.elapsed_s)
        or _by_history(tracked.history, tracked.elapsed_s)
    )


def _by_stages(tracked: Tracked) -> Estimate | None:
    """What is left of the running stage, and what those to come took in past runs."""
    current, pending = tracked.current, tuple(stage.name for stage in tracked.pending)
    if not tracked.planned or (current is None and not pending):
        return None
    if current is None:
        return _estimate_of_stages(tracked.history.rests_s(pending))
    counted_s = _counted_left_s(tracked, current)
    if counted_s is not None:
        return _by_count(tracked.history, current.stage, counted_s, pending)
    if tracked.history.stage_median_s(current.stage) is None:
        return None
    rests = tracked.history.rests_s(pending, current.stage, _in_stage_s(tracked, current))
    return _estimate_of_stages(rests, MIN_LONGER)


def _by_count(
    history: History, stage: str, left_s: float, pending: tuple[str, ...]
) -> Estimate | None:
    """The running stage's count says what is left of it; that varies as the whole of it does."""
    usual_s = history.stage_median_s(stage)
    joint = history.rests_s(pending, stage, weight=left_s / usual_s) if usual_s else []
    if len(joint) >= MIN_RUNS:
        return _estimate_of_stages(joint)
    rests = history.rests_s(pending) if pending else []
    if pending and len(rests) < MIN_RUNS:
        return None
    left_s += median(rests) if rests else 0.0
    return Estimate(method="stages", remaining_s=left_s, low_s=None, high_s=None, runs=len(rests))


def _estimate_of_stages(rests: list[float], least: int = MIN_RUNS) -> Estimate | None:
    """From what was left in past runs at this point."""
    left = spread(sorted(rests))
    if left is None or left.runs < least:
        return None
    return Estimate(
        method="stages",
        remaining_s=left.usual_s,
        low_s=left.low_s,
        high_s=left.high_s,
        runs=left.runs,
    )


def stage_left_s(tracked: Tracked, row: StageRow) -> float | None:
    """Seconds left of a running stage: by its count, or else as long as past ones took longer.

    ``None`` where neither says that anything is left.
    """
    counted_s = _counted_left_s(tracked, row)
    if counted_s is not None:
        return counted_s
    longer = tracked.history.rests_s((), row.stage, _in_stage_s(tracked, row))
    is_known = tracked.history.stage_median_s(row.stage) is not None
    return median(longer) if is_known and len(longer) >= MIN_LONGER else None


def _counted_left_s(tracked: Tracked, row: StageRow) -> float | None:
    """What a stage's count leads to; ``None`` without one, or if it should have ended by now."""
    if row.eta_s is None:
        return None
    left_s = row.eta_s - max(tracked.now_us - (row.updated_at_us or tracked.now_us), 0) / US
    return left_s if left_s > 0 else None


def _in_stage_s(tracked: Tracked, row: StageRow) -> float:
    return max(tracked.now_us - (row.started_at_us or tracked.now_us), 0) / US


def _by_progress(tracked: Tracked, elapsed_s: float) -> Estimate | None:
    """In proportion to what is done; the less that is, the more past runs have a say."""
    share = (tracked.percent or 0.0) / 100
    if share < MIN_SHARE:
        return None
    at_this_rate_s = _elapsed_at_progress_s(tracked, elapsed_s) / share
    longer = tracked.history.longer_than(elapsed_s)
    if longer is None or longer.runs < MIN_LONGER or len(tracked.history.runs) < MIN_RUNS:
        left_s = at_this_rate_s - elapsed_s
        if left_s <= 0:
            return None
        return Estimate(method="progress", remaining_s=left_s, low_s=None, high_s=None, runs=0)
    said_s = share * at_this_rate_s - elapsed_s
    left_s = said_s + (1 - share) * longer.usual_s
    if left_s <= 0:
        return None
    return Estimate(
        method="progress+history",
        remaining_s=left_s,
        low_s=max(said_s + (1 - share) * longer.low_s, 0.0),
        high_s=said_s + (1 - share) * longer.high_s,
        runs=longer.runs,
    )


def _elapsed_at_progress_s(tracked: Tracked, elapsed_s: float) -> float:
    """How long it had run when it was last known how far it is."""
    known_us, started_us = tracked.percent_at_us, tracked.job.started_at_us
    if known_us is None or started_us is None or known_us <= started_us:
        return elapsed_s
    return min((known_us - started_us) / US, elapsed_s)


def _by_history(history: History, elapsed_s: float) -> Estimate | None:
    """As long as those past runs took that were not done by now, either."""
    longer = history.longer_than(elapsed_s)
    if longer is None or longer.runs < MIN_LONGER or len(history.runs) < MIN_RUNS:
        return None
    return Estimate(
        method="history",
        remaining_s=longer.usual_s - elapsed_s,
        low_s=longer.low_s - elapsed_s,
        high_s=longer.high_s - elapsed_s,
        runs=longer.runs,
    )


# --- stages ------------------------------------------------------------------------------------


def plan_stages(tracked: Tracked, whole: Estimate | None) -> list[StagePlan]:
    """When the running stage ends and those to come begin and end, as far as that is known.

    Args:
        tracked: The job.
        whole: What is known of the job; its rest is split among stages with no history.
    """
    if not tracked.is_running:
        return []
    current = tracked.current
    at_us, plan = tracked.now_us, []
    left_s = stage_left_s(tracked, current) if current is not None else 0.0
    if left_s is not None and whole is not None:
        left_s = min(left_s, whole.remaining_s)
    pending = tracked.pending
    durations = _durations_s(tracked, pending, left_s, whole)
    if current is not None and left_s is not None:
        state = next(stage for stage in tracked.all_stages if stage.row is current)
        started_us = current.started_at_us or at_us
        at_us += round(left_s * US)
        plan.append(StagePlan(stage=state, start_us=started_us, end_us=at_us))
    for stage, duration_s in zip(pending, durations, strict=False):
        end_us = at_us + round(duration_s * US)
        plan.append(StagePlan(stage=stage, start_us=at_us, end_us=end_us))
        at_us = end_us
    return plan


def _durations_s(
    tracked: Tracked,
    pending: tuple[StageState, ...],
    left_s: float | None,
    whole: Estimate | None,
) -> list[float]:
    """How long each stage to come will take; fewer where nothing is known of one."""
    if left_s is None:
        return []
    usual = [tracked.history.stage_median_s(stage.name) for stage in pending]
    if whole is not None:
        rest_s = max(whole.remaining_s - left_s, 0.0)
        weights = [each for each in usual if each]
        if len(weights) < len(pending):
            weights = [1.0] * len(pending)
        return [rest_s * weight / sum(weights) for weight in weights]
    durations: list[float] = []
    for each in usual:
        if each is None:
            break
        durations.append(each)
    return durations


# --- how good they are -------------------------------------------------------------------------


def prediction_accuracy(history: History) -> float | None:
    """How near estimates at the start of past runs would have come, 0 to 100.

    Each run is predicted by the median of those before it; 100 less the median error in percent
    of the run's duration. ``None`` with fewer than `MIN_BACK_TESTS` predictions.
    """
    oldest_first = history.durations_s[::-1]
    errors = []
    for place in range(MIN_RUNS, len(oldest_first)):
        actual = oldest_first[place]
        if actual > 0:
            errors.append(abs(median(oldest_first[:place]) - actual) / actual)
    if len(errors) < MIN_BACK_TESTS:
        return None
    return max(0.0, 100 * (1 - median(errors)))
