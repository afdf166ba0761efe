"""What ingest feels of a retention that runs beside it.

``python bench/retention.py`` fills a SQLite store with expired rows, feeds it a journal at a fixed
rate, and takes the journal in as the monitor does, in turn without and with a retention at work.
Prints how long a line took from when it was due to be written until it was in the store, and how
long the transactions of ingest took (p50 and p99, medians of the rounds), the ratios and the
target. ``--rows 5000000`` is the full size; ``--url postgresql://…`` does it in a PostgreSQL
server, in a database that it makes and drops.

A third of the rows is of jobs of which only a part has expired: log lines, measures and errors; the
rest is of jobs that go altogether.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from bench.ingest import lines
from fiveobs.journal.locks import StemLock
from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.retention.cleaner import Cleaner
from fiveobs.monitor.retention.policy import Policy
from fiveobs.monitor.store.engine import Store, open_store

#: With a retention at work the 99th percentile is at most so many times what it is without.
TARGET = 1.5
#: When the lines of the journal say that they were written.
NOW_S = 1_767_323_045
DAY_US = 86_400 * 1_000_000
KINDS, WORKERS, EVENTS = 20, 4, 10
#: Rows of a job: itself, its attempt, two stages, a measure, its events.
ROWS_OF_JOB = 5 + EVENTS
#: Of a job of which a part has expired, so much has: half of its events are log lines.
ROWS_OF_PART = EVENTS // 2 + 1
CHUNK = 20_000
#: The journal grows so often, in seconds; ingest rests so long when there is nothing.
TICK_S, REST_S = 0.02, 0.1

_NUMBERS = """WITH RECURSIVE n(i) AS (SELECT CAST(:low AS INTEGER) UNION ALL
    SELECT i + 1 FROM n WHERE i < :high),
  k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < :events) """
_SETUP = (
    "INSERT INTO projects VALUES (1, 'default', 'default', 0)",
    "INSERT INTO kinds SELECT i, 1, 'old', 'kind-' || i FROM n",
    """INSERT INTO workers (worker_key, stem, project_key)
  SELECT i, 'old-' || i, 1 FROM n WHERE i <= :workers""",
)
#: Each statement's rows; ``:first_us`` and a second for each job is when it began.
_ROWS = (
    """INSERT INTO jobs (job_key, project_key, job_id, kind_key, status, attempt, created_at_us,
    started_at_us, ended_at_us, duration_s, updated_at_us)
  SELECT i, 1, 'old-' || i, 1 + i % :kinds, 'completed', 1, :first_us + i * :step_us,
    :first_us + i * :step_us, :first_us + i * :step_us, 1 + i % 97,
    :first_us + i * :step_us FROM n""",
    """INSERT INTO attempts (job_key, attempt, status, status_at_us, worker_key, info_entries)
  SELECT i, 1, 'completed', :first_us, 1 + i % :workers, :events FROM n""",
    """INSERT INTO stages (job_key, attempt, stage_index, stage, status, duration_s)
  SELECT n.i, 1, k.i, 'Load', 'completed', 300 FROM n CROSS JOIN k WHERE k.i <= 2""",
    """INSERT INTO measures (job_key, attempt, name, labels, kind, unit, count, total, minimum,
    maximum, last, last_at_us)
  SELECT i, 1, 'rows', '{}', 'counter', '', 1, i, i, i, i, :first_us + i * :step_us FROM n""",
    """INSERT INTO events (event_key, event_id, project_key, job_key, attempt, worker_key, at_us,
    event_type, level, message, data)
  SELECT (CAST(n.i AS BIGINT) - 1) * :events + k.i, 'e-' || n.i || '-' || k.i, 1, n.i, 1,
    1 + n.i % :workers, :first_us + n.i * :step_us,
    CASE WHEN k.i > 5 THEN 'log' ELSE 'stage.progress' END, 20,
    'a line of text that says something',
    '{"stage": "Load", "index": 1, "done": 7, "total": 1000, "path": "/tmp/x"}'
  FROM n CROSS JOIN k""",
)


@dataclass
class Taken:
    """What ingest took, in seconds."""

    latencies_s: list[float] = field(default_factory=list)
    batches_s: list[float] = field(default_factory=list)


class Feed(threading.Thread):
    """Writes a journal at a fixed rate, whoever reads it and how fast.

    Args:
        path: The segment.
        rate: Lines a second.
    """

    def __init__(self, path: Path, rate: int) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._lines = lines(0, 1 << 40)
        self._count = max(1, round(rate * TICK_S))
        self.stop = threading.Event()
        #: How many lines there were at the end of each tick, and when that was due.
        self.due: list[tuple[int, float]] = []

    def run(self) -> None:
        """Write until told to stop."""
        total, at_s = 0, time.perf_counter()
        with self._path.open("ab", buffering=0) as file:
            while not self.stop.is_set():
                total += self._count
                content = b"".join(itertools.islice(self._lines, self._count))
                self.stop.wait(max(0.0, at_s - time.perf_counter()))
                file.write(content)
                self.due.append((total, at_s))
                at_s += TICK_S


class Intake(threading.Thread):
    """Takes the journal in as the monitor does, and notes how long that takes.

    Args:
        store: Where to.
        folder: Of the journal.
        feed: Who writes it.
    """

    def __init__(self, store: Store, folder: Path, feed: Feed) -> None:
        super().__init__(daemon=True)
        self._ingester = Ingester(store, folder, report=lambda *what: print(*what, file=sys.stderr))
        self._feed = feed
        self.stop = threading.Event()
        self.taken = Taken()
        self.lines = 0

    def run(self) -> None:
        """Take in until told to stop."""
        seen = 0
        while not self.stop.is_set():
            began_s = time.perf_counter()
            count = self._ingester.step()
            now_s = time.perf_counter()
            self.lines += count
            taken = self.taken
            if count:
                taken.batches_s.append(now_s - began_s)
            while seen < len(self._feed.due) and self._feed.due[seen][0] <= self.lines:
                taken.latencies_s.append(now_s - self._feed.due[seen][1])
                seen += 1
            if not count:
                self.stop.wait(REST_S)


# --- filling -----------------------------------------------------------------------------------


def fill(store: Store, rows: int) -> int:
    """Add jobs of which so many rows have expired; how many exactly."""
    jobs = rows * 2 // 3 // ROWS_OF_JOB
    parts = (rows - jobs * ROWS_OF_JOB) // ROWS_OF_PART
    given = {"kinds": KINDS, "workers": WORKERS, "events": EVENTS}
    now_us = NOW_S * 1_000_000
    with store.writing() as connection:
        for statement in _SETUP:
            _run(connection, statement, {**given, "low": 1, "high": KINDS})
    spans = ((1, jobs, now_us - 200 * DAY_US), (jobs + 1, jobs + parts, now_us - 60 * DAY_US))
    for first, last, from_us in spans:
        # All of them within ten days from then on.
        step_us = 10 * DAY_US // max(last - first + 1, 1)
        for low in range(first, last + 1, CHUNK):
            numbers = {"low": low, "high": min(low + CHUNK - 1, last)}
            times = {"first_us": from_us - first * step_us, "step_us": step_us}
            with store.writing() as connection:
                for statement in _ROWS:
                    _run(connection, statement, {**given, **numbers, **times})
    with store.writing() as connection:
        keys = {"jobs": jobs + parts, "events": (jobs + parts) * EVENTS, "kinds": KINDS}
        keys |= {"workers": WORKERS, "projects": 1}
        for name, value in keys.items():
            change = text("UPDATE sequences SET value = :value WHERE name = :name")
            connection.execute(change, {"name": name, "value": value})
        if not store.is_sqlite:
            connection.execute(text("ANALYZE"))
    return jobs * ROWS_OF_JOB + parts * ROWS_OF_PART


def _run(connection: Any, statement: str, given: dict[str, Any]) -> None:
    numbered = statement.replace("SELECT", f"{_NUMBERS} SELECT", 1)
    whole = numbered if " n" in statement else statement
    whole = whole.replace("i * :step_us", "CAST(i AS BIGINT) * :step_us")
    whole = whole.replace("n.CAST(i", "CAST(n.i")
    used = {name: value for name, value in given.items() if f":{name}" in whole}
    connection.execute(text(whole), used)


@contextmanager
def _file(folder: str | None) -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=folder) as made:
        yield f"sqlite:///{made}/store.sqlite3"


@contextmanager
def _database(url: str) -> Iterator[str]:
    server = make_url(url).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS fiveobs_bench_retention"))
        connection.execute(text("CREATE DATABASE fiveobs_bench_retention"))
    made = server.set(drivername="postgresql", database="fiveobs_bench_retention")
    try:
        yield made.render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text("DROP DATABASE fiveobs_bench_retention WITH (FORCE)"))
        engine.dispose()


# --- measuring ---------------------------------------------------------------------------------


@dataclass
class Rounds:
    """What was measured, round by round."""

    without: list[Taken] = field(default_factory=list)
    beside: list[Taken] = field(default_factory=list)
    deleted: int = 0
    deleting_s: float = 0.0


def measure(store: Store, folder: Path, options: argparse.Namespace) -> Rounds:
    """Take in without and with a retention at work, in turn."""
    folder.mkdir(parents=True)
    # Held, as a worker that lives does: a journal of nobody's is looked at less often.
    living = StemLock(folder / "bench-0-1.lock")
    living.acquire(create=True)
    feed = Feed(folder / "bench-0-1.000001.log", options.rate)
    intake = Intake(store, folder, feed)
    cleaner = Cleaner(store, Policy(), now=lambda: float(NOW_S))
    found, is_over = Rounds(), False
    feed.start()
    intake.start()
    time.sleep(2.0)
    while not is_over and len(found.beside) < options.rounds:
        found.without.append(_round(intake, options.seconds / 2))
        stop, began_s = threading.Event(), time.perf_counter()
        timer = threading.Timer(options.seconds, stop.set)
        intake.taken = Taken()
        timer.start()
        passed = cleaner.clean(stop)
        found.deleting_s += time.perf_counter() - began_s
        found.deleted += passed.rows.total()
        found.beside.append(intake.taken)
        is_over = passed.is_complete
        timer.cancel()
        print(f"\r{found.deleted:,} deleted", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for thread in (feed, intake):
        thread.stop.set()
        thread.join()
    living.release(remove=True)
    return found


def _round(intake: Intake, seconds: float) -> Taken:
    intake.taken = Taken()
    time.sleep(seconds)
    return intake.taken


# --- telling -----------------------------------------------------------------------------------


def tell(found: Rounds, rows: int) -> int:
    """Print the figures; 1 if the target is missed."""
    print(f"\n{found.deleted:,} of {rows:,} expired rows deleted in {found.deleting_s:.0f} s")
    print(f"{'ms':<26}{'without':>16}{'beside':>16}{'ratio':>8}   p99 round by round")
    ratio = 0.0
    for name, attr in (
        ("transaction of ingest", "batches_s"),
        ("line until stored", "latencies_s"),
    ):
        sides = [[getattr(each, attr) for each in side] for side in (found.without, found.beside)]
        for share in (50, 99):
            medians = [_of_rounds(rounds, share) for rounds in sides]
            ratio = medians[1] / medians[0]
            told = "" if share == 50 else "   " + _round_by_round(sides)
            figures = "".join(f"{each:>16.1f}" for each in medians)
            print(f"{name + f', p{share}':<26}{figures}{ratio:>8.2f}{told}")
    is_met = ratio <= TARGET
    print(f"target: the p99 of a line is at most {TARGET} times: {'ok' if is_met else 'MISSED'}")
    return int(not is_met)


def _of_rounds(rounds: list[list[float]], share: int) -> float:
    return statistics.median(_quantile(each, share) for each in rounds if len(each) > 1)


def _quantile(values: list[float], share: int) -> float:
    return 1000 * statistics.quantiles(values, n=100)[share - 1]


def _round_by_round(sides: list[list[list[float]]]) -> str:
    pairs = zip(*sides, strict=True)
    return " ".join(f"{_quantile(a, 99):.0f}/{_quantile(b, 99):.0f}" for a, b in pairs)


def main(arguments: list[str] | None = None) -> int:
    """Fill, measure, print; 1 if the target is missed."""
    options = _options(arguments)
    with ExitStack() as stack:
        place = _database(options.url) if options.url else _file(options.folder)
        url = stack.enter_context(place)
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        store = open_store(url)
        stack.callback(store.close)
        began_s = time.perf_counter()
        rows = fill(store, options.rows)
        print(f"filled {rows:,} expired rows in {time.perf_counter() - began_s:.0f} s", flush=True)
        return tell(measure(store, home / "journal", options), rows)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=500_000, help="expired rows")
    parser.add_argument("--rate", type=int, default=1_000, help="journal lines a second")
    parser.add_argument("--rounds", type=int, default=1_000, help="at most; else until all is gone")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of a round; half of it without"
    )
    parser.add_argument("--url", help="a PostgreSQL server; SQLite in a temporary folder if absent")
    parser.add_argument("--folder", help="where files are made")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
