"""What the subscription routes take and answer; names as published, in camel case."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

from fiveobs.monitor.live.events import LiveEvent
from fiveobs.monitor.tracking.human import as_time
from fiveobs.monitor.tracking.models.base import Absent, Model, Time
from fiveobs.monitor.webhooks.choosing import EVENT_NAMES, Choice
from fiveobs.monitor.webhooks.subscriptions import DeliveryRow, SubscriptionRow, state_of

__all__ = [
    "Authentication",
    "DeliveriesAnswer",
    "DeliveryAnswer",
    "DeliveryCounts",
    "Filters",
    "NewSubscriptionAnswer",
    "ReplayAnswer",
    "RequestModel",
    "SubscribeRequest",
    "SubscriptionAnswer",
    "SubscriptionsAnswer",
    "TestAnswer",
    "delivery_answer",
    "subscription_answer",
]

DEFAULT_LIFETIME_S, MAX_LIFETIME_S = 8 * 3600, 30 * 24 * 3600
_MAX_TOKEN_CHARS = 4_096
_URLS = "URLs that begin with https:// or http://"
_WEBHOOK_ONLY = "leave it out: it is for subscriptions of type webhook"
#: Headers that say something else than who sends.
_RESERVED_HEADERS = frozenset(
    {
        *("connection", "content-length", "content-type", "host", "keep-alive", "te", "trailer"),
        *("transfer-encoding", "upgrade", "expect", "accept-encoding", "user-agent"),
        *("webhook-id", "webhook-timestamp", "webhook-signature", "proxy-authorization"),
    }
)


def _event_name(name: str) -> str:
    if name not in EVENT_NAMES:
        raise ValueError(f"valid are {', '.join(EVENT_NAMES)}")
    return name


def _printable(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError("valid are printable ASCII characters")
    return text


def _header(name: str) -> str:
    if name.lower() in _RESERVED_HEADERS or name.lower().startswith("webhook-"):
        raise ValueError("valid are headers that have no meaning of their own here")
    return name


EventName: TypeAlias = Annotated[
    str,
    AfterValidator(_event_name),
    WithJsonSchema({"type": "string", "enum": list(EVENT_NAMES)}),
]
Token: TypeAlias = Annotated[
    str,
    Field(min_length=1, max_length=_MAX_TOKEN_CHARS, pattern=r"^[\x20-\x7e]+$"),
    AfterValidator(_printable),
]


def _wrong(kind: str, name: str, text: str, value: object = None) -> ValidationError:
    """An error of one field that only shows beside others, to be raised by a model's validator."""
    error = PydanticCustomError(kind, "{text}", {"text": text})
    return ValidationError.from_exception_data(
        "request", [InitErrorDetails(type=error, loc=(name,), input=value)]
    )


class RequestModel(Model):
    """A part of a request: what is not known is refused, because it may be a slip."""

    model_config = ConfigDict(extra="forbid")


class Filters(RequestModel):
    """Which of the events chosen are sent."""

    min_progress_increment: float = Field(default=1.0, ge=0, le=100)
    """Progress is sent again once it has changed by so many percent; 0 sends all of it."""
    include_debug_events: bool = False
    """Events of level debug, too."""
    notify_on_errors: bool = False
    """Every event of level error or critical, too, whether ``events`` names it or not."""


class Authentication(RequestModel):
    """How the receiver knows the sender; never answered."""

    type: Literal["none", "bearer", "basic", "apiKey"]
    """``bearer`` and ``basic`` are sent as ``Authorization``, ``apiKey`` in a header of its own."""
    token: Token | None = Field(default=None, repr=False)
    """The bearer token, the key, or user and password with a colon between them."""
    header: Annotated[
        str,
        Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$"),
        AfterValidator(_header),
    ] = "X-API-Key"
    """The header of an ``apiKey``."""

    @model_validator(mode="after")
    def _has_token(self) -> Authentication:
        if self.type != "none" and self.token is None:
            raise _wrong("missing_here", "token", f"it is missing: {self.type} needs one")
        if self.type == "basic" and ":" not in (self.token or ""):
            text = "valid is user and password with a colon between them"
            raise _wrong("value_error", "token", text, "***")
        return self


class SubscribeRequest(RequestModel):
    """What is to be sent, and where to."""

    subscription_type: Literal["webhook", "websocket"]
    webhook_url: str | None = Field(default=None, min_length=1, max_length=2_048)
    """Where to; for a webhook."""
    events: list[EventName] = Field(min_length=1, max_length=len(EVENT_NAMES))
    filters: Filters = Filters()
    authentication: Authentication | None = None
    expires_in_seconds: int = Field(default=DEFAULT_LIFETIME_S, ge=60, le=MAX_LIFETIME_S)
    """How long it lasts."""

    @model_validator(mode="after")
    def _fits_together(self) -> SubscribeRequest:
        is_webhook = self.subscription_type == "webhook"
        if is_webhook and self.webhook_url is None:
            raise _wrong("missing_here", "webhookUrl", f"it is missing: valid are {_URLS}")
        for name in () if is_webhook else ("webhook_url", "authentication"):
            if (value := getattr(self, name)) is not None:
                raise _wrong("value_error", to_camel(name), _WEBHOOK_ONLY, value)
        return self

    def choice(self) -> Choice:
        """Which events it is for."""
        return Choice(
            events=tuple(dict.fromkeys(self.events)),
            min_progress_increment=self.filters.min_progress_increment,
            includes_debug=self.filters.include_debug_events,
            notifies_on_errors=self.filters.notify_on_errors,
        )


class DeliveryCounts(Model):
    """How many events are in which state."""

    pending: int
    """To be sent, or to be tried again."""
    delivered: int
    dead: int
    """Given up; they can be replayed."""


class SubscriptionAnswer(Model):
    """A subscription; what proves who sends is never shown."""

    subscription_id: str
    job_id: str | None
    """Null: every job of the project."""
    subscription_type: str
    status: Literal["Active", "Expired", "Disabled"]
    webhook_url: Absent[str] = None
    websocket_url: Absent[str] = None
    """The path at which the events are read."""
    events_subscribed: list[str]
    filters: Filters
    authentication_type: str
    created_by: str | None
    created_at: Time
    expires_at: Time | None
    ended_reason: Absent[str] = None
    """Why nothing is sent any more."""
    deliveries: Absent[DeliveryCounts] = None


class NewSubscriptionAnswer(SubscriptionAnswer):
    """A subscription that was just made."""

    secret: Absent[str] = None
    """Verifies what is sent, by the Standard Webhooks scheme. Not shown again."""


class SubscriptionsAnswer(Model):
    """Subscriptions, the newest first."""

    subscriptions: list[SubscriptionAnswer]


class DeliveryAnswer(Model):
    """One event on its way to the subscriber."""

    delivery_id: int
    webhook_id: str | None
    """Null if the event is no longer stored."""
    event_id: str | None
    event_type: str | None
    status: Literal["pending", "delivered", "dead"]
    tries: int
    created_at: Time
    next_try_at: Time | None
    ended_at: Time | None
    http_status: int | None
    """What the receiver answered last."""
    last_error: str | None


class DeliveriesAnswer(Model):
    """Deliveries, those of the newest events first."""

    deliveries: list[DeliveryAnswer]
    next: int | None
    """For ``before``, to go on; null if that was all."""


class TestAnswer(Model):
    """What became of a test."""

    delivered: bool
    http_status: int | None
    error: str | None
    duration_seconds: float


class ReplayAnswer(Model):
    """How much is delivered again."""

    replayed: int


def subscription_answer(
    row: SubscriptionRow, now_us: int, websocket_url: str | None, **more: Any
) -> dict[str, Any]:
    """The fields of a `SubscriptionAnswer`."""
    choice = Choice.stored(row.events, row.filters)
    return {
        "subscription_id": row.subscription_id,
        "job_id": row.job_id,
        "subscription_type": row.kind,
        "status": state_of(row, now_us).capitalize(),
        "webhook_url": row.url,
        "websocket_url": websocket_url,
        "events_subscribed": list(choice.events),
        "filters": Filters(
            min_progress_increment=choice.min_progress_increment,
            include_debug_events=choice.includes_debug,
            notify_on_errors=choice.notifies_on_errors,
        ),
        "authentication_type": (row.authentication or {}).get("type", "none"),
        "created_by": row.created_by,
        "created_at": as_time(row.created_at_us),
        "expires_at": as_time(row.expires_at_us),
        "ended_reason": row.ended_reason,
        **more,
    }


def delivery_answer(
    row: DeliveryRow, event: LiveEvent | None, webhook_id: str | None
) -> DeliveryAnswer:
    """A delivery as it is shown."""
    return DeliveryAnswer(
        delivery_id=row.delivery_key,
        webhook_id=webhook_id,
        event_id=None if event is None else event.event_id,
        event_type=None if event is None else event.event_type,
        status=row.status,  # type: ignore[arg-type]
        tries=row.tries,
        created_at=as_time(row.created_at_us) or "",
        next_try_at=as_time(row.next_try_at_us),
        ended_at=as_time(row.ended_at_us),
        http_status=row.http_status,
        last_error=row.last_error,
    )
