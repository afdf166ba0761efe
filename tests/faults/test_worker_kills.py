"""Workers that are killed, ended or suspended by signals: nothing they recorded is lost."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.faults.conservation import Did, check
from tests.faults.worker_runs import Worker, flapping, held_by, settle
from tests.support import workers
from tests.support.shipping import age
from tests.support.workers import Destinations

KILLS, AT_ONCE = 12, 4
LONGEST_LIFE_S = 0.4


def _killed_batch(there: Destinations, dice: random.Random) -> list[Worker]:
    """Let some workers work, each until a moment of its own."""
    batch = [Worker(there.settings()) for _ in range(AT_ONCE)]
    timers = []
    for worker in batch:
        worker.tell("forever")
    for worker in batch:
        worker.wait_for_job()
        timers.append(threading.Timer(dice.uniform(0, LONGEST_LIFE_S), worker.process.kill))
        timers[-1].start()
    for worker, timer in zip(batch, timers, strict=True):
        assert worker.wait() == -signal.SIGKILL
        timer.join()
    return batch


@pytest.mark.parametrize("receivers", ["up", "down", "flapping"])
def test_sigkill_at_any_moment_loses_nothing_of_any_track(
    receivers: str, fiveobs_home: Path
) -> None:
    """Every log, span, error and measurement of 12 killed workers arrives, whoever listened."""
    dice = random.Random(f"kills {receivers}")
    with Destinations() as there:
        if receivers == "down":
            for each in there.all:
                each.stop()
        flaps = flapping(there, 0.15) if receivers == "flapping" else contextlib.nullcontext()
        with flaps:
            killed = [each for _ in range(KILLS // AT_ONCE) for each in _killed_batch(there, dice)]
        for each in there.all:
            each.start()
        found = settle(there, fiveobs_home, *killed, was_killed=True)
    assert found["events"].accepted > 4 * KILLS


def test_an_adopter_may_be_killed_again_and_again(fiveobs_home: Path) -> None:
    """Processes that are killed while they deliver a dead one's records leave none behind."""
    dice = random.Random("adopters")
    with Destinations() as there:
        for each in there.all:
            each.stop()
        with Worker(there.settings()) as dead:
            dead.ask("jobs", 200)
            dead.kill()
        for each in there.all:
            each.start()
        for _ in range(3):
            age(fiveobs_home / "journal")
            with Worker(there.settings()) as adopter:
                adopter.tell("adopt")
                time.sleep(dice.uniform(0.3, 0.6))  # the moment of death, not a wait for anything
                adopter.kill()
        settle(there, fiveobs_home, dead, was_killed=True)


@pytest.mark.parametrize("where", ["default", "own"])
def test_sigterm_loses_nothing_of_any_track(where: str, fiveobs_home: Path) -> None:
    """The open job ends as interrupted, or as the application's handler decides; all arrives."""
    with Destinations() as there:
        with Worker(there.settings()) as worker:
            worker.ask("jobs", 30)
            worker.tell("waits", where)
            workers.until(lambda: workers.events(fiveobs_home, "job.started")[-1:], what="a job")
            while worker._next() != {"waiting": True}:
                pass
            if where == "own":
                worker.tell("end")
            assert worker.kill(signal.SIGTERM) == (-signal.SIGTERM if where == "default" else 0)
        assert not list((fiveobs_home / "journal").glob("*.lock"))  # nothing left for others
        did = Did.of(worker.told)
        held = held_by(there)
        interrupted = len(workers.events(fiveobs_home, "job.interrupted"))
        assert interrupted == (where == "default")
        assert held.total("jobs.processed") == 31
        # `check` knows the ends that a program can print; an interrupted job cannot print its own.
        check(fiveobs_home, held, did, was_killed=where == "default")


def test_a_suspended_worker_keeps_its_files(fiveobs_home: Path) -> None:
    """While it is stopped nobody adopts what it has; when it goes on, nothing arrives twice."""
    with Destinations() as there:
        for each in there.all:
            each.stop()
        with Worker(there.settings()) as worker:
            worker.ask("jobs", 40)
            worker.process.send_signal(signal.SIGSTOP)
            for each in there.all:
                each.start()
            age(fiveobs_home / "journal")  # as after a suspension of days
            with Worker(there.settings()) as other:
                other.ask("jobs", 1)
                other.ask("beats", 5)  # each looks for dead processes' files
                assert other.end() == 0
            suspended = {record["job_id"] for record in workers.events(fiveobs_home, "job.started")}
            received = {record.get("job_id") for _, _, record in there.forward.records}
            assert not received & (suspended - _jobs_of(other))
            worker.process.send_signal(signal.SIGCONT)
            worker.ask("jobs", 10)
            assert worker.end() == 0
        found = settle(there, fiveobs_home, worker, other)
    assert {each.repeats for each in found.values()} == {0}


def _jobs_of(worker: Worker) -> set[str]:
    return set(Did.of(worker.told).jobs)


def test_a_worker_suspended_amid_a_delivery_repeats_at_most_that(fiveobs_home: Path) -> None:
    """The receiver gives up on a connection that says nothing more; what it had is sent again."""
    with Destinations(mode="slow") as there:
        with Worker(there.settings()) as worker:
            worker.ask("jobs", 30)
            there.forward.wait_for(lambda receiver: receiver.counts["connections"])
            worker.process.send_signal(signal.SIGSTOP)
            for each in there.all:
                each.stop()
            there.set_mode("ok")
            for each in there.all:
                each.start()
            worker.process.send_signal(signal.SIGCONT)
            assert worker.end() == 0
        found = settle(there, fiveobs_home, worker)
    assert found["logs"].repeats <= 200


def test_many_adopters_at_once_share_the_work(fiveobs_home: Path) -> None:
    """Four processes find the files of twelve dead ones; one adopter is killed: all arrives."""
    with Destinations() as there:
        for each in there.all:
            each.stop()
        told = []
        for _ in range(3):
            batch = [Worker(there.settings()) for _ in range(4)]
            for worker in batch:
                worker.tell("jobs", 20)
                worker.tell("leave")
            for worker in batch:
                assert worker.wait() == 0
            told += batch
        assert len(list((fiveobs_home / "journal").glob("*.lock"))) == 12
        for each in there.all:
            each.start()
        age(fiveobs_home / "journal")
        left = [path.stem for path in (fiveobs_home / "journal").glob("*.lock")]
        adopters = [Worker(there.settings()) for _ in range(4)]
        for adopter in adopters:
            adopter.tell("adopt", *left)
        there.forward.wait_for(lambda receiver: len(receiver.records) > 100, timeout_s=30)
        adopters[0].process.kill()
        for adopter in adopters[1:]:
            adopter.tell("end")
        codes = [adopter.wait() for adopter in adopters]
        assert codes[1:] == [0, 0, 0]
        found = settle(there, fiveobs_home, *told, was_killed=True)
    assert found["logs"].accepted >= 12 * 20 * 4


def test_live_adopters_count_each_measurement_once(fiveobs_home: Path) -> None:
    """Where no adopter is killed, sums are exact, however many look for the same files."""
    with Destinations() as there:
        for each in there.all:
            each.stop()
        with Worker(there.settings()) as dead:
            dead.ask("jobs", 100)
            dead.kill()
        for each in there.all:
            each.start()
        age(fiveobs_home / "journal")
        left = [path.stem for path in (fiveobs_home / "journal").glob("*.lock")]
        adopters = [Worker(there.settings()) for _ in range(3)]
        for adopter in adopters:
            adopter.tell("adopt", *left)
            adopter.tell("end")
        assert [adopter.wait() for adopter in adopters] == [0, 0, 0]
        assert held_by(there).total("jobs.processed") == 100 + 3
        assert held_by(there).total("records") == 300
        settle(there, fiveobs_home, dead)
