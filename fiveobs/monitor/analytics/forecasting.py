"""Forecasts of how long a run takes and whether it fails, from runs like it; learns as runs end.

Past runs are weighed by how recent they are and how like the asked one (its input's size, say), in
groups from the narrowest (this release of this kind of job) to the widest. Each half-life,
strictness and group is an expert; which of them have a say, and how much, is learnt from how wrong
each was (`mixing`). All that is said of durations are quantiles of past durations so weighed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fiveobs.monitor.analytics.columns import Floats, Ints, Mask
from fiveobs.monitor.analytics.mixing import Mixing, Recalibration

__all__ = ["MOST_RUNS", "PROBABILITIES", "Forecast", "Forecaster", "Interval", "Said"]

#: Low, usual and high: of ten runs, eight lie between the first and the last.
PROBABILITIES = np.array([0.1, 0.5, 0.9])
#: The newest runs of a group that are looked at.
MOST_RUNS = 100
#: A run so many places back weighs half, and so strictly is what is unlike left out.
_HALF_LIVES = np.array([0.7, 4.0, 30.0])
_STRICTNESS = np.array([0.0, 1.0, 4.0])
_BY_AGE = 0.5 ** (np.arange(MOST_RUNS)[::-1] / _HALF_LIVES[:, None])
#: Experts of a group: each half-life with each strictness; and the last, below.
_EXPERTS = _HALF_LIVES.size * _STRICTNESS.size + 1
#: The one of them from whose median errors are measured. The last expert of a group says: that
#: median, and errors as they were of late.
_MIDDLE = 4
#: How unlike a run is of which a feature is not known, and how unlike one can be at most; in
#: natural logarithms, so that 1 is a factor of 2.7.
_UNKNOWN_UNLIKE, _MOST_UNLIKE = 0.5, 2.0
#: Past errors that are looked at, after how many anew, and where.
_ERRORS, _ERRORS_EVERY = 400, 16
_ERRORS_AT = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
_ASKED_ERRORS = np.searchsorted(_ERRORS_AT, PROBABILITIES)
#: Runs of the narrowest group up to which other weights are learnt: little is known otherwise.
_FEW = np.array([1, 3, 10])
#: A group's failures count as if that many more runs had failed as often as those of wider ones.
_PRIOR_RUNS = 1.0
_BARELY = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Seconds that a run takes in all."""

    low_s: float
    usual_s: float
    high_s: float
    #: Past runs behind it.
    runs: int


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Said:
    """What each expert said, and how much it counted."""

    values: Floats
    awake: Mask
    weights: Floats
    #: How few runs were known: which weights these are.
    few: int


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Forecast:
    """What is said of one run, and what it takes to learn from its end."""

    #: Logarithms of past durations, sorted, and the sum of the weights up to each; the last is 1.
    log_s: Floats
    up_to: Floats
    #: Which probabilities to ask for: before it has begun, and while it runs.
    asked: Floats
    asked_later: Floats
    #: The probability that it fails; ``None`` if no run has ended.
    failure: float | None
    #: Logarithms of the durations of the past runs behind it, sorted.
    known: Floats
    durations: Said | None
    failures: Said | None
    #: Of each group; NaN of those without runs.
    medians: Floats

    def interval(self, elapsed_s: float = 0.0, least: int = 1) -> Interval | None:
        """How long it takes in all.

        Args:
            elapsed_s: It has run for so long: those that were done by then are left out.
            least: How many past runs there must be that were longer.

        Returns:
            ``None`` if there are fewer.
        """
        log_s = np.log(elapsed_s) if elapsed_s else -np.inf
        first = int(np.searchsorted(self.log_s, log_s, "right"))
        longer = len(self.known) - int(np.searchsorted(self.known, log_s, "right"))
        if longer < max(least, 1):
            return None
        gone = float(self.up_to[first - 1]) if first else 0.0
        asked = self.asked_later if elapsed_s else self.asked
        found = self.log_s[_places(self.up_to, gone + asked * (1 - gone))]
        low, usual, high = np.exp(np.maximum(found, self.log_s[first])).tolist()
        return Interval(low_s=low, usual_s=usual, high_s=high, runs=longer)


class _Recent:
    """The newest runs of a group, the last of them the newest."""

    __slots__ = ("_features", "_log_s", "_size", "count", "failed")

    def __init__(self, features: int) -> None:
        #: Completed runs that there were.
        self.count = 0
        self._log_s = np.empty(2 * MOST_RUNS)
        self._features = np.empty((2 * MOST_RUNS, features))
        self._size = 0
        #: Of the runs that completed or failed, 1 for each that failed.
        self.failed: deque[float] = deque(maxlen=MOST_RUNS)

    def add(self, log_s: float, features: Floats) -> None:
        if self._size == 2 * MOST_RUNS:
            self._log_s[:MOST_RUNS] = self._log_s[MOST_RUNS:]
            self._features[:MOST_RUNS] = self._features[MOST_RUNS:]
            self._size = MOST_RUNS
        self._log_s[self._size], self._features[self._size] = log_s, features
        self._size += 1
        self.count += 1

    def durations(self) -> tuple[Floats, Floats]:
        """Logarithms of durations, and features."""
        newest = slice(max(self._size - MOST_RUNS, 0), self._size)
        return self._log_s[newest], self._features[newest]


class _Errors:
    """How far runs of late were from the median of their group, in logarithms."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_ERRORS)
        self._count = 0
        #: Empty until enough are known; then some from their whole range.
        self.typical: Floats = np.empty(0)

    def learn(self, error: float) -> None:
        self._recent.append(error)
        self._count += 1
        if self._count % _ERRORS_EVERY == 0:
            self.typical = np.quantile(np.array(self._recent), _ERRORS_AT)


class Forecaster:
    """Says how long runs will take and whether they fail; learns from each that ends.

    Args:
        groups: How many groups each run belongs to, from the narrowest to the widest.
        features: How many features a run has.
    """

    def __init__(self, groups: int, features: int) -> None:
        self._features = features
        self._groups: list[dict[int, _Recent]] = [{} for _ in range(groups)]
        self._errors = [_Errors() for _ in range(groups)]
        kinds = range(len(_FEW) + 1)
        self._durations = [Mixing(groups * _EXPERTS) for _ in kinds]
        self._failures = [Mixing(groups * _HALF_LIVES.size) for _ in kinds]
        self._recalibrations = [Recalibration(float(PROBABILITIES[0])) for _ in kinds]
        #: Learnt from runs whose usual duration had passed, as from that moment.
        self._later = [Recalibration(float(PROBABILITIES[0])) for _ in kinds]

    def forecast(self, keys: Sequence[int], features: Floats) -> Forecast:
        """What is to be expected of a run.

        Args:
            keys: Its groups.
            features: Natural logarithms; NaN where one is not known.
        """
        found = [group.get(key) for group, key in zip(self._groups, keys, strict=True)]
        few = self._few(found[0])
        failures = self._failures_said(found, few)
        failure = None if failures is None else float(failures.weights @ failures.values)
        log_s, up_to, durations, medians = self._mixed(found, features, few)
        widest = next((each for each in reversed(found) if each is not None), None)
        known = np.empty(0) if widest is None else np.sort(widest.durations()[0])
        return Forecast(
            log_s=log_s,
            up_to=up_to,
            asked=self._recalibrations[few].probabilities(),
            asked_later=self._later[few].probabilities(),
            failure=failure,
            known=known,
            durations=durations,
            failures=failures,
            medians=medians,
        )

    @staticmethod
    def _few(narrowest: _Recent | None) -> int:
        known = 0 if narrowest is None else narrowest.count
        return int(np.searchsorted(_FEW, known, "right"))

    # --- durations -----------------------------------------------------------------------------

    def _mixed(
        self, found: Sequence[_Recent | None], features: Floats, few: int
    ) -> tuple[Floats, Floats, Said | None, Floats]:
        """The past durations, what each weighs, and what that is made of."""
        values = np.zeros((len(found) * _EXPERTS, PROBABILITIES.size))
        awake = np.zeros(len(values), np.bool_)
        medians = np.full(len(found), np.nan)
        parts: list[tuple[slice, Floats, Floats]] = []
        shortest, longest = _range(found)
        for place, group in enumerate(found):
            if group is None or not group.count:
                continue
            last = (place + 1) * _EXPERTS - 1
            experts = slice(last + 1 - _EXPERTS, last)
            log_s, weights = _weighed(*group.durations(), features)
            values[experts] = log_s[_places(np.cumsum(weights, axis=1), PROBABILITIES)]
            awake[experts] = True
            medians[place] = median = values[experts.start + _MIDDLE, 1]
            parts.append((experts, log_s, weights))
            errors = self._errors[place].typical
            if errors.size:
                likely = np.clip(median + errors, shortest, longest)
                values[last] = likely[_ASKED_ERRORS]
                awake[last] = True
                even = np.full((1, errors.size), 1 / errors.size)
                parts.append((slice(last, last + 1), likely, even))
        if not parts:
            return np.empty(0), np.empty(0), None, medians
        shares = self._durations[few].weights(awake)
        log_s = np.concatenate([part[1] for part in parts])
        summed = np.concatenate([shares[experts] @ weights for experts, _, weights in parts])
        order = np.argsort(log_s, kind="stable")
        said = Said(values=values, awake=awake, weights=shares, few=few)
        return log_s[order], np.cumsum(summed[order]), said, medians

    # --- failures ------------------------------------------------------------------------------

    def _failures_said(self, found: Sequence[_Recent | None], few: int) -> Said | None:
        """The rate of each group and half-life, drawn to that of the wider group."""
        values = np.zeros((len(found), _HALF_LIVES.size))
        awake = np.zeros(values.shape, np.bool_)
        wider = np.full(_HALF_LIVES.size, 0.5)
        for place in reversed(range(len(found))):
            group = found[place]
            if group is None or not group.failed:
                continue
            failed = np.array(group.failed)
            weights = _BY_AGE[:, MOST_RUNS - failed.size :]
            wider = (weights @ failed + _PRIOR_RUNS * wider) / (weights.sum(1) + _PRIOR_RUNS)
            values[place], awake[place] = wider, True
        if not awake.any():
            return None
        says = awake.ravel()
        weights = self._failures[few].weights(says)
        return Said(values=values.ravel(), awake=says, weights=weights, few=few)

    # --- learning ------------------------------------------------------------------------------

    def learn(
        self,
        keys: Sequence[int],
        features: Floats,
        *,
        duration_s: float,
        is_failed: bool,
        forecast: Forecast | None,
    ) -> None:
        """Take over that a run has ended.

        Args:
            keys: Its groups.
            features: As it was asked about.
            duration_s: How long it took; counts only if it was completed.
            is_failed: Whether it failed; else it was completed.
            forecast: What was said of it, to learn from; ``None`` if nothing was.
        """
        log_s = float(np.log(max(duration_s, _BARELY)))
        if forecast is not None:
            self._learn_failure(forecast, is_failed=is_failed)
            if not is_failed:
                self._learn_duration(forecast, log_s)
        for group, key in zip(self._groups, keys, strict=True):
            recent = group.get(key)
            if recent is None:
                recent = group[key] = _Recent(self._features)
            recent.failed.append(float(is_failed))
            if not is_failed:
                recent.add(log_s, features)

    def _learn_failure(self, forecast: Forecast, *, is_failed: bool) -> None:
        said = forecast.failures
        if said is None or forecast.failure is None:
            return
        losses = (said.values - is_failed) ** 2
        usual = (forecast.failure - is_failed) ** 2
        self._failures[said.few].learn(said.awake, said.weights, losses, usual)

    def _learn_duration(self, forecast: Forecast, log_s: float) -> None:
        said = forecast.durations
        if said is None:
            return
        errors = log_s - said.values
        losses = np.maximum(PROBABILITIES * errors, (PROBABILITIES - 1) * errors).mean(axis=1)
        usual = float(said.weights @ losses)
        self._durations[said.few].learn(said.awake, said.weights, losses, usual)
        below, up_to = _probability(forecast, log_s - _BARELY), _probability(forecast, log_s)
        self._recalibrations[said.few].learn(below, up_to)
        half = float(forecast.log_s[_places(forecast.up_to, PROBABILITIES)[1]])
        gone = _probability(forecast, half)
        if log_s > half and gone < 1 - _BARELY:
            self._later[said.few].learn((below - gone) / (1 - gone), (up_to - gone) / (1 - gone))
        for each, median in zip(self._errors, forecast.medians.tolist(), strict=True):
            if np.isfinite(median):
                each.learn(log_s - median)


def _range(found: Sequence[_Recent | None]) -> tuple[float, float]:
    """The logarithms of the shortest and the longest duration that is known."""
    known = [group.durations()[0] for group in found if group is not None and group.count]
    return (
        min((float(each.min()) for each in known), default=0.0),
        max((float(each.max()) for each in known), default=0.0),
    )


def _weighed(log_s: Floats, features: Floats, asked: Floats) -> tuple[Floats, Floats]:
    """Durations, sorted, and what each weighs to each expert; these sum to 1."""
    unlike = np.abs(features - asked)
    unlike = np.where(np.isnan(unlike), _UNKNOWN_UNLIKE, np.minimum(unlike, _MOST_UNLIKE))
    likeness = np.exp(-_STRICTNESS[:, None] * unlike.sum(axis=1))
    by_age = _BY_AGE[:, None, MOST_RUNS - log_s.size :]
    order = np.argsort(log_s, kind="stable")
    weights = (by_age * likeness).reshape(_EXPERTS - 1, log_s.size)[:, order]
    return log_s[order], weights / weights.sum(axis=1, keepdims=True)


def _probability(forecast: Forecast, log_s: float) -> float:
    """That a run takes so long at most."""
    place = int(np.searchsorted(forecast.log_s, log_s + _BARELY / 2, "right"))
    return float(forecast.up_to[place - 1]) if place else 0.0


def _places(up_to: Floats, probabilities: Floats) -> Ints:
    """Where sums of weights reach some probabilities; the last axis is that of the latter."""
    reached = (up_to[..., None] < probabilities - _BARELY).sum(axis=-2)
    return np.asarray(np.minimum(reached, up_to.shape[-1] - 1), np.int64)
