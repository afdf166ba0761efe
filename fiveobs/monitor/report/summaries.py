"""What a report says of runs: pure functions of columns; nothing here reads a store or a clock.

Source: W. J. Conover, "Practical Nonparametric Statistics", 3.2, for the interval of a median, from
order statistics.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from fiveobs.monitor.analytics.columns import Floats, Runs, Steps
from fiveobs.monitor.analytics.rates import Z
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

#: Fewer values say nothing of where their median is.
_FEWEST = 6
_MOST_FAILURES, _MOST_STEPS = 20, 30
_MOST_CHARS = 300


def figures_of(runs: Runs) -> PeriodFigures:
    """How some runs went."""
    completed, failed = int(runs.is_completed.sum()), int(runs.is_failed.sum())
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


def failures_of(runs: Runs, known: Collection[str]) -> list[FailureGroup]:
    """The failures among some runs by type of error, the most frequent first.

    Args:
        runs: The runs.
        known: The types of error of the period before.
    """
    failed = runs.where(runs.is_failed)
    found = []
    for error_type in sorted(set(failed.error_type)):
        part = failed.where(failed.error_type == error_type)
        last = int(np.argmax(part.ended_at_s))
        found.append(
            FailureGroup(
                error_type=error_type,
                runs=len(part),
                share=_share(len(part), len(failed)) or 0,
                first_at=_time(float(part.ended_at_s.min())),
                last_at=_time(float(part.ended_at_s[last])),
                message=part.error_message[last][:_MOST_CHARS],
                job_id=part.job_id[last],
                is_new=error_type not in known,
            )
        )
    found.sort(key=lambda group: (-group.runs, group.error_type))
    return found[:_MOST_FAILURES]


def changes_of(now: Runs, before: Runs) -> list[Change]:
    """The figures that both periods have, compared."""
    found = [_rate_change(now, before)]
    found.append(
        _median_change(
            "durationMedianSeconds",
            _known(now.duration_s[now.is_completed]),
            _known(before.duration_s[before.is_completed]),
        )
    )
    found.append(
        _median_change(
            "queueWaitMedianSeconds", _known(now.queue_wait_s), _known(before.queue_wait_s)
        )
    )
    return [each for each in found if each is not None]


def _rate_change(now: Runs, before: Runs) -> Change | None:
    one, other = (
        success_rate(int(each.is_completed.sum()), int(each.is_failed.sum()))
        for each in (now, before)
    )
    if one is None or other is None:
        return None
    is_notable = _are_apart((one.low, one.high), (other.low, other.high))
    return _change("successRate", 4, (other.value, one.value), is_notable)


def _median_change(figure: str, now: Floats, before: Floats) -> Change | None:
    if not len(now) or not len(before):
        return None
    is_known = min(len(now), len(before)) >= _FEWEST
    is_notable = is_known and _are_apart(_median_interval(now), _median_interval(before))
    medians = (float(np.median(before)), float(np.median(now)))
    return _change(figure, 3, medians, is_notable)


def _change(figure: str, digits: int, values: tuple[float, float], is_notable: bool) -> Change:
    before, now = (number(each, digits) or 0 for each in values)
    difference = number(now - before, digits) or 0
    return Change(
        figure=figure,  # type: ignore[arg-type]
        before=before,
        now=now,
        difference=difference,
        is_notable=is_notable,
    )


def _are_apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[1] < other[0] or other[1] < one[0]


def _median_interval(values: Floats) -> tuple[float, float]:
    """Of at least `_FEWEST` values: two of them between which the median is, 95%."""
    ordered, count = np.sort(values), len(values)
    half = Z * math.sqrt(count) / 2
    low = max(math.floor(count / 2 - half), 0)
    high = min(math.ceil(count / 2 + half), count - 1)
    return float(ordered[low]), float(ordered[high])


def _known(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _quantile(values: Floats, share: float) -> Number | None:
    return number(float(np.quantile(values, share)), 3) if len(values) else None


def _share(part: float, whole: float) -> Number | None:
    return number(part / whole, 4) if whole else None


def _time(at_s: float) -> str:
    return as_time(round(at_s * US)) or ""
