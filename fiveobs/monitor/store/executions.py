"""Lists of jobs that go on from a place, page by page, each page as quick as the first.

Every list is one index, read from where the page before ended: by time or by duration, of a project
or of some kinds of job.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, or_, select, tuple_, union_all

from fiveobs.monitor.store.reading import JOBS, all_rows, columns_of
from fiveobs.monitor.store.rows import EventRow, JobRow
from fiveobs.monitor.store.schema import events, jobs, kinds, measures

__all__ = [
    "Executions",
    "Mark",
    "events_after",
    "executions_of",
    "kinds_named",
    "measured_by",
]

_COLUMNS = {"created_at": jobs.c.created_at_us, "execution_time": jobs.c.duration_s}
#: Kinds of job of one name: services that have named theirs alike.
_MOST_KINDS = 100


class Mark(NamedTuple):
    """Where a page ended: what its last job is sorted by, and the job."""

    value: float
    job_key: int


class Executions(NamedTuple):
    """Which jobs, and in which order."""

    project_key: int
    #: Only these kinds; ``None`` means all.
    kind_keys: Collection[int] | None = None
    #: Only in this status, in the store's words.
    status: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    #: ``created_at`` or ``execution_time``; by the latter come only those that have one.
    sort: str = "created_at"
    is_descending: bool = True

    def take(self, row: JobRow) -> bool:
        """Whether a job of the project is one of them."""
        return (
            (self.kind_keys is None or row.kind_key in self.kind_keys)
            and self.status in (None, row.status)
            and (self.from_us is None or row.created_at_us >= self.from_us)
            and (self.to_us is None or row.created_at_us <= self.to_us)
        )

    def mark_of(self, row: JobRow) -> Mark:
        """Where the list goes on after a job."""
        value = row.created_at_us if self.sort == "created_at" else row.duration_s
        return Mark(value or 0, row.job_key)


def kinds_named(
    connection: Connection, project_key: int, job_name: str, service: str | None
) -> list[int]:
    """The kinds of job of a name, of one service or of any."""
    wanted = select(kinds.c.kind_key).where(kinds.c.project_key == project_key)
    wanted = wanted.where((kinds.c.job_name == job_name) | _is_named_after(job_name))
    if service is not None:
        wanted = wanted.where(kinds.c.service == service)
    return list(connection.execute(wanted.limit(_MOST_KINDS)).scalars())


def _is_named_after(job_name: str) -> Any:
    """A kind without a name is called after its service, as `JOBS` has it."""
    return (kinds.c.job_name == "") & (kinds.c.service == job_name)


def executions_of(
    connection: Connection, wanted: Executions, after: Mark | None, limit: int
) -> list[JobRow]:
    """The next jobs of a list.

    Args:
        connection: Where.
        wanted: Which list.
        after: Where the page before ended; ``None`` is the beginning.
        limit: How many at most.
    """
    if wanted.kind_keys is None:
        parts = [_keys(wanted, jobs.c.project_key == wanted.project_key, after, limit)]
    else:
        parts = [
            _keys(wanted, jobs.c.kind_key == kind_key, after, limit)
            for kind_key in wanted.kind_keys
        ]
    if not parts:
        return []
    keys = union_all(*parts).subquery()
    found = JOBS.where(jobs.c.job_key.in_(select(keys.c.job_key)))
    return all_rows(connection, JobRow, found.order_by(*_order(wanted)).limit(limit))


def _order(wanted: Executions) -> Iterator[Any]:
    for each in (_COLUMNS[wanted.sort], jobs.c.job_key):
        yield each.desc() if wanted.is_descending else each


def _keys(wanted: Executions, condition: Any, after: Mark | None, limit: int) -> Select[Any]:
    column = _COLUMNS[wanted.sort]
    place = tuple_(column, jobs.c.job_key)
    found = select(jobs.c.job_key).where(condition)
    if wanted.sort == "execution_time":
        found = found.where(column.is_not(None))
    if wanted.status is not None:
        found = found.where(jobs.c.status == wanted.status)
    if wanted.from_us is not None:
        found = found.where(jobs.c.created_at_us >= wanted.from_us)
    if wanted.to_us is not None:
        found = found.where(jobs.c.created_at_us <= wanted.to_us)
    if after is not None:
        found = found.where(place < after if wanted.is_descending else place > after)
    # SQLite takes a limit within a union in a subquery only.
    return select(found.order_by(*_order(wanted)).limit(limit).subquery().c.job_key)


def measured_by(
    connection: Connection, job_keys: Collection[int], names: Collection[str]
) -> dict[int, dict[str, float | None]]:
    """What the present attempts of some jobs measured under some names, by job and name.

    Also under these names with a stage's name and a dot before them.
    """
    if not job_keys:
        return {}
    of_stage = [measures.c.name.endswith(f".{name}", autoescape=True) for name in names]
    value = func.sum(func.coalesce(measures.c.total, measures.c.last))
    wanted = (
        select(measures.c.job_key, measures.c.name, value)
        .join(jobs, (jobs.c.job_key == measures.c.job_key) & (jobs.c.attempt == measures.c.attempt))
        .where(measures.c.job_key.in_(list(job_keys)))
        .where(or_(measures.c.name.in_(list(names)), *of_stage))
        .group_by(measures.c.job_key, measures.c.name)
    )
    found: dict[int, dict[str, float | None]] = {}
    for job_key, name, total in connection.execute(wanted):
        found.setdefault(job_key, {})[name] = total
    return found


def events_after(
    connection: Connection, job_key: int, level: int, after_key: int, limit: int
) -> list[EventRow]:
    """A job's next events from a level on, in the order in which they were taken in."""
    found = (
        select(*columns_of(EventRow, events))
        .where(events.c.job_key == job_key, events.c.event_key > after_key)
        .where(events.c.level >= level)
        .order_by(events.c.event_key)
        .limit(limit)
    )
    return all_rows(connection, EventRow, found)
