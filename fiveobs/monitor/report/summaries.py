"""What a report says of runs: pure functions of columns; nothing here reads a store or a clock.

Errors are grouped and periods compared by the analytics, so that both say the same.
"""

from __future__ import annotations

from itertools import islice

import numpy as np

from fiveobs.monitor.analytics.columns import Floats, Runs, Steps
from fiveobs.monitor.analytics.comparison import (
    LEAST_S,
    FailureDifference,
    Ratio,
    ends_of,
    failure_difference,
    ratio,
)
from fiveobs.monitor.analytics.failures import error_groups
from fiveobs.monitor.analytics.throughput import success_rate
from fiveobs.monitor.report.models import (
    Change,
    FailureGroup,
    PeriodFigures,
    StepFigures,
    TrendPoint,
)
from fiveobs.monitor.tracking.human import US, Number, as_time, number

__all__ = ["changes_of", "failures_of", "figures_of", "steps_of", "trend_of"]

_MOST_FAILURES, _MOST_STEPS = 20, 30
_MOST_CHARS = 300


def figures_of(runs: Runs) -> PeriodFigures:
    """How some runs went."""
    completed, failed = ends_of(runs)
    rate = success_rate(completed, failed)
    took = _known(runs.duration_s[runs.is_completed])
    waited = _known(runs.queue_wait_s)
    return PeriodFigures(
        runs=len(runs),
        completed=completed,
        failed=failed,
        ended_otherwise=len(runs) - completed - failed,
        success_rate=None if rate is None else number(rate.value, 4),
        success_rate_low=None if rate is None else number(rate.low, 4),
        success_rate_high=None if rate is None else number(rate.high, 4),
        duration_median_seconds=_quantile(took, 0.5),
        duration_p90_seconds=_quantile(took, 0.9),
        queue_wait_median_seconds=_quantile(waited, 0.5),
        queue_wait_p90_seconds=_quantile(waited, 0.9),
    )


def trend_of(runs: Runs, from_s: float, step_s: float, count: int) -> list[TrendPoint]:
    """How runs went in each part of a period, by when they began.

    Args:
        runs: Of the period; what began after it counts to its last part.
        from_s: When it began, in seconds since 1970.
        step_s: How long a part is, in seconds.
        count: How many there are.
    """
    places = np.clip((runs.started_at_s - from_s) // step_s, 0, count - 1)
    found = []
    for place in range(count):
        part = runs.where(places == place)
        took = _known(part.duration_s[part.is_completed])
        found.append(
            TrendPoint(
                from_time=_time(from_s + place * step_s),
                runs=len(part),
                failed=int(part.is_failed.sum()),
                duration_median_seconds=_quantile(took, 0.5),
                duration_p90_seconds=_quantile(took, 0.9),
            )
        )
    return found


def steps_of(steps: Steps) -> list[StepFigures]:
    """The steps of some runs, those that took the most time first."""
    whole_s = float(_known(steps.duration_s).sum())
    found = []
    for name in steps.names:
        part = steps.where(steps.step == name)
        took = _known(part.duration_s)
        found.append(
            StepFigures(
                step_name=name,
                runs=len(part),
                failed=int(part.is_failed.sum()),
                total_seconds=number(float(took.sum()), 3) or 0,
                share=_share(float(took.sum()), whole_s) or 0,
                duration_median_seconds=_quantile(took, 0.5),
                duration_p90_seconds=_quantile(took, 0.9),
            )
        )
    found.sort(key=lambda step: (-step.total_seconds, step.step_name))
    return found[:_MOST_STEPS]


def failures_of(runs: Runs, before: Runs) -> list[FailureGroup]:
    """The failures among some runs by what error they are, the most frequent first.

    Args:
        runs: The runs.
        before: Those of the period before.
    """
    known = {group.group_id for group in error_groups(before.where(before.is_failed))}
    return [
        FailureGroup(
            group_id=group.group_id,
            error_type=group.error_type,
            runs=group.count,
            share=number(group.share, 4) or 0,
            first_at=_time(group.first_seen_at_s),
            last_at=_time(group.last_seen_at_s),
            message=group.message[:_MOST_CHARS],
            job_id=group.job_ids[0],
            is_new=group.group_id not in known,
        )
        for group in islice(error_groups(runs.where(runs.is_failed)), _MOST_FAILURES)
    ]


def changes_of(now: Runs, before: Runs) -> list[Change]:
    """The figures that both periods have, compared as two periods are by the analytics."""
    first, second = (each.duration_s[each.is_completed] for each in (before, now))
    found = (
        _change("failureRate", 4, failure_difference(*ends_of(before), *ends_of(now))),
        _change("durationMedianSeconds", 3, ratio(first, second, LEAST_S)),
        _change("queueWaitMedianSeconds", 3, ratio(before.queue_wait_s, now.queue_wait_s, LEAST_S)),
    )
    return [each for each in found if each is not None]


def _change(figure: str, digits: int, found: Ratio | FailureDifference) -> Change | None:
    if found.before is None or found.after is None:
        return None
    before, now = (number(each, digits) or 0 for each in (found.before, found.after))
    return Change(
        figure=figure,  # type: ignore[arg-type]
        before=before,
        now=now,
        difference=number(now - before, digits) or 0,
        verdict=found.verdict,
        reason=found.reason,
    )


def _known(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _quantile(values: Floats, share: float) -> Number | None:
    return number(float(np.quantile(values, share)), 3) if len(values) else None


def _share(part: float, whole: float) -> Number | None:
    return number(part / whole, 4) if whole else None


def _time(at_s: float) -> str:
    return as_time(round(at_s * US)) or ""
