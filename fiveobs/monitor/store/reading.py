"""What the monitor asks the store about jobs; every answer is made of rows that cannot change.

Each function is one statement whose cost follows from what is asked for, not from how much is
stored: rows are found by a key or by the end of an index, and whatever could be many has a limit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Table,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    union_all,
)

from fiveobs.monitor.store.rows import (
    AttemptRow,
    EntryCounts,
    EventRow,
    IntervalRow,
    JobRow,
    SampleRow,
    SpanRow,
    StageRow,
    WorkerRow,
)
from fiveobs.monitor.store.schema import (
    attempts,
    events,
    jobs,
    kinds,
    samples,
    stages,
    workers,
)

__all__ = [
    "JOBS",
    "MAX_COUNTED",
    "MAX_ROWS",
    "MONITOR_SERVICE",
    "all_rows",
    "children_of",
    "columns_of",
    "count_entries",
    "entries_between",
    "events_of",
    "intervals_of",
    "job_by_id",
    "jobs_by_id",
    "last_samples",
    "latest_attempts",
    "latest_stages",
    "live_workers",
    "newest_jobs",
    "samples_of",
    "span_of",
    "workers_by_key",
]

T = TypeVar("T", bound=tuple[Any, ...])
#: Most rows of one job that are read where nobody says how many.
MAX_ROWS = 1_000
#: What is counted at most where a queue may be long.
MAX_COUNTED = 10_000
#: What monitors call themselves in what they record.
MONITOR_SERVICE = "fiveobs-monitor"


def columns_of(row: type[Any], table: Table) -> list[Any]:
    """The columns of a table that a row has."""
    return [table.c[name] for name in row._fields]


def all_rows(
    connection: Connection, row: type[T], statement: Any, given: Mapping[str, Any] | None = None
) -> list[T]:
    """What a statement finds, as rows."""
    make = row._make  # type: ignore[attr-defined]
    return [make(values) for values in connection.execute(statement, given).all()]


def _one(
    connection: Connection, row: type[T], statement: Any, given: Mapping[str, Any]
) -> T | None:
    values = connection.execute(statement, given).first()
    return None if values is None else row(*values)


# --- jobs --------------------------------------------------------------------------------------

#: Where nobody said what kind of job it is, it is named after its service.
_NAMES: Mapping[str, ColumnElement[Any]] = {
    "service": kinds.c.service,
    "job_name": func.coalesce(func.nullif(kinds.c.job_name, ""), kinds.c.service),
}
#: Every job as a `JobRow`.
JOBS = select(*(_NAMES[name] if name in _NAMES else jobs.c[name] for name in JobRow._fields)).join(
    kinds, kinds.c.kind_key == jobs.c.kind_key
)


_ONE_JOB = JOBS.where(
    jobs.c.project_key == bindparam("project_key"), jobs.c.job_id == bindparam("job_id")
)


def job_by_id(connection: Connection, project_key: int, job_id: str) -> JobRow | None:
    """The job of a project with this id."""
    given = {"project_key": project_key, "job_id": job_id}
    return _one(connection, JobRow, _ONE_JOB, given)


_NAMED_JOBS = JOBS.where(
    jobs.c.project_key == bindparam("project_key"),
    jobs.c.job_id.in_(bindparam("job_ids", expanding=True)),
)


def jobs_by_id(connection: Connection, project_key: int, job_ids: Collection[str]) -> list[JobRow]:
    """Those of a project's jobs with these ids that there are, in no order."""
    if not job_ids:
        return []
    given = {"project_key": project_key, "job_ids": list(job_ids)}
    return all_rows(connection, JobRow, _NAMED_JOBS, given)


def newest_jobs(
    connection: Connection,
    project_key: int,
    *,
    statuses: Collection[str] = (),
    submitted_by: str | None = None,
    limit: int,
) -> list[JobRow]:
    """The jobs of a project that were heard of last, the newest first.

    Args:
        connection: Where.
        project_key: Whose.
        statuses: Only those in one of these; empty means any.
        submitted_by: Only this user's.
        limit: How many at most.
    """
    wanted = jobs.c.project_key == project_key
    if submitted_by is not None:
        wanted = and_(wanted, jobs.c.submitted_by == submitted_by)
        statuses = statuses or _STATUSES  # the index is by status, then by time
    parts = [_newest(and_(wanted, jobs.c.status == status), limit) for status in statuses]
    keys = union_all(*parts).subquery() if parts else _newest(wanted, limit).subquery()
    found = JOBS.where(jobs.c.job_key.in_(select(keys.c.job_key)))
    newest = found.order_by(jobs.c.created_at_us.desc(), jobs.c.job_key.desc()).limit(limit)
    return all_rows(connection, JobRow, newest)


_STATUSES = (
    *("received", "running", "paused", "lost"),
    *("completed", "failed", "stopped", "cancelled", "interrupted"),
)


def _newest(wanted: Any, limit: int) -> Select[Any]:
    newest = select(jobs.c.job_key).where(wanted).order_by(jobs.c.created_at_us.desc()).limit(limit)
    # SQLite takes a limit within a union in a subquery only.
    return select(newest.subquery().c.job_key)


_CHILDREN = JOBS.where(
    jobs.c.project_key == bindparam("project_key"), jobs.c.parent_job_id == bindparam("job_id")
).limit(MAX_ROWS)


def children_of(connection: Connection, project_key: int, job_id: str) -> list[JobRow]:
    """The jobs that began inside another one, at most `MAX_ROWS`."""
    given = {"project_key": project_key, "job_id": job_id}
    return all_rows(connection, JobRow, _CHILDREN, given)


def _latest(row: type[Any], table: Table) -> Select[Any]:
    """Rows of the present attempts of some jobs."""
    present = and_(table.c.job_key == jobs.c.job_key, table.c.attempt == jobs.c.attempt)
    statement = select(*columns_of(row, table)).join(jobs, present)
    return statement.where(jobs.c.job_key.in_(bindparam("job_keys", expanding=True)))


_LATEST_ATTEMPTS = _latest(AttemptRow, attempts)
_LATEST_STAGES = _latest(StageRow, stages).order_by(stages.c.job_key, stages.c.stage_index)


def latest_attempts(connection: Connection, job_keys: Collection[int]) -> dict[int, AttemptRow]:
    """The present attempt of each job."""
    if not job_keys:
        return {}
    found = all_rows(connection, AttemptRow, _LATEST_ATTEMPTS, {"job_keys": list(job_keys)})
    return {row.job_key: row for row in found}


def latest_stages(
    connection: Connection, job_keys: Collection[int]
) -> dict[int, tuple[StageRow, ...]]:
    """The stages of each job's present attempt, in their order."""
    found: dict[int, list[StageRow]] = {job_key: [] for job_key in job_keys}
    if found:
        for row in all_rows(connection, StageRow, _LATEST_STAGES, {"job_keys": list(job_keys)}):
            found[row.job_key].append(row)
    return {job_key: tuple(rows) for job_key, rows in found.items()}


# --- events ------------------------------------------------------------------------------------


_COUNTS = select(
    *(
        func.coalesce(func.sum(attempts.c[name]), 0)
        for name in ("debug_entries", "info_entries", "warning_entries", "error_entries")
    )
).where(attempts.c.job_key == bindparam("job_key"))


def count_entries(connection: Connection, job_key: int) -> EntryCounts:
    """How many events a job has, by level, over all its attempts; counted when they came in."""
    found = connection.execute(_COUNTS, {"job_key": job_key}).one()
    return EntryCounts(*map(int, found))


def entries_between(
    connection: Connection, job_key: int, from_us: int | None, to_us: int | None
) -> EntryCounts:
    """How many of a job's events lie in a span of time, by level."""
    level = events.c.level
    borders = ((0, 20), (20, 30), (30, 40), (40, 1000))
    sums = [
        func.coalesce(func.sum(and_(level >= low, level < high).cast(_INTEGER)), 0)
        for low, high in borders
    ]
    times = func.min(events.c.at_us), func.max(events.c.at_us)
    wanted = _between(events.c.job_key == job_key, from_us, to_us)
    found = connection.execute(select(*sums, *times).where(wanted)).one()
    debug, info, warning, error = map(int, found[:4])
    return EntryCounts(debug, info, warning, error, found[4], found[5])


_INTEGER = events.c.attempt.type


def _between(wanted: Any, from_us: int | None, to_us: int | None) -> Any:
    if from_us is not None:
        wanted = and_(wanted, events.c.at_us >= from_us)
    if to_us is not None:
        wanted = and_(wanted, events.c.at_us <= to_us)
    return wanted


def events_of(
    connection: Connection,
    job_key: int,
    *,
    level: int = 0,
    from_us: int | None = None,
    to_us: int | None = None,
    event_types: Collection[str] = (),
    or_level: int = 0,
    newest: bool = False,
    limit: int,
) -> list[EventRow]:
    """A job's events in the order in which they were taken in.

    Args:
        connection: Where.
        job_key: Whose.
        level: Only those of this level and above.
        from_us: Only those from this time on.
        to_us: Only those up to this time.
        event_types: Only those of these types; empty means any.
        or_level: And those of any type from this level on; 0 means none.
        newest: Where there are more than ``limit``: the last ones, not the first.
        limit: How many at most.
    """
    given = {"level": level if level > 10 else None, "from_us": from_us, "to_us": to_us}
    given = {name: value for name, value in given.items() if value is not None}
    types = tuple(event_types)
    statement = _events(tuple(given), types, or_level if types else 0, newest=newest)
    given |= {"job_key": job_key, "most": limit}
    found = all_rows(connection, EventRow, statement, given)
    return found[::-1] if newest else found


@cache
def _events(
    given: tuple[str, ...], event_types: tuple[str, ...], or_level: int, *, newest: bool
) -> Select[Any]:
    """The statement of `events_of`, made once for each combination: that takes most of the time."""
    level, at = events.c.level, events.c.at_us
    conditions = {
        "level": level >= bindparam("level"),
        "from_us": at >= bindparam("from_us"),
        "to_us": at <= bindparam("to_us"),
    }
    wanted = [events.c.job_key == bindparam("job_key"), *(conditions[name] for name in given)]
    if event_types:
        of_type = events.c.event_type.in_(event_types)
        wanted.append(or_(of_type, level >= or_level) if or_level else of_type)
    order = events.c.event_key.desc() if newest else events.c.event_key
    statement = select(*columns_of(EventRow, events)).where(*wanted)
    return statement.order_by(order).limit(bindparam("most", type_=Integer))


# --- workers -----------------------------------------------------------------------------------


_WORKERS = select(*columns_of(WorkerRow, workers)).where(
    workers.c.worker_key.in_(bindparam("worker_keys", expanding=True))
)


def workers_by_key(
    connection: Connection, worker_keys: Iterable[int | None]
) -> dict[int, WorkerRow]:
    """Workers by key."""
    wanted = {key for key in worker_keys if key is not None}
    if not wanted:
        return {}
    found = all_rows(connection, WorkerRow, _WORKERS, {"worker_keys": list(wanted)})
    return {row.worker_key: row for row in found}


_LIVE_WORKERS = (
    select(*columns_of(WorkerRow, workers))
    .where(
        workers.c.project_key == bindparam("project_key"),
        workers.c.heartbeat_at_us >= bindparam("since_us"),
        workers.c.stopped_at_us.is_(None),
        func.coalesce(workers.c.service, "") != MONITOR_SERVICE,
    )
    .limit(MAX_COUNTED)
)


def live_workers(connection: Connection, project_key: int, since_us: int) -> list[WorkerRow]:
    """A project's workers that gave a sign of life since then and have not stopped.

    A monitor has a journal as they do; it runs no jobs.
    """
    given = {"project_key": project_key, "since_us": since_us}
    return all_rows(connection, WorkerRow, _LIVE_WORKERS, given)


_SAMPLED = and_(
    samples.c.worker_key == bindparam("worker_key"),
    samples.c.at_us >= bindparam("from_us"),
    samples.c.at_us <= bindparam("to_us"),
)
_SAMPLES = (
    select(*columns_of(SampleRow, samples))
    .where(_SAMPLED)
    .order_by(samples.c.at_us.desc())
    .limit(bindparam("most", type_=Integer))
)


_LAST = (
    select(samples.c.at_us)
    .where(
        samples.c.worker_key == attempts.c.worker_key,
        samples.c.at_us >= jobs.c.started_at_us,
        samples.c.at_us <= jobs.c.ended_at_us,
    )
    .order_by(samples.c.at_us.desc())
    .limit(1)
    .correlate(attempts, jobs)
    .scalar_subquery()
)
_LAST_SAMPLES = (
    select(jobs.c.job_key, *columns_of(SampleRow, samples))
    .join(
        attempts, and_(attempts.c.job_key == jobs.c.job_key, attempts.c.attempt == jobs.c.attempt)
    )
    .join(samples, and_(samples.c.worker_key == attempts.c.worker_key, samples.c.at_us == _LAST))
    .where(jobs.c.job_key.in_(bindparam("job_keys", expanding=True)))
)


def last_samples(connection: Connection, job_keys: Collection[int]) -> dict[int, SampleRow]:
    """The last figures of each job's worker while the job ran, of those that have ended."""
    if not job_keys:
        return {}
    found = connection.execute(_LAST_SAMPLES, {"job_keys": list(job_keys)})
    return {row[0]: SampleRow(*row[1:]) for row in found}


def _moved(name: str) -> Any:
    """How much a counter grew from the first heartbeat to the last; unknown with fewer than two."""
    column = samples.c[name]
    grown = func.max(column) - func.min(column)
    return case((func.count(column) > 1, grown))


_SPAN = select(
    func.max(samples.c.memory_rss_bytes),
    *map(_moved, ("network_receive_bytes", "network_transmit_bytes")),
).where(_SAMPLED)


def samples_of(
    connection: Connection, worker_key: int, from_us: int, to_us: int, limit: int
) -> list[SampleRow]:
    """A worker's last figures within a span of time, the oldest first."""
    given = {"worker_key": worker_key, "from_us": from_us, "to_us": to_us, "most": limit}
    return all_rows(connection, SampleRow, _SAMPLES, given)[::-1]


def span_of(connection: Connection, worker_key: int, from_us: int, to_us: int) -> SpanRow:
    """What a worker's heartbeats say of a span of time."""
    given = {"worker_key": worker_key, "from_us": from_us, "to_us": to_us}
    return SpanRow(*connection.execute(_SPAN, given).one())


def intervals_of(
    connection: Connection, worker_key: int, from_us: int, to_us: int, interval_us: int
) -> list[IntervalRow]:
    """A worker's mean figures in each interval of a span of time."""
    # As it stands, because PostgreSQL takes a parameter here and below for two expressions.
    number: ColumnElement[int] = literal_column(f"samples.at_us / {int(interval_us):d}")
    given = {"worker_key": worker_key, "from_us": from_us, "to_us": to_us}
    means = func.avg(samples.c.cpu_percent), func.avg(samples.c.memory_rss_bytes)
    wanted = select(number, *means).where(_SAMPLED)
    return [
        IntervalRow(int(at), cpu, None if memory is None else float(memory))
        for at, cpu, memory in connection.execute(wanted.group_by(number).order_by(number), given)
    ]
