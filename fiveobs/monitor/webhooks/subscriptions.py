"""Subscriptions and deliveries in the store: made, found, ended, replayed.

Each function works within the transaction of its caller.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import Select, delete, func, insert, select, update

from fiveobs.monitor.live.events import newest_key
from fiveobs.monitor.store import auditing
from fiveobs.monitor.store.schema import deliveries, jobs, subscriptions, told

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

__all__ = [
    "ACTIVE",
    "DEAD",
    "DELIVERED",
    "DISABLED",
    "EXPIRED",
    "PENDING",
    "WEBHOOK",
    "WEBSOCKET",
    "DeliveryRow",
    "SubscriptionRow",
    "by_key",
    "count_active",
    "create",
    "deliveries_where",
    "delivery_counts",
    "disable",
    "enable",
    "find",
    "listed",
    "listed_deliveries",
    "note",
    "remove",
    "replay",
    "rows_where",
    "state_of",
]

ACTIVE, EXPIRED, DISABLED = "active", "expired", "disabled"
WEBHOOK, WEBSOCKET = "webhook", "websocket"
PENDING, DELIVERED, DEAD = "pending", "delivered", "dead"


class SubscriptionRow(NamedTuple):
    """Who wants to hear of which events, and where."""

    subscription_key: int
    subscription_id: str
    project_key: int
    #: ``None``: every job of the project.
    job_key: int | None
    #: ``webhook`` or ``websocket``.
    kind: str
    status: str
    url: str | None
    events: list[str]
    #: As `Choice.filters` gives them.
    filters: dict[str, Any]
    authentication: dict[str, Any] | None
    secret: str | None
    created_by: str | None
    #: The token that answers for it; ``None`` if none does.
    token_id: str | None
    created_at_us: int
    expires_at_us: int | None
    event_key: int
    ended_reason: str | None
    job_id: str | None

    def __repr__(self) -> str:
        """Which one; never its secrets."""
        return f"<SubscriptionRow {self.subscription_id} {self.status}>"


class DeliveryRow(NamedTuple):
    """One event on its way to one subscriber."""

    delivery_key: int
    subscription_key: int
    event_key: int
    status: str
    tries: int
    created_at_us: int
    next_try_at_us: int | None
    ended_at_us: int | None
    http_status: int | None
    last_error: str | None


_SUBSCRIPTIONS: Select[Any] = select(
    *(subscriptions.c[name] for name in SubscriptionRow._fields[:-1]), jobs.c.job_id
).outerjoin(jobs, jobs.c.job_key == subscriptions.c.job_key)
_DELIVERIES: Select[Any] = select(*(deliveries.c[name] for name in DeliveryRow._fields))


def state_of(row: SubscriptionRow, now_us: int) -> str:
    """Its status now: one whose time is over may still have events of before to send."""
    is_over = row.expires_at_us is not None and row.expires_at_us <= now_us
    return EXPIRED if row.status == ACTIVE and is_over else row.status


def create(
    connection: Connection,
    *,
    project_key: int,
    job_key: int | None,
    kind: str,
    url: str | None,
    events: list[str],
    filters: Mapping[str, Any],
    authentication: Mapping[str, Any] | None,
    secret: str | None,
    created_by: str,
    token_id: str | None = None,
    now_us: int,
    expires_at_us: int,
) -> SubscriptionRow:
    """Subscribe to what happens from now on."""
    subscription_id = f"sub-{uuid.uuid4()}"
    values = {
        "subscription_id": subscription_id,
        "project_key": project_key,
        "job_key": job_key,
        "kind": kind,
        "status": ACTIVE,
        "url": url,
        "events": events,
        "filters": dict(filters),
        "authentication": dict(authentication) if authentication else None,
        "secret": secret,
        "created_by": created_by,
        "token_id": token_id,
        "created_at_us": now_us,
        "expires_at_us": expires_at_us,
        "event_key": newest_key(connection),
    }
    connection.execute(insert(subscriptions).values(values))
    found = find(connection, project_key, subscription_id)
    assert found is not None  # noqa: S101 - it was just written
    return found


def find(connection: Connection, project_key: int, subscription_id: str) -> SubscriptionRow | None:
    """A project's subscription by its id."""
    row = connection.execute(
        _SUBSCRIPTIONS.where(
            subscriptions.c.subscription_id == subscription_id,
            subscriptions.c.project_key == project_key,
        )
    ).first()
    return None if row is None else SubscriptionRow(*row)


def by_key(connection: Connection, subscription_key: int) -> SubscriptionRow | None:
    """A subscription by the store's key."""
    wanted = _SUBSCRIPTIONS.where(subscriptions.c.subscription_key == subscription_key)
    row = connection.execute(wanted).first()
    return None if row is None else SubscriptionRow(*row)


def rows_where(connection: Connection, wanted: ColumnElement[bool]) -> list[SubscriptionRow]:
    """Subscriptions, the oldest first."""
    found = _SUBSCRIPTIONS.where(wanted).order_by(subscriptions.c.subscription_key)
    return [SubscriptionRow(*row) for row in connection.execute(found)]


def listed(
    connection: Connection, project_key: int, *, job_key: int | None = None, limit: int
) -> list[SubscriptionRow]:
    """A project's subscriptions, or those to one of its jobs, the newest first."""
    wanted = _SUBSCRIPTIONS.where(subscriptions.c.project_key == project_key)
    if job_key is not None:
        wanted = wanted.where(subscriptions.c.job_key == job_key)
    newest = wanted.order_by(subscriptions.c.subscription_key.desc()).limit(limit)
    return [SubscriptionRow(*row) for row in connection.execute(newest)]


def count_active(connection: Connection, project_key: int) -> int:
    """How many of a project's subscriptions are active."""
    wanted = select(func.count()).select_from(subscriptions)
    mine = wanted.filter_by(project_key=project_key, status=ACTIVE)
    return int(connection.execute(mine).scalar_one())


def remove(connection: Connection, subscription_key: int) -> None:
    """End a subscription and forget it, with what was still to be delivered."""
    for table in (deliveries, told, subscriptions):
        wanted = delete(table).where(table.c.subscription_key == subscription_key)
        connection.execute(wanted)


def disable(connection: Connection, subscription_key: int, reason: str, now_us: int) -> None:
    """Send nothing any more; what was on its way is dead, and can be replayed."""
    connection.execute(
        update(subscriptions)
        .where(subscriptions.c.subscription_key == subscription_key)
        .values(status=DISABLED, ended_reason=reason)
    )
    connection.execute(
        update(deliveries)
        .where(deliveries.c.subscription_key == subscription_key)
        .where(deliveries.c.status == PENDING)
        .values(status=DEAD, next_try_at_us=None, ended_at_us=now_us, last_error=reason)
    )


def enable(connection: Connection, subscription_key: int, **changed: Any) -> None:
    """Send again, beginning with what has happened since it was disabled.

    Args:
        connection: A transaction.
        subscription_key: Which.
        changed: What else is different from now on, by column.
    """
    connection.execute(
        update(subscriptions)
        .where(subscriptions.c.subscription_key == subscription_key)
        .values(status=ACTIVE, ended_reason=None, **changed)
    )


def note(
    connection: Connection,
    row: SubscriptionRow,
    action: str,
    *,
    actor: str,
    now_us: int,
    reason: str | None = None,
    **details: Any,
) -> None:
    """Say in the audit trail what was done to a subscription.

    Args:
        connection: A transaction.
        row: Which.
        action: What was done: ``create``, ``disable``, …
        actor: Who did it.
        now_us: When.
        reason: Why, if it was said.
        details: What else is worth knowing; the receiver's host is added.
    """
    host = None if row.url is None else urlsplit(row.url).hostname
    auditing.note(
        connection,
        at_us=now_us,
        project_key=row.project_key,
        actor=actor,
        action=f"subscription.{action}",
        target=row.subscription_id,
        outcome="done",
        reason=reason,
        details={"tokenId": row.token_id, **({"host": host} if host else {}), **details},
    )


def delivery_counts(connection: Connection, subscription_key: int) -> dict[str, int]:
    """How many deliveries are in which status."""
    wanted = (
        select(deliveries.c.status, func.count())
        .where(deliveries.c.subscription_key == subscription_key)
        .group_by(deliveries.c.status)
    )
    found = {status: int(count) for status, count in connection.execute(wanted)}
    return {status: found.get(status, 0) for status in (PENDING, DELIVERED, DEAD)}


def listed_deliveries(
    connection: Connection,
    subscription_key: int,
    *,
    status: str | None,
    before: int | None = None,
    limit: int,
) -> list[DeliveryRow]:
    """A subscription's deliveries, the newest event first; those after a delivery in that order."""
    wanted = _DELIVERIES.where(deliveries.c.subscription_key == subscription_key)
    if status is not None:
        wanted = wanted.where(deliveries.c.status == status)
    if before is not None:
        cursor = select(deliveries.c.event_key).where(
            deliveries.c.delivery_key == before,
            deliveries.c.subscription_key == subscription_key,
        )
        wanted = wanted.where(deliveries.c.event_key < cursor.scalar_subquery())
    newest = wanted.order_by(deliveries.c.event_key.desc()).limit(limit)
    return [DeliveryRow(*row) for row in connection.execute(newest)]


def deliveries_where(
    connection: Connection, *wanted: ColumnElement[bool], limit: int
) -> list[DeliveryRow]:
    """Deliveries in the order of their events."""
    found = _DELIVERIES.where(*wanted).order_by(deliveries.c.event_key).limit(limit)
    return [DeliveryRow(*row) for row in connection.execute(found)]


def replay(
    connection: Connection,
    subscription_key: int,
    *,
    from_us: int | None,
    to_us: int | None,
    statuses: tuple[str, ...],
    delivery_keys: Collection[int] | None = None,
    now_us: int,
) -> int:
    """Deliver again, under the same ``webhook-id``; how many events that are.

    Args:
        connection: A transaction.
        subscription_key: Whose.
        from_us: Only deliveries that were due from this time on.
        to_us: Only those up to this time.
        statuses: Only those that ended so: `DEAD`, `DELIVERED`.
        delivery_keys: Only these; ``None`` is all.
        now_us: The time.
    """
    wanted = (
        update(deliveries)
        .where(deliveries.c.subscription_key == subscription_key)
        .where(deliveries.c.status.in_(statuses))
    )
    if from_us is not None:
        wanted = wanted.where(deliveries.c.created_at_us >= from_us)
    if to_us is not None:
        wanted = wanted.where(deliveries.c.created_at_us <= to_us)
    if delivery_keys is not None:
        wanted = wanted.where(deliveries.c.delivery_key.in_(delivery_keys))
    again = {"status": PENDING, "tries": 0, "next_try_at_us": now_us, "ended_at_us": None}
    return connection.execute(wanted.values(again)).rowcount
