"""``fiveobs serve`` killed again and again while workers write: each event counts once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select

from fiveobs.journal.segments import segment_files
from fiveobs.monitor.store.engine import Store, default_url, open_store
from fiveobs.monitor.store.schema import events, workers
from tests.support.ingesting import rows
from tests.support.journals import stems_of
from tests.support.serving import serving
from tests.support.workers import until

KILLS, WORKERS = 5, 2
#: Records that are no events of their own in the store.
ELSEWHERE = {"metric", "span", "envelope", "worker.heartbeat"}

#: Runs jobs, one after the other, until a file is there.
WORKER = """
import sys, time
from pathlib import Path
import fiveobs

while not Path(sys.argv[1]).exists():
    with fiveobs.observe_job("work") as job:
        with job.stage("count", total=10) as stage:
            for number in range(10):
                job.log.info("a line", number=number)
                stage.advance()
        job.count("rows", 10)
    time.sleep(0.05)
"""


def start_workers(stack: ExitStack, stop: Path) -> list[subprocess.Popen[bytes]]:
    """Processes that write until the file is there; ended with the block in any case."""
    made = []
    for _ in range(WORKERS):
        command = [sys.executable, "-c", WORKER, str(stop)]
        settings = {"FIVEOBS_JOURNAL_SEGMENT_BYTES": "65536", "FIVEOBS_HEARTBEAT_INTERVAL": "0.5s"}
        process = stack.enter_context(subprocess.Popen(command, env={**os.environ, **settings}))
        stack.callback(process.kill)
        made.append(process)
    return made


def written(home: Path, pids: list[int]) -> Iterator[str]:
    """The id of each event in the workers' journals."""
    stems = {stem for pid in pids for stem in stems_of(home, pid)}
    for stem, _, path in segment_files(home / "journal"):
        if stem in stems:
            for line in path.read_bytes().splitlines():
                record = json.loads(line)
                if record["event_type"] not in ELSEWHERE:
                    yield record["id"]


def taken(store: Store, pids: list[int]) -> list[str]:
    """The id of each event of theirs in the store."""
    wanted = select(events.c.event_id).join(workers, workers.c.worker_key == events.c.worker_key)
    with store.reading() as connection:
        return list(connection.execute(wanted.where(workers.c.pid.in_(pids))).scalars())


def wait_for_more(store: Store) -> None:
    """Until events have been taken in from now on."""
    before = len(rows(store, "events", "event_key"))
    until(lambda: len(rows(store, "events", "event_key")) > before, timeout_s=60.0, what="ingest")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_serve_may_be_killed_at_any_moment(fiveobs_home: Path, tmp_path: Path) -> None:
    """The program itself, with all that runs in it, beside workers that go on writing."""
    stop, chance = tmp_path / "stop", random.Random(7)
    with ExitStack() as stack:
        processes = start_workers(stack, stop)
        pids = [process.pid for process in processes]
        store = open_store(default_url(fiveobs_home))
        stack.callback(store.close)
        for _ in range(KILLS):
            with serving() as monitor:
                wait_for_more(store)
                time.sleep(chance.uniform(0.0, 0.3))  # where in a batch is left to chance
                monitor.process.kill()
                monitor.process.wait()
        stop.touch()
        assert [process.wait(20) for process in processes] == [0] * WORKERS
        wanted = Counter(written(fiveobs_home, pids))
        with serving() as monitor:
            until(lambda: len(taken(store, pids)) >= len(wanted), timeout_s=60.0, what="the rest")
            assert monitor.stop() == 0
        assert Counter(taken(store, pids)) == wanted
        assert set(wanted.values()) == {1}
        assert rows(store, "unreadable") == []
        assert set(rows(store, "jobs", "status")) == {"completed"}
        assert set(rows(store, "measures", "total")) == {10.0}
        keys = rows(store, "events", "event_key")
        assert keys == list(range(1, len(keys) + 1))
