"""The thread of the bus: calls handlers, tries again, and keeps the order of each job.

The events of one job for one subscription form a *lane*. While the first of a lane waits for
another try, or is handled in an event loop, the rest of the lane waits behind it; other lanes go
on. The thread never sleeps for one of them: a heap says which is due next.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Awaitable, Coroutine
from contextvars import Context
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from fiveobs._report import report
from fiveobs._subscription import Delivery, Handler, Inbox
from fiveobs._wake import Wake
from fiveobs.types import JobEvent

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

#: How long ``stop`` waits beyond its deadline, in seconds: enough to see that the thread is over,
#: unless it is inside a handler.
_GRACE_S = 0.05


class Owner(Protocol):
    """What the thread needs of the bus."""

    #: The subscriptions; replaced, never changed.
    inboxes: tuple[Inbox, ...]

    def settle(self, inbox: Inbox, delivery: Delivery, error: BaseException | None) -> None:
        """Count an event that was handled, or that will not be."""

    def notify_waiters(self) -> None:
        """Wake those in ``flush`` if nothing is pending."""


#: A subscription and a job: the events of one lane are handled one after the other.
LaneKey = tuple[Inbox, str | None]


class Dispatcher:
    """The thread that calls handlers, and what it has taken out of the inboxes."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        #: Only lanes with an unsettled head; the head is in a handler or waits for another try.
        self.lanes: dict[LaneKey, deque[Delivery]] = {}
        self.is_stopped = False
        self.thread = threading.Thread(target=self._run, name="fiveobs-bus", daemon=True)
        #: When the head of which lane is to be tried.
        self._due: list[tuple[float, int, LaneKey]] = []
        self._next_order = count().__next__
        #: Heads that were handled in an event loop, and how that ended.
        self._done: deque[tuple[LaneKey, BaseException | None]] = deque()
        self._wake = Wake()
        self._share = Random().random

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def stop(self, deadline: float) -> None:
        """End after the handler that is running; wait for that until ``deadline``."""
        self.is_stopped = True
        self.wake()
        if self.thread.is_alive() and not self.is_current():
            self.thread.join(max(_GRACE_S, deadline - time.monotonic()))

    def is_current(self) -> bool:
        """Whether this is called by a handler."""
        return self.thread.ident == threading.get_ident()

    def _run(self) -> None:
        while not self.is_stopped:
            try:
                if not self._step():
                    self._owner.notify_waiters()
                    self._wait()
            except Exception as exc:
                report("bus", f"{type(exc).__name__}: {exc}")

    def _wait(self) -> None:
        self._wake.wait(self._due[0][0] - time.monotonic() if self._due else None)

    def _step(self) -> bool:
        """One event of each subscription, and the tries that are due; whether there were any."""
        worked = False
        while self._done:
            self._settle(*self._done.popleft())
            worked = True
        now = time.monotonic()
        for _ in range(len(self._due)):
            if self.is_stopped or self._due[0][0] > now:
                break
            self._try(heapq.heappop(self._due)[2])
            worked = True
        for inbox in self._owner.inboxes:
            if inbox.waiting and not self.is_stopped:
                self._take(inbox)
                worked = True
        return worked

    def _take(self, inbox: Inbox) -> None:
        inbox.unsettled += 1  # before it leaves the queue, so that it is never not pending
        try:
            delivery = inbox.waiting.popleft()
        except IndexError:  # cancelled just now
            inbox.unsettled -= 1
            return
        key = (inbox, delivery.event.job_id)
        lane = self.lanes.get(key)
        if lane is not None:
            lane.append(delivery)
            return
        self.lanes[key] = deque((delivery,))
        self._try(key)

    def _try(self, key: LaneKey) -> None:
        inbox, delivery = key[0], self.lanes[key][0]
        delivery.attempts += 1
        error: BaseException | None = None
        try:
            if not inbox.is_cancelled:
                # Not the context of a job: what a handler does belongs to none.
                Context().run(self._call, key, delivery.event)
                if inbox.loop is not None:
                    return
        except BaseException as exc:  # SystemExit of one handler must not end the others
            error = exc
        self._settle(key, error)

    def _call(self, key: LaneKey, event: JobEvent) -> None:
        inbox = key[0]
        if inbox.loop is not None:
            future = _call_in_loop(inbox.handler, event, inbox.loop)
            future.add_done_callback(lambda done: self._called_in_loop(key, done))
            return
        result = inbox.handler(event)
        if hasattr(result, "__await__"):
            close = getattr(result, "close", None)
            if close is not None:
                close()
            raise TypeError(f"{inbox.name} returned an awaitable: subscribe it with loop=")

    def _called_in_loop(self, key: LaneKey, done: Future[None]) -> None:
        """Runs in the event loop's thread."""
        error = RuntimeError("cancelled") if done.cancelled() else done.exception()
        self._done.append((key, error))
        self.wake()

    def _settle(self, key: LaneKey, error: BaseException | None) -> None:
        """The head of the lane was handled, or not: try it again, or go on to the next."""
        if self.is_stopped:  # close() has settled everything
            return
        inbox, lane = key[0], self.lanes[key]
        if inbox.is_cancelled:
            del self.lanes[key]
            return
        delivery = lane[0]
        if error is not None and delivery.attempts <= inbox.retry.retries:
            self._put_off(key, inbox.retry.backoff_s(delivery.attempts, self._share()))
            return
        self._owner.settle(inbox, delivery, error)
        lane.popleft()
        inbox.unsettled -= 1
        if lane:
            self._put_off(key, 0.0)
        else:
            del self.lanes[key]

    def _put_off(self, key: LaneKey, delay_s: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + delay_s, self._next_order(), key))


def _call_in_loop(
    handler: Handler, event: JobEvent, loop: asyncio.AbstractEventLoop
) -> Future[None]:
    import asyncio

    call: Coroutine[Any, Any, None] = _call_and_await(handler, event)
    try:
        return asyncio.run_coroutine_threadsafe(call, loop)
    except BaseException:
        call.close()
        raise


async def _call_and_await(handler: Handler, event: JobEvent) -> None:
    result = handler(event)
    if isinstance(result, Awaitable):
        await result
