"""What belongs to a job, and what is like it: more of what `reading` asks, on the same terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Integer, and_, bindparam, func, literal_column, or_, select

from fiveobs.monitor.store.reading import JOBS, MAX_COUNTED, MAX_ROWS, all_rows, columns_of
from fiveobs.monitor.store.rows import (
    ConditionRow,
    DependencyRow,
    ErrorRow,
    JobRow,
    MeasureRow,
    ResourceRow,
    RunRow,
    StageRow,
)
from fiveobs.monitor.store.schema import (
    attempts,
    audit,
    conditions,
    dependencies,
    errors,
    jobs,
    measures,
    resources,
    stages,
    trimmed,
)

__all__ = [
    "conditions_of",
    "count_waiting",
    "errors_of",
    "expired_of",
    "jobs_needing",
    "measures_of",
    "needs_of",
    "places_in_queue",
    "resources_of",
    "running_in",
    "runs_of",
    "stages_of_runs",
    "stops_asked_of",
]

# --- what belongs to a job ---------------------------------------------------------------------


_MEASURES = (
    select(
        measures.c.name,
        func.min(measures.c.kind),
        func.sum(measures.c.total),
        func.max(measures.c.last),
    )
    .where(measures.c.job_key == bindparam("job_key"), measures.c.attempt == bindparam("attempt"))
    .group_by(measures.c.name)
    .limit(MAX_ROWS)
)


def measures_of(connection: Connection, job_key: int, attempt: int) -> list[MeasureRow]:
    """What an attempt measured, summed over labels."""
    return all_rows(connection, MeasureRow, _MEASURES, {"job_key": job_key, "attempt": attempt})


_TRIMMED = select(trimmed.c.part).where(
    trimmed.c.kind_key == bindparam("kind_key"),
    trimmed.c.status == bindparam("status"),
    or_(
        trimmed.c.until_us > bindparam("at_us"),
        and_(
            trimmed.c.until_us == bindparam("at_us"),
            trimmed.c.job_key >= bindparam("job_key"),
        ),
    ),
)


def expired_of(connection: Connection, job: JobRow) -> set[str]:
    """The parts that retention has taken from a job, as it names them."""
    at_us = job.created_at_us if job.status == "lost" else job.ended_at_us
    if at_us is None:
        return set()
    names = {"kind_key": job.kind_key, "status": job.status}
    given = {**names, "at_us": at_us, "job_key": job.job_key}
    return set(connection.execute(_TRIMMED, given).scalars())


_ERRORS = (
    select(*columns_of(ErrorRow, errors))
    .where(errors.c.job_key == bindparam("job_key"), errors.c.attempt == bindparam("attempt"))
    .order_by(errors.c.error_key.desc())
    .limit(bindparam("most", type_=Integer))
)


def errors_of(connection: Connection, job_key: int, attempt: int, limit: int) -> list[ErrorRow]:
    """What went wrong in an attempt, the newest first."""
    given = {"job_key": job_key, "attempt": attempt, "most": limit}
    return all_rows(connection, ErrorRow, _ERRORS, given)


_STOPS = select(audit.c.target).where(
    audit.c.outcome == literal_column("'requested'"),  # in the words of the partial index
    audit.c.project_key == bindparam("project_key"),
    audit.c.action == "job.stop",
    audit.c.target.in_(bindparam("job_ids", expanding=True)),
)


def stops_asked_of(
    connection: Connection, project_key: int, job_ids: Iterable[str]
) -> frozenset[str]:
    """Those of some jobs that were asked to stop and have not done so yet."""
    wanted = list(job_ids)
    if not wanted:
        return frozenset()
    given = {"project_key": project_key, "job_ids": wanted}
    return frozenset(connection.execute(_STOPS, given).scalars())


_NEEDS = (
    select(*columns_of(DependencyRow, dependencies))
    .where(dependencies.c.job_key == bindparam("job_key"))
    .order_by(dependencies.c.needs_job_id)
    .limit(MAX_ROWS)
)


def needs_of(connection: Connection, job_key: int) -> list[DependencyRow]:
    """The jobs that a job needs."""
    return all_rows(connection, DependencyRow, _NEEDS, {"job_key": job_key})


_NEEDING = (
    JOBS.add_columns(dependencies.c.reason)
    .join(dependencies, dependencies.c.job_key == jobs.c.job_key)
    .where(
        dependencies.c.project_key == bindparam("project_key"),
        dependencies.c.needs_job_id == bindparam("job_id"),
    )
    .limit(MAX_ROWS)
)


def jobs_needing(
    connection: Connection, project_key: int, job_id: str
) -> list[tuple[JobRow, str | None]]:
    """The jobs that need a job, each with the reason."""
    given = {"project_key": project_key, "job_id": job_id}
    found = connection.execute(_NEEDING, given)
    return [(JobRow(*values[:-1]), values[-1]) for values in found]


_RESOURCES = (
    select(*columns_of(ResourceRow, resources))
    .where(resources.c.job_key == bindparam("job_key"))
    .order_by(resources.c.allocated_at_us, resources.c.resource)
    .limit(MAX_ROWS)
)


def resources_of(connection: Connection, job_key: int) -> list[ResourceRow]:
    """What a job took into use and gave back."""
    return all_rows(connection, ResourceRow, _RESOURCES, {"job_key": job_key})


_CONDITIONS = (
    select(*columns_of(ConditionRow, conditions))
    .where(conditions.c.job_key == bindparam("job_key"))
    .order_by(conditions.c.changed_at_us, conditions.c.condition)
    .limit(MAX_ROWS)
)


def conditions_of(connection: Connection, job_key: int) -> list[ConditionRow]:
    """What keeps, or kept, a job from going on."""
    return all_rows(connection, ConditionRow, _CONDITIONS, {"job_key": job_key})


# --- what is like it ---------------------------------------------------------------------------


_OF_ATTEMPT = ("done", "progress_at_us")
_RUNS = (
    select(*(attempts.c[name] if name in _OF_ATTEMPT else jobs.c[name] for name in RunRow._fields))
    .join(
        attempts, and_(attempts.c.job_key == jobs.c.job_key, attempts.c.attempt == jobs.c.attempt)
    )
    .where(jobs.c.kind_key == bindparam("kind_key"), jobs.c.status == "completed")
    .where(jobs.c.ended_at_us.is_not(None), jobs.c.duration_s.is_not(None))
    .order_by(jobs.c.ended_at_us.desc())
    .limit(bindparam("most", type_=Integer))
)
_RUN_STAGES = select(*columns_of(StageRow, stages)).where(
    stages.c.job_key.in_(bindparam("job_keys", expanding=True)), stages.c.status == "completed"
)


def runs_of(connection: Connection, kind_key: int, limit: int) -> list[RunRow]:
    """The last completed runs of a kind of job, the newest first."""
    return all_rows(connection, RunRow, _RUNS, {"kind_key": kind_key, "most": limit})


def stages_of_runs(connection: Connection, job_keys: Sequence[int]) -> list[StageRow]:
    """The completed stages of these jobs."""
    if not job_keys:
        return []
    return all_rows(connection, StageRow, _RUN_STAGES, {"job_keys": list(job_keys)})


def places_in_queue(connection: Connection, rows: Iterable[JobRow]) -> dict[int, int]:
    """The place of each waiting job in its queue, from 1; by key of the job."""
    waiting = [row for row in rows if row.status == "received"]
    found: dict[int, int] = {}
    for has_queue in (True, False):
        keys = [row.job_key for row in waiting if (row.queue is not None) == has_queue]
        if keys:
            found |= _places(connection, keys, has_queue=has_queue)
    return found


_WAITING = select(func.count()).select_from(
    select(jobs.c.job_key)
    .where(jobs.c.project_key == bindparam("project_key"), jobs.c.status == "received")
    .limit(MAX_COUNTED)
    .subquery()
)


def count_waiting(connection: Connection, project_key: int) -> int:
    """How many jobs of a project wait, counted up to `MAX_COUNTED`."""
    return int(connection.execute(_WAITING, {"project_key": project_key}).scalar_one())


def _places(connection: Connection, keys: list[int], *, has_queue: bool) -> dict[int, int]:
    ahead = jobs.alias("ahead")
    same = ahead.c.queue == jobs.c.queue if has_queue else ahead.c.queue.is_(None)
    earlier = or_(
        ahead.c.created_at_us < jobs.c.created_at_us,
        and_(ahead.c.created_at_us == jobs.c.created_at_us, ahead.c.job_key <= jobs.c.job_key),
    )
    place = (
        select(func.count())
        .where(ahead.c.project_key == jobs.c.project_key, same, _received(ahead))
        .where(ahead.c.created_at_us <= jobs.c.created_at_us, earlier)
        .scalar_subquery()
    )
    wanted = select(jobs.c.job_key, place).where(jobs.c.job_key.in_(keys))
    return {key: int(count) for key, count in connection.execute(wanted)}


def _received(table: Any) -> Any:
    # As it stands, not as a parameter: else the partial index cannot be used.
    return table.c.status == literal_column("'received'")


def running_in(
    connection: Connection, project_key: int, queue: str | None, limit: int
) -> list[JobRow]:
    """The jobs of one queue that run, at most so many."""
    same = jobs.c.queue == queue if queue is not None else jobs.c.queue.is_(None)
    own = jobs.c.project_key == project_key, jobs.c.status == "running", same
    return all_rows(connection, JobRow, JOBS.where(*own).limit(limit))
