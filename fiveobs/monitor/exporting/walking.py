"""Reads the rows of an export: in the order of keys that do not change, a few at a time.

Each read is short and sees one moment of the store; the next one goes on after the last row. So a
long export keeps no transaction open, and holds up neither ingest nor SQLite's write-ahead log.
What it costs grows with what is exported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from sqlalchemy import ColumnElement, select, tuple_

from fiveobs.monitor.exporting.columns import Column, Row, as_rows
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.executions import Executions, executions_of
from fiveobs.monitor.store.rows import JobRow

__all__ = [
    "JOB",
    "KIND",
    "MOST_ROWS",
    "PERIOD",
    "STATUS",
    "ByKey",
    "ByParent",
    "Conditions",
    "Parents",
    "Walk",
    "Wanted",
    "jobs_of",
    "keys_of",
]

#: Rows that are read at once, and so the most that an export holds.
MOST_ROWS = 1_000
#: What rows can be chosen by.
PERIOD, KIND, STATUS, JOB = "period", "kind", "status", "job"
#: Microseconds since 1970: before and after everything.
_FIRST_US, _LAST_US = -(2**62), 2**62


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which rows of a project; a table says what it can choose by."""

    project_key: int
    #: Of jobs of these kinds; ``None`` means any.
    kind_keys: Collection[int] | None = None
    #: Of jobs in this status, in the store's words.
    status: str | None = None
    #: Of this job alone.
    job: JobRow | None = None
    #: Microseconds since 1970: from then on, and before.
    from_us: int | None = None
    to_us: int | None = None

    @property
    def jobs(self) -> Executions:
        """The jobs that are meant, the oldest first."""
        return Executions(
            project_key=self.project_key,
            kind_keys=self.kind_keys,
            status=self.status,
            from_us=self.from_us,
            to_us=None if self.to_us is None else self.to_us - 1,
            is_descending=False,
        )

    @property
    def period(self) -> tuple[int, int]:
        """From when on, and before when."""
        from_us = _FIRST_US if self.from_us is None else self.from_us
        return from_us, _LAST_US if self.to_us is None else self.to_us


#: The conditions that the rows of a table must meet.
Conditions: TypeAlias = Callable[[Wanted], Sequence[ColumnElement[bool]]]


class Walk(Protocol):
    """A way to read a table."""

    @property
    def filters(self) -> Collection[str]:
        """What its rows can be chosen by."""
        ...

    def chunks(
        self, store: Store, columns: Sequence[Column], wanted: Wanted
    ) -> Iterator[list[Row]]:
        """The rows, at most `MOST_ROWS` at a time."""
        ...


#: Gives the keys that other rows belong to, some at a time, in the order of the export.
Parents: TypeAlias = Callable[[Store, Wanted], Iterator[list[int]]]


class ByKey:
    """Rows in the order of a key of their own.

    Args:
        order: The columns of the key.
        where: The conditions that rows must meet.
        filters: What can be chosen by.
    """

    def __init__(
        self,
        *order: Any,
        where: Conditions,
        filters: Collection[str] = (),
    ) -> None:
        self._order = order
        self._where = where
        self.filters = filters

    def chunks(
        self, store: Store, columns: Sequence[Column], wanted: Wanted
    ) -> Iterator[list[Row]]:
        """The rows, at most `MOST_ROWS` at a time."""
        for found in self.read(store, [each.expression for each in columns], wanted):
            yield as_rows(columns, found)

    def read(
        self, store: Store, expressions: Sequence[Any], wanted: Wanted
    ) -> Iterator[Sequence[Any]]:
        """What some expressions are, and the key behind them."""
        statement = select(*_named(expressions), *self._order).where(*self._where(wanted))
        statement = statement.order_by(*self._order).limit(MOST_ROWS)
        after: Any = None
        while True:
            following = (
                statement if after is None else statement.where(_is_after(self._order, after))
            )
            with store.reading() as connection:
                found = connection.execute(following).all()
            if found:
                yield found
            if len(found) < MOST_ROWS:
                return
            after = found[-1][len(expressions) :]


class ByParent:
    """Rows that belong to others: those of one after those of the one before.

    Args:
        parents: Whose.
        link: The column that has the parent's key.
        order: The columns by which the rows of one parent are sorted, unique among them.
        where: A further condition on rows.
        filters: What can be chosen by.
    """

    def __init__(
        self,
        parents: Parents,
        link: Any,
        *order: Any,
        where: Conditions = lambda wanted: (),
        filters: Collection[str] = (),
    ) -> None:
        self._parents = parents
        self._link = link
        self._order = order
        self._where = where
        self.filters = filters

    def chunks(
        self, store: Store, columns: Sequence[Column], wanted: Wanted
    ) -> Iterator[list[Row]]:
        """The rows, at most `MOST_ROWS` at a time."""
        statement = select(*_named([each.expression for each in columns]), *self._order, self._link)
        statement = statement.where(*self._where(wanted)).order_by(self._link, *self._order)
        reading = _Reading(store, statement, self._link, self._order)
        for keys in self._parents(store, wanted):
            for found in reading.of(keys):
                yield as_rows(columns, found)


class _Reading:
    """Reads the rows of many parents at once, as long as they are few."""

    def __init__(self, store: Store, statement: Any, link: Any, order: Sequence[Any]) -> None:
        self._store = store
        self._statement = statement
        self._link = link
        self._order = order
        #: How many parents are tried next.
        self._count = MOST_ROWS

    def of(self, keys: Sequence[int]) -> Iterator[list[Any]]:
        at = 0
        while at < len(keys):
            some = keys[at : at + self._count]
            found = self._read(some, None)
            if len(found) > MOST_ROWS and len(some) > 1:
                self._count = len(some) // 2
                continue
            at += len(some)
            if len(found) > MOST_ROWS:
                yield from self._pages(some[0], found)
                continue
            self._count = min(2 * self._count, MOST_ROWS)
            places = {key: place for place, key in enumerate(some)}
            found.sort(key=lambda row: places[row[-1]])
            if found:
                yield found

    def _pages(self, key: int, found: list[Any]) -> Iterator[list[Any]]:
        """The rows of one parent that has many."""
        while len(found) > MOST_ROWS:
            yield found[:MOST_ROWS]
            after = found[MOST_ROWS - 1][-1 - len(self._order) : -1]
            found = self._read([key], after)
        if found:
            yield found

    def _read(self, keys: Sequence[int], after: Any) -> list[Any]:
        wanted = self._statement.where(self._link.in_(keys)).limit(MOST_ROWS + 1)
        if after is not None:
            wanted = wanted.where(_is_after(self._order, after))
        with self._store.reading() as connection:
            return list(connection.execute(wanted))


def jobs_of(store: Store, wanted: Wanted) -> Iterator[list[int]]:
    """The keys of the jobs that are wanted, in the order in which they were first heard of."""
    listed = wanted.jobs
    if wanted.job is not None:
        if listed.take(wanted.job):
            yield [wanted.job.job_key]
        return
    after = None
    while True:
        with store.reading() as connection:
            found = executions_of(connection, listed, after, MOST_ROWS)
        if found:
            yield [row.job_key for row in found]
        if len(found) < MOST_ROWS:
            return
        after = listed.mark_of(found[-1])


def keys_of(walk: ByKey) -> Parents:
    """The keys of the rows of another table."""

    def keys(store: Store, wanted: Wanted) -> Iterator[list[int]]:
        for found in walk.read(store, (), wanted):
            yield [row[0] for row in found]

    return keys


def _named(expressions: Sequence[Any]) -> list[Any]:
    """Under names of their own: some are of the same table's column of that name."""
    return [each.label(f"value_{number}") for number, each in enumerate(expressions)]


def _is_after(order: Sequence[Any], place: Any) -> Any:
    return order[0] > place[0] if len(order) == 1 else tuple_(*order) > tuple(place)
