"""What events say: their details, and whether their message is one of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson

from fiveobs.monitor.store.rows import EventRow

__all__ = ["details_of", "in_time", "operation_of"]

#: What is said of progress where nobody says anything, after the job's name.
_AUTOMATIC = re.compile(r"(progress|-?[\d.e+]+%)\Z")


def in_time(events: Iterable[EventRow]) -> list[EventRow]:
    """In the order of their times: those of two processes may have come in the other way round."""
    return sorted(events, key=lambda event: event.at_us)


def details_of(event: EventRow) -> dict[str, Any]:
    """What an event says beside its message."""
    found = orjson.loads(event.data)
    return found if isinstance(found, dict) else {"data": found}


def operation_of(event: EventRow, details: dict[str, Any], job_name: str) -> str | None:
    """What a job is doing, by an event; ``None`` if the event only says that it goes on.

    Args:
        event: The event.
        details: What it says beside its message.
        job_name: What kind of job it is.
    """
    if details.get("operation"):
        return str(details["operation"])
    return None if _is_automatic(event, details, job_name) else event.message


def _is_automatic(event: EventRow, details: dict[str, Any], job_name: str) -> bool:
    """Whether a message was made from the figures beside it."""
    if event.event_type == "stage.progress":
        done = details.get("done")
        shown = f"{done:g}" if isinstance(done, int | float) else done
        return event.message == f"{details.get('stage')}: {shown}"
    if event.event_type == "job.progress":
        rests = (event.message.removeprefix(each) for each in (f"{job_name}: ", "job "))
        return any(_AUTOMATIC.match(rest) for rest in rests)
    return event.event_type.startswith("stage.")
