"""Answers: what a job uses, and how it compares.

Made by docs/reference/generate.py from the OpenAPI document.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fiveobs.client._reading import Answer

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


@dataclass(frozen=True, kw_only=True)
class CpuFigures(Answer):
    """CPU of the job's worker."""

    #: Percent of the CPUs that it may use; of one CPU where their number is not known.
    usage: float | None
    cores: float | None
    #: CPU time of the job's ended stages in percent of their duration times the CPUs.
    efficiency: float | None


@dataclass(frozen=True, kw_only=True)
class MemoryFigures(Answer):
    """Memory of the job's worker, while the job ran."""

    used: str | None
    used_bytes: float | None
    allocated: str | None
    allocated_bytes: float | None
    peak: str | None
    peak_bytes: float | None
    #: Peak in percent of what is allocated.
    efficiency: float | None


@dataclass(frozen=True, kw_only=True)
class DiskFigures(Answer):
    """What the job's ended stages read and wrote."""

    reads: str | None
    reads_bytes: float | None
    writes: str | None
    writes_bytes: float | None
    #: Reads and writes that its worker asked for a second, between its last two heartbeats.
    iops: float | None
    #: Null: no worker measures it.
    latency: str | None


@dataclass(frozen=True, kw_only=True)
class NetworkFigures(Answer):
    """What was received and sent while the job's ended stages ran, or between its heartbeats.

    Counted by network namespace (a machine or a container), not by process.
    """

    bytes_in: str | None
    bytes_in_bytes: float | None
    bytes_out: str | None
    bytes_out_bytes: float | None
    #: Null: no worker measures it, because counting them takes long.
    connections: float | None


@dataclass(frozen=True, kw_only=True)
class ResourceUtilization(Answer):
    """Those that were asked for."""

    cpu: CpuFigures | None = None
    memory: MemoryFigures | None = None
    disk: DiskFigures | None = None
    network: NetworkFigures | None = None


@dataclass(frozen=True, kw_only=True)
class ProcessingFigures(Answer):
    """How fast work is done."""

    records_per_second: float | None
    records_processed: float | None
    total_records: float | None
    #: The present rate in percent of the usual rate of the same stage in past runs.
    processing_efficiency: float | None
    #: Errors for each record processed.
    error_rate: float | None
    #: The share of the job's attempts that were retries.
    retry_rate: float | None


@dataclass(frozen=True, kw_only=True)
class StageFigures(Answer):
    """How many stages there are, and how they compare with past runs."""

    completed: int
    running: int
    pending: int
    average_stage_time: str | None
    average_stage_time_seconds: float | None
    #: The usual duration of the completed stages in percent of what they took.
    stage_efficiency: float | None


@dataclass(frozen=True, kw_only=True)
class CurrentMetrics(Answer):
    """The figures as they stand; of an ended job, as they stood at its end."""

    resource_utilization: ResourceUtilization
    processing: ProcessingFigures | None = None
    stages: StageFigures


@dataclass(frozen=True, kw_only=True)
class HistoricalMetric(Answer):
    """The figures of one interval."""

    timestamp: datetime
    cpu: float | None = None
    #: GB, in steps of 1024.
    memory: float | None = None
    memory_bytes: float | None = None
    records_per_second: float | None = None
    stage: str | None


@dataclass(frozen=True, kw_only=True)
class PerformanceTrends(Answer):
    """Where the figures go; null where there are too few of them."""

    #: ``Rising``, ``Stable`` or ``Declining``.
    cpu_trend: str | None
    memory_trend: str | None
    #: ``Improving``, ``Stable`` or ``Declining``.
    throughput_trend: str | None
    #: ``Excellent``, ``Good``, ``Fair`` or ``Poor``, by the processing or the stage efficiency.
    overall_efficiency: str | None
    #: How near estimates would have come in past runs, 0 to 100.
    prediction_accuracy: float | None
    #: Heartbeats behind the trends of CPU and memory.
    samples: int


@dataclass(frozen=True, kw_only=True)
class SimilarJobs(Answer):
    """Past runs of the same kind in percent; the three add to 100."""

    faster_than: int
    #: Within 5 percent of the duration.
    similar_to: int
    slower_than: int


@dataclass(frozen=True, kw_only=True)
class Benchmarks(Answer):
    """How the job compares with past runs of the same kind."""

    job_type: str
    average_job_duration: str | None
    average_job_duration_seconds: float | None
    average_throughput: str | None
    average_throughput_per_second: float | None
    current_performance_rank: str | None
    #: Past runs that took longer, and half of those that took as long, in percent.
    current_performance_rank_percentile: float | None
    similar_jobs_comparison: SimilarJobs | None
    #: Completed runs behind it.
    runs: int


@dataclass(frozen=True, kw_only=True)
class MetricsAnswer(Answer):
    """A job's performance."""

    job_id: str
    metrics_collection_time: datetime
    current_metrics: CurrentMetrics
    #: Empty unless asked for.
    historical_metrics: tuple[HistoricalMetric, ...] | None = None
    performance_trends: PerformanceTrends
    benchmarks: Benchmarks
