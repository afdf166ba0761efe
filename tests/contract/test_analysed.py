"""The past runs of a period, as both sorts of store give them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event, insert

from fiveobs.monitor.analytics.columns import Origin
from fiveobs.monitor.store import schema
from fiveobs.monitor.store.analysed import Period, origins_of, past_runs, past_steps
from fiveobs.monitor.store.engine import Store
from tests.support.past_runs import run_row, step_row


def fill(store: Store) -> None:
    """Ten jobs of each of two kinds, created at second 0 to 9, every third tried twice."""
    with store.writing() as connection:

        def add(table: str, *rows: dict[str, Any]) -> None:
            connection.execute(insert(schema.metadata.tables[table]), list(rows))

        project = {"project_key": 1, "tenant_id": "t", "project_id": "p", "created_at_us": 0}
        add("projects", project)
        for key in (1, 2):
            kind = {"kind_key": key, "project_key": 1, "service": f"s{key}", "job_name": "etl"}
            add("kinds", kind)
        worker = {"project_key": 1, "worker_id": "w", "machine_id": "m"}
        known = {"resource": '{"service.version": "1.2"}', "memory_limit_bytes": 10**9}
        add("workers", {**worker, "worker_key": 1, "stem": "a", **known})
        add("workers", {"project_key": 1, "worker_key": 2, "stem": "b"})
        for key in range(1, 21):
            at_us = (key - 1) % 10 * 1_000_000
            job = {"job_key": key, "project_key": 1, "job_id": f"job-{key}", "attempt": 1}
            job |= {"kind_key": 1 + key // 11, "status": "completed", "updated_at_us": 0}
            add("jobs", {**job, "created_at_us": at_us})
            for attempt in (1, 2) if key % 3 == 0 else (1,):
                run = run_row(key, at_us / 1e6, attempt=attempt)._asdict()
                del run["job_id"]
                add("attempts", {**run, "status_at_us": 0})
                step = step_row(key, at_s=at_us / 1e6, attempt=attempt)._asdict()
                add("stages", {**step, "stage_index": 1})


def keys_of(store: Store, period: Period) -> list[tuple[int, int]]:
    """Jobs and attempts, of the runs; the steps are the same."""
    with store.reading() as connection:
        runs, steps = past_runs(connection, period), past_steps(connection, period)
    found = sorted((row.job_key, row.attempt) for row in runs)
    assert sorted((row.job_key, row.attempt) for row in steps) == found
    return found


def test_the_jobs_of_a_period_come_with_every_attempt_and_step(store: Store) -> None:
    """From a moment on, and before another, of the kinds that are asked for."""
    fill(store)
    period = Period([1], 2_000_000, 6_000_000)
    assert keys_of(store, period) == [(3, 1), (3, 2), (4, 1), (5, 1), (6, 1), (6, 2)]
    assert {job for job, _ in keys_of(store, period._replace(kind_keys=[1, 2]))} == {
        *(3, 4, 5, 6),
        *(13, 14, 15, 16),
    }


def test_a_limit_leaves_the_newest_jobs_of_all_kinds(store: Store) -> None:
    """With all their attempts."""
    fill(store)
    assert keys_of(store, Period([1], 0, 10**9, limit=2)) == [(9, 1), (9, 2), (10, 1)]
    both = keys_of(store, Period([1, 2], 0, 10**9, limit=4))
    assert {job for job, _ in both} == {9, 10, 19, 20}


def test_rows_have_every_figure(store: Store) -> None:
    """As they were written."""
    fill(store)
    with store.reading() as connection:
        period = Period([1], 0, 1)
        assert past_runs(connection, period) == [run_row(1, 0.0)]
        assert past_steps(connection, period) == [step_row(1, at_s=0.0)]


def test_what_has_not_begun_or_is_not_over_is_left_out(store: Store) -> None:
    """A run that still goes on has no duration yet."""
    fill(store)
    with store.writing() as connection:
        for key, column in ((1, "started_at_us"), (2, "ended_at_us")):
            change = schema.attempts.update().where(schema.attempts.c.job_key == key)
            connection.execute(change.values({column: None}))
    with store.reading() as connection:
        found = past_runs(connection, Period([1], 0, 3_000_000))
    assert {row.job_key for row in found} == {3}


def test_no_kind_has_no_past(store: Store) -> None:
    """Nor has a period in which nothing was."""
    fill(store)
    assert keys_of(store, Period([], 0, 10**9)) == []
    assert keys_of(store, Period([1], 10**8, 10**9)) == []


def test_a_process_says_where_it_ran(store: Store) -> None:
    """Worker, machine, release and memory; what it does not say is empty."""
    fill(store)
    with store.reading() as connection:
        found = origins_of(connection, [None, 1, 2, 2, *range(1_000, 3_000)])
    assert found == {1: Origin("w", "m", "1.2", 10**9), 2: Origin()}


def test_a_period_is_read_by_an_index(sqlite_store: Store) -> None:
    """Nothing in the plan goes through a whole table."""
    fill(sqlite_store)
    statements: list[tuple[str, Any]] = []

    def note(_c: Any, _k: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    with sqlite_store.reading() as connection:
        event.listen(connection, "before_cursor_execute", note)
        past_runs(connection, Period([1, 2], 0, 10**9))
        past_steps(connection, Period([1, 2], 0, 10**9))
        event.remove(connection, "before_cursor_execute", note)
        for statement, parameters in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            scans = [row[3] for row in plan if row[3].startswith("SCAN")]
            assert all("anon" in scan or "SUBQUERY" in scan for scan in scans), scans
    assert len(statements) == 2
