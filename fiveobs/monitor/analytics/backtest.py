"""How good forecasts would have been: each past run is forecast from what had ended before it.

Nothing that was not known at the moment of asking is used, not even to learn weights from.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fiveobs.monitor.analytics.columns import Floats, Ints, Mask, Runs
from fiveobs.monitor.analytics.forecasting import Forecast, Forecaster

__all__ = ["Asked", "Trials", "back_test", "in_time_order", "trials_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trials:
    """Runs to be forecast and learnt from, in columns of one length."""

    #: When each is asked about, and when it had ended, in seconds since 1970.
    asked_at_s: Floats
    ended_at_s: Floats
    duration_s: Floats
    is_completed: Mask
    is_failed: Mask
    #: The groups that each belongs to, a column for each from the narrowest to the widest.
    groups: Ints
    #: Natural logarithms of what makes runs alike, a column for each; NaN where it is not known.
    features: Floats

    def __len__(self) -> int:
        """How many there are."""
        return len(self.asked_at_s)


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """A run that has ended, and what had been said of it."""

    #: Its place among the trials.
    place: int
    forecast: Forecast


def trials_of(runs: Runs) -> Trials:
    """Runs of one kind as trials: asked about when they began; those of a release are a group."""
    names, releases = np.unique(runs.release.astype(str), return_inverse=True)
    groups = np.zeros((len(runs), 1), np.int64)
    if len(names) > 1:
        groups = np.column_stack([releases, groups])
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.log(runs.input_size_bytes)
    is_ended = np.isfinite(runs.ended_at_s) & np.isfinite(runs.duration_s)
    return Trials(
        asked_at_s=runs.started_at_s,
        ended_at_s=runs.ended_at_s,
        duration_s=runs.duration_s,
        is_completed=runs.is_completed & is_ended,
        is_failed=runs.is_failed & np.isfinite(runs.ended_at_s),
        groups=groups,
        features=np.where(np.isfinite(size), size, np.nan)[:, None],
    )


def in_time_order(trials: Trials, ask: Callable[[int], None], end: Callable[[int], None]) -> None:
    """Go through the time: ask about each run, and tell of its end once that has come.

    A run that ends at the moment at which another is asked about is not known yet.

    Args:
        trials: The runs.
        ask: Called with the place of each in the order of asking.
        end: Called with the place of each that was completed or failed, in the order of ending.
    """
    has_end = (trials.is_completed | trials.is_failed).tolist()
    asked_at_s, ended_at_s = trials.asked_at_s.tolist(), trials.ended_at_s.tolist()
    running: list[tuple[float, int]] = []
    for place in np.argsort(trials.asked_at_s, kind="stable").tolist():
        while running and running[0][0] < asked_at_s[place]:
            end(heapq.heappop(running)[1])
        ask(place)
        if has_end[place]:
            heapq.heappush(running, (ended_at_s[place], place))
    while running:
        end(heapq.heappop(running)[1])


def back_test(trials: Trials, warm_up: int = 0) -> tuple[list[Asked], Forecaster]:
    """Forecast every run, in time order.

    Args:
        trials: The runs.
        warm_up: So many, the first to be asked about, are only learnt from.

    Returns:
        Those that ended, in the order in which they did, with what had been said of each; and the
        forecaster, which has learnt from all of them.
    """
    forecaster = Forecaster(trials.groups.shape[1], trials.features.shape[1])
    keys = trials.groups.tolist()
    said: dict[int, Forecast] = {}
    found: list[Asked] = []
    count = iter(range(len(trials)))

    def ask(place: int) -> None:
        if next(count) >= warm_up:
            said[place] = forecaster.forecast(keys[place], trials.features[place])

    def end(place: int) -> None:
        forecast = said.pop(place, None)
        forecaster.learn(
            keys[place],
            trials.features[place],
            duration_s=float(trials.duration_s[place]),
            is_failed=bool(trials.is_failed[place]),
            forecast=forecast,
        )
        if forecast is not None:
            found.append(Asked(place=place, forecast=forecast))

    in_time_order(trials, ask, end)
    return found, forecaster
