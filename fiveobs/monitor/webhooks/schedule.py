"""When a delivery is tried again, and when it is given up.

Thirteen tries over a little more than three days. Each pause is made up to a fifth shorter or
longer by chance, so that what failed together does not come back together.
"""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = [
    "HELD_TRIES",
    "MAX_TRIES",
    "PAUSES_S",
    "REFUSALS",
    "REFUSED_TRIES",
    "holds_up",
    "pause_s",
]

_MINUTE_S, _HOUR_S = 60.0, 3600.0
#: The pause after the first failure, the second one, and so on, in seconds.
PAUSES_S = (
    *(5.0, 30.0),
    *(2 * _MINUTE_S, 5 * _MINUTE_S, 15 * _MINUTE_S),
    *(
        1 * _HOUR_S,
        2 * _HOUR_S,
        5 * _HOUR_S,
        10 * _HOUR_S,
        14 * _HOUR_S,
        20 * _HOUR_S,
        24 * _HOUR_S,
    ),
)
MAX_TRIES = len(PAUSES_S) + 1
#: A delivery that has failed so often no longer holds up those after it: about eight minutes.
HELD_TRIES = 5
#: Answers that are about this very event, so that waiting does not help; and the tries after which
#: one that was answered so holds up nothing: a few seconds, in case it was a slip after all.
REFUSALS, REFUSED_TRIES = (400, 413, 422), 2
_JITTER = 0.2


def holds_up(tries: int, http_status: int | None) -> bool:
    """Whether the deliveries after one that has failed wait for it.

    Args:
        tries: How often it was tried.
        http_status: What the receiver answered last; ``None`` if nothing came.
    """
    return tries < (REFUSED_TRIES if http_status in REFUSALS else HELD_TRIES)


def pause_s(
    failures: int, retry_after_s: float | None, chance: Callable[[], float] = random.random
) -> float:
    """Seconds until the next try.

    Args:
        failures: How often it has failed, from 1; below `MAX_TRIES`.
        retry_after_s: What the receiver asked for; it may lengthen the pause, not shorten it.
        chance: Gives a number from 0 to 1.
    """
    usual_s = PAUSES_S[failures - 1] * (1 + _JITTER * (2 * chance() - 1))
    return max(usual_s, retry_after_s or 0.0)
