"""What an ``observe_job`` was told, checked once; shared by all its calls and never changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from fiveobs._ids import MAX_NAME_LENGTH, clean_id, clean_text
from fiveobs._report import report

#: A value, or a function of the job's arguments that gives it.
PerCall: TypeAlias = str | int | Callable[..., Any] | None

#: Ids of jobs, or each with the reason, or a function of the job's arguments that gives either.
DependsOn: TypeAlias = str | Iterable[str] | Mapping[str, str | None] | Callable[..., Any] | None

#: Jobs that one job may need; more are left out, with a report.
MAX_DEPENDENCIES = 100
#: What a 64-bit integer holds.
_INT_LIMIT = 1 << 63


class JobSpec:
    """The parameters of one ``observe_job``; see there."""

    __slots__ = (
        "attempt",
        "attributes",
        "capture_args",
        "carrier",
        "depends_on",
        "is_per_call",
        "is_quick",
        "job_id",
        "monitor",
        "name",
        "queue",
        "request_id",
        "service",
        "session_id",
        "stages",
    )

    def __init__(
        self,
        name: str,
        *,
        service: str | None = None,
        job_id: PerCall = None,
        session_id: PerCall = None,
        request_id: PerCall = None,
        attempt: PerCall = None,
        carrier: Any = None,
        queue: str | None = None,
        stages: Sequence[str] = (),
        attributes: Mapping[str, Any] | None = None,
        capture_args: bool = False,
        monitor: str | Mapping[str, Any] | None = None,
        depends_on: DependsOn = None,
    ) -> None:
        self.name = clean_name(name, "job")
        self.service = clean_name(service, "service") if service is not None else None
        self.job_id = job_id
        self.session_id = session_id
        self.request_id = request_id
        self.attempt = attempt
        self.carrier = carrier
        self.queue = clean_name(queue, "queue") if queue is not None else None
        self.stages = _names(stages)
        self.attributes = _mapping(attributes)
        self.capture_args = capture_args
        self.monitor = monitor
        self.depends_on = depends_on
        #: Whether something about the identity must be worked out for each call.
        self.is_per_call = any(
            value is not None for value in (job_id, session_id, request_id, attempt, carrier)
        )

        #: Whether the last run took next to no time; the one thing here that changes.
        self.is_quick = False

    def named(self, name: str) -> JobSpec:
        """The same under another name."""
        copy = JobSpec.__new__(JobSpec)
        for slot in self.__slots__:
            setattr(copy, slot, getattr(self, slot))
        copy.name = clean_name(name, "job")
        return copy


def clean_name(name: object, what: str) -> str:
    """A name made safe; ``unnamed`` (and a report) if nothing is left of it."""
    cleaned = clean_text(name, MAX_NAME_LENGTH)
    if not cleaned:
        report("name", f"a {what} name is empty or cannot be shown: 'unnamed' is used")
        return "unnamed"
    if type(name) is not str or cleaned != name:  # the type first: its __eq__ may raise
        report(
            "name",
            f"{what} name {clean_text(name, 80)!r} is not one line of text of at most "
            f"{MAX_NAME_LENGTH} characters: {cleaned[:80]!r} is used",
        )
    return cleaned


def clean_number(value: object, what: str) -> int | float | None:
    """A caller's figure as JSON and OTLP can hold it; ``None`` (and a report) if it is none."""
    if value is None or (type(value) is int and abs(value) < _INT_LIMIT):
        return value
    try:
        number = float(value)  # type: ignore[arg-type]
    except Exception:  # no number, too large, or a class of the caller's own
        number = math.nan
    if not math.isfinite(number):
        report("number", f"{what} is {clean_text(value, 80)!r}: not a number that can be used")
        return None
    return number


def _names(stages: Sequence[str]) -> tuple[str, ...]:
    try:
        listed = (stages,) if isinstance(stages, str) else tuple(stages)
    except Exception as exc:
        report("stages", f"{type(exc).__name__}: stages are a list of names; they are left out")
        return ()
    return tuple(clean_name(stage, "stage") for stage in listed)


def _mapping(attributes: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if attributes is None:
        return None
    try:
        return dict(attributes) or None
    except Exception as exc:
        report("attributes", f"{type(exc).__name__}: attributes are a mapping; they are left out")
        return None


def needs(
    depends_on: DependsOn, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The jobs that a job needs, each with the reason or ``None``; what is no id is left out."""
    given = per_call(depends_on, args, kwargs)
    if given is None:
        return {}
    try:
        pairs = given if isinstance(given, Mapping) else dict.fromkeys(_ids(given))
        cleaned = {clean_id(job_id): reason for job_id, reason in pairs.items()}
        found = {job_id: reason for job_id, reason in cleaned.items() if job_id}
    except Exception as exc:
        report("depends_on", f"{type(exc).__name__}: depends_on are ids of jobs; they are left out")
        return {}
    if len(found) > MAX_DEPENDENCIES:
        report("depends_on", f"{len(found)} jobs are needed: {MAX_DEPENDENCIES} of them are kept")
    return dict(list(found.items())[:MAX_DEPENDENCIES])


def _ids(given: Any) -> Iterable[Any]:
    return (given,) if isinstance(given, str | int) else given


def per_call(value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The value for this call; what a function raises is reported and gives ``None``."""
    if not callable(value):
        return value
    try:
        return value(*args, **kwargs)
    except Exception as exc:
        name = getattr(value, "__qualname__", type(value).__name__)
        said = f"{type(exc).__name__}: {clean_text(exc, 200)}"
        report("observe_job", f"{name} raised {said}; the value is left out")
        return None
