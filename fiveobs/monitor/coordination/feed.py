"""Notices changes of entities once for all watches of the process.

A watch is a place among all changes that moves. Of an entity that changed several times since, only
its latest state is given: what is read is the rows that lie behind the place, in the order of their
latest changes. So a watch from 0 gives every entity once, which is a snapshot, and then what
changes; and a client that is slow costs no memory and loses no state.

Belongs to one event loop; counts its streams with those of the hub, which ends them, too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from fiveobs._report import report
from fiveobs.monitor.coordination.models import state_of
from fiveobs.monitor.live.hub import Hub
from fiveobs.monitor.live.sse import Stream
from fiveobs.monitor.store import coordinating
from fiveobs.monitor.store.coordinating import EntityRow

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from starlette.types import Send

__all__ = ["Changed", "Feed", "StateStream", "Watched"]

#: How long until it is looked for new changes again, in seconds.
_POLL_S, _AFTER_FAILURE_S = 0.1, 1.0
#: Entities that are read at once.
_MOST_READ = 200
#: Stretches that are kept for others who want the same.
_MOST_KEPT = 64
#: The message that says that a watch has come to the present.
_SYNCED = b"id: %d\nevent: synced\ndata: {}\n\n"


@dataclass(frozen=True, slots=True)
class Watched:
    """Which entities a watch is for; no kinds mean all."""

    project_key: int
    kinds: frozenset[str] = frozenset()


class Changed:
    """Changes of a watch.

    Args:
        rows: Entities, in the order of their latest changes.
        end: The place from which the watch goes on.
    """

    def __init__(self, rows: list[EntityRow], end: int) -> None:
        self.end = end
        self._rows = rows

    @cached_property
    def sse(self) -> tuple[bytes, ...]:
        """As server-sent messages; the id is the place behind it."""
        messages = [b"id: %d\ndata: %b\n\n" % (row.change_key, _json(row)) for row in self._rows]
        return (b"".join(messages),) if messages else ()


class Feed:
    """Serves watches.

    Args:
        hub: Whose streams they are counted with.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        #: By project, of those that have changed since it began: before is before for all.
        self._newest: dict[int, int] = {}
        #: From where on changes are known, and up to where.
        self._start = self._end = 0
        self._watches = 0
        self._kept: dict[tuple[Watched, int], Changed] = {}
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None

    @property
    def is_closed(self) -> bool:
        """The process is about to end."""
        return self._hub.is_closed

    @property
    def is_watched(self) -> bool:
        """Whether there are watches, or were a moment ago."""
        return self._poller is not None

    @contextlib.contextmanager
    def follow(self, owner: str = "") -> Iterator[None]:
        """Take part, for as long as a watch lasts; it counts as the owner's."""
        with self._hub.seat(owner):
            self._watches += 1
            try:
                if self._poller is None or self._poller.done():
                    self._forget()
                    self._poller = asyncio.get_running_loop().create_task(self._poll())
                yield
            finally:
                self._watches -= 1

    async def next(self, wanted: Watched, after: int, wait_s: float) -> Changed:
        """What has changed for a watch; nothing, and maybe a later place, if nothing came in time.

        Args:
            wanted: Which entities.
            after: The place of the watch.
            wait_s: How long to wait for changes that are not there yet, in seconds.
        """
        if after >= self._end:
            changed = self._changed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await changed.wait()
        end = self._end
        if after >= self._newest.get(wanted.project_key, self._start) or after >= end:
            return Changed([], max(after, end))
        return await self._read(wanted, after, end)

    async def _read(self, wanted: Watched, after: int, end: int) -> Changed:
        found = self._kept.get((wanted, after))
        if found is None:
            found = await self._hub.read(partial(_stretch, wanted=wanted, after=after, end=end))
            if len(self._kept) < _MOST_KEPT and end == self._end:
                self._kept[wanted, after] = found
        return found

    async def _poll(self) -> None:
        """Look for changes for as long as there are watches."""
        while self._watches and not self.is_closed:
            try:
                newest = await self._hub.read(partial(_newest, after=self._end or None))
            except Exception as exc:
                report("live", f"{type(exc).__name__}: {exc}")
                await asyncio.sleep(_AFTER_FAILURE_S)
                continue
            if newest is not None:
                self._start = self._start or newest[0]
                self._end = newest[0]
                self._newest |= newest[1]
                self._kept.clear()
                self._wake()
            await asyncio.sleep(_POLL_S)
        self._poller = None
        self._wake()

    def _forget(self) -> None:
        """Know of no changes: what happened while nobody watched is read by whoever wants it."""
        self._newest.clear()
        self._kept.clear()
        self._start = self._end = 0

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class StateStream(Stream[Watched, Changed]):
    """A watch over HTTP: it says when it has come to what was newest when it began.

    Args:
        feed: Where changes come from.
        wanted: Which entities.
        after: The place at which to begin.
        newest: The newest change of all, when it began.
        owner: Whose watch it is.
    """

    def __init__(
        self, feed: Feed, wanted: Watched, after: int, *, newest: int, owner: str = ""
    ) -> None:
        super().__init__(feed, wanted, after, owner=owner)
        self._newest = newest
        self._is_synced = False

    async def _start(self, send: Send) -> None:
        await super()._start(send)
        for piece in self._synced(self._after):
            await self._send(send, piece)

    def _pieces(self, stretch: Changed) -> tuple[bytes, ...]:
        return stretch.sse + self._synced(stretch.end)

    def _synced(self, place: int) -> tuple[bytes, ...]:
        if self._is_synced or place < self._newest:
            return ()
        self._is_synced = True
        return (_SYNCED % place,)


def _newest(connection: Connection, *, after: int | None) -> tuple[int, dict[int, int]] | None:
    """The newest change of all, and of each project that changed; ``None`` if nothing has.

    Args:
        connection: Where.
        after: What changed after this place; ``None`` asks for the place alone.
    """
    end = coordinating.position(connection, "changes")
    if end <= (after or 0):
        return None
    return end, {} if after is None else coordinating.newest_changes(connection, after)


def _stretch(connection: Connection, *, wanted: Watched, after: int, end: int) -> Changed:
    rows = coordinating.changed_after(
        connection, wanted.project_key, after, up_to=end, kinds=wanted.kinds, limit=_MOST_READ
    )
    return Changed(rows, rows[-1].change_key if len(rows) == _MOST_READ else end)


def _json(row: EntityRow) -> bytes:
    return state_of(row).model_dump_json(by_alias=True).encode()
