"""Answers: what happened to a job, and what is to come.

Made by docs/reference/generate.py from the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fiveobs.client._reading import Answer

__all__ = ["TimelineAnswer", "TimelineEvent", "TimelineScope", "UpcomingEvent"]


@dataclass(frozen=True, kw_only=True)
class TimelineScope(Answer):
    """What the timeline covers."""

    start_time: datetime | None
    current_time: datetime
    end_time: datetime | None
    granularity: str
    #: False where there is more than one answer holds; the last of it is here.
    is_complete: bool


@dataclass(frozen=True, kw_only=True)
class TimelineEvent(Answer):
    """Something that happened."""

    timestamp: datetime
    event_type: str
    description: str
    details: Mapping[str, Any]
    attempt: int | None
    #: How many events of this kind it stands for, if more than one.
    count: int | None = None


@dataclass(frozen=True, kw_only=True)
class UpcomingEvent(Answer):
    """Something that is expected."""

    estimated_time: datetime
    event_type: str
    description: str


@dataclass(frozen=True, kw_only=True)
class TimelineAnswer(Answer):
    """A job's timeline."""

    job_id: str
    job_name: str
    timeline_scope: TimelineScope
    timeline: tuple[TimelineEvent, ...]
    upcoming_events: tuple[UpcomingEvent, ...]
