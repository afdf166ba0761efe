"""The memory that an export takes: it is that of what is on its way, however long the table is."""

from __future__ import annotations

import tracemalloc

import pyarrow as pa
import pytest
from sqlalchemy import insert

from fiveobs.monitor.exporting import formats
from fiveobs.monitor.exporting.formats import FORMATS
from fiveobs.monitor.exporting.table import Table
from fiveobs.monitor.exporting.tables import TABLES
from fiveobs.monitor.exporting.walking import MOST_ROWS, Wanted
from fiveobs.monitor.store import schema
from fiveobs.monitor.store.engine import Store
from tests.support.filled_store import fill, own_rows

MINE = 1


@pytest.mark.parametrize("file_format", FORMATS)
def test_memory_does_not_grow_with_the_rows(
    sqlite_store: Store, file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve times the rows take what a few chunks take; of Parquet, a few row groups."""
    monkeypatch.setattr(formats, "_GROUP_ROWS", 2 * MOST_ROWS)
    table = TABLES["events"]
    fill(sqlite_store, MINE, 1, ["x" * 100])
    peaks = []
    for count in (4 * MOST_ROWS, 46 * MOST_ROWS):
        more = own_rows(sqlite_store, "events", MINE)
        with sqlite_store.writing() as connection:
            first = max(row["event_key"] for row in more) + 1
            sample = {**more[0], "job_key": 1_000_000}
            made = ({**sample, "event_key": first + n, "event_id": f"{n}"} for n in range(count))
            connection.execute(insert(schema.events), list(made))
        del more, made
        peaks.append(peak_bytes(sqlite_store, table, file_format))
    (few, few_rows), (many, many_rows) = peaks
    assert many_rows > 12 * few_rows
    whole_bytes = many_rows * 100  # of the text of one column alone
    assert many < few + whole_bytes // 10


def peak_bytes(store: Store, table: Table, file_format: str) -> tuple[int, int]:
    """The most memory that an export has taken, Python's and Arrow's, and how many rows it had."""
    count = peak = 0
    before = pa.total_allocated_bytes()
    encoder = FORMATS[file_format](table.columns)
    tracemalloc.start()
    try:
        for chunk in table.chunks(store, Wanted(project_key=MINE)):
            count += len(chunk)
            encoder.rows(chunk)
            peak = max(peak, pa.total_allocated_bytes() - before)
        encoder.end()
        return tracemalloc.get_traced_memory()[1] + peak, count
    finally:
        tracemalloc.stop()
