"""The answers of the stream-monitoring API, with the published names.

Times are milliseconds since 1970 and durations milliseconds, as Flink's are; ``null`` where there
is none yet.
"""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from pydantic import Field

from fiveobs.monitor.tracking.models.base import Model

__all__ = [
    "Envelope",
    "ExceptionEntry",
    "Exceptions",
    "JobStatus",
    "Overview",
    "StatusAndMetrics",
    "Vertex",
    "VertexMetrics",
]

T = TypeVar("T")


# Docstrings of fields would be looked for again in each model that is made of a generic one, in
# every frame of the stack: their descriptions are said outright.
class Envelope(Model, Generic[T], use_attribute_docstrings=False):
    """What every answer is in."""

    response: T
    messages: list[str] = Field(
        description="What else is worth knowing, in sentences; usually empty."
    )


class VertexMetrics(Model):
    """What a stage has read, written and done; null where that is not known."""

    read_bytes: Annotated[int | None, Field(alias="read-bytes")]
    """Read from disks, by the job's process, while the stage ran."""
    write_bytes: Annotated[int | None, Field(alias="write-bytes")]
    read_records: Annotated[float | None, Field(alias="read-records")]
    """How many units it has done; they need not be records."""


class Vertex(Model):
    """A stage of the job."""

    id: str
    """32 hexadecimal digits: the same as long as the job and the stage's place are."""
    name: str
    status: str
    """``CREATED``, ``RUNNING``, ``FINISHED``, ``FAILED``, ``CANCELED`` or ``SUSPENDED``."""
    start_time: Annotated[int | None, Field(alias="start-time")]
    end_time: Annotated[int | None, Field(alias="end-time")]
    duration: int
    metrics: VertexMetrics


class Overview(Model):
    """A job in short."""

    name: str
    """The job's id, as it was asked for."""
    state: str
    """One of Flink's job states."""
    start_time: Annotated[int | None, Field(alias="start-time")]
    duration: int
    jid: str
    """32 hexadecimal digits, of which each job of each project has others."""


class JobStatus(Overview):
    """A job, and its stages."""

    vertices: list[Vertex]


class StatusAndMetrics(Model):
    """A job, its stages and its figures."""

    details: JobStatus
    metrics: dict[str, str]
    """``numRecordsRead``, ``numRecordsProcessed``, ``currentEventTs``, and whatever the job itself
    has measured: numbers as text."""


class ExceptionEntry(Model):
    """Something that went wrong, fatal or not."""

    exception: str
    """The stack trace, or type and message where there is none."""
    timestamp: int
    task: str | None
    """The stage."""
    truncated: bool


class Exceptions(Model):
    """What ended the job, and what else went wrong in its last attempt."""

    root_exception: Annotated[str | None, Field(alias="root-exception")]
    """The stack trace of what the job failed of; null unless it has failed or is lost."""
    timestamp: int | None
    truncated: bool
    """Whether the beginning of the stack trace is left out."""
    all_exceptions: Annotated[list[ExceptionEntry], Field(alias="all-exceptions")]
    """The newest first."""
