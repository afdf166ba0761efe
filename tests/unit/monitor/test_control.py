"""Jobs are asked to stop, to pause and to go on; each request is in the audit trail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fiveobs import JobStopped, _control, announce_job, observe_job
from fiveobs.monitor.control import (
    Control,
    Filter,
    RefusedError,
    Requester,
    UnknownJobError,
    audit_rows,
)
from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.store.engine import Store, open_store
from fiveobs.testing import Captured, capture
from tests.support.asgi import ask
from tests.support.monitors import monitor

WHO = Requester(1, "default", "default", "alice", "t1")


@pytest.fixture
def captured() -> Iterator[Captured]:
    with capture() as found:
        yield found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store(f"sqlite:///{tmp_path / 'store.sqlite3'}")
    yield found
    found.close()


def take_in(store: Store, captured: Captured) -> None:
    problems: list[str] = []
    ingester = Ingester(
        store, captured.home / "journal", report=lambda cause, text: problems.append(text)
    )
    while ingester.step():
        pass
    assert problems == []


def outcomes(store: Store) -> list[tuple[str, str, str]]:
    return [(row.action, row.target, row.outcome) for row in audit_rows(store, 1, limit=99)]


def test_a_running_job_stops(store: Store, captured: Captured) -> None:
    """At its next checkpoint, saying who asked and why; the trail says that it was done."""
    control = Control(store, captured.home)
    why = "asked to stop by alice: too slow"
    with pytest.raises(JobStopped, match=why), observe_job("long", job_id="7") as job:
        take_in(store, captured)
        asked = control.ask(WHO, "7", "stop", "too slow")
        assert (asked.status, asked.outcome) == ("running", "requested")
        control.settle()
        assert outcomes(store) == [("job.stop", "7", "requested")]
        job.checkpoint()
    take_in(store, captured)
    control.settle()
    assert outcomes(store) == [("job.stop", "7", "done")]
    (row,) = audit_rows(store, 1, limit=9)
    assert (row.actor, row.reason) == ("alice", "too slow")
    assert row.details == {"attempt": 1, "status": "running", "tokenId": "t1"}


def test_what_was_asked_of_one_run_is_not_asked_of_another(
    store: Store, captured: Captured
) -> None:
    """A job that never looked leaves no trap for the next one of the same id, or attempt."""
    control = Control(store, captured.home)
    with observe_job("long", job_id="7"):
        take_in(store, captured)
        control.ask(WHO, "7", "stop")
    for attempt in (1, 2):
        with observe_job("long", job_id="7", attempt=attempt) as job:
            job.checkpoint()
    take_in(store, captured)
    control.settle()
    assert outcomes(store) == [("job.stop", "7", "too late")]
    assert list((captured.home / "control").iterdir()) == []


def test_a_job_of_another_project_is_not_meant(captured: Captured) -> None:
    """Though its id is the same."""
    for other in (("acme", "default"), ("default", "acme")):
        _control.request(captured.home, _control.Run("7", *other), "stop")
    with observe_job("long", job_id="7") as job:
        job.checkpoint()


def test_states_that_do_not_allow_it(store: Store, captured: Captured) -> None:
    """It is said why, and noted that it was tried."""
    control = Control(store, captured.home)
    announce_job("long", job_id="waits")
    with observe_job("long", job_id="done"):
        pass
    with observe_job("long", job_id="runs"):
        take_in(store, captured)
        for job_id, action, why in (
            ("done", "stop", "the job is completed: there is nothing to stop"),
            ("waits", "pause", "the job waits in its queue: it can be stopped, not paused"),
            ("runs", "resume", "the job is running: there is nothing to resume"),
        ):
            with pytest.raises(RefusedError, match=why):
                control.ask(WHO, job_id, action)  # type: ignore[arg-type]
        with pytest.raises(UnknownJobError):
            control.ask(WHO, "other", "stop")
        with pytest.raises(UnknownJobError):
            control.ask(WHO._replace(project_key=2), "runs", "stop")
        control.ask(WHO, "runs", "pause")
        control.ask(WHO, "runs", "resume")
    assert [outcome for *_, outcome in outcomes(store)] == [
        *("requested", "replaced"),
        *["refused"] * 3,
    ]


def test_an_emergency_stop_is_for_all_that_fit(store: Store, captured: Captured) -> None:
    """Those that wait stop when they start."""
    control = Control(store, captured.home)
    carrier = announce_job("long", job_id="waits", session_id="s")
    announce_job("other", job_id="stays")
    with observe_job("long", job_id="runs", session_id="s"):
        take_in(store, captured)
        stopped = control.stop_all(WHO, Filter(job_names=["long"], session_id="s"), "fire")
        assert (stopped.count("running"), stopped.count("received")) == (1, 1)
        assert stopped.unreachable == []
    with pytest.raises(JobStopped), observe_job("long", carrier=carrier) as job:
        job.checkpoint()
    take_in(store, captured)
    control.settle()
    assert sorted(outcomes(store)) == [
        ("job.stop", "runs", "too late"),
        ("job.stop", "waits", "done"),
    ]


def test_routes(tmp_path: Path, fiveobs_home: Path) -> None:
    """The API answers 202 with what is known, 409 with the state, and hides other projects."""
    program = (
        "import sys\nfrom fiveobs import observe_job\n"
        "with observe_job('long', job_id='7') as job:\n"
        "    print('up', flush=True)\n"
        "    while True: job.checkpoint()\n"
    )
    environment = {**os.environ, "FIVEOBS_HOME": str(fiveobs_home)}
    worker = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert worker.stdout is not None
    try:
        worker.stdout.readline()
        with monitor(fiveobs_home) as running:
            running.ingest()

            def post(path: str, role: str, body: Any = None, **scope: str) -> Any:
                return ask(
                    running.app,
                    "POST" if body is not None else "GET",
                    f"/api/default/default/execution/{path}",
                    token=running.token_of(role, **scope),
                    headers={"content-type": "application/json"},
                    body=b"" if body is None else json.dumps(body).encode(),
                )

            assert post("job/7/stop", "viewer", {}).status == 403
            assert post("job/7/stop", "operator", {}, tenant_id="acme").status == 404
            assert post("job/8/stop", "operator", {}).status == 404
            assert post("emergency-stop", "operator", {"filter": {}}).status == 422
            answer = post("job/7/stop", "operator", {"reason": "late"})
            assert answer.status == 202
            assert answer.content["message"] == "The job stops at its next checkpoint"
            worker.wait(timeout=5)
            running.ingest()
            refused = post("job/7/stop", "operator", {})
            assert (refused.status, refused.content["jobStatus"]) == (409, "Stopped")
            trail = post("audit", "operator").content
            assert [each["outcome"] for each in trail["entries"]] == ["refused", "requested"]
            assert trail["next"] is None
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
