"""When a job that waits will begin, and how busy the whole is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapreplace

from fiveobs.monitor.store.rows import WorkerRow
from fiveobs.monitor.tracking.estimates import Estimate, estimate
from fiveobs.monitor.tracking.human import US, number
from fiveobs.monitor.tracking.models.base import EstimateModel
from fiveobs.monitor.tracking.models.batch import SystemHealth
from fiveobs.monitor.tracking.tracked import Tracked

__all__ = ["ALIVE_S", "QueueEstimate", "begins_s", "queue_estimate", "rests_of", "system_health"]

#: A worker that gave a sign of life within so many seconds is taken to be alive.
ALIVE_S = 30
#: Jobs that wait for each one that runs: up to the first the queue is Good, to the second Fair.
_GOOD_BACKLOG, _FAIR_BACKLOG = 2.0, 10.0
#: Load in percent below which availability is High, and below which it is Medium.
_LIGHT_LOAD, _HEAVY_LOAD = 50, 85


@dataclass(frozen=True, kw_only=True)
class QueueEstimate:
    """A waiting job's place, and when it is expected to begin and to end."""

    #: From 1.
    position: int | None
    start_us: int | None
    completion_us: int | None
    estimate: EstimateModel | None


def rests_of(running: Iterable[Tracked] | None) -> list[Estimate] | None:
    """What is left of each job of a queue that runs; ``None`` where one's rest is not known.

    Args:
        running: The jobs; ``None`` if they are too many to look at.
    """
    lefts = [estimate(each) for each in running or ()]
    known = [each for each in lefts if each is not None]
    return known if known and len(known) == len(lefts) else None


def queue_estimate(
    tracked: Tracked, position: int | None, rests: Sequence[Estimate] | None
) -> QueueEstimate:
    """When a job that waits will begin.

    Each job that runs makes room when what is left of it is over; then the first that waits takes
    its place, for as long as jobs like this one usually take. ``None`` where nothing runs, where
    the rest of one that does is not known, or where no past of this one is.

    Args:
        tracked: The job.
        position: Its place in the queue, from 1.
        rests: What is left of each job of its queue that runs; ``None`` if that is not known.
    """
    usual = tracked.history.usual
    if position is None or usual is None or not rests:
        return QueueEstimate(position=position, start_us=None, completion_us=None, estimate=None)
    low_s, usual_s, high_s, runs = usual
    start_us = tracked.now_us + round(
        US * begins_s(position, [each.remaining_s for each in rests], usual_s)
    )
    lows = [each.low_s for each in rests if each.low_s is not None]
    highs = [each.high_s for each in rests if each.high_s is not None]
    has_range = len(lows) == len(highs) == len(rests)
    return QueueEstimate(
        position=position,
        start_us=start_us,
        completion_us=start_us + round(usual_s * US),
        estimate=EstimateModel(
            method="queue",
            low_seconds=number(begins_s(position, lows, low_s) + low_s) if has_range else None,
            high_seconds=number(begins_s(position, highs, high_s) + high_s) if has_range else None,
            runs=runs,
        ),
    )


def begins_s(position: int, rests_s: Sequence[float], turn_s: float) -> float:
    """In how many seconds the one at a place begins.

    Args:
        position: From 1.
        rests_s: How long each of those that run still takes, one at least.
        turn_s: How long each of those that wait will take.
    """
    places = len(rests_s)
    if turn_s <= 0:
        return min(rests_s)
    # Once all that run now are over, each turn begins as many as there are places.
    last_s = max(rests_s)
    before = sum(int((last_s - rest_s) / turn_s) + 1 for rest_s in rests_s)
    turns = max(position - before, 0) // places
    free_s = sorted(rests_s)
    for _ in range(position - turns * places - 1):
        heapreplace(free_s, free_s[0] + turn_s)
    return free_s[0] + turns * turn_s


def system_health(workers: Sequence[WorkerRow], queued: int) -> SystemHealth:
    """How busy a project's workers are.

    Args:
        workers: Those that are alive.
        queued: How many jobs wait.
    """
    running = sum(worker.active_jobs or 0 for worker in workers)
    load = _load(workers)
    capacity = _capacity(workers, running, load)
    return SystemHealth(
        overall_load=number(load, 0),
        queue_health=_queue_health(queued, running, len(workers)),
        resource_availability=_availability(load),
        estimated_capacity=_jobs(capacity),
        estimated_capacity_jobs=capacity,
        live_workers=len(workers),
        running_jobs=running,
        queued_jobs=queued,
    )


def _load(workers: Sequence[WorkerRow]) -> float | None:
    """The fullest of what there is: CPU over all workers, or memory of one of their machines."""
    shares = [
        100 * worker.memory_used_bytes / worker.memory_limit_bytes
        for worker in workers
        if worker.memory_used_bytes is not None and worker.memory_limit_bytes
    ]
    # Workers of one machine share its CPUs.
    machines: dict[str | None, list[float]] = {}
    for worker in workers:
        if worker.cpu_percent is not None and worker.cpu_count:
            share = worker.cpu_percent / worker.cpu_count
            machines.setdefault(worker.machine_id, []).append(share)
    shares += [min(sum(each), 100.0) for each in machines.values()]
    return max(shares, default=None)


def _capacity(workers: Sequence[WorkerRow], running: int, load: float | None) -> int | None:
    """How many more jobs like those that run would fill what is left; unknown with none running."""
    if not workers or load is None or not running or load <= 0:
        return None
    return int(running * max(100 - load, 0) / load)


def _jobs(capacity: int | None) -> str | None:
    if capacity is None:
        return None
    return f"{capacity} additional job{'' if capacity == 1 else 's'}"


def _queue_health(queued: int, running: int, workers: int) -> str:
    if queued and not workers:
        return "Poor"
    backlog = queued / max(running, 1)
    if backlog <= _GOOD_BACKLOG:
        return "Good"
    return "Fair" if backlog <= _FAIR_BACKLOG else "Poor"


def _availability(load: float | None) -> str | None:
    if load is None:
        return None
    if load < _LIGHT_LOAD:
        return "High"
    return "Medium" if load < _HEAVY_LOAD else "Low"
