"""`Client`, which blocks.

Thread safety: a `Client` may be shared by threads; a `Watch` belongs to whoever iterates it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
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

__all__ = ["Client", "Export", "StateWatch", "Watch"]

P = ParamSpec("P")
T = TypeVar("T")


class _Asks(Generic[P, T]):
    """A call as a method of `Client`."""

    def __init__(self, make: Callable[P, Call[T]]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Client, owner: type) -> Callable[P, T]: ...
    def __get__(self, client: Client | None, owner: type) -> Self | Callable[P, T]:
        """Bind it to a client."""
        if client is None:
            return self

        def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            return client.ask(self.make(*args, **kwargs))

        asked.__doc__ = self.__doc__
        return asked


class Client:
    """Asks a monitor; a context manager.

    Every method raises `MonitorError`, or one of its kinds, and `BadInputError` for an argument
    that cannot be sent. They block until the answer is there.

    Args:
        url: Where the monitor is; ``None`` takes ``FIVEOBS_MONITOR_URL``, else the address of the
            one that runs with this ``FIVEOBS_HOME``, else ``http://127.0.0.1:8390``.
        token: What lets in; ``None`` takes ``FIVEOBS_MONITOR_TOKEN``, else, for the monitor that
            runs with this ``FIVEOBS_HOME``, the one that it keeps there.
        tenant_id: The tenant; ``None`` takes ``FIVEOBS_TENANT_ID``, else ``default``.
        project_id: The project; ``None`` takes ``FIVEOBS_PROJECT_ID``, else ``default``.
        timeout_s: How long an answer may take, in seconds.
        transport: How requests travel, for tests; ``None`` is over the network.

    Raises:
        ConfigError: One of them cannot be used.

    Example:
        >>> with Client() as client:
        ...     client.progress("42").overall_progress.percentage
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        tenant_id: str | None = None,
        project_id: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._place = find_place(
            url, token, tenant_id=tenant_id, project_id=project_id, timeout_s=timeout_s
        )
        self._http = httpx.Client(**settings(self._place), transport=transport)

    def __enter__(self) -> Self:
        """Begin; the client can be used without, too."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def __repr__(self) -> str:
        """Where it asks; never the token."""
        return shown(self, self._place)

    def close(self) -> None:
        """Close the connections; may be called again."""
        self._http.close()

    logs = _Asks(_calls.logs)
    raw_logs = _Asks(_calls.raw_logs)
    progress = _Asks(_calls.progress)
    timeline = _Asks(_calls.timeline)
    metrics = _Asks(_calls.metrics)
    dependencies = _Asks(_calls.dependencies)
    jobs = _Asks(_calls.jobs)
    subscribe = _Asks(_calls.subscribe)
    subscriptions = _Asks(_calls.subscriptions)
    subscription = _Asks(_calls.subscription)
    unsubscribe = _Asks(_calls.unsubscribe)
    deliveries = _Asks(_calls.deliveries)
    enable_subscription = _Asks(_calls.enable_subscription)
    replay = _Asks(_calls.replay)
    send_test = _Asks(_calls.send_test)
    stop = _Asks(_calls.stop)
    pause = _Asks(_calls.pause)
    resume = _Asks(_calls.resume)
    emergency_stop = _Asks(_calls.emergency_stop)
    audit = _Asks(_calls.audit)
    report = _Asks(_calls.report)
    retention = _Asks(_retention_calls.retention)
    set_retention = _Asks(_retention_calls.set_retention)
    history = _Asks(_retention_calls.history)
    states = _Asks(_calls.states)
    state = _Asks(_calls.state)
    set_state = _Asks(_calls.set_state)
    remove_state = _Asks(_calls.remove_state)
    rules = _Asks(_rule_calls.rules)
    rule = _Asks(_rule_calls.rule)
    create_rule = _Asks(_rule_calls.create_rule)
    replace_rule = _Asks(_rule_calls.replace_rule)
    delete_rule = _Asks(_rule_calls.delete_rule)
    enable_rule = _Asks(_rule_calls.enable_rule)
    disable_rule = _Asks(_rule_calls.disable_rule)
    firings = _Asks(_rule_calls.firings)
    expectations = _Asks(_rule_calls.expectations)
    retry_firings = _Asks(_rule_calls.retry_firings)
    dry_run_rule = _Asks(_rule_calls.dry_run_rule)

    def ask(self, call: Call[T]) -> T:
        """Send a call that was made before, and return its answer."""
        try:
            response = self._http.request(**request(self._place, call))
        except httpx.TransportError as exc:
            raise unreachable(self._place, exc) from exc
        return to_answer(self._place, call, response)

    def watch(self, job_id: str | None = None, **options: Unpack[WatchOptions]) -> Watch:
        """The events of a job, or of the project, as they happen.

        A lost connection is made again and goes on where it was: no event is left out or given
        twice. Only where the monitor does not have the last event any more, because its store was
        restored, it goes on from now and says so in the log. ``WatchOptions`` says what can be
        chosen.

        Args:
            job_id: Only this job's, from its first one, until it has ended; ``None`` is every
                event of the project from the first ``next`` on, without an end.
            options: Which events, and from where on.

        Raises:
            BadInputError: There is no such option, level or id.
        """
        return Watch(self, Watching(job_id, options))

    def export(self, table: str, **options: Unpack[ExportOptions]) -> Export:
        """The bytes of a file with the rows of a table, as they come.

        ``ExportOptions`` says what can be chosen. If the monitor or the way to it fails in the
        middle, that raises `UnreachableError`: what ends without an exception is whole.

        Args:
            table: Which: ``jobs``, ``attempts``, ``stages``, ``events``, ``errors`` …
            options: Which rows, and the format.

        Raises:
            BadInputError: There is no such option.
        """
        return Export(self, Exporting(table, options))

    def watch_states(self, **options: Unpack[StateWatchOptions]) -> StateWatch:
        """States as they change: all that there is at first, then each change, without an end.

        A lost connection is made again and goes on where it was: no change is left out, none is
        given twice or out of order. Of what changed several times meanwhile only the latest state
        is given.

        Args:
            options: Which states, and from where on.

        Raises:
            BadInputError: There is no such option.
        """
        return StateWatch(self, StateWatching(options))


class Export(BaseExport):
    """An iterator over the bytes of an export; a context manager.

    Nothing is asked before the first ``next``, which raises `MonitorError` if the monitor refuses.
    """

    def __init__(self, client: Client, state: Exporting) -> None:
        super().__init__(state)
        self._parts = self._read(client)

    def __iter__(self) -> Self:
        """Itself."""
        return self

    def __next__(self) -> bytes:
        """The next bytes."""
        return next(self._parts)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End."""
        self.close()

    def close(self) -> None:
        """End, also before all has come."""
        self._parts.close()

    def _read(self, client: Client) -> Generator[bytes, None, None]:
        place = client._place
        is_begun = False
        try:
            with client._http.stream(**export(place, self._state)) as response:
                if not response.is_success:
                    response.read()
                check_export(place, response)
                is_begun = True
                for part in response.iter_bytes():
                    self._state.take(part)
                    yield part
        except httpx.TransportError as exc:
            raise (broken_off if is_begun else unreachable)(place, exc) from exc


class _Follower(BaseWatch, Generic[T]):
    """An iterator that survives lost connections; a context manager.

    ``next`` blocks until something comes. Raises `MonitorError` where the monitor refuses or stays
    away.
    """

    def __init__(self, client: Client, state: Following[T]) -> None:
        super().__init__(state)
        self._following = state
        self._events = self._follow(client)

    def __iter__(self) -> Self:
        """Itself."""
        return self

    def __next__(self) -> T:
        """The next one."""
        return next(self._events)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End."""
        self.close()

    def close(self) -> None:
        """End; not while another thread waits for the next one."""
        self._events.close()

    def _follow(self, client: Client) -> Generator[T, None, None]:
        while not self._state.is_over:
            try:
                with closing(self._connection(client)) as events:
                    yield from events
            except MonitorError as exc:
                time.sleep(self._state.lost(exc, time.monotonic()))

    def _connection(self, client: Client) -> Generator[T, None, None]:
        """What one connection gives."""
        place = client._place
        try:
            with client._http.stream(**stream(place, self._state)) as response:
                if not response.is_success:
                    response.read()
                check_stream(place, response, self._state)
                for chunk in response.iter_bytes():
                    yield from self._following.take(chunk)
                    if question := self._state.question():
                        self._state.answered(client.ask(question))
                    if self._state.is_over:
                        return
        except httpx.TransportError as exc:
            raise unreachable(place, exc) from exc
        self._state.ended()


class Watch(_Follower[JobEvent]):
    """An iterator over events that survives lost connections.

    Raises `MonitorError` where the monitor refuses or stays away.
    """


class StateWatch(_Follower[StateAnswer]):
    """An iterator over states that survives lost connections.

    Raises `MonitorError` where the monitor refuses or stays away, and `GoneError` where what
    changed after the place to go on from is not all there any more: begin anew, without one.
    """

    def __init__(self, client: Client, state: StateWatching) -> None:
        super().__init__(client, state)
        self._states = state

    @property
    def is_synced(self) -> bool:
        """Whether all that was there when the watch began has been given out."""
        return self._states.is_synced
