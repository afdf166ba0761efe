"""The shapes of the tracking API's answers; names and nesting are the published ones."""

from __future__ import annotations

from fiveobs.monitor.tracking.models.batch import BatchAnswer
from fiveobs.monitor.tracking.models.dependencies import DependenciesAnswer
from fiveobs.monitor.tracking.models.logs import LogsAnswer
from fiveobs.monitor.tracking.models.metrics import MetricsAnswer
from fiveobs.monitor.tracking.models.progress import ProgressAnswer
from fiveobs.monitor.tracking.models.timeline import TimelineAnswer

__all__ = [
    "BatchAnswer",
    "DependenciesAnswer",
    "LogsAnswer",
    "MetricsAnswer",
    "ProgressAnswer",
    "TimelineAnswer",
]
