"""What a rule can ask of an event: its fields, those of its job, and a path that leads to one.

Pure; a job is only looked up when something of it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from fiveobs.monitor.live.events import LiveEvent

__all__ = [
    "EVENT_FIELDS",
    "JOB_FIELDS",
    "MAX_DEPTH",
    "MISSING",
    "Facts",
    "field_problem",
    "inside",
    "is_text",
]

#: Fields of an event, as the journal's line has them. ``data`` goes on with any name.
EVENT_FIELDS = (
    *("id", "event_type", "level", "message", "timestamp", "service", "job_name", "job_id"),
    *("attempt", "parent_job_id", "session_id", "request_id", "trace_id", "span_id"),
    *("worker_id", "machine_id", "data"),
)
#: Fields of the event's job, as they are when the event is looked at; with ``job.`` before them.
JOB_FIELDS = (
    *("status", "attempt", "submitted_by", "priority", "queue", "duration_s"),
    *("created_at", "started_at", "ended_at", "attributes"),
)
#: How many rules may lead from one to the next.
MAX_DEPTH = 8
_OPEN = ("data", "attributes")
_MOST_PATH_CHARS = 256
#: What a path leads to where there is nothing.
MISSING: Any = object()


class Facts:
    """An event as rules see it; immutable.

    Args:
        record: Gives the journal's line, as far as the store has it.
        job: Gives the fields of its job, by name; empty if it has none.
    """

    def __init__(
        self,
        record: Callable[[], Mapping[str, Any]],
        job: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._read = record
        self._job = job
        self._record: Mapping[str, Any] | None = None
        self._of_job: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, event: LiveEvent, job: Callable[[], Mapping[str, Any]] = dict) -> Facts:
        """Those of an event in the store."""
        return cls(lambda: orjson.loads(event.json)["data"], job)

    @property
    def record(self) -> Mapping[str, Any]:
        """The journal's line, as far as the store has it."""
        if self._record is None:
            self._record = self._read()
        return self._record

    def get(self, path: str) -> Any:
        """What a path leads to, such as ``data.error.type`` or ``job.queue``; else `MISSING`."""
        root, _, rest = path.partition(".")
        if root == "job":
            if self._of_job is None:
                self._of_job = self._job()
            return inside(self._of_job, rest)
        return inside(self.record, path)

    @property
    def chain(self) -> tuple[str, ...]:
        """The ids of the rules that led to the event, the first one first."""
        found = inside(self.record, "data.cause.chain")
        if not isinstance(found, list):
            return ()
        return tuple([each for each in found if isinstance(each, str)][:MAX_DEPTH])

    @property
    def origin(self) -> str:
        """What makes it this event: of one that a rule has recorded the firing, else its id.

        A monitor that is killed in between records such an event twice.
        """
        found = self.get("data.firing_id")
        return found if isinstance(found, str) and self.chain else str(self.record.get("id"))


def inside(value: Any, path: str) -> Any:
    """What is at a path within nested objects; `MISSING` if nothing is.

    A name may have dots in it: the longest one that is there counts.
    """
    parts = path.split(".")
    while parts:
        if not isinstance(value, Mapping):
            return MISSING
        for end in range(len(parts), 0, -1):
            name = ".".join(parts[:end])
            if name in value:
                value, parts = value[name], parts[end:]
                break
        else:
            return MISSING
    return value


def is_text(value: object) -> bool:
    """Whether it is a text that both stores take: no NUL, no half of a character."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def field_problem(path: object) -> str | None:
    """What would be valid instead of a path; ``None`` if it is one."""
    if not isinstance(path, str) or len(path) > _MOST_PATH_CHARS or not is_text(path):
        return f"valid are names of fields of up to {_MOST_PATH_CHARS} characters"
    names, root = path.split("."), path
    known: tuple[str, ...] = EVENT_FIELDS
    if names[0] == "job":
        known, names = JOB_FIELDS, names[1:]
    root = names[0] if names else ""
    if root in known and (len(names) == 1 or (root in _OPEN and all(names))):
        return None
    fields = ", ".join((*EVENT_FIELDS, *(f"job.{each}" for each in JOB_FIELDS)))
    return f"valid are {fields}, and what is in data and job.attributes: data.error.type"
