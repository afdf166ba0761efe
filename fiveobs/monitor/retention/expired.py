"""Which jobs have something that has expired: by kind and status, in the order in which they ended.

Found by the indexes of `jobs`. What goes before the job itself is remembered by the last job that
it has gone from (``trimmed``), so that no job is looked at twice for the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Integer, and_, bindparam, func, or_, select

from fiveobs.monitor.ingest.writing import dialect
from fiveobs.monitor.retention.keeps import Project
from fiveobs.monitor.retention.policy import FAILED, SUCCEEDED, Policy
from fiveobs.monitor.store.schema import jobs, kinds, trimmed

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

__all__ = [
    "REMOVALS",
    "TABLES",
    "Count",
    "Ended",
    "Kind",
    "Mark",
    "Span",
    "count_of",
    "kinds_of",
    "mark",
    "next_jobs",
    "spans_of",
]

_ENDED = (*SUCCEEDED, *FAILED)
#: What goes from a job while the job stays, in this order, and of jobs that ended how.
_TRIMS: Mapping[str, tuple[str, ...]] = {
    "metrics": _ENDED,
    "logs": SUCCEEDED,
    "error_logs": _ENDED,
    "errors": _ENDED,
    "unresolved_errors": FAILED,
}
#: The table that it goes from.
TABLES: Mapping[str, str] = {
    "metrics": "measures",
    "logs": "events",
    "error_logs": "events",
    "errors": "errors",
    "unresolved_errors": "errors",
}
#: With what the job goes itself.
REMOVALS: Mapping[str, tuple[str, ...]] = {"events": SUCCEEDED, "failed_events": FAILED}
_REMOVAL_OF = {status: part for part, statuses in REMOVALS.items() for status in statuses}


class Mark(NamedTuple):
    """A place in the order in which jobs ended; the beginning, if nothing is given."""

    at_us: int = -1
    job_key: int = 0


class Kind(NamedTuple):
    """A kind of job, and the project that it is of."""

    kind_key: int
    project: Project
    service: str
    job_name: str


class Span(NamedTuple):
    """Jobs of one kind that ended alike and have something of one part that has expired."""

    kind: Kind
    status: str
    part: str
    #: The last job that this part has gone from.
    after: Mark
    #: Jobs that ended before that, in microseconds since 1970.
    until_us: int

    @property
    def is_removal(self) -> bool:
        """Whether the jobs themselves go."""
        return self.part in REMOVALS


class Count(NamedTuple):
    """How many jobs."""

    jobs: int
    #: When the first and the last of them ended, in microseconds since 1970.
    from_us: int | None
    to_us: int | None


class Ended(NamedTuple):
    """A job of a span."""

    job_key: int
    at_us: int
    duration_s: float | None

    @property
    def mark(self) -> Mark:
        """Its place."""
        return Mark(self.at_us, self.job_key)


def kinds_of(connection: Connection, project: Project) -> list[Kind]:
    """The kinds of job of a project."""
    columns = (kinds.c.kind_key, kinds.c.service, kinds.c.job_name)
    wanted = select(*columns).where(kinds.c.project_key == project.project_key)
    return [Kind(key, project, *names) for key, *names in connection.execute(wanted).all()]


def spans_of(connection: Connection, kind: Kind, now_us: int) -> list[Span]:
    """What may have expired of the jobs of a kind; what goes first comes first."""
    policy = kind.project.policy
    marks = _marks_of(connection, kind.kind_key)
    completed_us = _last_us(connection, kind.kind_key)
    found = []
    for status in _ENDED:
        oldest_us = _oldest_us(connection, kind.kind_key, status)
        if oldest_us is None:
            continue
        untils = _untils(policy, status, now_us, completed_us)
        gone = Mark(untils.get(_REMOVAL_OF[status], -1))
        for part, until_us in untils.items():
            if oldest_us >= until_us:
                continue
            after = Mark()
            if part not in REMOVALS:  # of what is older than that, it goes with the job
                after = max(marks.get((status, part), after), gone)
            if part == "unresolved_errors":  # what is older than that is resolved
                after = max(after, Mark(completed_us))
            if after.at_us < until_us:
                found.append(Span(kind, status, part, after, until_us))
    return found


def _untils(policy: Policy, status: str, now_us: int, completed_us: int) -> dict[str, int]:
    """By part of jobs that ended so: what is older than this has expired."""
    found = {}
    for part in (*_parts_of(status), _REMOVAL_OF[status]):
        until_us = policy.until_us(part, now_us)
        if until_us is not None:
            # An error of a job that failed is resolved when one of its kind was completed since.
            is_later = part == "errors" and status in FAILED
            found[part] = min(until_us, completed_us) if is_later else until_us
    return found


@cache
def _parts_of(status: str) -> tuple[str, ...]:
    return tuple(part for part, statuses in _TRIMS.items() if status in statuses)


def _marks_of(connection: Connection, kind_key: int) -> dict[tuple[str, str], Mark]:
    found = connection.execute(_MARKS, {"kind_key": kind_key})
    return {(status, part): Mark(at_us, key) for status, part, at_us, key in found}


_MARKS = select(trimmed.c.status, trimmed.c.part, trimmed.c.until_us, trimmed.c.job_key).where(
    trimmed.c.kind_key == bindparam("kind_key")
)


def _ended_at(status: str) -> Any:
    """By what jobs are ordered: a lost one has no end, and is as old as when it was heard of."""
    return jobs.c.created_at_us if status == "lost" else jobs.c.ended_at_us


def _oldest_us(connection: Connection, kind_key: int, status: str) -> int | None:
    given = {"kind_key": kind_key, "status": status}
    found: int | None = connection.execute(_OLDEST[status == "lost"], given).scalar()
    return found


_OF_KIND = and_(jobs.c.kind_key == bindparam("kind_key"), jobs.c.status == bindparam("status"))
_OLDEST = {
    is_lost: select(func.min(_ended_at("lost" if is_lost else ""))).where(_OF_KIND)
    for is_lost in (False, True)
}
_LAST = select(func.max(jobs.c.ended_at_us)).where(_OF_KIND)


def _last_us(connection: Connection, kind_key: int) -> int:
    """When a job of the kind was last completed; 0 if none was, as far as the store knows."""
    given = {"kind_key": kind_key, "status": "completed"}
    return int(connection.execute(_LAST, given).scalar() or 0)


def next_jobs(connection: Connection, span: Span, limit: int) -> list[Ended]:
    """The first jobs of a span that are left, in order."""
    statement = _JOBS[span.status == "lost"]
    return [Ended(*row) for row in connection.execute(statement, _given(span, limit))]


def count_of(connection: Connection, span: Span, limit: int) -> Count:
    """How many jobs of a span are left, or the limit, and when the first and last ended."""
    counts = _COUNTS[span.status == "lost"]
    return Count(*connection.execute(counts, _given(span, limit)).one())


def _given(span: Span, limit: int) -> dict[str, Any]:
    return {
        "kind_key": span.kind.kind_key,
        "status": span.status,
        "until_us": span.until_us,
        "after_us": span.after.at_us,
        "after_key": span.after.job_key,
        "most": limit,
    }


def _jobs(*, is_lost: bool) -> Select[Any]:
    at = _ended_at("lost" if is_lost else "").label("at_us")
    wanted = [
        _OF_KIND,
        at < bindparam("until_us"),
        at >= bindparam("after_us"),
        or_(at > bindparam("after_us"), jobs.c.job_key > bindparam("after_key")),
    ]
    if is_lost:
        # It may have been heard of since, and be lost again.
        wanted.append(jobs.c.updated_at_us < bindparam("until_us"))
    found = select(jobs.c.job_key, at).where(*wanted)
    return found.order_by(at, jobs.c.job_key).limit(bindparam("most", type_=Integer))


def _count(found: Any) -> Any:
    some = found.subquery()
    return select(func.count(), func.min(some.c.at_us), func.max(some.c.at_us))


_KEYS = {is_lost: _jobs(is_lost=is_lost) for is_lost in (False, True)}
_JOBS = {is_lost: each.add_columns(jobs.c.duration_s) for is_lost, each in _KEYS.items()}
_COUNTS = {is_lost: _count(each) for is_lost, each in _KEYS.items()}


def mark(connection: Connection, span: Span, at: Mark) -> None:
    """Remember that a part has gone from the jobs up to this one."""
    row = (span.kind.kind_key, span.status, span.part, *at)
    connection.exec_driver_sql(dialect(_MARK, connection.dialect.name), row)


_MARK = """
INSERT INTO trimmed (kind_key, status, part, until_us, job_key) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (kind_key, status, part) DO UPDATE SET
  until_us = excluded.until_us, job_key = excluded.job_key
"""
