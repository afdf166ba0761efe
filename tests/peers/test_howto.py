"""What the pages on destinations tell a user to type is typed here, against the real programs.

A page's ``console`` and ``bash`` blocks run in order, in one folder and with one environment; a
``python`` block whose first line is ``# name.py`` becomes that file. What a page shows of an output
is compared: ``...`` stands for anything, and ids, times, sizes and the machine's name may differ.
Comments on a page that the reader does not see say what happens meanwhile:

=============================== ===================================================================
``<!-- run: stop collector -->`` stops a program, or starts it, or sets how a receiver behaves
``<!-- ends with 1 -->``         the last command of the next block ends with that code
``<!-- not run: reason -->``     the next block cannot run here; `NOT_RUN` is all there may be
=============================== ===================================================================

The pages name the usual ports; a test takes free ones and puts the usual ones back into outputs.
The id after ``fiveobs find`` on a page stands for that of the job that has ended last.
Fluent Bit is in no package registry. The Forward server of @fluent-org/logger, our receiver for its
HTTP input, which was modelled on the real one, and a reader that does what our configuration asks
of its tail input stand in for it.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.peers.harness.collector import Collector
from tests.peers.harness.fluent_server import FluentServer
from tests.peers.harness.program import until
from tests.peers.harness.tailer import Tailer
from tests.support.receivers import FluentHttpReceiver, OtlpReceiver, SentryReceiver
from tests.support.workers import events

pytestmark = pytest.mark.peer

ROOT = Path(__file__).resolve().parents[2]
HOWTO = ROOT / "docs" / "howto"

#: What of a journal is no log record.
_NOT_LOGS = {"metric", "span", "envelope"}

#: Everything on the pages that is shown and not run here, because it needs containers, a program
#: that is in no registry, or the reader's own backend.
NOT_RUN = {
    "docs/howto/send-to-an-opentelemetry-collector.md": [
        "cd collector-config",
        "cp .env.example .env",
        "docker compose up -d otel-collector",
        "otelcol-contrib --config otel-collector.yaml",
    ],
    "docs/howto/send-logs-through-fluent-bit.md": [
        "cd collector-config",
        "cp .env.example .env",
        "docker compose up -d fluent-bit otel-collector",
        "fluent-bit -c fluent-bit.yaml",
        "curl -s localhost:2020/api/v1/health",
        "FIVEOBS_HOME=/var/lib/fiveobs fluent-bit -c fluent-bit.yaml",
    ],
    "docs/howto/errors-in-sentry.md": [],
    "docs/howto/when-a-destination-is-down.md": [],
}

#: What the commands of collector-config/README.md answer that are run here.
README_ANSWERS = {
    "curl -s localhost:13133": ["Server available"],
    "curl -s localhost:8888/metrics": [
        "otelcol_receiver_accepted_spans",
        "otelcol_receiver_accepted_metric_points",
        "otelcol_exporter_sent_spans",
        "otelcol_exporter_queue_size",
    ],
    "curl -s localhost:8889/metrics": ["jobs_processed_total{", 'status="success"'],
    "curl -i -X POST localhost:9880": ["201 Created"],
    "curl -i -X POST localhost:4318": ["200 OK"],
}
#: And those that are not: containers, Fluent Bit, the programs that other tests run (Prometheus,
#: promtool, the Collector's `validate`).
README_NOT_RUN = (
    *("cd collector-config", "cp .env.example .env", "docker compose ", "fluent-bit "),
    *("OTELCOL_BACKEND_EXPORTERS=", "OTLP_BACKEND_ENDPOINT=", "OTLP_BACKEND_HEADERS="),
    *("otelcol-contrib ", "prometheus ", "promtool ", "python -m pytest "),
    *("curl -s localhost:2020/", "curl -s 'localhost:9090/"),
)
_JOB = """
from fiveobs import observe_job
with observe_job("resize-image", service="thumbnails"):
    pass
"""

_PART = re.compile(
    r"^```(?P<language>console|bash|python)\n(?P<text>.*?)^```$|^<!-- (?P<note>.+?) -->$",
    re.MULTILINE | re.DOTALL,
)
#: The home that the pages name.
_HOME = "/var/lib/fiveobs"
#: A usual port tells the protocol; with another one it has to be said.
_PROTOCOLS = {
    "4317": "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
    "4318": "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
    "9880": "FLUENT_BIT_PROTOCOL=http",
    "24224": "FLUENT_BIT_PROTOCOL=forward",
}
#: Commands that only look, so that they may be repeated until what is under way has arrived.
_LOOKS = re.compile(r"^(\w+=\S+ )*(curl|fiveobs) ")
#: What differs from run to run, each replaced by one word on both sides.
_VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|[+-][\d:]+)?"), "MOMENT"),
    (re.compile(r"\b\d\d:\d\d:\d\d\.\d+"), "TIME"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"\b[0-9a-f]{12,32}\b"), "ID"),
    (re.compile(r"\b[\d.]+ (µs|ms|s|m|min)\b"), "DURATION"),
    (re.compile(r"\b[\d.]+ ([KMGT]iB|B)\b"), "SIZE"),
    (re.compile(r"\bmachine-1-\d+"), "WORKER"),
    (re.compile(r"\s+"), " "),
)


# --- a page -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of a page."""

    text: str
    #: The lines that the page shows under it.
    expected: tuple[str, ...] = ()
    #: Whether the page shows an output, be it an empty one.
    is_console: bool = True
    exit_code: int = 0
    is_run: bool = True


def parts(page: Path) -> Iterator[Command | tuple[str, str]]:
    """Commands, ``("run", note)`` and ``(file name, content)`` in the order of the page."""
    notes: list[str] = []
    for part in _PART.finditer(page.read_text(encoding="utf-8")):
        note, text = part["note"], part["text"]
        if note is not None and note.startswith("run: "):
            yield "run", note.removeprefix("run: ")
        elif note is not None:
            notes.append(note)
        elif part["language"] == "python":
            first = text.partition("\n")[0]
            if re.fullmatch(r"# \w+\.py", first):
                yield first.removeprefix("# "), text
        else:
            yield from _commands(text, part["language"] == "console", notes)
            notes = []


def commands_of(page: Path) -> list[Command]:
    """All commands of a page."""
    return [part for part in parts(page) if isinstance(part, Command)]


def _commands(text: str, is_console: bool, notes: list[str]) -> list[Command]:
    is_run = not any(note.startswith("not run: ") for note in notes)
    codes = [int(note.split()[-1]) for note in notes if note.startswith("ends with ")]
    found = _of_console(text) if is_console else _of_bash(text)
    return [
        Command(
            text=command,
            expected=tuple(expected),
            is_console=is_console,
            exit_code=codes[0] if codes and number == len(found) else 0,
            is_run=is_run,
        )
        for number, (command, expected) in enumerate(found, start=1)
    ]


def _of_console(text: str) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:].partition("  #")[0].rstrip(), []))
        else:
            found[-1][1].append(line)
    return found


def _of_bash(text: str) -> list[tuple[str, list[str]]]:
    joined = text.replace("\\\n", " ")
    lines = [re.split(r"\s{2,}#", line)[0].strip() for line in joined.splitlines()]
    return [(line, []) for line in lines if line and not line.startswith("#")]


# --- the stage --------------------------------------------------------------------------------


@dataclass
class Stage:
    """The programs of a page, and a shell in a folder of its own."""

    folder: Path
    #: The port that is used for each usual one.
    ports: dict[str, int] = field(default_factory=dict)
    #: What ``run`` comments may ask for.
    actions: dict[str, Callable[[], Any]] = field(default_factory=dict)

    def play(self, page: Path) -> None:
        """Do what the page says, from top to bottom."""
        for part in parts(page):
            if isinstance(part, Command):
                if part.is_run:
                    self.check(part)
            elif part[0] == "run":
                self.actions[part[1]]()
            else:
                (self.folder / part[0]).write_text(part[1], encoding="utf-8")

    def check(self, command: Command, *, timeout_s: float = 20.0) -> str:
        """Run a command until it prints what the page shows; fail if it never does."""
        deadline = time.monotonic() + timeout_s
        while True:
            code, output = self.run(command.text)
            if code == command.exit_code and (
                not command.is_console or matches(command.expected, output)
            ):
                return output
            if not _LOOKS.match(command.text) or time.monotonic() > deadline:
                shown = "\n".join(command.expected)
                pytest.fail(
                    f"$ {command.text}\n--- shown, ends with {command.exit_code}:\n{shown}\n"
                    f"--- printed, ended with {code}:\n{output}",
                    pytrace=False,
                )
            time.sleep(0.2)

    def run(self, text: str) -> tuple[int, str]:
        """Run one command with what earlier ones have exported; its exit code and output."""
        script = f". ./state\n{self._here(text)}\ncode=$?\nexport -p > state\nexit $code\n"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, self._usual(done.stdout)

    def _environment(self) -> dict[str, str]:
        """A shell's, and nothing that a page does not set; no heartbeat comes in between."""
        return {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(self.folder),
            "FIVEOBS_HOME": str(self.folder / "home"),
            "FIVEOBS_HEARTBEAT_INTERVAL": "1h",
            "PYTHONPATH": str(ROOT),
        }

    def _here(self, text: str) -> str:
        """The command with the ports and the home of this run."""
        if text.startswith("export "):
            named = [value for port, value in _PROTOCOLS.items() if port in text]
            text = " ".join([text, *(v for v in named if v.partition("=")[0] not in text)])
        for usual, port in self.ports.items():
            text = re.sub(rf"\b{usual}\b", str(port), text)
        text = re.sub(r"(?<=fiveobs find )[0-9a-f]{12}\b", lambda _: self._last_job(), text)
        return text.replace(_HOME, str(self.folder / "home"))

    def _last_job(self) -> str:
        """The end of the id of the job that has ended last."""
        _, output = self.run("fiveobs tail --no-follow -n 1 --type job.completed --type job.failed")
        return re.findall(r" ([0-9a-f]{12}) ", output)[-1]

    def _usual(self, output: str) -> str:
        """The output with the ports, the home and the host name that the pages show."""
        for usual, port in self.ports.items():
            output = re.sub(rf"\b{port}\b", usual, output)
        output = output.replace(str(self.folder / "home"), _HOME)
        output = output.replace("FLUENT_BIT_PORT, FLUENT_BIT_PROTOCOL", "FLUENT_BIT_PORT")
        return re.sub(rf"\b{re.escape(socket.gethostname())}\b", "machine-1", output)


def matches(expected: tuple[str, ...], output: str) -> bool:
    """Whether an output is what a page shows, apart from what varies."""
    if not expected:
        return output.strip() == ""
    lines = [_plain(line) for line in expected]
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"\n"
        for line in lines
    )
    printed = "".join(f"{_plain(line)}\n" for line in output.splitlines())
    return re.fullmatch(pattern, printed) is not None


def _plain(line: str) -> str:
    for varying, word in _VARYING:
        line = varying.sub(word, line)
    return line.strip()


# --- the programs -----------------------------------------------------------------------------


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Make a stage with the programs that a page needs."""
    with ExitStack() as stack:

        def make(*programs: str) -> Stage:
            made = Stage(tmp_path)
            (tmp_path / "state").touch()
            for program in programs:
                _PROGRAMS[program](made, stack)
            return made

        yield make


def _collector(stage: Stage, stack: ExitStack) -> None:
    backend = stack.enter_context(OtlpReceiver())
    collector = stack.enter_context(Collector(stage.folder / "collector", backend=backend.endpoint))
    environment = collector.environment()
    for usual, name in (
        ("4317", "OTELCOL_OTLP_GRPC_ENDPOINT"),
        ("4318", "OTELCOL_OTLP_HTTP_ENDPOINT"),
        ("8889", "OTELCOL_PROMETHEUS_ENDPOINT"),
        ("13133", "OTELCOL_HEALTH_ENDPOINT"),
        ("8888", "OTELCOL_TELEMETRY_PORT"),
    ):
        stage.ports[usual] = int(environment[name].rpartition(":")[2])
    stage.actions |= {"stop collector": collector.stop, "start collector": collector.start}


def _forward(stage: Stage, stack: ExitStack) -> None:
    open_one = stack.enter_context(FluentServer(stage.folder / "forward"))
    keyed = FluentServer(stage.folder / "keyed", shared_key="a-long-random-key")
    keyed.port = stage.ports["24224"] = open_one.port

    def ask_for_a_key() -> None:
        open_one.stop()
        stack.enter_context(keyed)

    stage.actions["ask for a key"] = ask_for_a_key


def _http(stage: Stage, stack: ExitStack) -> None:
    receiver = stack.enter_context(FluentHttpReceiver())
    stage.ports["9880"] = receiver.port
    stage.actions |= {"stop http input": receiver.stop, "start http input": receiver.start}


def _sentry(stage: Stage, stack: ExitStack) -> None:
    receiver = stack.enter_context(SentryReceiver(public_key="key"))
    stage.ports["9000"] = receiver.port

    def behave(mode: str, status: int = 200) -> Callable[[], None]:
        def now() -> None:
            receiver.error_status, receiver.mode = status, mode

        return now

    stage.actions |= {
        "sentry knows no such key": behave("error", 403),
        "sentry refuses for good": behave("error", 400),
        "sentry is well again": behave("ok"),
    }


def _tail(stage: Stage, _stack: ExitStack) -> None:
    def read() -> None:
        home = stage.folder / "home"
        logs = [each for each in events(home) if each["event_type"] not in _NOT_LOGS]
        tailed = Tailer(home, stage.folder / "tail.db").look()
        assert Counter(each.record["id"] for each in tailed) == Counter(each["id"] for each in logs)
        assert len(tailed) == 15  # as the page says of events: three runs of five each

    stage.actions["read the journal by tail"] = read


_PROGRAMS: dict[str, Callable[[Stage, ExitStack], None]] = {
    "collector": _collector,
    "forward": _forward,
    "http": _http,
    "sentry": _sentry,
    "tail": _tail,
}


# --- the tests --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "programs"),
    [
        ("send-to-an-opentelemetry-collector", ["collector"]),
        ("send-logs-through-fluent-bit", ["forward", "http", "tail"]),
        ("errors-in-sentry", ["sentry"]),
        ("when-a-destination-is-down", ["collector"]),
    ],
)
def test_a_page_does_what_it_shows(
    stage: Callable[..., Stage], name: str, programs: list[str]
) -> None:
    """Every command of the page works, and prints what the page shows."""
    stage(*programs).play(HOWTO / f"{name}.md")


def test_the_commands_of_the_collector_readme_answer(stage: Callable[..., Stage]) -> None:
    """Each command of ``collector-config/README.md`` that can run here answers as it says."""
    made = stage("collector", "http")
    (made.folder / "job.py").write_text(_JOB, encoding="utf-8")
    assert made.run("export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317") == (0, "")
    assert made.run("python job.py") == (0, "")
    answered = set()
    for command in commands_of(ROOT / "collector-config" / "README.md"):
        start = next((each for each in README_ANSWERS if command.text.startswith(each)), None)
        if start is None:
            assert command.text.startswith(README_NOT_RUN), command.text
        else:
            until(partial(_says, made, command.text, README_ANSWERS[start]), what=command.text)
            answered.add(start)
    assert answered == set(README_ANSWERS)


def _says(stage: Stage, command: str, words: list[str]) -> bool:
    _, output = stage.run(command)
    return all(word in output for word in words)


def test_the_metrics_of_the_collector_readme_exist(stage: Callable[..., Stage]) -> None:
    """The names that ``collector-config/README.md`` gives are those that Prometheus sees."""
    made = stage("collector")
    (made.folder / "job.py").write_text(_JOB, encoding="utf-8")
    made.run("export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317")
    assert made.run("python job.py") == (0, "")
    readme = (ROOT / "collector-config" / "README.md").read_text(encoding="utf-8")
    names = re.findall(
        r"`((?:traces_span_metrics|job_duration|jobs_processed|target)_\w+)`", readme
    )
    assert len(set(names)) >= 5
    until(partial(_says, made, "curl -s localhost:8889/metrics", names), what="every name")


def test_the_readme_shows_what_its_example_prints(stage: Callable[..., Stage]) -> None:
    """README's ten lines print what stands under them, and ``find`` leads to the job."""
    made = stage()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (made.folder / "ex.py").write_text(
        re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)[0],
        encoding="utf-8",
    )
    assert made.run("python ex.py") == (0, "")
    tail, find = (c for c in commands_of(ROOT / "README.md") if c.text.startswith("fiveobs "))
    made.check(tail)
    assert find.text.split()[-1] in "".join(tail.expected)
    made.check(replace(find, expected=(*find.expected, "...")))


@pytest.mark.parametrize("name", NOT_RUN)
def test_only_the_listed_commands_are_not_run(name: str) -> None:
    """What a page leaves out of these tests is a closed list, and each says why."""
    left_out = [command.text for command in commands_of(ROOT / name) if not command.is_run]
    assert left_out == NOT_RUN[name]


@pytest.mark.parametrize("name", NOT_RUN)
def test_a_page_is_compared_and_not_only_run(name: str) -> None:
    """Each page shows the output of several commands that are run."""
    compared = [c for c in commands_of(ROOT / name) if c.is_run and c.expected]
    assert len(compared) >= 4


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        (("traces 6 6 0",), "traces   6  6  0\n", True),
        (("traces 6 6 0",), "traces   6  5  1\n", False),
        (("...", "took the probe in 24 ms"), "a\nb\ntook the probe in 1.3 s\n", True),
        (("...", "took the probe in 24 ms"), "a\nfailed\n", False),
        (("job 8c1f02a7d9e4 failed",), "job 0b54b038771a failed\n", True),
        (("one line",), "one line\nand another\n", False),
        ((), "", True),
        ((), "a warning\n", False),
    ],
)
def test_an_output_that_differs_is_noticed(
    expected: tuple[str, ...], output: str, same: bool
) -> None:
    """Ids, times and sizes may differ; counts, words and further lines may not."""
    assert matches(expected, output) is same
