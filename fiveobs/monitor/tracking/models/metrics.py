"""The answer with a job's figures, their history, and how they compare."""

from __future__ import annotations

from pydantic import Field

from fiveobs.monitor.tracking.models.base import Absent, Model, Number, Time

__all__ = [
    "Benchmarks",
    "CpuFigures",
    "CurrentMetrics",
    "DiskFigures",
    "HistoricalMetric",
    "MemoryFigures",
    "MetricsAnswer",
    "NetworkFigures",
    "PerformanceTrends",
    "ProcessingFigures",
    "ResourceUtilization",
    "SimilarJobs",
    "StageFigures",
]


class CpuFigures(Model):
    """CPU of the job's worker."""

    usage: Number | None
    """Percent of the CPUs that it may use; of one CPU where their number is not known."""
    cores: Number | None
    efficiency: Number | None
    """CPU time of the job's ended stages in percent of their duration times the CPUs."""


class MemoryFigures(Model):
    """Memory of the job's worker, while the job ran."""

    used: str | None
    used_bytes: Number | None
    allocated: str | None
    allocated_bytes: Number | None
    peak: str | None
    peak_bytes: Number | None
    efficiency: Number | None
    """Peak in percent of what is allocated."""


class DiskFigures(Model):
    """What the job's ended stages read and wrote."""

    reads: str | None
    reads_bytes: Number | None
    writes: str | None
    writes_bytes: Number | None
    iops: Number | None
    """Reads and writes that its worker asked for a second, between its last two heartbeats."""
    latency: str | None
    """Null: no worker measures it."""


class NetworkFigures(Model):
    """What was received and sent while the job's ended stages ran, or between its heartbeats.

    Counted by network namespace (a machine or a container), not by process.
    """

    bytes_in: str | None
    bytes_in_bytes: Number | None
    bytes_out: str | None
    bytes_out_bytes: Number | None
    connections: Number | None
    """Null: no worker measures it, because counting them takes long."""


class ResourceUtilization(Model):
    """Those that were asked for."""

    cpu: Absent[CpuFigures] = None
    memory: Absent[MemoryFigures] = None
    disk: Absent[DiskFigures] = None
    network: Absent[NetworkFigures] = None


class ProcessingFigures(Model):
    """How fast work is done."""

    records_per_second: Number | None
    records_processed: Number | None
    total_records: Number | None
    processing_efficiency: Number | None
    """The present rate in percent of the usual rate of the same stage in past runs."""
    error_rate: Number | None
    """Errors for each record processed."""
    retry_rate: Number | None
    """The share of the job's attempts that were retries."""


class StageFigures(Model):
    """How many stages there are, and how they compare with past runs."""

    completed: int
    running: int
    pending: int
    average_stage_time: str | None
    average_stage_time_seconds: Number | None
    stage_efficiency: Number | None
    """The usual duration of the completed stages in percent of what they took."""


class CurrentMetrics(Model):
    """The figures as they stand; of an ended job, as they stood at its end."""

    resource_utilization: ResourceUtilization
    processing: Absent[ProcessingFigures] = None
    stages: StageFigures


class HistoricalMetric(Model):
    """The figures of one interval."""

    timestamp: Time
    cpu: Absent[Number] = None
    memory: Absent[Number] = None
    """GB, in steps of 1024."""
    memory_bytes: Absent[Number] = None
    records_per_second: Absent[Number] = None
    stage: str | None


class PerformanceTrends(Model):
    """Where the figures go; null where there are too few of them."""

    cpu_trend: str | None
    """``Rising``, ``Stable`` or ``Declining``."""
    memory_trend: str | None
    throughput_trend: str | None
    """``Improving``, ``Stable`` or ``Declining``."""
    overall_efficiency: str | None
    """``Excellent``, ``Good``, ``Fair`` or ``Poor``, by the processing or the stage efficiency."""
    prediction_accuracy: Number | None
    """How near estimates would have come in past runs, 0 to 100."""
    samples: int
    """Heartbeats behind the trends of CPU and memory."""


class SimilarJobs(Model):
    """Past runs of the same kind in percent; the three add to 100."""

    faster_than: int
    similar_to: int
    """Within 5 percent of the duration."""
    slower_than: int


class Benchmarks(Model):
    """How the job compares with past runs of the same kind."""

    job_type: str
    average_job_duration: str | None
    average_job_duration_seconds: Number | None
    average_throughput: str | None
    average_throughput_per_second: Number | None
    current_performance_rank: str | None
    current_performance_rank_percentile: Number | None
    """Past runs that took longer, and half of those that took as long, in percent."""
    similar_jobs_comparison: SimilarJobs | None
    runs: int
    """Completed runs behind it."""


class MetricsAnswer(Model):
    """A job's performance."""

    job_id: str
    metrics_collection_time: Time
    current_metrics: CurrentMetrics
    historical_metrics: list[HistoricalMetric] = Field(default_factory=list)
    """Empty unless asked for."""
    performance_trends: PerformanceTrends
    benchmarks: Benchmarks
