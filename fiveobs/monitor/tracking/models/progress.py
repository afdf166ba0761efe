"""The answer that says how far a job is."""

from __future__ import annotations

from pydantic import Field

from fiveobs.monitor.tracking.models.base import Absent, Details, EstimateModel, Model, Number, Time

__all__ = [
    "CurrentActivity",
    "OverallProgress",
    "ProgressAnswer",
    "QualityMetrics",
    "ResourceUsage",
    "StageProgress",
]


class OverallProgress(Model):
    """The job as a whole."""

    percentage: Number | None
    start_time: Time | None
    elapsed_time: str | None
    elapsed_time_seconds: Number | None
    estimated_remaining: str | None
    estimated_remaining_seconds: Number | None
    estimated_completion: Time | None
    estimate: EstimateModel | None
    end_time: Absent[Time] = None
    queue_position: Absent[int] = None
    estimated_start_time: Absent[Time] = None


class StageProgress(Model):
    """One stage: begun, or known to come."""

    stage_name: str
    stage_order: int
    status: str
    """``Running``, ``Completed``, ``Failed``, ``Pending``; ``Skipped`` once the job has ended."""
    progress: Number | None
    start_time: Absent[Time] = None
    end_time: Absent[Time] = None
    duration: Absent[str] = None
    duration_seconds: Absent[Number] = None
    estimated_start_time: Absent[Time] = None
    estimated_end_time: Absent[Time] = None
    records_processed: Absent[Number] = None
    total_records: Absent[Number] = None
    unit: Absent[str] = None
    """What is counted, if not records."""
    metrics: Absent[Details] = None
    """The stage's own figures, and what its job measured under ``<stage>.<name>``."""


class CurrentActivity(Model):
    """What the job is doing."""

    component: str | None
    operation: str | None
    details: str | None


class ResourceUsage(Model):
    """What the job's worker uses, and what the job's stages have moved."""

    memory_usage: str | None
    memory_usage_bytes: Number | None
    memory_limit: str | None
    memory_limit_bytes: Number | None
    cpu_usage: Number | None
    """Percent of the CPUs that the worker may use; of one CPU where their number is not known."""
    disk_usage: str | None
    """Bytes read from and written to disk by the stages that have ended."""
    disk_usage_bytes: Number | None
    network_io: str | None = Field(serialization_alias="networkIO")
    network_io_bytes: Number | None = Field(serialization_alias="networkIOBytes")
    processing_rate: str | None
    processing_rate_per_second: Number | None


class QualityMetrics(Model):
    """What was found wrong."""

    data_quality_score: Number | None
    """``data_quality_score`` of the job's result, or a gauge of that name."""
    validations_passed: Number | None
    """The counter ``validations.passed``, or ``validations_passed`` of the job's result."""
    validations_failed: Number | None
    warnings_generated: int
    errors_encountered: int


class ProgressAnswer(Model):
    """How far a job is."""

    job_id: str
    job_name: str
    status: str
    overall_progress: OverallProgress
    stages: list[StageProgress]
    current_activity: CurrentActivity | None
    resource_usage: ResourceUsage
    quality_metrics: QualityMetrics
