"""The answers of the analytics of volume: predictions, throughput, capacity, comparisons.

They are those of `fiveobs.monitor.analytics`, field for field. Durations are in seconds; what too
little is known of is null.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from fiveobs.monitor.tracking.human import US, as_time
from fiveobs.monitor.tracking.models.base import Time

__all__ = [
    "BucketModel",
    "CapacityAnswer",
    "ComparisonAnswer",
    "FailureDifferenceModel",
    "IntervalModel",
    "PredictionAnswer",
    "RateModel",
    "RatioModel",
    "ScoreModel",
    "SideModel",
    "SimpleScores",
    "StepComparisonModel",
    "ThroughputAnswer",
    "WaitsModel",
]

_Verdict = Literal["better", "worse", "alike"]
#: Seconds since 1970, written as a moment.
_FromSeconds = Annotated[
    str,
    BeforeValidator(lambda at_s: as_time(round(at_s * US))),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, from_attributes=True)


class _Answer(_Model):
    workflow_id: str
    service: str | None
    """As it was asked for; null where runs of all services count."""
    from_time: Time
    to_time: Time
    past_runs: int
    """Attempts in the period that are over: the newest 100,000 jobs'."""


class IntervalModel(_Model):
    """Of ten runs like it, eight take between low and high."""

    low_s: float
    usual_s: float
    """The median."""
    high_s: float
    runs: int
    """Past runs behind it."""


class ScoreModel(_Model):
    """How good predictions of past runs were, each made from what had ended before."""

    runs: int
    """Completed runs that were predicted."""
    pinball_p50_s: float | None
    """Mean pinball loss of the median: half the mean error in seconds. Less is better."""
    pinball_p90_s: float | None
    """Mean pinball loss of the 90th percentile, `high_s`."""
    coverage: float | None
    """The share of runs between low and high; meant to be 0.8."""
    judged_runs: int
    """Runs, completed or failed, of which the probability of failure was predicted."""
    brier: float | None
    """Mean squared error of that probability, 0 to 1. Less is better."""


class SimpleScores(_Model):
    """The same runs, predicted without any modelling."""

    mean: ScoreModel
    """By the mean of the last ten runs, for low, usual and high alike."""
    last: ScoreModel
    """By the last run."""
    spread: ScoreModel
    """By the quantiles of the last ten runs."""


class PredictionAnswer(_Answer):
    """How long the next run takes, or one that runs, and whether it fails."""

    execution_id: str | None
    """The job that was asked about."""
    elapsed_s: float
    """For how long it has run; 0 for the next one."""
    duration: IntervalModel | None
    """From beginning to end, if it completes; null with fewer than 5 past runs, or while it runs if
    fewer than 3 past ones took longer."""
    remaining: IntervalModel | None
    """The same less what has elapsed."""
    failure_probability: float | None
    """From 0 to 1; while it runs, given that it has not failed until now."""
    completed_runs: int
    """In what was looked at: the newest 1,100 of the past runs."""
    failed_runs: int
    calibration: ScoreModel
    """Of these predictions, made when each of the newest 1,000 runs began."""
    simple: SimpleScores
    during: ScoreModel
    """Of predictions made while they ran: at the moment at which their `usual_s` had passed."""


class RateModel(_Model):
    """A share, with Wilson's interval: it is likely to lie there, 95 in 100."""

    value: float
    low: float
    high: float
    runs: int


class WaitsModel(_Model):
    """Seconds in a queue."""

    runs: int
    usual_s: float
    """The median."""
    p90_s: float
    p99_s: float


class BucketModel(_Model):
    """A part of the period, up to the beginning of the next."""

    from_time: _FromSeconds
    arrived: int
    completed: int
    failed: int
    """Failed or lost."""
    other: int
    """Stopped, cancelled or interrupted."""
    waits: WaitsModel | None
    """Of the runs that began in it."""
    success: RateModel | None
    """Completed, of those that completed or failed in it."""


class ThroughputAnswer(_Answer):
    """How many runs arrive and end, how long they wait, how many succeed."""

    bucket_s: float
    """How long a bucket is; longer than asked for if there would be more than 1,000."""
    buckets: list[BucketModel]
    arrived: int
    """Runs that came in the period, those that wait or run included."""
    ended: int
    arrived_per_hour: float | None
    ended_per_hour: float | None
    waits: WaitsModel | None
    waits_trend: Literal[-1, 0, 1] | None
    """1 where the usual wait rises from bucket to bucket, -1 where it falls, 0 where neither; null
    with fewer than 8 buckets that have any."""
    success: RateModel | None


class CapacityAnswer(_Answer):
    """How full it is, and how much more fits."""

    arrived: int
    ended: int
    period_s: float
    places: int | None
    """Runs that can be under way at once: as was said, or else the most that were seen."""
    are_places_seen: bool
    """They were not said. More may be possible then."""
    busy: float
    """Runs under way on the average."""
    most_busy: int
    target: float
    utilisation: float | None
    """Work offered over the places; 1 is all that they can do. Null, and all that follows, with
    fewer than 20 runs."""
    arrived_per_hour: float | None
    more_per_hour: float | None
    """Runs that fit until the target; negative if too many come already."""
    queue_growth_per_hour: float | None
    is_queue_growing: bool | None
    """Whether it grows by more than chance would have it."""
    mean_wait_s: float | None
    """As it was."""
    expected_wait_s: float | None
    """As the formula has it; null from a utilisation of 1 on: then waits grow without end."""
    wait_at_target_s: float | None


class RatioModel(_Model):
    """How many times as much the second side has; less is better."""

    before_runs: int
    after_runs: int
    before: float | None
    """The median."""
    after: float | None
    ratio: float | None
    """Hodges and Lehmann's estimate; null, and what belongs to it, with fewer than 8 a side."""
    low: float | None
    high: float | None
    p_value: float | None
    """Mann and Whitney's."""
    verdict: _Verdict | None
    reason: str


class FailureDifferenceModel(_Model):
    """How many more of the second side's runs fail; less is better."""

    before_runs: int
    after_runs: int
    before: float | None
    """The share that failed."""
    after: float | None
    difference: float | None
    low: float | None
    high: float | None
    """Newcombe's interval, 95 in 100."""
    verdict: _Verdict | None
    reason: str


class StepComparisonModel(_Model):
    """A step that both sides have."""

    step: str
    duration: RatioModel
    memory: RatioModel
    failures: FailureDifferenceModel


class SideModel(_Model):
    """What is compared."""

    from_time: Time
    to_time: Time
    release: str | None
    """Only runs of this release; null is all."""
    past_runs: int


class ComparisonAnswer(_Model):
    """The second side beside the first."""

    workflow_id: str
    service: str | None
    before: SideModel
    after: SideModel
    duration: RatioModel
    """Of completed runs, in seconds; so CPU and memory."""
    queue_wait: RatioModel
    cpu: RatioModel
    memory: RatioModel
    """The most that any step of a run had at its end, in bytes."""
    failures: FailureDifferenceModel
    steps: list[StepComparisonModel]
    verdict: _Verdict | None
    """Worse if durations or failures are, better if one of them is and none is worse."""
