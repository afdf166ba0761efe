"""When a silent worker is taken for dead, by clocks that stand still until told to go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select, update

from fiveobs import _runtime
from fiveobs.journal.locks import StemLock
from fiveobs.journal.segments import LOCK_SUFFIX, segment_files
from fiveobs.monitor.evidence import HOST_GONE, KILLED
from fiveobs.monitor.processes import Processes
from fiveobs.monitor.reaper import Reaper
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import attempts, audit, jobs
from fiveobs.testing import Captured, capture
from tests.support.ingesting import Taking
from tests.support.journals import START_NS, line, write_segment

#: Where the monitor runs: its boot id and pid namespace.
BOOT, NAMESPACE = "boot-1", "4026531836"
#: How long the machines of these workers have run when the workers begin, in ticks.
UP_TICKS = 360_000


class Worker:
    """A worker whose journal is written by hand."""

    def __init__(self, captured: Captured, name: str, machine: str, identity: str) -> None:
        self.stem = f"{machine}-{name}-1767323045000000"
        self._home = captured.home
        self._count = 0
        self._fields = {"worker_id": name, "machine_id": machine}
        self._identity = identity

    def say(self, at_s: float, event_type: str, **fields: Any) -> None:
        self._count += 1
        text = line(self._count, event_type, after_s=at_s, **self._fields, **fields)
        write_segment(self._home, self.stem, 1, text)

    def start(self, at_s: float = 0.0) -> None:
        resource = {"fiveobs.process": self._identity}
        self.say(at_s, "worker.started", data={"resource": resource, "pid": 77})

    def job(self, job_id: str, at_s: float = 0.0, event_type: str = "job.started") -> None:
        named = {"job_name": "crawl", "attempt": 1, "span_id": "ab" * 8, "trace_id": "cd" * 16}
        self.say(at_s, event_type, job_id=job_id, **named)

    def beat(self, at_s: float, *job_ids: str) -> None:
        self.say(at_s, "worker.heartbeat", data={"jobs": [{"job_id": each} for each in job_ids]})


class House:
    """A store, and monitors whose clocks stand still."""

    def __init__(self, store: Store, captured: Captured) -> None:
        self.store = store
        self.captured = captured
        self.at_s = 0.0
        self.reaper = self.monitor()

    def monitor(self) -> Reaper:
        def tell(cause: str, message: str) -> None:
            raise AssertionError(f"{cause}: {message}")

        folder = self.captured.home / "journal"
        return Reaper(
            self.store,
            folder,
            report=tell,
            processes=Processes(folder),
            clock=lambda: self.at_s,
            now=lambda: START_NS / 1e9 + self.at_s,
        )

    def worker(
        self, name: str, *, machine: str = "far", boot: str = "boot-2", namespace: str = "1"
    ) -> Worker:
        found = Worker(self.captured, name, machine, f"{boot}/{namespace}/{UP_TICKS}")
        found.start()
        return found

    def look(self, at_s: float, reaper: Reaper | None = None) -> None:
        """Take in what was written, look at a moment, and take in what that has recorded."""
        self.take_in()
        self.at_s = at_s
        (reaper or self.reaper).step()
        self.take_in()

    def take_in(self) -> None:
        # One that begins anew looks at every file at once.
        taking = Taking(self.store, self.captured.home)
        taking.all()
        assert taking.reports == []

    def status(self, job_id: str) -> str:
        wanted = select(jobs.c.status).filter_by(job_id=job_id)
        with self.store.reading() as connection:
            return str(connection.execute(wanted).scalar())

    def why(self, job_id: str) -> tuple[str, bool]:
        """The cause of a loss and whether it is certain."""
        wanted = (
            select(attempts.c.lost_cause, attempts.c.lost_details)
            .join(jobs, jobs.c.job_key == attempts.c.job_key)
            .where(jobs.c.job_id == job_id)
        )
        with self.store.reading() as connection:
            cause, details = connection.execute(wanted).one()
        return cause, json.loads(details)["is_certain"]

    def losses(self) -> int:
        return len(self.captured.events_of("job.lost"))


@pytest.fixture
def house(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr("fiveobs.monitor.reaper.own_identity", lambda: (BOOT, NAMESPACE))
    with capture() as captured:
        yield House(store, captured)


# --- elsewhere -----------------------------------------------------------------------------------


def test_a_worker_elsewhere_has_a_lease(house: House) -> None:
    """Twenty seconds of silence are no death; then its machine is gone, as far as is known."""
    worker = house.worker("1")
    worker.job("7")
    for at_s in (0, 5, 10, 15):
        worker.beat(at_s, "7")
        house.look(at_s)
    house.look(15 + 19.9)
    assert house.status("7") == "running"
    house.look(15 + 20.5)
    assert house.status("7") == "lost"
    assert house.why("7") == (HOST_GONE, False)


def test_a_lease_follows_the_heartbeats_of_the_worker(house: House) -> None:
    """One that says something twice a minute is left alone for three times as long."""
    worker = house.worker("1")
    worker.job("7")
    for at_s in (0, 30, 60):
        worker.beat(at_s, "7")
        house.look(at_s)
    house.look(60 + 94)
    assert house.status("7") == "running"
    house.look(60 + 96)
    assert house.status("7") == "lost"


def test_where_others_of_the_machine_are_heard_of(house: House) -> None:
    """It is the process that is gone; it did not say that it stops, so it was killed."""
    worker, other = house.worker("1"), house.worker("2")
    worker.job("7")
    for at_s in range(0, 31, 5):
        other.beat(at_s)
        house.look(at_s)
    assert house.status("7") == "lost"
    assert house.why("7") == (KILLED, False)


def test_a_journal_that_another_monitor_reads(house: House) -> None:
    """It may be that monitor which is silent: five minutes are left to it."""
    worker = house.worker("1")
    worker.job("7")
    house.look(0)
    for _, _, path in segment_files(house.captured.home / "journal", worker.stem):
        path.unlink()
    house.look(299)
    assert house.status("7") == "running"
    house.look(301)
    assert house.status("7") == "lost"


# --- in a container beside ours ------------------------------------------------------------------


def test_a_neighbour_whose_lock_is_free(house: House) -> None:
    """Is dead after a moment of silence, and two seconds for those who saw how."""
    worker = house.worker("1", machine="near", boot=BOOT)
    worker.job("7")
    house.look(0)
    house.look(7)
    house.look(8)
    assert house.status("7") == "running"
    house.look(10.1)
    assert house.status("7") == "lost"
    assert house.why("7") == (KILLED, False)


def test_a_neighbour_whose_lock_is_held(house: House) -> None:
    """May be blocked: it has five minutes, in which somebody who adopted it is not told apart."""
    worker = house.worker("1", machine="near", boot=BOOT)
    worker.job("7")
    lock = StemLock(house.captured.home / "journal" / f"{worker.stem}{LOCK_SUFFIX}")
    assert lock.acquire(create=True)
    try:
        house.look(0)
        house.look(299)
        assert house.status("7") == "running"
        house.look(301)
        assert house.status("7") == "lost"
    finally:
        lock.release()


# --- a machine that begins anew ------------------------------------------------------------------


def test_a_machine_that_begins_anew_has_lost_its_jobs(house: House) -> None:
    """Another boot id under the same name says so at once, and for certain."""
    worker = house.worker("1")
    worker.job("7")
    worker.beat(5, "7")
    house.look(5)
    again = Worker(house.captured, "2", "far", "boot-3/1/1000")
    again.start(at_s=17)  # ten seconds after its machine
    house.look(17)
    assert house.status("7") == "lost"
    assert house.why("7") == (HOST_GONE, True)


def test_two_machines_by_one_name_are_two(house: House) -> None:
    """The worker was heard of while the other machine ran: that one was not started anew."""
    worker = house.worker("1")
    worker.job("7")
    other = Worker(house.captured, "2", "far", f"boot-3/1/{UP_TICKS}")
    other.start(at_s=4)
    for at_s in range(0, 30, 5):
        worker.beat(at_s, "7")
        other.beat(at_s)
        house.look(at_s)
    assert house.losses() == 0


# --- heard of again ------------------------------------------------------------------------------


def test_a_worker_that_was_forgotten_is_remembered(house: House) -> None:
    """Silent for an hour with nothing open, then at work again, then dead."""
    worker = house.worker("1")
    house.look(0)
    house.look(3_700)
    worker.job("7", at_s=3_710)
    house.look(3_711)
    assert house.status("7") == "running"
    house.look(3_720)
    house.look(3_750)
    assert house.status("7") == "lost"


def test_a_clock_that_is_set_back_is_no_death(house: House) -> None:
    """A worker is heard of when a record comes in, whatever time stands on it."""
    worker = house.worker("1")
    worker.job("7")
    house.look(0)
    for at_s in range(5, 60, 5):
        worker.beat(0.0, "7")
        house.look(at_s)
    assert house.losses() == 0


def test_it_is_said_when_a_job_is_not_lost(house: House) -> None:
    """When the worker is heard of and the job is shown as running, and not before."""
    worker = house.worker("1")
    worker.job("7")
    house.look(0)
    house.look(30)
    assert house.status("7") == "lost"
    worker.say(31, "log")  # a line of the worker's own is no sign of life of its job
    house.look(31)
    assert (house.status("7"), house.captured.events_of("state.changed")) == ("lost", [])
    worker.beat(3e9, "7")
    house.look(32)
    assert house.status("7") == "running"
    (change,) = house.captured.events_of("state.changed")
    assert (change.job_id, change.data["to_state"]) == ("7", "running")


# --- who reports ---------------------------------------------------------------------------------


def dies_between(house: House, monkeypatch: pytest.MonkeyPatch, *, stem: str) -> None:
    """Have a monitor take a report upon itself and not make it; the row says whose journal."""
    house.worker("1").job("7")
    house.look(0)
    with monkeypatch.context() as dying:
        dying.setattr("fiveobs.monitor.reaper.conclude_lost", lambda *_, **__: False)
        house.look(30)
    with house.store.writing() as connection:
        row = connection.execute(select(audit)).one()
        assert row.details["stem"] == own_stem()
        details = {**row.details, "stem": stem}
        connection.execute(update(audit).values(details=details))


def own_stem() -> str:
    """Our own journal."""
    pipeline = _runtime.get()
    assert pipeline is not None
    return pipeline.journal.stem


def test_a_report_of_a_dead_monitor_is_made_at_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that died after it took the report upon itself and before it made it."""
    dead = Worker(house.captured, "9", "dead", "boot-0/1/1")
    dead.start()
    dies_between(house, monkeypatch, stem=dead.stem)
    house.look(31)
    assert (house.losses(), house.status("7")) == (1, "lost")


def test_a_report_that_lies_in_a_dead_monitor_s_journal_is_not_made_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until all of that journal is in the store, it may be in it, however long that takes."""
    dead = Worker(house.captured, "9", "dead", "boot-0/1/1")
    dead.start()
    dies_between(house, monkeypatch, stem=dead.stem)
    dead.say(30, "log")
    for at_s in (31, 100, 1_000):
        house.at_s = at_s
        house.reaper.step()
    assert house.losses() == 0
    house.look(1_001)
    assert house.losses() == 1


def test_a_report_of_a_monitor_that_lives_is_waited_for(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute, and as long as its journal is not read; a backlog makes no second report."""
    dies_between(house, monkeypatch, stem=own_stem())
    house.look(80)
    assert house.losses() == 0
    house.look(95)
    assert house.losses() == 1


def test_a_backlog_makes_no_second_report(house: House) -> None:
    """The report is in the monitor's own journal, which is read late."""
    house.worker("1").job("7")
    house.look(0)
    for at_s in (30, 100, 1_000):
        house.at_s = at_s
        house.reaper.step()
        house.monitor().step()
    assert (house.losses(), house.status("7")) == (1, "running")
    house.look(1_001)
    assert (house.losses(), house.status("7")) == (1, "lost")
