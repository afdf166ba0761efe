"""Routes of coordinated state: read it, compare and set it, and watch it change."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

import anyio.to_thread
import orjson
from fastapi import Depends, FastAPI, Header, HTTPException, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from fiveobs.monitor.api.control import Reason
from fiveobs.monitor.api.dependencies import MOST_ID, ProjectScope, Scope, TheStore, require
from fiveobs.monitor.api.live import Last, LastEvent, TheHub, room_in
from fiveobs.monitor.api.problems import ProblemError, described, invalid
from fiveobs.monitor.api.routers import EXECUTION, make_router
from fiveobs.monitor.coordination.feed import Feed, StateStream, Watched
from fiveobs.monitor.coordination.models import Health, Kind, StateAnswer, state_of
from fiveobs.monitor.coordination.states import (
    CompletedError,
    Expected,
    Setter,
    States,
    UnknownEntityError,
    VersionError,
)
from fiveobs.monitor.store import coordinating
from fiveobs.monitor.store.coordinating import DOCUMENT, JOB, EntityRow, Place
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.tracking.models.base import Model

__all__ = [
    "StatePage",
    "StateRequest",
    "get_state",
    "lifespan",
    "list_states",
    "remove_state",
    "router",
    "set_state",
    "watch_states",
]

_DEFAULT, _MOST = 100, 1_000
#: Of what is set, as JSON.
_MOST_BYTES = 64 * 1024
_ETAG = re.compile(r'"([1-9]\d{0,18})"', re.ASCII)

router = make_router("State", EXECUTION + "/state")


class StatePage(Model):
    """A part of a list of states."""

    states: list[StateAnswer]
    next: str | None
    """What ``cursor`` has to be for the next page; null if this was the last one."""


class StateRequest(BaseModel):
    """What is to be."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

    value: Annotated[
        dict[str, Any],
        Field(
            description='Of a job `{"status": "running"}`, `paused` or `stopped`; of a document '
            "its content; of the others whatever those who follow it understand. 64 KiB at most"
        ),
    ]
    reason: Annotated[Reason, Field(description="Why, for the audit trail")] = ""


def _states(request: Request) -> States:
    return States(request.app.state.store)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Have watches for as long as the application has streams."""
    app.state.feed = Feed(app.state.hub)
    yield


def _feed(request: Request) -> Feed:
    found: Feed = request.app.state.feed
    return found


_TheStates: TypeAlias = Annotated[States, Depends(_states)]
_TheFeed: TypeAlias = Annotated[Feed, Depends(_feed)]
_KindInPath: TypeAlias = Annotated[Kind, Path(description="What it is")]
_EntityId: TypeAlias = Annotated[
    str,
    Path(
        alias="entityId",
        min_length=1,
        max_length=MOST_ID,
        description="The id of the job, worker, machine or service, or the name of the document; "
        "percent-encoded",
    ),
]
_ONE = "/{kind}/{entityId:text}"
_IfMatch: TypeAlias = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=64,
        description='The version that it must have, in quotes: `"7"`; `*` is any',
    ),
]
_IfNoneMatch: TypeAlias = Annotated[
    Literal["*"] | None,
    Header(alias="If-None-Match", description="`*`: the document must not be there yet"),
]
_SET: dict[int | str, dict[str, Any]] = {
    409: described("The job has completed: nothing can be desired of it"),
    412: described("It has another version, which `version` says; read it, and try again"),
    428: described("Neither `If-Match` nor `If-None-Match` was sent"),
}
_TAGGED: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {"ETag": {"description": "Its version, in quotes", "schema": {"type": "string"}}}
    }
}


# --- reading -----------------------------------------------------------------------------------


@router.get("", summary="List states")
def list_states(
    *,
    scope: Scope,
    states: _TheStates,
    kind: Annotated[Kind | None, Query(description="Only of this kind")] = None,
    health: Annotated[Health | None, Query(description="Only those that are so")] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST, description="How many at most")] = _DEFAULT,
    cursor: Annotated[
        str | None, Query(max_length=1_024, description="`next` of the page before, to go on")
    ] = None,
) -> StatePage:
    """Documents, jobs, machines, services and workers of the project, each by id."""
    after = None if cursor is None else _place(cursor)
    found = states.list(scope.project_key, kind, health, after, limit + 1)
    more = found[limit - 1] if len(found) > limit else None
    return StatePage(
        states=[state_of(row) for row in found[:limit]],
        next=None if more is None else _cursor(more.kind, more.entity_id),
    )


@router.get(
    "/watch",
    summary="Watch states",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events, without end: `id` is the place behind the change, "
            "`data` the state of the entity from then on; `event: synced` comes once, when all "
            "that was there at the beginning has been sent",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": 'id: 42\ndata: {"kind":"job","id":"7","version":3,…}\n\n',
                }
            },
        },
        410: described("Changes after this place were dropped: begin without one"),
    },
)
async def watch_states(
    *,
    scope: Scope,
    store: TheStore,
    the_hub: TheHub,
    feed: _TheFeed,
    last: LastEvent,
    kind: Annotated[list[Kind] | None, Query(description="Only of these kinds")] = None,
    beginning: Annotated[
        Literal["start", "now"],
        Query(
            alias="from",
            description="Where to begin without a last event: with every state there is, or with "
            "the next change",
        ),
    ] = "start",
) -> Response:
    """The present state of everything, then each change, as it happens.

    Of an entity that changes faster than it is sent only the latest state is. What was removed
    comes once more, with `isOver`.
    """
    owner = room_in(the_hub, scope)
    wanted = Watched(scope.project_key, frozenset(kind or ()))
    after, newest = await anyio.to_thread.run_sync(partial(_begin, store, last, beginning))
    return StateStream(feed, wanted, after, newest=newest, owner=owner)


def _begin(store: Store, last: Last | None, beginning: str) -> tuple[int, int]:
    """The place at which a watch begins, and the newest there is.

    Raises:
        ProblemError: It is too old, 410, or one that there is not yet: 422.
    """
    with store.reading() as connection:
        newest = coordinating.position(connection, "changes")
        dropped = coordinating.position(connection, "dropped")
    if last is None:
        return (newest if beginning == "now" else 0), newest
    if last.key > newest:
        raise invalid(
            last.where, last.name, last.key, f"valid are 0 to {newest}, the newest change"
        )
    if 0 < last.key < dropped:
        raise ProblemError(
            410,
            f"what has changed after {last.key} is not all there any more: begin without a last "
            "event, which gives every state there is, then what changes",
            oldest=dropped,
        )
    return last.key, newest


@router.get(_ONE, summary="Get a state", responses=_TAGGED)
def get_state(
    *,
    scope: Scope,
    states: _TheStates,
    kind: _KindInPath,
    entity_id: _EntityId,
    response: Response,
) -> StateAnswer:
    """What is observed of a job, worker, machine or service and what is desired, or a document."""
    try:
        row = states.get(_which(scope, kind, entity_id))
    except UnknownEntityError as exc:
        raise _unknown(kind, entity_id) from exc
    return _answer(row, response)


# --- setting -----------------------------------------------------------------------------------


@router.put(
    _ONE,
    summary="Compare and set a state",
    responses={**_TAGGED, **_SET},
    dependencies=[Depends(require("operator"))],
)
def set_state(
    *,
    scope: Scope,
    states: _TheStates,
    kind: _KindInPath,
    entity_id: _EntityId,
    body: StateRequest,
    response: Response,
    if_match: _IfMatch = None,
    if_none_match: _IfNoneMatch = None,
) -> StateAnswer:
    """Say what is desired of an entity, or set a document, if it has the version that you know.

    A job follows, and goes on following when its worker begins anew. A document is made with
    `If-None-Match: *`.
    """
    _check(kind, body.value)
    expected = _expected(if_match, if_none_match)
    row = _set(states, scope, (kind, entity_id), body.value, expected, body.reason)
    return _answer(row, response)


@router.delete(
    _ONE,
    summary="Compare and remove a state",
    responses={**_TAGGED, **_SET},
    dependencies=[Depends(require("operator"))],
)
def remove_state(
    *,
    scope: Scope,
    states: _TheStates,
    kind: _KindInPath,
    entity_id: _EntityId,
    response: Response,
    if_match: _IfMatch = None,
) -> StateAnswer:
    """Remove a document, or desire nothing of an entity any more."""
    row = _set(states, scope, (kind, entity_id), None, _expected(if_match, None), "")
    return _answer(row, response)


def _set(
    states: States,
    scope: ProjectScope,
    which: tuple[str, str],
    value: Mapping[str, Any] | None,
    expected: Expected,
    reason: str,
) -> EntityRow:
    who = Setter(scope.caller.name, scope.caller.token_id, reason)
    try:
        return states.set(who, _which(scope, *which), value, expected)
    except UnknownEntityError as exc:
        raise _unknown(*which) from exc
    except CompletedError as exc:
        detail = "the job has completed: nothing can be desired of it"
        raise ProblemError(409, detail, jobStatus="Completed") from exc
    except VersionError as exc:
        detail = f"the {which[0]} has version {exc.version}: read it, and try again with that"
        headers = {"ETag": f'"{exc.version}"'}
        raise ProblemError(412, detail, headers=headers, version=exc.version) from exc


def _check(kind: str, value: Mapping[str, Any]) -> None:
    """Refuse what cannot be desired, or stored.

    Raises:
        ProblemError: It cannot: 422.
    """
    if kind == JOB:
        is_known = value.get("status") in ("running", "paused", "stopped")
        if not is_known or value.keys() - {"status"}:
            raise invalid("body", "value", value, "valid is a status: running, paused or stopped")
    try:
        size_bytes = len(orjson.dumps(value))
    except TypeError as exc:
        raise invalid("body", "value", value, f"valid is JSON of UTF-8 and 64 bits: {exc}") from exc
    if size_bytes > _MOST_BYTES:
        raise invalid("body", "value", value, f"valid are up to {_MOST_BYTES} bytes of JSON")


def _expected(if_match: str | None, if_none_match: str | None) -> Expected:
    """What must be true before.

    Raises:
        ProblemError: Nothing was said, 428, or nothing that can be used: 422.
    """
    if if_match is not None and if_none_match is not None:
        raise invalid("header", "If-None-Match", if_none_match, "valid is one of the two headers")
    if if_none_match is not None:
        return Expected(is_new=True)
    if if_match is None:
        detail = 'say which version is to be replaced, If-Match: "7"'
        raise ProblemError(428, f"{detail}, or If-None-Match: * for a document that is new")
    if if_match == "*":
        return Expected()
    found = _ETAG.fullmatch(if_match)
    if found is None:
        raise invalid("header", "If-Match", if_match, 'valid are a version in quotes, "7", and *')
    return Expected(version=int(found[1]))


# --- in common ---------------------------------------------------------------------------------


def _which(scope: ProjectScope, kind: str, entity_id: str) -> Place:
    """Which entity.

    Raises:
        HTTPException: There can be none of that name: 404.
    """
    if "\0" in entity_id:
        raise _unknown(kind, entity_id)
    return Place(scope.project_key, kind, entity_id)


def _unknown(kind: str, entity_id: str) -> HTTPException:
    more = "" if kind == DOCUMENT else ", or it was over a day ago"
    return HTTPException(404, f"there is no {kind} {entity_id!r} in this project{more}")


def _answer(row: EntityRow, response: Response) -> StateAnswer:
    response.headers["ETag"] = f'"{row.version}"'
    return state_of(row)


def _cursor(*place: str) -> str:
    """A place in the list; not to be read by anybody else."""
    return base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def _place(cursor: str) -> tuple[str, str]:
    """The kind and the id of a cursor.

    Raises:
        ProblemError: It is none: 422.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        found = None
    is_place = isinstance(found, list) and len(found) == 2
    if not is_place or not all(isinstance(each, str) and "\0" not in each for each in found):
        raise invalid("query", "cursor", cursor, "valid is the `next` of a page of this list")
    return found[0], found[1]
