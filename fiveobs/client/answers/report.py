"""Answers: how the jobs of a period went.

Made by docs/reference/generate.py from the OpenAPI document.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fiveobs.client._reading import Answer

__all__ = [
    "Change",
    "FailureGroup",
    "KindReport",
    "PeriodFigures",
    "ReportAnswer",
    "StepFigures",
    "TrendPoint",
]


@dataclass(frozen=True, kw_only=True)
class PeriodFigures(Answer):
    """How the runs of a period went, a run being an attempt at a job that began and is over."""

    runs: int
    completed: int
    #: Failed or lost.
    failed: int
    #: Stopped, cancelled or interrupted: neither a success nor a failure.
    ended_otherwise: int
    #: Completed runs, of those that completed or failed: 0 to 1.
    success_rate: float | None
    #: Where it may be in truth, with 95% confidence (Wilson's interval): from here …
    success_rate_low: float | None
    #: … to here.
    success_rate_high: float | None
    #: Of completed runs.
    duration_median_seconds: float | None
    #: One completed run in ten took longer.
    duration_p90_seconds: float | None
    #: Of all runs that say how long they waited.
    queue_wait_median_seconds: float | None
    queue_wait_p90_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Change(Answer):
    """A figure, compared with that of the period before."""

    #: The share of runs that failed, from 0 to 1, or seconds: less is better in any case.
    figure: str
    before: float
    now: float
    difference: float
    #: Alike if the difference may be chance, or is too little to matter; null for too few runs.
    verdict: str | None
    #: What the verdict goes by.
    reason: str


@dataclass(frozen=True, kw_only=True)
class TrendPoint(Answer):
    """The runs that began in one part of the period."""

    from_time: datetime
    runs: int
    failed: int
    #: Of completed runs.
    duration_median_seconds: float | None
    duration_p90_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class StepFigures(Answer):
    """A step (a stage) of a kind of job."""

    step_name: str
    runs: int
    failed: int
    #: The time that it took in all of them.
    total_seconds: float
    #: Of the time that all steps took: 0 to 1.
    share: float
    duration_median_seconds: float | None
    duration_p90_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class FailureGroup(Answer):
    """Runs that failed with the same error: type and message, without what differs by case."""

    #: That of the failure analysis, the same in every report.
    group_id: str
    #: How the run ended where none was told: `lost`, say.
    error_type: str
    runs: int
    #: Of the runs that failed: 0 to 1.
    share: float
    #: When the first of them began.
    first_at: datetime
    last_at: datetime
    #: Of the last of them.
    message: str
    #: The job of the last of them.
    job_id: str
    #: Not among the failures of the period before.
    is_new: bool


@dataclass(frozen=True, kw_only=True)
class KindReport(Answer):
    """One kind of job."""

    job_name: str
    service: str
    figures: PeriodFigures
    before: PeriodFigures
    changes: tuple[Change, ...]
    trend: tuple[TrendPoint, ...]
    #: Those that took the most time first.
    steps: tuple[StepFigures, ...]
    #: The most frequent first.
    failures: tuple[FailureGroup, ...]


@dataclass(frozen=True, kw_only=True)
class ReportAnswer(Answer):
    """How the jobs of a project went in a period, and in the one of the same length before it."""

    tenant_id: str
    project_id: str
    #: Only jobs of this name; null: all.
    job_name: str | None
    service: str | None
    #: Jobs that were first heard of from then on …
    from_time: datetime
    #: … and before then.
    to_time: datetime
    #: When the period before began; it ends where this one begins.
    before_from_time: datetime
    figures: PeriodFigures
    before: PeriodFigures
    changes: tuple[Change, ...]
    trend: tuple[TrendPoint, ...]
    #: How long each part of the period is.
    trend_step_seconds: int
    #: Those with the most runs first.
    kinds: tuple[KindReport, ...]
    #: There are more kinds than a report lists; their runs are in the figures above.
    kinds_left_out: int
    #: There are more runs than a report looks at: only the newest of some kinds are in it.
    runs_left_out: bool
