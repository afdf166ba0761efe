"""The answer about many jobs at once."""

from __future__ import annotations

from fiveobs.monitor.tracking.models.base import (
    Absent,
    EstimateModel,
    Model,
    Number,
    ResourceBrief,
    Time,
)

__all__ = ["BatchAnswer", "BatchJob", "BatchSummary", "SystemHealth"]


class BatchSummary(Model):
    """How many of the jobs of this answer are in which status."""

    running: int = 0
    queued: int = 0
    completed: int = 0
    failed: int = 0
    paused: int = 0
    stopped: int = 0
    cancelled: int = 0
    interrupted: int = 0
    lost: int = 0


class BatchJob(Model):
    """One job in short."""

    job_id: str
    job_name: str
    status: str
    progress: Number | None
    queue_position: Absent[int] = None
    start_time: Absent[Time] = None
    end_time: Absent[Time] = None
    estimated_start_time: Absent[Time] = None
    estimated_completion: Absent[Time] = None
    estimate: Absent[EstimateModel] = None
    current_stage: Absent[str] = None
    submitted_by: str | None
    priority: str | None
    resource_usage: Absent[ResourceBrief] = None
    """Of jobs that have begun, with ``includeMetrics``."""


class SystemHealth(Model):
    """How busy the project's workers are."""

    overall_load: Number | None
    """Percent: the highest of CPU and memory use over all live workers. Null without any."""
    queue_health: str
    """``Good``, ``Fair`` or ``Poor``, by how many jobs wait for each one that runs."""
    resource_availability: str | None
    """``High``, ``Medium`` or ``Low``, by the load."""
    estimated_capacity: str | None
    estimated_capacity_jobs: int | None
    live_workers: int
    running_jobs: int
    queued_jobs: int


class BatchAnswer(Model):
    """Many jobs."""

    tracking_time: Time
    job_count: int
    summary: BatchSummary
    jobs: list[BatchJob]
    system_health: SystemHealth
    not_found: Absent[list[str]] = None
    """Ids that were asked for and are no jobs of this project."""
    refresh_interval: Absent[int] = None
    """Seconds, as asked for; the ``Refresh`` header has it too."""
