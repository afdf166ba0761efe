"""Notices new events once for all streams of the process, and keeps the newest of them.

A stream is a place (`event_key`) that moves. One that is close to the newest event is served from
memory, where each event is read, filtered and encoded once however many streams take it; one that
is behind, because it was resumed or because its client is slow, reads the store. So a slow client
costs no memory and loses nothing, and there is no queue for it that could be full.

Belongs to one event loop; only `close` may be called from other threads. Reads the store in threads
of its own, so that streams never wait for requests.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from fiveobs._report import report
from fiveobs.monitor.live.events import LiveEvent, events_after, newest_key
from fiveobs.monitor.live.wanted import Wanted
from fiveobs.monitor.store.engine import Store

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["ENOUGH_BYTES", "Hub", "Part"]

T = TypeVar("T")
#: How long until new events are looked for again; longer with many streams, because what is
#: written to a client costs as much for one event as for twenty.
_POLL_S, _POLL_S_PER_STREAM = 0.04, 0.0002
_AFTER_FAILURE_S = 1.0
#: Events that are read at once: what is new, and what a stream that is behind has to catch up on.
_NEW_EVENTS, _OLD_EVENTS = 1_000, 200
#: How many event keys one query of a project's stream goes through, wanted or not.
_WINDOW_KEYS = 20_000
#: What is kept in memory for the streams that are close behind.
_RING_EVENTS, _RING_BYTES = 10_000, 32 * 1024 * 1024
#: A client is written to at least this often while there is something to write.
ENOUGH_BYTES = 256 * 1024
#: Parts that are kept for others who want the same.
_MOST_PARTS = 64
_READERS = 4


class Part:
    """A stretch of a stream.

    Args:
        events: The wanted events of the stretch, in order.
        end: The place from which the stream goes on.
    """

    def __init__(self, events: list[LiveEvent], end: int) -> None:
        self.events = events
        self.end = end

    @cached_property
    def sse(self) -> tuple[bytes, ...]:
        """As server-sent messages, in pieces of about `ENOUGH_BYTES`."""
        pieces: list[bytes] = []
        some: list[bytes] = []
        size_bytes = 0
        for event in self.events:
            some.append(event.sse)
            size_bytes += len(event.sse)
            if size_bytes >= ENOUGH_BYTES:
                pieces.append(b"".join(some))
                some, size_bytes = [], 0
        return (*pieces, b"".join(some)) if some else tuple(pieces)


class _Batch(NamedTuple):
    """Events that were read at once."""

    #: The key of the last event before it, and of its last one.
    start: int
    end: int
    by_project: dict[int, list[LiveEvent]]
    by_job: dict[int, list[LiveEvent]]
    event_count: int
    size_bytes: int

    def those(self, wanted: Wanted) -> Iterable[LiveEvent]:
        if wanted.job_key is not None:
            found = self.by_job.get(wanted.job_key, [])
        else:
            found = self.by_project.get(wanted.project_key, [])
        return [each for each in found if wanted.takes(each)] if wanted.is_narrow else found


class Hub:
    """Serves streams.

    Args:
        store: Where events come from.
        poll_s: Seconds between two looks for new ones.
        most_followers: Streams at once.
        most_per_owner: Streams at once of one owner: a token, say.
    """

    def __init__(
        self,
        store: Store,
        *,
        poll_s: float = _POLL_S,
        most_followers: int = 4_000,
        most_per_owner: int = 1_000,
    ) -> None:
        self._store = store
        self._poll_s = poll_s
        self._most_followers = most_followers
        self.most_per_owner = most_per_owner
        #: How many streams there are, and how many of them are of events.
        self.followers = self._listeners = 0
        self._owners: Counter[str] = Counter()
        self._batches: deque[_Batch] = deque()
        self._kept_events = self._kept_bytes = 0
        #: What is in memory: the events after ``_start`` up to ``_end``.
        self._start = self._end = 0
        self._parts: dict[tuple[Wanted, int], Part] = {}
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        #: The process is about to end: streams end now, and are resumed elsewhere or later.
        self.is_closed = False
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="live-look")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="live-read")

    @property
    def has_room(self) -> bool:
        """Whether it takes one more stream."""
        return self.followers < self._most_followers and not self.is_closed

    def has_room_for(self, owner: str) -> bool:
        """Whether an owner may have one more stream: one alone cannot take all there are."""
        return self._owners[owner] < self.most_per_owner

    @contextlib.contextmanager
    def seat(self, owner: str = "") -> Iterator[None]:
        """Count as a stream of the owner's, for as long as it lasts."""
        self.followers += 1
        self._owners[owner] += 1
        try:
            yield
        finally:
            self.followers -= 1
            self._owners[owner] -= 1
            if not self._owners[owner]:
                del self._owners[owner]

    @contextlib.contextmanager
    def follow(self, owner: str = "") -> Iterator[None]:
        """Take part, for as long as a stream of events lasts; it counts as the owner's."""
        with self.seat(owner):
            self._listeners += 1
            try:
                self._start_polling()
                yield
            finally:
                self._listeners -= 1

    async def newest(self) -> int:
        """The key of the newest event in the store."""
        return await self.read(newest_key)

    async def next(self, wanted: Wanted, after: int, wait_s: float) -> Part:
        """The next stretch of a stream; nothing, at the same place, if nothing came in time.

        Args:
            wanted: Which events.
            after: The place of the stream.
            wait_s: How long to wait for events that are not there yet, in seconds.
        """
        if after >= self._end and self._poller is not None:
            changed = self._changed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await changed.wait()
        if after >= self._end:
            return Part([], after)
        if after < self._start:
            return await self.read(partial(_old, wanted=wanted, after=after))
        return self._recent(wanted, after)

    def close(self) -> None:
        """End all streams, from any thread; idempotent."""
        self.is_closed = True
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)

    # --- from memory -------------------------------------------------------------------------

    def _recent(self, wanted: Wanted, after: int) -> Part:
        found = self._parts.get((wanted, after))
        if found is None:
            found = self._make(wanted, after)
            if len(self._parts) < _MOST_PARTS:
                self._parts[wanted, after] = found
        return found

    def _make(self, wanted: Wanted, after: int) -> Part:
        events: list[LiveEvent] = []
        size_bytes = 0
        for batch in self._batches:
            if batch.end <= after:
                continue
            for event in batch.those(wanted):
                if event.event_key > after:
                    events.append(event)
                    size_bytes += event.size_bytes
            if size_bytes >= 4 * ENOUGH_BYTES:
                return Part(events, batch.end)
        return Part(events, self._end)

    def _add(self, events: list[LiveEvent]) -> None:
        batch = _to_batch(self._end, events)
        self._batches.append(batch)
        self._kept_events += batch.event_count
        self._kept_bytes += batch.size_bytes
        self._end = batch.end
        while self._batches and (
            self._kept_events > _RING_EVENTS or self._kept_bytes > _RING_BYTES
        ):
            old = self._batches.popleft()
            self._kept_events -= old.event_count
            self._kept_bytes -= old.size_bytes
            self._start = old.end
        self._parts.clear()
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # --- from the store ----------------------------------------------------------------------

    async def read(self, read: Callable[[Connection], T]) -> T:
        """Read the store, in a thread of its own."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._reading, read)

    def _reading(self, read: Callable[[Connection], T]) -> T:
        with self._store.reading() as connection:
            return read(connection)

    def _start_polling(self) -> None:
        if self._poller is None or self._poller.done():
            self._loop = asyncio.get_running_loop()
            self._poller = self._loop.create_task(self._poll(), name="live-hub")

    async def _poll(self) -> None:
        """Look for new events for as long as there are streams."""
        # What is older than this is read from the store by whoever wants it.
        self._forget(await self._look_until_it_works(newest_key))
        while self._listeners and not self.is_closed:
            read = partial(events_after, after=self._end, limit=_NEW_EVENTS)
            found = await self._look_until_it_works(read)
            if found:
                self._add(found)
            await asyncio.sleep(self._pause_s() if len(found) < _NEW_EVENTS else 0)
        self._poller = None
        self._wake()

    def _pause_s(self) -> float:
        return self._poll_s + _POLL_S_PER_STREAM * self._listeners

    async def _look_until_it_works(self, read: Callable[[Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await loop.run_in_executor(self._looker, self._reading, read)
            except Exception as exc:
                report("live", f"{type(exc).__name__}: {exc}")
                await asyncio.sleep(_AFTER_FAILURE_S)

    def _forget(self, end: int) -> None:
        self._batches.clear()
        self._parts.clear()
        self._kept_events = self._kept_bytes = 0
        self._start = self._end = end
        self._wake()


def _to_batch(start: int, events: list[LiveEvent]) -> _Batch:
    by_project: dict[int, list[LiveEvent]] = {}
    by_job: dict[int, list[LiveEvent]] = {}
    for event in events:
        by_project.setdefault(event.project_key, []).append(event)
        if event.job_key is not None:
            by_job.setdefault(event.job_key, []).append(event)
    size_bytes = sum(each.size_bytes for each in events)
    return _Batch(start, events[-1].event_key, by_project, by_job, len(events), size_bytes)


def _old(connection: Connection, *, wanted: Wanted, after: int) -> Part:
    """A stretch of the past. A project's is read in windows, so that no query takes long."""
    newest = newest_key(connection)
    end = newest if wanted.job_key is not None else min(newest, after + _WINDOW_KEYS)
    found = events_after(
        connection,
        after,
        up_to=end,
        project_keys=(wanted.project_key,),
        job_key=wanted.job_key,
        level=wanted.level,
        types=wanted.types,
        limit=_OLD_EVENTS,
    )
    if len(found) == _OLD_EVENTS:
        end = found[-1].event_key
    return Part([event for event in found if wanted.takes(event)], end)
