"""Makes bytes of rows: CSV, JSON Lines and Parquet, as a stream of pieces.

An encoder is made for one export, gives what comes first, then a piece for each chunk of rows, then
what comes last. It holds one chunk; that of Parquet one row group, which has a bounded size.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import orjson

from fiveobs.monitor.exporting.columns import Column, Kind, Row
from fiveobs.monitor.tracking.human import exact_time

__all__ = ["FORMATS", "MEDIA_TYPES", "Csv", "Encoder", "JsonLines", "Parquet", "pieces"]

#: What a spreadsheet takes for a formula, and our own mark, so that it can be taken off again.
#: Source: https://owasp.org/www-community/attacks/CSV_Injection.
_FORMULA = re.compile(
    "'*[=+\\-@\\t\\r\\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}"
    "\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}]"
)
#: What has to stand in quotes (RFC 4180); an empty text as well, because nothing is not known.
_QUOTED = re.compile('[",\r\n]|^$|^[ \t]|[ \t]$')
#: A row group is written when it has so many rows, or takes so many bytes.
_GROUP_ROWS, _GROUP_BYTES = 20_000, 8 * 1024 * 1024


class Encoder(Protocol):
    """Makes the pieces of one export."""

    def begin(self) -> bytes:
        """What comes first."""
        ...

    def rows(self, rows: Sequence[Row]) -> bytes:
        """The next rows; may be kept for a while."""
        ...

    def end(self) -> bytes:
        """What comes last."""
        ...


def pieces(encoder: Encoder, chunks: Iterable[Sequence[Row]]) -> Iterator[bytes]:
    """The bytes of an export, as they are made; none is empty.

    The first one comes when there are rows, or it is known that there are none.
    """
    before = encoder.begin()
    for rows in chunks:
        piece = before + encoder.rows(rows)
        before = b""
        if piece:
            yield piece
    if last := before + encoder.end():
        yield last


# --- CSV ---------------------------------------------------------------------------------------


class Csv:
    """CSV as in RFC 4180, in UTF-8, with a line of names.

    What is not known is nothing at all, an empty text ``""``.

    Args:
        columns: The columns.
        is_guarded: Put a ``'`` before texts that a spreadsheet would take for a formula.
    """

    def __init__(self, columns: Sequence[Column], *, is_guarded: bool = True) -> None:
        self._names = [each.name for each in columns]
        self._cells = [_cells(each.kind, is_guarded=is_guarded) for each in columns]

    def begin(self) -> bytes:
        """The line of names."""
        return _line(self._names)

    def rows(self, rows: Sequence[Row]) -> bytes:
        """A line for each row."""
        return b"".join(self._row(row) for row in rows)

    def _row(self, row: Row) -> bytes:
        both = zip(self._cells, row, strict=True)
        return _line("" if value is None else cell(value) for cell, value in both)

    def end(self) -> bytes:
        """Nothing."""
        return b""


def _line(cells: Iterable[str]) -> bytes:
    return (",".join(cells) + "\r\n").encode()


def _cells(kind: Kind, *, is_guarded: bool) -> Callable[[Any], str]:
    if kind == "text":
        return _guarded if is_guarded else _quoted
    writers: dict[Kind, Callable[[Any], str]] = {
        "integer": str,
        "number": _number,
        "boolean": lambda value: str(value).lower(),
        "time": exact_time,
        "json": _quoted,  # begins with what no spreadsheet minds
    }
    return writers[kind]


def _guarded(text: str) -> str:
    return _quoted(f"'{text}" if _FORMULA.match(text) else text)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""


# --- JSON Lines --------------------------------------------------------------------------------


class JsonLines:
    """A JSON object on each line, with every column; what is not known is null.

    Args:
        columns: The columns.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [each.name for each in columns]
        changed: dict[str, Callable[[Any], Any]] = {"time": exact_time, "json": orjson.Fragment}
        self._changed = [
            (at, changed[each.kind]) for at, each in enumerate(columns) if each.kind in changed
        ]

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def rows(self, rows: Sequence[Row]) -> bytes:
        """A line for each row."""
        option = orjson.OPT_APPEND_NEWLINE
        return b"".join(orjson.dumps(self._object(row), option=option) for row in rows)

    def _object(self, row: Row) -> dict[str, Any]:
        values = list(row)
        for at, change in self._changed:
            if values[at] is not None:
                values[at] = change(values[at])
        return dict(zip(self._names, values, strict=True))

    def end(self) -> bytes:
        """Nothing."""
        return b""


# --- Parquet -----------------------------------------------------------------------------------


class Parquet:
    """Apache Parquet in row groups; JSON is text in it. Its index comes last.

    Args:
        columns: The columns.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        types = {
            "text": pa.string(),
            "json": pa.string(),
            "integer": pa.int64(),
            "number": pa.float64(),
            "boolean": pa.bool_(),
            "time": pa.timestamp("us", tz="UTC"),
        }
        self._pa = pa
        self._schema = pa.schema([(each.name, types[each.kind]) for each in columns])
        self._sink = _Sink()
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="zstd")
        #: The row group that is being gathered.
        self._batches: list[Any] = []

    def begin(self) -> bytes:
        """What every such file begins with."""
        return self._sink.take()

    def rows(self, rows: Sequence[Row]) -> bytes:
        """A row group, once there are rows enough."""
        values = zip(*rows, strict=True)
        arrays = [
            self._pa.array(column, type=field.type)
            for column, field in zip(values, self._schema, strict=True)
        ]
        self._batches.append(self._pa.record_batch(arrays, schema=self._schema))
        size_bytes = sum(each.nbytes for each in self._batches)
        count = sum(each.num_rows for each in self._batches)
        if count >= _GROUP_ROWS or size_bytes >= _GROUP_BYTES:
            self._write_group()
        return self._sink.take()

    def end(self) -> bytes:
        """The last row group, and the index."""
        if self._batches:
            self._write_group()
        self._writer.close()
        return self._sink.take()

    def _write_group(self) -> None:
        table = self._pa.Table.from_batches(self._batches)
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._batches.clear()


class _Sink(io.RawIOBase):
    """What is written to it waits to be taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def take(self) -> bytes:
        """All since the last time."""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


FORMATS: Mapping[str, Callable[[Sequence[Column]], Encoder]] = {
    "csv": Csv,
    "jsonl": JsonLines,
    "parquet": Parquet,
}
MEDIA_TYPES: Mapping[str, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
