"""What every store does alike: SQLite in a file, and PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, inspect, text
from sqlalchemy.exc import DBAPIError

from fiveobs.exceptions import ConfigError
from fiveobs.journal.locks import StemLock
from fiveobs.monitor.store import migrating, schema
from fiveobs.monitor.store.engine import Store, open_store
from tests.support import tracked_jobs
from tests.support.ingesting import Taking, rows
from tests.support.journals import line, write_segment
from tests.support.programs import ROOT

TIMEOUT_S = 60
STEM = "host-1-1767323045000000"

# --- migrations ---


def _nothing_is_there(connection: Connection) -> None:
    """Before the first revision there is no data."""


def _keys_begin_at_0(connection: Connection) -> None:
    values = connection.execute(text("SELECT value FROM sequences")).scalars().all()
    assert len(values) == len(rows_of_sequences())
    assert set(values) == {0}


def _events_were_taken_in(connection: Connection) -> None:
    connection.execute(text("UPDATE sequences SET value = 7 WHERE name = 'events'"))


def _state_begins_after_them(connection: Connection) -> None:
    found = connection.execute(text("SELECT name, value, holder FROM positions ORDER BY name"))
    zero = dict.fromkeys(("changes", "dropped", "projector"), (0, None))
    assert {name: (value, holder) for name, value, holder in found} == zero | {"events": (7, None)}
    assert connection.execute(text("SELECT count(*) FROM entities")).scalar_one() == 0


def _add_a_project(connection: Connection) -> None:
    values = "1, 'a', 'p', 5"
    connection.execute(text(f"INSERT INTO projects VALUES ({values})"))


def _rules_begin_with_nothing(connection: Connection) -> None:
    """The project is there, and may have rules; events have been looked at up to none."""
    assert connection.execute(text("SELECT tenant_id FROM projects")).scalars().all() == ["a"]
    assert connection.execute(text("SELECT * FROM rule_progress")).all() == [("events", 0)]
    for table in ("rules", "firings", "expectations", "sightings"):
        assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0


def rows_of_sequences() -> set[str]:
    return {"batches", "errors", "events", "jobs", "kinds", "projects", "unreadable", "workers"}


def _two_events(connection: Connection) -> None:
    """One of a job, one of a worker."""
    connection.execute(
        text("INSERT INTO projects VALUES (2, 't', 'p', 0)"),
    )
    connection.execute(
        text(
            "INSERT INTO events (event_key, event_id, project_key, job_key, at_us, event_type,"
            " level, message, data) VALUES (1, 'a', 2, 1, 5, 'log', 20, '', '{}'),"
            " (2, 'b', 2, NULL, 5, 'worker.started', 20, '', '{}')"
        )
    )


def _nothing_is_aggregated(connection: Connection) -> None:
    wanted = text("SELECT event_id FROM events WHERE job_key IS NULL AND project_key = 2")
    assert connection.execute(wanted).scalars().all() == ["b"]
    for table in ("keeps", "trimmed", "series", "aggregates"):
        assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0


#: For each revision: what puts rows into the schema before it, as the version before it did, and
#: what looks at them after it. A new revision must bring both, or a test fails.
MIGRATED: dict[str, tuple[Callable[[Connection], None], Callable[[Connection], None]]] = {
    "0001": (_nothing_is_there, _keys_begin_at_0),
    "0002": (_add_a_project, _rules_begin_with_nothing),
    "0003": (_events_were_taken_in, _state_begins_after_them),
    "0004": (_two_events, _nothing_is_aggregated),
}


@pytest.fixture
def empty(store_url: str) -> Iterator[Store]:
    opened = open_store(store_url, migrate=False)
    yield opened
    opened.close()


def _revisions() -> list[str]:
    folder = Path(migrating.__file__).with_name("migrations")
    return [each.revision for each in ScriptDirectory(str(folder)).walk_revisions()][::-1]


def test_the_migrations_lead_to_the_schema(store: Store) -> None:
    """A database that was migrated has exactly the tables, columns and indexes of the code."""
    with store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
        found = _indexes(connection)
    assert found == {
        index.name for table in schema.metadata.tables.values() for index in table.indexes
    }


def _indexes(connection: Connection) -> set[str | None]:
    inspector = inspect(connection)
    return {
        index["name"]
        for table in schema.metadata.tables
        for index in inspector.get_indexes(table)
        if "duplicates_constraint" not in index
    }


def test_every_migration_takes_the_data_along(empty: Store) -> None:
    """Revision by revision: rows as the version before wrote them are right after it."""
    assert _revisions() == sorted(MIGRATED)
    for revision in _revisions():
        before, after = MIGRATED[revision]
        with empty.writing() as connection:
            before(connection)
        migrating.upgrade(empty, revision)
        with empty.reading() as connection:
            after(connection)


def test_a_store_that_is_up_to_date_is_left_as_it_is(store: Store) -> None:
    """Opening again changes nothing."""
    with store.writing() as connection:
        connection.execute(insert(schema.projects).values(_project(7)))
    again = open_store(store.engine.url.render_as_string(hide_password=False))
    assert rows(again, "projects", "project_key") == [7]
    again.close()


def test_processes_that_open_an_empty_store_at_once_migrate_it_once(store_url: str) -> None:
    """Each of them finds the schema; none fails."""
    program = (
        "import sys; from fiveobs.monitor.store.engine import open_store; "
        "open_store(sys.argv[1]).close()"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, store_url], cwd=ROOT, stderr=-1)
        for _ in range(3)
    ]
    ended = [(each.communicate(timeout=TIMEOUT_S)[1], each.returncode) for each in started]
    assert ended == [(b"", 0)] * 3
    opened = open_store(store_url, migrate=False)
    assert set(rows(opened, "sequences", "name")) == rows_of_sequences()
    opened.close()


# --- transactions ---


def _project(key: int) -> dict[str, Any]:
    return {"project_key": key, "tenant_id": "t", "project_id": str(key), "created_at_us": 1}


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    """An exception inside takes everything back, and is raised."""
    with pytest.raises(ZeroDivisionError), store.writing() as connection:
        connection.execute(insert(schema.projects).values(_project(1)))
        _ = 1 / 0
    assert rows(store, "projects") == []


def test_a_reader_sees_one_moment(store: Store) -> None:
    """What is committed while it reads, it does not see."""
    with store.reading() as reading:
        assert _count(reading) == 0
        with store.writing() as writing:
            writing.execute(insert(schema.projects).values(_project(1)))
        assert _count(reading) == 0
    with store.reading() as reading:
        assert _count(reading) == 1


def _count(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM projects")).scalar_one())


def test_a_reader_cannot_change_anything(store: Store) -> None:
    """Reading leaves the store as it is, whatever is tried."""
    try:
        with store.reading() as connection:
            connection.execute(insert(schema.projects).values(_project(1)))
    except DBAPIError:
        pass  # PostgreSQL says no at once
    assert rows(store, "projects") == []


def test_a_writer_waits_for_the_other_one(store: Store) -> None:
    """Two threads that take keys at once get different ones."""
    keys: list[int] = []

    def take() -> None:
        from fiveobs.monitor.ingest.writing import Keys

        for _ in range(20):
            with store.writing() as connection:
                given = Keys(connection)
                keys.append(given.next("jobs"))
                given.write(connection)

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert sorted(keys) == list(range(1, 61))


# --- what is no store ---


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://u:geheim@h/d", "valid are sqlite:///PATH"),
        ("nonsense", "valid are sqlite:///PATH"),
        ("sqlite://", "SQLite needs a file"),
        ("sqlite:///:memory:", "SQLite needs a file"),
    ],
)
def test_a_url_that_is_no_store_is_refused(url: str, says: str) -> None:
    """The error names the setting and what is valid, and shows no password."""
    with pytest.raises(ConfigError, match=says) as caught:
        open_store(url)
    assert "FIVEOBS_STORE_URL" in str(caught.value)
    assert "geheim" not in str(caught.value)


# --- ingest ---


@pytest.mark.peer
def test_both_stores_hold_the_same_of_the_same_journals(
    tmp_path: Path, postgresql: Any, fiveobs_home: Path
) -> None:
    """Every row of every table that ingest fills is the same in SQLite and in PostgreSQL."""
    tracked_jobs.write(fiveobs_home)
    found = []
    for url in (f"sqlite:///{tmp_path / 'store.sqlite3'}", postgresql.new_database()):
        opened = open_store(url)
        taking = Taking(opened, fiveobs_home)
        taking.all()
        assert taking.reports == []
        found.append({table: rows(opened, table) for table in schema.metadata.tables})
        opened.close()
    for each in found:  # without the time of their making
        each["projects"] = [row[:3] for row in each["projects"]]
    for table, of_sqlite in found[0].items():
        assert of_sqlite == found[1][table], table
    assert len(found[0]["events"]) > 100


POISON: dict[str, bytes] = {
    "no JSON": b'{"id": \n',
    "no object": b"[1, 2]\n",
    "a huge attempt": line(2, job_id="p", attempt=2**63),
    "an attempt in words": line(2, job_id="p", attempt="two"),
    "a job id that is no text": line(2, job_id=7),
    "an endless job id": line(2, job_id="x" * 5000),
    "a message that is no text": line(2, job_id="p", message=5),
    "data that is no object": line(2, job_id="p", data=[1]),
    "a level that is no word": line(2, job_id="p", level=["info"]),
    "no timestamp": line(2, job_id="p", timestamp="yesterday"),
    "a span id that is no text": line(2, job_id="p", span_id=5),
    "a stage with a huge number": line(
        2, "stage.started", job_id="p", data={"stage": "a", "index": 2**70}
    ),
    "a stage without a name": line(2, "stage.started", job_id="p", data={"index": 1}),
    "a measure that is no number": line(
        2,
        "metric",
        job_id="p",
        data={"kind": "counter", "name": "n", "value": "1", "unit": "", "labels": {}},
    ),
    "no UTF-8": b'{"id": "\xff\xfe"}\n',
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_a_line_that_cannot_be_read_is_kept_and_the_others_are_taken(
    store: Store, fiveobs_home: Path, poison: bytes
) -> None:
    """It is counted, with its place and the reason; it leaves no half event and no job."""
    good = [line(1, job_id="a"), line(3, job_id="b")]
    write_segment(fiveobs_home, STEM, 1, good[0], poison, good[1])
    taking = Taking(store, fiveobs_home)
    assert taking.all() == 3
    assert rows(store, "events", "event_id") == ["00000000000000aa-1", "00000000000000aa-3"]
    assert rows(store, "jobs", "job_id") == ["a", "b"]
    ((kept, offset, why),) = rows(store, "unreadable", "line", "offset_bytes", "reason")
    assert (bytes(kept) + b"\n", offset) == (poison, len(good[0]))
    assert why
    assert rows(store, "workers", "lines", "unreadable_lines") == [(3, 1)]
    assert [cause for cause, _ in taking.reports] == ["unreadable"]


ODD: dict[str, dict[str, Any]] = {
    "huge numbers": {"percent": 2**70, "done": 2**64 - 1, "total": -(2**70)},
    "words": {"percent": "half", "done": [1], "total": {"a": 1}, "eta_s": True},
    "NULs": {"a\0b": "\0", "error": {"type": "E\0", "message": "\0", "stacktrace": "\0"}},
    "an error that is none": {"error": "oops"},
    "deep": {"a": [[[[[[[[{}]]]]]]]]},
}


def _of_a_job(event_type: str, number: int) -> dict[str, Any]:
    return {} if event_type.startswith("worker") else {"job_id": f"job-{number}"}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_odd_values_stop_nothing(store: Store, fiveobs_home: Path, data: dict[str, Any]) -> None:
    """A figure that cannot be is unknown; the event counts, with all that it said."""
    ends = ("received", "started", "progress", "paused", "failed", "lost", "odd")
    types = ["log", "worker.stopped", *(f"job.{end}" for end in ends)]
    lines = [
        line(1, each, message="nul \0 here", data=data, **_of_a_job(each, number))
        for number, each in enumerate(types)
    ]
    write_segment(fiveobs_home, STEM, 1, *lines)
    assert Taking(store, fiveobs_home).all() == len(types)
    assert rows(store, "unreadable") == []
    assert rows(store, "events", "event_type") == types
    assert set(rows(store, "events", "message")) == {"nul \ufffd here"}
    for percent in rows(store, "attempts", "percent"):
        assert percent is None or isinstance(percent, float)


def test_a_nul_however_deep_stops_nothing(store: Store, fiveobs_home: Path) -> None:
    """A thousand levels down: the line is set aside for what it is, and the next one is taken."""
    deep = b'{"a":' * 990 + b'"\\u0000"' + b"}" * 990
    record = line(1, job_id="deep").replace(b'"data":{}', b'"data":' + deep)
    text = line(3, job_id="text", message="\\u0000 and \0 and \\\0")
    write_segment(fiveobs_home, STEM, 1, record, line(2, job_id="a"), text)
    assert Taking(store, fiveobs_home).all() == 3
    assert rows(store, "events", "message") == ["record 2", "\\u0000 and \ufffd and \\\ufffd"]
    assert len(rows(store, "unreadable")) == 1


@pytest.mark.parametrize(
    ("named", "filed"),
    [
        ("a\0b", "a\ufffdb"),
        ("x" * 6000, "x" * 256),
        (["acme"], "default"),
        (7, "7"),
        ("", "default"),
    ],
)
def test_a_tenant_that_cannot_be_stored_stops_nothing(
    store: Store, fiveobs_home: Path, named: object, filed: str
) -> None:
    """Its name is cleaned and cut; what is no name at all is the default one."""
    resource = {"fiveobs.tenant.id": named, "fiveobs.project.id": named}
    begun = line(1, "worker.started", data={"resource": resource, "pid": 1})
    write_segment(fiveobs_home, STEM, 1, begun, line(2, job_id="a"))
    taking = Taking(store, fiveobs_home)
    assert taking.all() == 2
    assert taking.reports == []
    assert rows(store, "projects", "tenant_id", "project_id") == [(filed, filed)]


def test_a_journal_deleted_unread_is_counted(sqlite_store: Store, fiveobs_home: Path) -> None:
    """It is among what could not be read, with how much it was; the place is behind it."""
    path = write_segment(fiveobs_home, STEM, 1, line(1, job_id="a"))
    taking = Taking(sqlite_store, fiveobs_home)
    taking.ingester._follower.read(0)
    path.unlink()
    assert taking.all() == 1
    assert rows(sqlite_store, "workers", "segment", "offset_bytes", "unreadable_lines") == [
        (2, 0, 1)
    ]
    ((why,),) = [rows(sqlite_store, "unreadable", "reason")]
    assert "at least" in why
    assert taking.all() == 0


def test_two_monitors_on_one_store_take_each_line_once(store: Store, fiveobs_home: Path) -> None:
    """They take turns; neither repeats nor skips what the other has taken in."""
    one, other = Taking(store, fiveobs_home), Taking(store, fiveobs_home)
    living = StemLock(write_segment(fiveobs_home, STEM, 1).with_name(f"{STEM}.lock"))
    assert living.acquire(create=True)
    number = 0
    for turn in (one, other, other, one, one, other):
        batch = [line(number := number + 1, job_id=f"job-{number % 3}") for _ in range(10)]
        measure = {"kind": "counter", "name": "n", "value": 1, "unit": "", "labels": {}}
        batch.append(line(number := number + 1, "metric", job_id="job-1", data=measure))
        write_segment(fiveobs_home, STEM, 1, *batch)
        turn.all()
    one.all()
    other.all()
    assert len(set(rows(store, "events", "event_id"))) == len(rows(store, "events")) == 60
    assert rows(store, "measures", "count") == [6]
    assert rows(store, "workers", "lines") == [66]
    living.release()


def test_two_monitors_at_the_same_time_take_each_line_once(
    store: Store, fiveobs_home: Path
) -> None:
    """Also where both want the same lines in the same moment."""
    for stem in ("a-1-1", "b-2-2", "c-3-3"):
        lines = [line(number, job_id=f"{stem}-{number % 50}") for number in range(1500)]
        write_segment(fiveobs_home, stem, 1, *lines)
    takings = [Taking(store, fiveobs_home) for _ in range(2)]
    threads = [threading.Thread(target=each.all) for each in takings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert len(rows(store, "events")) == 4500
    assert sum(rows(store, "workers", "lines")) == 4500
    assert sum(rows(store, "attempts", "info_entries")) == 4500
    assert [report for each in takings for report in each.reports] == []
