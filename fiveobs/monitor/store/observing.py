"""What the projector of state asks the store: processes of workers, what they hold, and jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, case, func, or_, select

from fiveobs.monitor.coordination.observing import OPEN, Failures, JobNow
from fiveobs.monitor.store.reading import MONITOR_SERVICE, all_rows
from fiveobs.monitor.store.schema import (
    attempts,
    audit,
    events,
    jobs,
    kinds,
    projects,
    resources,
    workers,
)

__all__ = [
    "HEALTH_CHANGED",
    "Said",
    "WorkerNow",
    "events_between",
    "failures_of",
    "held_by",
    "jobs_now",
    "lost_by",
    "newest_worker",
    "resources_held",
    "stuck_of",
    "workers_after",
    "workers_heard_since",
    "workers_now",
]

T = TypeVar("T")
HEALTH_CHANGED = "service.health_changed"
#: The events after which something else may be observed of a job, a worker or a service.
_TELLING = (
    *("job.received", "job.started", "job.paused", "job.resumed", "job.lost", "job.retrying"),
    *("job.completed", "job.failed", "job.stopped", "job.cancelled", "job.interrupted"),
    *("resource.allocated", "resource.released", "state.changed"),
    *("worker.started", "worker.stopped", HEALTH_CHANGED),
)
_MOST_IN = 500
#: Failures are counted up to here.
_MOST_COUNTED = 10_000


class Said(NamedTuple):
    """An event that may change what is observed."""

    event_key: int
    event_type: str
    project_key: int
    job_key: int | None
    worker_key: int | None
    #: JSON text; only of ``service.health_changed``.
    data: str | None


class WorkerNow(NamedTuple):
    """A process of a worker as it is stored; times in microseconds since 1970."""

    worker_key: int
    project_key: int
    stem: str
    worker_id: str | None
    machine_id: str | None
    service: str | None
    started_at_us: int | None
    heartbeat_at_us: int | None
    stopped_at_us: int | None
    memory_used_bytes: int | None
    memory_limit_bytes: int | None


def events_between(connection: Connection, after: int, up_to: int) -> list[Said]:
    """The events of a stretch that may change what is observed, in their order."""
    data = case((events.c.event_type == HEALTH_CHANGED, events.c.data)).label("data")
    columns = [data if name == "data" else events.c[name] for name in Said._fields]
    wanted = select(*columns).where(events.c.event_key > after, events.c.event_key <= up_to)
    wanted = wanted.where(events.c.event_type.in_(_TELLING)).order_by(events.c.event_key)
    return all_rows(connection, Said, wanted)


# --- workers -----------------------------------------------------------------------------------

#: Monitors have journals, too; they run no jobs.
_WORKERS = select(*(workers.c[name] for name in WorkerNow._fields)).where(
    func.coalesce(workers.c.service, "") != MONITOR_SERVICE
)


def workers_now(connection: Connection, keys: Collection[int]) -> list[WorkerNow]:
    """These processes as they are now."""
    return [
        row
        for some in _chunks(keys)
        for row in all_rows(connection, WorkerNow, _WORKERS.where(workers.c.worker_key.in_(some)))
    ]


def newest_worker(connection: Connection) -> int:
    """The process that was first heard of last; 0 if there is none."""
    return int(connection.execute(select(func.max(workers.c.worker_key))).scalar() or 0)


def workers_after(connection: Connection, worker_key: int) -> list[WorkerNow]:
    """Processes that were first heard of after another one."""
    return all_rows(connection, WorkerNow, _WORKERS.where(workers.c.worker_key > worker_key))


def workers_heard_since(connection: Connection, since_us: int) -> list[WorkerNow]:
    """Processes of every project that gave a sign of life since then and have not stopped."""
    found: list[WorkerNow] = []
    for key in connection.execute(select(projects.c.project_key)).scalars().all():
        wanted = _WORKERS.where(workers.c.project_key == key, workers.c.stopped_at_us.is_(None))
        wanted = wanted.where(workers.c.heartbeat_at_us >= since_us)
        found += all_rows(connection, WorkerNow, wanted)
    return found


def held_by(connection: Connection, keys: Collection[int]) -> dict[int, list[tuple[int, str]]]:
    """The jobs that each of some processes has begun and not ended: key and id."""
    found: dict[int, list[tuple[int, str]]] = {}
    same = (attempts.c.job_key == jobs.c.job_key) & (attempts.c.attempt == jobs.c.attempt)
    open_ones = select(attempts.c.worker_key, jobs.c.job_key, jobs.c.job_id).join(jobs, same)
    open_ones = open_ones.where(attempts.c.status.in_(sorted(OPEN)))
    for some in _chunks(keys):
        for key, job_key, job_id in connection.execute(
            open_ones.where(attempts.c.worker_key.in_(some))
        ):
            found.setdefault(key, []).append((job_key, job_id))
    return found


def lost_by(connection: Connection, keys: Collection[int]) -> set[int]:
    """Those of some processes a job of which is lost."""
    lost = select(attempts.c.worker_key).where(attempts.c.status == "lost").distinct()
    return {
        key
        for some in _chunks(keys)
        for key in connection.execute(lost.where(attempts.c.worker_key.in_(some))).scalars()
    }


def failures_of(connection: Connection, project_key: int, service: str, since_us: int) -> Failures:
    """How the jobs of a service ended since then."""
    of_service = select(kinds.c.kind_key).filter_by(project_key=project_key, service=service)
    keys = connection.execute(of_service).scalars().all()
    ended = dict.fromkeys(("completed", "failed"), 0)
    for key in keys:
        for status in ended:
            some = select(jobs.c.job_key).where(jobs.c.kind_key == key, jobs.c.status == status)
            some = some.where(jobs.c.ended_at_us >= since_us).limit(_MOST_COUNTED)
            ended[status] += connection.execute(
                select(func.count()).select_from(some.subquery())
            ).scalar_one()
    return Failures(ended["failed"], sum(ended.values()))


# --- jobs --------------------------------------------------------------------------------------

_TABLES = {
    **dict.fromkeys(("service", "job_name"), kinds),
    **dict.fromkeys(("span_id", "worker_key", "alive_at_us", "lost_cause"), attempts),
    **dict.fromkeys(("worker_id", "machine_id"), workers),
}
_SAME = (attempts.c.job_key == jobs.c.job_key) & (attempts.c.attempt == jobs.c.attempt)
_JOBS = (
    select(*(_TABLES.get(name, jobs).c[name] for name in JobNow._fields))
    .select_from(jobs)
    .join(kinds, kinds.c.kind_key == jobs.c.kind_key)
    .join(attempts, _SAME)
    .outerjoin(workers, workers.c.worker_key == attempts.c.worker_key)
)


def jobs_now(connection: Connection, keys: Collection[int]) -> list[JobNow]:
    """These jobs as they are now."""
    return [
        row
        for some in _chunks(keys)
        for row in all_rows(connection, JobNow, _JOBS.where(jobs.c.job_key.in_(some)))
    ]


def resources_held(
    connection: Connection, keys: Collection[int]
) -> Mapping[int, list[dict[str, Any]]]:
    """What each of some jobs took into use and has not given back."""
    columns = ("job_key", "resource", "amount", "unit")
    is_held = or_(
        resources.c.released_at_us.is_(None),
        resources.c.allocated_at_us > resources.c.released_at_us,
    )
    wanted = select(*(resources.c[name] for name in columns)).where(
        resources.c.allocated_at_us.is_not(None), is_held
    )
    found: dict[int, list[dict[str, Any]]] = {}
    for some in _chunks(keys):
        for key, name, amount, unit in connection.execute(
            wanted.where(resources.c.job_key.in_(some))
        ):
            found.setdefault(key, []).append({"resource": name, "amount": amount, "unit": unit})
    return found


def stuck_of(connection: Connection, named: Collection[JobNow]) -> set[int]:
    """Those of some jobs that a warning says are stuck, by key."""
    running = (job for job in named if job.status == "running")
    of_jobs = {(job.project_key, job.job_id): job.job_key for job in running}
    warned = select(audit.c.project_key, audit.c.target).where(
        audit.c.action == "job.stuck", audit.c.outcome == "warned"
    )
    found: set[int] = set()
    for some in _chunks({job_id for _, job_id in of_jobs}):
        for project_key, target in connection.execute(warned.where(audit.c.target.in_(some))):
            if (project_key, target) in of_jobs:
                found.add(of_jobs[project_key, target])
    return found


def _chunks(values: Collection[T]) -> Iterator[list[T]]:
    found = list(values)
    return (found[start : start + _MOST_IN] for start in range(0, len(found), _MOST_IN))
