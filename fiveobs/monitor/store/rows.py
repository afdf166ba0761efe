"""Rows of the store as `reading` gives them: frozen, named as the columns are."""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "AttemptRow",
    "ConditionRow",
    "DependencyRow",
    "EntryCounts",
    "ErrorRow",
    "EventRow",
    "IntervalRow",
    "JobRow",
    "MeasureRow",
    "ResourceRow",
    "RunRow",
    "SampleRow",
    "SpanRow",
    "StageRow",
    "WorkerRow",
]


class JobRow(NamedTuple):
    """A job, with the state of its latest attempt."""

    job_key: int
    project_key: int
    job_id: str
    kind_key: int
    status: str
    attempt: int
    parent_job_id: str | None
    submitted_by: str | None
    priority: str | None
    queue: str | None
    created_at_us: int
    started_at_us: int | None
    ended_at_us: int | None
    duration_s: float | None
    updated_at_us: int
    #: Of its kind.
    service: str
    job_name: str


class AttemptRow(NamedTuple):
    """An attempt at a job."""

    job_key: int
    attempt: int
    worker_key: int | None
    received_at_us: int | None
    progress_at_us: int | None
    percent_at_us: int | None
    queue_wait_s: float | None
    percent: float | None
    done: float | None
    total: float | None
    eta_s: float | None
    activity: str | None
    stage: str | None
    cpu_s: float | None
    debug_entries: int
    info_entries: int
    warning_entries: int
    error_entries: int
    planned_stages: str | None
    attributes: str | None
    result: str | None
    error_type: str | None
    error_message: str | None
    lost_cause: str | None


class StageRow(NamedTuple):
    """A stage that has begun."""

    job_key: int
    stage_index: int
    stage: str
    status: str
    started_at_us: int | None
    ended_at_us: int | None
    updated_at_us: int | None
    unit: str | None
    done: float | None
    total: float | None
    percent: float | None
    rate_per_s: float | None
    eta_s: float | None
    duration_s: float | None
    cpu_s: float | None
    memory_rss_bytes: int | None
    io_read_bytes: int | None
    io_write_bytes: int | None
    network_receive_bytes: int | None
    network_transmit_bytes: int | None
    #: JSON text.
    attributes: str | None
    error_type: str | None
    error_message: str | None


class EventRow(NamedTuple):
    """An event or a log line."""

    event_key: int
    event_id: str
    attempt: int | None
    at_us: int
    event_type: str
    level: int
    message: str
    worker_key: int | None
    span_id: str | None
    #: JSON text.
    data: str


class EntryCounts(NamedTuple):
    """How many events and log lines there are, and when the first and the last of them were."""

    debug: int
    info: int
    warning: int
    error: int
    first_at_us: int | None = None
    last_at_us: int | None = None


class ErrorRow(NamedTuple):
    """Something that went wrong in a job."""

    at_us: int
    event_type: str
    stage: str | None
    error_type: str
    message: str
    stacktrace: str | None


class WorkerRow(NamedTuple):
    """A process that runs jobs, as its last heartbeat says."""

    worker_key: int
    worker_id: str | None
    machine_id: str | None
    cpu_count: float | None
    started_at_us: int | None
    heartbeat_at_us: int | None
    stopped_at_us: int | None
    active_jobs: int | None
    cpu_percent: float | None
    memory_rss_bytes: int | None
    memory_used_bytes: int | None
    memory_limit_bytes: int | None


class SampleRow(NamedTuple):
    """A worker's figures at a heartbeat."""

    at_us: int
    cpu_percent: float | None
    memory_rss_bytes: int | None
    io_operations: int | None


class SpanRow(NamedTuple):
    """What a worker's heartbeats say of a span of time; network figures are differences."""

    peak_memory_bytes: int | None
    network_receive_bytes: int | None
    network_transmit_bytes: int | None


class IntervalRow(NamedTuple):
    """Means of a worker's figures over an interval of time."""

    #: The interval's number since 1970.
    number: int
    cpu_percent: float | None
    memory_rss_bytes: float | None


class MeasureRow(NamedTuple):
    """What a job measured under one name, summed over labels."""

    name: str
    kind: str
    total: float | None
    last: float | None


class DependencyRow(NamedTuple):
    """A job that needs another one."""

    job_key: int
    needs_job_id: str
    reason: str | None


class ResourceRow(NamedTuple):
    """What a job took into use."""

    resource: str
    amount: float | None
    unit: str | None
    allocated_at_us: int | None
    released_at_us: int | None
    #: JSON text: the data of the event.
    details: str | None


class ConditionRow(NamedTuple):
    """What keeps, or kept, a job from going on."""

    condition: str
    state: str
    changed_at_us: int
    resolution: str | None


class RunRow(NamedTuple):
    """A completed run of a kind of job."""

    job_key: int
    duration_s: float
    started_at_us: int | None
    ended_at_us: int
    #: How many it said are done, if it counted itself, and when.
    done: float | None
    progress_at_us: int | None
