"""`AsyncClient`, for ``asyncio``.

Thread safety: an `AsyncClient` belongs to one event loop, whose tasks may share it; an `AsyncWatch`
belongs to whoever iterates it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Generic, ParamSpec, Self, TypeVar, Unpack, overload

from fiveobs.client import _calls, _retention_calls, _rule_calls
from fiveobs.client._call import Call
from fiveobs.client._driving import (
    BaseExport,
    BaseWatch,
    broken_off,
    check_export,
    check_stream,
    export,
    httpx,
    request,
    settings,
    shown,
    stream,
    to_answer,
    unreachable,
)
from fiveobs.client._exporting import Exporting, ExportOptions
from fiveobs.client._following import Following
from fiveobs.client._place import DEFAULT_TIMEOUT_S, find_place
from fiveobs.client._state_watching import StateWatching, StateWatchOptions
from fiveobs.client._watching import Watching, WatchOptions
from fiveobs.client.answers import StateAnswer
from fiveobs.exceptions import MonitorError
from fiveobs.types import JobEvent

__all__ = ["AsyncClient", "AsyncExport", "AsyncStateWatch", "AsyncWatch"]

P = ParamSpec("P")
T = TypeVar("T")


class _AsyncAsks(Generic[P, T]):
    """A call as a method of `AsyncClient`."""

    def __init__(self, make: Callable[P, Call[T]]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: AsyncClient, owner: type) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, client: AsyncClient | None, owner: type) -> Self | Callable[P, Awaitable[T]]:
        """Bind it to a client."""
        if client is None:
            return self

        async def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            return await client.ask(self.make(*args, **kwargs))

        asked.__doc__ = self.__doc__
        return asked


class AsyncClient:
    """Asks a monitor, for ``asyncio``; an asynchronous context manager.

    Arguments and methods are those of `Client`.

    Example:
        >>> async with AsyncClient() as client:
        ...     (await client.progress("42")).overall_progress.percentage
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        tenant_id: str | None = None,
        project_id: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._place = find_place(
            url, token, tenant_id=tenant_id, project_id=project_id, timeout_s=timeout_s
        )
        self._http = httpx.AsyncClient(**settings(self._place), transport=transport)

    async def __aenter__(self) -> Self:
        """Begin; the client can be used without, too."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.close()

    def __repr__(self) -> str:
        """Where it asks; never the token."""
        return shown(self, self._place)

    async def close(self) -> None:
        """Close the connections; may be called again."""
        await self._http.aclose()

    logs = _AsyncAsks(_calls.logs)
    raw_logs = _AsyncAsks(_calls.raw_logs)
    progress = _AsyncAsks(_calls.progress)
    timeline = _AsyncAsks(_calls.timeline)
    metrics = _AsyncAsks(_calls.metrics)
    dependencies = _AsyncAsks(_calls.dependencies)
    jobs = _AsyncAsks(_calls.jobs)
    subscribe = _AsyncAsks(_calls.subscribe)
    subscriptions = _AsyncAsks(_calls.subscriptions)
    subscription = _AsyncAsks(_calls.subscription)
    unsubscribe = _AsyncAsks(_calls.unsubscribe)
    deliveries = _AsyncAsks(_calls.deliveries)
    enable_subscription = _AsyncAsks(_calls.enable_subscription)
    replay = _AsyncAsks(_calls.replay)
    send_test = _AsyncAsks(_calls.send_test)
    stop = _AsyncAsks(_calls.stop)
    pause = _AsyncAsks(_calls.pause)
    resume = _AsyncAsks(_calls.resume)
    emergency_stop = _AsyncAsks(_calls.emergency_stop)
    audit = _AsyncAsks(_calls.audit)
    report = _AsyncAsks(_calls.report)
    retention = _AsyncAsks(_retention_calls.retention)
    set_retention = _AsyncAsks(_retention_calls.set_retention)
    history = _AsyncAsks(_retention_calls.history)
    states = _AsyncAsks(_calls.states)
    state = _AsyncAsks(_calls.state)
    set_state = _AsyncAsks(_calls.set_state)
    remove_state = _AsyncAsks(_calls.remove_state)
    rules = _AsyncAsks(_rule_calls.rules)
    rule = _AsyncAsks(_rule_calls.rule)
    create_rule = _AsyncAsks(_rule_calls.create_rule)
    replace_rule = _AsyncAsks(_rule_calls.replace_rule)
    delete_rule = _AsyncAsks(_rule_calls.delete_rule)
    enable_rule = _AsyncAsks(_rule_calls.enable_rule)
    disable_rule = _AsyncAsks(_rule_calls.disable_rule)
    firings = _AsyncAsks(_rule_calls.firings)
    expectations = _AsyncAsks(_rule_calls.expectations)
    retry_firings = _AsyncAsks(_rule_calls.retry_firings)
    dry_run_rule = _AsyncAsks(_rule_calls.dry_run_rule)

    async def ask(self, call: Call[T]) -> T:
        """Send a call that was made before, and return its answer."""
        try:
            response = await self._http.request(**request(self._place, call))
        except httpx.TransportError as exc:
            raise unreachable(self._place, exc) from exc
        return to_answer(self._place, call, response)

    def watch(self, job_id: str | None = None, **options: Unpack[WatchOptions]) -> AsyncWatch:
        """The events of a job, or of the project; as ``Client.watch``, for ``async for``."""
        return AsyncWatch(self, Watching(job_id, options))

    def export(self, table: str, **options: Unpack[ExportOptions]) -> AsyncExport:
        """The bytes of a file with a table's rows; as ``Client.export``, for ``async for``."""
        return AsyncExport(self, Exporting(table, options))

    def watch_states(self, **options: Unpack[StateWatchOptions]) -> AsyncStateWatch:
        """States as they change; as ``Client.watch_states``, for ``async for``."""
        return AsyncStateWatch(self, StateWatching(options))


class AsyncExport(BaseExport):
    """An asynchronous iterator over the bytes of an export.

    As `Export`; also an asynchronous context manager.
    """

    def __init__(self, client: AsyncClient, state: Exporting) -> None:
        super().__init__(state)
        self._parts = self._read(client)

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> bytes:
        """The next bytes."""
        return await anext(self._parts)

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """End."""
        await self.close()

    async def close(self) -> None:
        """End, also before all has come."""
        await self._parts.aclose()

    async def _read(self, client: AsyncClient) -> AsyncGenerator[bytes, None]:
        place = client._place
        is_begun = False
        try:
            async with client._http.stream(**export(place, self._state)) as response:
                if not response.is_success:
                    await response.aread()
                check_export(place, response)
                is_begun = True
                async for part in response.aiter_bytes():
                    self._state.take(part)
                    yield part
        except httpx.TransportError as exc:
            raise (broken_off if is_begun else unreachable)(place, exc) from exc


class _Follower(BaseWatch, Generic[T]):
    """An asynchronous iterator that survives lost connections, and context manager."""

    def __init__(self, client: AsyncClient, state: Following[T]) -> None:
        super().__init__(state)
        self._following = state
        self._events = self._follow(client)

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> T:
        """The next one."""
        return await anext(self._events)

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """End."""
        await self.close()

    async def close(self) -> None:
        """End; not while another task waits for the next one."""
        await self._events.aclose()

    async def _follow(self, client: AsyncClient) -> AsyncGenerator[T, None]:
        while not self._state.is_over:
            try:
                async with aclosing(self._connection(client)) as events:
                    async for event in events:
                        yield event
            except MonitorError as exc:
                await asyncio.sleep(self._state.lost(exc, time.monotonic()))

    async def _connection(self, client: AsyncClient) -> AsyncGenerator[T, None]:
        """What one connection gives."""
        place = client._place
        try:
            async with client._http.stream(**stream(place, self._state)) as response:
                if not response.is_success:
                    await response.aread()
                check_stream(place, response, self._state)
                async for chunk in response.aiter_bytes():
                    for event in self._following.take(chunk):
                        yield event
                    if question := self._state.question():
                        self._state.answered(await client.ask(question))
                    if self._state.is_over:
                        return
        except httpx.TransportError as exc:
            raise unreachable(place, exc) from exc
        self._state.ended()


class AsyncWatch(_Follower[JobEvent]):
    """An asynchronous iterator over events that survives lost connections.

    Raises `MonitorError` where the monitor refuses or stays away.
    """


class AsyncStateWatch(_Follower[StateAnswer]):
    """An asynchronous iterator over states that survives lost connections.

    Raises `MonitorError` where the monitor refuses or stays away, and `GoneError` where what
    changed after the place to go on from is not all there any more: begin anew, without one.
    """

    def __init__(self, client: AsyncClient, state: StateWatching) -> None:
        super().__init__(client, state)
        self._states = state

    @property
    def is_synced(self) -> bool:
        """Whether all that was there when the watch began has been given out."""
        return self._states.is_synced
