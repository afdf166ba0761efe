"""Answers: what shall be done on which events, and what was.

Made by docs/reference/generate.py from the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fiveobs.client._reading import Answer

__all__ = [
    "DryRunAction",
    "DryRunAnswer",
    "DryRunEvent",
    "ExpectationAnswer",
    "ExpectationsAnswer",
    "FiringAnswer",
    "FiringCounts",
    "FiringsAnswer",
    "NewRuleAnswer",
    "RetryAnswer",
    "RuleAnswer",
    "RulesAnswer",
]


@dataclass(frozen=True, kw_only=True)
class FiringCounts(Answer):
    """How many actions are in which state."""

    #: To be done, or to be tried again.
    pending: int
    done: int
    #: Given up; they can be tried again.
    dead: int
    #: Refused, because the rule had led to the event itself, or too many rules had.
    loop: int
    #: Left out, because there were too many in a minute; they can be done after all.
    limited: int
    #: What was awaited came late.
    late: int


@dataclass(frozen=True, kw_only=True)
class NewRuleAnswer(Answer):
    """A rule that was just made."""

    rule_id: str
    name: str
    enabled: bool
    #: Grows with each change.
    revision: int
    #: As its YAML has it. What proves to a receiver who sends is `***`.
    rule: Mapping[str, Any]
    created_by: str | None
    created_at: datetime
    updated_at: datetime
    firings: FiringCounts | None = None
    #: Verifies what its webhooks send, by the Standard Webhooks scheme. Not shown again.
    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class RuleAnswer(Answer):
    """A rule."""

    rule_id: str
    name: str
    enabled: bool
    #: Grows with each change.
    revision: int
    #: As its YAML has it. What proves to a receiver who sends is `***`.
    rule: Mapping[str, Any]
    created_by: str | None
    created_at: datetime
    updated_at: datetime
    firings: FiringCounts | None = None


@dataclass(frozen=True, kw_only=True)
class RulesAnswer(Answer):
    """Rules, by name."""

    rules: tuple[RuleAnswer, ...]


@dataclass(frozen=True, kw_only=True)
class DryRunAction(Answer):
    """What one action would send."""

    action: str
    sends: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class DryRunEvent(Answer):
    """What the rule would do on one event."""

    event_id: str
    event_type: str
    job_id: str | None
    at: str
    #: `fires`; `loop` is refused. Of a rule that awaits something: it came, did not, or may yet.
    outcome: str
    detail: str | None
    actions: tuple[DryRunAction, ...]


@dataclass(frozen=True, kw_only=True)
class DryRunAnswer(Answer):
    """What a rule would do. Nothing was done."""

    #: Events of the types that the rule is about.
    looked_at: int
    #: Those that it is for.
    matched: int
    #: There were more events than a dry run looks at.
    is_cut: bool
    #: The first hundred of those that it is for.
    events: tuple[DryRunEvent, ...]


@dataclass(frozen=True, kw_only=True)
class FiringAnswer(Answer):
    """One action, done or to be done because of one event."""

    #: The idempotency key: the same for every try.
    firing_id: str
    #: `webhook`, `emit`, `process`, `launch`; `none` where only something is said.
    action: str
    #: Which of the rule's actions, from 0; -1 is none.
    action_index: int
    status: str
    tries: int
    #: The event that caused it. Null if it is no longer stored.
    event_id: str | None
    event_type: str | None
    job_id: str | None
    #: What was awaited and did not happen.
    expectation_id: int | None
    #: The rules that led to it, the first one first, itself the last.
    chain: tuple[str, ...]
    started_job_id: str | None
    created_at: datetime
    next_try_at: datetime | None
    ended_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, kw_only=True)
class FiringsAnswer(Answer):
    """Firings, the newest first."""

    firings: tuple[FiringAnswer, ...]
    #: For `before`, to go on; null if that was all.
    next: int | None


@dataclass(frozen=True, kw_only=True)
class ExpectationAnswer(Answer):
    """What must follow an event, and until when."""

    expectation_id: int
    status: str
    #: The event that it must follow. Null if it is no longer stored.
    event_id: str | None
    event_type: str | None
    job_id: str | None
    #: What both have in common.
    correlation: str
    deadline: datetime
    #: When it happened, or happened late.
    met_at: datetime | None
    #: The event's id.
    met_by: str | None
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class ExpectationsAnswer(Answer):
    """Expectations, the newest first."""

    expectations: tuple[ExpectationAnswer, ...]
    #: For `before`, to go on; null if that was all.
    next: int | None


@dataclass(frozen=True, kw_only=True)
class RetryAnswer(Answer):
    """How much is done again."""

    retried: int
