"""Writes what a batch was folded into: plain SQL, many rows at once, only what has changed.

The statements are made from the tables, for SQLite and PostgreSQL alike. They go past SQLAlchemy's
own execution because that costs more than the rest of taking an event in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import chain, compress
from operator import ne
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from fiveobs.monitor.ingest.lines import Aside
from fiveobs.monitor.ingest.projection import Projection
from fiveobs.monitor.ingest.states import AttemptState, JobState, Row, StageState, WorkerState
from fiveobs.monitor.store import schema

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

__all__ = ["Keys", "dialect", "set_aside", "write"]

#: Values of one ``INSERT`` of many rows; every SQLite takes 999 parameters.
_MOST_VALUES = 900
#: How much of a line that cannot be read is kept.
_KEPT_LINE_BYTES = 64 * 1024


class Keys:
    """Gives out keys; whoever has opened it is the only one who does, until the transaction ends.

    Args:
        connection: A transaction.
    """

    def __init__(self, connection: Connection) -> None:
        statement = select(schema.sequences).order_by(schema.sequences.c.name).with_for_update()
        rows = connection.execute(statement)  # SQLite knows no such lock, and needs none
        #: The last key of each table, and the number of batches that were taken in.
        self.last: dict[str, int] = {str(name): int(value) for name, value in rows}
        self._at_start = dict(self.last)

    def next(self, table: str) -> int:
        """The next key of a table."""
        key = self.last[table] + 1
        self.last[table] = key
        return key

    def write(self, connection: Connection) -> None:
        """Store what was given out."""
        changed = self.last.items() - self._at_start.items()
        statement = "UPDATE sequences SET value = ? WHERE name = ?"
        _many(connection, statement, [(value, name) for name, value in changed])


def write(connection: Connection, projection: Projection, workers: Iterable[WorkerState]) -> None:
    """Write the rows of a batch, those that others refer to first."""
    touched = list(projection.touched.values())
    attempts = [each for job in touched for each in job.attempts.values() if each.is_changed]
    stages = [each for attempt in attempts for each in attempt.stages.values() if each.is_changed]
    _write_states(connection, WorkerState, list(workers))
    _write_states(connection, JobState, touched)
    _write_states(connection, AttemptState, attempts)
    rows = projection.rows
    for table in ("stages", "measures"):
        forget = f"DELETE FROM {table} WHERE job_key = ? AND attempt = ?"  # noqa: S608 - our names
        _many(connection, forget, rows.begun_again)
    _write_states(connection, StageState, stages)
    _add(connection, schema.events, rows.events)
    _add(connection, schema.errors, rows.errors)
    measures = [(*key, *row) for key, row in rows.measures.items()]
    for statement, merged in (
        (_SAMPLES, rows.samples),
        (_MEASURES, measures),
        (_RESOURCES, rows.resources),
        (_DEPENDENCIES, rows.dependencies),
        (_CONDITIONS, rows.conditions),
    ):
        _many(connection, statement, merged)


def set_aside(
    connection: Connection,
    keys: Keys,
    asides: Iterable[Aside],
    workers: Mapping[str, WorkerState],
    at: int,
) -> None:
    """Keep what cannot be read."""
    rows = [
        (
            keys.next("unreadable"),
            workers[aside.stem].worker_key,
            *aside.place,
            at,
            aside.reason,
            aside.raw[:_KEPT_LINE_BYTES],
        )
        for aside in asides
    ]
    _many(connection, _insert(schema.unreadable), rows)


def _write_states(connection: Connection, kind: type[Row], rows: list[Any]) -> None:
    """Add what is new; of the rest write the columns that are not as they are stored."""
    added: list[tuple[Any, ...]] = []
    changed: dict[tuple[bool, ...], list[tuple[Any, ...]]] = {}
    values_of = kind.values
    for row in rows:
        values = values_of(row)
        if row.stored is None:
            added.append(values)
        elif values != row.stored:
            which = tuple(map(ne, values, row.stored))
            key = values[: kind.key_length]
            changed.setdefault(which, []).append((*compress(values, which), *key))
        row.stored = values
        row.is_changed = False
    _add(connection, kind.table, added)
    for which, values_by_row in changed.items():
        _many(connection, _update(kind.table, which), values_by_row)


def _add(connection: Connection, table: Table, rows: list[tuple[Any, ...]]) -> None:
    if connection.dialect.name != "sqlite" and len(rows) > 1:
        _copy(connection, table, rows)
        return
    # Several rows in each statement: a third less work for SQLite and for its driver.
    size = max(1, _MOST_VALUES // len(table.columns))
    whole = len(rows) - len(rows) % size
    many = [tuple(chain.from_iterable(rows[at : at + size])) for at in range(0, whole, size)]
    _many(connection, _insert(table, size), many)
    _many(connection, _insert(table), rows[whole:])


def _copy(connection: Connection, table: Table, rows: list[tuple[Any, ...]]) -> None:
    names = ", ".join(column.name for column in table.columns)
    cursor = connection.connection.cursor()
    try:
        with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    finally:
        cursor.close()


def _many(connection: Connection, statement: str, rows: list[tuple[Any, ...]]) -> None:
    """Run a statement, written with ``?``, for each row."""
    if rows:
        connection.exec_driver_sql(dialect(statement, connection.dialect.name), rows)


@cache
def dialect(statement: str, name: str) -> str:
    """A statement written with ``?``, as the driver wants it."""
    return statement if name == "sqlite" else statement.replace("?", "%s")


@cache
def _insert(table: Table, count: int = 1) -> str:
    names = ", ".join(column.name for column in table.columns)
    marks = f"({', '.join('?' for _ in table.columns)})"
    rows = ", ".join([marks] * count)
    return f"INSERT INTO {table.name} ({names}) VALUES {rows}"  # noqa: S608 - from the tables


@cache
def _update(table: Table, which: tuple[bool, ...]) -> str:
    """The statement that sets some columns of a row."""
    settings = ", ".join(f"{column.name} = ?" for column in compress(table.columns, which))
    condition = " AND ".join(f"{column.name} = ?" for column in table.primary_key.columns)
    return f"UPDATE {table.name} SET {settings} WHERE {condition}"  # noqa: S608 - from the tables


_SAMPLES = """
INSERT INTO samples (worker_key, at_us, active_jobs, cpu_s, cpu_percent, memory_rss_bytes,
                     memory_used_bytes, memory_limit_bytes, io_operations,
                     network_receive_bytes, network_transmit_bytes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (worker_key, at_us) DO NOTHING
"""
_MEASURES = """
INSERT INTO measures (job_key, attempt, name, labels, kind, unit, count, total, minimum, maximum,
                      last, last_at_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (job_key, attempt, name, labels) DO UPDATE SET
  count = measures.count + excluded.count,
  total = measures.total + excluded.total,
  minimum = CASE WHEN excluded.minimum < measures.minimum THEN excluded.minimum
                 ELSE measures.minimum END,
  maximum = CASE WHEN excluded.maximum > measures.maximum THEN excluded.maximum
                 ELSE measures.maximum END,
  last = CASE WHEN excluded.last_at_us >= measures.last_at_us THEN excluded.last
              ELSE measures.last END,
  last_at_us = CASE WHEN excluded.last_at_us >= measures.last_at_us THEN excluded.last_at_us
                    ELSE measures.last_at_us END
"""
_RESOURCES = """
INSERT INTO resources (job_key, resource, amount, unit, allocated_at_us, released_at_us, details,
                       said_at_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (job_key, resource) DO UPDATE SET
  amount = CASE WHEN excluded.said_at_us >= resources.said_at_us
                THEN COALESCE(excluded.amount, resources.amount)
                ELSE COALESCE(resources.amount, excluded.amount) END,
  unit = CASE WHEN excluded.said_at_us >= resources.said_at_us
              THEN COALESCE(excluded.unit, resources.unit)
              ELSE COALESCE(resources.unit, excluded.unit) END,
  allocated_at_us = CASE WHEN excluded.said_at_us >= resources.said_at_us
                         THEN COALESCE(excluded.allocated_at_us, resources.allocated_at_us)
                         ELSE COALESCE(resources.allocated_at_us, excluded.allocated_at_us) END,
  released_at_us = CASE WHEN excluded.said_at_us >= resources.said_at_us
                        THEN COALESCE(excluded.released_at_us, resources.released_at_us)
                        ELSE COALESCE(resources.released_at_us, excluded.released_at_us) END,
  details = CASE WHEN excluded.said_at_us >= resources.said_at_us
                 THEN excluded.details ELSE resources.details END,
  said_at_us = CASE WHEN excluded.said_at_us >= resources.said_at_us
                    THEN excluded.said_at_us ELSE resources.said_at_us END
"""
_DEPENDENCIES = """
INSERT INTO dependencies (job_key, needs_job_id, project_key, reason, declared_at_us)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (job_key, needs_job_id) DO UPDATE SET
  reason = CASE WHEN excluded.declared_at_us >= dependencies.declared_at_us
                THEN COALESCE(excluded.reason, dependencies.reason)
                ELSE COALESCE(dependencies.reason, excluded.reason) END,
  declared_at_us = CASE WHEN excluded.declared_at_us < dependencies.declared_at_us
                        THEN excluded.declared_at_us ELSE dependencies.declared_at_us END
"""
_CONDITIONS = """
INSERT INTO conditions (job_key, condition, state, changed_at_us, resolution)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (job_key, condition) DO UPDATE SET
  state = CASE WHEN excluded.changed_at_us >= conditions.changed_at_us THEN excluded.state
               ELSE conditions.state END,
  resolution = CASE WHEN excluded.changed_at_us >= conditions.changed_at_us
                    THEN excluded.resolution ELSE conditions.resolution END,
  changed_at_us = CASE WHEN excluded.changed_at_us >= conditions.changed_at_us
                       THEN excluded.changed_at_us ELSE conditions.changed_at_us END
"""
