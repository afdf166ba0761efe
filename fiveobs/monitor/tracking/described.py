"""The details of a timeline's events: what they say, in the API's words, and what is added to it.

Names of fiveobs are in camel case, those that a job gave are as it gave them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic.alias_generators import to_camel

from fiveobs.monitor.store.rows import EventRow, WorkerRow
from fiveobs.monitor.tracking.history import Spread
from fiveobs.monitor.tracking.human import duration, duration_range, number, size
from fiveobs.monitor.tracking.said import details_of, operation_of
from fiveobs.monitor.tracking.tracked import Tracked, plain

__all__ = ["OWN_NAMES", "Known", "described"]

Details: TypeAlias = dict[str, Any]

#: Names of two words and more that events of fiveobs have.
OWN_NAMES = frozenset(
    {
        *("cpu_s", "delay_s", "duration_s", "eta_s", "queue_wait_s", "rate_per_s"),
        *("depends_on", "from_state", "to_state", "is_certain", "last_seen_at", "next_attempt"),
        *("input_size_bytes", "output_size_bytes", "memory_rss_bytes", "memory_growth_bytes"),
        *("io_read_bytes", "io_write_bytes", "network_receive_bytes", "network_transmit_bytes"),
        *("exit_code", "lost_machine_id", "lost_pid", "lost_worker_id", "seen_for_s"),
        *("sentry_event_id", "resource_type", "resource_id", "resource_name", "last_modified"),
        *("rule_id", "firing_id", "started_job_id"),
    }
)
#: Events whose details a job's code names.
_WORDS_OF_JOBS = frozenset({"log", "job.milestone"})


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known beside the events."""

    #: The workers that began an attempt, by key.
    workers: Mapping[int, WorkerRow] = field(default_factory=dict)
    #: What the last attempt measured, by name.
    values: Mapping[str, float | None] = field(default_factory=dict)


def described(tracked: Tracked, event: EventRow, known: Known) -> Details:
    """What an event tells."""
    details = details_of(event)
    describe = _DESCRIBED.get(event.event_type)
    added = describe(tracked, event, details, known) if describe is not None else {}
    for name in ("input_size_bytes", "output_size_bytes"):
        if (size_bytes := plain(details.get(name))) is not None:
            added[_camel(name.removesuffix("_bytes"))] = size(size_bytes)
    if event.event_type not in _WORDS_OF_JOBS:
        details = {_camel(each) if each in OWN_NAMES else each: v for each, v in details.items()}
    return {**details, **added}


def _camel(name: str) -> str:
    """A field of the journal in the API's words: ``eta_s`` is ``etaSeconds``."""
    if name.endswith("_per_s"):
        return to_camel(f"{name}econd")
    return to_camel(f"{name}econds" if name.endswith("_s") else name)


# --- what is added -----------------------------------------------------------------------------


def _job_started(tracked: Tracked, event: EventRow, details: Details, known: Known) -> Details:
    # What has no span is a connector's, which does not run the job.
    key = event.worker_key if event.span_id is not None else None
    worker = known.workers.get(key or 0)
    memory = worker.memory_limit_bytes if worker is not None else None
    return {
        "submittedBy": tracked.job.submitted_by,
        "priority": tracked.job.priority,
        **_usual("estimatedDuration", tracked.history.usual),
        "resourcesAllocated": {
            "cpuUnits": number(worker.cpu_count) if worker is not None else None,
            "memoryGB": number(memory / 1024**3) if memory is not None else None,
            "workerNode": worker.machine_id if worker is not None else None,
        },
    }


def _job_ended(tracked: Tracked, event: EventRow, details: Details, known: Known) -> Details:
    return _actual(details)


def _stage_started(tracked: Tracked, event: EventRow, details: Details, known: Known) -> Details:
    name = str(details.pop("stage", ""))
    expected = _usual("expectedDuration", tracked.history.stage_usual(name))
    found: Details = {**_attributes(details), "stageName": name, **expected}
    total = plain(details.pop("total", None))
    if total is not None:
        found["recordCount"] = number(total)
    return found


def _stage_ended(tracked: Tracked, event: EventRow, details: Details, known: Known) -> Details:
    name = str(details.pop("stage", ""))
    found: Details = {"stageName": name, **_actual(details)}
    done = plain(details.pop("done", None))
    if done:
        found["recordsProcessed"] = number(done)
    measured = {}
    if event.attempt == tracked.job.attempt:
        prefix = f"{name}."
        measured = {
            each.removeprefix(prefix): number(value, 6)
            for each, value in known.values.items()
            if each.startswith(prefix)
        }
    return {**_attributes(details), **measured, **found}


def _progress(tracked: Tracked, event: EventRow, details: Details, known: Known) -> Details:
    found: Details = {}
    operation = operation_of(event, details, tracked.job.job_name)
    details.pop("operation", None)
    if "stage" in details:
        found["stageName"] = details.pop("stage")
    found["progress"] = number(plain(details.pop("percent", None)), 1)
    found["currentOperation"] = operation
    done, total = plain(details.pop("done", None)), plain(details.pop("total", None))
    if done is not None:
        found["recordsProcessed"] = number(done)
        if total is not None:
            found["remainingRecords"] = number(max(total - done, 0))
    return {**_attributes(details), **found}


_Describe: TypeAlias = Callable[[Tracked, EventRow, Details, Known], Details]
_DESCRIBED: Mapping[str, _Describe] = {
    "job.started": _job_started,
    "job.progress": _progress,
    **dict.fromkeys(
        (f"job.{each}" for each in ("completed", "failed", "stopped", "cancelled", "interrupted")),
        _job_ended,
    ),
    "stage.started": _stage_started,
    "stage.progress": _progress,
    "stage.completed": _stage_ended,
    "stage.failed": _stage_ended,
}


def _actual(details: Details) -> Details:
    took_s = plain(details.pop("duration_s", None))
    return {"actualDuration": duration(took_s), "actualDurationSeconds": number(took_s, 6)}


def _attributes(details: Details) -> Details:
    """What a stage's code attached to it, under names of its own."""
    found = details.pop("attributes", None)
    return found if isinstance(found, dict) else {}


def _usual(name: str, took: Spread | None) -> Details:
    """From what to what past runs took, as text and in seconds."""
    if took is None:
        return {name: None}
    return {
        name: duration_range(took.low_s, took.high_s),
        f"{name}LowSeconds": number(took.low_s, 3),
        f"{name}HighSeconds": number(took.high_s, 3),
    }
