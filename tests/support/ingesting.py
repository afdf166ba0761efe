"""Takes journals into a store and looks at what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import select

from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.store import schema
from fiveobs.monitor.store.engine import Store

__all__ = ["Taking", "rows"]


class Taking:
    """An ingester, and what it reported.

    Args:
        store: Where to.
        home: The ``FIVEOBS_HOME`` whose journals are taken in.
    """

    def __init__(self, store: Store, home: Path) -> None:
        self.reports: list[tuple[str, str]] = []
        self.ingester = Ingester(
            store, home / "journal", report=lambda cause, text: self.reports.append((cause, text))
        )

    def all(self) -> int:
        """Take in what there is; how many lines that was."""
        total = 0
        while count := self.ingester.step():
            total += count
        return total


def rows(store: Store, table: str, *columns: str) -> list[Any]:
    """The rows of a table in the order of its key: values of one column, or tuples."""
    found = schema.metadata.tables[table]
    wanted = [found.c[name] for name in columns] or list(found.c)
    with store.reading() as connection:
        got = connection.execute(select(*wanted).order_by(*found.primary_key.columns)).all()
    return [row[0] if len(columns) == 1 else tuple(row) for row in got]
