"""Asks an application without a network, also where its answer has no end, and over WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["WEBSOCKET", "Answer", "ask", "asked"]

#: In the place of a method.
WEBSOCKET = "WEBSOCKET"
_TIMEOUT_S = 20.0


class Answer(NamedTuple):
    """What was answered; of a stream the beginning."""

    #: 101 for a WebSocket that was accepted, 403 for one that was closed instead.
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class _Exchange:
    """One request and what is sent in answer."""

    def __init__(self, body: bytes, chunk_bytes: int) -> None:
        self._chunks = [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)]
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.done = asyncio.Event()
        #: The client has gone.
        self.left = asyncio.Event()
        #: Something was begun that goes on until the client leaves.
        self.is_endless = False

    async def receive_http(self) -> dict[str, Any]:
        if self.status == 0 and self._chunks is not None:
            body = self._chunks.pop(0) if self._chunks else b""
            more = bool(self._chunks)
            if not more:
                self._chunks = None
            return {"type": "http.request", "body": body, "more_body": more}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def receive_websocket(self) -> dict[str, Any]:
        if self.status == 0:
            return {"type": "websocket.connect"}
        await self.left.wait()
        return {"type": "websocket.disconnect", "code": 1001}

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"].removeprefix("websocket.")
        if kind == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            if self.headers.get("content-type", "").startswith("text/event-stream"):
                self.is_endless = True
                self.done.set()
        elif kind == "http.response.body":
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                self.done.set()
        elif kind == "accept":
            self.status = 101
            self.is_endless = True
            self.done.set()
        elif kind == "send":
            self.body += message["text"].encode()
        elif kind == "close":
            self.status = self.status or 403
            self.done.set()


def ask(
    app: Any,
    method: str,
    url: str,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    client: str = "203.0.113.7",
    chunk_bytes: int = 1 << 20,
) -> Answer:
    """Ask once.

    Args:
        app: The application; its lifespan surrounds the request.
        method: A method of HTTP, or `WEBSOCKET`.
        url: Path and query.
        token: Sent as a bearer token.
        headers: Further headers.
        body: Sent in chunks, without saying how long it is.
        client: The caller's address.
        chunk_bytes: The size of a chunk.
    """

    async def alone() -> Answer:
        async with app.router.lifespan_context(app):
            return await asked(
                app,
                method,
                url,
                token=token,
                headers=headers,
                body=body,
                client=client,
                chunk_bytes=chunk_bytes,
            )

    return asyncio.run(alone())


async def asked(
    app: Any,
    method: str,
    url: str,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    client: str = "203.0.113.7",
    chunk_bytes: int = 1 << 20,
    listen_s: float = 0.0,
) -> Answer:
    """Ask once inside of the application's lifespan, as `ask` does.

    To an answer that has no end it listens for ``listen_s`` seconds.
    """
    given = {"host": "monitor", **(headers or {})}
    if token is not None:
        given["authorization"] = f"Bearer {token}"
    if body:
        given.setdefault("transfer-encoding", "chunked")
        given.setdefault("content-type", "application/json")
    return await _ask(app, _scope(method, url, given, client), body, chunk_bytes, listen_s)


def _scope(method: str, url: str, headers: Mapping[str, str], client: str) -> dict[str, Any]:
    parts = urlsplit(url)
    is_websocket = method == WEBSOCKET
    scope = {
        "type": "websocket" if is_websocket else "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "ws" if is_websocket else "http",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "root_path": "",
        "query_string": parts.query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": (client, 50_000),
        "server": ("127.0.0.1", 8390),
        "state": {},
    }
    if is_websocket:
        offered = headers.get("sec-websocket-protocol", "")
        scope["subprotocols"] = [each.strip() for each in offered.split(",") if each.strip()]
        scope["extensions"] = {"websocket.http.response": {}}
    else:
        scope["method"] = method
    return scope


async def _ask(
    app: Any, scope: dict[str, Any], body: bytes, chunk_bytes: int, listen_s: float
) -> Answer:
    exchange = _Exchange(body, chunk_bytes)
    is_websocket = scope["type"] == "websocket"
    receive = exchange.receive_websocket if is_websocket else exchange.receive_http
    async with asyncio.timeout(_TIMEOUT_S):
        answering = asyncio.create_task(app(scope, receive, exchange.send))
        waiting = asyncio.create_task(exchange.done.wait())
        await asyncio.wait({answering, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if exchange.is_endless and listen_s:
            await asyncio.wait({answering}, timeout=listen_s)
        exchange.left.set()
        waiting.cancel()
        answering.cancel()
        await asyncio.gather(answering, waiting, return_exceptions=True)
    if answering.done() and not answering.cancelled() and (exc := answering.exception()):
        raise exc
    return Answer(exchange.status, exchange.headers, bytes(exchange.body))
