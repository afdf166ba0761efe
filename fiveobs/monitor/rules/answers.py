"""What the routes of rules take and answer; a rule itself has the names of its YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from fiveobs.monitor.api.asked import Moment
from fiveobs.monitor.live.events import LiveEvent
from fiveobs.monitor.rules.models import Rule, event_types
from fiveobs.monitor.rules.stored import ExpectationRow, FiringRow, RuleRow
from fiveobs.monitor.rules.trying import Tried
from fiveobs.monitor.tracking.human import as_time
from fiveobs.monitor.tracking.models.base import Absent, Details, Model, Time
from fiveobs.monitor.webhooks.models import RequestModel

__all__ = [
    "DryRunAction",
    "DryRunAnswer",
    "DryRunEvent",
    "DryRunRequest",
    "ExpectationAnswer",
    "ExpectationsAnswer",
    "FiringAnswer",
    "FiringCounts",
    "FiringsAnswer",
    "GivenEvent",
    "NewRuleAnswer",
    "RetryAnswer",
    "RetryRequest",
    "RuleAnswer",
    "RulesAnswer",
    "dry_run_answer",
    "expectation_answer",
    "firing_answer",
    "rule_answer",
]

_MOST_NAMED = 1_000
_HIDDEN = "***"


class FiringCounts(Model):
    """How many actions are in which state."""

    pending: int
    """To be done, or to be tried again."""
    done: int
    dead: int
    """Given up; they can be tried again."""
    loop: int
    """Refused, because the rule had led to the event itself, or too many rules had."""
    limited: int
    """Left out, because there were too many in a minute; they can be done after all."""
    late: int
    """What was awaited came late."""


class RuleAnswer(Model):
    """A rule."""

    rule_id: str
    name: str
    enabled: bool
    revision: int
    """Grows with each change."""
    rule: Details
    """As its YAML has it. What proves to a receiver who sends is `***`."""
    created_by: str | None
    created_at: Time
    updated_at: Time
    firings: Absent[FiringCounts] = None


class NewRuleAnswer(RuleAnswer):
    """A rule that was just made."""

    secret: str
    """Verifies what its webhooks send, by the Standard Webhooks scheme. Not shown again."""


class RulesAnswer(Model):
    """Rules, by name."""

    rules: list[RuleAnswer]


class FiringAnswer(Model):
    """One action, done or to be done because of one event."""

    firing_id: str
    """The idempotency key: the same for every try."""
    action: str
    """`webhook`, `emit`, `process`, `launch`; `none` where only something is said."""
    action_index: int
    """Which of the rule's actions, from 0; -1 is none."""
    status: Literal["pending", "done", "dead", "loop", "limited", "late"]
    tries: int
    event_id: str | None
    """The event that caused it. Null if it is no longer stored."""
    event_type: str | None
    job_id: str | None
    expectation_id: int | None
    """What was awaited and did not happen."""
    chain: list[str]
    """The rules that led to it, the first one first, itself the last."""
    started_job_id: str | None
    created_at: Time
    next_try_at: Time | None
    ended_at: Time | None
    last_error: str | None


class FiringsAnswer(Model):
    """Firings, the newest first."""

    firings: list[FiringAnswer]
    next: int | None
    """For `before`, to go on; null if that was all."""


class ExpectationAnswer(Model):
    """What must follow an event, and until when."""

    expectation_id: int
    status: Literal["open", "fulfilled", "missed", "cancelled"]
    event_id: str | None
    """The event that it must follow. Null if it is no longer stored."""
    event_type: str | None
    job_id: str | None
    correlation: str
    """What both have in common."""
    deadline: Time
    met_at: Time | None
    """When it happened, or happened late."""
    met_by: str | None
    """The event's id."""
    ended_at: Time | None


class ExpectationsAnswer(Model):
    """Expectations, the newest first."""

    expectations: list[ExpectationAnswer]
    next: int | None
    """For `before`, to go on; null if that was all."""


class RetryRequest(RequestModel):
    """What is to be done again; everything that was given up if left empty."""

    firing_ids: list[str] | None = Field(default=None, min_length=1, max_length=_MOST_NAMED)
    """Only these."""


class RetryAnswer(Model):
    """How much is done again."""

    retried: int


class GivenEvent(RequestModel):
    """An event that somebody makes up, with the names of a journal's line."""

    model_config = ConfigDict(alias_generator=None)

    event_type: str
    """Its type, such as `job.completed`."""
    id: str | None = None
    timestamp: str | None = None
    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    message: str = ""
    service: str | None = None
    job_name: str | None = None
    job_id: str | None = None
    attempt: int | None = Field(default=None, ge=1, strict=True)
    parent_job_id: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    worker_id: str | None = None
    machine_id: str | None = None
    data: Details = Field(default_factory=dict)

    @field_validator("event_type")
    @classmethod
    def _is_type(cls, value: str) -> str:
        if value not in event_types():
            raise ValueError(f"valid are {', '.join(event_types())}")
        return value


class DryRunRequest(RequestModel):
    """A rule, and an event or a while of past events to try it on."""

    rule: Rule
    rule_id: str | None = Field(default=None, max_length=64)
    """The id of the stored rule that it is, or would replace."""
    event: GivenEvent | None = None
    """Try it on this event alone."""
    from_time: Moment | None = None
    """Try it on past events from then on."""
    to_time: Moment | None = None
    """Only on those up to then."""

    @model_validator(mode="after")
    def _is_one(self) -> DryRunRequest:
        is_period = self.from_time is not None or self.to_time is not None
        if self.event is not None and is_period:
            raise ValueError("valid is either an event, or fromTime and toTime")
        return self


class DryRunAction(Model):
    """What one action would send."""

    action: str
    sends: Details


class DryRunEvent(Model):
    """What the rule would do on one event."""

    event_id: str
    event_type: str
    job_id: str | None
    at: str
    outcome: Literal["fires", "loop", "fulfilled", "missed", "open"]
    """`fires`; `loop` is refused. Of a rule that awaits something: it came, did not, or may yet."""
    detail: str | None
    actions: list[DryRunAction]


class DryRunAnswer(Model):
    """What a rule would do. Nothing was done."""

    looked_at: int
    """Events of the types that the rule is about."""
    matched: int
    """Those that it is for."""
    is_cut: bool
    """There were more events than a dry run looks at."""
    events: list[DryRunEvent]
    """The first hundred of those that it is for."""


# --- answers -----------------------------------------------------------------------------------


def rule_answer(row: RuleRow, *, sees_queries: bool, **more: Any) -> dict[str, Any]:
    """The fields of a `RuleAnswer`.

    Args:
        row: The rule.
        sees_queries: Whether whoever asks may see the queries of URLs.
        more: Further fields.
    """
    return {
        "rule_id": row.rule_id,
        "name": row.name,
        "enabled": row.is_enabled,
        "revision": row.revision,
        "rule": _shown(row.written, sees_queries=sees_queries),
        "created_by": row.created_by,
        "created_at": as_time(row.created_at_us),
        "updated_at": as_time(row.updated_at_us),
        **more,
    }


def _shown(written: Mapping[str, Any], *, sees_queries: bool) -> dict[str, Any]:
    """A rule without what proves who sends; receivers know their senders by queries, too."""
    then = []
    for action in written["then"]:
        webhook = action.get("webhook")
        if webhook is None:
            then.append(action)
            continue
        shown = dict(webhook)
        if "?" in shown["url"] and not sees_queries:
            shown["url"] = f"{shown['url'].partition('?')[0]}?{_HIDDEN}"
        if (shown.get("authentication") or {}).get("token") is not None:
            shown["authentication"] = {**shown["authentication"], "token": _HIDDEN}
        then.append({"webhook": shown})
    return {**written, "then": then}


def firing_answer(row: FiringRow, event: LiveEvent | None) -> FiringAnswer:
    """A firing as it is shown."""
    return FiringAnswer(
        firing_id=row.firing_id,
        action=row.action,
        action_index=row.action_index,
        status=row.status,  # type: ignore[arg-type]
        tries=row.tries,
        **_of(event),
        expectation_id=row.expectation_key,
        chain=row.chain,
        started_job_id=row.job_id,
        created_at=as_time(row.created_at_us) or "",
        next_try_at=as_time(row.next_try_at_us),
        ended_at=as_time(row.ended_at_us),
        last_error=row.last_error,
    )


def expectation_answer(
    row: ExpectationRow, event: LiveEvent | None, met_by: LiveEvent | None
) -> ExpectationAnswer:
    """An expectation as it is shown."""
    return ExpectationAnswer(
        expectation_id=row.expectation_key,
        status=row.status,  # type: ignore[arg-type]
        **_of(event),
        correlation=row.correlation,
        deadline=as_time(row.deadline_us) or "",
        met_at=as_time(row.met_at_us),
        met_by=None if met_by is None else met_by.event_id,
        ended_at=as_time(row.ended_at_us),
    )


def _of(event: LiveEvent | None) -> dict[str, Any]:
    return {
        "event_id": None if event is None else event.event_id,
        "event_type": None if event is None else event.event_type,
        "job_id": None if event is None else event.job_id,
    }


def dry_run_answer(found: Tried) -> DryRunAnswer:
    """A dry run as it is shown."""
    return DryRunAnswer(
        looked_at=found.looked_at,
        matched=found.matched,
        is_cut=found.is_cut,
        events=[
            DryRunEvent(
                event_id=str(each.record["id"]),
                event_type=str(each.record["event_type"]),
                job_id=each.record.get("job_id"),
                at=str(each.record["timestamp"]),
                outcome=each.outcome,  # type: ignore[arg-type]
                detail=each.detail,
                actions=[DryRunAction(action=kind, sends=sends) for kind, sends in each.actions],
            )
            for each in found.events
        ],
    )
