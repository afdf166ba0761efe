"""Answers: many jobs at once.

Made by docs/reference/generate.py from the OpenAPI document.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fiveobs.client._reading import Answer
from fiveobs.client.answers.shared import Estimate

__all__ = ["BatchAnswer", "BatchJob", "BatchSummary", "ResourceBrief", "SystemHealth"]


@dataclass(frozen=True, kw_only=True)
class BatchSummary(Answer):
    """How many of the jobs of this answer are in which status."""

    running: int | None = None
    queued: int | None = None
    completed: int | None = None
    failed: int | None = None
    paused: int | None = None
    stopped: int | None = None
    cancelled: int | None = None
    interrupted: int | None = None
    lost: int | None = None


@dataclass(frozen=True, kw_only=True)
class ResourceBrief(Answer):
    """What a job uses, in short."""

    #: CPU of its worker in percent of what the worker may use.
    cpu: float | None
    memory: str | None
    memory_bytes: float | None
    processing_rate: str | None
    processing_rate_per_second: float | None


@dataclass(frozen=True, kw_only=True)
class BatchJob(Answer):
    """One job in short."""

    job_id: str
    job_name: str
    status: str
    progress: float | None
    queue_position: int | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    estimated_start_time: datetime | None = None
    estimated_completion: datetime | None = None
    estimate: Estimate | None = None
    current_stage: str | None = None
    submitted_by: str | None
    priority: str | None
    #: Of jobs that have begun, with ``includeMetrics``.
    resource_usage: ResourceBrief | None = None


@dataclass(frozen=True, kw_only=True)
class SystemHealth(Answer):
    """How busy the project's workers are."""

    #: Percent: the highest of CPU and memory use over all live workers. Null without any.
    overall_load: float | None
    #: ``Good``, ``Fair`` or ``Poor``, by how many jobs wait for each one that runs.
    queue_health: str
    #: ``High``, ``Medium`` or ``Low``, by the load.
    resource_availability: str | None
    estimated_capacity: str | None
    estimated_capacity_jobs: int | None
    live_workers: int
    running_jobs: int
    queued_jobs: int


@dataclass(frozen=True, kw_only=True)
class BatchAnswer(Answer):
    """Many jobs."""

    tracking_time: datetime
    job_count: int
    summary: BatchSummary
    jobs: tuple[BatchJob, ...]
    system_health: SystemHealth
    #: Ids that were asked for and are no jobs of this project.
    not_found: tuple[str, ...] | None = None
    #: Seconds, as asked for; the ``Refresh`` header has it too.
    refresh_interval: int | None = None
