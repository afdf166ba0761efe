"""``fiveobs stop`` with flags that choose: the emergency stop from the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.commands import Served, command, served, step_job, terminal


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("stop")) as running:
        yield running


def trail(found: Served, job_id: str) -> list[tuple[str, str | None]]:
    with found.client() as client:
        return [(each.outcome, each.reason) for each in client.audit(job_id).entries]


def test_every_job_that_fits_is_stopped(found: Served) -> None:
    """Only those that fit all that is given; the answer says how many, and the reason is kept."""
    with step_job(found, "steps-chosen"):
        found.wait_for("steps-chosen", "Running")
        chosen = ["--name", "count", "--service", "steps", "--status", "running"]
        other = command(found, "stop", *chosen, "--by", "nobody", "--yes")
        assert (other.returncode, other.stdout.split()[:2]) == (0, ["asked", "0"])
        assert trail(found, "steps-chosen") == []
        done = command(found, "stop", *chosen, "--yes", "--reason", "fire", "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert (answer["running"], answer["jobIds"]) == (1, ["steps-chosen"])
        assert trail(found, "steps-chosen") == [("requested", "fire")]


def test_whoever_sits_at_the_terminal_is_asked(found: Served) -> None:
    """Anything but yes stops nothing."""
    with step_job(found, "steps-asked"):
        found.wait_for("steps-asked", "Running")
        chosen = ["stop", "--service", "steps"]
        code, shown = terminal(found, *chosen, typed="\n")
        assert (code, "services ['steps']" in shown) == (1, True), shown
        assert "nothing was stopped" in shown
        assert trail(found, "steps-asked") == []
        code, shown = terminal(found, *chosen, typed="y\n")
        assert (code, "asked 1 to stop" in shown) == (0, True), shown
        assert [outcome for outcome, _ in trail(found, "steps-asked")] == ["requested"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--all"], "say --yes"),
        (["--all", "--yes", "steps-completed"], "leave the ids out"),
        (["--status", "done", "--yes"], "queued, running, paused"),
        ([], "no job is named"),
    ],
)
def test_what_is_not_clear_stops_nothing(found: Served, arguments: list[str], why: str) -> None:
    """A script must say that it means it, and what."""
    done = command(found, "stop", *arguments)
    assert (done.returncode, why in done.stderr) == (2, True), done.stderr
