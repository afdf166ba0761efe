"""What the reaper asks the store: workers, what they have open, and who reports a loss.

Reads, but for `claim`, which writes to the audit trail: there it is settled which monitor reports
what, however many there are and however often they begin anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from fiveobs.monitor.store import auditing
from fiveobs.monitor.store.auditing import Claim
from fiveobs.monitor.store.schema import (
    attempts,
    errors,
    jobs,
    kinds,
    projects,
    samples,
    workers,
)

__all__ = [
    "REPORT",
    "OpenAttempt",
    "WorkerNow",
    "busy_workers",
    "claim",
    "heartbeats_of",
    "new_workers",
    "open_attempts",
    "said_memory_error",
    "status_of",
    "worker_of",
    "workers_now",
]

#: The action in the audit trail.
REPORT = "job.lost"
#: Values of one ``IN (…)``.
_MOST_IN = 500
_OPEN = ("running", "paused")


class WorkerNow(NamedTuple):
    """A worker as it is stored; times in microseconds since 1970."""

    worker_key: int
    stem: str
    worker_id: str | None
    machine_id: str | None
    pid: int | None
    #: Its resource attributes, as JSON text.
    resource: str | None
    segment: int
    offset_bytes: int
    started_at_us: int | None
    heartbeat_at_us: int | None
    stopped_at_us: int | None


class OpenAttempt(NamedTuple):
    """An attempt that has begun and not ended, with what a record about it says."""

    job_key: int
    attempt: int
    status_at_us: int
    started_at_us: int | None
    #: Its last sign of life, by its worker's clock.
    alive_at_us: int | None
    worker_key: int
    trace_id: str | None
    span_id: str
    project_key: int
    job_id: str
    parent_job_id: str | None
    session_id: str | None
    request_id: str | None
    job_name: str
    service: str
    tenant_id: str
    project_id: str

    @property
    def seen_at_us(self) -> int:
        """When it was last heard of."""
        return self.alive_at_us or self.status_at_us


_NOW = select(*(workers.c[name] for name in WorkerNow._fields))
_NAMES = {"job_name": kinds, "service": kinds, "tenant_id": projects, "project_id": projects}
_JOBS = ("project_key", "job_id", "parent_job_id", "session_id", "request_id")


def _column(name: str) -> Any:
    return _NAMES.get(name, jobs if name in _JOBS else attempts).c[name]


_ATTEMPTS = (
    select(*map(_column, OpenAttempt._fields))
    .select_from(attempts)
    .join(jobs, jobs.c.job_key == attempts.c.job_key)
    .join(kinds, kinds.c.kind_key == jobs.c.kind_key)
    .join(projects, projects.c.project_key == jobs.c.project_key)
    # A connector reports jobs that run elsewhere: its end says nothing of theirs. It has no span.
    .where(attempts.c.status.in_(_OPEN), attempts.c.span_id.is_not(None))
)


def new_workers(connection: Connection, after_key: int) -> list[WorkerNow]:
    """Workers with higher keys than this, in the order of keys."""
    found = _NOW.where(workers.c.worker_key > after_key).order_by(workers.c.worker_key)
    return [WorkerNow(*row) for row in connection.execute(found)]


def workers_now(connection: Connection, keys: Collection[int]) -> list[WorkerNow]:
    """These workers as they are now."""
    return [
        WorkerNow(*row)
        for some in _chunks(keys)
        for row in connection.execute(_NOW.where(workers.c.worker_key.in_(some)))
    ]


def worker_of(connection: Connection, stem: str) -> WorkerNow | None:
    """The worker that writes a journal."""
    row = connection.execute(_NOW.where(workers.c.stem == stem)).first()
    return None if row is None else WorkerNow(*row)


def busy_workers(connection: Connection) -> set[int]:
    """Workers of jobs that have begun and not ended."""
    found: set[int] = set()
    for key in connection.execute(select(projects.c.project_key)).scalars().all():
        attempt = (attempts.c.job_key == jobs.c.job_key) & (attempts.c.attempt == jobs.c.attempt)
        wanted = (
            select(attempts.c.worker_key)
            .select_from(jobs)
            .join(attempts, attempt)
            .where(jobs.c.project_key == key, jobs.c.status.in_(_OPEN))
            .where(attempts.c.worker_key.is_not(None), attempts.c.span_id.is_not(None))
            .distinct()
        )
        found.update(connection.execute(wanted).scalars())
    return found


def status_of(connection: Connection, job_key: int, attempt: int) -> tuple[str, bool]:
    """What an attempt is doing, and whether it was ever reported as lost."""
    columns = (attempts.c.status, attempts.c.lost_at_us)
    found = connection.execute(select(*columns).filter_by(job_key=job_key, attempt=attempt)).one()
    return found.status, found.lost_at_us is not None


def open_attempts(connection: Connection, keys: Collection[int]) -> list[OpenAttempt]:
    """What these workers have begun and not ended."""
    return [
        OpenAttempt(*row)
        for some in _chunks(keys)
        for row in connection.execute(_ATTEMPTS.where(attempts.c.worker_key.in_(some)))
    ]


def said_memory_error(connection: Connection, attempt: OpenAttempt) -> bool:
    """Whether the last error of an attempt was a ``MemoryError``."""
    last = (
        select(errors.c.error_type)
        .where(errors.c.job_key == attempt.job_key, errors.c.attempt == attempt.attempt)
        .order_by(errors.c.error_key.desc())
        .limit(1)
    )
    return bool(connection.execute(last).scalar() == "MemoryError")


def heartbeats_of(connection: Connection, worker_key: int, limit: int) -> Sequence[Any]:
    """Its newest heartbeats, the newest first: ``at_us`` and the memory figures."""
    columns = (
        *(samples.c.at_us, samples.c.memory_rss_bytes),
        *(samples.c.memory_used_bytes, samples.c.memory_limit_bytes),
    )
    found = select(*columns).where(samples.c.worker_key == worker_key)
    return connection.execute(found.order_by(samples.c.at_us.desc()).limit(limit)).all()


def claim(
    connection: Connection,
    open_ones: Iterable[OpenAttempt],
    now_us: int,
    reason: str,
    details: Mapping[str, Any],
    is_void: Callable[[Connection, Claim, int], bool],
) -> list[OpenAttempt]:
    """Take the report of attempts upon us that nobody has.

    Args:
        connection: A transaction that writes.
        open_ones: What to report.
        now_us: Microseconds since 1970.
        reason: Why they are lost, for the audit trail.
        details: What else the audit trail should know.
        is_void: Whether a report that another one has claimed does not come any more.
    """
    auditing.take_turn(connection)
    claimed = []
    for attempt in open_ones:
        what = {"attempt": attempt.attempt, "seen_at_us": attempt.seen_at_us}
        named = (attempt.project_key, REPORT, attempt.job_id, what)
        before = auditing.claim_of(connection, *named)
        if before is None:
            what |= details
            auditing.claim(connection, now_us, *named, outcome="reported", reason=reason)
        elif is_void(connection, before, now_us) and _is_open(connection, attempt):
            auditing.renew(connection, before, now_us, details)
        else:
            continue
        claimed.append(attempt)
    return claimed


def _is_open(connection: Connection, attempt: OpenAttempt) -> bool:
    """Whether it still is: the report may just have come."""
    return status_of(connection, attempt.job_key, attempt.attempt)[0] in _OPEN


def _chunks(keys: Collection[int]) -> Iterable[list[int]]:
    found = list(keys)
    return (found[start : start + _MOST_IN] for start in range(0, len(found), _MOST_IN))
