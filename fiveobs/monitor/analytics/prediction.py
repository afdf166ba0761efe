"""How long the next run of a kind of job takes, or one that runs, and whether it fails.

Each answer comes with its calibration: how good the same forecasts were for past runs, and how good
simple ones would have been. The method is in `forecasting`, its check in `backtest`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fiveobs.monitor.analytics.backtest import Trials, back_test, trials_of
from fiveobs.monitor.analytics.calibration import (
    Answers,
    Score,
    answers_during,
    answers_of,
    common,
    score,
    simple_answers,
)
from fiveobs.monitor.analytics.columns import Floats, Runs
from fiveobs.monitor.analytics.forecasting import MOST_RUNS, Forecast, Interval

__all__ = ["MIN_RUNS", "Coming", "Prediction", "predict"]

#: Past runs with fewer of which nothing is said.
MIN_RUNS = 5
#: Runs that took longer than one that runs has until now; with fewer, it is an unusual run.
MIN_LONGER = 3
#: The newest runs by which forecasts are judged; those before them are learnt from only.
MOST_JUDGED = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Coming:
    """The run that is asked about."""

    #: ``None`` is not known.
    input_size_bytes: float | None = None
    #: ``service.version``; ``None`` is that of the newest run.
    release: str | None = None
    #: For how long it has run; 0 before it has begun.
    elapsed_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What is to be expected of a run; ``None`` where too little is known."""

    #: Of ten runs like it, eight take between low and high; the usual is their median.
    duration: Interval | None
    #: The same less what has elapsed.
    remaining: Interval | None
    #: That it fails, given that it has not done so until now; from 0 to 1.
    failure_probability: float | None
    #: Completed runs, and those that failed, among the newest that were looked at.
    completed_runs: int
    failed_runs: int
    #: How good these forecasts were at the beginning of past runs, and simple ones beside them.
    calibration: Score
    simple: Mapping[str, Score]
    #: How good they were for past runs that went on after their usual duration, at that moment.
    during: Score


def predict(runs: Runs, coming: Coming | None = None) -> Prediction:
    """Predict a run from those of its kind that are over.

    Args:
        runs: Attempts at jobs of one kind, in the order in which they began.
        coming: What is known of the run.
    """
    coming = coming or Coming()
    places = np.flatnonzero(runs.is_completed | runs.is_failed)
    newest = runs.where(places[-MOST_JUDGED - MOST_RUNS :])
    trials = trials_of(newest)
    warm_up = min(max(len(newest) - MOST_JUDGED, MIN_RUNS), len(newest))
    asked, forecaster = back_test(trials, warm_up)
    keys = _keys(newest, coming, trials)
    forecast = forecaster.forecast(keys, _features(coming))
    answers = {"": answers_of(trials, asked), **simple_answers(trials, trials.groups.shape[1] - 1)}
    scores = _scores(trials, answers)
    duration, remaining = _intervals(forecast, trials, coming.elapsed_s)
    return Prediction(
        duration=duration,
        remaining=remaining,
        failure_probability=_failure(forecast, newest, coming.elapsed_s),
        completed_runs=int(trials.is_completed.sum()),
        failed_runs=int(trials.is_failed.sum()),
        calibration=scores.pop(""),
        simple=scores,
        during=score(trials, answers_during(trials, asked, MIN_LONGER)),
    )


def _scores(trials: Trials, answers: dict[str, Answers]) -> dict[str, Score]:
    """All judged by the same runs: those of which each says something."""
    judged = common(answers)
    return {name: score(trials, each, judged) for name, each in answers.items()}


def _keys(newest: Runs, coming: Coming, trials: Trials) -> list[int]:
    """The groups of the run; those of a release that is not known are empty."""
    if not len(newest):
        return [0] * trials.groups.shape[1]
    if coming.release is None:
        return [int(each) for each in trials.groups[-1]]
    same = np.flatnonzero(newest.release == coming.release)
    narrow = int(trials.groups[same[-1], 0]) if same.size else -1
    return [narrow, *(int(each) for each in trials.groups[-1, 1:])]


def _features(coming: Coming) -> Floats:
    size = coming.input_size_bytes
    return np.array([np.log(size) if size else np.nan])


def _intervals(
    forecast: Forecast, trials: Trials, elapsed_s: float
) -> tuple[Interval | None, Interval | None]:
    known = int(trials.is_completed.sum())
    least = MIN_LONGER if elapsed_s > 0 else 1
    whole = forecast.interval(elapsed_s, least) if known >= MIN_RUNS else None
    if whole is None:
        return None, None
    rest = Interval(
        low_s=max(whole.low_s - elapsed_s, 0.0),
        usual_s=max(whole.usual_s - elapsed_s, 0.0),
        high_s=max(whole.high_s - elapsed_s, 0.0),
        runs=whole.runs,
    )
    return whole, rest


def _failure(forecast: Forecast, newest: Runs, elapsed_s: float) -> float | None:
    """By Bayes: those that fail are mostly over sooner, or later, than those that do not."""
    said = forecast.failure
    if said is None or int((newest.is_failed | newest.is_completed).sum()) < MIN_RUNS:
        return None
    if elapsed_s <= 0:
        return said
    failed_s = newest.duration_s[newest.is_failed][-MOST_RUNS:]
    fails = said * _share_longer(failed_s, elapsed_s)
    completes = (1 - said) * _share_longer(newest.duration_s[newest.is_completed], elapsed_s)
    return float(fails / (fails + completes))


def _share_longer(duration_s: Floats, elapsed_s: float) -> float:
    """The share that took longer; never 0 or 1, as one more may be otherwise (Laplace)."""
    known_s = duration_s[np.isfinite(duration_s)]
    return float(((known_s > elapsed_s).sum() + 1) / (known_s.size + 2))
