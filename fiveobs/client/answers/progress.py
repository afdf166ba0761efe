"""Answers: how far a job is.

Made by docs/reference/generate.py from the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fiveobs.client._reading import Answer
from fiveobs.client.answers.shared import Estimate

__all__ = [
    "CurrentActivity",
    "OverallProgress",
    "ProgressAnswer",
    "QualityMetrics",
    "ResourceUsage",
    "StageProgress",
]


@dataclass(frozen=True, kw_only=True)
class OverallProgress(Answer):
    """The job as a whole."""

    percentage: float | None
    start_time: datetime | None
    elapsed_time: str | None
    elapsed_time_seconds: float | None
    estimated_remaining: str | None
    estimated_remaining_seconds: float | None
    estimated_completion: datetime | None
    estimate: Estimate | None
    end_time: datetime | None = None
    queue_position: int | None = None
    estimated_start_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class StageProgress(Answer):
    """One stage: begun, or known to come."""

    stage_name: str
    stage_order: int
    #: ``Running``, ``Completed``, ``Failed``, ``Pending``; ``Skipped`` once the job has ended.
    status: str
    progress: float | None
    start_time: datetime | None = None
    end_time: datetime | None = None
    duration: str | None = None
    duration_seconds: float | None = None
    estimated_start_time: datetime | None = None
    estimated_end_time: datetime | None = None
    records_processed: float | None = None
    total_records: float | None = None
    #: What is counted, if not records.
    unit: str | None = None
    #: The stage's own figures, and what its job measured under ``<stage>.<name>``.
    metrics: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class CurrentActivity(Answer):
    """What the job is doing."""

    component: str | None
    operation: str | None
    details: str | None


@dataclass(frozen=True, kw_only=True)
class ResourceUsage(Answer):
    """What the job's worker uses, and what the job's stages have moved."""

    memory_usage: str | None
    memory_usage_bytes: float | None
    memory_limit: str | None
    memory_limit_bytes: float | None
    #: Percent of the CPUs that the worker may use; of one CPU where their number is not known.
    cpu_usage: float | None
    #: Bytes read from and written to disk by the stages that have ended.
    disk_usage: str | None
    disk_usage_bytes: float | None
    network_io: str | None = field(metadata={"json": "networkIO"})
    network_io_bytes: float | None = field(metadata={"json": "networkIOBytes"})
    processing_rate: str | None
    processing_rate_per_second: float | None


@dataclass(frozen=True, kw_only=True)
class QualityMetrics(Answer):
    """What was found wrong."""

    #: ``data_quality_score`` of the job's result, or a gauge of that name.
    data_quality_score: float | None
    #: The counter ``validations.passed``, or ``validations_passed`` of the job's result.
    validations_passed: float | None
    validations_failed: float | None
    warnings_generated: int
    errors_encountered: int


@dataclass(frozen=True, kw_only=True)
class ProgressAnswer(Answer):
    """How far a job is."""

    job_id: str
    job_name: str
    status: str
    overall_progress: OverallProgress
    stages: tuple[StageProgress, ...]
    current_activity: CurrentActivity | None
    resource_usage: ResourceUsage
    quality_metrics: QualityMetrics
