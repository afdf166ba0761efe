"""What the monitor's rules leave outside the store: events about others' jobs, and carriers.

An event goes into the journal of this process, and from there wherever records go. It may be about
a job of another process, or about no job, and belongs to the project that its fields name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fiveobs import _runtime
from fiveobs._carrier import Link, write_carrier
from fiveobs._report import report

__all__ = ["carrier_of", "record_for"]


def record_for(
    fields: Mapping[str, Any], event_type: str, level: str, message: str, data: Mapping[str, Any]
) -> bool:
    """Record an event about something else than this process. Never raises.

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
        report("rules", f"{event_type} was not recorded: {type(exc).__name__}: {exc}")
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
