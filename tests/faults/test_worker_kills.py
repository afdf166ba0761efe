"""Workers that are killed, ended or suspended by signals: nothing they recorded is lost."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from fiveobs.journal.locks import holder_pid
from tests.faults.conservation import Did, Held, check
from tests.faults.worker_runs import Worker, flapping, held_by, settle
from tests.support import workers
from tests.support.shipping import age
from tests.support.workers import Destinations

KILLS, AT_ONCE = 12, 4
LONGEST_LIFE_S = 0.4
ADOPTERS = 3
both = pytest.mark.parametrize("protocol", ["http", "grpc"])


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


@both
@pytest.mark.parametrize("receivers", ["up", "down", "flapping"])
def test_sigkill_at_any_moment_loses_nothing_of_any_track(
    receivers: str, protocol: str, fiveobs_home: Path
) -> None:
    """Every log, span, error and measurement of 12 killed workers arrives, whoever listened."""
    dice = random.Random(f"kills {receivers}")
    with Destinations(protocol=protocol) as there:
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


@both
def test_an_adopter_may_be_killed_again_and_again(protocol: str, fiveobs_home: Path) -> None:
    """Processes that are killed while they deliver a dead one's records leave none behind."""
    dice = random.Random("adopters")
    with Destinations(protocol=protocol) as there:
        for each in there.all:
            each.stop()
        with Worker(there.settings()) as dead:
            dead.ask("jobs", 200)
            dead.kill()
        for each in there.all:
            each.start()
        for _ in range(ADOPTERS):
            age(fiveobs_home / "journal")
            with Worker(there.settings()) as adopter:
                adopter.tell("adopt")
                time.sleep(dice.uniform(0.3, 0.6))  # the moment of death, not a wait for anything
                adopter.kill()
        settle(there, fiveobs_home, dead, was_killed=1 + ADOPTERS)


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


def _owners(home: Path, stems: set[str]) -> dict[str, int | None]:
    """Which process has which of these stems in its care."""
    return {stem: holder_pid(home / "journal" / f"{stem}.lock") for stem in stems}


def _wait_for_owners(home: Path, stems: set[str], adopters: list[Worker]) -> dict[str, int | None]:
    """Wait until each of the stems has one of these owners."""
    pids = {adopter.process.pid for adopter in adopters}
    workers.until(
        lambda: set(_owners(home, stems).values()) <= pids, timeout_s=60, what="owners for all"
    )
    return _owners(home, stems)


def _looking(there: Destinations, count: int) -> list[Worker]:
    """Processes that look for dead ones' files, and have looked already."""
    adopters = [Worker(there.settings()) for _ in range(count)]
    for adopter in adopters:
        adopter.tell("jobs", 1)
        adopter.tell("beats", 1)
    for adopter in adopters:
        adopter.wait_for("beats")
    return adopters


@both
def test_an_adopters_files_go_to_the_others_when_it_is_killed(
    protocol: str, fiveobs_home: Path
) -> None:
    """Each of twelve dead ones' journals has one owner of four; one of those is killed."""
    with Destinations(protocol=protocol) as there:
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
        left = {path.stem for path in (fiveobs_home / "journal").glob("*.lock")}
        assert len(left) == 12
        adopters = _looking(there, 4)
        age(fiveobs_home / "journal")
        owners = _wait_for_owners(fiveobs_home, left, adopters)
        (taker, taken) = Counter(owners.values()).most_common(1)[0]
        assert taken >= 12 // 4
        killed = next(each for each in adopters if each.process.pid == taker)
        assert killed.kill() == -signal.SIGKILL
        adopters.remove(killed)
        _wait_for_owners(fiveobs_home, left, adopters)
        for each in there.all:
            each.start()
        for adopter in adopters:
            adopter.tell("adopt", *left)
            adopter.tell("end")
        assert [adopter.wait() for adopter in adopters] == [0, 0, 0]
        found = settle(there, fiveobs_home, *told, killed, *adopters, was_killed=True)
    assert found["logs"].accepted >= 12 * 20 * 4


@both
def test_live_adopters_count_each_measurement_once(protocol: str, fiveobs_home: Path) -> None:
    """Where no adopter is killed, sums are exact, however many look for the same files."""
    with Destinations(protocol=protocol) as there:
        for each in there.all:
            each.stop()
        with Worker(there.settings()) as dead:
            dead.ask("jobs", 100)
            dead.kill()
        left = {path.stem for path in (fiveobs_home / "journal").glob("*.lock")}
        adopters = _looking(there, 3)
        age(fiveobs_home / "journal")
        (owner,) = _wait_for_owners(fiveobs_home, left, adopters).values()
        for each in there.all:
            each.start()
        for adopter in adopters:
            adopter.tell("adopt", *left)
            adopter.tell("end")
        assert [adopter.wait() for adopter in adopters] == [0, 0, 0]
        held = held_by(there)
        assert held.total("jobs.processed") == 100 + 2 * 3
        assert held.total("records") == 300 + 3 * 3
        by_owner = [each for each in held.metrics if each["resource"].get("process.pid") == owner]
        assert Held(metrics=by_owner).total("records") == 300 + 3
        settle(there, fiveobs_home, dead, *adopters)
