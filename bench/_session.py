"""Starts a case in a fresh process, takes its figures, and checks what the receivers got."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench._case import Plan
from bench._measure import MODULES, ROOT

if TYPE_CHECKING:
    from tests.support.process import ReceiverProcess

__all__ = ["CaseResult", "machine_text", "run_case", "versions_text"]

#: Variables that would configure a library behind a case's back.
_FOREIGN_PREFIXES = ("OTEL_", "SENTRY_", "DD_", "LOGFIRE_", "FIVEOBS_", "FLUENT_BIT_", "_DD_")
_FOREIGN_NAMES = frozenset(
    {
        "METRICS_COLLECTION_INTERVAL",
        "DISABLE_FLUENT_BIT_LOGGING",
        "CONNECTOR_LOGGING_ENABLED",
        "MACHINE_ID",
        "WORKER_ID",
    }
)
#: A case that takes longer is killed and reported as failed.
_CASE_TIMEOUT_S = 300.0
#: How long to wait for what is still in the sockets after a process has ended.
_SETTLE_S = 3.0
_PACKAGES = (
    "fiveobs",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-http",
    "fluent-logger",
    "sentry-sdk",
    "orjson",
    "logfire",
    "ddtrace",
)


@dataclass(kw_only=True)
class CaseResult:
    """What one run of one case gave."""

    case: str
    #: The figures that the process printed; empty when it failed.
    figures: dict[str, Any] = field(default_factory=dict)
    #: From the last job to the end of the process.
    exit_s: float = 0.0
    #: What did not arrive, e.g. ``otlp.spans: delivered 10 of 5000``.
    losses: list[str] = field(default_factory=list)
    #: Why there are no figures: a package to install, or the last line of the error.
    problem: str = ""
    #: What was expected and what the receivers counted.
    delivered: dict[str, list[float]] = field(default_factory=dict)


def run_case(
    plan: Plan,
    receivers: ReceiverProcess,
    *,
    check: bool = True,
    program: str = "bench._measure",
) -> CaseResult:
    """Run one case in a process and a folder of its own.

    Args:
        plan: What to run; its ``home`` is replaced by a fresh folder.
        receivers: The destinations; their counts are cleared first.
        check: Compare what they counted with what the case expects.
        program: The module that measures.
    """
    receivers.command(clear=True)
    with tempfile.TemporaryDirectory(prefix="fiveobs-bench-") as home:
        plan = replace(plan, home=home)
        try:
            ended, ended_at_s = _execute(plan, program)
        except subprocess.TimeoutExpired:
            return CaseResult(case=plan.case, problem=f"not done after {_CASE_TIMEOUT_S:.0f} s")
    if ended.returncode != 0:
        return CaseResult(case=plan.case, problem=_problem(plan, ended))
    figures = json.loads(ended.stdout.splitlines()[-1])
    result = CaseResult(case=plan.case, figures=figures)
    result.exit_s = ended_at_s - figures["last_job_at_s"]
    if check:
        _compare(result, receivers)
    return result


def _execute(plan: Plan, program: str) -> tuple[subprocess.CompletedProcess[str], float]:
    module = importlib.import_module(f"bench.baselines.{MODULES[plan.case]}")
    ended = subprocess.run(
        [sys.executable, "-m", program],
        cwd=ROOT,
        env={**_clean_environment(), **module.environment(plan)},
        input=plan.dumps() + "\n",
        capture_output=True,
        text=True,
        timeout=_CASE_TIMEOUT_S,
        check=False,
    )
    return ended, time.monotonic()


def _clean_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN_PREFIXES) and name not in _FOREIGN_NAMES
    }


def _problem(plan: Plan, ended: subprocess.CompletedProcess[str]) -> str:
    module = importlib.import_module(f"bench.baselines.{MODULES[plan.case]}")
    last_line = (ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"])[-1]
    if "ModuleNotFoundError" in last_line:
        return f"skipped: {last_line.partition(': ')[2]}; pip install {module.REQUIRES}"
    return f"failed: {last_line}"


def _compare(result: CaseResult, receivers: ReceiverProcess) -> None:
    """Note what falls short, once the counts are there or have stopped rising."""
    expected: dict[str, float] = result.figures["expected"]
    deadline_s = time.monotonic() + _SETTLE_S
    while True:
        counts = {**receivers.counts(), "local": result.figures["local_counts"]}
        result.delivered = {key: [_count(counts, key), want] for key, want in expected.items()}
        short = {key: pair for key, pair in result.delivered.items() if pair[0] < pair[1]}
        if not short or time.monotonic() > deadline_s:
            break
        time.sleep(0.05)
    result.losses = [f"{key}: delivered {got:g} of {want:g}" for key, (got, want) in short.items()]


def _count(counts: dict[str, Any], key: str) -> float:
    receiver, _, name = key.partition(".")
    found: dict[str, Any] = counts.get(receiver, {})
    if name.startswith("metric_totals."):
        found, name = found.get("metric_totals", {}), name.removeprefix("metric_totals.")
    return float(found.get(name, 0))


def machine_text() -> str:
    """The machine and its load, in one line."""
    model = "unknown processor"
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        names = [line for line in cpu_info.read_text().splitlines() if "model name" in line]
        model = names[0].partition(":")[2].strip() if names else model
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{now}; {platform.system()} {platform.machine()}, {os.cpu_count()} cores ({model}){load}; "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def versions_text() -> str:
    """The versions of what is compared, in one line."""
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"{package} from the tree" if package == "fiveobs" else f"no {package}")
    return ", ".join(found)
