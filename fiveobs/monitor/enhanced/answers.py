"""Executions, steps and logs as the enhanced-monitoring API shows them, made from rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fiveobs.monitor.enhanced.models import ExecutionLog, StepExecution, WorkflowExecution
from fiveobs.monitor.store.rows import EventRow, StageRow
from fiveobs.monitor.tracking.human import US, Number, as_time, number
from fiveobs.monitor.tracking.logs import level_word
from fiveobs.monitor.tracking.said import details_of
from fiveobs.monitor.tracking.tracked import Tracked

__all__ = ["COUNTED", "execution_log", "step_executions", "workflow_execution"]

#: What only the job itself can count.
COUNTED = ("io_operations", "network_requests")
_WARNING = "WARNING"

Values = Mapping[str, float | None]


def workflow_execution(tracked: Tracked, values: Values) -> WorkflowExecution:
    """A job.

    Args:
        tracked: The job, with its stages.
        values: What it has measured, by name.
    """
    job, attempt, stages = tracked.job, tracked.attempt, tracked.stages
    took_s, cpu_s = tracked.elapsed_s, attempt.cpu_s if attempt is not None else None
    return WorkflowExecution(
        execution_id=job.job_id,
        workflow_id=job.job_name,
        service=job.service,
        status=tracked.status,
        created_at=as_time(job.created_at_us) or "",
        started_at=as_time(job.started_at_us),
        completed_at=as_time(job.ended_at_us),
        execution_time=number(took_s, 6),
        step_count=len(tracked.all_stages),
        success_count=sum(row.status == "completed" for row in stages),
        failure_count=sum(row.status == "failed" for row in stages),
        retry_count=job.attempt - 1,
        memory_usage=_most([tracked.memory_bytes, *(row.memory_rss_bytes for row in stages)]),
        cpu_time=number(cpu_s, 6),
        cpu_usage=_share(cpu_s, took_s),
        io_read_bytes=_sum(row.io_read_bytes for row in stages),
        io_write_bytes=_sum(row.io_write_bytes for row in stages),
        io_operations=number(values.get("io_operations")),
        network_receive_bytes=_sum(row.network_receive_bytes for row in stages),
        network_transmit_bytes=_sum(row.network_transmit_bytes for row in stages),
        network_requests=number(values.get("network_requests")),
        error_type=attempt.error_type if attempt is not None else None,
        error_message=attempt.error_message if attempt is not None else None,
    )


def step_executions(tracked: Tracked, values: Values) -> list[StepExecution]:
    """The stages of a job that have begun, in their order; as `workflow_execution`."""
    return [
        _step(tracked, stage.row, stage.order, stage.status, values)
        for stage in tracked.all_stages
        if stage.row is not None
    ]


def _step(
    tracked: Tracked, row: StageRow, order: int, status: str, values: Values
) -> StepExecution:
    took_s = _took_s(tracked, row)
    return StepExecution(
        step_id=f"{tracked.job.job_id}#{order}",
        execution_id=tracked.job.job_id,
        workflow_id=tracked.job.job_name,
        service=tracked.job.service,
        step_name=row.stage,
        step_order=order,
        status=status,
        started_at=as_time(row.started_at_us),
        completed_at=as_time(row.ended_at_us),
        execution_time=number(took_s, 6),
        retry_count=tracked.job.attempt - 1,
        memory_usage=row.memory_rss_bytes,
        cpu_time=number(row.cpu_s, 6),
        cpu_usage=_share(row.cpu_s, took_s),
        io_read_bytes=row.io_read_bytes,
        io_write_bytes=row.io_write_bytes,
        io_operations=number(values.get(f"{row.stage}.io_operations")),
        network_receive_bytes=row.network_receive_bytes,
        network_transmit_bytes=row.network_transmit_bytes,
        network_requests=number(values.get(f"{row.stage}.network_requests")),
        records_processed=number(row.done),
        unit=row.unit,
        error_type=row.error_type,
        error_message=row.error_message,
    )


def execution_log(tracked: Tracked, event: EventRow) -> ExecutionLog:
    """An event or a log line."""
    said = details_of(event)
    stage, word = said.get("stage"), level_word(event.level)
    return ExecutionLog(
        log_id=event.event_id,
        execution_id=tracked.job.job_id,
        step_name=stage if isinstance(stage, str) else tracked.stage_at(event.at_us),
        timestamp=as_time(event.at_us) or "",
        level=_WARNING if word == "WARN" else word,
        message=event.message,
        event_type=event.event_type,
        metadata=said,
    )


def _took_s(tracked: Tracked, row: StageRow) -> float | None:
    if row.ended_at_us is not None and row.duration_s is not None:
        return row.duration_s
    if row.started_at_us is None:
        return None
    return max((row.ended_at_us or tracked.until_us) - row.started_at_us, 0) / US


def _share(cpu_s: float | None, took_s: float | None) -> Number | None:
    return number(100 * cpu_s / took_s, 1) if cpu_s is not None and took_s else None


def _sum(figures: Iterable[int | None]) -> int | None:
    known = [each for each in figures if each is not None]
    return sum(known) if known else None


def _most(figures: Iterable[int | None]) -> int | None:
    return max((each for each in figures if each is not None), default=None)
