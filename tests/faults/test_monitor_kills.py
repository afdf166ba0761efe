"""A monitor that is killed again and again while it takes journals in."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from fiveobs.monitor.store.engine import Store
from tests.support.ingesting import Taking, rows
from tests.support.journals import line, write_segment
from tests.support.programs import ROOT

KILLS = 50
JOBS, LINES_PER_JOB = 400, 50
STEMS = ("host-1-1", "host-2-2", "host-3-3")

#: Takes in small batches, so that a kill often meets one; says so after each.
MONITOR = """
import sys
from pathlib import Path
from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.store.engine import open_store

store = open_store(sys.argv[1], migrate=False)
ingester = Ingester(
    store, Path(sys.argv[2]), report=lambda *what: print("report", *what), batch_bytes=1
)
while True:
    print("taken", ingester.step(), flush=True)
"""


def _write(home: Path) -> int:
    """Journals of three workers, each in several files; how many events that makes."""
    measure = {"kind": "counter", "name": "n", "value": 1, "unit": "", "labels": {}}
    for stem in STEMS:
        seq = 0
        for number in range(1, 5):
            lines = []
            for job in range(JOBS // 4):
                job_id = f"{stem}-{number}-{job}"
                kinds = ["job.started", *["log"] * (LINES_PER_JOB - 2), "job.completed"]
                for kind in kinds:
                    seq += 1
                    lines.append(line(seq, kind, job_id=job_id, id=f"{stem}/{seq}"))
                lines.append(line(seq, "metric", job_id=job_id, id="measure", data=measure))
            write_segment(home, stem, number, *lines)
    return len(STEMS) * JOBS * LINES_PER_JOB


def _start(url: str, home: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MONITOR, url, str(home / "journal")]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_every_event_counts_once_however_often_the_monitor_is_killed(
    store: Store, fiveobs_home: Path
) -> None:
    """50 times SIGKILL in the middle of taking in: each event is in the store exactly once."""
    events = _write(fiveobs_home)
    url = store.engine.url.render_as_string(hide_password=False)
    chance = random.Random(5)
    killed_at = []
    for _ in range(KILLS):
        with _start(url, fiveobs_home) as monitor:
            assert monitor.stdout is not None
            assert monitor.stdout.readline().startswith("taken")
            time.sleep(chance.uniform(0.0, 0.05))  # where in a batch it is killed is left to chance
            monitor.kill()
            monitor.wait()
        killed_at.append(len(rows(store, "events", "event_key")))
    assert killed_at[-1] < events, "it had read everything before the last kill"
    assert len(set(killed_at)) > KILLS // 2, "hardly anything was taken in between the kills"
    taking = Taking(store, fiveobs_home)
    taking.all()
    assert taking.reports == []
    _look(store, events)


def _look(store: Store, events: int) -> None:
    counts = Counter(rows(store, "events", "event_id"))
    assert set(counts.values()) == {1}
    assert len(counts) == events
    keys = rows(store, "events", "event_key")
    assert keys == list(range(1, events + 1))
    assert Counter(rows(store, "jobs", "status")) == {"completed": len(STEMS) * JOBS}
    assert set(rows(store, "attempts", "info_entries")) == {LINES_PER_JOB}
    assert set(rows(store, "measures", "count")) == {1}
    assert sum(rows(store, "workers", "lines")) == events + len(STEMS) * JOBS
    assert rows(store, "unreadable") == []


def test_the_program_that_is_killed_takes_in_what_there_is(
    sqlite_store: Store, fiveobs_home: Path
) -> None:
    """Left alone it reads to the end: what the test above relies on."""
    write_segment(fiveobs_home, "host-1-1", 1, *[line(seq, job_id="a") for seq in range(1, 9)])
    url = sqlite_store.engine.url.render_as_string(hide_password=False)
    with _start(url, fiveobs_home) as monitor:
        assert monitor.stdout is not None
        assert monitor.stdout.readline() == "taken 8\n"
        monitor.kill()
    assert json.dumps(rows(sqlite_store, "events", "event_key")) == "[1, 2, 3, 4, 5, 6, 7, 8]"
