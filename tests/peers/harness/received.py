"""What arrived at the receivers, as a receiver should see it: repeats of a record counted once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.faults.conservation import SENT_TRACKS, balances
from tests.peers.harness.program import until
from tests.support.programs import ROOT
from tests.support.workers import Destinations, events

__all__ = ["WORKERS", "Received", "environment", "run_program", "undelivered"]

#: Where the worker programs are.
WORKERS = Path(__file__).resolve().parents[1] / "workers"
#: How a job may end.
_ENDINGS = frozenset(
    f"job.{how}" for how in ("completed", "failed", "stopped", "cancelled", "interrupted")
)
#: What is no event, and what goes on coming for as long as a worker lives.
_NOT_AWAITED = frozenset(("metric", "span", "envelope", "worker.heartbeat"))


def environment(*paths: Path, **variables: str) -> dict[str, str]:
    """This process's environment, with the checkout and the worker programs to import from."""
    folders = [str(ROOT), str(WORKERS), *map(str, paths), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders)), **variables}


def run_program(
    path: Path, *arguments: object, timeout_s: float = 120.0, **variables: str
) -> list[dict[str, Any]]:
    """Run a Python program to its end and return the JSON lines that it printed.

    Raises:
        AssertionError: It ended with an error.
        subprocess.TimeoutExpired: It did not end within ``timeout_s``.
    """
    done = subprocess.run(
        [sys.executable, str(path), *map(str, arguments)],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{path.name} ended with {done.returncode}:\n{done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def undelivered(home: Path, tracks: Iterable[str] = SENT_TRACKS) -> list[str]:
    """What our own sums say of tracks that do not have everything delivered and nothing dropped.

    Args:
        home: The ``FIVEOBS_HOME`` of processes that have ended.
        tracks: Those that had a destination.

    Raises:
        AssertionError: A track's sums do not add up, or it has accepted nothing.
    """
    sums = balances(home)
    assert sums["events"].accepted > 0
    return [
        f"{track}: {sums[track]}"
        for track in ("events", *tracks)
        if sums[track].delivered != sums[track].accepted
        or sums[track].pending
        or sums[track].dropped
    ]


class Received:
    """Reads one set of receivers.

    Args:
        there: The receivers.
        home: The ``FIVEOBS_HOME`` of the processes that sent to them.
    """

    def __init__(self, there: Destinations, home: Path) -> None:
        self.there = there
        self.home = home

    def settings(self) -> dict[str, str]:
        """The variables that lead a process here, with time enough for a busy machine."""
        ours = {"FIVEOBS_HOME": str(self.home), "FIVEOBS_SHUTDOWN_TIMEOUT": "60s"}
        return {**self.there.settings(), **ours}

    # -- events

    def events(self, event_type: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Log records of a type and with such fields, oldest first."""
        records = {record["id"]: record for _, _, record in list(self.there.forward.records)}
        return sorted(
            (
                record
                for record in records.values()
                if event_type in (None, record["event_type"])
                and all(record.get(name) == value for name, value in fields.items())
            ),
            key=lambda record: record["timestamp"],
        )

    def counts(self, job_name: str) -> Counter[tuple[str, str]]:
        """How often each kind of event has come for each job of a name."""
        found = self.events(job_name=job_name)
        return Counter((event["job_id"], event["event_type"]) for event in found)

    def endings(self, job_id: str) -> list[tuple[int, str]]:
        """How each attempt of a job ended, in order."""
        return [
            (event["attempt"], event["event_type"])
            for event in self.events(job_id=job_id)
            if event["event_type"] in _ENDINGS
        ]

    # -- spans

    def spans(self, name: str | None = None) -> list[dict[str, Any]]:
        """Spans of a name."""
        spans = {span["span_id"]: span for span in list(self.there.otlp.spans)}
        return [span for span in spans.values() if name in (None, span["name"])]

    # -- metrics

    def total(self, metric_name: str, /, **attributes: Any) -> float:
        """A counter's newest values, or a histogram's counts, summed over processes and series."""
        newest: dict[Any, float] = {}
        for metric in list(self.there.otlp.metrics):
            if metric["name"] == metric_name:
                for point in metric["points"]:
                    if attributes.items() <= point["attributes"].items():
                        series = tuple(sorted(point["attributes"].items()))
                        key = metric["resource"]["process.pid"], series
                        newest[key] = point.get("count", point.get("value"))
        return sum(newest.values())

    # -- conservation

    def missing(self) -> list[str]:
        """What the journals hold and no receiver has: event types and span names."""
        received = {event["id"] for event in self.events()}
        spans = {span["span_id"] for span in self.spans()}
        lacking = []
        for record in events(self.home):
            if record["event_type"] not in _NOT_AWAITED and record["id"] not in received:
                lacking.append(record["event_type"])
            if record.get("sampled") and record["span_id"] not in spans:
                lacking.append(f"span {record['message']}")
        return lacking

    def wait_for_all(self, *, timeout_s: float = 60.0) -> None:
        """Wait until nothing is missing."""
        until(lambda: not self.missing(), timeout_s=timeout_s, what="nothing is missing")
