"""``fiveobs rules`` as a user runs it, against a monitor that runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from fiveobs.cli import main
from fiveobs.monitor.rules.reading import read_rules
from tests.support.commands import Served, served, step_job
from tests.support.workers import until

TWO = """
rules:
  - name: note-failures
    on: job.failed
    then:
      - emit: {type: log, level: warning, message: "{event.job_id} has failed"}
  - name: note-ends
    on: [job.completed, job.stopped]
    where: {service: steps}
    then:
      - process: {processor: not-installed}
    limits: {max_tries: 1}
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("rules")) as running:
        yield running


class Done(NamedTuple):
    """What a command ended with and printed."""

    returncode: int
    stdout: str
    stderr: str


Command: TypeAlias = Callable[..., Done]


@pytest.fixture
def command(
    found: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run ``fiveobs``, in this process."""
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        code = main(arguments)
        return Done(code, *capsys.readouterr())

    return run


def test_applying_a_file_twice_changes_nothing(command: Command, tmp_path: Path) -> None:
    """Made first, unchanged then, changed where it differs; what is not in the file is left."""
    file = tmp_path / "rules.yaml"
    file.write_text(TWO, encoding="utf-8")
    done = command("rules", "apply", str(file))
    assert done.returncode == 0, done.stderr
    assert re.findall(
        r"^(\S+): made; its secret, this once: whsec_", done.stdout, re.MULTILINE
    ) == [
        "note-failures",
        "note-ends",
    ]
    done = command("rules", "apply", str(file))
    assert done.stdout == "note-failures: unchanged\nnote-ends: unchanged\n"
    file.write_text(TWO.replace("[job.completed, job.stopped]", "job.stopped"), encoding="utf-8")
    done = command("rules", "apply", str(file))
    assert done.stdout == "note-failures: unchanged\nnote-ends: changed\n"
    listed = command("rules", "list").stdout.splitlines()
    assert [line.split()[:2] for line in listed] == [
        ["NAME", "ENABLED"],
        ["note-ends", "yes"],
        ["note-failures", "yes"],
    ]
    written = command("rules", "list", "--yaml").stdout
    assert [each["on"] for each in read_rules(written)] == [["job.stopped"], ["job.failed"]]
    file.write_text(written, encoding="utf-8")
    done = command("rules", "apply", str(file))
    assert "unchanged" in done.stdout
    assert "made" not in done.stdout


def test_a_file_with_a_mistake_changes_nothing(command: Command, tmp_path: Path) -> None:
    """All that is wrong is said, a line each, and no rule of the file is made."""
    file = tmp_path / "rules.yaml"
    bad = "  - {name: bad, on: job.done, where: {colour: red}, then: [{emit: {type: log}}]}\n"
    file.write_text(TWO.replace("note-", "other-") + bad, encoding="utf-8")
    done = command("rules", "apply", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("fiveobs: bad: on: 'job.done' cannot be used: no event fits it")
    assert lines[1].startswith("fiveobs: bad: where.colour: 'colour' cannot be used: there is no")
    assert lines[2] == "nothing was changed"
    assert "other-" not in command("rules", "list").stdout
    file.write_text("rules: [", encoding="utf-8")
    done = command("rules", "apply", str(file))
    assert (done.returncode, "no YAML that can be read" in done.stderr) == (2, True)


def test_a_dry_run_shows_what_would_be_sent(command: Command, tmp_path: Path) -> None:
    """For past events, or for one in a file; nothing is done."""
    file, event = tmp_path / "rules.yaml", tmp_path / "event.json"
    file.write_text(TWO.replace("note-", "tried-"), encoding="utf-8")
    done = command("rules", "dry-run", str(file))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "tried-failures: for 1 of 1 events"
    assert lines[1].endswith(" job.failed of steps-failed: fires")
    assert '"message": "steps-failed has failed"' in lines[2]
    event.write_text(json.dumps({"event_type": "job.failed", "job_id": "j"}), encoding="utf-8")
    done = command("rules", "dry-run", str(file), "--event", str(event), "--json")
    first, second = json.loads(done.stdout)
    assert first["events"][0]["actions"][0]["sends"]["message"] == "j has failed"
    assert (second["name"], second["matched"]) == ("tried-ends", 0)
    assert "tried-" not in command("rules", "list").stdout


def test_what_a_rule_has_done_is_listed_and_retried(
    found: Served, command: Command, tmp_path: Path
) -> None:
    """A dead letter is shown with its reason, and done again by hand."""
    file = tmp_path / "rules.yaml"
    file.write_text(TWO.replace("note-", "dead-"), encoding="utf-8")
    assert command("rules", "apply", str(file)).returncode == 0
    with step_job(found, "steps-dead") as process:
        process.communicate("advance\nend\n", timeout=30)
    until(
        lambda: (
            "dead" in command("rules", "firings", "dead-ends", "--status", "dead").stdout
            and "steps-dead" in command("rules", "firings", "dead-ends").stdout
        ),
        timeout_s=60,
        what="the dead letter",
    )
    shown = command("rules", "firings", "dead-ends").stdout.splitlines()
    assert shown[1].split()[:5] == ["dead", "process", "1", "job.completed", "steps-dead"]
    assert "'not-installed' is not registered" in shown[1]
    firing_id = re.search(r"fire_\w+", shown[1])
    assert firing_id is not None
    done = command("rules", "retry", "dead-ends", firing_id[0])
    assert (done.returncode, done.stdout) == (0, "1 are done again\n")
    done = command("rules", "retry", "dead-ends", "fire_0")
    assert (done.returncode, done.stdout) == (1, "0 are done again\n")


def test_rules_are_disabled_enabled_and_deleted_by_name(command: Command, tmp_path: Path) -> None:
    """One that is not there does not hold up the others."""
    file = tmp_path / "rules.yaml"
    file.write_text(TWO.replace("note-", "gone-"), encoding="utf-8")
    assert command("rules", "apply", str(file)).returncode == 0
    assert command("rules", "disable", "gone-ends").stdout == "gone-ends: disabled\n"
    (line,) = [e for e in command("rules", "list").stdout.splitlines() if "gone-ends" in e]
    assert line.split()[1] == "no"
    assert command("rules", "enable", "gone-ends").returncode == 0
    done = command("rules", "delete", "gone-ends", "nobody", "gone-failures")
    assert (done.returncode, done.stdout) == (1, "gone-ends: deleted\ngone-failures: deleted\n")
    assert "there is no rule 'nobody'" in done.stderr
    assert "gone-" not in command("rules", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["firings", "note-ends", "--status", "lost"], "use pending, done, dead"),
        (["firings", "note-ends", "-n", "0"], "use 1 to 1000"),
        (["dry-run", "-", "--last", "soon"], "such as 30s"),
        (["apply", "-"], "has no rules"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_clear_is_said(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], why: str
) -> None:
    """The value, and what would be valid; standard input is read where a file is -."""
    monkeypatch.setattr("sys.stdin", StringIO(""))
    done = command("rules", *arguments)
    assert (done.returncode, why in done.stderr) == (2, True), done.stderr
