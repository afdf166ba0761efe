"""Jobs whose first events were deleted before a monitor was started are known all the same."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fiveobs
from fiveobs.journal.segments import segment_path
from fiveobs.monitor.control import Control, Requester
from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.processes import Processes
from fiveobs.monitor.reaper import Lease, Reaper
from fiveobs.monitor.store.engine import Store
from tests.support.ingesting import rows
from tests.support.journals import stems_of
from tests.support.workers import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how they ended")

#: Writes more than its journal may hold, then works on quietly and obeys.
WORKER = """
import time
import fiveobs

with fiveobs.observe_job("nightly", service="reports") as job:
    for number in range(300):
        job.log.info("a line", number=number, text="x" * 200)
    print(job.job_id, flush=True)
    while True:
        job.checkpoint()
        time.sleep(0.05)
"""
SMALL = {
    "FIVEOBS_JOURNAL_SEGMENT_BYTES": "4096",
    "FIVEOBS_JOURNAL_MAX_BYTES": "16384",
    "FIVEOBS_HEARTBEAT_INTERVAL": "0.1s",
    "FIVEOBS_TENANT_ID": "acme",
    "FIVEOBS_PROJECT_ID": "web",
}


class Rotated:
    """A worker whose journal no longer begins at its beginning, and a monitor that starts then."""

    def __init__(self, home: Path, store: Store) -> None:
        self.home, self.store = home, store
        self.problems: list[tuple[str, ...]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env={**os.environ, **SMALL},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.job_id = self.process.stdout.readline().strip()
        until(lambda: not self.first.exists() and self.beats(), timeout_s=60.0, what="rotation")
        self.stop = threading.Event()
        folder, processes = home / "journal", Processes(home / "journal")
        lease = Lease(elsewhere_s=2.0)
        runs = (
            processes.run,
            Ingester(store, folder, report=self.tell).run,
            Reaper(store, folder, report=self.tell, processes=processes, lease=lease).run,
        )
        self.threads = [threading.Thread(target=run, args=(self.stop,)) for run in runs]
        for thread in self.threads:
            thread.start()

    def tell(self, *what: str) -> None:
        self.problems.append(what)

    @property
    def first(self) -> Path:
        """Where the job's beginning was written."""
        (stem,) = stems_of(self.home, self.process.pid)
        return segment_path(self.home / "journal", stem, 1)

    def beats(self) -> bool:
        for path in (self.home / "journal").glob("*.log"):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile, as it is to be
                if b"worker.heartbeat" in path.read_bytes():
                    return True
        return False

    def status(self) -> Any:
        found = dict(rows(self.store, "jobs", "job_id", "status"))
        return found.get(self.job_id)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.stop.set()
        for thread in self.threads:
            thread.join(20)


@pytest.fixture
def rotated(fiveobs_home: Path, sqlite_store: Store) -> Iterator[Rotated]:
    """Its conclusions go into a journal of this process, in the same home."""
    fiveobs.configure(home=fiveobs_home, service="monitor")
    found = Rotated(fiveobs_home, sqlite_store)
    yield found
    found.end()
    assert [cause for cause, *_ in found.problems if cause != "unreadable"] == []


def test_a_job_whose_beginning_is_gone_runs_and_is_lost_when_it_is_killed(rotated: Rotated) -> None:
    """Heartbeats say which worker runs it, and which run it is; what was deleted is counted."""
    until(lambda: rotated.status() == "running", what="the job running")
    rotated.process.kill()
    rotated.process.wait()
    until(lambda: rotated.status() == "lost", timeout_s=60.0, what="the job lost")
    (attempt,) = rows(rotated.store, "attempts", "span_id", "lost_cause", "trace_id")
    assert all(attempt)
    reasons = rows(rotated.store, "unreadable", "reason")
    assert any("deleted before its end was read" in reason for reason in reasons)


def test_a_job_whose_beginning_is_gone_can_be_stopped(rotated: Rotated) -> None:
    """It is found in its own project, although the file that named it first is gone."""
    until(lambda: rotated.status() == "running", what="the job running")
    projects = rows(rotated.store, "projects", "project_key", "tenant_id", "project_id")
    (key,) = [row[0] for row in projects if row[1:] == ("acme", "web")]
    assert rows(rotated.store, "jobs", "project_key") == [key]
    who = Requester(key, "acme", "web", "test")
    assert (
        Control(rotated.store, rotated.home).ask(who, rotated.job_id, "stop").outcome == "requested"
    )
    until(lambda: rotated.status() == "stopped", timeout_s=60.0, what="the job stopped")
