"""Routes that read what was subscribed to without a webhook: as a stream, or over a WebSocket."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import anyio.to_thread
from fastapi import HTTPException, WebSocket
from fastapi.responses import Response

from fiveobs.monitor.api.dependencies import ProjectScope, Scope, TheStore
from fiveobs.monitor.api.live import STREAM, Last, LastEvent, TheHub, begin, room_in
from fiveobs.monitor.api.routers import make_router
from fiveobs.monitor.api.subscriptions import SubscriptionId, found
from fiveobs.monitor.live.lifetime import Lifetime
from fiveobs.monitor.live.sse import EventStream
from fiveobs.monitor.live.wanted import Wanted
from fiveobs.monitor.live.websocket import Socket
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.tracking.human import US
from fiveobs.monitor.webhooks import subscriptions as stored
from fiveobs.monitor.webhooks.choosing import Choice, Teller

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["router", "socket_of_subscription", "stream_subscription"]

router = make_router("Live events")


class _Reading(NamedTuple):
    """What is read, and from where on."""

    wanted: Wanted
    after: int
    teller: Teller
    lifetime: Lifetime


@router.get(
    "/subscriptions/{subscriptionId}/events",
    summary="Stream a subscription's events",
    response_class=Response,
    responses=STREAM,
)
async def stream_subscription(
    *,
    scope: Scope,
    store: TheStore,
    the_hub: TheHub,
    subscription_id: SubscriptionId,
    last: LastEvent,
) -> Response:
    """The events of a subscription of type websocket, from when it was made."""
    owner = room_in(the_hub, scope)
    read = partial(_opened, store, scope, subscription_id, last)
    wanted, after, teller, lifetime = await anyio.to_thread.run_sync(read)
    return EventStream(the_hub, wanted, after, owner=owner, takes=teller, lifetime=lifetime)


@router.websocket("/subscriptions/{subscriptionId}/ws")
async def socket_of_subscription(
    *,
    websocket: WebSocket,
    scope: Scope,
    store: TheStore,
    the_hub: TheHub,
    subscription_id: SubscriptionId,
    last: LastEvent,
) -> None:
    """The same over WebSocket."""
    owner = room_in(the_hub, scope)
    read = partial(_opened, store, scope, subscription_id, last)
    wanted, after, teller, lifetime = await anyio.to_thread.run_sync(read)
    socket = Socket(the_hub, wanted, after, owner=owner, takes=teller, lifetime=lifetime)
    await socket.serve(websocket)


def _opened(store: Store, scope: ProjectScope, subscription_id: str, last: Last | None) -> _Reading:
    with store.reading() as connection:
        row = found(connection, scope, subscription_id)
        state = stored.state_of(row, round(time.time() * US))
        if row.kind != stored.WEBSOCKET or state != stored.ACTIVE:
            raise HTTPException(409, "it is no active subscription of type websocket")
        teller = Teller(Choice.stored(row.events, row.filters))
        after = row.event_key
        if last is not None:
            after = begin(connection, last, "now")
            teller.resume(connection, row.project_key, row.job_key, row.event_key, after)
    wanted = Wanted(project_key=row.project_key, job_key=row.job_key)
    ends_at_s = None if row.expires_at_us is None else row.expires_at_us / US
    goes_on = partial(_is_active, key=row.subscription_key)
    return _Reading(wanted, after, teller, Lifetime(ends_at_s, goes_on))


def _is_active(connection: Connection, *, key: int) -> bool:
    """Whether a subscription has been neither deleted nor disabled."""
    row = stored.by_key(connection, key)
    return row is not None and row.status == stored.ACTIVE
