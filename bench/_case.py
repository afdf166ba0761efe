"""What a baseline is given and what it returns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["SERVICE", "Case", "Job", "Plan", "work_for"]

#: The service that every case reports.
SERVICE = "bench"

#: A job: takes the job's data, returns its result.
Job = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one subprocess is to do."""

    case: str
    jobs: int
    warmup_jobs: int
    #: CPU that a job's own body spends.
    job_us: int
    #: Pause between jobs.
    pace_us: int
    #: A folder of its own: FIVEOBS_HOME, log files.
    home: str
    #: Where the receivers listen, by their names.
    sinks: dict[str, dict[str, Any]]
    #: Whether to flush before ``shutdown``, however long it takes; without it, ``shutdown`` alone
    #: has its deadline to send what it can.
    flush_first: bool = True
    #: The last of every so many jobs fails; 0: none does.
    fail_every: int = 0
    #: How traces and metrics travel: ``http`` or ``grpc``.
    otlp: str = "http"
    #: How logs travel: ``forward``, or ``http`` as to Fluent Bit's HTTP input.
    logs: str = "forward"

    @property
    def logs_sink(self) -> str:
        """The receiver of the logs."""
        return "fluent_http" if self.logs == "http" else "forward"

    @property
    def all_jobs(self) -> int:
        """Warm-up included."""
        return self.jobs + self.warmup_jobs

    def dumps(self) -> str:
        """As one JSON line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way of observing jobs, wired and ready."""

    job: Job
    #: Sends what is pending and returns when it has left.
    flush: Callable[[], object] = lambda: None
    #: Ends the library's work in this process.
    shutdown: Callable[[], object] = lambda: None
    #: What the receivers must have counted at the least, as ``receiver.count``; after warm-up,
    #: jobs and shutdown.
    expected: dict[str, float] = field(default_factory=dict)
    #: What the case counts itself after shutdown, e.g. lines on disk; ``expected`` may name it as
    #: ``local.count``.
    local_counts: Callable[[], dict[str, float]] = dict
    #: What a reader of the figures should know, e.g. settings that differ from the defaults.
    notes: str = ""


def work_for(plan: Plan) -> Job:
    """The job's body: a small function returning a small dict, with ``job_us`` of CPU if asked.

    It raises ``ValueError`` where the plan says so.
    """
    if plan.fail_every:
        return _failing(plan.fail_every)
    if not plan.job_us:
        return _work
    import time

    spend_ns = plan.job_us * 1_000

    def busy_work(job_data: dict[str, Any]) -> dict[str, Any]:
        until_ns = time.perf_counter_ns() + spend_ns
        while time.perf_counter_ns() < until_ns:
            pass
        return {"id": job_data["id"], "ok": True, "rows": 128}

    return busy_work


def _failing(every: int) -> Job:
    def work(job_data: dict[str, Any]) -> dict[str, Any]:
        if int(job_data["id"][4:]) % every == every - 1:
            raise ValueError(job_data["id"])
        return {"id": job_data["id"], "ok": True, "rows": 128}

    return work


def _work(job_data: dict[str, Any]) -> dict[str, Any]:
    return {"id": job_data["id"], "ok": True, "rows": 128}
