"""What an analysis of 100,000 past runs costs, beside reading them.

``python bench/analytics.py`` fills a SQLite store with one kind of job: 100,000 runs of three steps
each over 30 days, on 400 processes of 20 workers, with five releases, and failures whose messages
all differ. Then, in turn and some rounds of each, it reads the rows, and answers each analysis of
`ANALYSES` as the API does: rows, columns, conclusions, JSON. Compared are the first half of the
time and the second. Prints the medians of the CPU seconds (everything runs in this one thread), and
of each answer how many times the reading alone it costs: of runs, and of their steps if it takes
them. Exits with 1 if one costs more than 5 times as much.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import orjson
from pydantic_core import to_jsonable_python
from sqlalchemy import insert

from fiveobs.monitor.enhanced.analyses import ANALYSES, WITHOUT_STEPS, Analyses, Wanted
from fiveobs.monitor.enhanced.executions import Workflow
from fiveobs.monitor.store import schema
from fiveobs.monitor.store.analysed import Period, past_runs, past_steps
from fiveobs.monitor.store.engine import Store, open_store

#: An answer costs at most so many times what reading its rows does.
TARGET = 5.0
#: Seconds since 1970 at which everything is looked at.
NOW_S = 1_800_000_000
US, DAYS, CHUNK = 1_000_000, 30, 20_000
FROM_US = (NOW_S - (DAYS + 1) * 86_400) * US
#: Reading alone, with steps and without.
READING = {True: "reading runs and steps", False: "reading runs"}
WORKERS, PROCESSES, MACHINES, RELEASES = 20, 400, 8, 5
STEPS = ("Load", "Transform", "Report")


def main(arguments: list[str] | None = None) -> int:
    """Fill, read, answer, print; 1 if the target is missed."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = open_store(f"sqlite:///{folder}/store.sqlite3")
        try:
            _fill(store, options.runs, np.random.default_rng(options.seed))
            return _measure(store, options)
        finally:
            store.close()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where SQLite's file is made")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def _measure(store: Store, options: argparse.Namespace) -> int:
    took: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, act in _acts(store):
            began_s = time.process_time()
            act()
            took.setdefault(name, []).append(time.process_time() - began_s)
    medians = {name: statistics.median(values) for name, values in took.items()}
    reading_s = {has_steps: medians.pop(READING[has_steps]) for has_steps in (True, False)}
    print(f"{options.runs:,} runs of {len(STEPS)} steps; medians of {options.rounds} rounds")
    for has_steps, cost_s in reading_s.items():
        print(f"{READING[has_steps]:<24}{cost_s:>8.2f} s of CPU")
    missed = 0
    for name, answer_s in medians.items():
        ratio = answer_s / reading_s[name not in WITHOUT_STEPS]
        missed += ratio > TARGET
        shown = f"{ratio:.2f} times the reading  {'ok' if ratio <= TARGET else 'MISSED'}"
        print(f"{name:<24}{answer_s:>8.2f} s, {shown}")
    print(f"target: at most {TARGET} times")
    return int(missed > 0)


def _acts(store: Store) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is measured, by name."""

    def read(*, has_steps: bool) -> object:
        period = Period([1], FROM_US, NOW_S * US)
        with store.reading() as connection:
            rows = past_runs(connection, period)
            return rows, past_steps(connection, period) if has_steps else None

    def answer(name: str) -> bytes:
        whole, options = wanted, {}
        if name == "comparison":
            middle_us = (FROM_US + NOW_S * US) // 2
            whole = wanted._replace(from_us=middle_us)
            options["before"] = analyses.past(wanted._replace(to_us=middle_us), name)
        found = ANALYSES[name](analyses.past(whole, name), **options)
        return orjson.dumps(to_jsonable_python(found))

    analyses = Analyses(store, now=lambda: NOW_S)
    wanted = Wanted(1, Workflow("etl", None), from_us=FROM_US)
    for has_steps, name in READING.items():
        yield name, partial(read, has_steps=has_steps)
    for name in ANALYSES:
        yield name, partial(answer, name)


# --- filling -----------------------------------------------------------------------------------


def _fill(store: Store, runs: int, chance: np.random.Generator) -> None:
    with store.writing() as connection:
        project = {"project_key": 1, "tenant_id": "default", "project_id": "default"}
        connection.execute(insert(schema.projects), {**project, "created_at_us": 0})
        kind = {"kind_key": 1, "project_key": 1, "service": "bench", "job_name": "etl"}
        connection.execute(insert(schema.kinds), kind)
        connection.execute(insert(schema.workers), [_worker(key) for key in range(PROCESSES)])
    at_us = np.sort(chance.integers(0, DAYS * 86_400 * US, runs)) + (NOW_S - DAYS * 86_400) * US
    for low in range(0, runs, CHUNK):
        rows = [_run(low + place, int(at), chance) for place, at in enumerate(at_us[low:][:CHUNK])]
        with store.writing() as connection:
            connection.execute(insert(schema.jobs), [job for job, _, _ in rows])
            connection.execute(insert(schema.attempts), [attempt for _, attempt, _ in rows])
            steps = [step for _, _, steps in rows for step in steps]
            connection.execute(insert(schema.stages), steps)


def _worker(key: int) -> dict[str, Any]:
    release = f"1.{key * RELEASES // PROCESSES}.0"
    return {
        "worker_key": key + 1,
        "stem": f"w-{key}",
        "project_key": 1,
        "worker_id": f"worker-{key % WORKERS}",
        "machine_id": f"machine-{key % MACHINES}",
        "resource": orjson.dumps({"service.version": release}).decode(),
        "memory_limit_bytes": 4_000_000_000,
    }


def _run(
    number: int, at_us: int, chance: np.random.Generator
) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """A job, its attempt, and its steps."""
    took_s = [float(each) for each in chance.lognormal(1, 0.3, len(STEPS))]
    # A process lives for a while, and is followed by another of the same worker.
    share = (at_us / US - (NOW_S - DAYS * 86_400)) / (DAYS * 86_400)
    life = min(int(share * PROCESSES / WORKERS), PROCESSES // WORKERS - 1)
    worker_key = 1 + life * WORKERS + int(chance.integers(0, WORKERS))
    is_failed = bool(chance.random() < 0.03)
    error = {"error_type": None, "error_message": None}
    if is_failed:
        message = f"row {chance.integers(0, 10**6)} of '/data/part-{number}.csv' is no number"
        error = {"error_type": "ValueError", "error_message": message}
    status, took = "failed" if is_failed else "completed", sum(took_s)
    job = {
        "job_key": number + 1,
        "project_key": 1,
        "job_id": f"job-{number}",
        "kind_key": 1,
        "status": status,
        "attempt": 1,
        "created_at_us": at_us,
        "started_at_us": at_us,
        "ended_at_us": at_us + int(took * US),
        "duration_s": took,
        "updated_at_us": at_us,
    }
    attempt = {
        "job_key": number + 1,
        "attempt": 1,
        "status": status,
        "status_at_us": at_us,
        "worker_key": worker_key,
        "started_at_us": at_us,
        "ended_at_us": at_us + int(took * US),
        "queue_wait_s": float(chance.exponential(3)),
        "duration_s": took,
        "cpu_s": took * 0.6,
        **error,
    }
    steps = [
        {
            "job_key": number + 1,
            "attempt": 1,
            "stage_index": index + 1,
            "stage": name,
            "status": status if index == len(STEPS) - 1 else "completed",
            "started_at_us": at_us + int(sum(took_s[:index]) * US),
            "updated_at_us": at_us,
            "duration_s": took_s[index],
            "cpu_s": took_s[index] * 0.6,
            "memory_rss_bytes": int(chance.normal(3e8, 1e7)),
            "memory_growth_bytes": 1000,
            "io_read_bytes": 10**6,
            "io_write_bytes": 10**5,
            "error_type": error["error_type"] if index == len(STEPS) - 1 else None,
        }
        for index, name in enumerate(STEPS)
    ]
    return job, attempt, steps


if __name__ == "__main__":
    sys.exit(main())
