"""Answers: the entries of a job's log.

Made by docs/reference/generate.py from the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fiveobs.client._reading import Answer
from fiveobs.client.answers.shared import Estimate

__all__ = ["ExecutionMetrics", "LogEntry", "LogsAnswer", "LogsSummary", "TimeRange"]


@dataclass(frozen=True, kw_only=True)
class TimeRange(Answer):
    """From when to when."""

    start_time: datetime | None
    end_time: datetime | None


@dataclass(frozen=True, kw_only=True)
class LogsSummary(Answer):
    """How many entries there are in the time asked for, whatever their level."""

    total_entries: int
    debug_entries: int
    info_entries: int
    warn_entries: int
    #: ``ERROR`` and above.
    error_entries: int
    time_range: TimeRange


@dataclass(frozen=True, kw_only=True)
class LogEntry(Answer):
    """One event or log line."""

    timestamp: datetime
    #: ``DEBUG``, ``INFO``, ``WARN`` or ``ERROR``.
    level: str
    #: ``component`` of the entry's details, else its logger, else the job's service.
    component: str | None
    #: The stage that it names, or else the one that ran then.
    stage: str | None
    message: str
    details: Mapping[str, Any]
    #: The type of the event; ``log`` for a line of text.
    event_type: str
    event_id: str
    attempt: int | None


@dataclass(frozen=True, kw_only=True)
class ExecutionMetrics(Answer):
    """How the job is doing."""

    #: The stage that runs; null between stages, and once the job has ended.
    current_stage: str | None
    stage_progress: float | None
    overall_progress: float | None
    processing_rate: str | None
    processing_rate_per_second: float | None
    memory_usage: str | None
    memory_usage_bytes: float | None
    cpu_usage: float | None
    estimated_completion: datetime | None
    estimate: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class LogsAnswer(Answer):
    """A job's log entries."""

    job_id: str
    job_name: str
    job_status: str
    logs_summary: LogsSummary
    logs: tuple[LogEntry, ...]
    execution_metrics: ExecutionMetrics
    #: What retention has taken; where no time is asked for, the summary counts it all the same:
    #: ``logs`` are lines below ERROR, ``error_logs`` those from there on, and all of a job that
    #: failed. Left out if nothing has gone.
    expired: tuple[str, ...] | None = None
