"""What all answers have in common: names in camel case, and how what is unknown is written.

A field that the published example always has is ``null`` where it is not known; one that only some
of its objects have (`Absent`) is left out.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from fiveobs.monitor.tracking.human import Number

__all__ = ["Absent", "Details", "EstimateModel", "Model", "Number", "ResourceBrief", "Time"]

T = TypeVar("T")


def _is_none(value: object) -> bool:
    return value is None


#: A moment, RFC 3339 in UTC.
Time: TypeAlias = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
#: Left out where there is none.
Absent: TypeAlias = Annotated[T | None, Field(exclude_if=_is_none)]
#: Whatever a job or an event says about itself, under its own names.
Details: TypeAlias = dict[str, Any]


class Model(BaseModel):
    """A part of an answer; frozen."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        use_attribute_docstrings=True,
        serialize_by_alias=True,
    )


class EstimateModel(Model):
    """What an estimate rests on."""

    method: str
    """``stages``, ``progress+history``, ``progress``, ``history`` or ``queue``."""
    low_seconds: Number | None
    """Seconds left: one run in ten like it took less. Null where too few runs are known."""
    high_seconds: Number | None
    """Seconds left: one run in ten like it took more."""
    runs: int
    """Completed runs of the same kind of job behind it."""


class ResourceBrief(Model):
    """What a job uses, in short."""

    cpu: Number | None
    """CPU of its worker in percent of what the worker may use."""
    memory: str | None
    memory_bytes: Number | None
    processing_rate: str | None
    processing_rate_per_second: Number | None
