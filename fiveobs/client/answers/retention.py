"""Answers: how long everything is kept, and figures of what has gone.

Made by docs/reference/generate.py from the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fiveobs.client._reading import Answer

__all__ = ["HistoryAnswer", "HistoryBucket", "HistorySeries", "KeptPart", "RetentionAnswer"]


@dataclass(frozen=True, kw_only=True)
class KeptPart(Answer):
    """How long something is kept."""

    part: str
    #: As it is said, such as `30d`.
    keep: str
    #: Null: for ever.
    keep_seconds: float | None
    #: The project, its tenant, or the settings of the monitor.
    said_by: str
    #: The setting of the monitor that says so where nobody else does.
    variable: str
    what: str


@dataclass(frozen=True, kw_only=True)
class RetentionAnswer(Answer):
    """How long everything of a project is kept."""

    parts: tuple[KeptPart, ...]


@dataclass(frozen=True, kw_only=True)
class HistoryBucket(Answer):
    """What the values of an hour or a day (UTC) were."""

    start_time: datetime
    count: int
    sum: float | None
    mean: float | None
    minimum: float | None
    maximum: float | None
    #: Percentiles are at most 5% off; null for measures, of which only sums are known.
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, kw_only=True)
class HistorySeries(Answer):
    """The values of one sort of jobs or workers."""

    #: Whose they are: service, job_name and status, or service and machine.
    labels: Mapping[str, Any]
    buckets: tuple[HistoryBucket, ...]


@dataclass(frozen=True, kw_only=True)
class HistoryAnswer(Answer):
    """Figures by hour or by day, of rows that have expired."""

    metric: str
    interval: str
    #: The first hundred, in the order of their labels.
    series: tuple[HistorySeries, ...]
