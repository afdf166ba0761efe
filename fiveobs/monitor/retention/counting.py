"""How much has expired: counted where it is little, estimated where it is much.

A count takes as long as a few thousand rows do, however many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select

from fiveobs.monitor.retention.expired import Span, count_of, next_jobs
from fiveobs.monitor.retention.keeps import Project
from fiveobs.monitor.retention.leftovers import Leftover
from fiveobs.monitor.retention.sweeps import filled, going
from fiveobs.monitor.store.schema import unreadable

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Expired", "count_jobs", "count_leftover"]

#: Jobs whose rows are counted; those of more are taken to be alike.
_SAMPLED_JOBS = 200
#: Jobs, or other rows, that are counted at most; of more it is said that there are so many.
_MOST_COUNTED = 1_000_000


class Expired(NamedTuple):
    """Rows that have expired and are still there."""

    project: Project
    part: str
    table: str
    rows: int
    #: It is not known how many exactly.
    is_estimate: bool
    #: The first and the last of them, in microseconds since 1970: when the job ended, of what
    #: belongs to one; ``None`` where that is not looked up.
    from_us: int | None
    to_us: int | None

    def with_(self, other: Expired) -> Expired:
        """This and other rows of the same table together."""
        firsts = [each for each in (self.from_us, other.from_us) if each is not None]
        lasts = [each for each in (self.to_us, other.to_us) if each is not None]
        return self._replace(
            rows=self.rows + other.rows,
            is_estimate=self.is_estimate or other.is_estimate,
            from_us=min(firsts, default=None),
            to_us=max(lasts, default=None),
        )


def count_leftover(connection: Connection, what: Leftover) -> Expired:
    """What has expired of something that belongs to no job."""
    some = select(what.at.label("at")).where(what.wanted).limit(_MOST_COUNTED + 1).subquery()
    columns = (func.count(), func.min(some.c.at), func.max(some.c.at))
    rows, first, last = connection.execute(select(*columns)).one()
    times = (None, None) if what.at is unreadable.c.unreadable_key else (first, last)
    counted = min(rows, _MOST_COUNTED)
    return Expired(what.project, what.part, what.table.name, counted, rows > counted, *times)


def count_jobs(connection: Connection, span: Span) -> list[Expired]:
    """What has expired of the jobs of a span, by table."""
    ended = count_of(connection, span, _MOST_COUNTED)
    first = [each.job_key for each in next_jobs(connection, span, _SAMPLED_JOBS)]
    if not first:
        return []
    is_estimate = len(first) < ended.jobs
    return [
        Expired(
            *(span.kind.project, span.part, table, round(rows * ended.jobs / len(first))),
            *(is_estimate, ended.from_us, ended.to_us),
        )
        for table, rows in _rows_of(connection, span, first).items()
    ]


def _rows_of(connection: Connection, span: Span, job_keys: list[int]) -> dict[str, int]:
    """The rows of some jobs that go, by table."""
    found = {}
    for table, condition in going(span).items():
        wanted = filled(condition, job_keys)
        counting = f"SELECT count(*) FROM {table} WHERE {wanted}"  # noqa: S608 - names and keys
        found[table] = int(connection.exec_driver_sql(counting).scalar_one())
    return found
