"""The answer with what happened to a job, and what is to come."""

from __future__ import annotations

from fiveobs.monitor.tracking.models.base import Absent, Details, Model, Time

__all__ = ["TimelineAnswer", "TimelineEvent", "TimelineScope", "UpcomingEvent"]


class TimelineScope(Model):
    """What the timeline covers."""

    start_time: Time | None
    current_time: Time
    end_time: Time | None
    granularity: str
    is_complete: bool
    """False where there is more than one answer holds; the last of it is here."""


class TimelineEvent(Model):
    """Something that happened."""

    timestamp: Time
    event_type: str
    description: str
    details: Details
    attempt: int | None
    count: Absent[int] = None
    """How many events of this kind it stands for, if more than one."""


class UpcomingEvent(Model):
    """Something that is expected."""

    estimated_time: Time
    event_type: str
    description: str


class TimelineAnswer(Model):
    """A job's timeline."""

    job_id: str
    job_name: str
    timeline_scope: TimelineScope
    timeline: list[TimelineEvent]
    upcoming_events: list[UpcomingEvent]
