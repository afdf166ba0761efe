"""What surrounds every request: limits of size, headers for safety, figures, and our own failures.

ASGI middleware: `Guard` outside of everything, `HeadLimits` before the caller is looked up,
`BodyLimit` after it, so that nobody unknown makes the monitor keep anything.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders

from fiveobs.monitor.api.problems import problem
from fiveobs.monitor.figures import Figures

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BodyLimit", "Guard", "HeadLimits"]

_log = logging.getLogger("fiveobs.internal")
#: Headers of every answer that does not set them itself.
_SAFE_HEADERS = {
    # Answers are somebody's data: no cache on the way keeps them.
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: How long a request's body may take to arrive.
_BODY_TIMEOUT_S = 30.0
_MOST_HEADERS = 100


class Guard:
    """Counts requests, sets headers, and turns what nobody caught into a problem.

    Args:
        app: What is behind it.
        figures: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, figures: Figures) -> None:
        self._app = app
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._app(scope, receive, answer.send)
        except Exception as exc:
            if answer.status is not None:
                raise
            await _failed(scope, exc)(scope, receive, answer.send)
        finally:
            self._note(scope, answer)

    def _note(self, scope: Scope, answer: _Answer) -> None:
        # The route's pattern, never the path: what callers make up is no label.
        route: str = getattr(scope.get("route"), "path_format", "none")
        method = "GET" if scope["type"] == "websocket" else _method(scope["method"])
        self._figures.count(
            "fiveobs_monitor_requests_total",
            "Requests answered.",
            route=route,
            method=method,
            status=str(answer.status or 499),
        )
        self._figures.took(
            "fiveobs_monitor_request_duration_seconds",
            "Time until an answer began.",
            answer.began_after_s,
            route=route,
            method=method,
        )


class _Answer:
    """Watches an answer begin."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started_at = time.perf_counter()
        #: The status, once the answer has begun; 101 for a WebSocket that was accepted.
        self.status: int | None = None
        self.began_after_s = 0.0

    async def send(self, message: Message) -> None:
        """Send, with our headers at the beginning."""
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self._begin(message["status"])
            headers = MutableHeaders(scope=message)
            for name, value in _SAFE_HEADERS.items():
                headers.setdefault(name, value)
        elif kind == "websocket.accept":
            self._begin(101)
        elif kind == "websocket.close" and self.status is None:
            self._begin(403)
        await self._send(message)

    def _begin(self, status: int) -> None:
        self.status = status
        self.began_after_s = time.perf_counter() - self._started_at


class HeadLimits:
    """Refuses a URL or headers that are too long.

    Args:
        app: What is behind it.
        max_url_bytes: Path and query.
        max_header_bytes: All headers.
    """

    def __init__(self, app: ASGIApp, max_url_bytes: int, max_header_bytes: int) -> None:
        self._app = app
        self._max_url_bytes = max_url_bytes
        self._max_header_bytes = max_header_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        answer: Any = self._app
        if scope["type"] in ("http", "websocket"):
            url_bytes = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
            header_bytes = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
            if url_bytes > self._max_url_bytes:
                answer = _too_long(414, "the URL has", url_bytes, self._max_url_bytes)
            elif header_bytes > self._max_header_bytes:
                answer = _too_long(431, "the headers have", header_bytes, self._max_header_bytes)
            elif len(scope["headers"]) > _MOST_HEADERS:
                answer = problem(431, f"there are more than {_MOST_HEADERS} headers")
        await answer(scope, receive, send)


class BodyLimit:
    """Reads a request's body whole, and refuses one that is too large or too slow.

    Args:
        app: What is behind it.
        max_bytes: The largest body.
        timeout_s: How long it may take to arrive.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, *, timeout_s: float = _BODY_TIMEOUT_S) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._read(scope, receive)
        except TimeoutError:
            refusal = problem(408, f"the body did not arrive within {self._timeout_s:g} s")
            await refusal(scope, receive, send)
            return
        if body is None:
            refusal = problem(
                413, f"the body is too large: valid are up to {self._max_bytes} bytes"
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body; ``None`` if it is too large."""
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            return None
        parts, size = [], 0
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_bytes:
                return None
            if not message.get("more_body"):
                return b"".join(parts)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _replay(body: bytes, receive: Receive) -> Receive:
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _method(name: str) -> str:
    return name if name in _METHODS else "other"


def _too_long(status: int, what: str, size_bytes: int, most_bytes: int) -> Any:
    return problem(status, f"{what} {size_bytes} bytes: valid are up to {most_bytes}")


def _failed(scope: Scope, exc: Exception) -> Any:
    instance = f"urn:uuid:{uuid.uuid4()}"
    method, path = scope.get("method", "WebSocket"), scope["path"]
    _log.error("%s %s failed (%s)", method, path, instance, exc_info=exc)
    detail = "the monitor failed: its log says more, under the id given as instance"
    return problem(500, detail, instance=instance)
