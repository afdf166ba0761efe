"""How much more work fits: from what arrives, how long it takes, and how many places there are.

Work offered is `a = λ·S` (Erlang): runs that arrive in a second, times the seconds that each takes.
With `c` places their utilisation is `a / c`. How long runs wait is Erlang's C formula for M/M/c,
times Allen and Cunneen's correction for arrivals and durations that are no exponentials: half the
sum of their squared coefficients of variation. Sources: A. K. Erlang (1917); J. F. C. Kingman,
Proc. Camb. Phil. Soc. 57 (1961) 902; A. O. Allen, Probability, Statistics, and Queueing Theory,
2nd edition (1990), section 5.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fiveobs.monitor.analytics.columns import Floats, Runs
from fiveobs.monitor.analytics.throughput import NONE_OPEN, arrivals_s

__all__ = ["TARGET", "Capacity", "capacity", "erlang_c", "wait_s"]

#: Up to this utilisation more work is taken to fit, if nothing else is said.
TARGET = 0.8
#: Runs with fewer of which nothing is said.
MIN_RUNS = 20
_HOUR_S = 3_600.0
#: Two-sided, 5 in 100.
_Z = 1.96


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """How full it is; ``None`` where too little is known."""

    #: Runs that came and ended in the period, and how long it was.
    arrived: int
    ended: int
    period_s: float
    #: Runs that can be under way at once, and whether that was said or is the most that was seen.
    places: int | None
    are_places_seen: bool
    #: Runs under way on the average, and the most at once.
    busy: float
    most_busy: int
    target: float
    #: What is offered over the places: 1 is all that they can do.
    utilisation: float | None = None
    #: Runs an hour that came, and how many more would fit until the target; negative if too many
    #: come already.
    arrived_per_hour: float | None = None
    more_per_hour: float | None = None
    #: By how many runs an hour the queue grew, and whether that is more than chance.
    queue_growth_per_hour: float | None = None
    is_queue_growing: bool | None = None
    #: Seconds that runs waited on the average; what the formula says of now, and at the target.
    #: ``None`` from a utilisation of 1 on: then waits grow without end.
    mean_wait_s: float | None = None
    expected_wait_s: float | None = None
    wait_at_target_s: float | None = None


def capacity(
    runs: Runs,
    from_s: float,
    to_s: float,
    *,
    places: int | None = None,
    target: float = TARGET,
    open_arrived_s: Floats = NONE_OPEN,
) -> Capacity:
    """Find out how much more fits.

    Args:
        runs: Attempts that are over, in any order, of all that shares the places.
        from_s: The period's beginning, in seconds since 1970.
        to_s: Its end.
        places: How many runs can be under way at once; ``None`` takes the most that were.
        target: The utilisation up to which more fits, above 0 and below 1.
        open_arrived_s: When those came that are not over.
    """
    seen = _seen(runs, from_s, to_s, open_arrived_s)
    taken = seen.most_busy if places is None else places
    told = Capacity(
        arrived=seen.arrived,
        ended=seen.ended,
        period_s=seen.period_s,
        places=taken or None,
        are_places_seen=places is None,
        busy=seen.busy,
        most_busy=seen.most_busy,
        target=target,
    )
    return replace(told, **_concluded(seen, taken, target)) if seen.is_enough and taken else told


def _concluded(seen: _Seen, places: int, target: float) -> dict[str, Any]:
    """What follows, once enough was seen."""
    load = seen.arrived / seen.period_s * seen.mean_s
    grown = seen.arrived - seen.ended
    chance = _Z * math.sqrt(seen.arrived + seen.ended)  # of two Poisson counts
    return {
        "utilisation": load / places,
        "arrived_per_hour": seen.arrived / seen.period_s * _HOUR_S,
        "more_per_hour": (target * places - load) / seen.mean_s * _HOUR_S,
        "queue_growth_per_hour": grown / seen.period_s * _HOUR_S,
        "is_queue_growing": grown > chance,
        "mean_wait_s": seen.mean_wait_s,
        "expected_wait_s": wait_s(load, places, seen.mean_s, seen.burst),
        "wait_at_target_s": wait_s(target * places, places, seen.mean_s, seen.burst),
    }


def erlang_c(load: float, places: int) -> float:
    """The share of runs that find all places taken; 1 from a load of all places on.

    Args:
        load: Work offered, in places that it would fill.
        places: How many there are, 1 or more.
    """
    if load >= places:
        return 1.0
    blocked = 1.0  # Erlang's B, by its recursion, which does not overflow
    for place in range(1, places + 1):
        blocked = load * blocked / (place + load * blocked)
    utilisation = load / places
    return blocked / (1 - utilisation * (1 - blocked))


def wait_s(load: float, places: int, mean_s: float, burst: float) -> float | None:
    """How long a run waits on the average; ``None`` if waits grow without end.

    Args:
        load: Work offered, in places that it would fill.
        places: How many there are.
        mean_s: How long a run takes.
        burst: Half the sum of the squared coefficients of variation of arrivals and durations.
    """
    if load >= places:
        return None
    return erlang_c(load, places) * mean_s / (places - load) * burst


class _Seen(NamedTuple):
    """What there was in a period."""

    period_s: float
    arrived: int
    ended: int
    busy: float
    most_busy: int
    #: How long runs took that ended in it, however they ended; 0 if none did.
    mean_s: float
    burst: float
    mean_wait_s: float | None
    is_enough: bool


def _seen(runs: Runs, from_s: float, to_s: float, open_arrived_s: Floats) -> _Seen:
    arrived_s = np.sort(arrivals_s(runs, open_arrived_s))
    arrived_s = arrived_s[(arrived_s >= from_s) & (arrived_s < to_s)]
    is_over = (runs.ended_at_s >= from_s) & (runs.ended_at_s < to_s)
    took_s, waited_s = runs.duration_s[is_over], runs.queue_wait_s[is_over]
    took_s, waited_s = took_s[np.isfinite(took_s)], waited_s[np.isfinite(waited_s)]
    busy, most = _busy(runs, from_s, to_s)
    mean_s = float(took_s.mean()) if took_s.size else 0.0
    return _Seen(
        period_s=max(to_s - from_s, 0.0),
        arrived=int(arrived_s.size),
        ended=int(is_over.sum()),
        busy=busy,
        most_busy=most,
        mean_s=mean_s,
        burst=_burst(arrived_s, took_s),
        mean_wait_s=float(waited_s.mean()) if waited_s.size else None,
        is_enough=min(arrived_s.size, took_s.size) >= MIN_RUNS and mean_s > 0,
    )


def _burst(arrived_s: Floats, took_s: Floats) -> float:
    return (_variation(np.diff(arrived_s)) + _variation(took_s)) / 2


def _variation(values: Floats) -> float:
    """The squared coefficient of variation."""
    mean = float(values.mean()) if values.size else 0.0
    return float(values.var()) / mean**2 if mean > 0 else 1.0


def _busy(runs: Runs, from_s: float, to_s: float) -> tuple[float, int]:
    """Runs under way in the period: on the average, and the most at once."""
    began_s = np.maximum(runs.started_at_s, from_s)
    ended_s = np.minimum(runs.ended_at_s, to_s)
    is_in = ended_s > began_s
    began_s, ended_s = began_s[is_in], ended_s[is_in]
    if not began_s.size:
        return 0.0, 0
    at_s = np.concatenate([ended_s, began_s])
    steps = np.repeat([-1, 1], began_s.size)
    order = np.argsort(at_s, kind="stable")  # ends first: a place that was left can be taken
    return float((ended_s - began_s).sum() / (to_s - from_s)), int(steps[order].cumsum().max())
