"""What is said of a worker, a machine, a service and a job, made of what is known of them: pure.

The words are those of `docs/reference/state.md`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = [
    "FORGOTTEN_S",
    "FULL",
    "OPEN",
    "SILENT_S",
    "Failures",
    "JobNow",
    "Observed",
    "Process",
    "job_observed",
    "machine_observed",
    "process_health",
    "service_observed",
    "worker_observed",
]

#: A worker that was not heard of for longer is silent: three heartbeats, and a margin.
SILENT_S = 20.0
#: One that has nothing open and is silent for longer has ended.
FORGOTTEN_S = 300.0
#: One of which a job is lost has ended if it is silent for longer: two heartbeats.
_LOST_S = 10.0
#: What has begun and not ended.
OPEN = frozenset({"running", "paused"})
_ENDED = frozenset({"completed", "failed", "stopped", "cancelled", "interrupted"})
#: Ids that are named in one state; beside them stands how many there are.
_MOST_NAMED = 100
#: Share of the container's or machine's memory from which on it is full, as for lost jobs.
FULL = 0.95
#: A service is degraded if of its jobs that ended lately so many, and this share, failed.
_LEAST_FAILED, _FAILED_SHARE = 5, 0.5
#: From what is best to what is worst.
_SERVICE_HEALTH = ("ok", "degraded", "down")
#: What a service says of itself, in the words of ``service.health_changed``.
_SAID: Mapping[str, str] = {
    **dict.fromkeys(("healthy", "ok", "up", "recovered"), "ok"),
    **dict.fromkeys(("degraded", "warning", "slow"), "degraded"),
    **dict.fromkeys(("unhealthy", "down", "critical", "failing", "unavailable"), "down"),
}


class Observed(NamedTuple):
    """What is observed of an entity."""

    health: str
    #: What else is; JSON values, in the names of the API.
    state: Mapping[str, Any]
    #: Its last sign of life, in microseconds since 1970.
    seen_at_us: int | None
    #: Nothing more is to come of it.
    is_over: bool = False


class Process(NamedTuple):
    """A process of a worker."""

    worker_id: str
    machine_id: str | None
    service: str | None
    seen_at_us: int | None
    #: ``alive``, ``stuck``, ``silent`` or ``ended``.
    health: str
    job_ids: tuple[str, ...] = ()
    is_memory_full: bool = False

    @property
    def is_there(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return self.health != "ended"


class Failures(NamedTuple):
    """How the jobs of a service ended lately."""

    failed: int
    ended: int

    @property
    def is_bad(self) -> bool:
        """Whether too many failed."""
        return self.failed >= _LEAST_FAILED and self.failed >= _FAILED_SHARE * self.ended


class JobNow(NamedTuple):
    """A job as the store has it, with its present attempt and the worker of that."""

    job_key: int
    project_key: int
    job_id: str
    status: str
    attempt: int
    service: str
    job_name: str
    #: Of the present run.
    span_id: str | None
    worker_key: int | None
    worker_id: str | None
    machine_id: str | None
    alive_at_us: int | None
    lost_cause: str | None


# --- workers -----------------------------------------------------------------------------------


def process_health(
    *,
    silent_s: float,
    has_stopped: bool,
    has_lost: bool,
    has_open: bool,
    has_stuck: bool,
) -> str:
    """How a process is.

    Args:
        silent_s: Since when nothing was heard of it, in seconds.
        has_stopped: It said that it ends.
        has_lost: A job of it was concluded to be lost, and is so still.
        has_open: Something that it began has not ended.
        has_stuck: A job of it makes no progress.
    """
    is_dead = has_lost and silent_s > _LOST_S
    if has_stopped or is_dead or (silent_s > FORGOTTEN_S and not has_open):
        return "ended"
    if silent_s > SILENT_S:
        return "silent"
    return "stuck" if has_stuck else "alive"


def worker_observed(processes: Sequence[Process]) -> Observed:
    """A worker: all processes that go by its id.

    The first of these that one of them is: stuck, alive, silent, ended.
    """
    if not processes:
        return Observed("ended", {}, None, is_over=True)
    found = {each.health for each in processes}
    health = next(each for each in ("stuck", "alive", "silent", "ended") if each in found)
    there = [each for each in processes if each.is_there] or processes[-1:]
    newest = there[-1]
    state = {
        "machineId": newest.machine_id,
        "service": newest.service,
        "processCount": sum(each.is_there for each in processes),
        **_held(there),
    }
    return Observed(health, _known(state), _seen(processes), is_over=health == "ended")


def machine_observed(processes: Sequence[Process]) -> Observed:
    """A machine: all processes that run there."""
    there = [each for each in processes if each.is_there]
    if not there:
        health = "gone"
    elif any(each.is_memory_full and each.health != "silent" for each in there):
        health = "memory_pressure"
    else:
        health = "ok" if all(each.health == "alive" for each in there) else "degraded"
    state = {**_workers(there), **_held(there)}
    return Observed(health, state, _seen(processes), is_over=health == "gone")


def service_observed(
    processes: Sequence[Process],
    failures: Failures,
    reported: Mapping[str, Any] | None = None,
) -> Observed:
    """A service: all processes that belong to it, how their jobs end, and what it says itself.

    Args:
        processes: Which.
        failures: How its jobs ended lately.
        reported: The data of its latest ``service.health_changed``.
    """
    there = [each for each in processes if each.is_there]
    state = {
        **_workers(there),
        **_held(there),
        "reported": reported,
        "failedLately": failures.failed if failures.is_bad else None,
    }
    if not there and (processes or reported is None):
        return Observed("gone", _known(state), _seen(processes), is_over=True)
    said = _SAID.get(str((reported or {}).get("status", "")).lower(), "ok")
    if not there:  # it is known by its own words alone
        return Observed(said, _known(state), None)
    health = max(_of_workers(there, failures), said, key=_SERVICE_HEALTH.index)
    return Observed(health, _known(state), _seen(processes))


def _of_workers(there: Iterable[Process], failures: Failures) -> str:
    found = {each.health for each in there}
    if not found & {"alive", "stuck"}:
        return "down"
    return "ok" if found == {"alive"} and not failures.is_bad else "degraded"


def _workers(processes: Iterable[Process]) -> dict[str, Any]:
    ids = sorted({each.worker_id for each in processes})
    return {"workers": ids[:_MOST_NAMED], "workerCount": len(ids)}


def _held(processes: Iterable[Process]) -> dict[str, Any]:
    ids = sorted({job_id for each in processes for job_id in each.job_ids})
    return {"jobs": ids[:_MOST_NAMED], "jobCount": len(ids)}


def _seen(processes: Iterable[Process]) -> int | None:
    return max((each.seen_at_us for each in processes if each.seen_at_us), default=None)


# --- jobs --------------------------------------------------------------------------------------


def job_observed(
    job: JobNow,
    *,
    worker_health: str | None = None,
    is_stuck: bool = False,
    resources: Collection[Mapping[str, Any]] = (),
) -> Observed:
    """A job.

    Args:
        job: As it is.
        worker_health: How its worker is, if that is known.
        is_stuck: It makes no progress for longer than is usual.
        resources: What it holds.
    """
    is_open = job.status in OPEN
    state = {
        "status": job.status,
        "attempt": job.attempt,
        "runId": job.span_id,
        "jobName": job.job_name or None,
        "service": job.service or None,
        "workerId": job.worker_id if is_open else None,
        "machineId": job.machine_id if is_open else None,
        "resources": sorted(resources, key=lambda each: str(each["resource"])) or None,
        "lostCause": job.lost_cause if job.status == "lost" else None,
    }
    health = _job_health(job.status, worker_health, is_stuck=is_stuck)
    is_over = job.status in _ENDED or job.status == "lost"
    return Observed(health, _known(state), job.alive_at_us, is_over=is_over)


def _job_health(status: str, worker_health: str | None, *, is_stuck: bool) -> str:
    if status in _ENDED:
        return "ended"
    if status == "lost":
        return "lost"
    if status in OPEN and worker_health == "silent":
        return "silent"
    return "stuck" if status == "running" and is_stuck else "ok"


def _known(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if value is not None}
