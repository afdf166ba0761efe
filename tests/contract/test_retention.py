"""What every store does alike when what has expired goes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

from fiveobs.journal.locks import StemLock
from fiveobs.monitor.retention import keeps
from fiveobs.monitor.retention.expired import kinds_of, spans_of
from fiveobs.monitor.retention.policy import DEFAULTS_S, Policy
from fiveobs.monitor.retention.service import LOCK, Retention
from fiveobs.monitor.retention.sweeps import JobSweep
from fiveobs.monitor.store import schema
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.tracker import LogFilter, Tracker
from fiveobs.monitor.webhooks.turns import Turns
from tests.support.ingesting import Taking, rows
from tests.support.journals import line, write_segment
from tests.support.programs import ROOT
from tests.support.retained import DAY_S, START_S, Past, at_day, everything

TIMEOUT_S = 60
US = 1_000_000
KEEP_AGGREGATES = Policy({"aggregates": None})


@pytest.fixture
def past(store: Store, fiveobs_home: Path) -> Iterator[Past]:
    made = Past(store, fiveobs_home)
    yield made
    made.end()


def tables_left(store: Store) -> dict[str, int]:
    return {name: len(found) for name, found in everything(store).items() if found}


# --- what goes when ---


def test_what_is_of_a_job_goes_part_by_part(past: Past) -> None:
    """Of a job that was completed: log lines and measures, then bad lines and errors, then all."""
    past.job("a")
    past.take()
    past.clean(29.9)
    assert past.logs("a") == ["fine", "bad"]
    assert rows(past.store, "measures", "total") == [2.0]
    past.clean(30.1)
    assert past.logs("a") == ["bad"]
    assert rows(past.store, "measures") == []
    past.clean(89.9)
    assert past.logs("a") == ["bad"]
    assert len(rows(past.store, "errors")) == 1
    past.clean(90.1)
    assert past.logs("a") == []
    assert rows(past.store, "errors") == []
    past.clean(179.9)
    assert rows(past.store, "events", "event_type") == ["job.started", "job.completed"]
    past.clean(180.1)
    assert past.jobs() == []
    assert rows(past.store, "events") == rows(past.store, "attempts") == []


def test_what_failed_is_kept_longer(past: Past) -> None:
    """All log lines of a failed job for 90 days, its unresolved errors and itself for a year."""
    past.job("a", "failed")
    past.say(1.0, "job.lost", job_id="b", job_name="other", service="s", data={"cause": "exited"})
    past.take()
    past.clean(89.9)
    assert past.logs("a") == ["fine", "bad"]
    past.clean(90.1)
    assert past.logs("a") == []
    past.clean(364.9)
    assert len(rows(past.store, "errors")) == 2
    assert sorted(past.jobs()) == ["a", "b"]
    past.clean(365.1)
    assert past.jobs() == rows(past.store, "errors") == rows(past.store, "events") == []


@pytest.mark.parametrize(("completed_s", "is_resolved"), [(-50.0, False), (50.0, True)])
def test_an_error_is_resolved_by_a_later_run(
    past: Past, completed_s: float, is_resolved: bool
) -> None:
    """One of the same kind that is completed after the failed one ended; no earlier one is."""
    past.job("bad", "failed", 0.0)
    past.job("other", "completed", 60.0, name="another kind")
    past.say(completed_s, "job.completed", job_id="good", job_name="etl", service="s")
    past.take()
    past.clean(91.0)
    keys = dict(rows(past.store, "jobs", "job_id", "job_key"))
    left = Counter(rows(past.store, "errors", "job_key"))
    assert left[keys["bad"]] == (0 if is_resolved else 2)
    assert left[keys["other"]] == 0  # it did not fail in the end


def test_resolved_and_unresolved_errors_have_times_of_their_own(past: Past) -> None:
    """Whichever is kept longer: the one does not go with the other's time."""
    past.job("resolved", "failed", 0.0)
    past.say(50.0, "job.completed", job_id="good", job_name="etl", service="s")
    past.job("unresolved", "failed", 100.0)
    past.take()
    keys = dict(rows(past.store, "jobs", "job_id", "job_key"))
    policy = Policy({"errors": None, "unresolved_errors": 10 * DAY_S})
    past.clean(20.0, policy)
    assert rows(past.store, "errors", "job_key") == [keys["resolved"]] * 2
    past.clean(100.0)
    assert rows(past.store, "errors") == []


def test_what_is_exactly_as_old_as_it_is_kept_stays(past: Past) -> None:
    """It goes when it is older, by a microsecond."""
    past.job("a")
    past.take()
    policy = Policy({"logs": DAY_S, "events": 2 * DAY_S})
    past.clean(1.0, policy)
    assert past.logs("a") == ["fine", "bad"]
    past.clean(1.0 + 2e-6 / DAY_S, policy)
    assert past.logs("a") == ["bad"]
    past.clean(2.0, policy)
    assert past.jobs() == ["a"]
    past.clean(2.0 + 2e-6 / DAY_S, policy)
    assert past.jobs() == []


@pytest.mark.parametrize("status", ["received", "running", "paused"])
def test_nothing_goes_of_a_job_that_has_not_ended(past: Past, status: str) -> None:
    """However old it is; and when it has, its time begins with its end."""
    fields = {"job_id": "a", "job_name": "etl", "service": "s", "span_id": "ab" * 8}
    past.say(0.0, "job.received", **fields)
    if status != "received":
        past.say(1.0, "job.started", **fields)
    if status == "paused":
        past.say(2.0, "job.paused", **fields)
    past.say(3.0, "log", message="fine", **fields)
    past.say(
        3.0,
        "metric",
        data={"kind": "gauge", "name": "n", "value": 1, "unit": "", "labels": {}},
        **fields,
    )
    past.take()
    before = everything(past.store)
    assert past.clean(3_650.0).rows.total() == 0
    assert everything(past.store) == before
    past.say(3_649.0 * DAY_S, "job.completed", **fields)
    past.take()
    past.clean(3_678.9)
    assert past.logs("a") == ["fine"]
    past.clean(3_679.1)
    assert past.logs("a") == []
    assert past.jobs() == ["a"]


def test_what_belongs_to_no_job_goes_too(past: Past) -> None:
    """Heartbeats after 30 days, bad lines of journals after 90, events of workers after 180."""
    past.worker("host-1-1", "t", "p")
    past.say(5.0, "worker.heartbeat", data={"active_jobs": 1, "memory_rss_bytes": 100})
    write_segment(past.taking.ingester._folder.parent, "host-1-1", 1, b"garbage\n")
    past.taking.all()
    with past.store.writing() as connection:
        at_us = round(START_S * US)
        connection.execute(text(f"UPDATE unreadable SET found_at_us = {at_us}"))
    for day, samples, unreadable, events in (
        (29, 1, 1, 1),
        (31, 0, 1, 1),
        (91, 0, 0, 1),
        (181, 0, 0, 0),
    ):
        past.clean(day)
        found = [len(rows(past.store, each)) for each in ("samples", "unreadable", "events")]
        assert found == [samples, unreadable, events], day
    assert len(rows(past.store, "workers")) == 1  # it says how far its journal is read


def test_everything_that_a_job_has_goes_with_it(past: Past) -> None:
    """Stages, resources, conditions, dependencies, a subscription with its deliveries."""
    fields = {"job_id": "a", "job_name": "etl", "service": "s"}
    past.say(0.0, "job.received", data={"depends_on": ["b"]}, **fields)
    past.say(1.0, "stage.started", data={"stage": "Load", "index": 1}, **fields)
    past.say(1.0, "resource.allocated", data={"resource": "gpu", "amount": 1}, **fields)
    changed = {"entity": "input", "from_state": "ok", "to_state": "blocking"}
    past.say(1.0, "state.changed", data=changed, **fields)
    past.job("a", at_s=5.0)
    past.take()
    with past.store.writing() as connection:
        row = {"subscription_id": "x", "project_key": 1, "job_key": 1, "kind": "webhook"}
        row |= {"status": "active", "events": [], "filters": {}, "created_at_us": 0, "event_key": 0}
        connection.execute(insert(schema.subscriptions).values(subscription_key=7, **row))
        told = {"subscription_key": 7, "job_key": 1, "stage_index": 0, "attempt": 1, "percent": 1.0}
        connection.execute(insert(schema.told).values(told))
        sent = {"subscription_key": 7, "event_key": 1, "status": "dead", "created_at_us": 0}
        connection.execute(insert(schema.deliveries).values(sent))
    of_job = {"stages", "resources", "conditions", "dependencies", "subscriptions", "told"}
    assert of_job | {"deliveries"} <= tables_left(past.store).keys()
    past.clean(200.0)
    kept = {"sequences", "projects", "workers", "kinds", "trimmed", "series", "aggregates"}
    kept |= {"positions", "rule_progress"}
    assert tables_left(past.store).keys() <= kept


def test_a_job_with_many_events_goes_in_several_steps(past: Past) -> None:
    """No step takes many more rows than it may; small jobs go whole."""
    for _ in range(130):
        past.say(0.0, "log", job_id="large", job_name="etl", service="s")
    past.job("large")
    past.job("small", at_s=1.0)
    past.take()
    (project,) = _projects(past.store)
    taken, seen = [], []
    with past.store.reading() as connection:
        (kind,) = kinds_of(connection, project)
        spans = spans_of(connection, kind, round(at_day(200)() * US))
    (span,) = [each for each in spans if each.is_removal]
    sweep, is_done = JobSweep(span), False
    while not is_done:
        with past.store.writing() as connection:
            step, is_done = sweep.step(connection, 50)
        taken.append(step["events"])
        seen.append(past.jobs())
    assert taken == [50, 50, 38, 0]
    assert seen[:2] == [["large", "small"]] * 2
    assert seen[2:] == [[], []]


def _projects(store: Store) -> list[keeps.Project]:
    with store.reading() as connection:
        return keeps.projects_of(connection, Policy())


# --- per tenant ---


def test_tenants_and_projects_have_their_own_times(past: Past) -> None:
    """A project wins over its tenant, and that over the monitor; others are not touched."""
    for tenant_id, project_id in (("t", "p"), ("t", "q"), ("u", "p")):
        stem = f"{tenant_id}-{project_id}-1"
        past.worker(stem, tenant_id, project_id)
        past.job(f"{tenant_id}/{project_id}", stem=stem)
    past.take()
    with past.store.writing() as connection:
        said = {"project_key": 1, "actor": "x", "now_us": 0}
        keeps.change(connection, "t", None, {"logs": 5 * DAY_S, "events": 5 * DAY_S}, **said)
        keeps.change(connection, "t", "q", {"events": None, "error_logs": "default"}, **said)
    past.clean(6.0)
    assert sorted(past.jobs()) == ["t/q", "u/p"]
    assert past.logs("t/q") == ["bad"]
    assert past.logs("u/p") == ["fine", "bad"]
    past.clean(1_000.0)
    assert past.jobs() == ["t/q"]
    with past.store.reading() as connection:
        found = keeps.effective(connection, Policy(), "t", "q")
    assert {each.part: each.said_by for each in found if each.said_by != "monitor"} == {
        "logs": "tenant",
        "events": "project",
    }
    actions = rows(past.store, "audit", "action", "target", "details")
    assert actions[1] == ("retention.set", "t/q", {"events": "forever", "error_logs": "default"})


def test_forever_keeps_everything(past: Past) -> None:
    """With nothing to expire, a pass takes nothing, however much later."""
    past.job("a")
    past.job("b", "failed")
    past.take()
    before = everything(past.store)
    past.clean(100_000.0, Policy(dict.fromkeys(DEFAULTS_S)))
    assert everything(past.store) == before


# --- counting ---


def fill(past: Past) -> None:
    """Jobs that end in many ways over half a year."""
    past.worker("host-1-1", "default", "default")
    for number in range(60):
        end = ("completed", "failed", "stopped", "running")[number % 4]
        at_s = number * 5 * DAY_S
        past.job(f"job-{number}", end, at_s, took_s=1.0 + number, name=f"kind-{number % 3}")
        figures = {"active_jobs": number, "memory_rss_bytes": 10 * number, "cpu_s": 1.0}
        past.say(at_s, "worker.heartbeat", data=figures)
    past.take()


def test_a_count_changes_nothing_and_says_what_then_goes(past: Past) -> None:
    """Rows by project, part and table are the same; counted again, nothing is left."""
    fill(past)
    before = everything(past.store)
    for day in (250.0, 400.0):
        counted = past.cleaner(day, KEEP_AGGREGATES).count()
        assert everything(past.store) == before
        said = {
            (each.project.tenant_id, each.project.project_id, each.part, each.table): each.rows
            for each in counted
        }
        assert sum(said.values()) > 100
        assert not any(each.is_estimate for each in counted)
        assert all((each.from_us or 0) <= (each.to_us or 0) for each in counted)
        assert past.clean(day, KEEP_AGGREGATES).rows == said
        assert past.cleaner(day, KEEP_AGGREGATES).count() == []
        before = everything(past.store)


def test_many_rows_are_estimated(past: Past) -> None:
    """From the first jobs of a span, and it is said to be so; the jobs themselves are counted."""
    for number in range(230):
        past.say(float(number), "job.completed", job_id=f"job-{number}", job_name="k", service="s")
    past.take()
    found = {each.table: each for each in past.cleaner(200.0).count()}
    assert (found["jobs"].rows, found["events"].rows) == (230, 230)
    assert found["events"].is_estimate


# --- what is left ---


def aggregated(store: Store) -> dict[tuple[str, int], tuple[int, float]]:
    """By metric and interval: how many values, and their sum."""
    found: dict[tuple[str, int], tuple[int, float]] = {}
    metrics = dict(rows(store, "series", "series_key", "metric"))
    for key, interval_s, count, total in rows(
        store, "aggregates", "series_key", "interval_s", "count", "total"
    ):
        before = found.get((metrics[key], interval_s), (0, 0.0))
        found[metrics[key], interval_s] = before[0] + count, before[1] + total
    return found


def expected(past: Past) -> dict[tuple[str, int], tuple[int, float]]:
    """The same, of the rows themselves, of which those of open jobs are kept."""
    ended = rows(past.store, "jobs", "job_key", "duration_s", "status")
    took = [duration for _, duration, status in ended if status != "running"]
    keys = {key for key, _, status in ended if status != "running"}
    of_ended = [row for row in rows(past.store, "measures", "job_key", "total") if row[0] in keys]
    names = ("active_jobs", "cpu_percent", "memory_rss_bytes", "memory_used_bytes")
    sums = {
        "job.duration_s": took,
        "measure": [total for _, total in of_ended],
        **{f"worker.{name}": rows(past.store, "samples", name) for name in names},
    }
    return {
        (metric, interval_s): (len(known), float(sum(known)))
        for metric, values in sums.items()
        for known in [[value for value in values if value is not None]]
        for interval_s in (3_600, 86_400)
        if known
    }


def test_aggregates_say_what_the_rows_said(past: Past) -> None:
    """Counts and sums of what has gone, by hour and by day, however many passes there were."""
    fill(past)
    said = expected(past)
    for day in (60.0, 200.0, 333.3, 1_000.0):
        past.clean(day, KEEP_AGGREGATES)
    assert aggregated(past.store) == said
    assert set(rows(past.store, "jobs", "status")) == {"running"}
    by_status = [
        each for each in rows(past.store, "series", "metric", "labels") if "status" in each[1]
    ]
    assert len(by_status) == 9  # three kinds that ended in three ways


def test_aggregates_go_after_their_time(past: Past) -> None:
    """An hour and a day when all of it is older than a year."""
    past.worker("host-1-1", "t", "p")
    past.say(0.0, "worker.heartbeat", data={"active_jobs": 1})
    past.take()
    past.clean(40.0)
    assert len(rows(past.store, "aggregates")) == 2
    past.clean(364.9)
    assert len(rows(past.store, "aggregates")) == 2
    past.clean(367.0)
    assert rows(past.store, "aggregates") == []


KILLED = """
import os, signal, sys, threading
from sqlalchemy import event
from fiveobs.monitor.retention.cleaner import Cleaner
from fiveobs.monitor.retention.policy import Policy
from fiveobs.monitor.store.engine import open_store
url, now_s, after = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
store = open_store(url, migrate=False)
seen = 0
@event.listens_for(store.engine, "after_cursor_execute")
def count(connection, cursor, statement, *rest):
    global seen
    seen += statement.lstrip().split()[0] in ("INSERT", "UPDATE", "DELETE")
    if seen > after:
        os.kill(os.getpid(), signal.SIGKILL)
Cleaner(store, Policy({"aggregates": None}), now=lambda: now_s).clean(threading.Event())
"""


def test_a_pass_that_is_killed_loses_nothing_and_counts_nothing_twice(past: Past) -> None:
    """Wherever it is killed, rows and aggregates together say the same; the next pass goes on."""
    fill(past)
    said = expected(past)
    url = past.store.engine.url.render_as_string(hide_password=False)
    kills = 0
    for after in (2, 9, 25, 60):
        arguments = [KILLED, url, str(at_day(1_000.0)()), str(after)]
        done = subprocess.run(
            [sys.executable, "-c", *arguments], cwd=ROOT, timeout=TIMEOUT_S, check=False
        )
        kills += done.returncode == -9
        together = Counter({name: values[0] for name, values in aggregated(past.store).items()})
        for name, values in expected(past).items():
            together[name] += values[0]
        assert together == {name: values[0] for name, values in said.items()}
    assert kills > 2
    past.clean(1_000.0, KEEP_AGGREGATES)
    assert aggregated(past.store) == said


def test_a_pass_that_is_ended_goes_on_with_the_next(past: Past) -> None:
    """It ends after the batch that it is in; what all of them took is what one would have."""
    fill(past)
    counted = Counter({each.table: each.rows for each in past.cleaner(250.0).count()})
    assert counted
    taken: Counter[str] = Counter()
    for _ in range(1_000):
        stop = threading.Event()
        passed = past.cleaner(250.0).clean(stop, told=lambda *_, stop=stop: stop.set())
        for gone, count in passed.rows.items():
            taken[gone.table] += count
        if passed.is_complete:
            break
    assert passed.is_complete
    assert past.cleaner(250.0).count() == []
    assert taken.keys() == counted.keys()


# --- beside ingest ---


def test_ingest_goes_on_meanwhile(past: Past, fiveobs_home: Path) -> None:
    """Nothing is locked, and every new event is there once."""
    for number in range(400):
        past.job(f"old-{number}", at_s=float(number))
    past.take()
    ingest, over = Taking(past.store, fiveobs_home), threading.Event()
    stem = "host-2-2"
    # Held, as a worker that lives does: else the journal is looked at less often.
    alive = StemLock(fiveobs_home / "journal" / f"{stem}.lock")
    assert alive.acquire(create=True)

    def feed() -> None:
        for number in range(60):
            new = [
                line(number, "log", job_id=f"new-{number % 7}", after_s=400 * DAY_S + number)
                for _ in range(20)
            ]
            write_segment(fiveobs_home, stem, 1, *new)
            ingest.all()
            if over.is_set():
                return

    thread = threading.Thread(target=feed)
    thread.start()
    passed = past.clean(400.0, KEEP_AGGREGATES)
    thread.join(TIMEOUT_S)
    over.set()
    ingest.all()
    alive.release()
    assert ingest.reports == []
    assert passed.rows.total() >= 400 * 6
    assert len(rows(past.store, "events")) == 60 * 20
    assert sorted(past.jobs()) == [f"new-{number}" for number in range(7)]
    assert sum(rows(past.store, "attempts", "info_entries")) == 60 * 20


def test_an_ingester_that_knew_a_job_which_has_gone_makes_it_anew(past: Past) -> None:
    """A late event finds no half job; no line is set aside."""
    past.job("a")
    past.take()
    past.clean(200.0)
    assert past.jobs() == []
    past.say(10.0, "job.progress", job_id="a", job_name="etl", service="s", data={"percent": 50})
    past.take()
    assert past.jobs() == ["a"]
    assert rows(past.store, "events", "event_type") == ["job.progress"]
    assert rows(past.store, "attempts", "info_entries") == [1]


def test_an_answer_says_what_is_not_there_any_more(past: Past) -> None:
    """The summary counts what there was, and names what retention has taken of it."""
    past.job("a")
    past.job("b", at_s=20 * DAY_S)
    past.take()
    tracker = Tracker(past.store, now=at_day(31.0))
    wanted = LogFilter(10, None, None, 100)
    assert tracker.logs(1, "a", wanted).expired is None
    past.clean(31.0)
    answer = tracker.logs(1, "a", wanted)
    assert answer.expired == ["logs"]
    assert [each.message for each in answer.logs if each.event_type == "log"] == ["bad"]
    assert answer.logs_summary.total_entries == 4
    assert tracker.logs(1, "b", wanted).expired is None
    assert "expired" not in tracker.logs(1, "b", wanted).model_dump(mode="json")
    assert tracker.progress(1, "a").status == "Completed"


# --- the service ---


def test_one_monitor_at_a_time_does_it(past: Past) -> None:
    """While another one is at it, a pass of PostgreSQL's is left out; a file has one monitor."""
    past.job("a")
    past.take()
    reports: list[Any] = []
    service = Retention(
        past.store, Policy(), report=lambda *what: reports.append(what), now=at_day(200.0)
    )
    other = Turns(past.store, LOCK)
    assert other.is_mine()
    assert service.step(threading.Event()) is past.store.is_sqlite
    other.close()
    assert service.step(threading.Event())
    assert past.jobs() == []
    assert service.rows["jobs"] == 1
    assert service.last_at_s == at_day(200.0)()
    assert reports == []
