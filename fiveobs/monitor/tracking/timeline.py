"""What happened to a job, and what is to come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

from fiveobs.monitor.store.rows import EventRow
from fiveobs.monitor.tracking.described import Known, described
from fiveobs.monitor.tracking.estimates import estimate, plan_stages
from fiveobs.monitor.tracking.human import US, as_time
from fiveobs.monitor.tracking.logs import completion_us
from fiveobs.monitor.tracking.models.timeline import (
    TimelineAnswer,
    TimelineEvent,
    TimelineScope,
    UpcomingEvent,
)
from fiveobs.monitor.tracking.said import details_of, in_time
from fiveobs.monitor.tracking.tracked import Tracked

__all__ = ["ALL_TYPES", "MAJOR_TYPES", "Granularity", "timeline_answer"]

Granularity: TypeAlias = Literal["seconds", "minutes", "major_events"]

#: The API's words for the types of events.
_WORDS = {
    "job.received": "JobQueued",
    "job.started": "JobStarted",
    "job.progress": "Progress",
    "job.completed": "JobCompleted",
    "job.failed": "JobFailed",
    "job.retrying": "JobRetrying",
    "job.stopped": "JobStopped",
    "job.cancelled": "JobCancelled",
    "job.interrupted": "JobInterrupted",
    "job.paused": "JobPaused",
    "job.resumed": "JobResumed",
    "job.lost": "JobLost",
    "job.milestone": "Milestone",
    "stage.started": "StageStarted",
    "stage.progress": "Progress",
    "stage.completed": "StageCompleted",
    "stage.failed": "StageFailed",
    "resource.allocated": "ResourceAllocated",
    "resource.released": "ResourceReleased",
    "service.health_changed": "ServiceHealthChanged",
    "workflow.triggered": "WorkflowTriggered",
    "state.changed": "StateChanged",
}
#: What is shown without sub-events, beside warnings and errors.
ALL_TYPES = tuple(_WORDS)
#: What ``major_events`` shows, beside errors.
MAJOR_TYPES = tuple(
    each
    for each in _WORDS
    if each.startswith(("job.", "stage.")) and not each.endswith(".progress")
)
#: How long the intervals are in which progress is told once, in microseconds.
_STEPS_US = {"seconds": US, "minutes": 60 * US}


def timeline_answer(
    tracked: Tracked,
    events: Sequence[EventRow],
    known: Known,
    *,
    granularity: Granularity,
    is_complete: bool,
) -> TimelineAnswer:
    """A job's timeline.

    Args:
        tracked: The job.
        events: What happened, in order, as far as it is to be shown.
        known: What its events do not say themselves.
        granularity: How much of the progress is told: once a second, once a minute, or nothing.
        is_complete: Whether those are all events.
    """
    return TimelineAnswer(
        job_id=tracked.job.job_id,
        job_name=tracked.job.job_name,
        timeline_scope=TimelineScope(
            start_time=as_time(tracked.job.started_at_us or tracked.job.created_at_us),
            current_time=as_time(tracked.now_us) or "",
            end_time=as_time(tracked.job.ended_at_us),
            granularity=granularity,
            is_complete=is_complete,
        ),
        timeline=[_event(tracked, *each, known) for each in _thinned(in_time(events), granularity)],
        upcoming_events=list(_upcoming(tracked)),
    )


def _thinned(
    events: Iterable[EventRow], granularity: Granularity
) -> Iterator[tuple[EventRow, int]]:
    """Of progress within one step only the last, with how many it stands for."""
    step_us = _STEPS_US.get(granularity)
    kept: list[tuple[EventRow, int]] = []
    places: dict[Any, int] = {}
    for event in events:
        if not event.event_type.endswith(".progress"):
            kept.append((event, 1))
            continue
        if step_us is None:
            continue
        key = (event.at_us // step_us, event.event_type, details_of(event).get("stage"))
        before = places.get(key)
        count = 1
        if before is not None:
            count += kept[before][1]
            kept[before] = (kept[before][0], 0)
        places[key] = len(kept)
        kept.append((event, count))
    return (each for each in kept if each[1])


def _event(tracked: Tracked, event: EventRow, count: int, known: Known) -> TimelineEvent:
    return TimelineEvent(
        timestamp=as_time(event.at_us) or "",
        event_type=_word(event),
        description=event.message,
        details=described(tracked, event, known),
        attempt=event.attempt,
        count=count if count > 1 else None,
    )


def _word(event: EventRow) -> str:
    if event.event_type == "log":
        if event.level >= 40:
            return "Error"
        return "Warning" if event.level >= 30 else "Log"
    return _WORDS.get(event.event_type, event.event_type)


# --- what is to come ---------------------------------------------------------------------------


def _upcoming(tracked: Tracked) -> Iterator[UpcomingEvent]:
    left = estimate(tracked)
    for plan in plan_stages(tracked, left):
        name = plan.stage.name
        if plan.stage.row is None:
            yield _expected_event(plan.start_us, "StageStart", f"{name} stage start expected")
        yield _expected_event(plan.end_us, "StageCompletion", f"{name} stage completion expected")
    end_us = completion_us(tracked, left)
    if end_us is not None:
        yield _expected_event(end_us, "JobCompletion", "Job completion expected")


def _expected_event(at_us: int, event_type: str, description: str) -> UpcomingEvent:
    return UpcomingEvent(
        estimated_time=as_time(at_us) or "", event_type=event_type, description=description
    )
