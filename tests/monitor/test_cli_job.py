"""``fiveobs job``: all of one job."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

import pytest

from fiveobs.cli import main
from tests.support.commands import Served, command, served, step_job
from tests.support.workers import until


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("job")) as running:
        yield running


@pytest.fixture
def here(found: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


def test_all_of_a_job_is_shown(found: Served) -> None:
    """Status, stages with their progress, what was logged, the error, and the timeline."""
    done = command(found, "job", "steps-failed")
    assert (done.returncode, done.stderr) == (0, "")
    head, *rest = done.stdout.splitlines()
    assert head == "count steps-failed Failed"
    titles = [line for line in rest if line in ("Stages", "Log", "Timeline")]
    assert titles == ["Stages", "Log", "Timeline"]
    assert any(line.startswith("Read ") and "25%" in line for line in rest)
    assert any(line.startswith("Write") and "Skipped" in line for line in rest)
    assert "WARN" in done.stdout
    assert "told to fail" in done.stdout
    assert "JobFailed" in done.stdout


def test_json_has_every_answer(here: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """One object with the monitor's own answers, for programs."""
    assert main(["job", "steps-completed", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"progress", "timeline", "logs", "metrics", "dependencies"}
    assert found["progress"]["status"] == "Completed"


@pytest.mark.parametrize("part", ["steps-comp", "completed"])
def test_an_id_may_be_shortened(
    here: Served, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six characters of the beginning or the end are enough where only one id fits."""
    assert main(["job", part]) == 0
    assert capsys.readouterr().out.startswith("count steps-completed Completed")


def test_an_id_that_fits_several_is_refused(
    here: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ids that fit are named."""
    assert main(["job", "steps-"]) == 2
    said = capsys.readouterr().err
    assert "steps-completed" in said
    assert "steps-failed" in said


def test_an_unknown_job_ends_with_1(here: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """As the monitor says it."""
    assert main(["job", "nobody-knows"]) == 1
    assert "there is no job 'nobody-knows'" in capsys.readouterr().err


def test_a_job_is_stopped_from_the_terminal(found: Served) -> None:
    """``fiveobs stop`` ends a running job at its next checkpoint; the reason is kept."""
    with step_job(found, "steps-stopped") as process:
        found.wait_for("steps-stopped", "Running")
        done = command(found, "stop", "steps-stopped", "nobody-knows", "--reason", "enough")
        assert done.returncode == 1
        assert done.stdout.startswith("steps-stopped: ")
        assert "'nobody-knows'" in done.stderr
        assert process.stdin is not None
        steps = process.stdin.fileno()  # nothing is left in a buffer that is flushed at the end

        def goes_on() -> bool:
            with contextlib.suppress(BrokenPipeError):
                os.write(steps, b"advance\n")
            return process.poll() is not None

        until(goes_on, timeout_s=20, what="the end of the job")
    found.wait_for("steps-stopped", "Stopped")
    with found.client() as client:
        entries = client.audit("steps-stopped").entries
        assert [each.reason for each in entries if each.action == "job.stop"] == ["enough"]
    again = command(found, "pause", "steps-stopped", "--json")
    assert (again.returncode, json.loads(again.stdout)) == (1, [])
    assert "stopped" in again.stderr
