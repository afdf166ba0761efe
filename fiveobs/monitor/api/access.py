"""Lets in who has a good token: ASGI middleware in front of every route, also of new ones.

A token comes as ``Authorization: Bearer …``; a browser's WebSocket, which can set no header, offers
it as a subprotocol ``fiveobs.bearer.<token>`` beside ``cloudevents.json``. It is never read from
the URL, which is logged by everything on its way. An answer that goes on ends within seconds when
its token does.

An address that comes with many bad tokens has to wait. A token that was good a while ago is not
held up by that, so that nobody behind the same address can lock its owner out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response

from fiveobs.monitor.access import Access, Caller
from fiveobs.monitor.api.dependencies import CALLER
from fiveobs.monitor.api.problems import problem, unreachable
from fiveobs.monitor.figures import Figures

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HEALTH_PATHS", "OPEN_PATHS", "Authentication", "FailureLimit", "is_local"]

#: What answers without a token. ``/metrics`` decides itself: see `fiveobs.monitor.api.health`.
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"})
#: What does not even look at one.
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
_SUBPROTOCOL = "fiveobs.bearer."
#: How often the token of an answer that goes on is looked at again.
_RECHECK_S = 5.0
_POLICY_VIOLATION = 1008
_WINDOW_S = 60.0
_MOST_ADDRESSES = 10_000
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class FailureLimit:
    """Counts bad tokens by address, in windows of a minute; bounded in memory, thread-safe.

    Args:
        most: How many there may be in a window.
        clock: Seconds that only grow.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        #: By address: when its window began, and how many there were.
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """How long an address has to wait; 0.0 if it may go on."""
        with self._lock:
            began, count = self._failures.get(address, (0.0, 0))
            left = began + _WINDOW_S - self._clock()
            return left if count >= self._most and left > 0.0 else 0.0

    def failed(self, address: str) -> None:
        """One more bad token."""
        with self._lock:
            now = self._clock()
            began, count = self._failures.pop(address, (now, 0))
            if now - began >= _WINDOW_S:
                began, count = now, 0
            self._failures[address] = (began, count + 1)
            if len(self._failures) > _MOST_ADDRESSES:
                self._failures.popitem(last=False)

    def __len__(self) -> int:
        with self._lock:
            return len(self._failures)


class Authentication:
    """Puts the `Caller` into the scope, or refuses.

    Args:
        app: What is behind it.
        access: Who knows the tokens.
        limit: Who counts the bad ones.
        figures: Where they are counted for all to see.
        open_paths: What answers without a token, too.
        recheck_s: How often the token of an answer that goes on is looked at, in seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        limit: FailureLimit,
        figures: Figures,
        open_paths: Collection[str] = OPEN_PATHS,
        recheck_s: float = _RECHECK_S,
    ) -> None:
        self._app = app
        self._access = access
        self._limit = limit
        self._figures = figures
        self._open_paths = open_paths
        self._recheck_s = recheck_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        token = _token(scope)
        is_health = scope["path"] in HEALTH_PATHS  # its answer is the same for any token
        if is_health or (token is None and scope["path"] in self._open_paths):
            await self._app(scope, receive, send)
            return
        found = await self._caller(scope, token)
        if isinstance(found, Response):
            await found(scope, receive, send)
            return
        scope[CALLER] = found
        watched = _Watched(self._access, token or "", scope["type"], send, self._recheck_s)
        try:
            await self._app(scope, receive, watched.send)
        finally:
            await watched.close()

    async def _caller(self, scope: Scope, token: str | None) -> Caller | Response:
        if token is None:
            return _unauthorized("a bearer token is needed: Authorization: Bearer <token>")
        found = self._access.known(token)
        if found is not None:
            return found
        address = _address(scope)
        wait_s = 0.0 if self._access.was_good(token) else self._limit.wait_s(address)
        if wait_s > 0.0:
            return _too_many(wait_s)
        try:
            found = await run_in_threadpool(self._access.find, token)
        except SQLAlchemyError as exc:
            return unreachable(exc)
        return found or self._refuse(address)

    def _refuse(self, address: str) -> Response:
        self._limit.failed(address)
        self._figures.count("fiveobs_monitor_bad_tokens_total", "Requests with a bad token.")
        return _unauthorized("the token is not good: unknown, revoked or expired", "invalid_token")


class _Watched:
    """Sends an answer on as long as its token is good; looks at it also while nothing is sent.

    Args:
        access: Who knows the tokens.
        token: The one that the answer was asked for with.
        kind: ``http`` or ``websocket``.
        send: Where to.
        recheck_s: How often it looks, in seconds.
    """

    def __init__(self, access: Access, token: str, kind: str, send: Send, recheck_s: float) -> None:
        self._access = access
        self._token = token
        self._is_websocket = kind == "websocket"
        self._send = send
        self._recheck_s = recheck_s
        self._has_ended = False
        self._timer: asyncio.TimerHandle | None = None
        self._checking: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> None:
        """Send, unless the answer has ended."""
        if self._has_ended:
            return
        if _goes_on(message):
            self._arm()
        await self._send(message)

    async def close(self) -> None:
        """The answer is over: look no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._checking is not None and not self._checking.done():
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._recheck_s, self._look)

    def _look(self) -> None:
        self._checking = asyncio.get_running_loop().create_task(self._check())

    async def _check(self) -> None:
        if await self._is_good():
            self._arm()
            return
        self._has_ended = True
        if self._is_websocket:
            reason = "the token has ended"
            await self._send(
                {"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason}
            )
        else:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _is_good(self) -> bool:
        if self._access.known(self._token) is not None:
            return True  # just looked up, for another answer
        try:
            return await run_in_threadpool(self._access.find, self._token) is not None
        except SQLAlchemyError:
            return True  # nobody can say: the next look will tell


def _goes_on(message: Message) -> bool:
    """Whether an answer begins that has no end of its own."""
    if message["type"] == "http.response.start":
        return not any(name.lower() == b"content-length" for name, _ in message["headers"])
    return bool(message["type"] == "websocket.accept")


def is_local(scope: Scope) -> bool:
    """Whether a request comes from this machine, through no proxy that says so.

    The ``Host`` has to name this machine as well: a web page elsewhere can have its own name point
    here, and then ask as if it were local.
    """
    headers = Headers(scope=scope)
    host = headers.get("host", "").rsplit(":", 1)[0].strip("[]")
    client = scope.get("client") or ("",)
    is_direct = not any(name in headers for name in _FORWARDED)
    return is_direct and _is_loopback(client[0]) and (host == "localhost" or _is_loopback(host))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _token(scope: Scope) -> str | None:
    """What was sent as a token; ``None`` if nothing was."""
    kind, _space, token = Headers(scope=scope).get("authorization", "").partition(" ")
    if kind:
        return token.strip() if kind.lower() == "bearer" else ""
    offered: list[str] = list(scope.get("subprotocols") or ())
    tokens = [each for each in offered if each.startswith(_SUBPROTOCOL)]
    if not tokens:
        return None
    # Out of sight of whoever chooses a subprotocol: it would be sent back.
    scope["subprotocols"] = [each for each in offered if each not in tokens]
    return tokens[0].removeprefix(_SUBPROTOCOL)


def _address(scope: Scope) -> str:
    """The caller's address; of IPv6 the network, because one host has as many as it likes."""
    client = scope.get("client")
    text = client[0] if client else ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return str(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _unauthorized(detail: str, error: str | None = None) -> Response:
    challenge = 'Bearer realm="fiveobs"' + (f', error="{error}"' if error else "")
    return problem(401, detail, {"WWW-Authenticate": challenge})


def _too_many(wait_s: float) -> Response:
    seconds = math.ceil(wait_s)
    return problem(
        429,
        f"too many bad tokens came from this address: try again in {seconds} s",
        {"Retry-After": str(seconds)},
    )
