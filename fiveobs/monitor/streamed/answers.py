"""The answers of the stream-monitoring API, made from rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from fiveobs.monitor.store.rows import ErrorRow, StageRow
from fiveobs.monitor.streamed.models import (
    ExceptionEntry,
    Exceptions,
    JobStatus,
    Overview,
    StatusAndMetrics,
    Vertex,
    VertexMetrics,
)
from fiveobs.monitor.tracking.human import US, number
from fiveobs.monitor.tracking.tracked import StageState, Tracked

__all__ = [
    "MOST_CHARS",
    "STATES",
    "Place",
    "exceptions_answer",
    "overview_of",
    "status_and_metrics",
    "status_of",
]

#: Flink's states of jobs, for ours.
STATES: Mapping[str, str] = {
    "received": "CREATED",
    "running": "RUNNING",
    "paused": "SUSPENDED",
    "completed": "FINISHED",
    "failed": "FAILED",
    "lost": "FAILED",
    "stopped": "CANCELED",
    "cancelled": "CANCELED",
    "interrupted": "SUSPENDED",
}
#: One that was asked to stop and has not reached its next checkpoint.
_STOPPING = "CANCELLING"
#: And of stages, for those that jobs have not.
_STAGE_STATES: Mapping[str, str] = {"pending": "CREATED", "skipped": "CANCELED"}
#: What is shown of a stack trace, in characters: its end, where Python has the cause.
MOST_CHARS = 20_000
_MS = US // 1_000


class Place(NamedTuple):
    """Where a job is."""

    tenant_id: str
    project_id: str

    def hash_of(self, job_id: str, *parts: object) -> str:
        """32 hexadecimal digits for a job, or for a part of it."""
        texts = [self.tenant_id, self.project_id, job_id, *map(str, parts)]
        whole = "\0".join(texts).encode("utf-8", "surrogatepass")
        return blake2b(whole, digest_size=16).hexdigest()


def overview_of(place: Place, tracked: Tracked, *, is_stopping: bool) -> Overview:
    """A job in short."""
    return Overview(**_brief(place, tracked, is_stopping=is_stopping))


def status_of(place: Place, tracked: Tracked, *, is_stopping: bool) -> JobStatus:
    """A job and its stages."""
    brief = _brief(place, tracked, is_stopping=is_stopping)
    stages = [_vertex(place, tracked, each) for each in tracked.all_stages]
    return JobStatus(**brief, vertices=stages)


def status_and_metrics(
    place: Place, tracked: Tracked, values: Mapping[str, float | None], *, is_stopping: bool
) -> StatusAndMetrics:
    """A job, its stages and its figures.

    Args:
        place: Where it is.
        tracked: The job.
        values: What it has measured, by name.
        is_stopping: Whether it was asked to stop.
    """
    figures = {
        "numRecordsRead": _first_counted(tracked) or 0,
        "numRecordsProcessed": tracked.done or 0,
        "currentEventTs": _ms(_counted_at_us(tracked)) or 0,
        **{name: value for name, value in values.items() if value is not None},
    }
    return StatusAndMetrics(
        details=status_of(place, tracked, is_stopping=is_stopping),
        metrics={name: str(number(value, 6)) for name, value in figures.items()},
    )


def exceptions_answer(tracked: Tracked, errors: Sequence[ErrorRow]) -> Exceptions:
    """What went wrong in the last attempt.

    Args:
        tracked: The job.
        errors: Of that attempt, the newest first.
    """
    root = _root(tracked, errors) if STATES.get(tracked.job.status) == "FAILED" else None
    return Exceptions(
        root_exception=root.exception if root is not None else None,
        timestamp=root.timestamp if root is not None else None,
        truncated=root.truncated if root is not None else False,
        all_exceptions=[_entry(each) for each in errors],
    )


def _root(tracked: Tracked, errors: Sequence[ErrorRow]) -> ExceptionEntry | None:
    """What the job failed of."""
    job, attempt = tracked.job, tracked.attempt
    fatal = next((row for row in errors if row.event_type == "job.failed"), None)
    if fatal is not None and job.status == "failed":
        return _entry(fatal)
    if attempt is None:
        return None
    kind, message = attempt.error_type, attempt.error_message
    if job.status == "lost":
        kind, message = "JobLost", attempt.lost_cause
    if kind is None:
        return None
    return _entry(ErrorRow(tracked.until_us, "", None, kind, message or "", None))


# --- parts ---------------------------------------------------------------------------------------


def _brief(place: Place, tracked: Tracked, *, is_stopping: bool) -> dict[str, Any]:
    job = tracked.job
    state = STATES.get(job.status, job.status.upper())
    return {
        "name": job.job_id,
        "state": _STOPPING if is_stopping and not tracked.is_ended else state,
        "start_time": _ms(job.started_at_us),
        "duration": round((tracked.elapsed_s or 0.0) * 1_000),
        "jid": place.hash_of(job.job_id),
    }


def _vertex(place: Place, tracked: Tracked, stage: StageState) -> Vertex:
    row, word = stage.row, stage.status.lower()
    return Vertex(
        id=place.hash_of(tracked.job.job_id, "stage", stage.order),
        name=stage.name,
        status=_STAGE_STATES.get(word) or STATES.get(word, word.upper()),
        start_time=_ms(row.started_at_us) if row is not None else None,
        end_time=_ms(row.ended_at_us) if row is not None else None,
        duration=_lasted_ms(tracked, row) if row is not None else 0,
        metrics=VertexMetrics(
            read_bytes=row.io_read_bytes if row is not None else None,
            write_bytes=row.io_write_bytes if row is not None else None,
            read_records=number(row.done, 6) if row is not None else None,
        ),
    )


def _lasted_ms(tracked: Tracked, row: StageRow) -> int:
    if row.duration_s is not None and row.ended_at_us is not None:
        return round(row.duration_s * 1_000)
    if row.started_at_us is None:
        return 0
    return max((row.ended_at_us or tracked.until_us) - row.started_at_us, 0) // _MS


def _first_counted(tracked: Tracked) -> float | None:
    """What the first stage that counts has done, or the job itself: that is where data comes in."""
    counting = next((row.done for row in tracked.stages if row.done), None)
    return counting if counting is not None else tracked.done


def _counted_at_us(tracked: Tracked) -> int | None:
    """When it was last said how much is done."""
    if tracked.counted is not None:
        return tracked.counted.updated_at_us
    attempt = tracked.attempt
    return attempt.progress_at_us if attempt is not None and attempt.done is not None else None


def _entry(row: ErrorRow) -> ExceptionEntry:
    text = row.stacktrace or f"{row.error_type}: {row.message}"
    return ExceptionEntry(
        exception=text[-MOST_CHARS:],
        timestamp=row.at_us // _MS,
        task=row.stage,
        truncated=len(text) > MOST_CHARS,
    )


def _ms(at_us: int | None) -> int | None:
    return None if at_us is None else at_us // _MS
