"""Routes of subscriptions: made, listed, tested, replayed, ended.

What was subscribed to with one token is changed with that token, or with an admin's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias
from urllib.parse import quote

import anyio.to_thread
from fastapi import Depends, HTTPException, Path, Query, Response
from pydantic import Field
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI reads the annotation

from fiveobs.monitor.access import TokenRow, good_token
from fiveobs.monitor.api.asked import Moment, check_url, in_order
from fiveobs.monitor.api.dependencies import JOB, JobId, ProjectScope, Scope, TheStore, require
from fiveobs.monitor.api.problems import described
from fiveobs.monitor.api.routers import make_router
from fiveobs.monitor.live.events import events_by_key
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.reading import job_by_id
from fiveobs.monitor.tracking.human import US
from fiveobs.monitor.webhooks import subscriptions as stored
from fiveobs.monitor.webhooks.guard import Guard
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
from fiveobs.monitor.webhooks.sending import Sender
from fiveobs.monitor.webhooks.signing import message_id, new_secret
from fiveobs.monitor.webhooks.subscriptions import SubscriptionRow
from fiveobs.monitor.webhooks.trying import TRIAL_S, BusyError, Trials

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "ReplayRequest",
    "SubscriptionId",
    "delete_subscription",
    "enable_subscription",
    "found",
    "get_subscription",
    "list_deliveries",
    "list_subscriptions",
    "replay_deliveries",
    "router",
    "send_test",
    "sender",
    "subscribe_to_job",
    "subscribe_to_project",
    "trials",
]

#: Active subscriptions of one project.
_MOST_ACTIVE = 1_000
_MOST_LISTED = 1_000

router = make_router("Subscriptions", role=None)
_MAY_READ, _MAY_CHANGE = Depends(require("viewer")), Depends(require("operator"))

SubscriptionId: TypeAlias = Annotated[
    str,
    Path(
        alias="subscriptionId",
        min_length=1,
        max_length=64,
        description="The subscription identifier",
    ),
]
_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: described("The subscription's type or state does not allow it")
}
_MADE: dict[int | str, dict[str, Any]] = {
    201: {
        "headers": {
            "Location": {
                "description": "The path of the subscription",
                "schema": {"type": "string", "format": "uri-reference"},
                "required": True,
            }
        }
    },
    409: described("The project has as many active subscriptions as it may"),
}
Limit: TypeAlias = Annotated[int, Query(ge=1, le=_MOST_LISTED, description="How many at most")]


def sender(connection: HTTPConnection) -> Sender:
    """What tests are sent with, set up as for deliveries."""
    state = connection.app.state
    found: Sender | None = getattr(state, "sender", None)
    if found is None:
        guard = Guard(state.settings.webhook_allowed_networks)
        found = state.sender = Sender(guard, total_s=TRIAL_S)
    return found


def trials(connection: HTTPConnection) -> Trials:
    """Who sends this application's tests."""
    found: Trials | None = getattr(connection.app.state, "trials", None)
    if found is None:
        found = connection.app.state.trials = Trials(sender(connection))
    return found


TheSender: TypeAlias = Annotated[Sender, Depends(sender)]
TheTrials: TypeAlias = Annotated[Trials, Depends(trials)]


# --- making ------------------------------------------------------------------------------------


@router.post(
    f"{JOB}/subscribe",
    summary="Subscribe to job events",
    status_code=201,
    responses=_MADE,
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
    responses=_MADE,
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
        check_url(given.guard, request.webhook_url or "")
    now_us, choice, authentication = _now_us(), request.choice(), request.authentication
    with store.writing() as connection:
        token = _token(connection, scope)
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
            token_id=token.token_id,
            now_us=now_us,
            expires_at_us=_capped(now_us + request.expires_in_seconds * US, token),
        )
        _note(connection, scope, "create", row, now_us)
    response.headers["Location"] = _path(scope, row)
    return NewSubscriptionAnswer(**_shown(scope, row, now_us, secret=row.secret))


def _token(connection: Connection, scope: ProjectScope) -> TokenRow:
    """The caller's token, which may have ended since the request came in."""
    token = good_token(connection, scope.caller.token_id)
    if token is None:
        raise HTTPException(401, "the token has ended", {"WWW-Authenticate": "Bearer"})
    return token


def _capped(at_us: int, token: TokenRow) -> int:
    """A subscription lasts no longer than its token."""
    return at_us if token.expires_at_us is None else min(at_us, token.expires_at_us)


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
    answers = [SubscriptionAnswer(**_shown(scope, row, now_us)) for row in rows]
    return SubscriptionsAnswer(subscriptions=answers)


@router.get(
    "/subscriptions/{subscriptionId}", summary="Get a subscription", dependencies=[_MAY_READ]
)
def get_subscription(
    *, scope: Scope, store: TheStore, subscription_id: SubscriptionId
) -> SubscriptionAnswer:
    """A subscription, and how many events it has been sent."""
    with store.reading() as connection:
        return _answer(connection, scope, found(connection, scope, subscription_id))


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
    before: Annotated[
        int | None,
        Query(ge=1, le=2**53, description="Only those of earlier events than this one's"),
    ] = None,
    limit: Limit = 100,
) -> DeliveriesAnswer:
    """What was sent, what is tried again and when, and what was given up and why."""
    with store.reading() as connection:
        row = found(connection, scope, subscription_id)
        rows = stored.listed_deliveries(
            connection, row.subscription_key, status=status, before=before, limit=limit
        )
        events = events_by_key(connection, [each.event_key for each in rows])
    answers = []
    for each in rows:
        event = events.get(each.event_key)
        webhook_id = message_id(row.subscription_id, event.event_id) if event else None
        answers.append(delivery_answer(each, event, webhook_id))
    following = rows[-1].delivery_key if len(rows) == limit else None
    return DeliveriesAnswer(deliveries=answers, next=following)


class ReplayRequest(RequestModel):
    """What is to be delivered again; everything that is dead if left empty."""

    from_time: Moment | None = None
    """Only what was due from then on."""
    to_time: Moment | None = None
    """Only what was due until then."""
    include_delivered: bool = False
    """What was delivered, too."""
    delivery_ids: list[int] | None = Field(default=None, min_length=1, max_length=_MOST_LISTED)
    """Only these."""


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
        row = _mine(scope, found(connection, scope, subscription_id))
        stored.remove(connection, row.subscription_key)
        _note(connection, scope, "delete", row, _now_us())


@router.post(
    "/subscriptions/{subscriptionId}/enable",
    summary="Enable a disabled subscription",
    responses=_CONFLICT,
    dependencies=[_MAY_CHANGE],
)
def enable_subscription(
    *, scope: Scope, store: TheStore, subscription_id: SubscriptionId
) -> SubscriptionAnswer:
    """Send again, beginning with what has happened since it was disabled.

    If the token that it was made with has ended, it is yours from now on.
    """
    with store.writing() as connection:
        row = _mine(scope, found(connection, scope, subscription_id))
        if row.status != stored.DISABLED:
            raise HTTPException(409, f"the subscription is {row.status}, not disabled")
        mine, until_us = _token(connection, scope), row.expires_at_us
        token = good_token(connection, row.token_id) or mine
        if until_us is not None:
            until_us = _capped(until_us, token)
        changed = {"token_id": token.token_id, "expires_at_us": until_us}
        stored.enable(connection, row.subscription_key, **changed)
        _note(connection, scope, "enable", row, _now_us())
        return _answer(connection, scope, found(connection, scope, subscription_id))


@router.post(
    "/subscriptions/{subscriptionId}/replay",
    summary="Deliver again what was given up",
    responses=_CONFLICT,
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
    in_order("body", asked.from_time, asked.to_time)
    now_us = _now_us()
    with store.writing() as connection:
        row = _mine(scope, _webhook(connection, scope, subscription_id))
        state = stored.state_of(row, now_us)
        if state != stored.ACTIVE:
            why = row.ended_reason or "its time is over"
            raise HTTPException(409, f"the subscription is {state}: {why}")
        statuses = (stored.DEAD, stored.DELIVERED) if asked.include_delivered else (stored.DEAD,)
        count = stored.replay(
            connection,
            row.subscription_key,
            from_us=asked.from_time,
            to_us=asked.to_time,
            statuses=statuses,
            delivery_keys=asked.delivery_ids,
            now_us=now_us,
        )
        _note(connection, scope, "replay", row, now_us, replayed=count)
    return ReplayAnswer(replayed=count)


@router.post(
    "/subscriptions/{subscriptionId}/test",
    summary="Send a test to a subscriber",
    responses=_CONFLICT,
    dependencies=[_MAY_CHANGE],
)
async def send_test(
    *, scope: Scope, store: TheStore, given: TheTrials, subscription_id: SubscriptionId
) -> TestAnswer:
    """Send a made-up event now, once, and say what became of it within five seconds."""
    row = await anyio.to_thread.run_sync(_tested, store, scope, subscription_id)
    try:
        answer, took_s = await given.send(row)
    except BusyError:
        headers = {"Retry-After": str(round(TRIAL_S))}
        raise HTTPException(429, "other tests are under way: wait for them", headers) from None
    return TestAnswer(
        delivered=answer.is_taken,
        http_status=answer.status,
        error=answer.error or None,
        duration_seconds=round(took_s, 3),
    )


def _tested(store: Store, scope: ProjectScope, subscription_id: str) -> SubscriptionRow:
    with store.writing() as connection:
        row = _mine(scope, _webhook(connection, scope, subscription_id))
        _note(connection, scope, "test", row, _now_us())
        return row


# --- what they share ---------------------------------------------------------------------------


def found(connection: Connection, scope: ProjectScope, subscription_id: str) -> SubscriptionRow:
    """A subscription of the project.

    Raises:
        HTTPException: There is none: 404.
    """
    is_text = "\0" not in subscription_id
    row = stored.find(connection, scope.project_key, subscription_id) if is_text else None
    if row is None:
        raise HTTPException(404, f"there is no subscription {subscription_id!r} in this project")
    return row


def _webhook(connection: Connection, scope: ProjectScope, subscription_id: str) -> SubscriptionRow:
    row = found(connection, scope, subscription_id)
    if row.kind != stored.WEBHOOK:
        raise HTTPException(409, "the subscription is no webhook: nothing is sent to it")
    return row


def _mine(scope: ProjectScope, row: SubscriptionRow) -> SubscriptionRow:
    """The subscription, if the caller may change it.

    Raises:
        HTTPException: It is another token's: 403.
    """
    if row.token_id != scope.caller.token_id and not scope.caller.may("admin"):
        raise HTTPException(
            403, "the subscription was made with another token: this needs the role admin"
        )
    return row


def _answer(
    connection: Connection, scope: ProjectScope, row: SubscriptionRow
) -> SubscriptionAnswer:
    counts = DeliveryCounts(**stored.delivery_counts(connection, row.subscription_key))
    more: dict[str, Any] = {"deliveries": counts} if row.kind == stored.WEBHOOK else {}
    return SubscriptionAnswer(**_shown(scope, row, _now_us(), **more))


def _shown(scope: ProjectScope, row: SubscriptionRow, now_us: int, **more: Any) -> dict[str, Any]:
    """The fields of an answer, as far as the caller may see them."""
    answer = subscription_answer(row, now_us, _websocket_url(scope, row), **more)
    url = row.url
    if url is not None and "?" in url and not scope.caller.may("operator"):
        # What receivers know their senders by is often there.
        answer["webhook_url"] = f"{url.partition('?')[0]}?***"
    return answer


def _note(
    connection: Connection,
    scope: ProjectScope,
    action: str,
    row: SubscriptionRow,
    now_us: int,
    **details: Any,
) -> None:
    by = {"by": scope.caller.token_id}
    stored.note(connection, row, action, actor=scope.caller.name, now_us=now_us, **by, **details)


def _path(scope: ProjectScope, row: SubscriptionRow) -> str:
    place = f"{quote(scope.tenant_id, safe='')}/{quote(scope.project_id, safe='')}"
    return f"/api/{place}/execution/subscriptions/{row.subscription_id}"


def _websocket_url(scope: ProjectScope, row: SubscriptionRow) -> str | None:
    return f"{_path(scope, row)}/ws" if row.kind == stored.WEBSOCKET else None


def _now_us() -> int:
    return round(time.time() * US)
