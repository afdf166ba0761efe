"""Requests to running jobs: small files that any process with the same home may write."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from fiveobs import JobStopped, observe_job
from fiveobs._control import Run, clear, request, requested, stand
from fiveobs.testing import capture


def action_of(home: Path, job_id: str) -> str | None:
    found = requested(home, job_id)
    return None if found is None else found.action


def test_the_latest_request_stands(tmp_path: Path) -> None:
    """Until it is cleared; clearing twice is no error."""
    assert requested(tmp_path, "7") is None
    for action in ("pause", "resume", "stop"):
        request(tmp_path, "7", action, by="me")
        assert action_of(tmp_path, "7") == action
    assert requested(tmp_path, "8") is None
    clear(tmp_path, "7")
    clear(tmp_path, "7")
    assert requested(tmp_path, "7") is None
    assert list((tmp_path / "control").iterdir()) == []


@pytest.mark.parametrize("job_id", ["../../etc/passwd", "a/b\\c", "\ud800", "x" * 5000, ""])
def test_any_job_id_stays_in_the_folder(tmp_path: Path, job_id: str) -> None:
    """An id is no path."""
    request(tmp_path / "home", job_id, "stop")
    assert action_of(tmp_path / "home", job_id) == "stop"
    assert [each.parent.name for each in tmp_path.rglob("*.json")] == ["control"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"action": "explode"}', b'{"action": 7}', b"\xff"]
)
def test_what_cannot_be_read_asks_for_nothing(tmp_path: Path, content: bytes) -> None:
    """A torn or foreign file does not stop a job."""
    request(tmp_path, "7", "stop")
    next((tmp_path / "control").iterdir()).write_bytes(content)
    assert requested(tmp_path, "7") is None


def test_requests_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Threads of one monitor may all ask; one of them is the last."""
    problems: list[BaseException] = []

    def ask(action: Any) -> None:
        try:
            for _ in range(50):
                request(tmp_path, "7", action)
        except BaseException as exc:
            problems.append(exc)

    threads = [threading.Thread(target=ask, args=(each,)) for each in ("stop", "pause", "resume")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert action_of(tmp_path, "7") in ("stop", "pause", "resume")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user with limits")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Who asks learns that it did not work."""
    tmp_path.chmod(0o500)
    with pytest.raises(OSError):
        request(tmp_path, "7", "stop")


def test_a_stopped_job_can_be_tried_again_under_the_same_id() -> None:
    """What was asked of an attempt is not asked of the next one."""
    with capture() as captured:
        request(captured.home, "7", "stop")
        with pytest.raises(JobStopped), observe_job("long", job_id="7") as job:
            job.checkpoint()
        with observe_job("long", job_id="7", attempt=2) as job:
            job.checkpoint()
        assert [event.event_type for event in captured.events_of("job.*")] == [
            *("job.started", "job.stopped"),
            *("job.started", "job.completed"),
        ]


def test_what_stands_is_for_runs_to_come_until_one_completes() -> None:
    """A run that ends otherwise leaves it to the next one; whoever completes takes it away."""
    with capture() as captured:
        stand(captured.home, Run("7", attempt=1, span_id="ab" * 8), "stop", by="alice")
        for attempt in (1, 2):
            with (
                pytest.raises(JobStopped, match="by alice"),
                observe_job("long", job_id="7", attempt=attempt) as job,
            ):
                job.checkpoint()
        stand(captured.home, Run("7"), "resume")
        with observe_job("long", job_id="7", attempt=3) as job:
            job.checkpoint()
        assert list((captured.home / "control").iterdir()) == []
