"""Forks of every kind, with all tracks: what parents and children did arrives, once counted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.faults.worker_runs import settle, spawn
from tests.support.workers import Destinations

#: So that every thread of ours sleeps when it has nothing to do. A fork from C while a thread asks
#: for the interpreter's lock leaves a child that hangs in CPython: it runs no hook that mends that.
ASLEEP = {
    "FIVEOBS_FLUSH_INTERVAL": "60",
    "FIVEOBS_HEARTBEAT_INTERVAL": "60",
    "METRICS_COLLECTION_INTERVAL": "60",
}
#: Sums are sent in a flush only: who leaves between the sending and its note has them sent again.
UNTIMED = {"METRICS_COLLECTION_INTERVAL": "60"}
#: The end waits for no delivery.
BRIEF = {"FIVEOBS_SHUTDOWN_TIMEOUT": "1"}
#: What gRPC says where it leaves a child with its parent's state, because a call is under way.
UNPREPARED = "skipping fork() handlers"
both = pytest.mark.parametrize("protocol", ["http", "grpc"])
#: Longer than a child and the locks may take together.
RUN_TIMEOUT_S = 100.0


def _run(there: Destinations, *args: object, **settings: str) -> list[dict[str, Any]]:
    process = spawn("wk_forks", *args, settings=there.settings() | settings, start_new_session=True)
    with process:
        try:
            out, _ = process.communicate(timeout=RUN_TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its children hold the pipe, too
    assert process.returncode == 0, out
    told = [json.loads(line) for line in out.splitlines()]
    assert [each for each in told if "hung" in each or each.get("flushed") is False] == []
    return [each for each in told if "flushed" not in each]


@both
@pytest.mark.parametrize("leave", ["flush", "abrupt"])
@pytest.mark.parametrize("parent", ["idle", "never"])
def test_children_recycled_after_each_task_lose_nothing(
    parent: str, leave: str, protocol: str, fiveobs_home: Path
) -> None:
    """Whether they flush before ``os._exit`` or not, and whatever the parent does or leaves."""
    with Destinations(protocol=protocol) as there:
        told = _run(there, "prefork", parent, leave, 8, **UNTIMED)
        if leave == "flush":  # then nobody else is needed
            received = {record.get("job_id") for _, _, record in there.forward.records}
            jobs = [each["job"] for each in told]
            assert set(jobs[parent == "idle" :]) <= received
        found = settle(there, fiveobs_home, told)
    assert len(told) == 8 + (parent == "idle")
    assert found["metrics"].held == len(told) + 1  # and the successor's
    assert found["errors"].held == 8 // 2


@both
def test_children_forked_while_their_parent_sends_lose_nothing(
    protocol: str, fiveobs_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Calls are under way at each fork; what the children send themselves arrives, too."""
    with Destinations(protocol=protocol) as there:
        there.otlp.mode, there.otlp.delay_s = "slow", 0.02
        told = _run(there, "prefork_busy", "flush", 16, **UNTIMED)
        assert UNPREPARED not in capfd.readouterr().err
        own = told[0]["job"].partition("-")[0]
        children = {each["job"] for each in told if not each["job"].startswith(own)}
        spans = {each["attributes"].get("job.id") for each in there.otlp.spans}
        assert len(children) == 16
        assert children <= spans
        settle(there, fiveobs_home, told)


def test_a_fork_from_c_while_grpc_sends_is_survived(
    fiveobs_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Such a child could be aborted by gRPC: it leaves what it has to another, and ends well."""
    with Destinations(protocol="grpc") as there:
        there.otlp.mode = "blackhole"
        told = _run(there, "c_fork_busy", 4, **ASLEEP | BRIEF)
        assert UNPREPARED in capfd.readouterr().err
        there.otlp.mode = "ok"
        settle(there, fiveobs_home, told, was_killed=True)  # in the midst of a call, likewise
    assert len(told) == 5


@both
def test_forks_from_c_lose_nothing(protocol: str, fiveobs_home: Path) -> None:
    """They run no hook of Python's; parent and children deliver all tracks all the same."""
    with Destinations(protocol=protocol) as there:
        told = _run(there, "c_fork", 4, **ASLEEP)
        found = settle(there, fiveobs_home, told)
    assert len(told) == 8
    assert found["errors"].held == 4 // 2
    assert {each.repeats for each in found.values()} == {0}


@both
def test_a_fork_while_every_lock_of_ours_is_held_loses_nothing(
    protocol: str, fiveobs_home: Path
) -> None:
    """A child waits for none of the locks that a thread of its parent held, at any moment."""
    with Destinations(protocol=protocol) as there:
        told = _run(there, "locks_held", 4)
        assert told.pop()["locks"] >= 10
        settle(there, fiveobs_home, told)
    assert len(told) == 5
