"""Events as they leave for other systems, and how they are read from the store.

An event leaves as a CloudEvents 1.0 object, made once however many want it. Its place in every
stream is its ``event_key``; as ``sequence`` (a CloudEvents extension) the place is in the object,
too.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Row, Select, and_, or_, select

from fiveobs.monitor.store.schema import (
    attempts,
    events,
    jobs,
    kinds,
    sequences,
    workers,
)
from fiveobs.types import JobEvent

__all__ = ["LEVEL_NAMES", "STATUSES", "LiveEvent", "events_after", "events_by_key", "newest_key"]

LEVEL_NAMES = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}
#: The status that a job has from an event on, for the events that change it.
STATUSES = {
    "job.received": "received",
    "job.started": "running",
    "job.paused": "paused",
    "job.resumed": "running",
    **{
        f"job.{status}": status
        for status in ("completed", "failed", "stopped", "cancelled", "interrupted", "lost")
    },
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: What a row weighs in memory beside its texts, in bytes; measured, rounded up.
_ROW_BYTES = 2_000


class LiveEvent:
    """One event of the store; immutable.

    Args:
        row: As `events_after` selects it.
    """

    def __init__(self, row: Row[Any]) -> None:
        self._row = row
        self.event_key: int = row.event_key
        self.project_key: int = row.project_key
        self.job_key: int | None = row.job_key
        self.attempt: int | None = row.attempt
        self.at_us: int = row.at_us
        self.event_id: str = row.event_id
        self.event_type: str = row.event_type
        #: 10 debug to 50 critical.
        self.level: int = row.level
        self.job_id: str | None = row.job_id
        self.job_name: str | None = row.job_name
        self.service: str | None = row.worker_service if row.job_key is None else row.service
        self.session_id: str | None = row.session_id
        #: The status that its job has from here on; ``None`` if it changes none.
        self.status = STATUSES.get(row.event_type)

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory, once it has been sent to somebody."""
        return _ROW_BYTES + 5 * (len(self._row.data) + len(self._row.message))

    @property
    def data(self) -> dict[str, Any]:
        """What belongs to its type."""
        found: dict[str, Any] = orjson.loads(self._row.data)
        return found

    @cached_property
    def json(self) -> bytes:
        """The CloudEvents object, on one line."""
        cloudevent = JobEvent(self._record()).to_cloudevent()
        cloudevent["sequence"] = f"{self.event_key:020d}"
        return orjson.dumps(cloudevent)

    @cached_property
    def sse(self) -> bytes:
        """As a message of a server-sent stream."""
        return b"id: %d\ndata: %b\n\n" % (self.event_key, self.json)

    def _record(self) -> dict[str, Any]:
        """The journal's line, as far as the store has it."""
        row = self._row
        record = {
            "id": row.event_id,
            "timestamp": _timestamp(row.at_us),
            "event_type": row.event_type,
            "level": LEVEL_NAMES.get(row.level, "info"),
            "message": row.message,
            "worker_id": row.worker_id,
            "machine_id": row.machine_id,
            "service": self.service or "",
            "job_name": row.job_name,
            "job_id": row.job_id,
            "trace_id": row.trace_id,
            "span_id": row.span_id,
            "attempt": row.attempt,
            "parent_job_id": row.parent_job_id,
            "session_id": row.session_id,
            "request_id": row.request_id,
        }
        found = {name: value for name, value in record.items() if value is not None}
        found["data"] = orjson.Fragment(row.data)
        return found


def _timestamp(at_us: int) -> str:
    moment = _EPOCH + timedelta(microseconds=at_us)
    return f"{moment.isoformat(timespec='microseconds')[:26]}Z"


_ATTEMPT = and_(attempts.c.job_key == events.c.job_key, attempts.c.attempt == events.c.attempt)
_EVENTS: Select[Any] = (
    select(
        *(column for column in events.c if column.name != "worker_key"),
        jobs.c.job_id,
        jobs.c.session_id,
        jobs.c.request_id,
        jobs.c.parent_job_id,
        kinds.c.service,
        kinds.c.job_name,
        workers.c.worker_id,
        workers.c.machine_id,
        workers.c.service.label("worker_service"),
        attempts.c.trace_id,
    )
    .outerjoin(jobs, jobs.c.job_key == events.c.job_key)
    .outerjoin(kinds, kinds.c.kind_key == jobs.c.kind_key)
    .outerjoin(workers, workers.c.worker_key == events.c.worker_key)
    .outerjoin(attempts, _ATTEMPT)
    .order_by(events.c.event_key)
)


def events_after(
    connection: Connection,
    after: int,
    *,
    up_to: int | None = None,
    project_keys: Collection[int] = (),
    job_key: int | None = None,
    level: int = 0,
    types: Collection[str] = (),
    limit: int,
) -> list[LiveEvent]:
    """Events in the order in which they were taken in.

    Args:
        connection: Where.
        after: The key of the last event that is not wanted any more.
        up_to: The last one that is; ``None`` means the newest there is.
        project_keys: Only those of these projects; empty means any.
        job_key: Only those of this job.
        level: Only those of this level and above.
        types: Only those of these types, where ``*`` at the end stands for anything; empty: any.
        limit: How many at most.
    """
    wanted = _EVENTS.where(events.c.event_key > after)
    if up_to is not None:
        wanted = wanted.where(events.c.event_key <= up_to)
    if project_keys:
        wanted = wanted.where(events.c.project_key.in_(sorted(project_keys)))
    if job_key is not None:
        wanted = wanted.where(events.c.job_key == job_key)
    if level > 10:
        wanted = wanted.where(events.c.level >= level)
    wanted = _of_types(wanted, types)
    return [LiveEvent(row) for row in connection.execute(wanted.limit(limit))]


def _of_types(wanted: Select[Any], types: Collection[str]) -> Select[Any]:
    if not types or "*" in types:
        return wanted
    column = events.c.event_type
    parts: list[ColumnElement[bool]] = [
        column.startswith(each[:-1], autoescape=True) if each.endswith("*") else column == each
        for each in types
    ]
    return wanted.where(or_(*parts))


def events_by_key(connection: Connection, keys: Collection[int]) -> dict[int, LiveEvent]:
    """Events by key; what is not there is left out."""
    wanted = _EVENTS.where(events.c.event_key.in_(sorted(keys)))
    return {row.event_key: LiveEvent(row) for row in connection.execute(wanted)}


def newest_key(connection: Connection) -> int:
    """The key of the newest event; 0 if there is none."""
    wanted = select(sequences.c.value).where(sequences.c.name == "events")
    return int(connection.execute(wanted).scalar_one())
