"""The rules that are in force, made ready: which events each is for, and what it makes of one.

Reads the store. Used by one thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from pydantic import ValidationError
from sqlalchemy import func, select

from fiveobs._report import report
from fiveobs.monitor.rules.conditions import Condition, compiled
from fiveobs.monitor.rules.facts import MAX_DEPTH, MISSING, Facts, is_text
from fiveobs.monitor.rules.models import FIRED, Rule, types_of
from fiveobs.monitor.rules.stored import LOOP, RuleRow, rows_where
from fiveobs.monitor.store.schema import rules

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Book", "Ready", "firing_id", "made_ready", "rule_of"]

_MOST_CORRELATION_CHARS = 256
_SAME = {"job": "job_id", "session": "session_id", "request": "request_id"}


#: Is another one after every change: rules are read when something has changed, not each time.
_VERSION = select(
    *(func.count(), func.sum(rules.c.revision), func.sum(rules.c.updated_at_us)),
    *(func.min(rules.c.rule_id), func.max(rules.c.rule_id)),
).where(rules.c.is_enabled.is_(True))


class Ready(NamedTuple):
    """A rule that can be asked of events."""

    row: RuleRow
    rule: Rule
    types: frozenset[str]
    where: Condition
    #: What must follow, if anything must.
    awaited_types: frozenset[str]
    awaited_where: Condition

    def is_for(self, facts: Facts) -> bool:
        """Whether an event is one of those that the rule is for."""
        event_type = facts.record["event_type"]
        return event_type in self.types and not self._is_own_record(facts) and self.where(facts)

    def _is_own_record(self, facts: Facts) -> bool:
        """Whether the event only says what became of a firing of this rule, or of a loop."""
        if facts.record["event_type"] != FIRED or facts.get("data.firing_id") is MISSING:
            return False
        outcome = facts.get("data.outcome")
        is_own = facts.get("data.rule_id") == self.row.rule_id
        return outcome == LOOP or (is_own and outcome is not MISSING)

    def awaits(self, facts: Facts) -> bool:
        """Whether an event is what must follow."""
        return facts.record["event_type"] in self.awaited_types and self.awaited_where(facts)

    def correlation(self, facts: Facts) -> str | None:
        """What an event and what must follow it have in common; ``None`` if it lacks that."""
        same = self.rule.expect.same if self.rule.expect is not None else "job"
        found = facts.get(_SAME.get(same, same))
        if found is MISSING or found is None:
            return None
        text = found if isinstance(found, str) else orjson.dumps(found).decode()
        if len(text) > _MOST_CORRELATION_CHARS or not is_text(text):
            return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        return text

    def refusal(self, chain: Collection[str]) -> str | None:
        """Why it must not act on what these rules have led to; ``None`` if it may."""
        if len(chain) >= MAX_DEPTH:
            return f"a loop: {len(chain)} rules led to this, one after the other"
        if self.row.rule_id in chain and not self.rule.allow_repeat:
            return "a loop: the rule has led to this itself"
        return None


def rule_of(row: RuleRow) -> Rule:
    """A rule as it was written.

    Raises:
        pydantic.ValidationError: A version that took something else has stored it.
    """
    return Rule.model_validate(row.written)


def made_ready(row: RuleRow, rule: Rule) -> Ready:
    """Make a rule ready."""
    expect = rule.expect
    awaited: Any = {} if expect is None else expect.where or {}
    return Ready(
        row=row,
        rule=rule,
        types=types_of(rule.on),
        where=compiled(rule.where or {}),
        awaited_types=frozenset() if expect is None else types_of(expect.event),
        awaited_where=compiled(awaited),
    )


def firing_id(rule_id: str, origin: str, action_index: int) -> str:
    """The idempotency key of an action: the same however often its cause is met."""
    digest = hashlib.sha256(f"{rule_id} {action_index} {origin}".encode("utf-8", "replace"))
    return f"fire_{digest.hexdigest()[:32]}"


class Book:
    """The rules that are in force; each is made ready once."""

    def __init__(self) -> None:
        self._version: Any = None
        self._all: list[Ready] = []
        self._ready: dict[tuple[str, int], Ready | None] = {}

    def read(self, connection: Connection) -> list[Ready]:
        """All that are enabled, the oldest first."""
        version = connection.execute(_VERSION).one()
        if version == self._version:
            return self._all
        rows = rows_where(connection, rules.c.is_enabled.is_(True))
        keys = {(row.rule_id, row.revision) for row in rows}
        self._ready = {key: each for key, each in self._ready.items() if key in keys}
        found = []
        for row in rows:
            key = (row.rule_id, row.revision)
            if key not in self._ready:
                self._ready[key] = _tried(row)
            ready = self._ready[key]
            if ready is not None:
                found.append(ready)
        self._version, self._all = version, found
        return found


def _tried(row: RuleRow) -> Ready | None:
    try:
        return made_ready(row, rule_of(row))
    except ValidationError as exc:
        report("rules", f"{row.rule_id} cannot be used: {exc.error_count()} problems")
        return None
