"""What goes wrong during a soak, and when: decided beforehand, by a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.base import Mode

__all__ = ["QUIET_S", "RECEIVERS", "Fault", "schedule"]

#: The receivers that are bothered.
RECEIVERS = ("otlp", "forward", "sentry")
#: The ways in which each of them fails without going away.
_MODES: dict[str, tuple[Mode, ...]] = {
    "otlp": ("blackhole", "error", "throttle", "garbage", "slow"),
    "forward": ("blackhole", "error", "throttle", "garbage", "slow", "half_ack"),
    "sentry": ("blackhole", "error", "throttle", "garbage", "slow"),
}
#: How long a receiver is well, and ill, at a time.
_WELL_S = (1.0, 6.0)
_ILL_S = (0.5, 6.0)
#: The share of faults that are the end of the receiver's process.
_KILL_SHARE = 0.3
#: How long a worker lives, and the share of ends that it does not notice.
_LIFE_S = (3.0, 25.0)
_SIGKILL_SHARE = 0.75
#: The end of a soak in which nothing goes wrong any more.
QUIET_S = 1.0
#: In the last seconds of each minute no receiver falls ill: else what outages leave behind would
#: grow for as long as a soak lasts, and be more than its end has time to deliver.
MINUTE_S, CALM_S = 60.0, 12.0


@dataclass(frozen=True, kw_only=True, order=True)
class Fault:
    """One thing that is done to one process."""

    #: Seconds from the beginning.
    at_s: float
    #: A receiver's name, or ``worker-0`` and so on.
    target: str
    #: A receiver is killed, started again or set to ``mode``; a worker is killed or told to end,
    #: and replaced.
    what: Literal["kill", "start", "mode", "terminate"]
    mode: Mode = "ok"


def schedule(seed: int, seconds: float, workers: int) -> list[Fault]:
    """Everything that is done, in order; the same for the same arguments.

    At ``seconds - QUIET_S`` every receiver is up and well.
    """
    end_s = seconds - QUIET_S
    faults = [
        fault
        for name in RECEIVERS
        for fault in _illnesses(random.Random(f"{seed}-{name}"), name, end_s)
    ]
    for number in range(workers):
        name = f"worker-{number}"
        faults += _deaths(random.Random(f"{seed}-{name}"), name, end_s)
    return sorted(faults)


def _illnesses(dice: random.Random, name: str, end_s: float) -> Iterator[Fault]:
    at_s = dice.uniform(*_WELL_S)
    while (at_s := _next_ill_s(at_s)) < end_s:
        well_at_s = min(at_s + dice.uniform(*_ILL_S), _calm_from_s(at_s), end_s)
        if dice.random() < _KILL_SHARE:
            yield Fault(at_s=at_s, target=name, what="kill")
            yield Fault(at_s=well_at_s, target=name, what="start")
        else:
            mode = dice.choice(_MODES[name])
            yield Fault(at_s=at_s, target=name, what="mode", mode=mode)
            yield Fault(at_s=well_at_s, target=name, what="mode")
        at_s = well_at_s + dice.uniform(*_WELL_S)


def _calm_from_s(at_s: float) -> float:
    """When the minute of a moment becomes calm."""
    return at_s // MINUTE_S * MINUTE_S + MINUTE_S - CALM_S


def _next_ill_s(at_s: float) -> float:
    """The moment itself, or the next minute's beginning if it is calm then."""
    is_calm = at_s >= _calm_from_s(at_s)
    return at_s // MINUTE_S * MINUTE_S + MINUTE_S if is_calm else at_s


def _deaths(dice: random.Random, name: str, end_s: float) -> Iterator[Fault]:
    at_s = dice.uniform(*_LIFE_S)
    while at_s < end_s:
        is_sudden = dice.random() < _SIGKILL_SHARE
        yield Fault(at_s=at_s, target=name, what="kill" if is_sudden else "terminate")
        at_s += dice.uniform(*_LIFE_S)
