"""What a subscription of the bus is: patterns, a handler, how it is retried, and what waits.

Patterns and handlers are checked here, when somebody subscribes: that is where a mistake raises.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from fiveobs.types import JobEvent

if TYPE_CHECKING:
    import asyncio

    from fiveobs.journal.dead_letters import DeadLetter

#: Takes an event; what it returns is ignored.
Handler = Callable[[JobEvent], object]

_SEGMENT = re.compile(r"(?!.*\*\*)[\w*-]+", re.ASCII)


class Retry(NamedTuple):
    """How often and how fast a handler that raised is called again."""

    #: Further calls after the first one.
    retries: int
    #: The pause before the first of them, in seconds; it doubles each time.
    first_backoff_s: float
    #: The longest pause, in seconds.
    max_backoff_s: float

    def backoff_s(self, attempts: int, share: float) -> float:
        """The pause after so many calls: half of it is fixed, ``share`` (0 to 1) of the rest."""
        doublings = min(attempts - 1, 60)
        return min(self.first_backoff_s * 2.0**doublings, self.max_backoff_s) * (1 + share) / 2


class Delivery:
    """One event on its way to one subscription."""

    __slots__ = ("attempts", "event", "letter")

    def __init__(self, event: JobEvent, letter: DeadLetter | None = None) -> None:
        self.event = event
        self.attempts = 0
        #: The dead letter that is being replayed.
        self.letter = letter


class Inbox:
    """What a subscription wants, and what waits for it."""

    def __init__(
        self,
        handler: Handler,
        types: re.Pattern[str],
        service: str | None,
        name: str,
        retry: Retry,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.handler = handler
        self.types = types
        self.service = service
        self.name = name
        self.retry = retry
        self.loop = loop
        self.is_cancelled = False
        self.reset()

    def reset(self) -> None:
        """Empty, as in a new process."""
        #: Put in by jobs' threads, taken out by the dispatcher.
        self.waiting: deque[Delivery] = deque()
        #: Taken out and not settled; changed by the dispatcher only.
        self.unsettled = 0
        self.delivered = 0
        self.failed = 0

    @property
    def pending(self) -> int:
        return 0 if self.is_cancelled else len(self.waiting) + self.unsettled

    def wants(self, event_type: str, service: str) -> bool:
        return self.service in (None, service) and self.types.fullmatch(event_type) is not None


class Subscription:
    """A handler's place on the bus; made by ``Bus.subscribe``."""

    __slots__ = ("_cancel", "_inbox")

    def __init__(self, inbox: Inbox, cancel: Callable[[Inbox], None]) -> None:
        self._inbox = inbox
        self._cancel = cancel

    def __repr__(self) -> str:
        return (
            f"<Subscription {self.name} delivered={self.delivered} failed={self.failed}"
            f" pending={self.pending}>"
        )

    @property
    def name(self) -> str:
        """Names it in dead letters, and is how ``replay`` finds it again."""
        return self._inbox.name

    @property
    def delivered(self) -> int:
        """Events that the handler took."""
        return self._inbox.delivered

    @property
    def failed(self) -> int:
        """Events that went to the dead letters."""
        return self._inbox.failed

    @property
    def pending(self) -> int:
        """Events that wait, those waiting for another try included."""
        return self._inbox.pending

    def cancel(self) -> None:
        """End it: the handler gets no further event, and what waits for it is forgotten."""
        self._cancel(self._inbox)


def compile_patterns(pattern: str | Iterable[str]) -> re.Pattern[str]:
    """One expression for all patterns."""
    if isinstance(pattern, str):
        patterns: list[Any] = [pattern]
    elif isinstance(pattern, Iterable):
        patterns = list(pattern)
    else:
        raise TypeError(f"a pattern is text such as 'job.*', or several of them, not {pattern!r}")
    if not patterns:
        raise ValueError("no pattern given: '*' matches every event")
    return re.compile("|".join(_expression(one) for one in patterns))


def _expression(pattern: object) -> str:
    if not isinstance(pattern, str):
        raise TypeError(f"a pattern is text such as 'job.*', not {pattern!r}")
    segments = pattern.split(".")
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise ValueError(
            f"{pattern!r} matches no event: a pattern is made of names and '*' with dots between,"
            " such as 'job.*', '*.failed' or '*'"
        )
    *inner, last = segments
    parts = ["[^.]+" if one == "*" else _within(one) for one in inner]
    return r"\.".join([*parts, ".+" if last == "*" else _within(last)])


def _within(segment: str) -> str:
    return "[^.]*".join(re.escape(text) for text in segment.split("*"))


def checked_retry(retries: object, first_backoff_s: float, max_backoff_s: float) -> Retry:
    """The numbers, if they are in range."""
    if not isinstance(retries, int) or retries < 0:
        raise ValueError(f"retries must be a whole number from 0, not {retries!r}")
    if not 0 <= first_backoff_s <= max_backoff_s < threading.TIMEOUT_MAX:
        raise ValueError(
            "first_backoff_s and max_backoff_s must be seconds from 0, the first not above the"
            f" second, not {first_backoff_s!r} and {max_backoff_s!r}"
        )
    return Retry(retries, first_backoff_s, max_backoff_s)


def check_handler(handler: Handler, loop: asyncio.AbstractEventLoop | None) -> None:
    """Refuse what cannot be called with an event, or not here."""
    import inspect  # subscribing is rare, and importing fiveobs is to be quick

    if not callable(handler):
        raise TypeError(f"a handler is called with a JobEvent, and {handler!r} cannot be called")
    if loop is not None and not hasattr(loop, "call_soon_threadsafe"):
        raise TypeError(f"loop must be an event loop, not {loop!r}")
    call = getattr(handler, "__call__", None)  # noqa: B004 - the method itself is wanted
    is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
    if is_async and loop is None:
        raise TypeError(
            f"{name_of(handler)} is a coroutine function: say in which event loop it runs with"
            " loop=asyncio.get_running_loop()"
        )


def name_of(handler: Handler) -> str:
    """Module and name of a handler, or of its type."""
    named = handler if hasattr(handler, "__qualname__") else type(handler)
    return f"{named.__module__}.{named.__qualname__}"
