"""Jobs are asked to stop, to pause and to go on; each request is in the audit trail."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select

from fiveobs import JobStopped, _control, announce_job, observe_job
from fiveobs._control import Action
from fiveobs.journal.segments import segment_files
from fiveobs.monitor import control as control_module
from fiveobs.monitor.control import (
    Control,
    Filter,
    RefusedError,
    Requester,
    UnknownJobError,
)
from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.store.auditing import audit_rows
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import audit
from fiveobs.testing import Captured, capture
from tests.support.asgi import ask
from tests.support.monitors import monitor
from tests.support.workers import until

WHO = Requester(1, "default", "default", "alice", "t1")


@pytest.fixture
def captured() -> Iterator[Captured]:
    with capture() as found:
        yield found


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


def written(captured: Captured) -> set[str]:
    """Jobs for which a request lies in the home."""
    return {each.run.job_id for each in _control.pending(captured.home)}


def make_unwritable(captured: Captured, job_id: str) -> None:
    """Have the system refuse the request for this job: a folder is in its place."""
    folder = captured.home / "control"
    before = set(folder.glob("*.json"))
    _control.request(captured.home, job_id, "stop")
    (path,) = set(folder.glob("*.json")) - before
    path.unlink()
    (path / "full").mkdir(parents=True)


def test_a_request_that_cannot_be_written_holds_up_no_other(
    store: Store, captured: Captured
) -> None:
    """An emergency stop asks the rest, and the trail says who was not asked, and why."""
    control = Control(store, captured.home)
    for number in range(5):
        announce_job("long", job_id=str(number))
    take_in(store, captured)
    make_unwritable(captured, "2")
    stopped = control.stop_all(WHO, Filter(), "fire")
    assert stopped.not_written == ["2"]
    assert stopped.count("received") == 4
    assert written(captured) == {"0", "1", "3", "4"}
    assert sorted(outcomes(store)) == [
        ("job.stop", str(number), "not written" if number == 2 else "requested")
        for number in range(5)
    ]
    (row,) = audit_rows(store, 1, target="2", limit=9)
    assert row.details is not None
    assert "directory" in row.details["why"]
    with pytest.raises(OSError, match="directory"):
        control.ask(WHO, "2", "stop")
    assert outcomes(store)[0] == ("job.stop", "2", "not written")


class _Broken(Store):
    """A store whose transactions fail when they are committed, as a crash just before has it."""

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        with super().writing() as connection:
            yield connection
            raise RuntimeError("no commit")


def test_no_job_is_asked_that_is_not_in_the_trail(store: Store, captured: Captured) -> None:
    """The trail is committed before the first request can be found."""
    announce_job("long", job_id="1")
    take_in(store, captured)
    control = Control(_Broken(store.engine), captured.home)
    with pytest.raises(RuntimeError, match="no commit"):
        control.ask(WHO, "1", "stop")
    with pytest.raises(RuntimeError, match="no commit"):
        control.stop_all(WHO, Filter())
    assert written(captured) == set()


def test_an_emergency_stop_lists_the_journals_once(
    store: Store, captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many jobs there are: what one job costs does not grow with their number."""
    listed = []

    def listing(folder: Path) -> Any:
        listed.append(folder)
        return segment_files(folder)

    monkeypatch.setattr(control_module, "segment_files", listing)
    with contextlib.ExitStack() as running:
        for number in range(20):
            running.enter_context(observe_job("long", job_id=str(number)))
        take_in(store, captured)
        assert Control(store, captured.home).stop_all(WHO, Filter()).count("running") == 20
    assert listed == [captured.home / "journal"]


def test_open_requests_do_not_hide_a_later_one(store: Store, captured: Captured) -> None:
    """What became of a request is noted however many before it are still open."""
    control = Control(store, captured.home)
    for number in range(1_101):
        announce_job("long", job_id=f"waits-{number}")
    take_in(store, captured)
    assert len(control.stop_all(WHO, Filter()).asked) == 1_101
    with contextlib.suppress(JobStopped), observe_job("long", job_id="runs") as job:
        take_in(store, captured)
        control.ask(WHO, "runs", "stop")
        job.checkpoint()
    take_in(store, captured)
    control.settle()
    assert outcomes(store)[0] == ("job.stop", "runs", "done")


def test_more_requests_than_one_transaction_settles(store: Store, captured: Captured) -> None:
    """They are gone through to the last one in one call."""
    control = Control(store, captured.home)
    carriers = [announce_job("long", job_id=f"waits-{number}") for number in range(1_001)]
    take_in(store, captured)
    control.stop_all(WHO, Filter())
    for carrier in carriers:
        with observe_job("long", carrier=carrier):
            pass
    take_in(store, captured)
    control.settle()
    with store.reading() as connection:
        found = connection.execute(select(audit.c.outcome).distinct()).scalars().all()
    assert found == ["too late"]


def test_a_row_that_is_committed_late_is_settled(store: Store, captured: Captured) -> None:
    """PostgreSQL gives out keys before it commits: a lower one may be seen after a higher one."""
    control = Control(store, captured.home)
    with observe_job("long", job_id="early"), observe_job("long", job_id="late"):
        take_in(store, captured)
        control.ask(WHO, "late", "stop")
        control.ask(WHO, "early", "stop")
    late = audit.c.target == "late"
    with store.writing() as connection:
        row = connection.execute(select(audit).where(late)).one()._asdict()
        connection.execute(delete(audit).where(late))
    take_in(store, captured)
    control.settle()
    with store.writing() as connection:
        connection.execute(insert(audit).values(row))
    control.settle()
    assert [outcome for *_, outcome in outcomes(store)] == ["too late", "too late"]


@pytest.mark.parametrize("action", ["stop", "pause"])
def test_a_request_reaches_the_checkpoint_within_a_second(
    store: Store, captured: Captured, action: Action
) -> None:
    """From the answer to whoever asked to the job's own event."""
    seen: list[float] = []
    is_up = threading.Event()

    def work() -> None:
        with contextlib.suppress(JobStopped), observe_job("long", job_id="7") as job:
            is_up.set()
            while not is_over.is_set():
                job.checkpoint()

    def has(event_type: str) -> bool:
        return any(each.event_type == event_type for each in captured.events)

    is_over = threading.Event()
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        assert is_up.wait(10)
        take_in(store, captured)
        control = Control(store, captured.home)
        control.ask(WHO, "7", action)
        began = time.monotonic()
        until(lambda: has({"stop": "job.stopped", "pause": "job.paused"}[action]))
        seen.append(time.monotonic() - began)
        if action == "pause":
            take_in(store, captured)
            control.ask(WHO, "7", "resume")
            began = time.monotonic()
            until(lambda: has("job.resumed"))
            seen.append(time.monotonic() - began)
    finally:
        is_over.set()
        worker.join(10)
    assert max(seen) < 1.0


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
            worker.wait(timeout=30)
            running.ingest()
            refused = post("job/7/stop", "operator", {})
            assert (refused.status, refused.content["jobStatus"]) == (409, "Stopped")
            assert post("audit", "operator").status == 403
            trail = post("audit", "admin").content
            of_jobs = [each for each in trail["entries"] if each["action"].startswith("job.")]
            assert [each["outcome"] for each in of_jobs] == ["refused", "requested"]
            assert trail["next"] is None
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
