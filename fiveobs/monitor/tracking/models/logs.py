"""The answer with a job's log entries."""

from __future__ import annotations

from fiveobs.monitor.tracking.models.base import Absent, Details, EstimateModel, Model, Number, Time

__all__ = ["ExecutionMetrics", "LogEntry", "LogsAnswer", "LogsSummary", "TimeRange"]


class TimeRange(Model):
    """From when to when."""

    start_time: Time | None
    end_time: Time | None


class LogsSummary(Model):
    """How many entries there are in the time asked for, whatever their level."""

    total_entries: int
    debug_entries: int
    info_entries: int
    warn_entries: int
    error_entries: int
    """``ERROR`` and above."""
    time_range: TimeRange


class LogEntry(Model):
    """One event or log line."""

    timestamp: Time
    level: str
    """``DEBUG``, ``INFO``, ``WARN`` or ``ERROR``."""
    component: str | None
    """``component`` of the entry's details, else its logger, else the job's service."""
    stage: str | None
    """The stage that it names, or else the one that ran then."""
    message: str
    details: Details
    event_type: str
    """The type of the event; ``log`` for a line of text."""
    event_id: str
    attempt: int | None


class ExecutionMetrics(Model):
    """How the job is doing."""

    current_stage: str | None
    """The stage that runs; null between stages, and once the job has ended."""
    stage_progress: Number | None
    overall_progress: Number | None
    processing_rate: str | None
    processing_rate_per_second: Number | None
    memory_usage: str | None
    memory_usage_bytes: Number | None
    cpu_usage: Number | None
    estimated_completion: Time | None
    estimate: Absent[EstimateModel] = None


class LogsAnswer(Model):
    """A job's log entries."""

    job_id: str
    job_name: str
    job_status: str
    logs_summary: LogsSummary
    logs: list[LogEntry]
    execution_metrics: ExecutionMetrics
    expired: Absent[list[str]] = None
    """What retention has taken; where no time is asked for, the summary counts it all the same:
    ``logs`` are lines below ERROR, ``error_logs`` those from there on, and all of a job that
    failed. Left out if nothing has gone."""
