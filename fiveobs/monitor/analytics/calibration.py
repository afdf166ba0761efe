"""How good forecasts were: what they lost, how often the interval held, and beside what is simple.

The pinball loss of a quantile q of probability p for an outcome y is ``p (y - q)`` if y is more,
else ``(1 - p) (q - y)``: it is least for the true quantile (Koenker and Bassett, "Regression
quantiles", 1978). Brier's score is the mean of ``(p - y)²``, with y 1 for a failure (Brier,
"Verification of forecasts expressed in terms of probability", 1950). Less is better for both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fiveobs.monitor.analytics.backtest import Asked, Trials, in_time_order
from fiveobs.monitor.analytics.columns import Floats, Mask
from fiveobs.monitor.analytics.forecasting import PROBABILITIES

__all__ = [
    "LAST_RUNS",
    "Answers",
    "Score",
    "answers_during",
    "answers_of",
    "brier",
    "common",
    "pinball",
    "score",
    "simple_answers",
]

#: Of how many runs the simple forecasts take the mean.
LAST_RUNS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What was said of each trial; NaN where nothing was."""

    #: Seconds: a column each for low, usual and high.
    duration_s: Floats
    #: Probability of failing.
    failure: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How good some answers were; ``None`` where there is nothing to judge by."""

    #: Completed runs of which the duration was said.
    runs: int
    pinball_p50_s: float | None
    pinball_p90_s: float | None
    #: The share of runs that lay in the interval; it is meant to be 0.8.
    coverage: float | None
    #: Runs that were completed or failed, of which the probability was said.
    judged_runs: int
    brier: float | None


def pinball(outcome: Floats, quantile: Floats, probability: float) -> Floats:
    """The loss of each, in the unit of the outcomes."""
    more = outcome - quantile
    return np.maximum(probability * more, (probability - 1) * more)


def brier(is_failed: Mask, probability: Floats) -> Floats:
    """The loss of each."""
    return (probability - is_failed) ** 2


def answers_of(trials: Trials, asked: Iterable[Asked]) -> Answers:
    """What a back-test said."""
    duration_s = np.full((len(trials), PROBABILITIES.size), np.nan)
    failure = np.full(len(trials), np.nan)
    for each in asked:
        interval = each.forecast.interval()
        if interval is not None:
            duration_s[each.place] = interval.low_s, interval.usual_s, interval.high_s
        if each.forecast.failure is not None:
            failure[each.place] = each.forecast.failure
    return Answers(duration_s=duration_s, failure=failure)


def answers_during(trials: Trials, asked: Iterable[Asked], least: int) -> Answers:
    """What is said of each run that is not over when its usual duration has passed, at that moment.

    Args:
        trials: The runs.
        asked: What a back-test said at their beginning.
        least: How many past runs there must be that were longer.
    """
    duration_s = np.full((len(trials), PROBABILITIES.size), np.nan)
    for each in asked:
        before = each.forecast.interval()
        if before is None or trials.duration_s[each.place] <= before.usual_s:
            continue
        now = each.forecast.interval(before.usual_s, least)
        if now is not None:
            duration_s[each.place] = now.low_s, now.usual_s, now.high_s
    return Answers(duration_s=duration_s, failure=np.full(len(trials), np.nan))


def simple_answers(trials: Trials, group: int, last: int = LAST_RUNS) -> dict[str, Answers]:
    """What is said without any modelling, from runs of the same group that had ended.

    Args:
        trials: The runs.
        group: Which column of their groups.
        last: How many runs are looked at.

    Returns:
        ``mean`` (the mean of the last runs, for all quantiles; failures: their share), ``last``
        (the same with the last run alone) and ``spread`` (the quantiles of the last runs).
    """
    names = ("mean", "last", "spread")
    said = {name: np.full((len(trials), PROBABILITIES.size), np.nan) for name in names}
    rates = {name: np.full(len(trials), np.nan) for name in names}
    took_s: dict[int, deque[float]] = {}
    failed: dict[int, deque[float]] = {}
    keys = trials.groups[:, group].tolist()

    def ask(place: int) -> None:
        known_s, ends = took_s.get(keys[place]), failed.get(keys[place])
        if known_s:
            said["mean"][place] = sum(known_s) / len(known_s)
            said["last"][place] = known_s[-1]
            said["spread"][place] = np.quantile(np.array(known_s), PROBABILITIES)
        if ends:
            rates["mean"][place] = rates["spread"][place] = sum(ends) / len(ends)
            rates["last"][place] = ends[-1]

    def end(place: int) -> None:
        is_failed = bool(trials.is_failed[place])
        failed.setdefault(keys[place], deque(maxlen=last)).append(float(is_failed))
        if not is_failed:
            took = float(trials.duration_s[place])
            took_s.setdefault(keys[place], deque(maxlen=last)).append(took)

    in_time_order(trials, ask, end)
    return {name: Answers(duration_s=said[name], failure=rates[name]) for name in names}


def common(answers: Mapping[str, Answers]) -> tuple[Mask, Mask]:
    """The trials of which all say something: of durations, and of failures."""
    durations = [np.isfinite(each.duration_s).all(axis=1) for each in answers.values()]
    failures = [np.isfinite(each.failure) for each in answers.values()]
    return np.logical_and.reduce(durations), np.logical_and.reduce(failures)


def score(trials: Trials, answers: Answers, judged: tuple[Mask, Mask] | None = None) -> Score:
    """Judge answers by what happened.

    Args:
        trials: The runs.
        answers: What was said of them.
        judged: Only these, of durations and of failures; all that was said by default.
    """
    durations, failures = judged or common({"": answers})
    durations = durations & trials.is_completed
    failures = failures & (trials.is_completed | trials.is_failed)
    took_s = trials.duration_s[durations]
    low_s, usual_s, high_s = answers.duration_s[durations].T
    # Sums of weights and logarithms round; a duration said to the digit lies in the interval.
    is_within = (took_s >= low_s * (1 - 1e-9)) & (took_s <= high_s * (1 + 1e-9))
    return Score(
        runs=int(durations.sum()),
        pinball_p50_s=_mean(pinball(took_s, usual_s, float(PROBABILITIES[1]))),
        pinball_p90_s=_mean(pinball(took_s, high_s, float(PROBABILITIES[2]))),
        coverage=_mean(is_within.astype(np.float64)),
        judged_runs=int(failures.sum()),
        brier=_mean(brier(trials.is_failed[failures], answers.failure[failures])),
    )


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None
