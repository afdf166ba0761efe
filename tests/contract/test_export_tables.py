"""Exports from every store: what is in them, in which order, and what never is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, insert, update

from fiveobs.monitor.exporting.formats import FORMATS, pieces
from fiveobs.monitor.exporting.results import RESULTS
from fiveobs.monitor.exporting.table import Table
from fiveobs.monitor.exporting.tables import TABLES, UNEXPORTED
from fiveobs.monitor.exporting.walking import MOST_ROWS, Wanted
from fiveobs.monitor.store import schema
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.reading import job_by_id
from tests.support.exports import READERS
from tests.support.filled_store import BEGIN_US, CHILDREN, SECRET, fill, own_rows
from tests.support.plans import plans

MINE, THEIRS, JOBS = 1, 2, 7
#: Those that are read from the store; what is worked out is in `test_export_results`.
STORED = {name: table for name, table in TABLES.items() if table not in RESULTS}
#: The tables of the store behind those of an export that have another name.
BEHIND = {"worker_events": "events", "states": "entities"}
#: How many rows each has.
PARTS = JOBS * CHILDREN
COUNTS = {
    **dict.fromkeys(STORED, PARTS),
    **dict.fromkeys(("jobs", "kinds", "workers", "worker_events"), JOBS),
    **dict.fromkeys(("subscriptions", "audit", "rules", "states"), JOBS),
    "errors": PARTS + JOBS,
}


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with two projects."""
    for project_key in (MINE, THEIRS):
        fill(store, project_key, JOBS)
    return store


def rows(store: Store, table: Table, **wanted: Any) -> list[tuple[Any, ...]]:
    chunks = table.chunks(store, Wanted(project_key=MINE, **wanted))
    return [row for chunk in chunks for row in chunk]


def exported(store: Store, table: Table, file_format: str) -> bytes:
    encoder = FORMATS[file_format](table.columns)
    return b"".join(pieces(encoder, table.chunks(store, Wanted(project_key=MINE))))


# --- what is in it -------------------------------------------------------------------------------


def test_every_table_reads_back_from_every_format(filled: Store) -> None:
    """Nasty texts, numbers, times, JSON and what is not known are the rows that were exported."""
    for name, table in STORED.items():
        expected = rows(filled, table)
        assert len(expected) == COUNTS[name], name
        as_json = [at for at, each in enumerate(table.columns) if each.kind == "json"]
        parsed = [
            tuple(json.loads(v) if at in as_json and v else v for at, v in enumerate(row))
            for row in expected
        ]
        for file_format, read in READERS.items():
            found = read(exported(filled, table, file_format), table.columns)
            assert found == (parsed if file_format == "jsonl" else expected), (name, file_format)


def test_values_are_those_of_the_store(filled: Store) -> None:
    """Each column that the store has under the same name has the same values."""
    for name, table in STORED.items():
        kept = own_rows(filled, BEHIND.get(name, name), MINE)
        if "events" in name:
            kept = [row for row in kept if (row["job_key"] is None) == (name != "events")]
        found = rows(filled, table)
        own = {
            at: f"{each.name}_us" if each.kind == "time" else each.name
            for at, each in enumerate(table.columns)
            if each.shown is None
        }
        compared = [at for at in own if own[at] in kept[0]]
        assert compared, name
        for at in compared:
            mine = sorted(repr(row[own[at]]) for row in kept)
            assert sorted(repr(row[at]) for row in found) == mine, (name, own[at])


def test_nobody_else_s_rows_and_no_secrets_are_in_it(filled: Store) -> None:
    """Texts of the other project have its mark; what is secret has one of its own."""
    for name, table in STORED.items():
        data = exported(filled, table, "jsonl").decode()
        assert f"~{MINE}" in data, name
        assert f"~{THEIRS}" not in data, name
        assert SECRET not in data, name
        assert SECRET not in exported(filled, table, "csv").decode(), name


def test_every_column_of_the_store_is_exported_or_left_out_for_a_reason() -> None:
    """A new column of the schema is exported, or stands in `UNEXPORTED` and in the reference."""
    missing = [
        f"{table.name}.{column.name}"
        for table in schema.metadata.tables.values()
        for column in table.columns
        if table.name not in UNEXPORTED
        and f"{table.name}.{column.name}" not in UNEXPORTED
        and not column.name.endswith("_key")
        and column.name.removesuffix("_us") not in names_of(table.name)
    ]
    # Under other names: what a worker's journal is called, and where a webhook leads.
    assert sorted(missing) == ["subscriptions.url", "workers.stem"]
    known = {name for table in schema.metadata.tables.values() for name in columns_of(table)}
    assert UNEXPORTED.keys() <= known | schema.metadata.tables.keys()


def names_of(table: str) -> set[str]:
    shown = {"entities": "states"}.get(table, table)
    return {column.name for column in TABLES[shown].columns}


def columns_of(table: Any) -> Iterator[str]:
    return (f"{table.name}.{column.name}" for column in table.columns)


def test_parts_name_their_job_and_worker_by_public_ids(filled: Store) -> None:
    """Keys of the store are in no column: what belongs together is found by ids."""
    ids = {row[0] for row in rows(filled, TABLES["jobs"])}
    for name in ("attempts", "stages", "events", "measures", "resources", "dependencies"):
        assert {row[at(name, "job_id")] for row in rows(filled, TABLES[name])} == ids
    workers = {row["worker_id"] for row in own_rows(filled, "workers", MINE)}
    assert {row[at("attempts", "worker_id")] for row in rows(filled, TABLES["attempts"])} == workers
    assert not [
        column.name
        for table in TABLES.values()
        for column in table.columns
        if column.name.endswith(("_key", "_us"))
    ]


def at(table: str, column: str) -> int:
    return [each.name for each in TABLES[table].columns].index(column)


# --- choosing ------------------------------------------------------------------------------------


def test_jobs_come_in_the_order_in_which_they_were_first_heard_of(filled: Store) -> None:
    """And their parts in the order of the jobs, also where a job's key says otherwise."""
    with filled.writing() as connection:
        late = update(schema.jobs).where(schema.jobs.c.job_key == 1_000_000)
        connection.execute(late.values(created_at_us=BEGIN_US + 3_500_000))
    created = [row[at("jobs", "created_at")] for row in rows(filled, TABLES["jobs"])]
    assert created == sorted(created)
    assert created[3] == BEGIN_US + 3_500_000
    ids = [row[0] for row in rows(filled, TABLES["jobs"])]
    of_stages = [row[0] for row in rows(filled, TABLES["stages"])]
    assert list(dict.fromkeys(of_stages)) == ids


def test_a_period_takes_its_beginning_and_leaves_out_its_end(filled: Store) -> None:
    """So periods that follow one another have each job once."""
    second, fourth = BEGIN_US + 1_000_000, BEGIN_US + 3_000_000
    for name in ("jobs", "attempts", "stages", "events", "measures"):
        per_job = 1 if name == "jobs" else CHILDREN
        for bounds, jobs in (
            ({"from_us": second, "to_us": fourth}, 2),
            ({"to_us": second}, 1),
            ({"from_us": fourth}, JOBS - 3),
        ):
            assert len(rows(filled, TABLES[name], **bounds)) == jobs * per_job, (name, bounds)
    times = sorted(row["at_us"] for row in own_rows(filled, "errors", MINE))
    found = rows(filled, TABLES["errors"], from_us=times[2], to_us=times[5])
    assert [row[at("errors", "at")] for row in found] == times[2:5]


def test_parts_are_chosen_by_the_kind_the_status_and_the_id_of_their_job(filled: Store) -> None:
    """Alone and together."""
    key = 1_000_002
    with filled.reading() as connection:
        job_id = rows(filled, TABLES["jobs"])[2][0]
        job = job_by_id(connection, MINE, job_id)
    assert job is not None
    for name in ("attempts", "events", "errors"):
        table, column = TABLES[name], at(name, "job_id")
        for wanted in ({"kind_keys": [key]}, {"status": job.status}, {"job": job}):
            assert [row[column] for row in rows(filled, table, **wanted)] == [job_id] * 2, wanted
        assert rows(filled, table, kind_keys=[]) == []
        assert rows(filled, table, kind_keys=[key + 1], job=job) == []
        assert len(rows(filled, table, kind_keys=[key], status=job.status, job=job)) == 2


# --- how it is read ------------------------------------------------------------------------------


@contextmanager
def reads(store: Store) -> Iterator[list[int]]:
    """How many rows each read has given, in the order in which they were made."""
    found: list[int] = []

    def note(connection: Any, *_: Any) -> None:
        found.append(0)

    event.listen(store.engine, "commit", note)
    event.listen(store.engine, "rollback", note)
    try:
        yield found
    finally:
        event.remove(store.engine, "commit", note)
        event.remove(store.engine, "rollback", note)


def more_events(store: Store, job_key: int, count: int) -> None:
    first = 50_000_000
    values = [
        {
            "event_key": first + number,
            "event_id": f"e{number}",
            "project_key": MINE,
            "job_key": job_key,
            "at_us": BEGIN_US,
            "event_type": "log",
            "level": 20,
            "message": f"line {number}",
            "data": "{}",
        }
        for number in range(count)
    ]
    with store.writing() as connection:
        connection.execute(insert(schema.events), values)


def test_a_job_with_many_rows_is_read_in_parts(filled: Store) -> None:
    """None of them is larger than the others, none is left out, and its neighbours are there."""
    count = 3 * MOST_ROWS + 1
    more_events(filled, 1_000_003, count)
    chunks = list(TABLES["events"].chunks(filled, Wanted(project_key=MINE)))
    assert max(map(len, chunks)) == MOST_ROWS
    found = [row for chunk in chunks for row in chunk]
    assert len(found) == count + PARTS
    assert len({row[0] for row in found}) == len(found)
    lines = [row[4] for row in found if str(row[4]).startswith("line ")]
    assert lines == [f"line {number}" for number in range(count)]
    jobs = list(dict.fromkeys(row[at("events", "job_id")] for row in found))
    assert jobs == [row[0] for row in rows(filled, TABLES["jobs"])]


def test_between_two_chunks_nothing_of_the_store_is_held(filled: Store) -> None:
    """Each chunk is a read of its own, which has ended before the chunk is given out."""
    more_events(filled, 1_000_003, 3 * MOST_ROWS)
    pool: Any = filled.engine.pool
    for name, table in TABLES.items():
        with reads(filled) as ended:
            for chunk in table.chunks(filled, Wanted(project_key=MINE)):
                assert pool.checkedout() == 0, name
                assert len(chunk) <= MOST_ROWS
                with filled.writing():
                    pass  # whoever takes events in is not held up
            assert len(ended) >= 1


def test_what_is_read_is_found_by_an_index(sqlite_store: Store) -> None:
    """Every read of a project's rows begins with an index; none looks through jobs or events."""
    fill(sqlite_store, MINE, JOBS)
    with plans(sqlite_store) as steps:
        for table in TABLES.values():
            rows(sqlite_store, table)
    scanned = [each for each in steps if each.startswith("SCAN ") and " anon_" not in each]
    # There are few subscriptions, and no index of a project's.
    assert scanned == ["SCAN subscriptions"] * 2


def test_what_workers_say_of_themselves_is_read_by_its_time(sqlite_store: Store) -> None:
    """The many events of jobs are not looked at, nor is what is before or after the period."""
    fill(sqlite_store, MINE, JOBS)
    table, column = TABLES["worker_events"], at("worker_events", "at")
    times = [row[column] for row in rows(sqlite_store, table)]
    assert times == sorted(times)
    with plans(sqlite_store) as steps:
        found = rows(sqlite_store, table, from_us=times[2], to_us=times[5])
    assert [row[column] for row in found] == times[2:5]
    assert "ix_events_of_workers (project_key=? AND at_us>? AND at_us<?)" in steps[0]
    assert not [each for each in steps if "TEMP B-TREE" in each]
