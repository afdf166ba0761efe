"""When a job that waits will begin, and how busy the whole is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fiveobs.monitor.store.rows import Backlog, WorkerRow
from fiveobs.monitor.tracking.estimates import to_come_s
from fiveobs.monitor.tracking.human import US, number
from fiveobs.monitor.tracking.models.base import EstimateModel
from fiveobs.monitor.tracking.models.batch import SystemHealth
from fiveobs.monitor.tracking.tracked import Tracked

__all__ = ["ALIVE_S", "QueueEstimate", "queue_estimate", "system_health"]

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


def queue_estimate(
    tracked: Tracked, position: int | None, backlog: Backlog | None
) -> QueueEstimate:
    """When a job that waits will begin.

    With ``r`` jobs of its queue running at once, each usually taking ``d`` seconds, the one at
    place ``p`` begins in ``p * d / r`` seconds. ``None`` where nothing runs or no past is known.

    Args:
        tracked: The job.
        position: Its place in the queue, from 1.
        backlog: How many jobs of its queue wait and run.
    """
    usual = to_come_s(tracked.history)
    if position is None or backlog is None or usual is None or not backlog.running:
        return QueueEstimate(position=position, start_us=None, completion_us=None, estimate=None)
    low_s, usual_s, high_s = usual
    turns = position / backlog.running
    start_us = tracked.now_us + round(turns * usual_s * US)
    return QueueEstimate(
        position=position,
        start_us=start_us,
        completion_us=start_us + round(usual_s * US),
        estimate=EstimateModel(
            method="queue",
            low_seconds=number((turns + 1) * low_s),
            high_seconds=number((turns + 1) * high_s),
            runs=len(tracked.history.runs),
        ),
    )


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
        queue_health=_queue_health(queued, running),
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


def _queue_health(queued: int, running: int) -> str:
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
