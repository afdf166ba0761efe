"""What the tracking API asks the store costs the same however much is stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from fiveobs.monitor.store.engine import Store, open_store
from fiveobs.monitor.tracker import Batch, LogFilter, Tracker
from tests.support import tracked_jobs
from tests.support.stores import PostgreSQL, open_sqlite
from tests.support.tracked_jobs import CURRENT, DEPENDENT

#: Tables that grow with what is stored.
GROWING = re.compile(
    r"\bSCAN (jobs|attempts|stages|events|samples|errors|measures|dependencies|resources"
    r"|conditions|workers|kinds|ahead)\b"
)
ANY = LogFilter(10, None, None, 1000)
FIRST, LAST = 1, 2**60

QUESTIONS: dict[str, Callable[[Tracker, int], Any]] = {
    "logs": lambda t, key: t.logs(key, CURRENT, LogFilter(20, None, None, 10_000)),
    "logs between": lambda t, key: t.logs(key, CURRENT, LogFilter(10, FIRST, LAST, 10)),
    "raw logs": lambda t, key: t.raw_logs(key, CURRENT, ANY),
    "progress": lambda t, key: t.progress(key, CURRENT),
    "progress of a queued job": lambda t, key: t.progress(key, DEPENDENT),
    "progress of an ended job": lambda t, key: t.progress(key, "past-3"),
    "timeline": lambda t, key: t.timeline(key, CURRENT, "minutes", sub_events=False),
    "major events": lambda t, key: t.timeline(key, CURRENT, "major_events", sub_events=False),
    "sub-events": lambda t, key: t.timeline(key, CURRENT, "seconds", sub_events=True),
    "metrics": lambda t, key: t.metrics(key, CURRENT, include_history=True),
    "dependencies": lambda t, key: t.dependencies(key, CURRENT),
    "named": lambda t, key: t.batch(key, Batch([CURRENT, DEPENDENT], None, None, 100)),
    "newest": lambda t, key: t.batch(key, Batch(None, None, None, 100)),
    "with metrics": lambda t, key: t.batch(key, Batch(None, None, None, 100), include_metrics=True),
    "by status": lambda t, key: t.batch(key, Batch(None, "Running", None, 100)),
    "by user": lambda t, key: t.batch(key, Batch(None, None, "user456", 100)),
    "by user and status": lambda t, key: t.batch(key, Batch(None, "Queued", "user456", 100)),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    home: Path = tmp_path_factory.mktemp("tracking")
    store = open_sqlite(home / "store.sqlite3")
    tracked_jobs.ingest(store, tracked_jobs.write(home))
    yield store
    store.close()


def statements_of(store: Store, question: Callable[[Tracker, int], Any]) -> list[tuple[str, Any]]:
    """What is asked of the store for one answer."""
    found: list[tuple[str, Any]] = []

    def note(_connection, _cursor, statement, parameters, _context, _many) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            found.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        question(Tracker(store, now=tracked_jobs.now_s), 1)
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
    return found


@pytest.mark.parametrize("name", QUESTIONS)
def test_rows_are_found_by_key(store: Store, name: str) -> None:
    """No statement reads a table that grows from one end to the other, or sorts all of it."""
    asked = statements_of(store, QUESTIONS[name])
    assert asked
    with store.reading() as connection:
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [row[3] for row in plan]
            assert not [step for step in steps if GROWING.search(step)], (statement, steps)


def test_a_job_takes_a_bounded_number_of_statements(store: Store) -> None:
    """And many jobs take no more than one job of each kind does."""
    one = statements_of(store, QUESTIONS["progress"])
    many = statements_of(store, QUESTIONS["newest"])
    assert len(one) <= 12
    assert len(many) <= 25
    assert len(statements_of(store, QUESTIONS["with metrics"])) <= 25


def test_jobs_of_another_project_are_unknown(store: Store) -> None:
    """An id is looked up within the project only."""
    with pytest.raises(KeyError, match=CURRENT):
        Tracker(store).progress(2, CURRENT)
    assert Tracker(store).batch(2, Batch([CURRENT], None, None, 1)).jobs == []
    assert Tracker(store).batch(2, Batch(None, None, None, 9)).jobs == []


@pytest.mark.peer
def test_both_stores_answer_alike(store: Store, postgresql: PostgreSQL, tmp_path: Path) -> None:
    """PostgreSQL finds the same rows by the same questions."""
    other = open_store(postgresql.new_database())
    try:
        tracked_jobs.ingest(other, tracked_jobs.write(tmp_path))
        for name, question in QUESTIONS.items():
            answers = [
                question(Tracker(each, now=tracked_jobs.now_s), 1) for each in (store, other)
            ]
            assert answers[0] == answers[1], name
    finally:
        other.close()
