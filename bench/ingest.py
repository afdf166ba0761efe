"""How fast the monitor takes journals in, beside the bare limit of the same work.

``python bench/ingest.py`` writes journals, then takes them in and does the bare work in turn, some
rounds of each, into an empty store in a fresh process. The bare work is ``orjson.loads`` of every
line and, for each table that ingest filled, one ``sqlite3.executemany`` of the same rows, in the
same schema with the same settings, rows at hand. Prints events a second of both (medians), the
ratio round by round, and the targets. ``--memory`` takes in ``--events`` (say 10,000,000) as they
are written, and prints how the memory grew. ``--url postgresql://…`` adds PostgreSQL: it makes and
drops databases of its own there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.store import schema
from fiveobs.monitor.store.engine import open_store

#: Ingest is at least so fast, as a share of the bare work, and in events a second.
TARGET_RATIO, TARGET_EVENTS_PER_S = 0.5, 20_000
#: Jobs of a worker that run at the same time, and journals.
AT_ONCE, WORKERS = 25, 4
SEGMENT_LINES = 50_000
#: What a job writes, in order: a dozen events, half of them log lines.
STEPS = (
    *("job.started", "stage.started", "log", "log", "log", "stage.progress", "job.progress"),
    *("log", "log", "log", "stage.completed", "job.completed"),
)
_STAGE = {"stage": "load", "index": 1, "unit": "records", "total": 10}
_ENDED = {"done": 10, "percent": 100.0, "duration_s": 1.1, "rate_per_s": 9.1, "cpu_s": 0.5}
DATA: dict[str, dict[str, Any]] = {
    "job.started": {"stages": ["load"], "input_size_bytes": 128},
    "stage.started": _STAGE,
    "stage.progress": _STAGE | {"done": 5, "percent": 50.0, "duration_s": 0.5, "rate_per_s": 10.0},
    "job.progress": {"percent": 50.0, "duration_s": 0.6, "eta_s": 0.6},
    "log": {"rows": 1280, "path": "/var/lib/app/part-7"},
    "stage.completed": _STAGE | _ENDED | {"memory_rss_bytes": 23_801_856},
    "job.completed": {"status": "completed", "duration_s": 1.2, "cpu_s": 0.6, "percent": 50.0},
}


# --- journals ---


def lines(worker: int, events: int) -> Iterator[bytes]:
    """The lines of one worker: `AT_ONCE` jobs at a time, one step of a random one after another."""
    chance = random.Random(worker)
    running: list[list[Any]] = []
    for seq in range(1, events + 1):
        if len(running) < AT_ONCE:
            running.append([f"{worker:08x}-{seq:08x}-{chance.getrandbits(64):016x}", 0])
        at = chance.randrange(len(running))
        job_id, step = running[at]
        yield _line(worker, seq, job_id, STEPS[step])
        if step + 1 == len(STEPS):
            del running[at]
        else:
            running[at][1] += 1


def _line(worker: int, seq: int, job_id: str, event_type: str) -> bytes:
    moment = datetime.fromtimestamp(1_767_323_045 + seq / 1000, UTC)
    record = {
        "id": f"{worker:016x}-{seq}",
        "seq": seq,
        "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "event_type": event_type,
        "level": "info",
        "message": f"{event_type} of a job that loads records",
        "worker_id": f"bench-{worker}",
        "machine_id": "bench",
        "service": "bench",
        "job_name": f"kind-{hash(job_id) % 20}",
        "job_id": job_id,
        "trace_id": f"{seq:032x}",
        "span_id": f"{seq:016x}",
        "attempt": 1,
        "data": DATA[event_type],
    }
    return orjson.dumps(record) + b"\n"


def write(folder: Path, events: int) -> None:
    """Write the journals of all workers."""
    folder.mkdir(parents=True, exist_ok=True)
    for worker in range(WORKERS):
        found = lines(worker, events // WORKERS)
        number = 0
        while content := b"".join(
            line for _, line in zip(range(SEGMENT_LINES), found, strict=False)
        ):
            number += 1
            (folder / f"bench-{worker}-1.{number:06d}.log").write_bytes(content)


# --- what is measured: each in a process of its own ---


def ingest(url: str, folder: Path) -> dict[str, float]:
    """Take everything in."""
    store = open_store(url)
    ingester = Ingester(store, folder, report=lambda *what: print(*what, file=sys.stderr))
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    while ingester.step():
        pass
    figures = {"wall_s": time.perf_counter() - began_s, "cpu_s": time.process_time() - began_cpu_s}
    figures["events"] = ingester.event_key
    store.close()
    return figures


def bare(url: str, folder: Path, filled: Path) -> dict[str, float]:
    """Parse every line and insert the rows that ingest has made of them."""
    source = sqlite3.connect(filled)
    tables = [table for table in schema.metadata.sorted_tables if _count(source, table.name)]
    rows = {table: source.execute(f"SELECT * FROM {table.name}").fetchall() for table in tables}
    store = open_store(url)
    with store.writing() as connection:
        for table in ("sequences", "positions"):  # a new store has rows in these
            connection.exec_driver_sql(f"DELETE FROM {table}")
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    events = 0
    for path in sorted(folder.iterdir()):
        events += len([orjson.loads(line) for line in path.read_bytes().splitlines()])
    with store.writing() as connection:
        cursor = connection.connection.cursor()
        for table, found in rows.items():
            marks = ", ".join("?" for _ in table.columns)
            cursor.executemany(f"INSERT INTO {table.name} VALUES ({marks})", found)
    figures = {"wall_s": time.perf_counter() - began_s, "cpu_s": time.process_time() - began_cpu_s}
    store.close()
    return figures | {"events": events}


def _count(source: sqlite3.Connection, table: str) -> int:
    return int(source.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def memory(url: str, folder: Path, events: int) -> dict[str, Any]:
    """Take in journals that are written just before, and deleted once they are in the store."""
    store = open_store(url)
    ingester = Ingester(store, folder, report=lambda *what: print(*what, file=sys.stderr))
    folder.mkdir(parents=True, exist_ok=True)
    found = lines(0, events)
    number, rss = 0, []
    while content := b"".join(line for _, line in zip(range(SEGMENT_LINES), found, strict=False)):
        number += 1
        path = folder / f"bench-0-1.{number:06d}.log"
        path.write_bytes(content)
        while ingester.step():
            pass
        if number > 1:
            (folder / f"bench-0-1.{number - 1:06d}.log").unlink()
        rss.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    store.close()
    at = sorted({0, *(len(rss) * part // 4 for part in (1, 2, 3)), len(rss) - 1})
    return {"events": ingester.event_key, "peak_mib": {(n + 1) * SEGMENT_LINES: rss[n] for n in at}}


def _in_process(what: str, **arguments: object) -> dict[str, Any]:
    """Run one of the three in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--run", json.dumps({"what": what, **arguments}, default=str)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    print(done.stderr, end="", file=sys.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _run(what: str, url: str, folder: str, **others: Any) -> dict[str, Any]:
    if what == "bare":
        return bare(url, Path(folder), Path(others["filled"]))
    if what == "memory":
        return memory(url, Path(folder), others["events"])
    return ingest(url, Path(folder))


# --- the report ---


def _rounds(home: Path, events: int, rounds: int, url: str) -> None:
    folder = home / "journal"
    write(folder, events)
    ratios = []
    speeds: dict[str, list[float]] = {"ingest": [], "bare": [], "ingest (PostgreSQL)": []}
    for number in range(rounds):
        paths = [home / f"{name}-{number}.sqlite3" for name in ("ingest", "bare")]
        taken = _in_process("ingest", url=f"sqlite:///{paths[0]}", folder=folder)
        limit = _in_process("bare", url=f"sqlite:///{paths[1]}", folder=folder, filled=paths[0])
        assert taken["events"] == limit["events"] == events, (taken, limit)
        speeds["ingest"].append(events / taken["wall_s"])
        speeds["bare"].append(events / limit["wall_s"])
        ratios.append(limit["wall_s"] / taken["wall_s"])
        if url:
            with _database(url, number) as made:
                found = _in_process("ingest", url=made, folder=folder)
            speeds["ingest (PostgreSQL)"].append(events / found["wall_s"])
        for path in paths:
            path.unlink()
    for name, found_speeds in speeds.items():
        if found_speeds:
            print(f"{name:20} {statistics.median(found_speeds):>10,.0f} events/s")
    print(
        f"ratio                {statistics.median(ratios):>10.2f}   (target {TARGET_RATIO};"
        f" rounds: {' '.join(f'{each:.2f}' for each in ratios)})"
    )
    print(
        f"events a second      {statistics.median(speeds['ingest']):>10,.0f}   "
        f"(target {TARGET_EVENTS_PER_S:,})"
    )


class _database:  # noqa: N801 - used as a function
    """A database in a server, for the time of a measurement."""

    def __init__(self, url: str, number: int) -> None:
        self._url, self._name = url, f"bench_ingest_{os.getpid()}_{number}"

    def __enter__(self) -> str:
        self._do(f"CREATE DATABASE {self._name}")
        return f"{self._url.rpartition('/')[0]}/{self._name}"

    def __exit__(self, *exc_info: object) -> None:
        self._do(f"DROP DATABASE {self._name}")

    def _do(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="measure memory instead of speed")
    parser.add_argument("--url", default="", help="a PostgreSQL database to begin from")
    parser.add_argument("--run", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(_run(**json.loads(arguments.run))))
        return
    with tempfile.TemporaryDirectory(prefix="fiveobs-bench-") as name:
        home = Path(name)
        if arguments.memory:
            found = _in_process(
                "memory",
                url=f"sqlite:///{home / 'store.sqlite3'}",
                folder=home / "journal",
                events=arguments.events,
            )
            print(f"{found['events']:,} events; peak memory in MiB after so many events:")
            print("  ".join(f"{int(at):,}: {mib}" for at, mib in found["peak_mib"].items()))
        else:
            _rounds(home, arguments.events // WORKERS * WORKERS, arguments.rounds, arguments.url)


if __name__ == "__main__":
    main()
