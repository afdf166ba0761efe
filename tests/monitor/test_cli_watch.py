"""``fiveobs watch``: lines elsewhere, a view on a terminal, until the job has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from fiveobs.cli import main
from tests.support.commands import Served, command, served, step_job, terminal
from tests.support.workers import until


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("watch")) as running:
        yield running


@pytest.fixture
def here(found: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.mark.parametrize(("job_id", "code"), [("steps-completed", 0), ("steps-failed", 1)])
def test_the_exit_code_is_the_job_s(found: Served, job_id: str, code: int) -> None:
    """0 if the job completed, 1 if it ended otherwise; a line for each event."""
    done = command(found, "watch", job_id)
    assert (done.returncode, done.stderr) == (code, "")
    types = [line.split()[2] for line in done.stdout.splitlines()]
    assert types[0] == "job.started"
    assert types[-1] == ("job.failed" if code else "job.completed")


def test_json_is_a_line_for_each_event(here: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is the event as a worker wrote it; only the types that are wanted."""
    assert main(["watch", "steps-completed", "--json", "--type", "stage.*"]) == 0
    events = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert {each["event_type"] for each in events} >= {"stage.started", "stage.completed"}
    assert {each["job_id"] for each in events} == {"steps-completed"}


def test_a_running_job_is_followed_on_a_terminal(found: Served) -> None:
    """The view changes in place until the job has ended, and ends with the job's last state."""
    with step_job(found, "steps-live") as process:
        found.wait_for("steps-live", "Running")
        assert process.stdin is not None
        process.stdin.write("advance\n")
        process.stdin.flush()
        end = threading.Timer(3, lambda: process.communicate("end\n"))
        end.start()
        code, shown = terminal(found, "watch", "steps-live")
        end.join()
    assert code == 0
    assert "Running" in shown
    assert "one more" in shown
    assert "Completed" in shown.rpartition("steps-live")[2]


def test_all_jobs_are_watched_until_interrupted(found: Served, tmp_path: Path) -> None:
    """Without an id every event is shown; Ctrl-C is the way to end it, so it ends with 0."""
    shown = tmp_path / "shown"
    with shown.open("wb") as output:
        watching = subprocess.Popen(
            [sys.executable, "-m", "fiveobs", "watch", "--json", "--type", "job.*"],
            env={**os.environ, **found.environment},
            stdout=output,
        )
    numbers = count()

    def is_shown() -> bool:
        # What happens before it listens is not shown, so there is a job for each look.
        with step_job(found, f"steps-all-{next(numbers)}") as process:
            process.communicate("end\n", timeout=30)
        return shown.read_bytes().endswith(b"\n")

    try:
        until(is_shown, timeout_s=40, what="an event")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 0
    finally:
        watching.kill()
        watching.wait()
    first = json.loads(shown.read_text(encoding="utf-8").splitlines()[0])
    assert first["event_type"].startswith("job.")
