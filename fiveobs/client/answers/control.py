"""Answers: what was done to a job.

Made by docs/reference/generate.py from the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fiveobs.client._reading import Answer

__all__ = ["AuditAnswer", "AuditEntry", "ControlAnswer", "EmergencyStopAnswer"]


@dataclass(frozen=True, kw_only=True)
class ControlAnswer(Answer):
    """What was asked of a job; it follows at its next checkpoint."""

    job_id: str
    action: str
    outcome: str
    status: str
    attempt: int
    requested_at: datetime
    requested_by: str
    reason: str | None
    message: str


@dataclass(frozen=True, kw_only=True)
class EmergencyStopAnswer(Answer):
    """How many jobs were asked to stop."""

    requested: int
    queued: int
    running: int
    paused: int
    unreachable: int
    not_written: int
    requested_at: datetime
    requested_by: str
    reason: str | None
    #: 1000 at most
    job_ids: tuple[str, ...]
    #: 1000 at most
    unreachable_job_ids: tuple[str, ...]
    #: 1000 at most
    not_written_job_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AuditEntry(Answer):
    """Who did what."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    reason: str | None
    outcome: str
    details: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class AuditAnswer(Answer):
    """The newest first."""

    entries: tuple[AuditEntry, ...]
    next: int | None
