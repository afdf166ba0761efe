"""How SQLite goes about what is asked of a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from fiveobs.monitor.store.engine import Store

__all__ = ["plans"]


@contextmanager
def plans(store: Store) -> Iterator[list[str]]:
    """The steps in which SQLite reads what is asked of it."""
    found: list[str] = []

    def explain(_c: Any, cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            found.extend(row[3] for row in plan)

    event.listen(store.engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(store.engine, "before_cursor_execute", explain)
