"""The real OpenTelemetry Collector under ``collector-config/otel-collector.yaml``.

`install` builds it with Go from the project's own manifest; another manifest is another build.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.peers.harness.go import find_go, go_environment
from tests.peers.harness.program import CACHE, HOST, Program, absent, answers, fetch, free_port

__all__ = ["CONFIG_FOLDER", "Collector", "Sample", "binary", "install", "samples"]

CONFIG_FOLDER = Path(__file__).resolve().parents[3] / "collector-config"
MANIFEST = CONFIG_FOLDER / "otelcol-builder.yaml"
_PROGRAM = "otelcol-fiveobs"
_REMEDY = "python -m tests.peers.harness.install (Go 1.26 or later, some minutes)"
#: How much of a failed build's output goes into the message.
_TAIL_CHARS = 3_000

#: So that a test waits for no timer: the file's own values are meant for production.
_QUICK = {
    "OTELCOL_BATCH_TIMEOUT": "200ms",
    "OTELCOL_TAIL_DECISION_WAIT": "1s",
    "OTELCOL_TAIL_PERCENTAGE": "100",
    "OTELCOL_SPAN_METRICS_INTERVAL": "1s",
}

_SAMPLE = re.compile(r"(?P<name>[\w:]+)(?:\{(?P<labels>.*?)\})? (?P<value>\S+)(?P<rest>.*)")
_EXEMPLAR = re.compile(r" # \{(?P<labels>.*?)\} (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


# --- building ------------------------------------------------------------------------------------


def install() -> Path:
    """Build the Collector if there is none for the present manifest, and return its path.

    Raises:
        RuntimeError: Go is absent or too old, or the build failed; says what to do.
    """
    program = _path()
    program.parent.parent.mkdir(parents=True, exist_ok=True)
    with _locked(program.parent.with_suffix(".lock")):
        if not program.exists():
            _build(program.parent, find_go())
    return program


def binary() -> Path:
    """The program that `install` has built; calls `absent` if there is none."""
    program = _path()
    if not program.exists():
        absent("the OpenTelemetry Collector", _REMEDY)
    return program


def _path() -> Path:
    key = hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:16]
    return CACHE / "otelcol" / key / _PROGRAM


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes wait for; it ends with the process in any case."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(target: Path, go: str) -> None:
    """Build beside the target and rename, so that half a build is never taken for a whole one."""
    release = yaml.safe_load(MANIFEST.read_text())["dist"]["version"]
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as folder:
        output = Path(folder, "build")
        environment = go_environment(go, GOBIN=folder) | {"dist.output_path": str(output)}
        builder = f"go.opentelemetry.io/collector/cmd/builder@v{release}"
        _run([go, "install", builder], environment)
        _run([str(Path(folder, "builder")), f"--config={MANIFEST}"], environment)
        output.chmod(0o755)
        output.rename(target)


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-_TAIL_CHARS:]}")


# --- running -------------------------------------------------------------------------------------


class Collector(Program):
    """The Collector on free ports, with its queue in the folder.

    Args:
        folder: Where it keeps its files.
        backend: The OTLP/HTTP address it hands everything on to; ``None`` only counts.
        variables: What else to set of the variables that its configuration reads.
    """

    name = "otelcol"

    def __init__(self, folder: Path, *, backend: str | None = None, **variables: str) -> None:
        super().__init__(folder)
        self._environment = _addresses() | _QUICK | _to(backend)
        self._environment["OTELCOL_STORAGE_DIR"] = str(folder / "queue")
        self._environment |= variables
        self.otlp_grpc = f"http://{self._environment['OTELCOL_OTLP_GRPC_ENDPOINT']}"
        self.otlp_http = f"http://{self._environment['OTELCOL_OTLP_HTTP_ENDPOINT']}"
        self.forward_port = self._port("OTELCOL_FLUENTFORWARD_ENDPOINT")
        self.prometheus_port = self._port("OTELCOL_PROMETHEUS_ENDPOINT")
        self.prometheus_url = f"http://{HOST}:{self.prometheus_port}/metrics"
        self.telemetry_port = int(self._environment["OTELCOL_TELEMETRY_PORT"])

    def command(self) -> list[str]:
        """The program with the project's own configuration file."""
        return [str(binary()), "--config", str(CONFIG_FOLDER / "otel-collector.yaml")]

    def environment(self) -> dict[str, str]:
        """The variables that the configuration reads."""
        return self._environment

    def is_ready(self) -> bool:
        """Whether its health check says so."""
        return answers(f"http://{self._environment['OTELCOL_HEALTH_ENDPOINT']}")

    def metrics_text(self, *, openmetrics: bool = True) -> str:
        """What Prometheus is given: the workers' metrics."""
        kind = "application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain"
        return fetch(self.prometheus_url, accept=kind)

    def samples(self, name: str) -> list[Sample]:
        """The workers' samples of one name."""
        return [each for each in samples(self.metrics_text()) if each.name == name]

    def own_total(self, name: str, **labels: str) -> float:
        """The sum of one of its metrics about itself, over the series that have the labels."""
        text = fetch(f"http://{HOST}:{self.telemetry_port}/metrics")
        return sum(
            each.value
            for each in samples(text)
            if each.name == name and labels.items() <= each.labels.items()
        )

    def _port(self, variable: str) -> int:
        return int(self._environment[variable].rpartition(":")[2])


def _addresses() -> dict[str, str]:
    names = ("OTLP_GRPC", "OTLP_HTTP", "FLUENTFORWARD", "PROMETHEUS", "HEALTH")
    ports: set[int] = set()
    while len(ports) <= len(names):
        ports.add(free_port())
    addresses = {f"OTELCOL_{name}_ENDPOINT": f"{HOST}:{ports.pop()}" for name in names}
    return {**addresses, "OTELCOL_TELEMETRY_PORT": str(ports.pop())}


def _to(backend: str | None) -> dict[str, str]:
    if backend is None:
        return {"OTELCOL_BACKEND_EXPORTERS": "[debug]"}
    return {"OTLP_BACKEND_ENDPOINT": backend}


# --- reading what Prometheus is given ------------------------------------------------------------


class Sample(NamedTuple):
    """One line of an exposition."""

    name: str
    labels: dict[str, str]
    value: float
    #: The labels of its exemplar; empty if it has none.
    exemplar: dict[str, str]


def samples(text: str) -> list[Sample]:
    """The samples of an exposition in OpenMetrics or Prometheus' text format."""
    return [_sample(line) for line in text.splitlines() if line and not line.startswith("#")]


def _sample(line: str) -> Sample:
    found: Any = _SAMPLE.fullmatch(line)
    assert found, f"no sample: {line}"
    exemplar = _EXEMPLAR.match(found["rest"])
    labels = dict(_LABEL.findall(found["labels"] or ""))
    trace = dict(_LABEL.findall(exemplar["labels"])) if exemplar else {}
    return Sample(found["name"], labels, float(found["value"]), trace)
