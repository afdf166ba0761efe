"""The same streams over WebSocket: one CloudEvents object in each text message.

Subprotocol ``cloudevents.json``, as the CloudEvents WebSocket binding has it, where the client asks
for it. A client resumes by ``lastEventId``, the ``sequence`` of the last event that it has seen.
What a client sends is read and ignored. Signs of life are the server's pings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from starlette.websockets import WebSocket, WebSocketDisconnect

from fiveobs._report import report
from fiveobs.monitor.live.events import LiveEvent
from fiveobs.monitor.live.hub import Hub
from fiveobs.monitor.live.lifetime import ENDLESS, Lifetime
from fiveobs.monitor.live.sse import HEARTBEAT_S, PATIENCE_S
from fiveobs.monitor.live.wanted import Wanted

__all__ = ["SUBPROTOCOL", "Socket"]

SUBPROTOCOL = "cloudevents.json"
#: Close codes of RFC 6455: done, the server goes away, try again later.
_DONE, _GOING_AWAY, _TRY_AGAIN = 1000, 1001, 1013


class _Ending(NamedTuple):
    code: int
    reason: str


class Socket:
    """Serves one client.

    Args:
        hub: Where events come from.
        wanted: Which.
        after: The place at which to begin.
        owner: Whose stream it is.
        takes: A further choice, which may remember what it has seen; ``None`` takes all.
        lifetime: How long it lasts.
        patience_s: How long a client may take nothing, in seconds.
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
    ) -> None:
        self._hub = hub
        self._wanted = wanted
        self._after = after
        self._owner = owner
        self._takes = takes
        self._lifetime = lifetime
        self._patience_s = patience_s

    async def serve(self, websocket: WebSocket) -> None:
        """Accept, and send until the client leaves, is too slow, or the process ends."""
        asked = websocket.scope.get("subprotocols", ())
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in asked else None)
        gone = asyncio.create_task(_until_gone(websocket))
        sending = asyncio.create_task(self._send_all(websocket))
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            sending.cancel()
            _, ending = await asyncio.gather(gone, sending, return_exceptions=True)
        if isinstance(ending, _Ending):
            await _close(websocket, ending)

    async def _send_all(self, websocket: WebSocket) -> _Ending:
        try:
            with self._hub.follow(self._owner):
                return await self._stream(websocket)
        except TimeoutError:
            report("live", f"a client took nothing for {self._patience_s} s: disconnected")
            return _Ending(_TRY_AGAIN, "too slow: resume from the last event")
        except WebSocketDisconnect:
            raise
        except Exception as exc:  # the store is gone, say: the client comes back
            report("live", f"{type(exc).__name__}: {exc}")
            return _Ending(_TRY_AGAIN, "the monitor failed: resume from the last event")

    async def _stream(self, websocket: WebSocket) -> _Ending:
        while not self._hub.is_closed:
            wait_s = min(HEARTBEAT_S, self._lifetime.wait_s)
            part = await self._hub.next(self._wanted, self._after, wait_s)
            for event in part.events:
                if self._takes is None or self._takes(event):
                    async with asyncio.timeout(self._patience_s):
                        await websocket.send_text(event.json.decode())
            self._after = part.end
            if await self._lifetime.is_over(self._hub):
                return _Ending(_DONE, "the subscription has ended")
        return _Ending(_GOING_AWAY, "the monitor ends: resume from the last event")


async def _until_gone(websocket: WebSocket) -> None:
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def _close(websocket: WebSocket, ending: _Ending) -> None:
    try:
        async with asyncio.timeout(1.0):
            await websocket.close(ending.code, ending.reason)
    except (TimeoutError, RuntimeError, OSError):
        pass  # it does not listen: the server drops the connection
