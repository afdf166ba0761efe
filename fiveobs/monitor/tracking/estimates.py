"""How long a job will still take, from its progress and from past runs of the same kind.

The formulas, and why these, are in ``docs/design/0004-estimates.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from fiveobs.monitor.store.rows import StageRow
from fiveobs.monitor.tracking.history import MIN_RUNS, History, quantile
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
    "to_come_s",
]

#: Below this share of the work, progress says nothing about the rest yet.
MIN_SHARE = 0.01
#: Runs that took longer than the job has until now; with fewer, it is an unusual run.
MIN_LONGER = 3
#: The interval goes from this share of past runs to that.
LOW, HIGH = 0.1, 0.9
#: Predictions that are made after the fact for `prediction_accuracy`, at least.
MIN_BACK_TESTS = 10


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How many seconds are left, and what that rests on."""

    #: ``stages``, ``progress+history``, ``progress`` or ``history``.
    method: str
    remaining_s: float
    #: Of ten runs like it, eight lie between these; ``None`` where too few runs are known.
    low_s: float | None
    high_s: float | None
    #: Past runs behind it.
    runs: int


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """When a stage that has not ended is expected to begin and to end."""

    stage: StageState
    start_us: int
    end_us: int


def estimate(tracked: Tracked) -> Estimate | None:
    """How long a running job will still take; ``None`` if nothing is known about that."""
    if not tracked.is_running or tracked.elapsed_s is None:
        return None
    return (
        _by_stages(tracked)
        or _by_progress(tracked, tracked.elapsed_s)
        or _by_history(tracked.history, tracked.elapsed_s)
    )


def to_come_s(history: History) -> tuple[float, float, float] | None:
    """Low, usual and high duration of a run that has not begun; ``None`` below `MIN_RUNS`."""
    durations = history.durations_s
    if len(durations) < MIN_RUNS:
        return None
    return quantile(durations, LOW), median(durations), quantile(durations, HIGH)


def _by_stages(tracked: Tracked) -> Estimate | None:
    """What is left of the running stage, and the usual duration of each stage to come."""
    if not tracked.planned:
        return None
    pending = tuple(stage.name for stage in tracked.pending)
    usual = [tracked.history.stage_median_s(name) for name in pending]
    current = tracked.current
    left_s = stage_left_s(tracked, current) if current is not None else 0.0
    if left_s is None or None in usual or (current is None and not pending):
        return None
    rests = tracked.history.rests_s(pending)
    if len(rests) < MIN_RUNS:
        return None
    return Estimate(
        method="stages",
        remaining_s=left_s + sum(each or 0.0 for each in usual),
        low_s=left_s + quantile(rests, LOW),
        high_s=left_s + quantile(rests, HIGH),
        runs=len(rests),
    )


def stage_left_s(tracked: Tracked, row: StageRow) -> float | None:
    """Seconds left of a running stage: by its count, or else by how long it usually takes."""
    since_s = max(tracked.now_us - (row.updated_at_us or tracked.now_us), 0) / US
    if row.eta_s is not None:
        return max(row.eta_s - since_s, 0.0)
    usual = tracked.history.stage_median_s(row.stage)
    if usual is None or row.started_at_us is None:
        return None
    return max(usual - (tracked.now_us - row.started_at_us) / US, 0.0)


def _by_progress(tracked: Tracked, elapsed_s: float) -> Estimate | None:
    """In proportion to what is done; the less that is, the more past runs have a say."""
    share = (tracked.percent or 0.0) / 100
    if share < MIN_SHARE:
        return None
    at_this_rate_s = _elapsed_at_progress_s(tracked, elapsed_s) / share
    longer = tracked.history.longer_than(elapsed_s)
    if len(tracked.history.runs) < MIN_RUNS or len(longer) < MIN_LONGER:
        left_s = max(at_this_rate_s - elapsed_s, 0.0)
        return Estimate(method="progress", remaining_s=left_s, low_s=None, high_s=None, runs=0)

    def left_if(past_s: float) -> float:
        return max(share * at_this_rate_s + (1 - share) * past_s - elapsed_s, 0.0)

    return Estimate(
        method="progress+history",
        remaining_s=left_if(median(longer)),
        low_s=left_if(quantile(longer, LOW)),
        high_s=left_if(quantile(longer, HIGH)),
        runs=len(longer),
    )


def _elapsed_at_progress_s(tracked: Tracked, elapsed_s: float) -> float:
    """How long it had run when it last said how far it is."""
    attempt = tracked.attempt
    has_said = attempt is not None and attempt.percent is not None
    said_us = attempt.progress_at_us if attempt is not None and has_said else None
    started_us = tracked.job.started_at_us
    if said_us is None or started_us is None or said_us <= started_us:
        return elapsed_s
    return min((said_us - started_us) / US, elapsed_s)


def _by_history(history: History, elapsed_s: float) -> Estimate | None:
    """As long as those past runs took that were not done by now, either."""
    longer = [each - elapsed_s for each in history.longer_than(elapsed_s)]
    if len(history.runs) < MIN_RUNS or len(longer) < MIN_LONGER:
        return None
    return Estimate(
        method="history",
        remaining_s=median(longer),
        low_s=quantile(longer, LOW),
        high_s=quantile(longer, HIGH),
        runs=len(longer),
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
    if whole is not None and whole.method != "stages":
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
