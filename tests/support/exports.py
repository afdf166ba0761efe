"""Reads exports back, by the rules in docs/reference/export.md and by nothing of ours."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet

from fiveobs.monitor.exporting.columns import Column

__all__ = ["READERS", "read_csv", "read_jsonl", "read_parquet"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def unguarded(text: str) -> str:
    """A text of a CSV file as it was, by the rule in docs/reference/export.md."""
    return text[1:] if re.match("'+[=+\\-@\t\r\n＝＋－＠]", text) else text  # noqa: RUF001


def from_csv(text: str, column: Column, *, is_quoted: bool) -> Any:
    if text == "" and not is_quoted:
        return None
    made = {
        "text": unguarded,
        "json": lambda text: text,
        "integer": int,
        "number": float,
        "boolean": lambda text: {"true": True, "false": False}[text],
        "time": to_us,
    }
    return made[column.kind](text)


def to_us(text: str) -> int:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def cells(text: str) -> Iterator[list[tuple[str, bool]]]:
    """The cells of RFC 4180's grammar, and whether each stood in quotes."""
    cell = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)')
    row, at = [], 0
    while at < len(text):
        found = cell.match(text, at)
        assert found, text[at : at + 80]
        quoted, plain, end = found.groups()
        row.append((plain, False) if quoted is None else (quoted.replace('""', '"'), True))
        at = found.end()
        if end == "\r\n":
            yield row
            row = []
    assert row == []


def read_csv(data: bytes, columns: Sequence[Column]) -> list[tuple[Any, ...]]:
    text = data.decode()
    names, *found = cells(text)
    assert [name for name, _ in names] == [each.name for each in columns]
    # Any reader of CSV sees the same cells.
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == [
        [cell for cell, _ in row] for row in (names, *found)
    ]
    return [
        tuple(
            from_csv(cell, column, is_quoted=is_quoted)
            for (cell, is_quoted), column in zip(row, columns, strict=True)
        )
        for row in found
    ]


def read_jsonl(data: bytes, columns: Sequence[Column]) -> list[tuple[Any, ...]]:
    found = [json.loads(line) for line in data.split(b"\n")[:-1]]
    assert all(list(row) == [each.name for each in columns] for row in found)
    times = {each.name for each in columns if each.kind == "time"}
    return [
        tuple(to_us(v) if name in times and v is not None else v for name, v in row.items())
        for row in found
    ]


def read_parquet(data: bytes, columns: Sequence[Column]) -> list[tuple[Any, ...]]:
    found = pyarrow.parquet.read_table(io.BytesIO(data))
    assert found.column_names == [each.name for each in columns]
    columns = [
        found[each.name].cast("int64") if each.kind == "time" else found[each.name]
        for each in columns
    ]
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


READERS = {"csv": read_csv, "jsonl": read_jsonl, "parquet": read_parquet}
