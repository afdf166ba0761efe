"""Journals of a project whose jobs are in every situation that the tracking API tells of.

One worker has completed `PAST_RUNS` runs of a kind of job and is in the middle of the next one;
before it, with it and after it there are others. Times are those of `journals.line`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.store.engine import Store
from tests.support.journals import START_NS, line, write_segment

__all__ = [
    "CHILD",
    "CURRENT",
    "DEPENDENT",
    "FAILED",
    "NOW_S",
    "PAST_RUNS",
    "PREREQUISITE",
    "STARTED_S",
    "ingest",
    "now_s",
    "write",
]

PAST_RUNS = 20
#: Seconds after the beginning of the made-up time: when the job began, and when it is looked at.
STARTED_S, NOW_S = 50_000.0, 50_933.0
CURRENT = "cc0e8400-e29b-41d4-a716-446655440000"
PREREQUISITE = "aa0e8400-e29b-41d4-a716-446655440000"
DEPENDENT = "ee0e8400-e29b-41d4-a716-446655440000"
CHILD = "c11d8400-e29b-41d4-a716-446655440000"
FAILED = "ff0e8400-e29b-41d4-a716-446655440000"
STEM = "worker-node-02-4242-1767323045000000"
NAME = "Customer Journey Analysis"
STAGES = ("Data Loading", "Process Discovery", "Performance Analysis", "Report Generation")
#: How long each stage takes, in seconds.
TAKES_S = (135.0, 555.0, 390.0, 240.0)
RECORDS = 192_850
GIB = 1024**3


class _Lines:
    """Lines of one journal, in order."""

    def __init__(self) -> None:
        self.found: list[bytes] = []

    def say(self, at_s: float, event_type: str, **fields: Any) -> None:
        fields = {"worker_id": "worker-node-02/4242", "machine_id": "worker-node-02", **fields}
        fields = {"service": "mining", **fields}
        self.found.append(line(len(self.found) + 1, event_type, after_s=at_s, **fields))

    def job(self, job_id: str, at_s: float, event_type: str, **fields: Any) -> None:
        fields = {"job_name": NAME, "attempt": 1, "trace_id": "ab" * 16, **fields}
        fields = {"span_id": "cd" * 8, **fields}
        self.say(at_s, event_type, job_id=job_id, **fields)


def write(home: Path) -> Path:
    """Write the journal; return the folder that an `Ingester` reads."""
    lines = _Lines()
    resource = {"service.name": "mining"}
    data = {"resource": resource, "pid": 4242, "cpu_count": 2}
    lines.say(0, "worker.started", data=data)
    for number in range(PAST_RUNS):
        _past_run(lines, number)
    _others(lines)
    _current(lines)
    return write_segment(home, STEM, 1, *lines.found).parent


def ingest(store: Store, folder: Path) -> None:
    """Take all of it into a store."""
    problems: list[str] = []
    ingester = Ingester(store, folder, report=lambda cause, text: problems.append(text))
    while ingester.step():
        pass
    assert problems == []


def now_s() -> float:
    """Seconds since 1970 of the moment at which the job is looked at."""
    return START_NS / 1e9 + NOW_S


def _past_run(lines: _Lines, number: int) -> None:
    """A completed run; the later ones are a little slower."""
    job_id, at_s, slower = f"past-{number}", 2_000.0 * number, 1 + number / 100
    lines.job(job_id, at_s, "job.started", data={"stages": STAGES})
    for index, stage in enumerate(STAGES, 1):
        at_s += _stage(lines, job_id, at_s, index, stage, TAKES_S[index - 1] * slower)
    data = {"status": "completed", "duration_s": at_s - 2_000.0 * number}
    lines.job(job_id, at_s, "job.completed", data=data)


def _stage(
    lines: _Lines, job_id: str, at_s: float, index: int, stage: str, takes_s: float, **result: Any
) -> float:
    """A completed stage; returns how long it took."""
    data = {"stage": stage, "index": index, "unit": "records", "total": RECORDS}
    lines.job(job_id, at_s, "stage.started", message=f"{stage} started", data=data)
    figures = {"done": RECORDS, "duration_s": takes_s, "rate_per_s": RECORDS / takes_s}
    figures |= {"percent": 100.0, "cpu_s": takes_s * 1.5, "memory_rss_bytes": 2 * GIB}
    figures |= {"memory_growth_bytes": 4096, "io_read_bytes": 47_185_920, "io_write_bytes": 93}
    figures |= {"network_receive_bytes": 35_127_296, "network_transmit_bytes": 6_291_456}
    data = {**data, **figures, **result}
    lines.job(job_id, at_s + takes_s, "stage.completed", message=f"{stage} completed", data=data)
    return takes_s


def _others(lines: _Lines) -> None:
    """A job that the current one needs, one that failed, one that waits, and one inside it."""
    lines.job(PREREQUISITE, 49_000, "job.started", job_name="Data Preparation")
    data: dict[str, Any] = {"status": "completed", "duration_s": 700.0}
    lines.job(PREREQUISITE, 49_700, "job.completed", job_name="Data Preparation", data=data)
    lines.job(FAILED, 49_100, "job.started", job_name="Data Preparation")
    error = {"type": "ValueError", "message": "no data", "stacktrace": "Traceback"}
    data = {"status": "failed", "duration_s": 5.0, "error": error}
    lines.job(FAILED, 49_105, "job.failed", job_name="Data Preparation", level="error", data=data)
    for number in range(6):
        weekly = f"weekly-{number}"
        data = {"queue": "reports"}
        at_s = 30_000.0 + 1_000 * number
        lines.job(weekly, at_s, "job.started", job_name="Weekly Report Generation", data=data)
        data = {"status": "completed", "duration_s": 600.0, "queue": "reports"}
        name = "Weekly Report Generation"
        lines.job(weekly, at_s + 600, "job.completed", job_name=name, data=data)
    lines.job("running-report", 50_800, "job.started", job_name=name, data={"queue": "reports"})
    for number, job_id in enumerate(("first-in-queue", DEPENDENT)):
        attributes = {"submitted_by": "user456", "priority": "Normal"}
        data = {"queue": "reports", "attributes": attributes}
        data["depends_on"] = {CURRENT: "Customer Journey Analysis results"}
        lines.job(job_id, 50_200 + number, "job.received", job_name=name, data=data)
    lines.job(CHILD, 50_300, "job.started", job_name="Export", parent_job_id=CURRENT)


def _current(lines: _Lines) -> None:
    """The job in question: two stages done, the third at 78 percent."""
    at_s = STARTED_S
    lines.job(CURRENT, at_s, "job.started", message=f"{NAME} started", data=_started())
    for event_type, resource, data in _resources():
        lines.job(CURRENT, at_s, event_type, data={"resource": resource, **data})
    for before, now in ((None, "blocking"), ("blocking", "resolved")):
        change = {"entity": "Memory allocation below 2GB", "from_state": before, "to_state": now}
        if before:
            change["resolution"] = "Additional memory allocated"
        lines.job(CURRENT, at_s, "state.changed", data=change)
    at_s += _stage(lines, CURRENT, at_s, 1, STAGES[0], TAKES_S[0])
    at_s += _stage(lines, CURRENT, at_s, 2, STAGES[1], TAKES_S[1])
    data = {"stage": STAGES[2], "index": 3, "unit": "records", "total": RECORDS}
    lines.job(CURRENT, at_s, "stage.started", message=f"{STAGES[2]} started", data=data)
    for at, figures in _analysis(at_s):
        lines.job(CURRENT, at, "stage.progress", data={**data, **figures})
    _said(lines)
    for at, beat in _heartbeats():
        lines.say(at, "worker.heartbeat", data=beat)


def _started() -> dict[str, Any]:
    attributes = {"submitted_by": "user123", "priority": "High"}
    needed = {PREREQUISITE: "Dataset must be validated before analysis", "gone": None}
    return {"stages": STAGES, "attributes": attributes, "depends_on": needed}


def _resources() -> Iterator[tuple[str, str, dict[str, Any]]]:
    dataset = {"resource_type": "Dataset", "resource_name": "Customer Journey Data"}
    dataset |= {"status": "Available", "last_modified": "2024-01-20T10:25:00Z"}
    yield "resource.allocated", "880e8400", dataset
    yield "resource.allocated", "gpu-0", {"amount": 24.0, "unit": "GB"}
    yield "resource.released", "gpu-0", {}


def _analysis(at_s: float) -> Iterator[tuple[float, dict[str, Any]]]:
    """The running stage, more and more quickly."""
    took_s, done = NOW_S - at_s, 150_243
    for step in range(1, 11):
        share = step / 10
        counted = round(done * share**1.5)
        passed_s = took_s * share
        rate = counted / passed_s
        yield (
            at_s + passed_s,
            {
                "done": counted,
                "percent": round(100 * counted / RECORDS, 2),
                "duration_s": passed_s,
                "rate_per_s": rate,
                "eta_s": (RECORDS - counted) / rate,
            },
        )


def _said(lines: _Lines) -> None:
    """What the job said of itself on its way."""
    lines.job(CURRENT, 50_015, "log", level="debug", message="reading", data={"logger": "Reader"})
    lines.job(
        CURRENT,
        50_330,
        "job.milestone",
        message="Process model discovered",
        data={"milestone": "Process model discovered", "activities": 47},
    )
    missing = {"component": "DataValidator", "affected_records": 125, "stage": STAGES[1]}
    text = "Found 125 records with missing timestamps"
    lines.job(CURRENT, 50_502, "log", level="warning", message=text, data=missing)
    text = "Memory limit exceeded"
    lines.job(CURRENT, 50_670, "log", level="error", message=text, data={"retry": True})
    progress = {"percent": 70.0, "duration_s": 933.0, "eta_s": 400.0}
    text = "Calculating resource utilization metrics"
    lines.job(CURRENT, 50_932, "job.progress", message=text, data=progress)
    for name, kind, value in (
        ("validations.passed", "counter", 15),
        ("validations.failed", "counter", 1),
        ("data_quality_score", "gauge", 94.8),
        ("Process Discovery.variantsFound", "gauge", 234),
    ):
        data = {"kind": kind, "name": name, "value": value, "unit": "", "labels": {}}
        lines.job(CURRENT, 50_700, "metric", level="debug", message=name, data=data)


def _heartbeats() -> Iterator[tuple[float, dict[str, Any]]]:
    """One every five seconds: CPU keeps, memory grows."""
    for number in range(int((NOW_S - STARTED_S) // 5) + 1):
        yield (
            STARTED_S + 5.0 * number,
            {
                "active_jobs": 2,
                "jobs": [{"job_id": CURRENT}],
                "cpu_s": 6.7 * number,
                "memory_rss_bytes": int(1.2 * GIB + number * 6_000_000),
                "memory_used_bytes": int(2.92 * GIB),
                "memory_limit_bytes": 4 * GIB,
                "io_operations": 725 * number,
                "network_receive_bytes": 1_000 * number,
                "network_transmit_bytes": 500 * number,
            },
        )
