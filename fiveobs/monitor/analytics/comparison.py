"""Whether runs are better or worse than before: two periods, or two releases.

What takes time or space is compared by the ratio of the two: the median of the ratios of all pairs
(Hodges and Lehmann's estimator, of logarithms), with the interval that belongs to Mann and
Whitney's test (Moses). Shares of failures by their difference, with Newcombe's interval. Sources:
J. L. Hodges, E. L. Lehmann, Ann. Math. Stat. 34 (1963) 598; H. B. Mann, D. R. Whitney, Ann. Math.
Stat. 18 (1947) 50; R. G. Newcombe, Statist. Med. 17 (1998) 873, method 10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import scipy

from fiveobs.monitor.analytics.columns import Floats, Runs, Steps
from fiveobs.monitor.analytics.rates import Z
from fiveobs.monitor.analytics.throughput import success_rate

__all__ = [
    "LEAST_S",
    "Comparison",
    "FailureDifference",
    "Ratio",
    "Side",
    "StepComparison",
    "Verdict",
    "compare",
    "ends_of",
    "failure_difference",
    "ratio",
]

Verdict: TypeAlias = Literal["better", "worse", "alike"]

#: Values on each side with fewer of which nothing is said; the newest that are looked at: the
#: ratios of all pairs are many.
MIN_VALUES, MOST_VALUES = 8, 500
#: A ratio nearer to 1 than this is none that matters, however sure it is; so with a difference of
#: failures of that much.
_LEAST_RATIO, _LEAST_DIFFERENCE = 1.05, 0.01
#: What is less counts as that much: seconds, and bytes.
LEAST_S, _LEAST_BYTES = 0.001, 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """What is compared: runs, and their steps."""

    runs: Runs
    steps: Steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """How many times as much the second side has; less is better."""

    before_runs: int
    after_runs: int
    #: The medians of the sides; ``None`` of none.
    before: float | None
    after: float | None
    #: ``None``, and all that follows, where a side has too few.
    ratio: float | None
    low: float | None
    high: float | None
    #: That chance alone would make such a difference.
    p_value: float | None
    verdict: Verdict | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureDifference:
    """How many more of the second side's runs fail, as a share of all; less is better."""

    before_runs: int
    after_runs: int
    before: float | None
    after: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: Verdict | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StepComparison:
    """A step that both sides have."""

    step: str
    duration: Ratio
    memory: Ratio
    failures: FailureDifference


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The second side beside the first."""

    duration: Ratio
    queue_wait: Ratio
    cpu: Ratio
    #: The most that any step of a run had at its end.
    memory: Ratio
    failures: FailureDifference
    steps: tuple[StepComparison, ...]
    #: Worse if durations or failures are worse, better if one of them is and none is worse;
    #: ``None`` if nothing can be said of either.
    verdict: Verdict | None


def compare(before: Side, after: Side) -> Comparison:
    """Compare two sides; durations, CPU and memory are those of completed runs."""
    done = [each.runs.where(each.runs.is_completed) for each in (before, after)]
    duration = ratio(done[0].duration_s, done[1].duration_s, LEAST_S)
    failures = failure_difference(*ends_of(before.runs), *ends_of(after.runs))
    return Comparison(
        duration=duration,
        queue_wait=ratio(before.runs.queue_wait_s, after.runs.queue_wait_s, LEAST_S),
        cpu=ratio(done[0].cpu_s, done[1].cpu_s, LEAST_S),
        memory=ratio(_most_memory(before), _most_memory(after), _LEAST_BYTES),
        failures=failures,
        steps=tuple(
            _step(name, before.steps, after.steps)
            for name in sorted(set(before.steps.names) & set(after.steps.names))
        ),
        verdict=_together(duration.verdict, failures.verdict),
    )


def ratio(before: Floats, after: Floats, least: float) -> Ratio:
    """How many times as much the second has.

    Args:
        before: Values in the order of time; NaN is left out.
        after: The other side's.
        least: What is less counts as that much; above 0.
    """
    first, second = (each[np.isfinite(each)] for each in (before, after))
    middle = [float(np.median(each)) if each.size else None for each in (first, second)]
    few = min(first.size, second.size)
    if few < MIN_VALUES:
        reason = f"too few: {first.size} and {second.size} runs, at least {MIN_VALUES} are needed"
        known: tuple[Any, ...] = (None, None, None, None)
        verdict: Verdict | None = None
    else:
        known = _estimated(*(np.log(np.maximum(each, least)) for each in (first, second)))
        verdict, reason = _judged_ratio(*known)
    return Ratio(
        before_runs=int(first.size),
        after_runs=int(second.size),
        before=middle[0],
        after=middle[1],
        ratio=known[0],
        low=known[1],
        high=known[2],
        p_value=known[3],
        verdict=verdict,
        reason=reason,
    )


def _estimated(first: Floats, second: Floats) -> tuple[float, float, float, float]:
    """The ratio, between what it lies, and the p-value, of logarithms."""
    first, second = first[-MOST_VALUES:], second[-MOST_VALUES:]
    pairs = np.sort((second[:, None] - first[None, :]).ravel())
    n, m = first.size, second.size
    outside = n * m / 2 - Z * math.sqrt(n * m * (n + m + 1) / 12)
    place = min(max(math.floor(outside), 0), pairs.size // 2)
    low, middle, high = pairs[place], np.median(pairs), pairs[pairs.size - 1 - place]
    is_same = bool(first.min() == second.max() and first.max() == second.min())
    p_value = (
        1.0 if is_same else float(scipy.stats.mannwhitneyu(first, second, method="asymptotic")[1])
    )
    return *np.exp([middle, low, high]).tolist(), p_value


def _judged_ratio(value: float, low: float, high: float, p_value: float) -> tuple[Verdict, str]:
    """A word and why."""
    shown = f"{value:.2f} times as much ({low:.2f} to {high:.2f})"
    if low <= 1 <= high or p_value >= 0.05:
        return "alike", f"{shown}: that may be chance"
    if 1 / _LEAST_RATIO <= value <= _LEAST_RATIO:
        return "alike", f"{shown}: too little to matter"
    return ("worse" if value > 1 else "better"), shown


def failure_difference(
    before_completed: int, before_failed: int, after_completed: int, after_failed: int
) -> FailureDifference:
    """How many more fail, by the numbers of those that completed and failed."""
    first = success_rate(before_failed, before_completed)
    second = success_rate(after_failed, after_completed)
    counts = before_completed + before_failed, after_completed + after_failed
    difference = low = high = None
    verdict: Verdict | None = None
    reason = f"too few: {counts[0]} and {counts[1]} runs, at least {MIN_VALUES} are needed"
    if first is not None and second is not None and min(counts) >= MIN_VALUES:
        difference = second.value - first.value
        low = difference - math.hypot(second.value - second.low, first.high - first.value)
        high = difference + math.hypot(second.high - second.value, first.value - first.low)
        verdict, reason = _judged_difference(difference, low, high)
    return FailureDifference(
        before_runs=counts[0],
        after_runs=counts[1],
        before=None if first is None else first.value,
        after=None if second is None else second.value,
        difference=difference,
        low=low,
        high=high,
        verdict=verdict,
        reason=reason,
    )


def _judged_difference(value: float, low: float, high: float) -> tuple[Verdict, str]:
    shown = f"{100 * value:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
    if low <= 0 <= high:
        return "alike", f"{shown}: that may be chance"
    if abs(value) < _LEAST_DIFFERENCE:
        return "alike", f"{shown}: too little to matter"
    return ("worse" if value > 0 else "better"), shown


def _together(*verdicts: Verdict | None) -> Verdict | None:
    known = [each for each in verdicts if each is not None]
    for word in ("worse", "better", "alike"):
        if word in known:
            return word
    return None


def ends_of(runs: Runs) -> tuple[int, int]:
    """How many completed, and how many failed."""
    return int(runs.is_completed.sum()), int(runs.is_failed.sum())


def _most_memory(side: Side) -> Floats:
    """The most of each completed run, in bytes."""
    found = np.full(len(side.runs), -np.inf)
    known = np.isfinite(side.steps.memory_bytes)
    np.maximum.at(found, side.steps.run[known], side.steps.memory_bytes[known])
    return found[side.runs.is_completed]


def _step(name: str, before: Steps, after: Steps) -> StepComparison:
    first, second = (each.where(each.step == name) for each in (before, after))
    done = [each.where(each.status == "completed") for each in (first, second)]
    ends = [
        (len(each), int(all_.is_failed.sum()))
        for each, all_ in zip(done, (first, second), strict=True)
    ]
    return StepComparison(
        step=name,
        duration=ratio(done[0].duration_s, done[1].duration_s, LEAST_S),
        memory=ratio(done[0].memory_bytes, done[1].memory_bytes, _LEAST_BYTES),
        failures=failure_difference(*ends[0], *ends[1]),
    )
