"""How far a job is, stage by stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fiveobs.monitor.store.rows import EventRow, MeasureRow, SpanRow
from fiveobs.monitor.tracking.estimates import Estimate, StagePlan, estimate, plan_stages
from fiveobs.monitor.tracking.human import as_time, duration, number, rate, size
from fiveobs.monitor.tracking.logs import completion_us, estimate_model
from fiveobs.monitor.tracking.models.progress import (
    CurrentActivity,
    OverallProgress,
    ProgressAnswer,
    QualityMetrics,
    ResourceUsage,
    StageProgress,
)
from fiveobs.monitor.tracking.queueing import QueueEstimate
from fiveobs.monitor.tracking.said import details_of, operation_of
from fiveobs.monitor.tracking.tracked import StageState, Tracked, parsed, plain

__all__ = ["ACTIVITY_TYPES", "added", "network_moved", "progress_answer", "sums"]

#: Events whose message says what a job is doing.
ACTIVITY_TYPES = ("job.progress", "job.milestone", "stage.started", "stage.progress", "log")
#: Names under which jobs measure quality: a gauge or a result, and two counters or results.
_SCORE, _PASSED, _FAILED = "data_quality_score", "validations.passed", "validations.failed"


def progress_answer(
    tracked: Tracked,
    *,
    measures: Iterable[MeasureRow],
    activity: Sequence[EventRow],
    queued: QueueEstimate | None,
    span: SpanRow | None,
) -> ProgressAnswer:
    """How far a job is.

    Args:
        tracked: The job.
        measures: What it measured.
        activity: Its last events that may say what it is doing, the oldest first.
        queued: Its place in the queue, if it waits.
        span: What its worker's heartbeats say of the time in which it ran.
    """
    left = estimate(tracked)
    plan = {each.stage.order: each for each in plan_stages(tracked, left)}
    values = sums(measures)
    return ProgressAnswer(
        job_id=tracked.job.job_id,
        job_name=tracked.job.job_name,
        status=tracked.status,
        overall_progress=_overall(tracked, left, queued),
        stages=[_stage(tracked, each, plan, values) for each in tracked.all_stages],
        current_activity=_activity(tracked, activity),
        resource_usage=_usage(tracked, span),
        quality_metrics=_quality(tracked, values),
    )


def sums(measures: Iterable[MeasureRow]) -> dict[str, float | None]:
    """The value of each measure: counters as their sum, gauges and records as the last."""
    return {row.name: row.total if row.kind == "counter" else row.last for row in measures}


def _overall(
    tracked: Tracked, left: Estimate | None, queued: QueueEstimate | None
) -> OverallProgress:
    remaining_s = left.remaining_s if left is not None else None
    completion = completion_us(tracked, left)
    if queued is not None:
        completion, estimate_of = queued.completion_us, queued.estimate
    else:
        estimate_of = estimate_model(left)
    return OverallProgress(
        percentage=number(tracked.percent, 1),
        start_time=as_time(tracked.job.started_at_us),
        elapsed_time=duration(tracked.elapsed_s),
        elapsed_time_seconds=number(tracked.elapsed_s, 3),
        estimated_remaining=duration(remaining_s),
        estimated_remaining_seconds=number(remaining_s),
        estimated_completion=as_time(completion),
        estimate=estimate_of,
        end_time=as_time(tracked.job.ended_at_us),
        queue_position=queued.position if queued is not None else None,
        estimated_start_time=as_time(queued.start_us) if queued is not None else None,
    )


def _stage(
    tracked: Tracked,
    stage: StageState,
    plan: Mapping[int, StagePlan],
    values: Mapping[str, float | None],
) -> StageProgress:
    row, planned = stage.row, plan.get(stage.order)
    if row is None:
        return StageProgress(
            stage_name=stage.name,
            stage_order=stage.order,
            status=stage.status,
            progress=0,
            estimated_start_time=as_time(planned.start_us) if planned else None,
            estimated_end_time=as_time(planned.end_us) if planned else None,
        )
    has_counted = bool(row.done) or row.total is not None
    return StageProgress(
        stage_name=stage.name,
        stage_order=stage.order,
        status=stage.status,
        progress=number(tracked.percent_of(row), 1),
        start_time=as_time(row.started_at_us),
        end_time=as_time(row.ended_at_us),
        duration=duration(row.duration_s) if row.ended_at_us else None,
        duration_seconds=number(row.duration_s, 3) if row.ended_at_us else None,
        estimated_end_time=as_time(planned.end_us) if planned else None,
        records_processed=number(row.done) if has_counted else None,
        total_records=number(row.total),
        unit=row.unit if row.unit != "records" else None,
        metrics=_stage_metrics(stage, values),
    )


def _stage_metrics(stage: StageState, values: Mapping[str, float | None]) -> dict[str, Any]:
    """What is known of a stage, and what its job measured under the stage's name."""
    row = stage.row
    assert row is not None  # noqa: S101 - asked for stages that have begun only
    known: dict[str, Any] = {
        "throughput": rate(row.rate_per_s, row.unit) if row.done else None,
        "throughputPerSecond": number(row.rate_per_s) if row.done else None,
        "cpuSeconds": number(row.cpu_s, 3),
        "memory": size(row.memory_rss_bytes),
        "memoryBytes": row.memory_rss_bytes,
        "diskReadBytes": row.io_read_bytes,
        "diskWriteBytes": row.io_write_bytes,
        "networkReceiveBytes": row.network_receive_bytes,
        "networkTransmitBytes": row.network_transmit_bytes,
        "error": row.error_message,
    }
    prefix = f"{stage.name}."
    own = {
        name.removeprefix(prefix): number(value, 6)
        for name, value in values.items()
        if name.startswith(prefix)
    }
    known = {name: value for name, value in known.items() if value is not None}
    return {**(parsed(row.attributes) or {}), **own, **known}


def _activity(tracked: Tracked, events: Sequence[EventRow]) -> CurrentActivity | None:
    if tracked.is_ended or not events:
        return None
    event = _telling(tracked, events)
    said = details_of(event)
    operation = said.get("operation")
    details = said.get("details")
    component = said.get("component") or said.get("logger") or tracked.job.service
    current = tracked.current
    return CurrentActivity(
        component=str(component) or None,
        operation=str(operation) if operation else event.message,
        details=str(details) if details else (current.stage if current is not None else None),
    )


def _telling(tracked: Tracked, events: Sequence[EventRow]) -> EventRow:
    """The last one of the running stage that says more than that it goes on, or else the last."""
    current = tracked.current
    since_us = (current.started_at_us if current is not None else None) or 0
    for event in reversed(events):
        is_now = event.at_us >= since_us and event.attempt == tracked.job.attempt
        if is_now and operation_of(event, details_of(event), tracked.job.job_name):
            return event
    return events[-1]


def _usage(tracked: Tracked, span: SpanRow | None) -> ResourceUsage:
    worker = tracked.worker
    limit = worker.memory_limit_bytes if worker is not None else None
    disk = added(*((row.io_read_bytes, row.io_write_bytes) for row in tracked.stages))
    network = added(network_moved(tracked, span))
    return ResourceUsage(
        memory_usage=size(tracked.memory_bytes),
        memory_usage_bytes=tracked.memory_bytes,
        memory_limit=size(limit),
        memory_limit_bytes=limit,
        cpu_usage=number(tracked.cpu_usage, 1),
        disk_usage=size(disk),
        disk_usage_bytes=disk,
        network_io=size(network),
        network_io_bytes=network,
        processing_rate=rate(tracked.rate_per_s, tracked.unit),
        processing_rate_per_second=number(tracked.rate_per_s),
    )


def network_moved(tracked: Tracked, span: SpanRow | None) -> tuple[int | None, int | None]:
    """Bytes received and sent while its ended stages ran, or else between its heartbeats."""
    received = added([row.network_receive_bytes for row in tracked.stages])
    sent = added([row.network_transmit_bytes for row in tracked.stages])
    if received is None and sent is None and span is not None:
        return span.network_receive_bytes, span.network_transmit_bytes
    return received, sent


def added(*figures: Iterable[int | None]) -> int | None:
    """The sum of those that are known; ``None`` if none is."""
    known = [value for each in figures for value in each if value is not None]
    return sum(known) if known else None


def _quality(tracked: Tracked, values: Mapping[str, float | None]) -> QualityMetrics:
    def recorded(name: str) -> float | None:
        value = values.get(name)
        if value is None:
            value = plain(tracked.result.get(name.replace(".", "_")))
        return value

    return QualityMetrics(
        data_quality_score=number(recorded(_SCORE)),
        validations_passed=number(recorded(_PASSED)),
        validations_failed=number(recorded(_FAILED)),
        warnings_generated=tracked.attempt.warning_entries if tracked.attempt is not None else 0,
        errors_encountered=tracked.errors,
    )
