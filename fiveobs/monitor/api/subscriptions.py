"""Routes of subscriptions: made, listed, tested, replayed, ended; and the stream of one."""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias
from urllib.parse import quote

import anyio.to_thread
import orjson
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Response, WebSocket
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI reads the annotation

from fiveobs.exceptions import BadInputError
from fiveobs.monitor.api.dependencies import ProjectScope, Scope, TheStore, require
from fiveobs.monitor.api.live import JobId, LastEvent, TheHub, begin, room_in
from fiveobs.monitor.api.problems import invalid
from fiveobs.monitor.api.tracking import Moment
from fiveobs.monitor.live.events import events_by_key
from fiveobs.monitor.live.wanted import Wanted
from fiveobs.monitor.live.websocket import Socket
from fiveobs.monitor.store import auditing
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.reading import job_by_id
from fiveobs.monitor.tracking.human import US
from fiveobs.monitor.webhooks import subscriptions as stored
from fiveobs.monitor.webhooks.choosing import Choice, Teller
from fiveobs.monitor.webhooks.guard import Guard, to_target
from fiveobs.monitor.webhooks.models import (
    DeliveriesAnswer,
    DeliveryCounts,
    NewSubscriptionAnswer,
    ReplayAnswer,
    RequestModel,
    SubscribeRequest,
    SubscriptionAnswer,
    SubscriptionsAnswer,
    TestAnswer,
    delivery_answer,
    subscription_answer,
)
from fiveobs.monitor.webhooks.sending import Message, Sender
from fiveobs.monitor.webhooks.signing import message_id, new_secret
from fiveobs.monitor.webhooks.subscriptions import SubscriptionRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "ReplayRequest",
    "delete_subscription",
    "enable_subscription",
    "get_subscription",
    "list_deliveries",
    "list_subscriptions",
    "replay_deliveries",
    "router",
    "send_test",
    "sender",
    "socket_of_subscription",
    "subscribe_to_job",
    "subscribe_to_project",
]

#: Active subscriptions of one project.
_MOST_ACTIVE = 1_000
_MOST_LISTED = 1_000

router = APIRouter(prefix="/api/{tenantId}/{projectId}/execution", tags=["Subscriptions"])
_MAY_READ, _MAY_CHANGE = Depends(require("viewer")), Depends(require("operator"))

SubscriptionId: TypeAlias = Annotated[
    str,
    Path(
        alias="subscriptionId",
        min_length=1,
        max_length=64,
        description="The subscription identifier",
        examples=["sub-123e8400-e29b-41d4-a716-446655440000"],
    ),
]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=_MOST_LISTED, description="How many at most")]


def sender(connection: HTTPConnection) -> Sender:
    """What tests are sent with, set up as for deliveries."""
    state = connection.app.state
    found: Sender | None = getattr(state, "sender", None)
    if found is None:
        found = state.sender = Sender(Guard(state.settings.webhook_allowed_networks))
    return found


TheSender: TypeAlias = Annotated[Sender, Depends(sender)]


# --- making ------------------------------------------------------------------------------------


@router.post(
    "/job/{jobId}/subscribe",
    summary="Subscribe to job events",
    status_code=201,
    dependencies=[_MAY_CHANGE],
)
def subscribe_to_job(
    *,
    scope: Scope,
    store: TheStore,
    given: TheSender,
    job_id: JobId,
    request: SubscribeRequest,
    response: Response,
) -> NewSubscriptionAnswer:
    """Have the job's events sent to you from now on, or read them over a WebSocket."""
    with store.reading() as connection:
        job_key = _job_key(connection, scope, job_id)
    return _subscribe(store, given, scope, request, response, job_key)


@router.post(
    "/subscribe",
    summary="Subscribe to a project's events",
    status_code=201,
    dependencies=[_MAY_CHANGE],
)
def subscribe_to_project(
    *,
    scope: Scope,
    store: TheStore,
    given: TheSender,
    request: SubscribeRequest,
    response: Response,
) -> NewSubscriptionAnswer:
    """Have the events of all the project's jobs sent to you from now on."""
    return _subscribe(store, given, scope, request, response, None)


def _job_key(connection: Connection, scope: ProjectScope, job_id: str) -> int:
    job = None if "\0" in job_id else job_by_id(connection, scope.project_key, job_id)
    if job is None:
        raise HTTPException(404, f"there is no job {job_id!r} in this project")
    return job.job_key


def _subscribe(
    store: Store,
    given: Sender,
    scope: ProjectScope,
    request: SubscribeRequest,
    response: Response,
    job_key: int | None,
) -> NewSubscriptionAnswer:
    if is_webhook := request.subscription_type == stored.WEBHOOK:
        _check_url(given.guard, request.webhook_url or "")
    now_us, choice, authentication = _now_us(), request.choice(), request.authentication
    with store.writing() as connection:
        if stored.count_active(connection, scope.project_key) >= _MOST_ACTIVE:
            raise HTTPException(
                409, f"the project has {_MOST_ACTIVE} active subscriptions: end some first"
            )
        row = stored.create(
            connection,
            project_key=scope.project_key,
            job_key=job_key,
            kind=request.subscription_type,
            url=request.webhook_url,
            events=list(choice.events),
            filters=choice.filters(),
            authentication=authentication.model_dump() if authentication else None,
            secret=new_secret() if is_webhook else None,
            created_by=scope.caller.name,
            now_us=now_us,
            expires_at_us=now_us + request.expires_in_seconds * US,
        )
        _note(connection, scope, "subscription.create", row, now_us)
    response.headers["Location"] = _path(scope, row)
    answer = subscription_answer(row, now_us, _websocket_url(scope, row), secret=row.secret)
    return NewSubscriptionAnswer(**answer)


def _check_url(guard: Guard, url: str) -> None:
    """Refuse what can be seen to be wrong; names are resolved when something is sent."""
    try:
        target = to_target(url)
    except BadInputError as exc:
        shown = "***" if "@" in url else url
        raise invalid("body", "webhookUrl", shown, str(exc).removeprefix("webhookUrl: ")) from exc
    host = target.host.rstrip(".")
    is_literal = ":" in host or host.replace(".", "").isdecimal()
    is_local = host == "localhost" or host.endswith(".localhost")
    literal = "127.0.0.1" if is_local else host
    if (is_literal or is_local) and not guard.may_reach(literal):
        raise invalid(
            "body",
            "webhookUrl",
            url,
            "webhooks may not reach that address; FIVEOBS_WEBHOOK_ALLOWED_NETWORKS says which "
            "private ones they may",
        )


# --- looking -----------------------------------------------------------------------------------


@router.get("/subscriptions", summary="List a project's subscriptions", dependencies=[_MAY_READ])
def list_subscriptions(
    *,
    scope: Scope,
    store: TheStore,
    job_id: Annotated[
        str | None, Query(alias="jobId", max_length=256, description="Only those to this job")
    ] = None,
    limit: Limit = 100,
) -> SubscriptionsAnswer:
    """Subscriptions, ended ones included, the newest first."""
    now_us = _now_us()
    with store.reading() as connection:
        job_key = None if job_id is None else _job_key(connection, scope, job_id)
        rows = stored.listed(connection, scope.project_key, job_key=job_key, limit=limit)
    answers = [
        SubscriptionAnswer(**subscription_answer(row, now_us, _websocket_url(scope, row)))
        for row in rows
    ]
    return SubscriptionsAnswer(subscriptions=answers)


@router.get(
    "/subscriptions/{subscriptionId}", summary="Get a subscription", dependencies=[_MAY_READ]
)
def get_subscription(
    *, scope: Scope, store: TheStore, subscription_id: SubscriptionId
) -> SubscriptionAnswer:
    """A subscription, and how many events it has been sent."""
    with store.reading() as connection:
        return _answer(connection, scope, _found(connection, scope, subscription_id))


@router.get(
    "/subscriptions/{subscriptionId}/deliveries",
    summary="List a subscription's deliveries",
    dependencies=[_MAY_READ],
)
def list_deliveries(
    *,
    scope: Scope,
    store: TheStore,
    subscription_id: SubscriptionId,
    status: Annotated[
        Literal["pending", "delivered", "dead"] | None, Query(description="Only those")
    ] = None,
    limit: Limit = 100,
) -> DeliveriesAnswer:
    """What was sent, what is tried again and when, and what was given up and why."""
    with store.reading() as connection:
        row = _found(connection, scope, subscription_id)
        rows = stored.listed_deliveries(
            connection, row.subscription_key, status=status, limit=limit
        )
        events = events_by_key(connection, [each.event_key for each in rows])
    found = []
    for each in rows:
        event = events.get(each.event_key)
        webhook_id = message_id(row.subscription_id, event.event_id) if event else None
        found.append(delivery_answer(each, event, webhook_id))
    return DeliveriesAnswer(deliveries=found)


class ReplayRequest(RequestModel):
    """What is to be delivered again; everything that is dead if left empty."""

    from_time: Moment | None = None
    """Only what was due from then on."""
    to_time: Moment | None = None
    """Only what was due until then."""
    include_delivered: bool = False
    """What was delivered, too."""


# --- changing ----------------------------------------------------------------------------------


@router.delete(
    "/subscriptions/{subscriptionId}",
    summary="End a subscription",
    status_code=204,
    dependencies=[_MAY_CHANGE],
)
def delete_subscription(*, scope: Scope, store: TheStore, subscription_id: SubscriptionId) -> None:
    """Send nothing any more, not even what was on its way, and forget the subscription."""
    with store.writing() as connection:
        row = _found(connection, scope, subscription_id)
        stored.remove(connection, row.subscription_key)
        _note(connection, scope, "subscription.delete", row, _now_us())


@router.post(
    "/subscriptions/{subscriptionId}/enable",
    summary="Enable a disabled subscription",
    dependencies=[_MAY_CHANGE],
)
def enable_subscription(
    *, scope: Scope, store: TheStore, subscription_id: SubscriptionId
) -> SubscriptionAnswer:
    """Send again, beginning with what has happened since it was disabled."""
    with store.writing() as connection:
        row = _found(connection, scope, subscription_id)
        if row.status != stored.DISABLED:
            raise HTTPException(409, f"the subscription is {row.status}, not disabled")
        stored.enable(connection, row.subscription_key)
        _note(connection, scope, "subscription.enable", row, _now_us())
        return _answer(connection, scope, _found(connection, scope, subscription_id))


@router.post(
    "/subscriptions/{subscriptionId}/replay",
    summary="Deliver again what was given up",
    dependencies=[_MAY_CHANGE],
)
def replay_deliveries(
    *,
    scope: Scope,
    store: TheStore,
    subscription_id: SubscriptionId,
    request: ReplayRequest | None = None,
) -> ReplayAnswer:
    """Try again, from the beginning of the schedule, under the same ``webhook-id``."""
    asked = request or ReplayRequest()
    now_us = _now_us()
    with store.writing() as connection:
        row = _webhook(connection, scope, subscription_id)
        if row.status == stored.DISABLED:
            raise HTTPException(409, f"the subscription is disabled: {row.ended_reason}")
        statuses = (stored.DEAD, stored.DELIVERED) if asked.include_delivered else (stored.DEAD,)
        count = stored.replay(
            connection,
            row.subscription_key,
            from_us=asked.from_time,
            to_us=asked.to_time,
            statuses=statuses,
            now_us=now_us,
        )
        _note(connection, scope, "subscription.replay", row, now_us, replayed=count)
    return ReplayAnswer(replayed=count)


@router.post(
    "/subscriptions/{subscriptionId}/test",
    summary="Send a test to a subscriber",
    dependencies=[_MAY_CHANGE],
)
def send_test(
    *, scope: Scope, store: TheStore, given: TheSender, subscription_id: SubscriptionId
) -> TestAnswer:
    """Send a made-up event now, once, and say what became of it."""
    with store.reading() as connection:
        row = _webhook(connection, scope, subscription_id)
    line = given.line(row.url or "", row.secret or "", row.authentication)
    started_s = time.monotonic()
    try:
        answer = line.send(_test_message(row))
    finally:
        line.close()
    return TestAnswer(
        delivered=answer.is_taken,
        http_status=answer.status,
        error=answer.error or None,
        duration_seconds=round(time.monotonic() - started_s, 3),
    )


def _test_message(row: SubscriptionRow) -> Message:
    event_id = str(uuid.uuid4())
    cloudevent = {
        "specversion": "1.0",
        "id": event_id,
        "source": "/fiveobs/monitor",
        "type": "fiveobs.subscription.test",
        "datacontenttype": "application/json",
        "data": {"subscriptionId": row.subscription_id, "message": "a test: nothing happened"},
    }
    if row.job_id is not None:
        cloudevent["subject"] = row.job_id
    return Message(message_id(row.subscription_id, event_id), orjson.dumps(cloudevent))


# --- reading over a WebSocket ------------------------------------------------------------------


@router.websocket("/subscriptions/{subscriptionId}/ws", dependencies=[_MAY_READ])
async def socket_of_subscription(
    *,
    websocket: WebSocket,
    scope: Scope,
    store: TheStore,
    the_hub: TheHub,
    subscription_id: SubscriptionId,
    last: LastEvent,
) -> None:
    """The events of a subscription, from when it was made."""
    room_in(the_hub)
    row, after = await anyio.to_thread.run_sync(
        partial(_opened, store, scope, subscription_id, last)
    )
    choice = Choice.stored(row.events, row.filters)
    wanted = Wanted(project_key=row.project_key, job_key=row.job_key)
    ends_at_s = None if row.expires_at_us is None else row.expires_at_us / US
    socket = Socket(the_hub, wanted, after, takes=Teller(choice), ends_at_s=ends_at_s)
    await socket.serve(websocket)


def _opened(
    store: Store, scope: ProjectScope, subscription_id: str, last: int | None
) -> tuple[SubscriptionRow, int]:
    with store.reading() as connection:
        row = _found(connection, scope, subscription_id)
        if row.kind != stored.WEBSOCKET or stored.state_of(row, _now_us()) != stored.ACTIVE:
            raise HTTPException(409, "it is no active subscription of type websocket")
        return row, row.event_key if last is None else begin(connection, last, "now")


# --- what they share ---------------------------------------------------------------------------


def _found(connection: Connection, scope: ProjectScope, subscription_id: str) -> SubscriptionRow:
    is_text = "\0" not in subscription_id
    row = stored.find(connection, scope.project_key, subscription_id) if is_text else None
    if row is None:
        raise HTTPException(404, f"there is no subscription {subscription_id!r} in this project")
    return row


def _webhook(connection: Connection, scope: ProjectScope, subscription_id: str) -> SubscriptionRow:
    row = _found(connection, scope, subscription_id)
    if row.kind != stored.WEBHOOK:
        raise HTTPException(409, "the subscription is no webhook: nothing is sent to it")
    return row


def _answer(
    connection: Connection, scope: ProjectScope, row: SubscriptionRow
) -> SubscriptionAnswer:
    counts = DeliveryCounts(**stored.delivery_counts(connection, row.subscription_key))
    more: dict[str, Any] = {"deliveries": counts} if row.kind == stored.WEBHOOK else {}
    return SubscriptionAnswer(
        **subscription_answer(row, _now_us(), _websocket_url(scope, row), **more)
    )


def _note(
    connection: Connection,
    scope: ProjectScope,
    action: str,
    row: SubscriptionRow,
    now_us: int,
    **details: Any,
) -> None:
    auditing.note(
        connection,
        at_us=now_us,
        project_key=scope.project_key,
        actor=scope.caller.name,
        action=action,
        target=row.subscription_id,
        outcome="done",
        details=details or None,
    )


def _path(scope: ProjectScope, row: SubscriptionRow) -> str:
    place = f"{quote(scope.tenant_id, safe='')}/{quote(scope.project_id, safe='')}"
    return f"/api/{place}/execution/subscriptions/{row.subscription_id}"


def _websocket_url(scope: ProjectScope, row: SubscriptionRow) -> str | None:
    return f"{_path(scope, row)}/ws" if row.kind == stored.WEBSOCKET else None


def _now_us() -> int:
    return round(time.time() * US)
