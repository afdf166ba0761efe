"""What happened to a job, and what is to come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

from pydantic.alias_generators import to_camel

from fiveobs.monitor.store.rows import EventRow
from fiveobs.monitor.tracking.estimates import HIGH, LOW, estimate, plan_stages
from fiveobs.monitor.tracking.history import MIN_RUNS, History, quantile
from fiveobs.monitor.tracking.human import US, as_time, duration, duration_range, number
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
    *,
    granularity: Granularity,
    is_complete: bool,
) -> TimelineAnswer:
    """A job's timeline.

    Args:
        tracked: The job.
        events: What happened, in order, as far as it is to be shown.
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
        timeline=[_event(tracked, *each) for each in _thinned(in_time(events), granularity)],
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


def _event(tracked: Tracked, event: EventRow, count: int) -> TimelineEvent:
    details = details_of(event)
    describe = _DESCRIBED.get(event.event_type)
    if describe is not None:
        details = {_camel(name): value for name, value in describe(tracked, details).items()}
    return TimelineEvent(
        timestamp=as_time(event.at_us) or "",
        event_type=_word(event),
        description=event.message,
        details=details,
        count=count if count > 1 else None,
    )


def _camel(name: str) -> str:
    """A field of the journal in the API's words: ``eta_s`` is ``etaSeconds``."""
    return to_camel(f"{name}econds" if name.endswith("_s") else name)


def _word(event: EventRow) -> str:
    if event.event_type == "log":
        if event.level >= 40:
            return "Error"
        return "Warning" if event.level >= 30 else "Log"
    return _WORDS.get(event.event_type, event.event_type)


# --- what is added to the details --------------------------------------------------------------


def _job_started(tracked: Tracked, details: dict[str, Any]) -> dict[str, Any]:
    worker = tracked.worker
    memory = worker.memory_limit_bytes if worker is not None else None
    return {
        "submittedBy": tracked.job.submitted_by,
        "priority": tracked.job.priority,
        "estimatedDuration": _usual(tracked.history.durations_s),
        "resourcesAllocated": {
            "cpuUnits": number(worker.cpu_count) if worker is not None else None,
            "memoryGB": number(memory / 1024**3) if memory is not None else None,
            "workerNode": worker.machine_id if worker is not None else None,
        },
        **details,
    }


def _stage_started(tracked: Tracked, details: dict[str, Any]) -> dict[str, Any]:
    name = details.pop("stage", None)
    found = {"stageName": name, "expectedDuration": _expected(tracked.history, str(name))}
    total = details.pop("total", None)
    if total is not None:
        found["recordCount"] = total
    return {**found, **details}


def _stage_ended(tracked: Tracked, details: dict[str, Any]) -> dict[str, Any]:
    took_s = details.pop("duration_s", None)
    found = {
        "stageName": details.pop("stage", None),
        "actualDuration": duration(took_s),
        "actualDurationSeconds": took_s,
    }
    done = details.pop("done", None)
    if done:
        found["recordsProcessed"] = number(done)
    return {**found, **details}


def _progress(tracked: Tracked, details: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "stage" in details:
        found["stageName"] = details.pop("stage")
    found["progress"] = number(details.pop("percent", None), 1)
    done, total = details.pop("done", None), details.pop("total", None)
    if done is not None:
        found["recordsProcessed"] = number(done)
        if total is not None:
            found["remainingRecords"] = number(max(total - done, 0))
    return {**found, **details}


_DESCRIBED: dict[str, Callable[[Tracked, dict[str, Any]], dict[str, Any]]] = {
    "job.started": _job_started,
    "job.progress": _progress,
    "stage.started": _stage_started,
    "stage.progress": _progress,
    "stage.completed": _stage_ended,
    "stage.failed": _stage_ended,
}


def _usual(durations_s: Sequence[float]) -> str | None:
    if len(durations_s) < MIN_RUNS:
        return None
    return duration_range(quantile(durations_s, LOW), quantile(durations_s, HIGH))


def _expected(history: History, stage: str) -> str | None:
    return _usual(history.stage_durations_s(stage))


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
