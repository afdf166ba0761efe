"""What the monitor records about the jobs of other processes, and how it starts such jobs.

A record goes into the journal of this process, and from there wherever records go. That a job is
lost is told on all five tracks: a ``job.lost`` event and log line, a count in ``jobs.processed``, a
Sentry event, and a span. The span is a child of the job's own one, which never ended and so was
never sent; it covers the time in which the job was seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fiveobs import _runtime
from fiveobs._carrier import Link, write_carrier
from fiveobs._report import report

__all__ = ["JobOfOthers", "carrier_of", "conclude_lost", "record_change", "record_for"]

#: OTLP's number of the status "error".
_ERROR = 2


class JobOfOthers(NamedTuple):
    """A job that ran in another process; ``None`` is what is not known."""

    tenant_id: str
    project_id: str
    job_id: str
    job_name: str
    service: str
    attempt: int
    trace_id: str | None = None
    #: The job's own span.
    span_id: str | None = None
    parent_job_id: str | None = None
    session_id: str | None = None
    request_id: str | None = None

    def fields(self) -> dict[str, Any]:
        """As they stand on its records."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def conclude_lost(
    job: JobOfOthers, data: Mapping[str, Any], *, started_ns: int, seen_ns: int
) -> bool:
    """Record that a job is lost. Never raises.

    Args:
        job: Which.
        data: The event's data, with ``cause``.
        started_ns: When it began, in nanoseconds since 1970.
        seen_ns: Its last sign of life.

    Returns:
        Whether it was recorded.
    """
    try:
        return _conclude(job, dict(data), started_ns, seen_ns)
    except Exception as exc:
        report("lost", f"{job.job_id} was not recorded as lost: {type(exc).__name__}: {exc}")
        return False


def _conclude(job: JobOfOthers, data: dict[str, Any], started_ns: int, seen_ns: int) -> bool:
    pipeline = _runtime.get()
    if pipeline is None:
        return False
    known = job.fields()
    message = f"{job.job_name} lost: {data['cause']}"
    event_id = pipeline.errors.capture_lost(known, {**data, "message": message})
    if event_id:
        data["sentry_event_id"] = event_id
    span = None
    if job.trace_id and job.span_id:
        known["span_id"] = pipeline.ids.span_id()
        if pipeline.traces.is_exporting:
            span = _span(job, message, started_ns, max(started_ns, seen_ns))
    message, data = pipeline.cleaned(message, data)
    pipeline.emit({**pipeline.base, **known}, "job.lost", "error", message, data, span)
    return True


def _span(job: JobOfOthers, message: str, started_ns: int, seen_ns: int) -> dict[str, Any]:
    return {
        "name": f"{job.job_name} lost",
        "parent_span_id": job.span_id,
        "start_ns": started_ns,
        "end_ns": seen_ns,
        "status": {"code": _ERROR, "message": message},
    }


def record_change(
    job: JobOfOthers,
    entity: str,
    change: tuple[str, str],
    message: str,
    data: Mapping[str, Any],
    *,
    level: str = "warning",
) -> bool:
    """Record ``state.changed`` about a job: something that was concluded of it. Never raises.

    Args:
        job: Which.
        entity: What has changed.
        change: Its state before and its state now.
        message: One line for people.
        data: What else there is to say.
        level: How much it matters.

    Returns:
        Whether it was recorded.
    """
    before, now = change
    data = {**data, "entity": entity, "from_state": before, "to_state": now}
    return record_for(job.fields(), "state.changed", level, message, data)


def record_for(
    fields: Mapping[str, Any], event_type: str, level: str, message: str, data: Mapping[str, Any]
) -> bool:
    """Record an event about a job of another process, or about no job. Never raises.

    Args:
        fields: The project and, if it is about a job, the job's ids; as the journal's line has
            them.
        event_type: A type of the journal's schema.
        level: How much it matters.
        message: One line for people.
        data: What else there is to say.

    Returns:
        Whether it was recorded.
    """
    try:
        pipeline = _runtime.get()
        if pipeline is None:
            return False
        message, cleaned = pipeline.cleaned(message, data)
        known = {"service": pipeline.config.service, **pipeline.base, **fields}
        pipeline.emit(known, event_type, level, message, cleaned)
    except Exception as exc:
        report("others", f"{event_type} was not recorded: {type(exc).__name__}: {exc}")
        return False
    return True


def carrier_of(record: Mapping[str, Any], job_id: str) -> dict[str, str]:
    """The headers with which a job is started on account of an event.

    It goes on with the event's trace, session and request, and the event's job is its parent.

    Args:
        record: The event, as the journal's line has it.
        job_id: The id of the job that is started.
    """
    return write_carrier(
        Link(
            trace_id=record.get("trace_id"),
            span_id=record.get("span_id"),
            session_id=record.get("session_id"),
            request_id=record.get("request_id"),
            job_id=job_id,
            parent_job_id=record.get("job_id"),
        )
    )
