"""How many runs arrive and end in a time, how long they wait, and how many of them succeed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fiveobs.monitor.analytics.columns import Floats, Ints, Mask, Runs
from fiveobs.monitor.analytics.rates import wilson
from fiveobs.monitor.tracking.trends import direction

__all__ = [
    "NONE_OPEN",
    "Bucket",
    "Rate",
    "Throughput",
    "Waits",
    "arrivals_s",
    "success_rate",
    "throughput",
]

_HOUR_S = 3_600.0
#: No run that is not over.
NONE_OPEN: Floats = np.empty(0)
#: Buckets that there are at most.
MOST_BUCKETS = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """A share, and between what it is likely to lie: 95 in 100."""

    value: float
    low: float
    high: float
    #: Of how many runs.
    runs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Waits:
    """Seconds that runs waited in a queue."""

    runs: int
    usual_s: float
    p90_s: float
    p99_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """A part of the period."""

    #: Seconds since 1970; up to the next bucket's beginning.
    from_at_s: float
    #: Runs that came, whenever they began and ended, and those that ended, by how they did.
    arrived: int
    completed: int
    failed: int
    #: Stopped, cancelled or interrupted.
    other: int
    #: Of the runs that began.
    waits: Waits | None
    #: Completed of those that completed or failed; ``None`` if none did.
    success: Rate | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """A period, whole and in parts."""

    bucket_s: float
    buckets: tuple[Bucket, ...]
    arrived: int
    ended: int
    #: ``None`` if the period is empty.
    arrived_per_hour: float | None
    ended_per_hour: float | None
    waits: Waits | None
    #: 1 where what is usual rises from bucket to bucket, -1 where it falls, 0 where neither, and
    #: ``None`` where too few buckets have any.
    waits_trend: int | None
    success: Rate | None


def throughput(
    runs: Runs, from_s: float, to_s: float, bucket_s: float, open_arrived_s: Floats = NONE_OPEN
) -> Throughput:
    """Count runs in the parts of a period.

    Args:
        runs: Attempts that are over, in any order.
        from_s: The period's beginning, in seconds since 1970.
        to_s: Its end; what lies there is not in it.
        bucket_s: How long a part is; more if there would be more than `MOST_BUCKETS`.
        open_arrived_s: When those came that are not over.
    """
    span_s = max(to_s - from_s, 0.0)
    bucket_s = max(bucket_s, span_s / MOST_BUCKETS)
    count = math.ceil(span_s / bucket_s) if span_s else 0
    arrived, began, ended = (
        np.where((at_s >= from_s) & (at_s < to_s), (at_s - from_s) // bucket_s, -1).astype(np.int64)
        for at_s in (arrivals_s(runs, open_arrived_s), runs.started_at_s, runs.ended_at_s)
    )
    completed = _counts(ended, runs.is_completed, count)
    failed = _counts(ended, runs.is_failed, count)
    counts = zip(
        _counts(arrived, arrived >= 0, count),
        completed,
        failed,
        _counts(ended, ended >= 0, count),
        _waits_in(runs.queue_wait_s, began, count),
        strict=True,
    )
    buckets = tuple(
        Bucket(
            from_at_s=from_s + place * bucket_s,
            arrived=came,
            completed=well,
            failed=badly,
            other=every - well - badly,
            waits=waits,
            success=success_rate(well, badly),
        )
        for place, (came, well, badly, every, waits) in enumerate(counts)
    )
    hours = span_s / _HOUR_S
    usual = [each.waits.usual_s for each in buckets if each.waits is not None]
    total, over = int((arrived >= 0).sum()), int((ended >= 0).sum())
    return Throughput(
        bucket_s=bucket_s,
        buckets=buckets,
        arrived=total,
        ended=over,
        arrived_per_hour=total / hours if hours else None,
        ended_per_hour=over / hours if hours else None,
        waits=_waits(runs.queue_wait_s[began >= 0]),
        waits_trend=direction(usual[-_TREND_BUCKETS:]),
        success=success_rate(sum(completed), sum(failed)),
    )


#: The slope is of all pairs.
_TREND_BUCKETS = 200


def arrivals_s(runs: Runs, open_arrived_s: Floats = NONE_OPEN) -> Floats:
    """When each came, those that are over first: as long before it began as it is known to wait."""
    waited_s = np.maximum(runs.queue_wait_s, 0.0)
    over_s = runs.started_at_s - np.where(np.isfinite(waited_s), waited_s, 0.0)
    return np.concatenate([over_s, open_arrived_s])


def success_rate(completed: int, failed: int) -> Rate | None:
    """The share that completed, with Wilson's interval; ``None`` of none."""
    runs = completed + failed
    if not runs:
        return None
    low, high = wilson(completed, runs)
    return Rate(value=completed / runs, low=low, high=high, runs=runs)


def _counts(places: Ints, which: Mask, count: int) -> list[int]:
    """How many of some are in each bucket; -1 is none."""
    found = places[which & (places >= 0)]
    return np.bincount(found, minlength=count)[:count].tolist() if count else []


def _waits_in(waited_s: Floats, places: Ints, count: int) -> list[Waits | None]:
    """Those of each bucket."""
    order = np.argsort(places, kind="stable")
    bounds = np.searchsorted(places[order], np.arange(count + 1))
    return [_waits(waited_s[order[first:last]]) for first, last in pairwise(bounds.tolist())]


def _waits(waited_s: Floats) -> Waits | None:
    known_s = waited_s[np.isfinite(waited_s)]
    if not known_s.size:
        return None
    usual_s, p90_s, p99_s = np.quantile(known_s, [0.5, 0.9, 0.99]).tolist()
    return Waits(runs=int(known_s.size), usual_s=usual_s, p90_s=p90_s, p99_s=p99_s)
