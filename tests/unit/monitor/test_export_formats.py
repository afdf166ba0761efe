"""The formats of exports: whatever is in a row comes back, and nothing becomes a formula."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fiveobs.monitor.exporting import formats
from fiveobs.monitor.exporting.columns import Column
from fiveobs.monitor.exporting.formats import FORMATS, Csv, pieces
from tests.support.exports import READERS

COLUMNS = [
    Column(name=f"a_{kind}", kind=kind, doc="")
    for kind in ("text", "integer", "number", "boolean", "time", "json")
]
#: Years 1 to 9999.
TIMES_US = st.integers(-62_135_596_800_000_000, 253_402_300_799_000_000)
JSON = st.recursive(
    st.none() | st.integers() | st.text() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ROW = st.tuples(
    st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(),
    st.none() | st.booleans(),
    st.none() | TIMES_US,
    st.none() | JSON.map(lambda value: json.dumps(value, ensure_ascii=False)),
)
ROWS = st.lists(st.lists(ROW, min_size=1, max_size=4), max_size=4)


def made(file_format: str, chunks: Any) -> bytes:
    return b"".join(pieces(FORMATS[file_format](COLUMNS), chunks))


def expected(file_format: str, row: tuple[Any, ...]) -> tuple[Any, ...]:
    text, integer, number, boolean, time, as_json = row
    if number is not None and not math.isfinite(number):
        number = repr(number) if file_format == "parquet" else None
    if file_format == "jsonl" and as_json is not None:
        as_json = json.loads(as_json)
    return text, integer, number, boolean, time, as_json


def comparable(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """With numbers that are not finite as text: NaN is not itself."""
    is_odd = isinstance(row[2], float) and not math.isfinite(row[2])
    return (*row[:2], repr(row[2]) if is_odd else row[2], *row[3:])


@pytest.mark.parametrize("file_format", FORMATS)
@settings(deadline=None)  # the first use of pyarrow takes a while
@given(chunks=ROWS)
@example(chunks=[])
@example(
    chunks=[
        [("", 2**63 - 1, -0.0, False, 0, "-1")],
        [(None,) * 6],
        [("''=", 0, 5e-324, True, -1, '""')],
    ]
)
def test_rows_read_back(file_format: str, chunks: list[list[tuple[Any, ...]]]) -> None:
    """Texts with any character, the largest numbers, any time, JSON; nothing and empty differ."""
    found = READERS[file_format](made(file_format, chunks), COLUMNS)
    rows = [row for chunk in chunks for row in chunk]
    assert list(map(comparable, found)) == [expected(file_format, row) for row in rows]


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@example(text="=1+1")
@example(text="'=1+1")
@example(text="@SUM(A1)")
@example(text="\r=1")
def test_no_text_of_a_csv_file_begins_like_a_formula(text: str) -> None:
    """What a spreadsheet sees in the cell begins with none of the characters that it runs."""
    columns = COLUMNS[:1]
    data = b"".join(pieces(Csv(columns), [[(text,)]])).decode()
    _, (cell,) = csv.reader(io.StringIO(data, newline=""), strict=True)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))  # noqa: RUF001
    raw = b"".join(pieces(Csv(columns, is_guarded=False), [[(text,)]])).decode()
    _, (cell,) = csv.reader(io.StringIO(raw, newline=""), strict=True)
    assert cell == text


def test_numbers_are_no_formulas() -> None:
    """A number below zero stays a number."""
    row = (None, -5, -0.5, None, None, None)
    assert made("csv", [[row]]).splitlines()[1] == b",-5,-0.5,,,"


def test_a_parquet_file_is_written_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each goes out as soon as it has rows enough, or bytes; the last one is what is left."""
    monkeypatch.setattr(formats, "_GROUP_ROWS", 10)
    row = ("x" * 100, 1, 1.0, True, 0, "{}")
    parts = list(pieces(FORMATS["parquet"](COLUMNS), [[row] * 5] * 5))
    assert len(parts) == 4  # the mark of such files, two groups, and the last one with the index
    found = pyarrow.parquet.ParquetFile(io.BytesIO(b"".join(parts))).metadata
    groups = [found.row_group(number).num_rows for number in range(found.num_row_groups)]
    assert groups == [10, 10, 5]
    monkeypatch.setattr(formats, "_GROUP_BYTES", 1)
    parts = list(pieces(FORMATS["parquet"](COLUMNS), [[row] * 5] * 5))
    assert len(parts) == 5 + 1


def test_a_parquet_file_that_is_not_whole_cannot_be_read() -> None:
    """Its index comes last."""
    parts = list(pieces(FORMATS["parquet"](COLUMNS), [[("x", 1, 1.0, True, 0, "{}")]] * 2))
    with pytest.raises(pyarrow.ArrowInvalid):
        pyarrow.parquet.read_table(io.BytesIO(b"".join(parts[:-1])))


@pytest.mark.parametrize("file_format", FORMATS)
def test_what_is_made_goes_out_piece_by_piece(file_format: str) -> None:
    """The next rows are asked for only when the piece before them has been taken."""
    asked: list[int] = []

    def chunks() -> Any:
        for number in range(3):
            asked.append(number)
            yield [("x", number, 1.0, True, 0, "{}")]

    parts = pieces(FORMATS[file_format](COLUMNS), chunks())
    assert asked == []
    next(parts)
    assert len(asked) <= 1
    assert len(list(parts)) >= 1
    assert asked == [0, 1, 2]
