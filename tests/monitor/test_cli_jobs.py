"""``fiveobs jobs``, and what all commands that ask a monitor have in common."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fiveobs.cli import main
from tests.support.commands import Served, command, served, terminal

COMMANDS = (("jobs",), ("job", "steps"), ("watch", "steps"), ("stop", "steps"), ("pause", "steps"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("jobs")) as running:
        yield running


@pytest.fixture
def here(found: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The monitor, as this process's environment names it."""
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


def test_jobs_are_listed(found: Served) -> None:
    """A line for each job with its whole id, status and progress; plain text without a terminal."""
    done = command(found, "jobs")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["job", "id", "status"]
    failed, completed = lines[1:3]
    assert failed.split()[:3] == ["count", "steps-failed", "Failed"]
    assert completed.split()[:3] == ["count", "steps-completed", "Completed"]
    assert "100%" in completed
    assert lines[3].startswith("1 completed, 1 failed")
    assert "\x1b" not in done.stdout
    assert all(line == line.rstrip() for line in lines)


def test_a_terminal_gets_colours(found: Served) -> None:
    """On a terminal there are colours, unless they are not wanted."""
    code, shown = terminal(found, "jobs")
    assert code == 0
    assert "\x1b[32mCompleted" in shown
    assert "\x1b" not in terminal(found, "jobs", "--color", "never")[1]
    assert "\x1b[32m" not in terminal(found, "jobs", NO_COLOR="1")[1]


def test_jobs_are_chosen(here: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """By id, by status, by user, and how many."""
    for arguments, ids in (
        (["steps-failed"], ["steps-failed"]),
        (["--status", "completed"], ["steps-completed"]),
        (["--by", "nobody"], []),
        (["-n", "1"], ["steps-failed"]),
    ):
        assert main(["jobs", "--json", *arguments]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert [job["jobId"] for job in answer["jobs"]] == ids


def test_an_unknown_id_ends_with_1(here: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not found is named."""
    assert main(["jobs", "nobody"]) == 1
    assert "not found: nobody" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["jobs", "--status", "busy"], "'busy' is none; use running"),
        (["jobs", "-n", "0"], "'0'"),
        (["jobs", "--timeout", "soon"], "'soon'"),
        (["jobs", "--url", "nowhere"], "'nowhere'"),
        (["job", "steps-failed", "--level", "loud"], "'loud'"),
        (["job", "steps-failed", "-n", "x"], "'x'"),
    ],
)
def test_a_bad_argument_ends_with_2(
    here: Served, arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the value and says what would be valid."""
    assert main(arguments) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda each: each[0])
def test_no_monitor_says_how_to_start_one(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command says the same where nothing answers, and ends with 1."""
    assert main([*arguments, "--url", "http://127.0.0.1:9"]) == 1
    assert "fiveobs serve" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda each: each[0])
def test_a_refused_token_says_what_to_do(
    here: Served,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The variable and the command are named; the token is not repeated."""
    monkeypatch.setenv("FIVEOBS_MONITOR_TOKEN", "fiveobs_0_wrong")
    assert main(list(arguments)) == 1
    said = capsys.readouterr().err
    assert "FIVEOBS_MONITOR_TOKEN" in said
    assert "fiveobs token" in said
    assert "wrong" not in said


@pytest.mark.parametrize("missing", ["httpx", "rich"])
def test_a_missing_extra_is_named(missing: str) -> None:
    """Without the extra the command says what to install, and ends with 2."""
    program = f"import sys; sys.modules[{missing!r}] = None\n"
    program += "from fiveobs.cli import main\nsys.exit(main(['jobs']))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert (
        done.stderr == f"fiveobs: 'fiveobs jobs' needs {missing}: pip install 'fiveobs[client]'\n"
    )
