"""Rows in every table of a store for several projects, written past ingest: whatever fits in.

Every text ends with the project's mark, but for `SECRET`, which no export may have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import JSON, Boolean, Float, Integer, Table, Text, insert

from fiveobs.monitor.store import schema
from fiveobs.monitor.store.engine import Store

__all__ = ["BEGIN_US", "CHILDREN", "NASTY", "SECRET", "fill", "own_rows"]

SECRET = "nobody-may-see-this"
#: 2026-01-02 03:04:05 UTC, in microseconds since 1970. Of each job the next second is told of.
BEGIN_US = 1_767_323_045_000_000
#: Texts that have broken formats before.
NASTY = (
    *("plain", "", 'say "hi"', "a,b;c\td", "two\r\nlines\n", "\rmac", " padded ", "'quoted'"),
    *(
        "=1+1",
        "+1",
        "-1",
        "@x",
        "'=1",
        "''=1",
        "\t=1",
        "\N{FULLWIDTH EQUALS SIGN}1",
        "ÿ\u2028\ufeff",
    ),
    *("\U0001f600 \u202e", "\x01\x1b[31m", "null", "NaN", "0", "1e400", "<b>&amp;", "\\N", "日本"),
)
#: JSON that is kept as text, with numbers beyond 64 bits.
_JSON = frozenset(
    {
        *("data", "labels", "resource", "details", "planned_stages", "attributes", "result"),
        *("lost_details", "observed", "desired", "histogram"),
    }
)
#: Rows of each job in each table of its parts.
CHILDREN = 2
_STATUSES = ("received", "running", "completed", "failed", "paused", "stopped", "lost")


def fill(store: Store, project_key: int, jobs: int = 7, nasty: Sequence[str] = NASTY) -> None:
    """Make a project with so many jobs, a worker for each, and what belongs to them.

    Args:
        store: Where.
        project_key: Its key; all other keys follow from it.
        jobs: How many.
        nasty: The texts in it.
    """
    made = _Rows(store, project_key, nasty)
    made.add("projects", [{"project_key": project_key, "project_id": f"p{project_key}"}])
    made.add("tokens", [{"token_key": 1_000 + project_key, "token_id": f"t{project_key}"}])
    first = project_key * 1_000_000
    numbers = range(first, first + jobs)
    made.add("kinds", [{"kind_key": key, "job_name": f"k{key}"} for key in numbers])
    made.add("workers", [{"worker_key": key, "stem": f"s{key}"} for key in numbers])
    made.add("jobs", [_job(key, first) for key in numbers])
    parts = [(key, part) for key in numbers for part in range(1, CHILDREN + 1)]
    made.add("attempts", [_attempt(key, part) for key, part in parts])
    for name, column in (
        *(("stages", "stage_index"), ("measures", "name"), ("dependencies", "needs_job_id")),
        *(("conditions", "condition"), ("resources", "resource")),
    ):
        made.add(name, [{"job_key": key, "attempt": 1, column: part} for key, part in parts])
    made.add("samples", [{"worker_key": key, "at_us": BEGIN_US + part} for key, part in parts])
    for name, column in (("events", "event_key"), ("errors", "error_key")):
        keyed = [{column: 10 * key + part, "job_key": key} for key, part in parts]
        alone = [{column: 10 * key + 9, "job_key": None} for key in numbers]
        made.add(name, keyed + alone)
    made.add("unreadable", [{"unreadable_key": first, "worker_key": first}])
    made.add("subscriptions", [{"subscription_key": key, "job_key": None} for key in numbers])
    parts = [(key, 10 * key + part) for key in numbers for part in (1, 2)]
    made.add("deliveries", [{"subscription_key": k, "event_key": e} for k, e in parts])
    made.add("told", [{"subscription_key": key, "job_key": key} for key in numbers])
    made.add("audit", [{"audit_key": key} for key in numbers])
    made.add("rules", [{"rule_key": key} for key in numbers])
    for name, column in (
        *(("firings", "firing_key"), ("expectations", "expectation_key")),
        ("sightings", "event_key"),
    ):
        parts = [(key, 10 * key + part) for key in numbers for part in (1, 2)]
        made.add(name, [{"rule_key": key, column: own, "event_key": own} for key, own in parts])
    made.add("entities", [{"entity_key": key, "change_key": key} for key in numbers])
    made.add("series", [{"series_key": key} for key in numbers])
    hours = [(key, part * 3_600_000_000) for key in numbers for part in (1, 2)]
    made.add("aggregates", [{"series_key": key, "start_us": at_us} for key, at_us in hours])


def _job(key: int, first: int) -> dict[str, Any]:
    at_us = BEGIN_US + (key - first) * 1_000_000
    status = _STATUSES[key % len(_STATUSES)]
    return {"job_key": key, "kind_key": key, "created_at_us": at_us, "status": status}


def _attempt(key: int, part: int) -> dict[str, Any]:
    status = _STATUSES[part % len(_STATUSES)]
    return {"job_key": key, "attempt": part, "worker_key": key, "status": status}


class _Rows:
    """Writes rows: what is not given is made up by the column's type."""

    def __init__(self, store: Store, project_key: int, nasty: Sequence[str]) -> None:
        self._store = store
        self._project_key = project_key
        self._nasty = nasty
        self._number = 0

    def add(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        table = schema.metadata.tables[name]
        whole = [self._row(table, given) for given in rows]
        with self._store.writing() as connection:
            connection.execute(insert(table), whole)
            top = max(next(iter(row.values())) for row in whole)
            raised = schema.sequences.update().where(schema.sequences.c.name == name)
            if name == "events":
                raised = raised.where(schema.sequences.c.value < top)
                connection.execute(raised.values(value=top))

    def _row(self, table: Table, given: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        return {
            column.name: self._value(column, given)
            for column in table.columns
            if column.name in given or column.name != "delivery_key"
        }

    def _value(self, column: Any, given: dict[str, Any]) -> Any:
        if column.name == "project_key":
            return self._project_key
        if column.name in given:
            found = given[column.name]
            is_text = isinstance(column.type, Text) and isinstance(found, int)
            return self._text(found) if is_text else found
        if column.foreign_keys and column.nullable:
            return None
        self._number += 1
        return None if column.nullable and self._number % 5 == 0 else self._made(column)

    def _made(self, column: Any) -> Any:
        number, kind = self._number, column.type
        if column.name in ("secret", "hash", "authentication", "url", "line"):
            return _secret(column.name, number)
        if column.name.endswith("_us"):
            return BEGIN_US + number
        if column.name == "level":
            return 10 * (number % 5 + 1)
        if isinstance(kind, Text) and column.name in _JSON:
            text = orjson.dumps(self._text(number)).decode()
            return f'{{"x":{text},"n":123456789012345678901234567890,"f":1.0}}'
        if isinstance(kind, JSON):
            return {"x": self._text(number)}
        numbers = {Boolean: number % 2 == 0, Float: number + 0.1, Integer: number}
        fitting = (value for made, value in numbers.items() if isinstance(kind, made))
        return next(fitting, self._text(number))

    def _text(self, number: int) -> str:
        return f"{self._nasty[number % len(self._nasty)]}{number}~{self._project_key}"


def _secret(name: str, number: int) -> Any:
    if name == "authentication":
        return {"type": "bearer", "token": SECRET}
    if name == "line":
        return SECRET.encode()
    return f"https://hooks.invalid/{SECRET}" if name == "url" else f"{SECRET}{number}"


def own_rows(store: Store, name: str, project_key: int) -> list[Any]:
    """The rows of one project in a table, as they are, in the order of its key."""
    table = schema.metadata.tables[name]
    wanted = table.select().order_by(*table.primary_key.columns)
    with store.reading() as connection:
        found = connection.execute(wanted).mappings().all()
    if "project_key" in table.c:
        return [row for row in found if row["project_key"] == project_key]
    owner = next(
        each
        for each in ("job_key", "worker_key", "subscription_key", "series_key")
        if each in table.c
    )
    return [row for row in found if row[owner] // 1_000_000 == project_key]
