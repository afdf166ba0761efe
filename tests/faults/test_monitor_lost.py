"""Jobs whose process dies are found, with the cause; jobs that are only quiet are left alone."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

import fiveobs
from fiveobs.monitor import processes
from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.kills import KernelLog
from fiveobs.monitor.processes import Processes
from fiveobs.monitor.reaper import Lease, Reaper
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import attempts, audit, events, jobs
from tests.faults.dying_workers import Worker
from tests.support.cgroups import entering, small_cgroup
from tests.support.journals import stems_of
from tests.support.stores import open_sqlite

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how they ended")
#: What the issue asks for, in seconds.
WITHIN_S = 10.0
KILLED, OUT_OF_MEMORY, EXITED = "killed by signal", "out of memory", "exited"
CAUSES = {
    "kill": KILLED,
    "leave": EXITED,
    "run_out_in_c": OUT_OF_MEMORY,
    "run_out_unchecked": OUT_OF_MEMORY,
    "run_out_in_python": OUT_OF_MEMORY,
}


class Lost:
    """A monitor without its API: takes in, and reaps."""

    def __init__(self, home: Path, store: Store) -> None:
        self.home = home
        self.store = store
        self.problems: list[str] = []
        self.stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def tell(self, cause: str, message: str) -> None:
        self.problems.append(f"{cause}: {message}")

    def start(self) -> None:
        self.watch()
        self.take_in_and_reap()

    def watch(self) -> None:
        self.processes = Processes(self.home / "journal")
        self._run(self.processes.run)

    def take_in_and_reap(self) -> None:
        self._run(Ingester(self.store, self.home / "journal", report=self.tell).run)
        self._run(self.reaper().run)

    def _run(self, service: Callable[[threading.Event], None]) -> None:
        self._threads.append(threading.Thread(target=service, args=(self.stop,), daemon=True))
        self._threads[-1].start()

    def reaper(self, **given: Any) -> Reaper:
        folder = self.home / "journal"
        return Reaper(self.store, folder, report=self.tell, processes=self.processes, **given)

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(20)

    def rows(self) -> dict[str, tuple[str, str | None, dict[str, Any]]]:
        """By job: its status, why it is lost, and what is known of that."""
        wanted = select(
            jobs.c.job_id, jobs.c.status, attempts.c.lost_cause, attempts.c.lost_details
        ).join(attempts, attempts.c.job_key == jobs.c.job_key)
        with self.store.reading() as connection:
            found = connection.execute(wanted).all()
        return {row[0]: (row[1], row[2], json.loads(row[3] or "{}")) for row in found}

    def reported(self) -> int:
        """How many ``job.lost`` events there are."""
        wanted = select(func.count()).select_from(events).filter_by(event_type="job.lost")
        with self.store.reading() as connection:
            return connection.execute(wanted).scalar() or 0


@pytest.fixture
def monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lost]:
    """A monitor whose own journal is in the home that it watches."""
    monkeypatch.setenv("FIVEOBS_HOME", str(tmp_path))
    fiveobs.configure(home=tmp_path, service="monitor")
    store = open_sqlite(tmp_path / "store.sqlite3")
    found = Lost(tmp_path, store)
    found.start()
    yield found
    found.end()
    store.close()
    assert found.problems == []


def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    tick = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        tick.wait(0.05)
    return True


def has(monitor: Lost, job_id: str, status: str) -> Callable[[], bool]:
    return lambda: monitor.rows().get(job_id, ("",))[0] == status


def dies(
    monitor: Lost, ending: str, cgroup: Path | None = None
) -> tuple[str, dict[str, Any], float]:
    """The cause that is found for one death, what is known of it, and after how long."""
    worker = Worker(monitor.home, ending, prefix=entering(cgroup) if cgroup else ())
    try:
        assert until(has(monitor, worker.job_id, "running"), 30)
        worker.go()
        assert until(lambda: worker.process.poll() is not None, 30)
        began = time.monotonic()
        assert until(has(monitor, worker.job_id, "lost"), WITHIN_S), monitor.rows()
        _, cause, details = monitor.rows()[worker.job_id]
        return str(cause), details, time.monotonic() - began
    finally:
        worker.end()


@pytest.mark.parametrize("ending", CAUSES)
def test_the_cause_of_a_death_is_found(monitor: Lost, ending: str) -> None:
    """SIGKILL, os._exit and the three ways to run into a limit on memory are told apart."""
    cause, details, took_s = dies(monitor, ending)
    assert cause == CAUSES[ending], details
    assert took_s < WITHIN_S
    assert details["evidence"]
    assert details.get("exit_code") == {"leave": 7, "run_out_in_python": 1}.get(ending)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["kill", "leave", "run_out_in_c"])
def test_the_cause_is_found_fifty_times_of_fifty(monitor: Lost, ending: str) -> None:
    """It is evidence, not chance."""
    found = [dies(monitor, ending) for _ in range(50)]
    assert [cause for cause, _, _ in found] == [CAUSES[ending]] * 50


def quiet(monitor: Lost, processes: int, jobs_each: int, quiet_s: float) -> None:
    """Have jobs block the interpreter or sleep; none of them may be reported."""
    environment = {"DYING_QUIET_S": str(quiet_s)}
    made = [
        Worker(monitor.home, ("block", "sleep")[number % 2], jobs_each, **environment)
        for number in range(processes)
    ]
    try:
        for worker in made:
            worker.go()
        assert until(
            lambda: all(worker.process.poll() is not None for worker in made), quiet_s + 120
        )
        done = processes * jobs_each

        def all_done() -> bool:
            return [row[0] for row in monitor.rows().values()].count("completed") == done

        assert until(all_done, 60), monitor.rows()
        assert monitor.reported() == 0
    finally:
        for worker in made:
            worker.end()


def test_quiet_jobs_are_not_lost(monitor: Lost) -> None:
    """A job may keep the interpreter to itself, heartbeats included, or sleep."""
    quiet(monitor, processes=4, jobs_each=5, quiet_s=12)


@pytest.mark.slow
def test_a_thousand_quiet_jobs_are_not_lost(monitor: Lost) -> None:
    """Not one of 1,000 that say nothing for a minute."""
    quiet(monitor, processes=20, jobs_each=50, quiet_s=60)


def test_a_loss_is_reported_once(monitor: Lost, tmp_path: Path) -> None:
    """However many monitors look, and however often they begin anew."""
    worker = Worker(monitor.home, "kill", 3)
    try:
        assert until(has(monitor, worker.job_id, "running"), 30)
        worker.go()
        others = [monitor.reaper() for _ in range(3)]
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and monitor.reported() < 3:
            for other in others:
                other.step()
        for _ in range(3):
            monitor.reaper(lease=Lease(courtesy_s=0.0)).step()
        assert until(lambda: monitor.reported() == 3, 10)
        with monitor.store.reading() as connection:
            claims = connection.execute(select(audit).filter_by(action="job.lost")).all()
        assert len(claims) == 3
        assert {row.actor for row in claims} == {"monitor"}
    finally:
        worker.end()


@pytest.fixture
def cgroup() -> Iterator[Path]:
    with small_cgroup(200 * 1024 * 1024) as found:
        yield found


@pytest.fixture(params=["as it is", "unreadable"])
def has_log(request: pytest.FixtureRequest, monitor: Lost, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the monitor can read the kernel's log, which it may not everywhere."""
    if request.param == "as it is":
        log = KernelLog.open(time.monotonic)
        can_read = log.names(0) is not None
        log.close()
        return can_read
    monitor.end()
    monkeypatch.setattr(KernelLog, "open", lambda clock: KernelLog(-1, clock))
    monitor.stop = threading.Event()
    monitor.start()
    return False


def test_who_fills_its_cgroup_is_out_of_memory(monitor: Lost, cgroup: Path, has_log: bool) -> None:
    """For certain if the kernel's log can be read, because that names it."""
    cause, details, _ = dies(monitor, "run_out_of_the_cgroup", cgroup)
    assert (cause, details["is_certain"]) == (OUT_OF_MEMORY, has_log), details
    assert details["signal"] == "SIGKILL"


def test_a_child_that_was_out_of_memory_is_not_the_worker(
    monitor: Lost, cgroup: Path, has_log: bool
) -> None:
    """The cgroup has counted a kill; whoever can read the log knows that it was another process."""
    cause, details, _ = dies(monitor, "kill_after_child", cgroup)
    expected = (KILLED, True) if has_log else (OUT_OF_MEMORY, False)
    assert (cause, details["is_certain"]) == expected, details


def test_without_an_exit_status_a_kill_is_no_exit(
    monitor: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux before 6.15 tells no status once the parent has asked: what was not said tells."""
    monkeypatch.setattr(processes, "_GET_INFO", 0)
    for _ in range(5):
        cause, details, _ = dies(monitor, "kill")
        assert cause == KILLED, details
        assert details["is_certain"] is ("signal" in details)


def test_a_death_that_nobody_saw_is_no_certain_cause(monitor: Lost) -> None:
    """A monitor that begins later says that the process is gone, and that it does not know more.

    It did not say that it stops, as it does on nearly every exit: so it was killed.
    """
    monitor.end()
    worker = Worker(monitor.home, "kill")
    worker.go()
    assert until(lambda: worker.process.poll() is not None, 30)
    worker.end()
    monitor.stop = threading.Event()
    monitor.start()
    assert until(has(monitor, worker.job_id, "lost"), WITHIN_S)
    _, cause, details = monitor.rows()[worker.job_id]
    assert (cause, details["is_certain"]) == (KILLED, False)
    assert not {"exit_code", "signal"} & details.keys()


def test_a_death_is_seen_while_the_store_keeps_us_waiting(monitor: Lost) -> None:
    """Who watches processes waits for no store: how they ended is known when the store is back."""
    monitor.end()
    monitor.stop = threading.Event()
    monitor.watch()
    worker = Worker(monitor.home, "kill")
    (stem,) = stems_of(monitor.home, worker.process.pid)
    assert until(lambda: monitor.processes.is_alive(stem), 30)
    worker.go()
    assert until(lambda: monitor.processes.death(stem) is not None, WITHIN_S)
    worker.end()
    monitor.take_in_and_reap()
    assert until(has(monitor, worker.job_id, "lost"), WITHIN_S)
    _, cause, details = monitor.rows()[worker.job_id]
    assert (cause, details["signal"]) == (KILLED, "SIGKILL")
