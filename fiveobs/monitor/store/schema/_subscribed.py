"""Who wants to hear of events, and what is on its way to them."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    UniqueConstraint,
)

from fiveobs.monitor.store.columns import key, partial, text, time
from fiveobs.monitor.store.schema._base import metadata

__all__ = ["deliveries", "subscriptions", "told"]

#: Who wants to hear of events, and where.
subscriptions = Table(
    "subscriptions",
    metadata,
    Column("subscription_key", key(), primary_key=True),
    text("subscription_id", nullable=False),
    Column("project_key", ForeignKey("projects.project_key"), nullable=False),
    Column("job_key", ForeignKey("jobs.job_key")),
    text("kind", nullable=False),
    text("status", nullable=False),
    text("url"),
    Column("events", JSON, nullable=False),
    Column("filters", JSON, nullable=False),
    #: How to prove to the receiver who sends; never shown.
    Column("authentication", JSON),
    #: Signs deliveries; shown once.
    text("secret"),
    text("created_by"),
    #: The token that answers for it; ends with it.
    text("token_id"),
    time("created_at_us", nullable=False),
    time("expires_at_us"),
    #: The last event that was looked at for it.
    Column("event_key", BigInteger, nullable=False),
    text("ended_reason"),
    UniqueConstraint("subscription_id"),
    Index(None, "status"),
    Index(None, "job_key"),
)

#: The progress that a subscriber was last told of a running job, or of one of its stages.
told = Table(
    "told",
    metadata,
    Column(
        "subscription_key",
        ForeignKey("subscriptions.subscription_key"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("job_key", BigInteger, primary_key=True, autoincrement=False),
    #: 0 is the job itself.
    Column("stage_index", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("percent", Float(53), nullable=False),
)

#: One event on its way to one subscriber.
deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_key", key(), primary_key=True),
    Column("subscription_key", ForeignKey("subscriptions.subscription_key"), nullable=False),
    Column("event_key", BigInteger, nullable=False),
    text("status", nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    time("created_at_us", nullable=False),
    time("next_try_at_us"),
    time("ended_at_us"),
    Column("http_status", Integer),
    text("last_error"),
    UniqueConstraint("subscription_key", "event_key"),
    Index(None, "status", "next_try_at_us"),
)

partial(
    "ix_deliveries_pending",
    deliveries.c.status == "pending",
    deliveries.c.subscription_key,
    deliveries.c.event_key,
)
