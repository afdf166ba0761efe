"""When jobs have last made progress, and how long that took in past runs: what `stuck` asks.

A change of progress is what the job says of how far it is (``percent``, ``done``; its message where
it says neither) if that is not what it said before, a milestone, the beginning or end of a stage,
and its own beginning, going on and end. A log line is none, nor is the same percentage again. Reads
only.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import JSON, Connection, Subquery, Text, case, cast, func, or_, select

from fiveobs.monitor.store.schema import attempts, events, jobs, kinds, projects, stages

__all__ = ["Change", "RunningJob", "known_job", "last_change", "longest_gap_s", "running_jobs"]

_US = 1_000_000
_SAID = ("job.progress", "stage.progress")
_CHANGES = (
    *("job.started", "job.resumed", "job.paused", "job.milestone", "job.completed"),
    *("stage.started", "stage.completed", "stage.failed"),
    *_SAID,
)


class RunningJob(NamedTuple):
    """A job, with the names that a record about it has."""

    job_key: int
    kind_key: int
    project_key: int
    attempt: int
    job_id: str
    parent_job_id: str | None
    session_id: str | None
    request_id: str | None
    trace_id: str | None
    span_id: str | None
    job_name: str
    service: str
    tenant_id: str
    project_id: str
    percent: float | None
    done: float | None
    activity: str | None
    started_at_us: int | None
    running_at_us: int | None
    progress_at_us: int | None


class Change(NamedTuple):
    """A change of progress."""

    event_key: int
    at_us: int


def _column(name: str) -> Any:
    for table in (attempts, jobs, kinds, projects):
        if name in table.c:
            return table.c[name]
    raise KeyError(name)


_JOBS = (
    select(*map(_column, RunningJob._fields))
    .select_from(jobs)
    .join(attempts, (attempts.c.job_key == jobs.c.job_key) & (attempts.c.attempt == jobs.c.attempt))
    .join(kinds, kinds.c.kind_key == jobs.c.kind_key)
    .join(projects, projects.c.project_key == jobs.c.project_key)
)
_STAGES = select(
    *(stages.c.job_key, stages.c.attempt, func.count(), func.count(stages.c.ended_at_us)),
    *(func.sum(stages.c.done), func.max(stages.c.updated_at_us)),
).group_by(stages.c.job_key, stages.c.attempt)


def running_jobs(
    connection: Connection, project_key: int, after_key: int, limit: int
) -> list[tuple[RunningJob, tuple[Any, ...], int]]:
    """Jobs of a project that run, in the order of their keys.

    Args:
        connection: A transaction.
        project_key: Whose.
        after_key: Only jobs with higher keys.
        limit: How many at most.

    Returns:
        Each with its figures, which differ when it has made progress, and with when it last said
        anything about that, in microseconds since 1970.
    """
    wanted = (
        _JOBS.where(jobs.c.project_key == project_key, jobs.c.status == "running")
        .where(jobs.c.job_key > after_key)
        .order_by(jobs.c.job_key)
        .limit(limit)
    )
    found = [RunningJob(*row) for row in connection.execute(wanted)]
    keys = [job.job_key for job in found]
    of_stages = {
        (key, attempt): figures
        for key, attempt, *figures in connection.execute(_STAGES.where(stages.c.job_key.in_(keys)))
    }
    result = []
    for job in found:
        *figures, stage_at_us = of_stages.get((job.job_key, job.attempt), (0, 0, None, None))
        said = (job.started_at_us, job.running_at_us, job.progress_at_us, stage_at_us)
        activity = job.activity if job.percent is None and job.done is None else None
        shown = (job.attempt, job.percent, job.done, activity, job.running_at_us, *figures)
        result.append((job, shown, max(filter(None, said), default=0)))
    return result


def known_job(connection: Connection, job_key: int) -> RunningJob | None:
    """A job, whether it runs or not."""
    row = connection.execute(_JOBS.where(jobs.c.job_key == job_key)).first()
    return None if row is None else RunningJob(*row)


def last_change(connection: Connection, job_key: int, attempt: int) -> Change | None:
    """The last change of progress of an attempt; ``None`` if it has said nothing yet."""
    changes = _changes(connection, [job_key])
    found = (
        select(changes.c.event_key, changes.c.at_us)
        .where(changes.c.attempt == attempt)
        .order_by(changes.c.event_key.desc())
        .limit(1)
    )
    row = connection.execute(found).first()
    return None if row is None else Change(*row)


def longest_gap_s(connection: Connection, kind_key: int, most: int, least: int) -> float | None:
    """The longest time between two changes of progress in the last completed runs, in seconds.

    Args:
        connection: A transaction.
        kind_key: Of which kind.
        most: How many runs are looked at, at most.
        least: ``None`` if there are fewer. Time in which a run was paused does not count, nor does
            that between two runs under the same id and number.
    """
    runs = (
        select(jobs.c.job_key)
        .where(jobs.c.kind_key == kind_key, jobs.c.status == "completed")
        .order_by(jobs.c.ended_at_us.desc())
        .limit(most)
    )
    keys = connection.execute(runs).scalars().all()
    if len(keys) < least:
        return None
    changes = _changes(connection, keys)
    run, order = (changes.c.job_key, changes.c.attempt), changes.c.event_key
    began_us = func.lag(changes.c.at_us).over(partition_by=run, order_by=order)
    after = func.lag(changes.c.event_type).over(partition_by=run, order_by=order)
    gaps = select(
        (changes.c.at_us - began_us).label("gap_us"),
        *(after.label("after"), changes.c.event_type.label("until")),
    ).subquery()
    longest = select(func.max(gaps.c.gap_us)).where(
        gaps.c.after != "job.paused", gaps.c.until != "job.started"
    )
    gap_us = connection.execute(longest).scalar()
    return None if gap_us is None else gap_us / _US


def _changes(connection: Connection, keys: Collection[int]) -> Subquery:
    """All changes of progress of these jobs."""
    figures = (
        func.coalesce(_figure(connection, "percent"), "")
        + "/"
        + func.coalesce(_figure(connection, "done"), "")
    )
    how_far = case((figures == "/", events.c.message), else_=figures)
    said = case((events.c.event_type.in_(_SAID), how_far), else_=cast(events.c.event_key, Text))
    before = func.lag(said).over(
        partition_by=(
            *(events.c.job_key, events.c.attempt, events.c.event_type),
            _figure(connection, "index"),
        ),
        order_by=events.c.event_key,
    )
    told = (
        select(
            *(events.c.job_key, events.c.attempt, events.c.event_key, events.c.at_us),
            *(events.c.event_type, said.label("said"), before.label("before")),
        )
        .where(events.c.job_key.in_(keys), events.c.event_type.in_(_CHANGES))
        .subquery()
    )
    is_change = or_(told.c.before.is_(None), told.c.before != told.c.said)
    return select(told).where(is_change).subquery()


def _figure(connection: Connection, name: str) -> Any:
    """A figure of an event's data, as text."""
    if connection.dialect.name == "sqlite":
        return cast(func.json_extract(events.c.data, f"$.{name}"), Text)
    return func.json_extract_path_text(cast(events.c.data, JSON), name)
