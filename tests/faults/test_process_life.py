"""Forks, pools, signals and outages: what a process recorded arrives, whatever becomes of it."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import workers
from tests.support.workers import Destinations

#: Often enough that adoption takes no long while.
QUICK = {"FIVEOBS_HEARTBEAT_INTERVAL": "0.2", "METRICS_COLLECTION_INTERVAL": "0.5"}


def _completed(records: list[dict[str, Any]], name: str = "work") -> list[str]:
    return sorted(
        record["job_id"]
        for record in records
        if record["event_type"] == "job.completed" and record["job_name"] == name
    )


def _received(there: Destinations) -> list[dict[str, Any]]:
    """Records at the log receiver; a repeat of an id counts once, as receivers are told."""
    return list({record["id"]: record for _, _, record in there.forward.records}.values())


def _run(program: str, *args: object) -> tuple[Destinations, list[dict[str, Any]]]:
    with Destinations() as there:
        told = workers.run("lives", program, *args, settings=there.settings() | QUICK)
        assert [each for each in told if "hung" in each] == []
        return there, told


# --- forks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["fork_exit", "fork_os_exit"])
def test_what_forked_children_did_arrives(program: str, fiveobs_home: Path) -> None:
    """By a flush before ``sys.exit``, or by the parent, which adopts what ``os._exit`` left."""
    there, _ = _run(program)
    expected = ["job-0", "job-1", "job-2", "job-3"]
    assert _completed(workers.events(fiveobs_home)) == expected
    assert _completed(_received(there)) == expected
    spans = {span["attributes"]["job.id"]: span for span in there.otlp.spans}
    assert sorted(spans) == expected
    owners = {job_id: span["resource"]["process.pid"] for job_id, span in spans.items()}
    assert len(set(owners.values())) == 4  # each span keeps the process that it came from
    processed = sum(_last_points(there, "jobs.processed").values())
    assert processed == 4


def test_a_fork_from_c_is_noticed(fiveobs_home: Path) -> None:
    """It runs no hook of Python's; each child has a journal of its own all the same."""
    assert workers.run("lives", "c_fork", settings={"FIVEOBS_HEARTBEAT_INTERVAL": "60"}) == []
    records = workers.events(fiveobs_home)
    assert _completed(records) == ["job-0", "job-1", "job-2", "job-3"]
    assert len({record["worker_id"] for record in records}) == 4
    assert len({record["id"] for record in records}) == len(records)


def test_children_forked_amid_emitting_threads_do_not_hang(fiveobs_home: Path) -> None:
    """50 forks while other threads hold our locks: every child records its job and ends."""
    told = workers.run("lives", "hammer", 50, 3, timeout_s=60.0)
    assert told == []
    expected = sorted(f"job-{number}" for number in range(50))
    assert _completed(workers.events(fiveobs_home)) == expected


def test_children_forked_amid_deliveries_do_not_hang(fiveobs_home: Path) -> None:
    """The same while the parent's tracks are being shipped; what children did arrives."""
    there, _ = _run("hammer", 10, 2)
    expected = sorted(f"job-{number}" for number in range(10))
    assert _completed(workers.events(fiveobs_home)) == expected
    flushed = [job_id for job_id in expected if int(job_id[4:]) % 2]
    assert set(flushed) <= set(_completed(_received(there)))


# --- pools ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "terminate"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_a_pool_did_has_arrived_when_it_ends(method: str, end: str) -> None:
    """Workers of a ``multiprocessing`` pool flush before they end, also when it is terminated."""
    there, told = _run("pool", method, end)
    assert told == [{"results": [number * 2 for number in range(1, 9)]}]
    assert _completed(_received(there)) == [f"job-{number}" for number in range(9)]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_an_executor_did_has_arrived_when_it_ends(method: str) -> None:
    """Likewise for ``concurrent.futures``."""
    there, told = _run("executor", method)
    assert told == [{"results": [number * 2 for number in range(1, 9)]}]
    assert _completed(_received(there)) == [f"job-{number}" for number in range(1, 9)]


# --- endings -------------------------------------------------------------------------------------


def test_flush_and_shutdown_may_be_called_at_any_time(fiveobs_home: Path) -> None:
    """Before the first job, twice, with no time, and with jobs after: nothing is lost."""
    told = workers.run("lives", "nothing_configured")
    assert all(all(each.values()) for each in told)
    assert _completed(workers.events(fiveobs_home)) == ["job-1", "job-2"]
    assert list((fiveobs_home / "journal").glob("*.lock")) == []


@pytest.mark.parametrize(("protocol", "allowed_s"), [("http", 5.0), ("grpc", 2.0)])
def test_a_black_hole_delays_the_end_by_no_more_than_was_allowed(
    protocol: str, allowed_s: float, fiveobs_home: Path
) -> None:
    """No destination answers: the process ends in time, and a later one delivers everything."""
    with Destinations(protocol=protocol, mode="blackhole") as there:
        settings = there.settings() | QUICK | {"FIVEOBS_SHUTDOWN_TIMEOUT": str(allowed_s)}
        flushed, told = workers.run("lives", "black_hole", 20, settings=settings)
        ended_s = time.time() - told["ended_at"]
        assert ended_s < allowed_s + 2.5  # the machine may be busy
        assert flushed == {"flushed": False}
        for track in ("logs", "traces", "metrics", "errors"):
            sums = told["sums"][track]
            assert sums["accepted"] >= 20, track
            assert sums["pending"] == sums["accepted"], track
            assert (sums["delivered"], sums["dropped"]) == (0, 0), track
        left = workers.events(fiveobs_home)
        there.set_mode("ok")
        for receiver in there.all:
            receiver.clear()
        workers.run("lives", "successor", settings=settings)
    ids = {record["id"] for record in left if record["event_type"] != "envelope"}
    assert len(ids) > 40
    assert ids <= {record["id"] for record in _received(there)}
    jobs = {f"job-{number}" for number in range(20)}
    assert {span["attributes"]["job.id"] for span in there.otlp.spans} >= jobs
    assert {event["tags"]["job_id"] for event in there.sentry.events} == jobs
    assert len(there.sentry.events) == 20
    assert _last_points(there, "jobs.processed")["lives", "work", "failed"] == 20
    assert list((fiveobs_home / "journal").glob("*.lock")) == []


def test_a_short_process_delivers_what_an_earlier_one_left(fiveobs_home: Path) -> None:
    """A program that runs for a moment now and then, as from cron, leaves nothing behind."""
    with Destinations(mode="blackhole") as there:
        settings = there.settings() | {"FIVEOBS_SHUTDOWN_TIMEOUT": "0.2"}
        workers.run("lives", "one_job", settings=settings)
        there.set_mode("ok")
        (lock,) = (fiveobs_home / "journal").glob("*.lock")
        workers.until(lambda: time.time() - lock.stat().st_mtime > 2.1)
        workers.run("lives", "one_job", settings=settings | {"FIVEOBS_SHUTDOWN_TIMEOUT": "5"})
    assert len([r for r in _received(there) if r["event_type"] == "job.completed"]) == 2
    assert list((fiveobs_home / "journal").glob("*.lock")) == []


# --- signals -------------------------------------------------------------------------------------


def _signalled(number: int, handler: str, where: str) -> tuple[Destinations, int, str]:
    with Destinations() as there:
        process = workers.start("lives", "waits", handler, where, settings=there.settings())
        with process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline()) == {"ready": True}
            process.send_signal(number)
            _, said = process.communicate(timeout=20)
        return there, process.returncode, said


def _ending(there: Destinations, home: Path) -> str:
    """How the waiting job ended, the same in the journal and at the receiver."""
    ends = [
        {
            record["event_type"]
            for record in records
            if record.get("job_id") == "waits" and record["event_type"] != "job.started"
        }
        for records in (workers.events(home), _received(there))
    ]
    assert ends[0] == ends[1]
    (end,) = ends[0]
    return str(end)


@pytest.mark.parametrize("where", ["main", "thread"])
def test_sigterm_interrupts_jobs_and_flushes(where: str, fiveobs_home: Path) -> None:
    """Jobs end as interrupted, everything is sent, and the process dies of the signal."""
    there, code, said = _signalled(signal.SIGTERM, "default", where)
    assert code == -signal.SIGTERM, said
    assert _ending(there, fiveobs_home) == "job.interrupted"


def test_a_handler_of_the_applications_decides(fiveobs_home: Path) -> None:
    """Where the application handles SIGTERM, jobs go on for as long as it lets them."""
    there, code, said = _signalled(signal.SIGTERM, "own", "main")
    assert code == 0, said
    assert _ending(there, fiveobs_home) == "job.completed"


def test_control_c_interrupts_the_job(fiveobs_home: Path) -> None:
    """``KeyboardInterrupt`` ends the job as interrupted, and everything is sent."""
    there, code, said = _signalled(signal.SIGINT, "default", "main")
    assert code == -signal.SIGINT, said
    assert _ending(there, fiveobs_home) == "job.interrupted"


def _last_points(there: Destinations, name: str) -> dict[tuple[str, ...], float]:
    """The newest value of each of a counter's series, summed over the processes."""
    newest: dict[Any, Any] = {}
    for metric in there.otlp.metrics:
        if metric["name"] == name:
            for point in metric["points"]:
                key = metric["resource"]["process.pid"], tuple(point["attributes"].values())
                newest[key] = point["value"]
    totals: dict[tuple[str, ...], float] = {}
    for (_, labels), value in newest.items():
        totals[labels] = totals.get(labels, 0) + value
    return totals
