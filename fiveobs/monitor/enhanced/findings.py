"""What the analytics answer, made from their results field by field.

A result's ``*_at_s`` is seconds since 1970; here it is ``*_at``, RFC 3339. Numbers have six digits.
"""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from fiveobs.monitor.tracking.human import US, as_time

__all__ = [
    "Analysis",
    "Anomalies",
    "Bottlenecks",
    "ErrorGroup",
    "FailureAnalysis",
    "FailureOnset",
    "FailureRate",
    "Finding",
    "Growth",
    "Leak",
    "Moment",
    "Quantity",
    "QuietPeriod",
    "ResourceTrends",
    "SlowSlot",
    "StepUse",
    "Suspect",
    "Trend",
    "UnusualRun",
]

T = TypeVar("T")


def _source(name: str) -> str:
    """What the result calls a field."""
    return f"{name}_s" if name.endswith("_at") else name


def _moment(at_s: object) -> object:
    return as_time(round(at_s * US)) if isinstance(at_s, int | float) else at_s


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")


#: RFC 3339, from seconds since 1970.
Moment: TypeAlias = Annotated[
    str, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})
]
Quantity: TypeAlias = Annotated[float, AfterValidator(_six_digits)]


class Finding(BaseModel):
    """A part of an answer, with the fields of the analytics' result of the same name."""

    model_config = ConfigDict(
        frozen=True,
        use_attribute_docstrings=True,
        from_attributes=True,
        alias_generator=AliasGenerator(validation_alias=_source),
        populate_by_name=True,
    )


# Docstrings of fields would be looked for again in each model that is made of a generic one, in
# every frame of the stack: their descriptions are said outright.
class Analysis(Finding, Generic[T], use_attribute_docstrings=False):
    """What was concluded, and from which runs."""

    workflow_id: str = Field(description="The job's name.")
    service: str | None = Field(description="Null for all that have jobs of that name.")
    from_at: Moment
    to_at: Moment = Field(
        description="Jobs first heard of in this time were looked at; the newest 100,000 of them."
    )
    run_count: int = Field(
        description="How many runs this rests on: attempts at these jobs that began and are over."
        " Of a comparison those of the second side; `result` says how many the first has."
    )
    first_run_at: Moment | None
    last_run_at: Moment | None = Field(description="When the first and the last of them began.")
    result: T


# --- bottlenecks -------------------------------------------------------------------------------


class Growth(Finding):
    """A figure of a step since the moment at which it is most clearly larger than before."""

    began_at: Moment
    before: Quantity
    """Its median before: seconds, or bytes."""
    before_count: int
    since: Quantity
    """Its median since then."""
    since_count: int
    ratio: Quantity
    """How many times as large it has become (Hodges-Lehmann, of logarithms)."""
    effect: Quantity
    """How often a figure since then is above one before, less how often below (Cliff's delta)."""
    p_value: Quantity
    """How likely that is by chance, corrected for all that was looked at."""


class StepUse(Finding):
    """What a step takes, of those that were completed."""

    step: str
    count: int
    median_duration_s: Quantity | None
    p90_duration_s: Quantity | None
    time_share: Quantity | None
    """Of the time of all steps, from 0 to 1."""
    cpu_share: Quantity | None
    """Of the CPU of all steps, from 0 to 1."""
    median_cpu_s: Quantity | None
    median_memory_bytes: Quantity | None
    is_dominant: bool
    """Whether it takes more than half of the time of all steps."""
    duration: Growth | None
    """How each of these has grown, sure or not; null below 40 figures."""
    cpu: Growth | None
    memory: Growth | None
    reasons: list[Literal["duration", "cpu", "memory"]]
    """What has grown surely, clearly and by a quarter or more; empty if the step is as ever."""


class Bottlenecks(Finding):
    """The steps, those with the largest share of the time first."""

    steps: list[StepUse]


# --- trends ------------------------------------------------------------------------------------


class Trend(Finding):
    """How one figure of runs changes over time."""

    figure: Literal["duration_s", "cpu_s", "memory_bytes", "queue_wait_s"]
    count: int
    """Runs of which it is known."""
    median: Quantity
    slope_per_day: Quantity
    """Theil-Sen, of medians of consecutive runs."""
    low_per_day: Quantity
    high_per_day: Quantity
    """The 95% confidence interval of the slope."""
    change: Quantity | None
    """From the first run to the last, as a share of the median; null if that is 0."""
    p_value: Quantity
    """Mann-Kendall, corrected for the figures that were looked at."""
    direction: Literal["rising", "falling", "steady"]
    """Steady unless it is sure, over three days or more, and a change by 30% or more."""


class Leak(Finding):
    """Memory that grows from run to run in the lives of workers."""

    release: str
    """The release whose processes these are; empty for all of them."""
    lives: int
    """Processes that were looked at: those with 50 runs or more."""
    rising_lives: int
    """How many of them have more memory at the end of the second half of their lives."""
    runs: int
    growth_per_run_bytes: Quantity
    low_per_run_bytes: Quantity
    high_per_run_bytes: Quantity
    """The 95% confidence interval of the growth."""
    growth_per_hour_bytes: Quantity
    growth_share: Quantity
    """Over the runs of a usual life, as a share of what processes have at first."""
    usual_life_runs: int
    p_value: Quantity
    worker: str
    """The worker of the process that began last, and what that has."""
    memory_bytes: Quantity
    limit_bytes: int | None
    limit_reached_at: Moment | None
    """When that process has what it may have, should it go on so; null without a known limit."""


class ResourceTrends(Finding):
    """How what a job uses changes."""

    trends: list[Trend]
    """Of those figures that 50 runs or more have."""
    leak: Leak | None
    """Null if nothing suggests one."""


# --- failures ----------------------------------------------------------------------------------


class ErrorGroup(Finding):
    """Failures that are the same error."""

    group_id: str
    """The same in every analysis."""
    fingerprint: str
    """Type and message, without what differs from case to case."""
    error_type: str
    count: int
    share: Quantity
    """Of all failures, from 0 to 1."""
    first_seen_at: Moment
    last_seen_at: Moment
    message: str
    """Of the last one."""
    job_ids: list[str]
    """The last jobs that failed so, the newest first."""


class FailureRate(Finding):
    """How often runs of one step, worker, machine, release or attempt fail."""

    dimension: Literal["step", "worker", "machine", "release", "attempt"]
    value: str
    count: int
    failed: int
    share: Quantity
    low: Quantity
    high: Quantity
    """The 95% confidence interval of the share (Wilson)."""
    other_share: Quantity | None
    """How often the rest fails; null if there is none."""
    p_value: Quantity
    """Fisher's exact test against the rest, corrected for the values of the dimension."""


class Suspect(Finding):
    """A release, machine or worker that fails more often than what no other suspect explains."""

    dimension: Literal["release", "machine", "worker"]
    value: str
    count: int
    failed: int
    share: Quantity
    other_share: Quantity
    difference: Quantity
    """By how many points it fails more often, from 0 to 1."""
    ratio: Quantity | None
    """How many times as often; null if the rest never fails."""
    p_value: Quantity
    first_seen_at: Moment
    """The first run with that value."""


class FailureOnset(Finding):
    """When failures became more frequent."""

    began_at: Moment
    before_share: Quantity
    before_count: int
    since_share: Quantity
    since_count: int
    p_value: Quantity
    release: str
    """The release whose first run was about then; empty if none was."""


class FailureAnalysis(Finding):
    """What fails and why, as far as that can be told."""

    run_count: int
    """Runs that were completed or failed; those that were stopped or cancelled did neither."""
    failed_count: int
    groups: list[ErrorGroup]
    """The most frequent first, 50 at most."""
    rates: list[FailureRate]
    """Of each dimension the 50 values that fail most often."""
    suspects: list[Suspect]
    """The surest first."""
    onset: FailureOnset | None
    """Null if failures are as frequent as ever."""


# --- anomalies ---------------------------------------------------------------------------------


class UnusualRun(Finding):
    """A completed run that took longer or used more than others."""

    job_id: str
    attempt: int
    started_at: Moment
    figure: Literal["duration_s", "cpu_s", "memory_bytes"]
    value: Quantity
    usual: Quantity
    """The median of those it is compared with."""
    ratio: Quantity
    score: Quantity
    """Robust standard deviations above the usual, of logarithms."""
    compared_with: Literal["hour of week", "hour of day", "all"]
    count: int
    """With how many runs it is compared."""


class QuietPeriod(Finding):
    """A time in which fewer runs began than usual."""

    begins_at: Moment
    ends_at: Moment
    count: int
    usual: Quantity
    """How many usually begin then."""
    p_value: Quantity


class SlowSlot(Finding):
    """A time of the day or of the week, UTC, at which runs usually take longer."""

    weekday: int | None
    """Monday is 0; null for every day."""
    hour: int | None
    """From 0 to 23; null for all day."""
    count: int
    days: int
    median_s: Quantity
    usual_s: Quantity
    """What it takes in the hours around it, or on other days."""
    ratio: Quantity
    p_value: Quantity


class Anomalies(Finding):
    """What is unusual."""

    unusual_count: int
    unusual_runs: list[UnusualRun]
    """The 100 most unusual, the most unusual first."""
    quiet_periods: list[QuietPeriod]
    slow_slots: list[SlowSlot]
    """The slowest first."""
