"""The types that cross module borders: events, statuses, tracks.

Nothing here does I/O. ``JobEvent`` is immutable and may be shared between threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

__all__ = ["Accounting", "JobEvent", "JobStatus", "Track"]


class JobStatus(StrEnum):
    """What a job is doing, or how it ended."""

    #: Announced, not started.
    RECEIVED = "received"
    #: Started.
    RUNNING = "running"
    #: Asked to wait; goes on when asked to.
    PAUSED = "paused"
    #: Returned.
    COMPLETED = "completed"
    #: Raised an ``Exception``.
    FAILED = "failed"
    #: Stopped at a checkpoint because somebody asked.
    STOPPED = "stopped"
    #: Cancelled by its event loop or its consumer.
    CANCELLED = "cancelled"
    #: Ended by ``KeyboardInterrupt``, ``SystemExit`` or SIGTERM.
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        """Whether a job in this status has ended."""
        return self not in (JobStatus.RECEIVED, JobStatus.RUNNING, JobStatus.PAUSED)


class JobEvent:
    """One fact about a job or a worker: an immutable view of one journal line.

    Absent ids are ``None`` here and left out of the line.

    Example:
        >>> event = JobEvent({"event_type": "job.started", "job_id": "42", "data": {}})
        >>> event.event_type, event.job_id, event.trace_id
        ('job.started', '42', None)
    """

    __slots__ = ("_record",)

    def __init__(self, record: Mapping[str, Any]) -> None:
        _set_record(self, record)

    if TYPE_CHECKING:
        _record: Mapping[str, Any]

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: an event is a fact."""
        raise AttributeError(f"a JobEvent cannot be changed: use evolve({name}=...)")

    def __delattr__(self, name: str) -> None:
        """Refuse: an event is a fact."""
        raise AttributeError(f"a JobEvent cannot be changed: {name} stays")

    def __repr__(self) -> str:
        """Type, job and id."""
        return f"<JobEvent {self.event_type} job_id={self.job_id} id={self.id}>"

    def __eq__(self, other: object) -> bool:
        """Events with the same content are equal."""
        return isinstance(other, JobEvent) and dict(self._record) == dict(other._record)

    def __hash__(self) -> int:
        """By id."""
        return hash(self.id)

    def __reduce__(self) -> tuple[type[JobEvent], tuple[dict[str, Any]]]:
        """Pickle as the record."""
        return JobEvent, (dict(self._record),)

    def evolve(self, **changes: Any) -> JobEvent:
        """A copy with some fields changed; ``None`` leaves a field out."""
        record = {**self._record, **changes}
        return JobEvent({key: value for key, value in record.items() if value is not None})

    @property
    def record(self) -> Mapping[str, Any]:
        """The journal line's object, read-only."""
        return MappingProxyType(dict(self._record))

    @property
    def id(self) -> str:
        """Unique; repeats of a delivery have the same one."""
        return str(self._record.get("id", ""))

    @property
    def seq(self) -> int:
        """Counts the events of one process from 1."""
        return int(self._record.get("seq", 0))

    @property
    def timestamp(self) -> str:
        """RFC 3339, UTC, microseconds."""
        return str(self._record.get("timestamp", ""))

    @property
    def event_type(self) -> str:
        """For example ``job.started``."""
        return str(self._record.get("event_type", ""))

    @property
    def level(self) -> str:
        """``debug``, ``info``, ``warning``, ``error`` or ``critical``."""
        return str(self._record.get("level", "info"))

    @property
    def message(self) -> str:
        """One line for people."""
        return str(self._record.get("message", ""))

    @property
    def service(self) -> str:
        """The service the job belongs to."""
        return str(self._record.get("service", ""))

    @property
    def job_name(self) -> str | None:
        """What kind of job it is."""
        return self._record.get("job_name")

    @property
    def job_id(self) -> str | None:
        """Which job."""
        return self._record.get("job_id")

    @property
    def trace_id(self) -> str | None:
        """32 hex digits."""
        return self._record.get("trace_id")

    @property
    def span_id(self) -> str | None:
        """16 hex digits."""
        return self._record.get("span_id")

    @property
    def session_id(self) -> str | None:
        """Groups jobs that belong together."""
        return self._record.get("session_id")

    @property
    def request_id(self) -> str | None:
        """The API request that led to the job."""
        return self._record.get("request_id")

    @property
    def worker_id(self) -> str | None:
        """The worker process."""
        return self._record.get("worker_id")

    @property
    def machine_id(self) -> str | None:
        """The machine."""
        return self._record.get("machine_id")

    @property
    def attempt(self) -> int | None:
        """1 for the first try."""
        return self._record.get("attempt")

    @property
    def data(self) -> Mapping[str, Any]:
        """What else belongs to this type of event."""
        return MappingProxyType(self._record.get("data") or {})

    def to_cloudevent(self) -> dict[str, Any]:
        """The event as a CloudEvents 1.0 object (JSON format), subject = job id.

        Source: the CloudEvents 1.0.2 specification and its distributed-tracing extension.
        """
        cloudevent: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.id,
            "source": f"/fiveobs/{_path_part(self.machine_id)}/{_path_part(self.worker_id)}",
            "type": f"fiveobs.{self.event_type}",
            "time": self.timestamp,
            "datacontenttype": "application/json",
            "data": dict(self._record),
        }
        if self.job_id:
            cloudevent["subject"] = self.job_id
        if self.trace_id and self.span_id:
            flags = int(bool(self._record.get("sampled")))
            cloudevent["traceparent"] = f"00-{self.trace_id}-{self.span_id}-{flags:02x}"
        return cloudevent


#: Sets the one slot past ``__setattr__``, and faster than ``object.__setattr__``.
_set_record = JobEvent.__dict__["_record"].__set__


def _path_part(value: str | None) -> str:
    from urllib.parse import quote

    return quote(str(value or "-"), safe="")


class Accounting(NamedTuple):
    """What became of a track's records: ``accepted == delivered + pending + dropped``."""

    #: Given to the track.
    accepted: int
    #: Taken by the destination.
    delivered: int
    #: Waiting in the journal.
    pending: int
    #: Refused for good or lost to a bound; never silently.
    dropped: int


@runtime_checkable
class Track(Protocol):
    """What ``configure(tracks=[...])`` takes: an observer of every event.

    ``on_event`` runs in the job's thread, after the event is in the journal: be quick. What it
    raises is counted and reported, and the next track still runs.
    """

    #: Short, lower case; names the track in reports.
    name: str

    def on_event(self, event: JobEvent) -> None:
        """Observe one event."""

    def close(self, timeout_s: float) -> None:
        """End; called once by ``shutdown``."""
