"""What a column of an export is, and columns made from those of the store's tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import orjson
from sqlalchemy import Table, select

__all__ = ["Column", "Columns", "Kind", "Row", "as_rows", "named_by"]

#: What a value is: ``time`` is microseconds since 1970 as an integer, ``json`` is JSON as text.
Kind: TypeAlias = Literal["text", "integer", "number", "time", "boolean", "json"]
#: The values of the columns, in their order; ``None`` is what is not known.
Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """A column of an export.

    Args:
        name: What it is called, the unit included.
        kind: What its values are.
        doc: What it means, as a phrase; Markdown.
        expression: What the store is asked for; ``None`` for what is worked out.
        shown: Makes what is exported of what the store has, unless that is ``None``.
    """

    name: str
    kind: Kind
    doc: str
    expression: Any = None
    shown: Callable[[Any], Any] | None = None


class Columns:
    """Makes columns of those of one table of the store: by name, or from an expression.

    Args:
        source: The table.
    """

    def __init__(self, source: Table) -> None:
        self._source = source

    def text(
        self,
        name: str,
        doc: str,
        expression: Any = None,
        shown: Callable[[Any], Any] | None = None,
    ) -> Column:
        """A text."""
        return self._column("text", name, doc, expression, shown)

    def integer(self, name: str, doc: str, expression: Any = None) -> Column:
        """A whole number."""
        return self._column("integer", name, doc, expression)

    def number(self, name: str, doc: str, expression: Any = None) -> Column:
        """A number with a fraction."""
        return self._column("number", name, doc, expression)

    def boolean(self, name: str, doc: str) -> Column:
        """Yes or no."""
        return self._column("boolean", name, doc, None)

    def json(self, name: str, doc: str, *, is_text: bool = True) -> Column:
        """JSON; of a column whose type is JSON, which is no text any more when it has been read."""
        return self._column("json", name, doc, None, None if is_text else _to_json)

    def time(self, name: str, doc: str) -> Column:
        """A moment, from the table's column of this name with ``_us`` behind it."""
        return self._column("time", name, doc, self._source.c[f"{name}_us"])

    def word(self, name: str, doc: str, words: Mapping[Any, str]) -> Column:
        """One of a few words; what has none is shown as it is."""
        return self._column("text", name, doc, None, lambda value: words.get(value, str(value)))

    def _column(
        self,
        kind: Kind,
        name: str,
        doc: str,
        expression: Any,
        shown: Callable[[Any], Any] | None = None,
    ) -> Column:
        found = self._source.c[name] if expression is None else expression
        return Column(name=name, kind=kind, doc=doc, expression=found, shown=shown)


def named_by(key: Any, table: Table, wanted: Any) -> Any:
    """What the row that a key leads to has: one look at its primary key for each row.

    Not a join: whichever table a database would begin with then, rows must come in our order.
    """
    (primary,) = table.primary_key.columns
    return select(wanted).where(primary == key).correlate(key.table).scalar_subquery()


def as_rows(columns: Sequence[Column], found: Sequence[Any]) -> list[Row]:
    """What the store has found, as it is exported: the values of the columns come first."""
    count = len(columns)
    changed = [(at, each.shown) for at, each in enumerate(columns) if each.shown is not None]
    if not changed:
        return [tuple(row[:count]) for row in found]
    rows = []
    for row in found:
        values = list(row[:count])
        for at, shown in changed:
            if values[at] is not None:
                values[at] = shown(values[at])
        rows.append(tuple(values))
    return rows


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()
