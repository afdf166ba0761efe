"""``fiveobs state``: what is observed and desired, in the terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Served, command, served, step_job
from tests.support.workers import until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("state")) as running:
        yield running


def test_a_job_is_seen_and_paused(found: Served) -> None:
    """What is set as desired is what the job does; the table and the JSON say the same."""
    with step_job(found, "steps-state") as process:
        found.wait_for("steps-state", "Running")
        until(lambda: not command(found, "state", "get", "job", "steps-state").returncode)
        set_to = ("state", "set", "job", "steps-state", "paused", "--reason", "lunch")
        desired = json.loads(command(found, *set_to).stdout)["desired"]
        assert (desired["value"], desired["reason"]) == ({"status": "paused"}, "lunch")

        def is_asked() -> bool:
            with found.client() as client:
                entries = client.audit("steps-state").entries
            return any(each.action == "job.pause" for each in entries)

        until(is_asked, timeout_s=30, what="the monitor to ask")
        assert process.stdin is not None
        process.stdin.write("advance\n")
        process.stdin.flush()
        found.wait_for("steps-state", "Paused")
        until(lambda: "paused on" in command(found, "state", "list", "--kind", "job").stdout)
        listed = json.loads(command(found, "state", "list", "--kind", "job", "--json").stdout)
        (mine,) = [each for each in listed if each["id"] == "steps-state"]
        assert mine["observed"]["status"] == "paused"


def test_a_document_is_compared_and_set(found: Served) -> None:
    """A version that is not the present one ends with 1, and says which that is."""
    made = command(found, "state", "set", "document", "d", '{"n": 1}', "--new")
    assert (made.returncode, json.loads(made.stdout)["version"]) == (0, 1)
    again = command(found, "state", "set", "document", "d", '{"n": 2}', "--version", "7")
    assert (again.returncode, "has version 1" in again.stderr) == (1, True)
    missing = command(found, "state", "get", "document", "e")
    assert (missing.returncode, "no document 'e'" in missing.stderr) == (1, True)


def test_changes_are_printed_as_they_come(found: Served) -> None:
    """A line for each state there is, then for each change; Ctrl-C ends it well."""
    command(found, "state", "set", "document", "first", "{}", "--new")
    process = subprocess.Popen(
        [sys.executable, "-m", "fiveobs", "state", "watch", "--kind", "document"],
        cwd=ROOT,
        env={**os.environ, **found.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any("document first v1 - {}" in line for line in lines)
        command(found, "state", "set", "document", "second", '{"a": "ü"}', "--new")
        assert 'document second v1 - {"a": "ü"}\n' in lines
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["set", "job", "7", "quick"], "use running, paused, stopped"),
        (["set", "document", "d", "{"], "is no JSON"),
        (["set", "document", "d", "[]"], "is no JSON object"),
        (["set", "document", "d", "{}", "--version", "0"], "use 1 to"),
        (["set", "document", "d", "{}", "--version", "1", "--new"], "use one"),
        (["list", "-n", "x"], "use 1 to 1000"),
        (["get", "jobs", "7"], "invalid choice"),
    ],
)
def test_what_cannot_be_meant_is_refused(found: Served, arguments: list[str], why: str) -> None:
    """With 2, the value and what would be valid; nothing is set."""
    done = command(found, "state", *arguments)
    assert (done.returncode, why in done.stderr) == (2, True), done.stderr
