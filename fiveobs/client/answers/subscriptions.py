"""Answers: who is told of a job's events.

Made by docs/reference/generate.py from the OpenAPI document.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from fiveobs.client._reading import Answer

__all__ = [
    "DeliveriesAnswer",
    "DeliveryAnswer",
    "DeliveryCounts",
    "Filters",
    "NewSubscriptionAnswer",
    "ReplayAnswer",
    "SubscriptionAnswer",
    "SubscriptionsAnswer",
    "TestAnswer",
]


@dataclass(frozen=True, kw_only=True)
class Filters(Answer):
    """Which of the events chosen are sent."""

    #: Progress is sent again once it has changed by so many percent; 0 sends all of it.
    min_progress_increment: float | None = None
    #: Events of level debug, too.
    include_debug_events: bool | None = None
    #: Every event of level error or critical, too, whether ``events`` names it or not.
    notify_on_errors: bool | None = None


@dataclass(frozen=True, kw_only=True)
class DeliveryCounts(Answer):
    """How many events are in which state."""

    #: To be sent, or to be tried again.
    pending: int
    delivered: int
    #: Given up; they can be replayed.
    dead: int


@dataclass(frozen=True, kw_only=True)
class NewSubscriptionAnswer(Answer):
    """A subscription that was just made."""

    subscription_id: str
    #: Null: every job of the project.
    job_id: str | None
    subscription_type: str
    status: str
    webhook_url: str | None = None
    #: The path at which the events are read.
    websocket_url: str | None = None
    events_subscribed: tuple[str, ...]
    filters: Filters
    authentication_type: str
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    #: Why nothing is sent any more.
    ended_reason: str | None = None
    deliveries: DeliveryCounts | None = None
    #: Verifies what is sent, by the Standard Webhooks scheme. Not shown again.
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class SubscriptionAnswer(Answer):
    """A subscription; what proves who sends is never shown."""

    subscription_id: str
    #: Null: every job of the project.
    job_id: str | None
    subscription_type: str
    status: str
    webhook_url: str | None = None
    #: The path at which the events are read.
    websocket_url: str | None = None
    events_subscribed: tuple[str, ...]
    filters: Filters
    authentication_type: str
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    #: Why nothing is sent any more.
    ended_reason: str | None = None
    deliveries: DeliveryCounts | None = None


@dataclass(frozen=True, kw_only=True)
class SubscriptionsAnswer(Answer):
    """Subscriptions, the newest first."""

    subscriptions: tuple[SubscriptionAnswer, ...]


@dataclass(frozen=True, kw_only=True)
class DeliveryAnswer(Answer):
    """One event on its way to the subscriber."""

    delivery_id: int
    #: Null if the event is no longer stored.
    webhook_id: str | None
    event_id: str | None
    event_type: str | None
    status: str
    tries: int
    created_at: datetime
    next_try_at: datetime | None
    ended_at: datetime | None
    #: What the receiver answered last.
    http_status: int | None
    last_error: str | None


@dataclass(frozen=True, kw_only=True)
class DeliveriesAnswer(Answer):
    """Deliveries, those of the newest events first."""

    deliveries: tuple[DeliveryAnswer, ...]
    #: For ``before``, to go on; null if that was all.
    next: int | None


@dataclass(frozen=True, kw_only=True)
class ReplayAnswer(Answer):
    """How much is delivered again."""

    replayed: int


@dataclass(frozen=True, kw_only=True)
class TestAnswer(Answer):
    """What became of a test."""

    delivered: bool
    http_status: int | None
    error: str | None
    duration_seconds: float
