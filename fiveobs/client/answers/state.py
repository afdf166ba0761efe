"""Answers: what is observed and desired, and documents.

Made by docs/reference/generate.py from the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fiveobs.client._reading import Answer

__all__ = [
    "DesiredState",
    "ObservedState",
    "Reconciliation",
    "Reported",
    "ResourceHeld",
    "StateAnswer",
    "StatePage",
]


@dataclass(frozen=True, kw_only=True)
class ResourceHeld(Answer):
    """What a job took into use and has not given back."""

    resource: str
    amount: float | None
    unit: str | None


@dataclass(frozen=True, kw_only=True)
class Reported(Answer):
    """What a service said of itself last."""

    status: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class ObservedState(Answer):
    """What the monitor sees; what does not belong to the kind, or is not known, is left out."""

    #: Of a job: ``received``, ``running``, ``paused``, ``completed`` …
    status: str | None = None
    #: Of a job: its latest.
    attempt: int | None = None
    #: Of a job: which run of the attempt.
    run_id: str | None = None
    #: Of a job: what kind it is.
    job_name: str | None = None
    #: Of a job or a worker: what it belongs to.
    service: str | None = None
    #: Of a job: who runs it.
    worker_id: str | None = None
    #: Of a job or a worker: where it runs.
    machine_id: str | None = None
    #: Of a job: what it holds.
    resources: tuple[ResourceHeld, ...] | None = None
    #: Of a lost job: why it is taken to be lost.
    lost_cause: str | None = None
    #: Of a worker, machine or service: jobs that it has begun and not ended; 100 at most.
    jobs: tuple[str, ...] | None = None
    #: How many these are.
    job_count: int | None = None
    #: Of a machine or a service: its workers; 100 at most.
    workers: tuple[str, ...] | None = None
    #: How many these are.
    worker_count: int | None = None
    #: Of a worker: the processes that go by its id.
    process_count: int | None = None
    #: Of a service: what it said of itself last.
    reported: Reported | None = None
    #: Of a service: jobs that failed within ten minutes, where these are too many.
    failed_lately: int | None = None


@dataclass(frozen=True, kw_only=True)
class DesiredState(Answer):
    """What somebody wants."""

    #: Of a job its ``status``: ``running``, ``paused`` or ``stopped``.
    value: Mapping[str, Any]
    by: str | None
    reason: str | None
    at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Reconciliation(Answer):
    """What is done to have a job follow."""

    #: How often a run of it was asked, and it did not follow.
    tries: int
    #: It is not asked again before.
    next_try_at: datetime | None
    #: Why it is not tried any more.
    given_up: str | None


@dataclass(frozen=True, kw_only=True)
class StateAnswer(Answer):
    """An entity: what is observed of it, what is desired, and the version of both together."""

    kind: str
    id: str
    #: One more with each change; it is the ``ETag``, too.
    version: int
    #: The place of its latest change among all changes.
    change: int
    changed_at: datetime
    health: str | None
    #: The last sign of life; moves without a new version.
    last_seen_at: datetime | None
    observed: ObservedState | None
    desired: DesiredState | None
    #: Of a document.
    value: Mapping[str, Any] | None
    #: Of a job that does not follow.
    reconciliation: Reconciliation | None
    #: It has ended, is lost or gone, or was removed; that is kept for a day.
    is_over: bool


@dataclass(frozen=True, kw_only=True)
class StatePage(Answer):
    """A part of a list of states."""

    states: tuple[StateAnswer, ...]
    #: What ``cursor`` has to be for the next page; null if this was the last one.
    next: str | None
