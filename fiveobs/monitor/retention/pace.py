"""How large a batch is and how long the rest after it: ingest has the right of way.

A batch takes some milliseconds, in which nobody else can write. Before it, whoever else wants to
write goes first; after it, the store is left alone for several times as long as the batch took.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Pace"]

_LEAST_ROWS, _MOST_ROWS, _FIRST_ROWS = 200, 1_000, 200
#: A rest is so many times the batch before it: where nobody else writes, and at most.
_LEAST_RESTS, _MOST_RESTS = 3.0, 10.0
#: The longest rest, in seconds: a batch that took long by itself (SQLite copies its log into the
#: file now and then, and lets others write meanwhile) is no reason to stand still.
_MOST_REST_S = 0.1
#: How long others may go first, one after another, and how often it is looked.
_PATIENCE_S, _LOOK_S = 1.0, 0.002


class Pace:
    """Tells how many rows to take, and rests.

    Args:
        others: How many others write or wait to write just now.
        batch_s: How long a batch may take, in seconds.
        wait: Waits for so many seconds; true if all is to end.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        others: Callable[[], int],
        *,
        batch_s: float,
        wait: Callable[[float], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._others = others
        self._batch_s = batch_s
        self._wait = wait
        self._clock = clock
        self._rests = _LEAST_RESTS
        self._began_s = 0.0
        #: The most rows of the next batch.
        self.rows = _FIRST_ROWS
        #: It is to end.
        self.is_over = False

    def let_pass(self) -> None:
        """Let others go first, but not for ever; the batch begins after it."""
        until_s = self._clock() + _PATIENCE_S
        is_wanted = self._others() > 0
        self._rests = min(
            max(self._rests * (1.25 if is_wanted else 0.9), _LEAST_RESTS), _MOST_RESTS
        )
        while self._others() and self._clock() < until_s and not self.is_over:
            self._rest(_LOOK_S)
        self._began_s = self._clock()

    def done(self) -> None:
        """The batch is over: learn from how long it took, and rest."""
        took_s = self._clock() - self._began_s
        change = 0.5 if took_s > self._batch_s else 1.1
        self.rows = min(max(round(self.rows * change), _LEAST_ROWS), _MOST_ROWS)
        self._rest(min(took_s * self._rests, _MOST_REST_S))

    def _rest(self, seconds: float) -> None:
        self.is_over = self._wait(seconds) or self.is_over
