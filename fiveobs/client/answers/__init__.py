"""The classes of a monitor's answers; frozen, with the units in the names.

Made by docs/reference/generate.py from the OpenAPI document. A field is ``None`` where
the monitor does not know it.
"""

from __future__ import annotations

from fiveobs.client.answers.batch import (
    BatchAnswer,
    BatchJob,
    BatchSummary,
    ResourceBrief,
    SystemHealth,
)
from fiveobs.client.answers.control import (
    AuditAnswer,
    AuditEntry,
    ControlAnswer,
    EmergencyStopAnswer,
)
from fiveobs.client.answers.dependencies import (
    BlockingCondition,
    Dependencies,
    DependenciesAnswer,
    DependencyGraph,
    DependentJob,
    GraphEdge,
    GraphNode,
    PrerequisiteJob,
    ResourceDependency,
)
from fiveobs.client.answers.logs import (
    ExecutionMetrics,
    LogEntry,
    LogsAnswer,
    LogsSummary,
    TimeRange,
)
from fiveobs.client.answers.metrics import (
    Benchmarks,
    CpuFigures,
    CurrentMetrics,
    DiskFigures,
    HistoricalMetric,
    MemoryFigures,
    MetricsAnswer,
    NetworkFigures,
    PerformanceTrends,
    ProcessingFigures,
    ResourceUtilization,
    SimilarJobs,
    StageFigures,
)
from fiveobs.client.answers.progress import (
    CurrentActivity,
    OverallProgress,
    ProgressAnswer,
    QualityMetrics,
    ResourceUsage,
    StageProgress,
)
from fiveobs.client.answers.shared import Estimate
from fiveobs.client.answers.subscriptions import (
    DeliveriesAnswer,
    DeliveryAnswer,
    DeliveryCounts,
    Filters,
    NewSubscriptionAnswer,
    ReplayAnswer,
    SubscriptionAnswer,
    SubscriptionsAnswer,
    TestAnswer,
)
from fiveobs.client.answers.timeline import (
    TimelineAnswer,
    TimelineEvent,
    TimelineScope,
    UpcomingEvent,
)

__all__ = [
    "AuditAnswer",
    "AuditEntry",
    "BatchAnswer",
    "BatchJob",
    "BatchSummary",
    "Benchmarks",
    "BlockingCondition",
    "ControlAnswer",
    "CpuFigures",
    "CurrentActivity",
    "CurrentMetrics",
    "DeliveriesAnswer",
    "DeliveryAnswer",
    "DeliveryCounts",
    "Dependencies",
    "DependenciesAnswer",
    "DependencyGraph",
    "DependentJob",
    "DiskFigures",
    "EmergencyStopAnswer",
    "Estimate",
    "ExecutionMetrics",
    "Filters",
    "GraphEdge",
    "GraphNode",
    "HistoricalMetric",
    "LogEntry",
    "LogsAnswer",
    "LogsSummary",
    "MemoryFigures",
    "MetricsAnswer",
    "NetworkFigures",
    "NewSubscriptionAnswer",
    "OverallProgress",
    "PerformanceTrends",
    "PrerequisiteJob",
    "ProcessingFigures",
    "ProgressAnswer",
    "QualityMetrics",
    "ReplayAnswer",
    "ResourceBrief",
    "ResourceDependency",
    "ResourceUsage",
    "ResourceUtilization",
    "SimilarJobs",
    "StageFigures",
    "StageProgress",
    "SubscriptionAnswer",
    "SubscriptionsAnswer",
    "SystemHealth",
    "TestAnswer",
    "TimeRange",
    "TimelineAnswer",
    "TimelineEvent",
    "TimelineScope",
    "UpcomingEvent",
]
