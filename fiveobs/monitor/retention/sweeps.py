"""Takes what has expired out of the store, one batch in each transaction.

A sweep knows what it has to take and does one step in a transaction of its caller's: rows go, and
what they were is added to the aggregates, or neither. So it can be ended between any two steps, and
go on from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sqlalchemy import bindparam, delete, func, select

from fiveobs.monitor.ingest.writing import Keys
from fiveobs.monitor.retention import aggregates
from fiveobs.monitor.retention.expired import TABLES, Ended, Kind, Mark, Span, mark, next_jobs
from fiveobs.monitor.retention.folding import Aggregate, Folds, Series, labels_text
from fiveobs.monitor.retention.policy import FAILED
from fiveobs.monitor.store import auditing
from fiveobs.monitor.store.schema import events, jobs, measures

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["JobSweep", "Step", "Sweep", "filled", "going"]

#: A job takes so many rows, about.
_ROWS_OF_JOB = 4
#: The level from which on a log line tells of an error.
_BAD = 40


class Step(NamedTuple):
    """What a step took."""

    #: Rows by table.
    rows: Counter[str]
    #: There is no more to take.
    is_done: bool


class Sweep(Protocol):
    """Takes something that has expired."""

    def step(self, connection: Connection, rows: int) -> Step:
        """Take about so many rows, at most.

        Args:
            connection: A transaction that writes.
            rows: How many.
        """


_IN = "job_key IN ({keys})"
_IS_LOG = f"{_IN} AND event_type = 'log'"
_MINE = f"subscription_key IN (SELECT subscription_key FROM subscriptions WHERE {_IN})"  # noqa: S608
#: All that a job has, a row before the one that it refers to.
_ALL = {
    **dict.fromkeys(("told", "deliveries"), _MINE),
    **dict.fromkeys(("subscriptions", "events", "errors", "measures", "stages"), _IN),
    **dict.fromkeys(("conditions", "resources", "dependencies", "attempts", "jobs"), _IN),
}


def going(span: Span) -> Mapping[str, str]:
    """Which rows go with a span, by table and in order: conditions on the jobs ``{keys}``."""
    if span.is_removal:
        return _ALL
    if span.part == "logs":
        return {"events": f"{_IS_LOG} AND level < {_BAD}"}
    if span.part == "error_logs":
        return {"events": _IS_LOG if span.status in FAILED else f"{_IS_LOG} AND level >= {_BAD}"}
    return {TABLES[span.part]: _IN}


def filled(condition: str, keys: Iterable[int]) -> str:
    """A condition with the keys of jobs in it."""
    return condition.format(keys=", ".join(map(str, keys)))


_COUNTS = f"SELECT job_key, count(*) FROM events WHERE {_IN} GROUP BY job_key"  # noqa: S608


class JobSweep:
    """Takes a part of the jobs of a span, or the jobs themselves.

    Args:
        span: Which jobs, and what of them.
    """

    def __init__(self, span: Span) -> None:
        self._span = span
        self._going = going(span)
        self._series: dict[Series, int] = {}

    def step(self, connection: Connection, rows: int) -> Step:
        """Take what is next; a job's rows go together, unless it has more than go at once."""
        span = self._span
        if span.is_removal:
            _take_turn(connection)
        elif "measures" in self._going:  # nothing may be added between its sum and its end
            auditing.take_turn(connection)
        found = next_jobs(connection, span, max(rows // _ROWS_OF_JOB, 1))
        if not found:
            return Step(Counter(), is_done=True)
        some, is_large = self._fitting(connection, found, rows)
        if is_large:
            taken = self._some_events(connection, found[0], rows)
            if taken:
                return Step(Counter({"events": taken}), is_done=False)
        taken_rows = self._take(connection, some)
        if not span.is_removal:
            self._move(connection, some[-1].mark)
        return Step(taken_rows, is_done=False)

    def _fitting(
        self, connection: Connection, found: Sequence[Ended], rows: int
    ) -> tuple[Sequence[Ended], bool]:
        """As many of the first jobs as have at most so many events; whether the first has more."""
        if "events" not in self._going:
            return found, False
        counting = filled(_COUNTS, (each.job_key for each in found))
        counts = {key: int(count) for key, count in connection.exec_driver_sql(counting)}
        total = 0
        for number, each in enumerate(found):
            total += counts.get(each.job_key, 0)
            if total > rows:
                return found[: max(number, 1)], number == 0
        return found, False

    def _some_events(self, connection: Connection, job: Ended, rows: int) -> int:
        """Of a job with very many events some; 0 if it has no more that go."""
        wanted = filled(self._going["events"], [job.job_key])
        some = f"SELECT event_key FROM events WHERE {wanted} LIMIT {rows:d}"  # noqa: S608
        keys = connection.exec_driver_sql(some).scalars().all()
        if len(keys) < rows:
            return 0
        connection.execute(delete(events).where(events.c.event_key.in_(keys)))
        return len(keys)

    def _take(self, connection: Connection, some: Sequence[Ended]) -> Counter[str]:
        span, keys = self._span, [each.job_key for each in some]
        folds = Folds()
        if span.is_removal:
            _fold(folds, span.kind, span.status, some)
        if "measures" in self._going:
            _fold_measures(folds, connection, span.kind, keys)
        aggregates.write(connection, folds, self._series)
        found: Counter[str] = Counter()
        for table, condition in self._going.items():
            wanted = filled(condition, keys)
            deleting = f"DELETE FROM {table} WHERE {wanted}"  # noqa: S608 - names and keys
            if count := connection.exec_driver_sql(deleting).rowcount:
                found[table] = count
        return found

    def _move(self, connection: Connection, to: Mark) -> None:
        mark(connection, self._span, to)
        self._span = self._span._replace(after=to)


def _take_turn(connection: Connection) -> None:
    """Keep ingest out until the transaction ends, and have it forget the jobs that it knows.

    One that goes must not be written to any more. Ingest keeps jobs in memory between two batches,
    and reads them again when it sees that somebody else took a turn.
    """
    keys = Keys(connection)
    keys.next("batches")
    keys.write(connection)


# --- what they were ----------------------------------------------------------------------------


def _fold(folds: Folds, kind: Kind, status: str, some: Collection[Ended]) -> None:
    """Keep how long jobs took."""
    whose = {"service": kind.service, "job_name": kind.job_name}
    labels = labels_text(**whose, status=status)
    for job in some:
        if job.duration_s is not None:
            series = Series(kind.project.project_key, "job.duration_s", labels)
            folds.add(series, job.at_us, Aggregate.of(job.duration_s))


_MEASURED = (
    select(
        *(measures.c.name, measures.c.kind, measures.c.unit, measures.c.labels),
        *(measures.c.count, measures.c.total, measures.c.minimum, measures.c.maximum),
        func.coalesce(measures.c.last_at_us, jobs.c.ended_at_us, jobs.c.created_at_us),
    )
    .join(jobs, jobs.c.job_key == measures.c.job_key)
    .where(measures.c.job_key.in_(bindparam("job_keys", expanding=True)))
)


def _fold_measures(folds: Folds, connection: Connection, kind: Kind, keys: Sequence[int]) -> None:
    """Keep what jobs measured."""
    for row in connection.execute(_MEASURED, {"job_keys": keys}).all():
        name, sort, unit, own_labels, count, total, least, most, at_us = row
        labels = labels_text(
            service=kind.service,
            job_name=kind.job_name,
            name=name,
            kind=sort,
            unit=unit,
            labels="" if own_labels == "{}" else own_labels,
        )
        what = Aggregate(count, total or 0.0, least, most)
        folds.add(Series(kind.project.project_key, "measure", labels), at_us, what)
