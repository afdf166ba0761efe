"""What every watch has: connections that are lost and made again, and the place to go on from.

Does no I/O itself.
"""

from __future__ import annotations

import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from fiveobs.client._call import Call
from fiveobs.client._events import EventStream
from fiveobs.client.answers import LogsAnswer
from fiveobs.exceptions import MonitorError, ServerError, TooManyError, UnreachableError

__all__ = ["DEFAULT_PATIENCE_S", "LONGEST_SILENCE_S", "Following"]

T = TypeVar("T")
_log = logging.getLogger("fiveobs.client")
#: A stream that is silent for longer has gone: the monitor gives a sign of life every 15 s.
LONGEST_SILENCE_S = 45.0
DEFAULT_PATIENCE_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0


class Following(ABC, Generic[T]):
    """One watch, over as many connections as it takes.

    Args:
        path: The stream, below the project's.
        query: What is asked for, by name.
        after: The place after which to begin; empty is where the monitor begins.
        patience_s: How long the monitor may be gone before it is given up, in seconds.
    """

    def __init__(
        self, path: str, query: dict[str, list[str]], after: str, patience_s: float
    ) -> None:
        self.path = path
        self.query = query
        #: Nothing more is to come, and nothing is asked any more.
        self.is_over = False
        self._patience_s = patience_s
        self._stream = EventStream(after)
        self._failures = 0
        #: When the present outage began, in seconds of a monotonic clock.
        self._gone_since_s: float | None = None

    @abstractmethod
    def take(self, chunk: bytes) -> Iterator[T]:
        """Give what is in what has come.

        Raises:
            AnswerError: It is not what it should be.
        """

    @property
    def last_event_id(self) -> str:
        """The place behind the last message that was given out; empty before the first."""
        return self._stream.last_event_id

    def headers(self) -> dict[str, str]:
        """Of the next connection."""
        found = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self.last_event_id:
            found["Last-Event-ID"] = self.last_event_id
        return found

    def connected(self) -> None:
        """The monitor has answered."""
        self._gone_since_s = None
        retry_s = self._stream.retry_s
        self._stream = EventStream(self.last_event_id)
        self._stream.retry_s = retry_s

    def question(self) -> Call[LogsAnswer] | None:
        """What is to be asked to know whether it is over; ``None`` if nothing is."""
        return None

    def answered(self, answer: LogsAnswer) -> None:
        """Learn what was answered."""

    def ended(self) -> None:
        """The monitor has closed the connection.

        Raises:
            UnreachableError: Unless the watch is over.
        """
        if not self.is_over:
            raise UnreachableError("the monitor has closed the stream")

    def lost(self, error: MonitorError, now_s: float) -> float:
        """The connection has ended or failed; how long to wait before the next one, in seconds.

        Raises:
            MonitorError: ``error``, if another try makes no sense or enough have been made.
        """
        self._gone_since_s = now_s if self._gone_since_s is None else self._gone_since_s
        if self._is_unknown_place(error):
            self._begin_anew()
            return _FIRST_PAUSE_S
        is_worth_it = isinstance(error, UnreachableError | ServerError | TooManyError)
        if not is_worth_it or now_s - self._gone_since_s >= self._patience_s:
            raise error
        self._failures += 1
        longest_s = min(_FIRST_PAUSE_S * 2.0**self._failures, _LONGEST_PAUSE_S)
        asked_s = getattr(error, "retry_after_s", None) or self._stream.retry_s or 0.0
        return max(longest_s * random.uniform(0.5, 1.0), asked_s)

    def _is_unknown_place(self, error: MonitorError) -> bool:
        """Whether the place to go on after is one that the monitor does not have yet."""
        wrong = (getattr(error, "problem", None) or {}).get("errors") or ()
        names = [each.get("name") for each in wrong if isinstance(each, Mapping)]
        return self.last_event_id.isdecimal() and names == ["Last-Event-ID"]

    def _begin_anew(self) -> None:
        """Forget the place, which the monitor does not know."""
        _log.warning(
            "the monitor does not have place %s (was its store restored from a backup?):"
            " the watch begins anew",
            self.last_event_id,
        )
        self._stream = EventStream("")
