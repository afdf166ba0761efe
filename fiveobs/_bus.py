"""Tells code in the same process of events: ``bus.subscribe("job.*", handler)``.

``publish`` runs in the job's thread and takes no lock: it puts the event into the queue of each
subscription that wants it. One thread, ``fiveobs-bus``, calls the handlers. It starts with the
first event that somebody wants, and a forked child gets its own. A handler that raises is called
again after a growing pause, during which later events of the same job wait behind that one and
those of other jobs go on. What a handler refuses in the end, and what does not fit or is left at
the end, goes to the dead letters under ``FIVEOBS_HOME``.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar, overload

from fiveobs._dispatch import Dispatcher
from fiveobs._ids import clean_text, rfc3339
from fiveobs._report import report
from fiveobs._subscription import (
    Delivery,
    Handler,
    Inbox,
    Subscription,
    check_handler,
    checked_retry,
    compile_patterns,
    name_of,
)
from fiveobs._wake import Wake
from fiveobs.journal.dead_letters import DeadLetter, DeadLetterJournal
from fiveobs.types import JobEvent

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

__all__ = ["Bus", "DeadLetter", "Subscription", "bus"]

H = TypeVar("H", bound=Handler)

#: Events that may wait for one subscription.
MAX_PENDING = 10_000
#: Pairs of event type and service whose subscriptions are remembered.
_MAX_ROUTES = 1_000
#: How long ``close`` waits for a thread that is being started, in seconds.
_START_S = 1.0
#: Longest reason kept with a dead letter, in characters.
_MAX_REASON_LENGTH = 500


class Bus:
    """Hands events to handlers in this process.

    Args:
        home: See ``home``.
    """

    def __init__(self, home: Path | None = None) -> None:
        #: Where dead letters are kept; set by the runtime. ``None`` means what the environment
        #: says.
        self.home = home
        #: The subscriptions; replaced, never changed.
        self.inboxes: tuple[Inbox, ...] = ()
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._starting = threading.Lock()
        self._dispatcher: Dispatcher | None = None
        self._routes: dict[tuple[str, str], tuple[Inbox, ...]] = {}
        self._waiters: deque[Wake] = deque()
        self._letters = DeadLetterJournal(self._find_home)
        #: Keys of dead letters on their way to a handler.
        self._replaying: set[tuple[str, str, str]] = set()

    @property
    def has_subscribers(self) -> bool:
        """Whether an event may be wanted by anybody."""
        return bool(self.inboxes)

    @property
    def pending(self) -> int:
        """Events that wait, counted once for each subscription."""
        return sum(inbox.pending for inbox in self.inboxes)

    @overload
    def subscribe(
        self,
        pattern: str | Iterable[str],
        handler: Handler,
        *,
        service: str | None = None,
        name: str | None = None,
        retries: int = 5,
        first_backoff_s: float = 0.1,
        max_backoff_s: float = 30.0,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Subscription: ...

    @overload
    def subscribe(
        self,
        pattern: str | Iterable[str],
        handler: None = None,
        *,
        service: str | None = None,
        name: str | None = None,
        retries: int = 5,
        first_backoff_s: float = 0.1,
        max_backoff_s: float = 30.0,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Callable[[H], H]: ...

    def subscribe(
        self,
        pattern: str | Iterable[str],
        handler: Handler | None = None,
        *,
        service: str | None = None,
        name: str | None = None,
        retries: int = 5,
        first_backoff_s: float = 0.1,
        max_backoff_s: float = 30.0,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Subscription | Callable[[H], H]:
        """Have a handler called with every event that a pattern matches.

        Handlers run one after the other in one thread, so a slow one holds up the rest. Each gets
        the events of a job in their order, at least once. Also a decorator:
        ``@bus.subscribe("job.*")``.

        Args:
            pattern: An event type in which ``*`` stands for anything within a segment, and at the
                end for the rest: ``job.*``, ``*.failed``, ``*``. Or several.
            handler: Called with the ``JobEvent``. What it returns is ignored.
            service: Only events of this service; ``None`` means all.
            name: Names the subscription in dead letters; ``None`` means the handler's own name.
                Keep it the same over restarts, so that dead letters can be replayed.
            retries: Further calls when the handler raises; 0 means none.
            first_backoff_s: The pause before the first of them, in seconds; doubled each time.
            max_backoff_s: The longest pause, in seconds.
            loop: Calls the handler in this running event loop and, if it is a coroutine function,
                waits there for its end.

        Returns:
            The subscription; as a decorator, the handler.

        Raises:
            TypeError: The pattern is no text, the handler cannot be called with an event, or it is
                a coroutine function and there is no ``loop``.
            ValueError: The pattern matches nothing, or a number is out of range.
        """
        types = compile_patterns(pattern)
        retry = checked_retry(retries, first_backoff_s, max_backoff_s)
        if service is not None and not isinstance(service, str):
            raise TypeError(f"service must be a name or None, not {service!r}")

        def add(given: Handler) -> Subscription:
            check_handler(given, loop)
            called = clean_text(name or name_of(given), 200)
            return self._add(Inbox(given, types, service, called, retry, loop))

        def decorate(given: H) -> H:
            add(given)
            return given

        return decorate if handler is None else add(handler)

    def publish(self, event: JobEvent) -> None:
        """Put the event into the queue of everybody who wants it. Never blocks, never raises."""
        if not self.inboxes:
            return
        try:
            wanting = self._route(event.event_type, event.service)
            if wanting:
                self._check_process()
                for inbox in wanting:
                    self._put(inbox, Delivery(event))
                self._wake()
        except Exception as exc:
            report("bus", f"an event was not published: {type(exc).__name__}: {exc}")

    def dead_letters(self) -> list[DeadLetter]:
        """The events that could not be handled, of all processes with this home, oldest first.

        Reads files; those that were replayed are left out.
        """
        return self._letters.read()

    def replay(self, letters: DeadLetter | Iterable[DeadLetter] | None = None) -> int:
        """Deliver dead letters again, to the subscriptions that have their names now.

        Args:
            letters: Which; ``None`` means all. One without a subscription stays where it is.

        Returns:
            How many are on their way.
        """
        self._check_process()
        if letters is None:
            letters = self.dead_letters()
        elif isinstance(letters, DeadLetter):
            letters = [letters]
        queued = sum([self._replay(letter) for letter in letters])
        self._wake()
        return queued

    def flush(self, deadline: float) -> bool:
        """Wait until everything has been handled or given up.

        Args:
            deadline: On the monotonic clock.

        Returns:
            Whether nothing is pending. ``False`` at once when called by a handler.
        """
        self._check_process()
        done = Wake()
        while self.pending:
            left_s = deadline - time.monotonic()
            dispatcher = self._wake()
            if dispatcher is None or dispatcher.is_current() or left_s <= 0:
                return False
            self._waiters.append(done)
            dispatcher.wake()
            if not done.wait(left_s):
                self._forget_waiter(done)
                return False
        return True

    def close(self, deadline: float) -> bool:
        """Flush, end the thread, and put what is left into the dead letters.

        Idempotent. An event published later starts a new thread.

        Args:
            deadline: On the monotonic clock.

        Returns:
            Whether nothing was left.
        """
        self.flush(deadline)
        # No new thread meanwhile; a signal handler may have interrupted the start of one, though.
        is_held = self._starting.acquire(timeout=_START_S)
        try:
            left = self._take_back(deadline)
        finally:
            if is_held:
                self._starting.release()
        self._bury(left, "shutdown")
        if self.pending:  # published after it was taken back
            self._wake()
        return not left

    def after_fork(self) -> None:
        """Begin anew in a forked child: subscriptions stay, the parent's events are the parent's.

        Does nothing in the process that the bus already belongs to.
        """
        if self._pid != os.getpid():
            if self._dispatcher is not None:  # ours now, if a handler forked: it shall end
                self._dispatcher.is_stopped = True
            self._reset()
            for inbox in self.inboxes:
                inbox.reset()

    _check_process = after_fork

    # --- called by the dispatcher ---

    def settle(self, inbox: Inbox, delivery: Delivery, error: BaseException | None) -> None:
        """Count an event that was handled, or that will not be."""
        if error is not None:
            text = clean_text(error, _MAX_REASON_LENGTH)
            self._bury([(inbox, delivery)], f"{type(error).__name__}: {text}")
            return
        inbox.delivered += 1
        if delivery.letter is not None:
            self._write_letters([], [delivery.letter])

    def notify_waiters(self) -> None:
        """Wake those in ``flush`` if nothing is pending."""
        while self._waiters and not self.pending:
            self._waiters.popleft().set()

    # --- inside ---

    def _take_back(self, deadline: float) -> list[tuple[Inbox, Delivery]]:
        """End the thread, and empty lanes and inboxes; what was in them."""
        dispatcher, self._dispatcher = self._dispatcher, None
        left: list[tuple[Inbox, Delivery]] = []
        if dispatcher is not None:
            dispatcher.stop(deadline)
            left = [(key[0], one) for key, lane in list(dispatcher.lanes.items()) for one in lane]
        for inbox in self.inboxes:
            inbox.unsettled = 0
            for _ in range(len(inbox.waiting)):  # what comes now is for the next thread
                try:
                    left.append((inbox, inbox.waiting.popleft()))
                except IndexError:  # cancelled just now
                    break
        return [(inbox, one) for inbox, one in left if not inbox.is_cancelled]

    def _find_home(self) -> Path | None:
        # Not asked of the runtime, which may be starting or ending just now.
        if self.home is not None:
            return self.home
        from fiveobs._config import load_config

        return load_config(os.environ, {}, strict=False).home

    def _forget_waiter(self, waiter: Wake) -> None:
        try:
            self._waiters.remove(waiter)
        except ValueError:  # woken just now
            pass

    def _add(self, inbox: Inbox) -> Subscription:
        self._check_process()
        with self._lock:
            self.inboxes = (*self.inboxes, inbox)
            self._routes = {}
        return Subscription(inbox, self._cancel)

    def _cancel(self, inbox: Inbox) -> None:
        self._check_process()
        inbox.is_cancelled = True
        with self._lock:
            self.inboxes = tuple(one for one in self.inboxes if one is not inbox)
            self._routes = {}
        inbox.waiting.clear()
        dispatcher = self._dispatcher
        if dispatcher is not None:
            dispatcher.wake()

    def _route(self, event_type: str, service: str) -> tuple[Inbox, ...]:
        routes = self._routes  # before the subscriptions, which are replaced before it is
        key = (event_type, service)
        found = routes.get(key)
        if found is None:
            found = tuple(one for one in self.inboxes if one.wants(event_type, service))
            if len(routes) < _MAX_ROUTES:
                routes[key] = found
        return found

    def _put(self, inbox: Inbox, delivery: Delivery) -> None:
        if inbox.pending < MAX_PENDING:
            inbox.waiting.append(delivery)
        else:
            self._bury([(inbox, delivery)], "queue full")

    def _replay(self, letter: DeadLetter) -> bool:
        event = letter.event
        wanting = self._route(event.event_type, event.service)
        for inbox in wanting:
            is_free = letter.key not in self._replaying and inbox.pending < MAX_PENDING
            if inbox.name == letter.subscription and is_free:
                self._replaying.add(letter.key)
                inbox.waiting.append(Delivery(event, letter))
                return True
        return False

    def _wake(self) -> Dispatcher | None:
        """The dispatcher, started if need be; ``None`` if no thread can be had."""
        dispatcher = self._dispatcher
        if dispatcher is None:
            dispatcher = self._start()
        else:
            dispatcher.wake()
        return dispatcher

    def _start(self) -> Dispatcher | None:
        # Whoever holds the lock is about to start it and has seen what we have put in: no waiting.
        if not self._starting.acquire(blocking=False):
            return self._dispatcher
        try:
            if self._dispatcher is None:
                self._dispatcher = Dispatcher(self)
                self._dispatcher.thread.start()
        except RuntimeError as exc:
            self._dispatcher = None
            report("bus", f"events wait, because no thread can be started: {exc}")
        finally:
            self._starting.release()
        if self._dispatcher is not None:
            self._dispatcher.wake()
        return self._dispatcher

    def _bury(self, deliveries: list[tuple[Inbox, Delivery]], reason: str) -> None:
        """Put events into the dead letters, and count them."""
        if not deliveries:
            return
        dead_at = rfc3339(time.time_ns())
        letters = [
            DeadLetter(dead_at, inbox.name, reason, delivery.attempts, delivery.event)
            for inbox, delivery in deliveries
        ]
        with self._lock:
            for inbox, _ in deliveries:
                inbox.failed += 1
        replayed = [one.letter for _, one in deliveries if one.letter is not None]
        where = self._write_letters(letters, replayed)
        first = letters[0]
        report(
            f"bus subscription {first.subscription}",
            f"{len(letters)} events were not handled, the first {first.event!r}: {reason}; {where}",
        )

    def _write_letters(self, letters: list[DeadLetter], replayed: list[DeadLetter]) -> str:
        """Write to the dead letters; where they are. Never raises."""
        self._replaying.difference_update(letter.key for letter in replayed)
        try:
            path, dropped_bytes = self._letters.append(letters, replayed)
        except Exception as exc:
            return f"not kept either: {type(exc).__name__}: {exc}"
        if dropped_bytes:
            report("bus dead letters", f"the oldest {dropped_bytes} bytes of them were dropped")
        return f"kept in {path}"


#: The bus of this process.
bus = Bus()
