"""Workers that run out of memory, descriptors or threads."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.faults.conservation import SENT_TRACKS
from tests.faults.worker_runs import Worker, drops_of, settle
from tests.support.cgroups import entering, small_cgroup
from tests.support.shipping import age
from tests.support.workers import Destinations

#: What an OOM-killed worker may use.
OOM_LIMIT_BYTES = 160 << 20


# --- memory --------------------------------------------------------------------------------------


def _oom_kills(folder: Path) -> int:
    events = folder / "memory.events"
    text = (events if events.exists() else folder / "memory.oom_control").read_text()
    return int(dict(line.split() for line in text.splitlines())["oom_kill"])


def test_the_oom_killer_costs_no_record(fiveobs_home: Path) -> None:
    """A worker that the kernel kills for its memory loses nothing of any track."""
    with small_cgroup(OOM_LIMIT_BYTES) as cgroup, Destinations() as there:
        with Worker(there.settings(), prefix=entering(cgroup)) as worker:
            worker.ask("jobs", 20)
            worker.tell("eat")
            assert worker.wait() == -signal.SIGKILL
        assert _oom_kills(cgroup) >= 1
        assert sum("job" in each for each in worker.told) > 30
        settle(there, fiveobs_home, worker, was_killed=True)


def test_a_job_that_runs_out_of_memory_is_recorded(fiveobs_home: Path) -> None:
    """``MemoryError`` is an error like any other: its job's records are on every track."""
    with Destinations() as there:
        with Worker(there.settings()) as worker:
            worker.ask("jobs", 5)
            for _ in range(5):
                worker.ask("memory_error")
            worker.ask("jobs", 5)
            assert worker.end() == 0
        kinds = [each["exception"]["values"][-1]["type"] for each in there.sentry.events]
        assert kinds.count("MemoryError") == 5
        settle(there, fiveobs_home, worker)


def test_threads_of_ours_that_run_out_of_memory_go_on(fiveobs_home: Path) -> None:
    """While nothing can be allocated deliveries fail; with memory again all of it arrives."""
    with Destinations() as there:
        for each in there.all:
            each.stop()
        # Else each thread has 64 MiB of addresses of its own already.
        with Worker(there.settings() | {"MALLOC_ARENA_MAX": "1"}) as worker:
            worker.ask("jobs", 300)
            worker.tell("starve", 200_000)
            worker.wait_for("take_memory")
            for each in there.all:
                each.start()
            assert "MemoryError" in worker.answer("starve")["errors"]
            worker.ask("jobs", 50)
            assert set(drops_of(worker, there).values()) == {0}
            names = worker.ask("threads")["threads"]
            tracks = {f"fiveobs-{track}" for track in ("logs", "traces", "metrics", "errors")}
            assert tracks | {"fiveobs-heartbeat"} <= set(names)
            assert worker.end() == 0
        settle(there, fiveobs_home, worker)


# --- descriptors ---------------------------------------------------------------------------------


def test_no_descriptor_left_loses_nothing(fiveobs_home: Path) -> None:
    """No file and no connection can be opened for a time: lines wait, then go out."""
    with Destinations() as there:
        settings = there.settings() | {"FIVEOBS_JOURNAL_SEGMENT_BYTES": "64KiB"}
        with Worker(settings) as worker:
            worker.ask("limit", "RLIMIT_NOFILE", 64)
            worker.ask("take_descriptors", 0)
            for each in there.all:  # what connections there are, end
                each.stop()
                each.start()
            worker.ask("jobs", 200)
            worker.ask("beats", 3)
            waiting = worker.ask("sums")["sums"]
            assert waiting["events"]["pending"] > 0, waiting  # no file could be begun
            assert any(waiting[track]["pending"] for track in SENT_TRACKS), waiting
            worker.ask("give_descriptors")
            worker.ask("jobs", 10)
            assert set(drops_of(worker, there).values()) == {0}
            assert worker.end() == 0
        settle(there, fiveobs_home, worker)


def test_an_adopter_without_descriptors_forgets_nobodys_records(fiveobs_home: Path) -> None:
    """What it cannot open it leaves as it is, and delivers once it can."""
    with Destinations() as there:
        for each in there.all:
            each.stop()
        dead = [Worker(there.settings()) for _ in range(3)]
        for worker in dead:
            worker.tell("jobs", 10)
            worker.tell("leave")
        assert [worker.wait() for worker in dead] == [0, 0, 0]
        with Worker(there.settings()) as adopter:
            adopter.ask("limit", "RLIMIT_NOFILE", 64)
            adopter.ask("take_descriptors", 1)  # enough to lock, too few to look
            age(fiveobs_home / "journal")
            adopter.ask("beats", 5)
            for each in there.all:
                each.start()
            adopter.ask("beats", 5)
            adopter.ask("give_descriptors")
            adopter.ask("adopt")
            assert adopter.end() == 0
        assert not list((fiveobs_home / "journal").glob("*.lock"))
        settle(there, fiveobs_home, *dead)


# --- threads -------------------------------------------------------------------------------------

NO_THREADS = {"WK_FIRST": '[["have_no_threads"]]'}


def test_a_worker_that_gets_no_threads_records_and_sends_when_it_gets_them(
    fiveobs_home: Path,
) -> None:
    """Jobs are in the journal from the first on; the threads are started as soon as they can."""
    with Destinations() as there:
        with Worker(there.settings() | NO_THREADS) as worker:
            worker.ask("jobs", 20)
            assert worker.ask("threads")["threads"] == ["MainThread"]
            worker.ask("limit", "RLIMIT_AS", -1)
            worker.ask("jobs", 20)
            assert set(drops_of(worker, there).values()) == {0}
            assert "fiveobs-heartbeat" in worker.ask("threads")["threads"]
            assert worker.end() == 0
        settle(there, fiveobs_home, worker)


def test_a_worker_that_never_gets_threads_leaves_its_records_to_others(fiveobs_home: Path) -> None:
    """It ends in time, and the next process delivers everything."""
    with Destinations() as there:
        with Worker(there.settings() | NO_THREADS) as worker:
            worker.ask("jobs", 20)
            assert worker.end() == 0
        assert there.forward.records == []
        settle(there, fiveobs_home, worker)
