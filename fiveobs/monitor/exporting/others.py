"""The tables of who hears of events, and of what was done."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fiveobs.monitor.exporting.columns import Columns, named_by
from fiveobs.monitor.exporting.table import Table
from fiveobs.monitor.exporting.walking import JOB, PERIOD, ByKey, ByParent, Wanted, keys_of
from fiveobs.monitor.store.schema import audit, deliveries, events, jobs, subscriptions

__all__ = ["AUDIT", "DELIVERIES", "SUBSCRIPTIONS"]


def _host(url: str) -> str | None:
    """Of a webhook: its path often is all the proof that its receiver asks for."""
    return urlsplit(url).hostname


_subscription = Columns(subscriptions)
_SUBSCRIPTIONS = ByKey(
    subscriptions.c.subscription_key,
    where=lambda wanted: [subscriptions.c.project_key == wanted.project_key],
)
SUBSCRIPTIONS = Table(
    name="subscriptions",
    doc="Who wants to hear of events. Secrets, what proves who sends, and the paths of webhooks are"
    " never exported.",
    walk=_SUBSCRIPTIONS,
    columns=(
        _subscription.text("subscription_id", "its id"),
        _subscription.text(
            "job_id",
            "the job it is about; none: all of the project",
            named_by(subscriptions.c.job_key, jobs, jobs.c.job_id),
        ),
        _subscription.text("kind", "`webhook` or `websocket`"),
        _subscription.text(
            "status", "`active`, `expired` or `disabled`; over when `expires_at` is past"
        ),
        _subscription.text("webhook_host", "where to", subscriptions.c.url, shown=_host),
        _subscription.json("events", "which events", is_text=False),
        _subscription.json("filters", "and which of those", is_text=False),
        _subscription.text("created_by", "the name of the token that made it"),
        _subscription.time("created_at", "when"),
        _subscription.time("expires_at", "when it ends"),
        _subscription.text("ended_reason", "why it ended"),
    ),
)

_delivery = Columns(deliveries)
DELIVERIES = Table(
    name="deliveries",
    doc="An event on its way to a subscriber.",
    walk=ByParent(keys_of(_SUBSCRIPTIONS), deliveries.c.subscription_key, deliveries.c.event_key),
    columns=(
        _delivery.text(
            "subscription_id",
            "to which subscription",
            named_by(deliveries.c.subscription_key, subscriptions, subscriptions.c.subscription_id),
        ),
        _delivery.text(
            "event_id", "which event", named_by(deliveries.c.event_key, events, events.c.event_id)
        ),
        _delivery.text("status", "`pending`, `delivered` or `dead`"),
        _delivery.integer("tries", "how often it was tried"),
        _delivery.time("created_at", "since when it is on its way"),
        _delivery.time("next_try_at", "when it is tried again"),
        _delivery.time("ended_at", "when it was delivered, or given up"),
        _delivery.integer("http_status", "what the receiver answered last"),
        _delivery.text("last_error", "what went wrong last"),
    ),
)


def _audited(wanted: Wanted) -> list[Any]:
    from_us, to_us = wanted.period
    found = [
        audit.c.project_key == wanted.project_key,
        audit.c.at_us >= from_us,
        audit.c.at_us < to_us,
    ]
    if wanted.job is not None:
        found.append(audit.c.target == wanted.job.job_id)
    return found


_audit = Columns(audit)
AUDIT = Table(
    name="audit",
    doc="Who did what to the project's jobs, subscriptions and tokens.",
    period="when it was done",
    role="admin",
    walk=ByKey(audit.c.at_us, audit.c.audit_key, where=_audited, filters=(PERIOD, JOB)),
    columns=(
        _audit.time("at", "when"),
        _audit.text("actor", "who: a token's name, or the monitor"),
        _audit.text("action", "what, for example `job.stop`"),
        _audit.text("target", "to which job, subscription or token"),
        _audit.text("reason", "why, if it was said"),
        _audit.text("outcome", "what came of it"),
        _audit.json("details", "what else is worth knowing", is_text=False),
    ),
)
