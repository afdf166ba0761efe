"""What the analytics of volume answer: predictions, throughput, capacity, comparisons.

As in `findings`, they are made from the results field by field. What too little is known of is
null.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from fiveobs.monitor.enhanced.findings import Finding, Moment, Quantity

__all__ = [
    "Bucket",
    "Capacity",
    "Comparison",
    "FailureDifference",
    "Interval",
    "Prediction",
    "Rate",
    "Ratio",
    "Score",
    "Side",
    "SimpleScores",
    "StepComparison",
    "Throughput",
    "Waits",
]

_Verdict: TypeAlias = Literal["better", "worse", "alike"]


# --- predictions -------------------------------------------------------------------------------


class Interval(Finding):
    """Of ten runs like it, eight take between low and high."""

    low_s: Quantity
    usual_s: Quantity
    """The median."""
    high_s: Quantity
    runs: int
    """Past runs behind it."""


class Score(Finding):
    """How good predictions of past runs were, each made from what had ended before."""

    runs: int
    """Completed runs that were predicted."""
    pinball_p50_s: Quantity | None
    """Mean pinball loss of the median: half the mean error in seconds. Less is better."""
    pinball_p90_s: Quantity | None
    """Mean pinball loss of the 90th percentile, `high_s`."""
    coverage: Quantity | None
    """The share of runs between low and high; meant to be 0.8."""
    judged_runs: int
    """Runs, completed or failed, of which the probability of failure was predicted."""
    brier: Quantity | None
    """Mean squared error of that probability, 0 to 1. Less is better."""


class SimpleScores(Finding):
    """The same runs, predicted without any modelling."""

    mean: Score
    """By the mean of the last ten runs, for low, usual and high alike."""
    last: Score
    """By the last run."""
    spread: Score
    """By the quantiles of the last ten runs."""


class Prediction(Finding):
    """How long the next run takes, or one that runs, and whether it fails."""

    execution_id: str | None
    """The job that was asked about."""
    elapsed_s: float
    """For how long it has run; 0 for the next one."""
    duration: Interval | None
    """From beginning to end, if it completes; null with fewer than 5 past runs, or while it runs if
    fewer than 3 past ones took longer."""
    remaining: Interval | None
    """The same less what has elapsed."""
    failure_probability: Quantity | None
    """From 0 to 1; while it runs, given that it has not failed until now."""
    completed_runs: int
    """In what was looked at: the newest 1,100 of the past runs."""
    failed_runs: int
    calibration: Score
    """Of these predictions, made when each of the newest 1,000 runs began."""
    simple: SimpleScores
    during: Score
    """Of predictions made while they ran: at the moment at which their `usual_s` had passed."""


# --- throughput --------------------------------------------------------------------------------


class Rate(Finding):
    """A share, with Wilson's interval: it is likely to lie there, 95 in 100."""

    value: Quantity
    low: Quantity
    high: Quantity
    runs: int


class Waits(Finding):
    """Seconds in a queue."""

    runs: int
    usual_s: Quantity
    """The median."""
    p90_s: Quantity
    p99_s: Quantity


class Bucket(Finding):
    """A part of the period, up to the beginning of the next."""

    from_at: Moment
    arrived: int
    completed: int
    failed: int
    """Failed or lost."""
    other: int
    """Stopped, cancelled or interrupted."""
    waits: Waits | None
    """Of the runs that began in it."""
    success: Rate | None
    """Completed, of those that completed or failed in it."""


class Throughput(Finding):
    """How many runs arrive and end, how long they wait, how many succeed."""

    bucket_s: float
    """How long a bucket is; longer than asked for if there would be more than 1,000."""
    buckets: list[Bucket]
    arrived: int
    """Runs that came in the period, those that wait or run included."""
    ended: int
    arrived_per_hour: Quantity | None
    ended_per_hour: Quantity | None
    waits: Waits | None
    waits_trend: Literal[-1, 0, 1] | None
    """1 where the usual wait rises from bucket to bucket, -1 where it falls, 0 where neither; null
    with fewer than 8 buckets that have any."""
    success: Rate | None


# --- capacity ----------------------------------------------------------------------------------


class Capacity(Finding):
    """How full it is, and how much more fits."""

    arrived: int
    ended: int
    period_s: float
    places: int | None
    """Runs that can be under way at once: as was said, or else the most that were seen."""
    are_places_seen: bool
    """They were not said. More may be possible then."""
    busy: Quantity
    """Runs under way on the average."""
    most_busy: int
    target: float
    utilisation: Quantity | None
    """Work offered over the places; 1 is all that they can do. Null, and all that follows, with
    fewer than 20 runs."""
    arrived_per_hour: Quantity | None
    more_per_hour: Quantity | None
    """Runs that fit until the target; negative if too many come already."""
    queue_growth_per_hour: Quantity | None
    is_queue_growing: bool | None
    """Whether it grows by more than chance would have it."""
    mean_wait_s: Quantity | None
    """As it was."""
    expected_wait_s: Quantity | None
    """As the formula has it; null from a utilisation of 1 on: then waits grow without end."""
    wait_at_target_s: Quantity | None


# --- comparisons -------------------------------------------------------------------------------


class Ratio(Finding):
    """How many times as much the second side has; less is better."""

    before_runs: int
    after_runs: int
    before: Quantity | None
    """The median."""
    after: Quantity | None
    ratio: Quantity | None
    """Hodges and Lehmann's estimate; null, and what belongs to it, with fewer than 8 a side."""
    low: Quantity | None
    high: Quantity | None
    p_value: Quantity | None
    """Mann and Whitney's."""
    verdict: _Verdict | None
    reason: str


class FailureDifference(Finding):
    """How many more of the second side's runs fail; less is better."""

    before_runs: int
    after_runs: int
    before: Quantity | None
    """The share that failed."""
    after: Quantity | None
    difference: Quantity | None
    low: Quantity | None
    high: Quantity | None
    """Newcombe's interval, 95 in 100."""
    verdict: _Verdict | None
    reason: str


class StepComparison(Finding):
    """A step that both sides have."""

    step: str
    duration: Ratio
    memory: Ratio
    failures: FailureDifference


class Side(Finding):
    """What is compared."""

    from_at: Moment
    to_at: Moment
    release: str | None
    """Only runs of this release; null is all."""
    run_count: int


class Comparison(Finding):
    """The second side beside the first."""

    before: Side
    after: Side
    duration: Ratio
    """Of completed runs, in seconds; so CPU and memory."""
    queue_wait: Ratio
    cpu: Ratio
    memory: Ratio
    """The most that any step of a run had at its end, in bytes."""
    failures: FailureDifference
    steps: list[StepComparison]
    verdict: _Verdict | None
    """Worse if durations or failures are, better if one of them is and none is worse."""
