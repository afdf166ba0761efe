"""A job's log entries: every event of the job, log lines included."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import orjson

from fiveobs.monitor.store.rows import EntryCounts, EventRow
from fiveobs.monitor.tracking.estimates import Estimate, estimate
from fiveobs.monitor.tracking.human import US, as_time, number, rate, size
from fiveobs.monitor.tracking.models.base import EstimateModel
from fiveobs.monitor.tracking.models.logs import (
    ExecutionMetrics,
    LogEntry,
    LogsAnswer,
    LogsSummary,
    TimeRange,
)
from fiveobs.monitor.tracking.said import details_of, in_time
from fiveobs.monitor.tracking.tracked import Tracked

__all__ = [
    "LEVELS",
    "completion_us",
    "estimate_model",
    "level_word",
    "logs_answer",
    "raw_logs",
]

#: The levels that can be asked for, and the least of the store's levels that each means.
LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40}
#: What retention takes of a log.
_PARTS = ("logs", "error_logs")


def level_word(level: int) -> str:
    """The API's word for a level of the store."""
    return next((word for word, least in reversed(LEVELS.items()) if level >= least), "DEBUG")


def logs_answer(
    tracked: Tracked,
    events: Iterable[EventRow],
    counts: EntryCounts,
    covered: TimeRange | None,
    expired: Collection[str] = (),
) -> LogsAnswer:
    """The answer in its structured form.

    Args:
        tracked: The job.
        events: Those to show, in order.
        counts: Of all that there are in the time asked for.
        covered: That time; ``None`` means the job's own.
        expired: The parts of the job that retention has taken.
    """
    return LogsAnswer(
        job_id=tracked.job.job_id,
        job_name=tracked.job.job_name,
        job_status=tracked.status,
        logs_summary=_summary(tracked, counts, covered),
        logs=[_entry(tracked, event) for event in in_time(events)],
        execution_metrics=_metrics(tracked),
        expired=[each for each in _PARTS if each in expired] or None,
    )


def raw_logs(tracked: Tracked, events: Sequence[EventRow]) -> Iterator[bytes]:
    """One line of text for each entry: time, level, component, stage, message, details as JSON."""
    for event in in_time(events):
        entry = _entry(tracked, event)
        head = f"{entry.timestamp} {entry.level} {entry.component or '-'} [{entry.stage or '-'}]"
        message = entry.message.replace("\r", "\\r").replace("\n", "\\n")
        yield f"{head} {message} ".encode() + orjson.dumps(entry.details) + b"\n"


def _entry(tracked: Tracked, event: EventRow) -> LogEntry:
    details = details_of(event)
    stage = details.get("stage")
    component = details.pop("component", None) or details.pop("logger", None)
    return LogEntry(
        timestamp=as_time(event.at_us) or "",
        level=level_word(event.level),
        component=str(component or tracked.job.service) or None,
        stage=stage if isinstance(stage, str) else tracked.stage_at(event.at_us),
        message=event.message,
        details=details,
        event_type=event.event_type,
        event_id=event.event_id,
        attempt=event.attempt,
    )


def _summary(tracked: Tracked, counts: EntryCounts, covered: TimeRange | None) -> LogsSummary:
    job = tracked.job
    if covered is None:
        covered = TimeRange(
            start_time=as_time(job.created_at_us), end_time=as_time(job.updated_at_us)
        )
    return LogsSummary(
        total_entries=counts.debug + counts.info + counts.warning + counts.error,
        debug_entries=counts.debug,
        info_entries=counts.info,
        warn_entries=counts.warning,
        error_entries=counts.error,
        time_range=covered,
    )


def _metrics(tracked: Tracked) -> ExecutionMetrics:
    left = estimate(tracked)
    current = tracked.current
    return ExecutionMetrics(
        current_stage=current.stage if current is not None else None,
        stage_progress=number(tracked.percent_of(current), 1) if current is not None else None,
        overall_progress=number(tracked.percent, 1),
        processing_rate=rate(tracked.rate_per_s, tracked.unit),
        processing_rate_per_second=number(tracked.rate_per_s),
        memory_usage=size(tracked.memory_bytes),
        memory_usage_bytes=tracked.memory_bytes,
        cpu_usage=number(tracked.cpu_usage, 1),
        estimated_completion=as_time(completion_us(tracked, left)),
        estimate=estimate_model(left),
    )


def completion_us(tracked: Tracked, left: Estimate | None) -> int | None:
    """When the job is expected to end."""
    return None if left is None else tracked.now_us + round(left.remaining_s * US)


def estimate_model(left: Estimate | None) -> EstimateModel | None:
    """What an estimate rests on, as answers show it."""
    if left is None:
        return None
    return EstimateModel(
        method=left.method,
        low_seconds=number(left.low_s),
        high_seconds=number(left.high_s),
        runs=left.runs,
    )
