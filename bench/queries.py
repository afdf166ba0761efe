"""What an answer of the tracking API costs in a small store and in a large one.

``python bench/queries.py`` fills two SQLite stores, of 10,000 and of 1,000,000 jobs with ten events
each, asks both the same questions in turn, and prints the median and the 99th percentile of each,
with the ratios and the targets. ``--url postgresql://…`` does it in a PostgreSQL server, in two
databases that it makes and drops. A question is asked as the routes ask it, rows to JSON, without
HTTP, which would add the same to both. Then a process serves each store with the application, and
the batch and the single job are asked for over HTTP, as a caller does, on one connection kept
alive. Needs about 4 GB for the large store.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvicorn
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from fiveobs.monitor.access import create_token
from fiveobs.monitor.api.app import create_app
from fiveobs.monitor.enhanced.executions import Lists, Workflow
from fiveobs.monitor.enhanced.models import Page, WorkflowExecution
from fiveobs.monitor.heads import PromptProtocol
from fiveobs.monitor.settings import load_settings
from fiveobs.monitor.store.engine import Store, open_store
from fiveobs.monitor.store.executions import Executions, Mark
from fiveobs.monitor.tracker import Batch, LogFilter, Tracker

#: The 99th percentile in the large store is at most so many times that in the small one.
TARGET_GROWTH = 1.5
#: A batch of 100 jobs takes a caller at most so many times a single job.
TARGET_BATCH = 3.0
#: Seconds since 1970 at which everything is looked at.
NOW_S = 1_800_000_000
KINDS, WORKERS, SAMPLES, EVENTS, BATCH = 100, 20, 200, 10, 100
#: Jobs that run and that wait; the rest is done. Alike in both stores: it is the past that grows.
OPEN = 100
#: Jobs that are added by one statement.
CHUNK = 50_000

_SETUP = (
    "INSERT INTO projects VALUES (1, 'default', 'default', 0)",
    "INSERT INTO kinds SELECT i, 1, 'bench', 'kind-' || i FROM n",
    """INSERT INTO workers (worker_key, stem, project_key, machine_id, cpu_count, heartbeat_at_us,
       cpu_percent, memory_rss_bytes, memory_used_bytes, memory_limit_bytes, active_jobs)
       SELECT i, 'w-' || i, 1, 'm-' || i, 2, :now_us, 50, 1000000, 1000000, 4000000, 5 FROM n
       WHERE i <= :workers""",
    """INSERT INTO samples (worker_key, at_us, cpu_percent, memory_rss_bytes)
       SELECT w.i, :now_us - 5000000 * CAST(s.i AS BIGINT), 50, 1000000
       FROM n AS w CROSS JOIN n AS s WHERE w.i <= :workers""",
)
_JOBS = """INSERT INTO jobs (job_key, project_key, job_id, kind_key, status, attempt, submitted_by,
    queue, created_at_us, started_at_us, ended_at_us, duration_s, updated_at_us)
  SELECT i, 1, 'job-' || i, 1 + i % :kinds,
    CASE WHEN i > :jobs - :open THEN 'received' WHEN i > :jobs - 2 * :open THEN 'running'
         ELSE 'completed' END,
    1, 'user-' || (i % 50), 'queue-' || (i % 3), :first_us + 1000000 * CAST(i AS BIGINT),
    CASE WHEN i > :jobs - :open THEN NULL ELSE :first_us + 1000000 * CAST(i AS BIGINT) END,
    CASE WHEN i > :jobs - 2 * :open THEN NULL
         ELSE :first_us + 1000000 * CAST(i AS BIGINT) + 600000000 END,
    CASE WHEN i > :jobs - 2 * :open THEN NULL ELSE 600 + i % 97 END,
    :first_us + 1000000 * CAST(i AS BIGINT)
  FROM n"""
_ATTEMPTS = """INSERT INTO attempts (job_key, attempt, status, status_at_us, worker_key, percent,
    planned_stages, info_entries)
  SELECT i, 1, 'running', 0, 1 + i % :workers, 40, '["Load","Report"]', :events FROM n"""
_STAGES = """INSERT INTO stages (job_key, attempt, stage_index, stage, status, started_at_us,
    ended_at_us, updated_at_us, unit, done, total, rate_per_s, duration_s)
  SELECT n.i, 1, k.i, CASE WHEN k.i = 1 THEN 'Load' ELSE 'Report' END, 'completed',
    :first_us + 1000000 * CAST(n.i AS BIGINT),
    :first_us + 1000000 * CAST(n.i AS BIGINT) + 300000000, :first_us,
    'records', 1000, 1000, 3.3, 300
  FROM n CROSS JOIN k WHERE k.i <= 2"""
_EVENTS = """INSERT INTO events (event_key, event_id, project_key, job_key, attempt, worker_key,
    at_us, event_type, level, message, data)
  SELECT (CAST(n.i AS BIGINT) - 1) * :events + k.i, 'e-' || n.i || '-' || k.i, 1, n.i, 1,
    1 + n.i % :workers, :first_us + 1000000 * CAST(n.i AS BIGINT) + 1000 * k.i,
    CASE k.i WHEN 1 THEN 'job.started' WHEN 2 THEN 'stage.started' WHEN 9 THEN 'stage.progress'
             WHEN 10 THEN 'stage.completed' ELSE 'log' END,
    20, 'a line of text that says something',
    '{"stage": "Load", "index": 1, "done": ' || k.i || ', "total": 1000, "path": "/tmp/x"}'
  FROM n CROSS JOIN k"""
_NUMBERS = """WITH RECURSIVE n(i) AS (SELECT CAST(:low AS INTEGER) UNION ALL
    SELECT i + 1 FROM n WHERE i < :high),
  k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < :events) """

Question = Callable[["Filled", str, list[str]], Any]
QUESTIONS: dict[str, Question] = {
    "logs": lambda f, job, _: f.tracker.logs(1, job, LogFilter(20, None, None, 1000)),
    "progress": lambda f, job, _: f.tracker.progress(1, job),
    "timeline": lambda f, job, _: f.tracker.timeline(1, job, "minutes", sub_events=False),
    "metrics": lambda f, job, _: f.tracker.metrics(1, job),
    "dependencies": lambda f, job, _: f.tracker.dependencies(1, job),
    "page": lambda f, job, _: f.page(job, Executions(1)),
    "page of kind": lambda f, job, _: f.page(job, Executions(1), is_of_kind=True),
    "page failed": lambda f, job, _: f.page(job, Executions(1, status="failed"), is_of_kind=True),
    "page longest": lambda f, job, _: f.page(job, Executions(1, sort="execution_time")),
    "batch of 1": lambda f, job, _: f.tracker.batch(1, Batch([job], None, None, 1)),
    "batch of 100": lambda f, _, jobs: f.tracker.batch(1, Batch(jobs, None, None, 100)),
    "newest 100": lambda f, *_: f.tracker.batch(1, Batch(None, None, None, 100)),
}
#: What costs more the more jobs there are, but not the more are stored.
OF_MANY = ("batch of 1", "batch of 100", "newest 100")


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A store with so many jobs."""

    url: str
    store: Store
    tracker: Tracker
    jobs: int

    @property
    def running(self) -> list[str]:
        """Jobs that run, of which most is told, and so they cost most."""
        first = self.jobs - 2 * OPEN + 1
        return [f"job-{first + each}" for each in range(BATCH)]

    def page(
        self, job_id: str, wanted: Executions, *, is_of_kind: bool = False
    ) -> Page[WorkflowExecution]:
        """The executions after a job, wherever in the list it is."""
        number = int(job_id.partition("-")[2])
        at_us = (NOW_S - self.jobs + number) * 1_000_000
        mark = Mark(at_us if wanted.sort == "created_at" else 600 + number % 97, number)
        kind = Workflow(f"kind-{1 + number % KINDS}", "bench") if is_of_kind else None
        found, _ = Lists(self.store, now=lambda: NOW_S).workflows(wanted, kind, mark, BATCH)
        return Page(items=found, next=None)


def main(arguments: list[str] | None = None) -> int:
    """Fill, ask, print; 1 if a target is missed."""
    options = _options(arguments)
    with ExitStack() as stack:
        small, large = (
            stack.enter_context(_filled(options, jobs))
            for jobs in (options.small_jobs, options.large_jobs)
        )
        took = _measure(small, large, options.requests, random.Random(options.seed))
        missed = _print(took, small.jobs, large.jobs)
        served = {each.jobs: _measure_served(each, options.requests) for each in (small, large)}
    missed += _print_served(served)
    print(
        f"targets: p99 at most {TARGET_GROWTH} times; a batch at most {TARGET_BATCH} times one job"
    )
    return int(missed > 0)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--small-jobs", type=int, default=10_000)
    parser.add_argument("--large-jobs", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=1_000, help="of each question, each store")
    parser.add_argument("--url", help="a PostgreSQL server; SQLite in a temporary folder if absent")
    parser.add_argument("--folder", help="where SQLite's files are made")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


# --- filling -----------------------------------------------------------------------------------


@contextmanager
def _filled(options: argparse.Namespace, jobs: int) -> Iterator[Filled]:
    place = _database(options.url, jobs) if options.url else _file(options.folder)
    with place as url:
        store = open_store(url)
        began = time.perf_counter()
        _fill(store, jobs)
        took = time.perf_counter() - began
        print(f"filled {jobs:,} jobs, {jobs * EVENTS:,} events in {took:.0f} s", flush=True)
        try:
            tracker = Tracker(store, now=lambda: NOW_S)
            yield Filled(url=url, store=store, tracker=tracker, jobs=jobs)
        finally:
            store.close()


@contextmanager
def _file(folder: str | None) -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=folder) as made:
        yield f"sqlite:///{made}/store.sqlite3"


@contextmanager
def _database(url: str, jobs: int) -> Iterator[str]:
    server = make_url(url).set(drivername="postgresql+psycopg")
    name = f"fiveobs_bench_{jobs}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(drivername="postgresql", database=name).render_as_string(False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


def _fill(store: Store, jobs: int) -> None:
    now_us = NOW_S * 1_000_000
    given = {"now_us": now_us, "first_us": now_us - jobs * 1_000_000, "jobs": jobs}
    given |= {"kinds": KINDS, "workers": WORKERS, "events": EVENTS, "open": OPEN}
    with store.writing() as connection:
        for statement in _SETUP:
            _run(connection, statement, {**given, "low": 1, "high": SAMPLES})
    for low in range(1, jobs + 1, CHUNK):
        span = {**given, "low": low, "high": min(low + CHUNK - 1, jobs)}
        with store.writing() as connection:
            for statement in (_JOBS, _ATTEMPTS, _STAGES, _EVENTS):
                _run(connection, statement, span)
    if not store.is_sqlite:
        with store.writing() as connection:
            connection.execute(text("ANALYZE"))


def _run(connection: Any, statement: str, given: dict[str, Any]) -> None:
    """Add rows, with the numbers that they are made of."""
    whole = statement.replace("SELECT", f"{_NUMBERS} SELECT", 1) if " n" in statement else statement
    used = {name: value for name, value in given.items() if f":{name}" in whole}
    connection.execute(text(whole), used)


# --- asking ------------------------------------------------------------------------------------


def _measure(
    small: Filled, large: Filled, requests: int, chance: random.Random
) -> dict[str, dict[int, list[float]]]:
    """Milliseconds of each question in each store, asked in turn so that noise hits all alike."""
    took: dict[str, dict[int, list[float]]] = {
        name: {small.jobs: [], large.jobs: []} for name in QUESTIONS
    }
    for number in range(-20, requests):
        for name, question in QUESTIONS.items():
            for filled in (small, large) if number % 2 else (large, small):
                jobs = filled.running
                if "batch" not in name:
                    jobs = [f"job-{chance.randint(1, filled.jobs)}"]
                began = time.perf_counter()
                question(filled, jobs[0], jobs).model_dump_json()
                ms = 1000 * (time.perf_counter() - began)
                if number >= 0:  # the first ones compile statements and fill caches
                    took[name][filled.jobs].append(ms)
    return took


# --- asking over HTTP --------------------------------------------------------------------------

_PATH = "/api/default/default/execution"
#: What is asked, by name: with the jobs that run.
PATHS: dict[str, Callable[[list[str]], str]] = {
    "progress of one": lambda jobs: f"{_PATH}/job/{jobs[0]}/progress",
    "batch of 1": lambda jobs: f"{_PATH}/tracking/batch?jobIds={jobs[0]}",
    f"batch of {BATCH}": lambda jobs: f"{_PATH}/tracking/batch?jobIds={','.join(jobs)}",
}


def _measure_served(filled: Filled, requests: int) -> dict[str, list[float]]:
    """Milliseconds until a caller has the whole answer, asked in turn."""
    took: dict[str, list[float]] = {name: [] for name in PATHS}
    token = create_token(filled.store, name="bench", role="viewer").token
    headers = {"Authorization": f"Bearer {token}"}
    with _served(filled.url) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(-20, requests):
            for name, path in PATHS.items():
                began = time.perf_counter()
                connection.request("GET", path(filled.running), headers=headers)
                answer = connection.getresponse()
                body = answer.read()
                ms = 1000 * (time.perf_counter() - began)
                if answer.status != http.HTTPStatus.OK:
                    raise SystemExit(f"{name}: {answer.status} {body[:500]!r}")
                if number >= 0:
                    took[name].append(ms)
        connection.close()
    return took


@contextmanager
def _served(url: str) -> Iterator[int]:
    """The port at which a process answers from a store."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(url, listener))
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.join()


def _serve(url: str, listener: socket.socket) -> None:
    with tempfile.TemporaryDirectory() as home:
        store = open_store(url)
        app = create_app(store, load_settings({"FIVEOBS_HOME": home}))
        app.state.tracker = Tracker(store, now=lambda: NOW_S)
        config = uvicorn.Config(app, http=PromptProtocol, log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listener])


# --- telling -----------------------------------------------------------------------------------


def _print(took: dict[str, dict[int, list[float]]], small: int, large: int) -> int:
    missed = 0
    print(f"\n{'ms':<14}{'p50':>9}{'p99':>9}{'p50':>11}{'p99':>9}{'p99 ratio':>11}")
    print(f"{'jobs stored':<14}{small:>18,}{large:>20,}")
    for name, by_size in took.items():
        (p50, p99), (large_p50, large_p99) = (_quantiles(by_size[size]) for size in (small, large))
        ratio = large_p99 / p99
        mark = "" if name in OF_MANY else "  ok" if ratio <= TARGET_GROWTH else "  MISSED"
        missed += mark.endswith("MISSED")
        print(
            f"{name:<14}{p50:>9.2f}{p99:>9.2f}{large_p50:>11.2f}{large_p99:>9.2f}{ratio:>11.2f}{mark}"
        )
    return missed


def _print_served(served: dict[int, dict[str, list[float]]]) -> int:
    missed = 0
    print(f"\n{'ms, over HTTP':<24}" + "".join(f"{name:>26}" for name in PATHS))
    for size, took in served.items():
        found = {name: _quantiles(values) for name, values in took.items()}
        told = "".join(f"{p50:>16.2f} p99 {p99:>5.1f}" for p50, p99 in found.values())
        one, alone, many = (p50 for p50, _ in found.values())
        mark = "ok" if many <= TARGET_BATCH * one else "MISSED"
        missed += mark == "MISSED"
        print(f"{size:>10,} jobs stored   {told}")
        print(
            f"{'':<24}the batch of {BATCH} takes {many / one:.2f} times a single job's progress, "
            f"{many / alone:.2f} times a batch of one (medians)  {mark}"
        )
    return missed


def _quantiles(values: list[float]) -> tuple[float, float]:
    return statistics.median(values), statistics.quantiles(values, n=100)[98]


if __name__ == "__main__":
    sys.exit(main())
