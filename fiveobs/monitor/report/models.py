"""What a report says; one model for JSON and for the page that is made of it."""

from __future__ import annotations

from typing import Literal

from fiveobs.monitor.tracking.models.base import Model, Number, Time

__all__ = [
    "Change",
    "FailureGroup",
    "KindReport",
    "PeriodFigures",
    "ReportAnswer",
    "StepFigures",
    "TrendPoint",
]


class PeriodFigures(Model):
    """How the runs of a period went, a run being an attempt at a job that began and is over."""

    runs: int
    completed: int
    failed: int
    """Failed or lost."""
    ended_otherwise: int
    """Stopped, cancelled or interrupted: neither a success nor a failure."""
    success_rate: Number | None
    """Completed runs, of those that completed or failed: 0 to 1."""
    success_rate_low: Number | None
    """Where it may be in truth, with 95% confidence (Wilson's interval): from here …"""
    success_rate_high: Number | None
    """… to here."""
    duration_median_seconds: Number | None
    """Of completed runs."""
    duration_p90_seconds: Number | None
    """One completed run in ten took longer."""
    queue_wait_median_seconds: Number | None
    """Of all runs that say how long they waited."""
    queue_wait_p90_seconds: Number | None


class TrendPoint(Model):
    """The runs that began in one part of the period."""

    from_time: Time
    runs: int
    failed: int
    duration_median_seconds: Number | None
    """Of completed runs."""
    duration_p90_seconds: Number | None


class StepFigures(Model):
    """A step (a stage) of a kind of job."""

    step_name: str
    runs: int
    failed: int
    total_seconds: Number
    """The time that it took in all of them."""
    share: Number
    """Of the time that all steps took: 0 to 1."""
    duration_median_seconds: Number | None
    duration_p90_seconds: Number | None


class FailureGroup(Model):
    """Runs that failed with the same error: type and message, without what differs by case."""

    group_id: str
    """That of the failure analysis, the same in every report."""
    error_type: str
    """How the run ended where none was told: `lost`, say."""
    runs: int
    share: Number
    """Of the runs that failed: 0 to 1."""
    first_at: Time
    """When the first of them began."""
    last_at: Time
    message: str
    """Of the last of them."""
    job_id: str
    """The job of the last of them."""
    is_new: bool
    """Not among the failures of the period before."""


class Change(Model):
    """A figure, compared with that of the period before."""

    figure: Literal["failureRate", "durationMedianSeconds", "queueWaitMedianSeconds"]
    """The share of runs that failed, from 0 to 1, or seconds: less is better in any case."""
    before: Number
    now: Number
    difference: Number
    verdict: Literal["better", "worse", "alike"] | None
    """Alike if the difference may be chance, or is too little to matter; null for too few runs."""
    reason: str
    """What the verdict goes by."""


class KindReport(Model):
    """One kind of job."""

    job_name: str
    service: str
    figures: PeriodFigures
    before: PeriodFigures
    changes: list[Change]
    trend: list[TrendPoint]
    steps: list[StepFigures]
    """Those that took the most time first."""
    failures: list[FailureGroup]
    """The most frequent first."""


class ReportAnswer(Model):
    """How the jobs of a project went in a period, and in the one of the same length before it."""

    tenant_id: str
    project_id: str
    job_name: str | None
    """Only jobs of this name; null: all."""
    service: str | None
    from_time: Time
    """Jobs that were first heard of from then on …"""
    to_time: Time
    """… and before then."""
    before_from_time: Time
    """When the period before began; it ends where this one begins."""
    figures: PeriodFigures
    before: PeriodFigures
    changes: list[Change]
    trend: list[TrendPoint]
    trend_step_seconds: int
    """How long each part of the period is."""
    kinds: list[KindReport]
    """Those with the most runs first."""
    kinds_left_out: int
    """There are more kinds than a report lists; their runs are in the figures above."""
    runs_left_out: bool
    """There are more runs than a report looks at: only the newest of some kinds are in it."""
