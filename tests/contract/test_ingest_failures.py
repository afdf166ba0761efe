"""What a store that fails does to ingest: everything waits, and nothing is thrown away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, OperationalError

from fiveobs.monitor.ingest.failures import StoreRefusesError
from fiveobs.monitor.store.engine import Store, open_store
from tests.support.ingesting import Taking, rows
from tests.support.journals import line, write_segment

STEM = "host-1-1767323045000000"
FAILED = 39


def write_failures(home: Path) -> None:
    """So many jobs that failed."""
    error = {"type": "ValueError", "message": "no", "stacktrace": "…" * 2000}
    data = {"error": error}
    lines = [line(n, "job.failed", job_id=f"job-{n}", data=data) for n in range(1, FAILED + 1)]
    write_segment(home, STEM, 1, *lines)


def run(store: Store, *statements: str) -> None:
    with store.writing() as connection:
        for each in statements:
            connection.execute(text(each))


def failures(store: Store) -> tuple[type[Exception], ...]:
    """What a failing store raises: SQLAlchemy's, and the driver's own where it copies rows."""
    assert store.engine.dialect.dbapi is not None
    return DBAPIError, store.engine.dialect.dbapi.Error


def look(store: Store) -> None:
    """Every one of them is there once, and none was set aside."""
    assert len(rows(store, "errors")) == len(rows(store, "events")) == FAILED
    assert rows(store, "workers", "lines", "unreadable_lines") == [(FAILED, 0)]
    assert rows(store, "unreadable") == []


# --- a schema, or rights, that are not what they should be ---


@contextlib.contextmanager
def renamed(store: Store) -> Iterator[Store]:
    """A table is not there."""
    run(store, "ALTER TABLE errors RENAME TO elsewhere")
    yield store
    run(store, "ALTER TABLE elsewhere RENAME TO errors")


@contextlib.contextmanager
def with_a_column_more(store: Store) -> Iterator[Store]:
    """A newer version has added a column that must have a value."""
    if store.is_sqlite:
        with store.reading() as connection:
            found = connection.execute(text("SELECT sql FROM sqlite_master WHERE name = 'errors'"))
            made = str(found.scalar_one())
        run(store, "DROP TABLE errors", made.replace("(", "(added TEXT NOT NULL, ", 1))
        yield store
        run(store, "DROP TABLE errors", made)
    else:
        run(store, "ALTER TABLE errors ADD COLUMN added TEXT NOT NULL")
        yield store
        run(store, "ALTER TABLE errors DROP COLUMN added")


@contextlib.contextmanager
def without_a_reference(store: Store) -> Iterator[Store]:
    """A row that others refer to is not there: keys are ours, never a line's."""
    run(store, "CREATE TABLE nowhere (error_key BIGINT PRIMARY KEY)")
    if store.is_sqlite:
        trigger = (
            "CREATE TRIGGER refuses BEFORE INSERT ON errors BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        run(store, trigger)
        yield store
        run(store, "DROP TRIGGER refuses")
    else:
        reference = "FOREIGN KEY (error_key) REFERENCES nowhere"
        run(store, f"ALTER TABLE errors ADD CONSTRAINT refuses {reference}")
        yield store
        run(store, "ALTER TABLE errors DROP CONSTRAINT refuses")
    run(store, "DROP TABLE nowhere")


@pytest.mark.parametrize("broken", [renamed, with_a_column_more, without_a_reference])
def test_a_schema_that_is_not_ours_throws_nothing_away(
    store: Store, fiveobs_home: Path, broken: Callable[[Store], Any]
) -> None:
    """All lines wait while it is so, however often they are tried, and are taken in afterwards."""
    write_failures(fiveobs_home)
    taking = Taking(store, fiveobs_home)
    with broken(store):
        for _ in range(3):
            with pytest.raises(failures(store)):
                taking.ingester.step()
        assert rows(store, "unreadable") == []
        assert rows(store, "events") == []
    taking.all()
    look(store)


@pytest.mark.peer
def test_rights_that_are_missing_throw_nothing_away(postgresql: Any, fiveobs_home: Path) -> None:
    """Lines wait for a GRANT."""
    url = postgresql.new_database()
    owner = open_store(url)
    name = f"role_of_{url.rpartition('/')[2]}"
    tables = "ALL TABLES IN SCHEMA public"
    run(
        owner,
        f"CREATE ROLE {name} LOGIN",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {name}",
        f"REVOKE INSERT ON errors FROM {name}",
    )
    write_failures(fiveobs_home)
    store = open_store(url.replace("postgres@", f"{name}@"), migrate=False)
    taking = Taking(store, fiveobs_home)
    with pytest.raises(failures(store), match="permission denied"):
        taking.ingester.step()
    assert rows(owner, "unreadable") == []
    run(owner, f"GRANT INSERT ON errors TO {name}")
    taking.all()
    look(store)
    store.close()
    run(owner, f"DROP OWNED BY {name}", f"DROP ROLE {name}")
    owner.close()


@pytest.mark.peer
def test_a_store_that_takes_no_line_at_all_is_not_the_lines_fault(
    postgresql: Any, fiveobs_home: Path
) -> None:
    """A column that was made narrow refuses every value: all wait, as if the store were away."""
    store = open_store(postgresql.new_database())
    run(store, "ALTER TABLE errors ALTER COLUMN message TYPE VARCHAR(1)")
    write_failures(fiveobs_home)
    taking = Taking(store, fiveobs_home)
    with pytest.raises(StoreRefusesError, match="none of 8 lines"):
        taking.ingester.step()
    assert rows(store, "unreadable") == []
    run(store, "ALTER TABLE errors ALTER COLUMN message TYPE TEXT")
    taking.all()
    look(store)
    store.close()


@pytest.mark.peer
def test_a_value_that_an_index_does_not_take_costs_its_line_alone(
    postgresql: Any, fiveobs_home: Path
) -> None:
    """PostgreSQL's 54000: among forty lines the one that cannot be stored is found."""
    store = open_store(postgresql.new_database())
    run(store, "CREATE INDEX wide ON errors (message)")
    write_failures(fiveobs_home)
    noise = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(6000))
    data = {"error": {"type": "E", "message": noise, "stacktrace": ""}}
    write_segment(fiveobs_home, STEM, 1, line(40, "job.failed", job_id="wide", data=data))
    taking = Taking(store, fiveobs_home)
    taking.all()
    assert len(rows(store, "errors")) == FAILED
    assert rows(store, "workers", "unreadable_lines") == [1]
    ((why,),) = [rows(store, "unreadable", "reason")]
    assert "index" in why
    store.close()


# --- a store that is locked, full or away ---


@contextlib.contextmanager
def locked(store: Store) -> Iterator[Store]:
    """Somebody else writes and does not stop."""
    with store.writing() as connection:
        connection.execute(
            text("SELECT * FROM sequences FOR UPDATE" if not store.is_sqlite else "SELECT 1")
        )
        yield store


def impatient(store: Store) -> Store:
    """The same store, for somebody who waits for a lock for a moment only."""
    url = store.engine.url.render_as_string(hide_password=False)
    if not store.is_sqlite:
        return open_store(f"{url}?options=-clock_timeout%3D50", migrate=False)
    opened = open_store(url, migrate=False)
    event.listen(opened.engine, "connect", lambda made, _: made.execute("PRAGMA busy_timeout=20"))
    return opened


def test_a_store_that_is_locked_is_waited_for(store: Store, fiveobs_home: Path) -> None:
    """The same lines are tried again, and are there once."""
    write_failures(fiveobs_home)
    other = impatient(store)
    taking = Taking(other, fiveobs_home)
    with locked(store):
        for _ in range(3):
            with pytest.raises(OperationalError):
                taking.ingester.step()
    taking.all()
    look(store)
    other.close()


def test_a_store_whose_disk_is_full_is_waited_for(sqlite_store: Store, fiveobs_home: Path) -> None:
    """What did not fit leaves nothing half, and is taken in once there is room."""
    room = {"pages": 0}
    with sqlite_store.reading() as connection:
        room["pages"] = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + 2
    sqlite_store.engine.dispose()
    event.listen(
        sqlite_store.engine,
        "connect",
        lambda made, _: made.execute(f"PRAGMA max_page_count={room['pages']}"),
    )
    write_failures(fiveobs_home)
    taking = Taking(sqlite_store, fiveobs_home)
    for _ in range(3):
        with pytest.raises(OperationalError, match="full"):
            taking.ingester.step()
    assert rows(sqlite_store, "events") == []
    room["pages"] = 100_000
    sqlite_store.engine.dispose()
    taking.all()
    look(sqlite_store)


@contextlib.contextmanager
def away(store: Store) -> Iterator[Store]:
    """The file's folder, or the database, cannot be reached."""
    store.engine.dispose()
    database = str(store.engine.url.database)
    if store.is_sqlite:
        path = Path(database)
        path.rename(path.with_name("elsewhere"))
        path.mkdir()
        yield store
        path.rmdir()
        path.with_name("elsewhere").rename(path)
        return
    import psycopg

    admin = store.engine.url.set(drivername="postgresql", database="postgres")
    with psycopg.connect(admin.render_as_string(False), autocommit=True) as connection:
        for allowed in ("false", "true"):
            connection.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS {allowed}")  # type: ignore[call-overload]
            if allowed == "false":
                yield store


def test_a_store_that_is_away_is_waited_for(store: Store, fiveobs_home: Path) -> None:
    """The journals are the queue meanwhile; what is written in between is taken in, too."""
    taking = Taking(store, fiveobs_home)
    with away(store):
        write_failures(fiveobs_home)
        for _ in range(3):
            with pytest.raises(OperationalError):
                taking.ingester.step()
    taking.all()
    look(store)


def test_what_goes_wrong_is_reported_and_memory_holds_one_batch(
    sqlite_store: Store, fiveobs_home: Path
) -> None:
    """While a store fails, a step reads no more than a batch, however much waits."""
    write_segment(
        fiveobs_home, STEM, 1, *[line(n, job_id="a", message="x" * 900) for n in range(5000)]
    )
    taking = Taking(sqlite_store, fiveobs_home)
    read: list[int] = []
    follower = taking.ingester._follower
    before = follower.read

    def noted(most: int) -> Any:
        pieces = before(most)
        read.append(sum(len(piece.content) for piece in pieces))
        return pieces

    follower.read = noted  # type: ignore[method-assign]
    with away(sqlite_store):
        for _ in range(3):
            with pytest.raises(OperationalError):
                taking.ingester.step()
    assert taking.all() == 5000
    assert 0 < max(read) <= 4 * 1024 * 1024
