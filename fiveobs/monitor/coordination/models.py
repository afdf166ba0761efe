"""The state of an entity as the API shows it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import orjson

from fiveobs.monitor.store.coordinating import DOCUMENT, EntityRow
from fiveobs.monitor.tracking.human import as_time
from fiveobs.monitor.tracking.models.base import Absent, Model, Number, Time

__all__ = [
    "DesiredState",
    "Health",
    "Kind",
    "ObservedState",
    "Reconciliation",
    "Reported",
    "ResourceHeld",
    "StateAnswer",
    "state_of",
]

Kind: TypeAlias = Literal["job", "worker", "machine", "service", "document"]
Health: TypeAlias = Literal[
    "ok",
    "stuck",
    "silent",
    "lost",
    "ended",
    "alive",
    "degraded",
    "memory_pressure",
    "down",
    "gone",
]


class ResourceHeld(Model):
    """What a job took into use and has not given back."""

    resource: str
    amount: Number | None
    unit: str | None


class Reported(Model):
    """What a service said of itself last."""

    status: Absent[str] = None
    reason: Absent[str] = None


class ObservedState(Model):
    """What the monitor sees; what does not belong to the kind, or is not known, is left out."""

    status: Absent[str] = None
    """Of a job: ``received``, ``running``, ``paused``, ``completed`` …"""
    attempt: Absent[int] = None
    """Of a job: its latest."""
    run_id: Absent[str] = None
    """Of a job: which run of the attempt."""
    job_name: Absent[str] = None
    """Of a job: what kind it is."""
    service: Absent[str] = None
    """Of a job or a worker: what it belongs to."""
    worker_id: Absent[str] = None
    """Of a job: who runs it."""
    machine_id: Absent[str] = None
    """Of a job or a worker: where it runs."""
    resources: Absent[list[ResourceHeld]] = None
    """Of a job: what it holds."""
    lost_cause: Absent[str] = None
    """Of a lost job: why it is taken to be lost."""
    jobs: Absent[list[str]] = None
    """Of a worker, machine or service: jobs that it has begun and not ended; 100 at most."""
    job_count: Absent[int] = None
    """How many these are."""
    workers: Absent[list[str]] = None
    """Of a machine or a service: its workers; 100 at most."""
    worker_count: Absent[int] = None
    """How many these are."""
    process_count: Absent[int] = None
    """Of a worker: the processes that go by its id."""
    reported: Absent[Reported] = None
    """Of a service: what it said of itself last."""
    failed_lately: Absent[int] = None
    """Of a service: jobs that failed within ten minutes, where these are too many."""


class DesiredState(Model):
    """What somebody wants."""

    value: dict[str, Any]
    """Of a job its ``status``: ``running``, ``paused`` or ``stopped``."""
    by: str | None
    reason: str | None
    at: Time | None


class Reconciliation(Model):
    """What is done to have a job follow."""

    tries: int
    """How often a run of it was asked, and it did not follow."""
    next_try_at: Time | None
    """It is not asked again before."""
    given_up: str | None
    """Why it is not tried any more."""


class StateAnswer(Model):
    """An entity: what is observed of it, what is desired, and the version of both together."""

    kind: Kind
    id: str
    version: int
    """One more with each change; it is the ``ETag``, too."""
    change: int
    """The place of its latest change among all changes."""
    changed_at: Time
    health: Health | None
    last_seen_at: Time | None
    """The last sign of life; moves without a new version."""
    observed: ObservedState | None
    desired: DesiredState | None
    value: dict[str, Any] | None
    """Of a document."""
    reconciliation: Reconciliation | None
    """Of a job that does not follow."""
    is_over: bool
    """It has ended, is lost or gone, or was removed; that is kept for a day."""


def state_of(row: EntityRow) -> StateAnswer:
    """An entity of the store as the API shows it."""
    content = None if row.desired is None else orjson.loads(row.desired)
    is_document = row.kind == DOCUMENT
    shown = {
        "kind": row.kind,
        "id": row.entity_id,
        "version": row.version,
        "change": row.change_key,
        "changedAt": as_time(row.changed_at_us),
        "health": row.health,
        "lastSeenAt": as_time(row.seen_at_us),
        "observed": None if row.observed is None else orjson.loads(row.observed),
        "desired": None if is_document else _desired(row, content),
        "value": content if is_document else None,
        "reconciliation": _reconciliation(row),
        "isOver": row.over_at_us is not None,
    }
    return StateAnswer.model_validate(shown)


def _desired(row: EntityRow, content: dict[str, Any] | None) -> dict[str, Any] | None:
    if content is None:
        return None
    said = {"by": row.desired_by, "reason": row.desired_reason, "at": as_time(row.desired_at_us)}
    return {"value": content, **said}


def _reconciliation(row: EntityRow) -> dict[str, Any] | None:
    if not row.tries and row.given_up is None:
        return None
    next_try_at = as_time(row.next_try_at_us)
    return {"tries": row.tries, "nextTryAt": next_try_at, "givenUp": row.given_up}
