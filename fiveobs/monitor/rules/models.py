"""A rule as it is written, in YAML or JSON, with the same names; and all that is wrong with one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from fiveobs import _parsers
from fiveobs._parsers import UnusableError
from fiveobs.exceptions import BadInputError
from fiveobs.monitor.rules import conditions
from fiveobs.monitor.rules.conditions import Problem
from fiveobs.monitor.rules.facts import field_problem, is_text
from fiveobs.monitor.rules.templates import template_problem
from fiveobs.monitor.webhooks.guard import to_target
from fiveobs.monitor.webhooks.models import Authentication
from fiveobs.monitor.webhooks.schedule import MAX_TRIES

__all__ = [
    "EMITTED",
    "FIRED",
    "Action",
    "Emit",
    "Expect",
    "Launch",
    "Limits",
    "Process",
    "Rule",
    "Webhook",
    "event_types",
    "types_of",
]

#: What a firing is recorded as.
FIRED = "workflow.triggered"
#: What rules may record, and what each must have in its data. Nothing that changes a job: what a
#: job did, only its worker says.
EMITTED: Mapping[str, str | None] = {
    "log": None,
    "job.milestone": "milestone",
    "resource.allocated": "resource",
    "resource.released": "resource",
    "service.health_changed": "status",
    "state.changed": "to_state",
    FIRED: "workflow",
}
#: What we add to the data of what a rule records.
_OURS = ("cause", "firing_id", "rule_id", "outcome")
#: Lines of a journal that are no events.
_NO_EVENTS = ("metric", "span", "envelope", "worker.heartbeat")
_PATTERN = re.compile(r"[A-Za-z0-9_*]+(\.[A-Za-z0-9_*]+)*")
_MOST_DATA_CHARS = 16_384
_SAME = ("job", "session", "request")
_duration = _parsers.duration(0.0)
_LEVELS: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]


@cache
def event_types() -> tuple[str, ...]:
    """Every type of event that there is."""
    schema = json.loads(files("fiveobs.journal").joinpath("schema.json").read_bytes())
    found = schema["properties"]["event_type"]["enum"]
    return tuple(each for each in found if each not in _NO_EVENTS)


def types_of(patterns: Iterable[str]) -> frozenset[str]:
    """The types of event that patterns stand for.

    What a rule's firing is recorded as is only meant where it is named: ``*`` is about jobs.
    """
    return frozenset(
        each
        for pattern in patterns
        for each in event_types()
        if _expression(pattern).fullmatch(each)
        and (each != FIRED or pattern.startswith("workflow"))
    )


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    if pattern == "*":
        return re.compile(".*")
    return re.compile("[^.]*".join(map(re.escape, re.sub(r"\*+", "*", pattern).split("*"))))


# --- parts that are checked --------------------------------------------------------------------


def _raise(problems: Iterable[Problem]) -> None:
    """Raise all that is wrong at once, each at its place."""
    lines = [
        InitErrorDetails(
            type=PydanticCustomError("value_error", "{text}", {"text": each.valid}),
            loc=each.path,
            input=each.value,
        )
        for each in problems
    ]
    if lines:
        raise ValidationError.from_exception_data("rule", lines)


def _patterns(value: Any) -> Any:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not 0 < len(found) <= 20:
        raise ValueError("valid are a pattern such as job.completed or job.*, or a list of 1 to 20")
    _raise(
        Problem((number,) if isinstance(value, list) else (), each, _valid_pattern())
        for number, each in enumerate(found)
        if not isinstance(each, str)
        or len(each) > 100
        or not _PATTERN.fullmatch(each)
        or not types_of([each])
    )
    return tuple(found)


def _valid_pattern() -> str:
    return f"no event fits it: valid are {', '.join(event_types())}, with * for any part"


def _where(value: dict[str, Any]) -> dict[str, Any]:
    _raise(conditions.problems(value))
    return value


def _seconds(value: Any) -> Any:
    try:
        _duration(value)
    except UnusableError as error:
        raise ValueError(f"valid is {error.valid}") from None
    return str(value)


def _url(url: str) -> str:
    try:
        to_target(url)
    except BadInputError as exc:
        raise ValueError(str(exc).removeprefix("webhookUrl: ")) from None
    return url


def _template(text: str) -> str:
    if (valid := template_problem(text)) is not None:
        raise ValueError(valid)
    return text


def _data(value: dict[str, Any]) -> dict[str, Any]:
    _raise(_data_problems(value, (), 1))
    if len(json.dumps(value)) > _MOST_DATA_CHARS:
        raise ValueError(f"valid are up to {_MOST_DATA_CHARS} characters of JSON")
    return value


def _data_problems(value: Any, path: tuple[str | int, ...], depth: int) -> Iterator[Problem]:
    if depth > 8:
        yield Problem(path, depth, "valid are values up to 8 deep")
    elif isinstance(value, str):
        if (valid := template_problem(value)) is not None:
            yield Problem(path, value, valid)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if not is_text(name):
                yield Problem(path, "", "valid are names without a NUL or half a character")
            yield from _data_problems(each, (*path, name), depth + 1)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _data_problems(each, (*path, number), depth + 1)


def _same(value: str) -> str:
    if value not in _SAME and (valid := field_problem(value)) is not None:
        raise ValueError(f"valid are {', '.join(_SAME)}, or a field that both have: {valid}")
    return value


_TEXTS = {"type": "string", "minLength": 1, "maxLength": 100}
Patterns: TypeAlias = Annotated[
    tuple[str, ...],
    BeforeValidator(_patterns),
    WithJsonSchema({"anyOf": [_TEXTS, {"type": "array", "items": _TEXTS, "minItems": 1}]}),
]
Where: TypeAlias = Annotated[dict[str, Any], AfterValidator(_where)]
Duration: TypeAlias = Annotated[
    str,
    BeforeValidator(_seconds),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}]}),
]
Template: TypeAlias = Annotated[str, AfterValidator(_template)]
Data: TypeAlias = Annotated[dict[str, Any], AfterValidator(_data)]
#: Of a processor, a launcher or a rule.
Name: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
]


class _Model(BaseModel):
    """A part of a rule: what is not known is refused, because it may be a slip."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


# --- the parts ---------------------------------------------------------------------------------


class Webhook(_Model):
    """Send the event to a URL, signed."""

    url: Annotated[str, Field(min_length=1, max_length=2_048), AfterValidator(_url)]
    authentication: Authentication | None = None
    """How the receiver knows the sender; never answered."""

    @model_validator(mode="after")
    def _has_its_token(self) -> Webhook:
        if self.authentication is not None and self.authentication.token == "***":  # noqa: S105
            valid = "valid is the token itself: *** is what is shown instead"
            _raise([Problem(("authentication", "token"), "***", valid)])
        return self


class Emit(_Model):
    """Record an event, which other rules may be for."""

    type: Literal[
        "log",
        "job.milestone",
        "resource.allocated",
        "resource.released",
        "service.health_changed",
        "state.changed",
        "workflow.triggered",
    ]
    level: _LEVELS = "info"
    message: Template = "{rule.name}"
    """One line for people; placeholders such as `{event.job_id}` are replaced."""
    data: Data = {}
    """What else there is to say; placeholders are replaced."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Emit:
        needed = ["entity"] if self.type == "state.changed" else []
        needed += filter(None, [EMITTED[self.type]])
        missing = [name for name in needed if name not in self.data]
        says = f"it is missing: {self.type} needs it"
        found = [Problem(("data", name), None, says) for name in missing]
        found += [
            Problem(("data", name), name, "valid are other names: we say this ourselves")
            for name in _OURS
            if name in self.data
        ]
        _raise(found)
        return self


class Process(_Model):
    """Have Python code in the monitor called with the event."""

    processor: Name
    """What it was registered as."""
    parameters: Data = {}
    """Given to it; placeholders are replaced."""


class Launch(_Model):
    """Start a job."""

    launcher: Name
    """What it was registered as."""
    parameters: Data = {}
    """Given to it; placeholders are replaced."""


class Action(_Model):
    """One thing to do: one of these."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    webhook: Webhook | None = None
    emit: Emit | None = None
    process: Process | None = None
    launch: Launch | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Action:
        if len(self._given()) != 1:
            raise ValueError(f"valid is exactly one of {', '.join(type(self).model_fields)}")
        return self

    def _given(self) -> list[str]:
        return [name for name in type(self).model_fields if getattr(self, name) is not None]

    @property
    def kind(self) -> str:
        """Which it is."""
        return self._given()[0]


class Expect(_Model):
    """What must happen after the event; if it does not, ``then`` is done."""

    event: Patterns
    """The types of event that will do."""
    where: Where | None = None
    """Which of them."""
    within: Duration
    """How long after the event, such as `10m`."""
    before: Duration = "0s"
    """How long before the event it may have happened."""
    same: Annotated[str, Field(max_length=256), AfterValidator(_same)] = "job"
    """What both have in common: `job`, `session`, `request`, or a field such as `data.order_id`."""

    @property
    def within_s(self) -> float:
        """How long after the event, in seconds."""
        return float(_duration(self.within))

    @property
    def before_s(self) -> float:
        """How long before it, in seconds."""
        return float(_duration(self.before))


class Limits(_Model):
    """How much a rule may do."""

    max_per_minute: int = Field(default=600, ge=1, le=6_000, strict=True)
    """Actions in a minute; what is more is not done, and recorded."""
    max_tries: int = Field(default=8, ge=1, le=MAX_TRIES, strict=True)
    """How often an action is tried before it is given up."""


class Rule(_Model):
    """What shall be done on which events."""

    name: Name
    """Of this rule alone in its project."""
    on: Patterns
    """The types of event that it is for, such as `job.completed` or `job.*`."""
    where: Where | None = None
    """Which of them, by any field."""
    expect: Expect | None = None
    """What must follow; then it is done only if that does not."""
    then: list[Action] = Field(min_length=1, max_length=10)
    """What is done, each by itself."""
    enabled: StrictBool = True
    allow_repeat: StrictBool = False
    """Whether it may act on what it has led to itself."""
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _is_no_loop(self) -> Rule:
        if self.allow_repeat or self.where or self.expect:
            return self
        types = types_of(self.on)
        _raise(
            Problem(
                ("then", number, "emit", "type"),
                each.emit.type,
                "the rule is for events of this type, so it would go on for ever: narrow it with"
                " where, or set allow_repeat",
            )
            for number, each in enumerate(self.then)
            if each.emit is not None and each.emit.type in types
        )
        return self

    def definition(self) -> dict[str, Any]:
        """As it was written, but for its name and whether it is enabled."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"name", "enabled"})
