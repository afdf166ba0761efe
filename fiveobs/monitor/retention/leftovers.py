"""What expires and belongs to no job: figures and events of workers, bad lines, old aggregates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, and_, delete, func, select

from fiveobs.monitor.retention import aggregates as stored
from fiveobs.monitor.retention.folding import INTERVALS_S, Aggregate, Folds, Series, labels_text
from fiveobs.monitor.retention.keeps import Project
from fiveobs.monitor.retention.sweeps import Step
from fiveobs.monitor.store.schema import (
    aggregates,
    events,
    samples,
    series,
    unreadable,
    workers,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

__all__ = ["Leftover", "LeftoverSweep", "is_there", "leftovers", "old_aggregates"]

#: The figures of a heartbeat that are kept, by the name of their metric.
_FIGURES = {
    f"worker.{name}": samples.c[name]
    for name in ("active_jobs", "cpu_percent", "memory_rss_bytes", "memory_used_bytes")
}


class Leftover(NamedTuple):
    """Rows of one table that have expired."""

    project: Project
    part: str
    table: Table
    #: When each happened, in microseconds since 1970.
    at: Any
    wanted: ColumnElement[bool]
    #: Of samples: whose they are.
    labels: str = ""


class LeftoverSweep:
    """Takes them.

    Args:
        what: Which.
    """

    def __init__(self, what: Leftover) -> None:
        self._what = what
        self._series: dict[Series, int] = {}

    def step(self, connection: Connection, rows: int) -> Step:
        """Take the first ones that are left."""
        what, columns = self._what, list(self._what.table.primary_key.columns)
        figures = list(_FIGURES.values()) if what.table is samples else []
        wanted = select(*columns, *figures).where(what.wanted).order_by(what.at).limit(rows)
        found = connection.execute(wanted).all()
        if figures:
            stored.write(connection, self._folds(found), self._series)
        if found:
            # The last column of the key is what tells them apart within what is wanted.
            which = columns[-1].in_([row[len(columns) - 1] for row in found])
            connection.execute(delete(what.table).where(what.wanted, which))
        taken = Counter({what.table.name: len(found)} if found else {})
        return Step(taken, is_done=len(found) < rows)

    def _folds(self, found: Any) -> Folds:
        folds = Folds()
        for _worker_key, at_us, *values in found:
            for metric, value in zip(_FIGURES, values, strict=True):
                if value is not None:
                    series = Series(self._what.project.project_key, metric, self._what.labels)
                    folds.add(series, at_us, Aggregate.of(value))
        return folds


def leftovers(
    connection: Connection, projects: Mapping[int, Project], now_us: int
) -> Iterator[Leftover]:
    """What may have expired, of all projects; aggregates aside."""
    for each in (_samples, _of_workers, _unreadable):
        yield from each(connection, projects, now_us)


def is_there(connection: Connection, what: Leftover) -> bool:
    """Whether there is anything of it."""
    some = select(what.at).where(what.wanted).limit(1)
    return connection.execute(some).first() is not None


def _samples(
    connection: Connection, projects: Mapping[int, Project], now_us: int
) -> Iterator[Leftover]:
    after = samples.c.worker_key
    key = connection.execute(select(func.min(after))).scalar()
    while key is not None:
        columns = (workers.c.project_key, workers.c.service, workers.c.machine_id)
        mine = connection.execute(select(*columns).filter_by(worker_key=key)).one()
        project = projects.get(mine.project_key)
        until_us = project and project.policy.until_us("metrics", now_us)
        if project is not None and until_us is not None:
            wanted = and_(samples.c.worker_key == key, samples.c.at_us < until_us)
            labels = labels_text(service=mine.service, machine=mine.machine_id)
            yield Leftover(project, "metrics", samples, samples.c.at_us, wanted, labels)
        # From one worker to the next that has any: there are many that have none.
        key = connection.execute(select(func.min(after)).where(after > key)).scalar()


def _of_workers(
    _connection: Connection, projects: Mapping[int, Project], now_us: int
) -> Iterator[Leftover]:
    for project in projects.values():
        until_us = project.policy.until_us("events", now_us)
        if until_us is not None:
            wanted = and_(
                events.c.job_key.is_(None),
                events.c.project_key == project.project_key,
                events.c.at_us < until_us,
            )
            yield Leftover(project, "events", events, events.c.at_us, wanted)


def _unreadable(
    _connection: Connection, projects: Mapping[int, Project], now_us: int
) -> Iterator[Leftover]:
    for project in projects.values():
        until_us = project.policy.until_us("error_logs", now_us)
        if until_us is not None:
            mine = select(workers.c.worker_key).filter_by(project_key=project.project_key)
            wanted = and_(unreadable.c.worker_key.in_(mine), unreadable.c.found_at_us < until_us)
            at = unreadable.c.unreadable_key  # in the order in which they were found
            yield Leftover(project, "error_logs", unreadable, at, wanted)


def old_aggregates(
    connection: Connection, projects: Mapping[int, Project], now_us: int
) -> Iterator[Leftover]:
    """Aggregates that may have expired: the last to go, for what goes is added to them."""
    found = connection.execute(select(series.c.series_key, series.c.project_key)).all()
    for key, project_key in found:
        project = projects.get(project_key)
        until_us = project and project.policy.until_us("aggregates", now_us)
        if project is None or until_us is None:
            continue
        for interval_s in INTERVALS_S:
            # An hour or a day has expired when all of it has.
            ended_us = until_us - interval_s * 1_000_000
            wanted = and_(
                aggregates.c.series_key == key,
                aggregates.c.interval_s == interval_s,
                aggregates.c.start_us <= ended_us,
            )
            yield Leftover(project, "aggregates", aggregates, aggregates.c.start_us, wanted)
