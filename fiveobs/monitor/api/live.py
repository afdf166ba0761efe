"""Routes of live events: the streams of a job and of a project.

A token is sent as everywhere, never in the URL. A browser's ``EventSource`` can send no header: a
page reads the stream with ``fetch``, or takes the WebSocket, where the token is a subprotocol.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

import anyio.to_thread
from fastapi import Depends, FastAPI, Header, HTTPException, Path, Query, WebSocket
from fastapi.responses import Response
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI reads the annotation

from fiveobs.monitor.api.dependencies import JOB, JobId, ProjectScope, Scope, TheStore
from fiveobs.monitor.api.problems import invalid
from fiveobs.monitor.api.routers import make_router
from fiveobs.monitor.live.events import newest_key
from fiveobs.monitor.live.hub import Hub
from fiveobs.monitor.live.sse import EventStream
from fiveobs.monitor.live.wanted import TYPE_PATTERN, Wanted
from fiveobs.monitor.live.websocket import Socket
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.reading import job_by_id
from fiveobs.monitor.tracking.tracked import STATUS_WORDS

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "STREAM",
    "Last",
    "LastEvent",
    "TheHub",
    "begin",
    "filters",
    "hub",
    "last_event",
    "lifespan",
    "room_in",
    "router",
    "socket_of_job",
    "socket_of_project",
    "stream_job",
    "stream_project",
]

#: Longest id or name, and most of them in one request.
_MOST_CHARS, _MOST_NAMES = 256, 100
#: The largest key that a database can hold.
_MOST_KEY = 2**63 - 1
_FULL_RETRY_S = 5
_LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40}
_STATUSES = {word: status for status, word in STATUS_WORDS.items()}

router = make_router("Live events")

Text: TypeAlias = Annotated[str, Path(max_length=_MOST_CHARS)]
Names: TypeAlias = list[Annotated[str, Query(max_length=_MOST_CHARS)]]
Level: TypeAlias = Literal["DEBUG", "INFO", "WARN", "ERROR"]
Status: TypeAlias = Literal[
    "Running",
    "Queued",
    "Completed",
    "Failed",
    "Paused",
    "Stopped",
    "Cancelled",
    "Interrupted",
    "Lost",
]


def hub(connection: HTTPConnection) -> Hub:
    """The one that serves the streams of this application."""
    found: Hub = connection.app.state.hub
    return found


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Have streams for as long as the application runs.

    A server that waits for its connections before it ends has to call `Hub.close` first: streams
    have no end of their own.
    """
    app.state.hub = Hub(app.state.store)
    try:
        yield
    finally:
        app.state.hub.close()


TheHub: TypeAlias = Annotated[Hub, Depends(hub)]


# --- what is asked for -------------------------------------------------------------------------


def filters(
    *,
    types: Annotated[
        Names | None,
        Query(
            max_length=_MOST_NAMES,
            description="Event types, repeated or comma-separated; a star at the end stands for "
            "anything: job.*",
        ),
    ] = None,
    level: Annotated[Level, Query(description="The least level")] = "DEBUG",
    job_id: Annotated[
        Names | None, Query(alias="jobIds", max_length=_MOST_NAMES, description="Of these jobs")
    ] = None,
    job_name: Annotated[
        Names | None,
        Query(alias="jobName", max_length=_MOST_NAMES, description="Of jobs of these names"),
    ] = None,
    service: Annotated[
        Names | None, Query(max_length=_MOST_NAMES, description="Of these services")
    ] = None,
    session_id: Annotated[
        Names | None,
        Query(alias="sessionId", max_length=_MOST_NAMES, description="Of these sessions"),
    ] = None,
    status: Annotated[
        list[Status] | None,
        Query(description="Only the events from which on a job has one of these statuses"),
    ] = None,
) -> Wanted:
    """The filter of a stream; the project and the job come from the path."""
    return Wanted(
        project_key=0,
        types=_types(types or []),
        level=_LEVELS[level],
        job_ids=frozenset(job_id or ()),
        job_names=frozenset(job_name or ()),
        services=frozenset(service or ()),
        session_ids=frozenset(session_id or ()),
        statuses=frozenset(_STATUSES[each] for each in status or ()),
    )


def _types(given: list[str]) -> tuple[str, ...]:
    found = [part.strip() for each in given for part in each.split(",") if part.strip()]
    for each in found:
        if not TYPE_PATTERN.fullmatch(each):
            raise invalid("query", "types", each, "valid are event types such as job.completed")
    return tuple(sorted(set(found)))


class Last(NamedTuple):
    """The event after which to go on, and the parameter that says so."""

    key: int
    where: str
    name: str


def last_event(
    last_event_id: Annotated[
        str | None,
        Query(
            alias="lastEventId",
            max_length=64,
            description="Go on after this event; 0 is before the first one. For clients that "
            "cannot send the header",
        ),
    ] = None,
    header: Annotated[
        str | None,
        Header(alias="Last-Event-ID", max_length=64, description="Go on after this event"),
    ] = None,
) -> Last | None:
    """The place after which to go on. The header is newer: a browser adds it when it resumes."""
    for where, name, value in (
        ("header", "Last-Event-ID", header),
        ("query", "lastEventId", last_event_id),
    ):
        if value:
            return Last(_to_key(where, name, value), where, name)
    return None


def _to_key(where: str, name: str, value: str) -> int:
    is_number = value.isascii() and value.isdigit()
    if not is_number or int(value) > _MOST_KEY:
        raise invalid(where, name, value, "valid is the id of an event of these streams")
    return int(value)


Filters: TypeAlias = Annotated[Wanted, Depends(filters)]
LastEvent: TypeAlias = Annotated[Last | None, Depends(last_event)]
Beginning: TypeAlias = Annotated[
    Literal["start", "now"] | None,
    Query(
        alias="from",
        description="Where to begin without a last event: with the first event there is, or with "
        "the next one. A job's stream begins at the start, a project's now",
    ),
]


def begin(connection: Connection, last: Last | None, beginning: str) -> int:
    """The place at which a stream begins: ``now``, or at the start.

    Raises:
        ProblemError: The last event is one that there is not yet.
    """
    newest = newest_key(connection)
    if last is None:
        return newest if beginning == "now" else 0
    if last.key > newest:
        raise invalid(last.where, last.name, last.key, f"valid are 0 to {newest}, the newest event")
    return last.key


def _of_project(
    store: Store, wanted: Wanted, scope: ProjectScope, last: Last | None, beginning: str | None
) -> tuple[Wanted, int]:
    with store.reading() as connection:
        after = begin(connection, last, beginning or "now")
    return replace(wanted, project_key=scope.project_key), after


def _of_job(
    store: Store,
    wanted: Wanted,
    scope: ProjectScope,
    job_id: str,
    last: Last | None,
    beginning: str | None,
) -> tuple[Wanted, int]:
    with store.reading() as connection:
        job = None if "\0" in job_id else job_by_id(connection, scope.project_key, job_id)
        if job is None:
            raise HTTPException(404, f"there is no job {job_id!r} in this project")
        after = begin(connection, last, beginning or "start")
    return replace(wanted, project_key=scope.project_key, job_key=job.job_key), after


def room_in(the_hub: Hub, scope: ProjectScope) -> str:
    """Refuse one stream more than the process takes, or than one token may have.

    Returns:
        Whose stream it is.

    Raises:
        HTTPException: There is no room: 503, or 429 if the token has its share.
    """
    owner = scope.caller.token_id
    headers = {"Retry-After": str(_FULL_RETRY_S)}
    if not the_hub.has_room_for(owner):
        raise HTTPException(
            429, f"the token has {the_hub.most_per_owner} streams: end some first", headers
        )
    if not the_hub.has_room:
        raise HTTPException(503, "there are as many streams as the monitor takes", headers)
    return owner


# --- the streams -------------------------------------------------------------------------------

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events, without end: `id` is the place of the event, `data` "
        "the event as a CloudEvents 1.0 object",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 42\ndata: {"specversion":"1.0","type":"fiveobs.job.started",…}\n\n',
            }
        },
    }
}


@router.get(
    "/events",
    summary="Stream a project's events",
    response_class=Response,
    responses=STREAM,
)
async def stream_project(
    *,
    scope: Scope,
    store: TheStore,
    the_hub: TheHub,
    wanted: Filters,
    last: LastEvent,
    beginning: Beginning = None,
) -> Response:
    """Every event of the project that the filters let through, as it happens."""
    owner = room_in(the_hub, scope)
    read = partial(_of_project, store, wanted, scope, last, beginning)
    chosen, after = await anyio.to_thread.run_sync(read)
    return EventStream(the_hub, chosen, after, owner=owner)


@router.get(
    f"{JOB}/events",
    summary="Stream a job's events",
    response_class=Response,
    responses=STREAM,
)
async def stream_job(
    *,
    scope: Scope,
    store: TheStore,
    the_hub: TheHub,
    job_id: JobId,
    wanted: Filters,
    last: LastEvent,
    beginning: Beginning = None,
) -> Response:
    """Every event of the job that the filters let through, from its first one on."""
    owner = room_in(the_hub, scope)
    read = partial(_of_job, store, wanted, scope, job_id, last, beginning)
    chosen, after = await anyio.to_thread.run_sync(read)
    return EventStream(the_hub, chosen, after, owner=owner)


@router.websocket("/events/ws")
async def socket_of_project(
    *,
    websocket: WebSocket,
    scope: Scope,
    store: TheStore,
    the_hub: TheHub,
    wanted: Filters,
    last: LastEvent,
    beginning: Beginning = None,
) -> None:
    """The project's stream over WebSocket."""
    owner = room_in(the_hub, scope)
    read = partial(_of_project, store, wanted, scope, last, beginning)
    chosen, after = await anyio.to_thread.run_sync(read)
    await Socket(the_hub, chosen, after, owner=owner).serve(websocket)


@router.websocket(f"{JOB}/events/ws")
async def socket_of_job(
    *,
    websocket: WebSocket,
    scope: Scope,
    store: TheStore,
    the_hub: TheHub,
    job_id: JobId,
    wanted: Filters,
    last: LastEvent,
    beginning: Beginning = None,
) -> None:
    """The job's stream over WebSocket."""
    owner = room_in(the_hub, scope)
    read = partial(_of_job, store, wanted, scope, job_id, last, beginning)
    chosen, after = await anyio.to_thread.run_sync(read)
    await Socket(the_hub, chosen, after, owner=owner).serve(websocket)
