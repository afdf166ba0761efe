"""Server-sent events: a stream of the hub, or of another source, over HTTP.

Each message has the event's key as its id and the CloudEvents object as its data; none has a type,
so that a browser's ``onmessage`` gets all of them. A sign of life is a comment, and gives the place
of the stream as id: a client whose filter takes little resumes where it was, not where it last got
something. Source: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from starlette.responses import Response

from fiveobs._report import report
from fiveobs.monitor.live.events import LiveEvent
from fiveobs.monitor.live.hub import Hub, Part
from fiveobs.monitor.live.lifetime import ENDLESS, Lifetime
from fiveobs.monitor.live.wanted import Wanted

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = [
    "HEARTBEAT_S",
    "PATIENCE_S",
    "EventStream",
    "Source",
    "Stream",
    "Stretch",
    "until_gone",
]

#: How often a silent stream gives a sign of life: more often than proxies give up.
HEARTBEAT_S = 15.0
#: How long a client may take nothing at all before its connection is closed.
PATIENCE_S = 30.0
#: How long clients wait before they connect again, in milliseconds.
_RETRY_MS = 1_000
_HEADERS = {
    "Cache-Control": "no-store",
    # Says to nginx, and to proxies that do as it does: pass on what there is, at once.
    "X-Accel-Buffering": "no",
}


class Stretch(Protocol):
    """What comes next in a stream."""

    @property
    def end(self) -> int:
        """The place from which the stream goes on."""


W = TypeVar("W")
W_contra = TypeVar("W_contra", contravariant=True)
S = TypeVar("S", bound=Stretch)
S_co = TypeVar("S_co", bound=Stretch, covariant=True)


class Source(Protocol[W_contra, S_co]):
    """Where a stream comes from; `Hub` is one."""

    @property
    def is_closed(self) -> bool:
        """The process is about to end."""

    def follow(self, owner: str = "") -> AbstractContextManager[None]:
        """Take part, for as long as a stream lasts."""

    async def next(self, wanted: W_contra, after: int, wait_s: float) -> S_co:
        """What comes after a place; nothing, if nothing came in time."""


class Stream(Response, ABC, Generic[W, S]):
    """An answer that goes on until the client leaves.

    Args:
        source: Where it comes from.
        wanted: What is wanted of that.
        after: The place at which to begin.
        owner: Whose stream it is.
        patience_s: How long a client may take nothing, in seconds.
        heartbeat_s: How often a silent stream gives a sign of life, in seconds.
        clock: Monotonic seconds.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        source: Source[W, S],
        wanted: W,
        after: int,
        *,
        owner: str = "",
        patience_s: float = PATIENCE_S,
        heartbeat_s: float = HEARTBEAT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._source = source
        self._wanted = wanted
        self._after = after
        self._owner = owner
        self._patience_s = patience_s
        self._heartbeat_s = heartbeat_s
        self._clock = clock

    @abstractmethod
    def _pieces(self, stretch: S) -> tuple[bytes, ...]:
        """What is to be sent of a stretch."""

    async def _is_over(self) -> bool:
        """Whether it ends now, though the client is there."""
        return self._source.is_closed

    @property
    def _wait_s(self) -> float:
        """How long may be waited before `_is_over` is to be asked again."""
        return self._heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the client until it leaves, is too slow, or the process ends."""
        gone = asyncio.create_task(until_gone(receive))
        serving = asyncio.create_task(self._serve(send))
        try:
            await asyncio.wait({gone, serving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            serving.cancel()
            await asyncio.gather(gone, serving, return_exceptions=True)

    async def _serve(self, send: Send) -> None:
        try:
            with self._source.follow(self._owner):
                await self._start(send)
                await self._stream(send)
            await self._send(send, b"", more_body=False)
        except TimeoutError:
            # Not ended in good order, so that the client knows that it must resume.
            report("live", f"a client took nothing for {self._patience_s} s: disconnected")
        except Exception as exc:  # the store is gone, say: the client comes back
            report("live", f"{type(exc).__name__}: {exc}")

    async def _start(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        await self._send(send, b"retry: %d\nid: %d\n\n" % (_RETRY_MS, self._after))

    async def _stream(self, send: Send) -> None:
        heartbeat_at = self._clock() + self._heartbeat_s
        while not await self._is_over():
            wait_s = max(0.0, min(heartbeat_at - self._clock(), self._wait_s))
            stretch = await self._source.next(self._wanted, self._after, wait_s)
            pieces = self._pieces(stretch)
            for piece in pieces:
                await self._send(send, piece)
            self._after = stretch.end
            if pieces:
                heartbeat_at = self._clock() + self._heartbeat_s
            elif self._clock() >= heartbeat_at:
                await self._send(send, b": alive\nid: %d\n\n" % self._after)
                heartbeat_at = self._clock() + self._heartbeat_s

    async def _send(self, send: Send, body: bytes, *, more_body: bool = True) -> None:
        """Hand over to the server, which waits while the client's buffers are full."""
        async with asyncio.timeout(self._patience_s):
            await send({"type": "http.response.body", "body": body, "more_body": more_body})


class EventStream(Stream[Wanted, Part]):
    """A stream of events.

    Args:
        hub: Where events come from.
        wanted: Which.
        after: The place at which to begin.
        owner: Whose stream it is.
        takes: A further choice, which may remember what it has seen; ``None`` takes all.
        lifetime: How long it lasts.
        patience_s: How long a client may take nothing, in seconds.
        heartbeat_s: How often a silent stream gives a sign of life, in seconds.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        hub: Hub,
        wanted: Wanted,
        after: int,
        *,
        owner: str = "",
        takes: Callable[[LiveEvent], bool] | None = None,
        lifetime: Lifetime = ENDLESS,
        patience_s: float = PATIENCE_S,
        heartbeat_s: float = HEARTBEAT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            hub,
            wanted,
            after,
            owner=owner,
            patience_s=patience_s,
            heartbeat_s=heartbeat_s,
            clock=clock,
        )
        self._hub = hub
        self._takes = takes
        self._lifetime = lifetime

    def _pieces(self, stretch: Part) -> tuple[bytes, ...]:
        """What is to be sent of a stretch; only without a further choice do others share it."""
        if self._takes is None:
            return stretch.sse
        return tuple(event.sse for event in stretch.events if self._takes(event))

    async def _is_over(self) -> bool:
        return self._hub.is_closed or await self._lifetime.is_over(self._hub)

    @property
    def _wait_s(self) -> float:
        return self._lifetime.wait_s


async def until_gone(receive: Receive) -> None:
    """Wait until the client of a request has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
