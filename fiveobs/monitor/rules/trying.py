"""A dry run: what a rule would do on an event, or would have done on past ones; none is done.

Reads the store.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select

from fiveobs.monitor.live.events import LiveEvent, events_after, newest_key
from fiveobs.monitor.rules.acting import Prepared, Work, prepared
from fiveobs.monitor.rules.book import Ready, firing_id, made_ready
from fiveobs.monitor.rules.facts import Facts
from fiveobs.monitor.rules.models import Rule
from fiveobs.monitor.rules.planning import job_facts
from fiveobs.monitor.rules.stored import RuleRow
from fiveobs.monitor.store.schema import events

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["MOST_EVENTS", "Tried", "TriedEvent", "try_event", "try_events"]

#: Events that are looked at at most, and those that are told of.
MOST_EVENTS, _MOST_TOLD = 10_000, 100
_BATCH_EVENTS = 1_000
_US = 1_000_000
_DRY_RUN = "rule-dry-run"


class TriedEvent(NamedTuple):
    """One of the events that a rule is for."""

    record: Mapping[str, Any]
    #: ``fires``, ``loop``, ``fulfilled``, ``missed`` or ``open``.
    outcome: str
    #: Why it would be refused, or what is awaited; ``None`` if there is nothing to say.
    detail: str | None
    #: What each action would send; none if none would be done.
    actions: list[Prepared]


class Tried(NamedTuple):
    """What a dry run has found."""

    #: Events of the types that the rule is about, and those of them that it is for.
    looked_at: int
    matched: int
    #: The first ones.
    events: list[TriedEvent]
    #: There were more than are looked at.
    is_cut: bool = False


class _Seen(NamedTuple):
    correlation: str
    at_us: int
    record_id: str


def _ready(rule: Rule, project_key: int, rule_id: str | None) -> Ready:
    row = RuleRow(
        *(0, rule_id or _DRY_RUN, project_key, rule.name, True, 0),
        *(rule.definition(), "", None, 0, 0, 0),
    )
    return made_ready(row, rule)


def try_event(rule: Rule, record: Mapping[str, Any], *, rule_id: str | None = None) -> Tried:
    """What a rule would do on one event.

    Args:
        rule: The rule.
        record: The event, as a journal's line has it, with its ``event_type``.
        rule_id: The rule's id, if it is a stored one.
    """
    made_up = {
        "id": f"dry-run-{uuid.uuid4()}",
        "timestamp": f"{datetime.fromtimestamp(time.time(), UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
        "level": "info",
        "message": "",
        "data": {},
    }
    facts = Facts(lambda: {**made_up, **record})
    ready = _ready(rule, 0, rule_id)
    if not ready.is_for(facts):
        return Tried(1, 0, [])
    return Tried(1, 1, [_tried(ready, facts, "open" if rule.expect else "fires")])


def try_events(
    connection: Connection,
    rule: Rule,
    *,
    project_key: int,
    from_us: int | None,
    to_us: int | None,
    rule_id: str | None = None,
) -> Tried:
    """What a rule would have done on the events of a while.

    Args:
        connection: Where they are.
        rule: The rule.
        project_key: Whose events.
        from_us: When the while begins, in microseconds since 1970; ``None`` is the beginning.
        to_us: When it ends; ``None`` is now.
        rule_id: The rule's id, if it is a stored one.
    """
    ready = _ready(rule, project_key, rule_id)
    awaited: list[_Seen] = []
    causes: list[tuple[Facts, int]] = []
    found, is_cut = _events(connection, ready, from_us, to_us)
    for event in found:
        facts = _facts(connection, event)
        if ready.awaits(facts) and (correlation := ready.correlation(facts)) is not None:
            awaited.append(_Seen(correlation, event.at_us, event.event_id))
        if ready.is_for(facts):
            causes.append((facts, event.at_us))
    end_us = to_us or max((event.at_us for event in found), default=0)
    told = [
        _tried(ready, facts, _outcome(ready, facts, at_us, awaited, end_us))
        for facts, at_us in causes[:_MOST_TOLD]
    ]
    return Tried(len(found), len(causes), told, is_cut)


def _facts(connection: Connection, event: LiveEvent) -> Facts:
    return Facts.of(event, lambda: job_facts(connection, event))


def _events(
    connection: Connection, ready: Ready, from_us: int | None, to_us: int | None
) -> tuple[list[LiveEvent], bool]:
    """The events of the rule's types in a while, as they were taken in; whether there are more."""
    newest = newest_key(connection)
    place = 0 if from_us is None else _key_at(connection, from_us, newest)
    found: list[LiveEvent] = []
    for _ in range(MOST_EVENTS // _BATCH_EVENTS):
        some = events_after(
            connection,
            place,
            up_to=newest,
            project_keys=(ready.row.project_key,),
            types=ready.types | ready.awaited_types,
            limit=_BATCH_EVENTS,
        )
        found += [
            each
            for each in some
            if (from_us or 0) <= each.at_us and (to_us is None or each.at_us <= to_us)
        ]
        if len(some) < _BATCH_EVENTS or (to_us is not None and some[0].at_us > to_us):
            return found, False
        place = some[-1].event_key
    return found, True


def _key_at(connection: Connection, at_us: int, newest: int) -> int:
    """About the last event before a time: events are taken in nearly as they happen."""
    low, high = 0, newest
    while low < high:
        middle = (low + high + 1) // 2
        wanted = select(events.c.at_us).where(events.c.event_key >= middle)
        found = connection.execute(wanted.order_by(events.c.event_key).limit(1)).scalar()
        if found is not None and found < at_us:
            low = middle
        else:
            high = middle - 1
    return low


def _outcome(ready: Ready, facts: Facts, at_us: int, awaited: Iterable[_Seen], end_us: int) -> str:
    expect = ready.rule.expect
    if expect is None:
        return "fires"
    correlation = ready.correlation(facts)
    from_us, deadline_us = at_us - expect.before_s * _US, at_us + expect.within_s * _US
    if any(
        each.correlation == correlation
        and from_us <= each.at_us <= deadline_us
        and each.record_id != facts.record["id"]
        for each in awaited
    ):
        return "fulfilled"
    return "missed" if correlation is not None and deadline_us < end_us else "open"


def _tried(ready: Ready, facts: Facts, outcome: str) -> TriedEvent:
    refusal = ready.refusal(facts.chain)
    if refusal is not None:
        return TriedEvent(facts.record, "loop", refusal, [])
    detail, missed = None, None
    if (expect := ready.rule.expect) is not None:
        detail = f"awaits {' or '.join(expect.event)} of the same {expect.same} within"
        detail += f" {expect.within}"
        correlation = ready.correlation(facts)
        missed = {"from": None, "until": None, "correlation": correlation}
        if correlation is None:
            detail = f"nothing is awaited: the event has no {expect.same}"
    actions = [] if outcome == "fulfilled" else _actions(ready, facts, missed)
    return TriedEvent(facts.record, outcome, detail, actions)


def _actions(ready: Ready, facts: Facts, missed: Mapping[str, Any] | None) -> list[Prepared]:
    rule_id, chain = ready.row.rule_id, (*facts.chain, ready.row.rule_id)
    found = []
    for number in range(len(ready.rule.then)):
        key = firing_id(rule_id, facts.origin, number)
        work = Work(rule_id, ready.rule, "", number, key, facts, chain, missed)
        found.append(prepared(work))
    return found
