"""What a table of an export is: of the store, or of what was worked out from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from fiveobs.monitor.exporting.columns import Column, Row
from fiveobs.monitor.exporting.walking import MOST_ROWS, Walk, Wanted
from fiveobs.monitor.store.engine import Store

__all__ = ["Table", "Worked"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A table as it is exported.

    Args:
        name: What it is called.
        doc: What a row is, as a sentence; Markdown.
        columns: Its columns.
        walk: How its rows are read.
        period: Which time the period is about, as a phrase; empty where it has none.
        role: The least role that may read it.
    """

    name: str
    doc: str
    columns: tuple[Column, ...]
    walk: Walk
    period: str = ""
    role: str = "viewer"

    @property
    def filters(self) -> Collection[str]:
        """What its rows can be chosen by."""
        return self.walk.filters

    def chunks(self, store: Store, wanted: Wanted) -> Iterator[list[Row]]:
        """The rows, at most `MOST_ROWS` at a time."""
        return self.walk.chunks(store, self.columns, wanted)


class Worked:
    """A walk over rows that are worked out, by an analysis for example.

    Args:
        rows: Works them out, some at a time.
        filters: What can be chosen by.
    """

    def __init__(
        self, rows: Callable[[Store, Wanted], Iterable[Sequence[Row]]], filters: Collection[str]
    ) -> None:
        self._rows = rows
        self.filters = filters

    def chunks(
        self, store: Store, columns: Sequence[Column], wanted: Wanted
    ) -> Iterator[list[Row]]:
        """The rows, at most `MOST_ROWS` at a time."""
        for some in self._rows(store, wanted):
            for first in range(0, len(some), MOST_ROWS):
                yield list(some[first : first + MOST_ROWS])
