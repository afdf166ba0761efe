"""The answers of the enhanced-monitoring API, with its names.

A workflow is a kind of job, an execution is a job, a step is a stage. What cannot be known is null.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from fiveobs.monitor.tracking.models.base import Number, Time

__all__ = ["ExecutionLog", "Page", "StepExecution", "WorkflowExecution"]

T = TypeVar("T")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


# Docstrings of fields would be looked for again in each model that is made of a generic one, in
# every frame of the stack: their descriptions are said outright.
class Page(_Model, Generic[T], use_attribute_docstrings=False):
    """A part of a list."""

    items: list[T]
    next: str | None = Field(
        description="What `cursor` has to be for the next page; null if this was the last one. A"
        " page may be short or empty and not be the last."
    )


class _Used(_Model):
    """What was used; network and disk are the process's, while its stages ran."""

    memory_usage: int | None
    """Resident memory of the process in bytes: of a step at its end; of an execution the most that
    is known of, of its steps and its end, or of now while it runs."""
    cpu_time: Number | None
    """Seconds of CPU."""
    cpu_usage: Number | None
    """`cpu_time` in percent of `execution_time`: 100 is one CPU."""
    io_read_bytes: int | None
    io_write_bytes: int | None
    io_operations: Number | None
    """As the job has counted them: `job.count("io_operations")`, for a step with its name and a dot
    before that."""
    network_receive_bytes: int | None
    network_transmit_bytes: int | None
    network_requests: Number | None
    """As the job has counted them, in the same way."""


class WorkflowExecution(_Used):
    """A job."""

    execution_id: str
    """The job's id."""
    workflow_id: str
    """The job's name."""
    service: str
    status: str
    created_at: Time
    started_at: Time | None
    completed_at: Time | None
    execution_time: Number | None
    """Seconds, up to now while it runs; null before it has begun."""
    step_count: int
    """How many steps have begun or were announced."""
    success_count: int
    """Steps that were completed."""
    failure_count: int
    """Steps that failed."""
    retry_count: int
    """Attempts before the present one."""
    error_type: str | None
    error_message: str | None


class StepExecution(_Used):
    """A stage that has begun, of a job's last attempt."""

    step_id: str
    """The execution's id, `#`, and the step's place from 1."""
    execution_id: str
    workflow_id: str
    service: str
    step_name: str
    step_order: int
    status: str
    started_at: Time | None
    completed_at: Time | None
    execution_time: Number | None
    """Seconds, up to now while it runs."""
    retry_count: int
    """Attempts of the execution before the present one."""
    records_processed: Number | None
    unit: str | None
    error_type: str | None
    error_message: str | None


class ExecutionLog(_Model):
    """An event or a log line of a job."""

    log_id: str
    execution_id: str
    step_name: str | None
    timestamp: Time
    level: str
    """`DEBUG`, `INFO`, `WARNING` or `ERROR`."""
    message: str
    event_type: str
    metadata: dict[str, Any]
    """What else was said, under its own names."""
