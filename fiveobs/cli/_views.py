"""Answers of a monitor as tables: many jobs, and one job with all that is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fiveobs.cli._screen import bar, columns, moment, percent, status_text, words

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fiveobs.client.answers import (
        BatchAnswer,
        DependenciesAnswer,
        LogsAnswer,
        MetricsAnswer,
        ProgressAnswer,
        StateAnswer,
        TimelineAnswer,
    )

__all__ = [
    "comparison",
    "dependency_table",
    "entries",
    "head",
    "job_table",
    "stage_table",
    "state_table",
    "summary_line",
    "timeline_table",
    "usage",
]

_LEVEL_STYLES = {"ERROR": "red", "WARN": "yellow", "DEBUG": "dim"}
#: Of what an event tells, so much is shown, in characters.
_MOST_DETAILS = 120


def job_table(answer: BatchAnswer) -> Table:
    """A line for each job."""
    table = columns("job", "id", "status", "", "%", "stage", "started", "done about", "by")
    for job in answer.jobs:
        table.add_row(
            words(job.job_name, "bold"),
            words(job.job_id, "blue"),
            status_text(job.status),
            bar(job.progress),
            percent(job.progress),
            words(job.current_stage),
            moment(job.start_time),
            moment(job.end_time or job.estimated_completion),
            words(job.submitted_by),
        )
    return table


def summary_line(answer: BatchAnswer) -> Text:
    """How many jobs are in which status, and how busy the workers are."""
    counts = [f"{count} {name}" for name, count in answer.summary.raw.items() if count]
    health = answer.system_health
    parts = [", ".join(counts) or "no jobs", f"{health.live_workers} workers"]
    if health.overall_load is not None:
        parts.append(f"load {health.overall_load:.0f}%")
    if answer.not_found:
        parts.append(f"not found: {', '.join(answer.not_found)}")
    return words("; ".join(parts), "dim")


def head(answer: ProgressAnswer) -> RenderableType:
    """What job it is and how far."""
    overall = answer.overall_progress
    title = Text.assemble(
        words(answer.job_name, "bold"), " ", words(answer.job_id, "blue"), " "
    ).append(status_text(answer.status))
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_row(bar(overall.percentage), percent(overall.percentage), words(_times(answer)))
    activity = answer.current_activity
    now = words(activity.operation if activity else None)
    return Group(title, line, now) if activity and activity.operation else Group(title, line)


def _times(answer: ProgressAnswer) -> str:
    overall = answer.overall_progress
    parts = []
    if overall.start_time is not None:
        parts.append(f"since {moment(overall.start_time)}")
    if overall.elapsed_time:
        parts.append(overall.elapsed_time)
    if overall.queue_position is not None:
        parts.append(f"number {overall.queue_position} in the queue")
    if overall.end_time is not None:
        parts.append(f"until {moment(overall.end_time)}")
    elif overall.estimated_remaining:
        parts.append(f"about {overall.estimated_remaining} left{_interval(answer)}")
    return ", ".join(parts)


def _interval(answer: ProgressAnswer) -> str:
    estimate = answer.overall_progress.estimate
    if estimate is None or estimate.low_seconds is None or estimate.high_seconds is None:
        return ""
    between = f"{estimate.low_seconds:.0f} to {estimate.high_seconds:.0f} s"
    return f" ({between}, by {estimate.runs} runs)"


def stage_table(answer: ProgressAnswer) -> Table:
    """A line for each stage."""
    table = columns("stage", "status", "", "%", "took", "records", "until", right=("%", "records"))
    for stage in answer.stages:
        until = stage.end_time or stage.estimated_end_time
        table.add_row(
            words(stage.stage_name, "bold"),
            status_text(stage.status),
            bar(stage.progress),
            percent(stage.progress),
            words(stage.duration),
            words(_records(stage.records_processed, stage.total_records, stage.unit)),
            Text.assemble("" if stage.end_time or until is None else "about ", moment(until)),
        )
    return table


def _records(done: float | None, total: float | None, unit: str | None) -> str | None:
    if done is None:
        return None
    of = f" of {total:,.0f}" if total is not None else ""
    return f"{done:,.0f}{of}{f' {unit}' if unit else ''}"


def usage(answer: ProgressAnswer) -> Table:
    """What the job uses, and what went wrong."""
    used, quality = answer.resource_usage, answer.quality_metrics
    limit = f" of {used.memory_limit}" if used.memory_usage and used.memory_limit else ""
    return _facts(
        {
            "memory": f"{used.memory_usage}{limit}" if used.memory_usage else None,
            "cpu": None if used.cpu_usage is None else f"{used.cpu_usage:g}%",
            "disk": used.disk_usage,
            "network": used.network_io,
            "rate": used.processing_rate,
            "warnings": quality.warnings_generated or None,
            "errors": quality.errors_encountered or None,
        }
    )


def comparison(answer: MetricsAnswer) -> Table:
    """How the job compares with past runs of the same kind."""
    benchmarks, processing = answer.benchmarks, answer.current_metrics.processing
    memory = answer.current_metrics.resource_utilization.memory
    runs = f"{benchmarks.average_job_duration} over {benchmarks.runs} runs"
    return _facts(
        {
            "peak memory": memory.peak if memory else None,
            "retries": f"{processing.retry_rate:.0%}"
            if processing and processing.retry_rate
            else None,
            "on average": runs if benchmarks.average_job_duration else None,
            "rank": benchmarks.current_performance_rank,
        }
    )


def _facts(facts: Mapping[str, Any]) -> Table:
    """Those that are known, a line each."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in facts.items():
        if value is not None:
            table.add_row(Text(name, style="dim"), words(value))
    return table


def entries(answer: LogsAnswer) -> Table:
    """Log entries, a line each."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for entry in answer.logs:
        table.add_row(
            moment(entry.timestamp),
            words(entry.level, _LEVEL_STYLES.get(entry.level, "")),
            words(entry.stage or entry.component),
            words(entry.message),
            words(_details(entry.details) or " ", "dim"),
        )
    return table


def timeline_table(answer: TimelineAnswer, most: int) -> Table:
    """The last events, and what is expected."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for event in answer.timeline[-most:]:
        times = f" ({event.count} times)" if event.count else ""
        table.add_row(
            moment(event.timestamp), words(event.event_type), words(event.description + times)
        )
    for coming in answer.upcoming_events:
        row = (moment(coming.estimated_time), words(coming.event_type), words(coming.description))
        for cell in row:
            cell.stylize("dim")
        table.add_row(*row)
    return table


def dependency_table(answer: DependenciesAnswer) -> Table:
    """Jobs that it needs, jobs that need it, and what holds it up."""
    table = Table.grid(padding=(0, 2, 0, 0))
    found = answer.dependencies
    for needed in found.prerequisite_jobs:
        _add_job(table, "needs", needed.job_name, needed.job_id, needed.status)
    for needing in found.dependent_jobs:
        _add_job(table, "needed by", needing.job_name, needing.job_id, needing.status)
    for condition in answer.blocking_conditions:
        table.add_row("held up by", words(condition.condition), "", status_text(condition.status))
    return table


def _add_job(table: Table, how: str, name: str | None, job_id: str, status: str) -> None:
    table.add_row(how, words(name), words(job_id, "blue"), status_text(status))


def _details(details: Mapping[str, Any]) -> str:
    text = ", ".join(f"{name}={value}" for name, value in _simple(details.items()))
    return text if len(text) <= _MOST_DETAILS else f"{text[: _MOST_DETAILS - 2]}.."


def _simple(items: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    return ((name, value) for name, value in items if isinstance(value, str | int | float))


# --- states ------------------------------------------------------------------------------------


def state_table(states: Iterable[StateAnswer]) -> Table:
    """A line for each state."""
    table = columns("kind", "id", "version", "health", "observed", "desired", "seen", "changed")
    for each in states:
        desired = each.value if each.desired is None else each.desired.value
        table.add_row(
            words(each.kind),
            words(each.id, "blue"),
            words(str(each.version)),
            words(each.health),
            words(_observed(each)),
            words(None if desired is None else _json(desired)),
            moment(each.last_seen_at),
            moment(each.changed_at),
        )
    return table


def _observed(state: StateAnswer) -> str | None:
    """What it does, in a few words."""
    observed = state.observed
    if observed is None:
        return None
    if observed.status is not None:
        where = f" on {observed.worker_id}" if observed.worker_id else ""
        return f"{observed.status}{where}"
    workers = "" if observed.worker_count is None else f"{observed.worker_count} workers, "
    return f"{workers}{observed.job_count or 0} jobs"


def _json(value: Mapping[str, Any]) -> str:
    import json

    text = json.dumps(dict(value), ensure_ascii=False)
    return text if len(text) <= _MOST_DETAILS else f"{text[:_MOST_DETAILS]}…"
