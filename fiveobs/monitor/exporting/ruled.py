"""The tables of rules, of what they did, and of what they await."""

from __future__ import annotations

from fiveobs.monitor.exporting.columns import Columns, named_by
from fiveobs.monitor.exporting.table import Table
from fiveobs.monitor.exporting.walking import ByKey, ByParent, keys_of
from fiveobs.monitor.store.schema import events, expectations, firings, rules

__all__ = ["EXPECTATIONS", "FIRINGS", "RULES"]

_rule = Columns(rules)
_RULES = ByKey(rules.c.rule_key, where=lambda wanted: [rules.c.project_key == wanted.project_key])
RULES = Table(
    name="rules",
    doc="What shall happen on which events. What a rule says is left out, because its webhooks have"
    " secrets: `fiveobs rules list --yaml` gives it without them.",
    walk=_RULES,
    columns=(
        _rule.text("rule_id", "its id"),
        _rule.text("name", "what it is called"),
        _rule.boolean("is_enabled", "whether it acts"),
        _rule.integer("revision", "grows with each change"),
        _rule.text("created_by", "the name of the token that made it"),
        _rule.time("created_at", "when"),
        _rule.time("updated_at", "when it was changed last"),
    ),
)

_firing = Columns(firings)
FIRINGS = Table(
    name="firings",
    doc="An action of a rule because of an event, done or to be done; what has ended is kept for 30"
    " days.",
    walk=ByParent(keys_of(_RULES), firings.c.rule_key, firings.c.firing_key),
    columns=(
        _firing.text("firing_id", "the idempotency key"),
        _firing.text(
            "rule_id", "of which rule", named_by(firings.c.rule_key, rules, rules.c.rule_id)
        ),
        _firing.text(
            "event_id",
            "because of which event",
            named_by(firings.c.event_key, events, events.c.event_id),
        ),
        _firing.time("cause_at", "when that happened, or until when something should have"),
        _firing.integer("action_index", "the place of the action in the rule, from 0"),
        _firing.text("action", "`webhook`, `emit`, `process` or `launch`"),
        _firing.text("status", "`pending`, `done`, `dead`, `limited`, `loop` or `late`"),
        _firing.integer("tries", "how often it was tried"),
        _firing.time("created_at", "since when it is to be done"),
        _firing.time("next_try_at", "when it is tried again"),
        _firing.time("ended_at", "when it was done, or given up"),
        _firing.text("last_error", "what went wrong last"),
        _firing.json(
            "chain", "the ids of the rules that led to it, itself the last", is_text=False
        ),
        _firing.text("job_id", "the job that it has started"),
        _firing.time("told_at", "when its outcome was recorded in the journal"),
    ),
)

_expectation = Columns(expectations)
EXPECTATIONS = Table(
    name="expectations",
    doc="What must follow an event, by a rule; what has ended is kept for 30 days.",
    walk=ByParent(keys_of(_RULES), expectations.c.rule_key, expectations.c.expectation_key),
    columns=(
        _expectation.text(
            "rule_id", "of which rule", named_by(expectations.c.rule_key, rules, rules.c.rule_id)
        ),
        _expectation.text(
            "event_id",
            "after which event",
            named_by(expectations.c.event_key, events, events.c.event_id),
        ),
        _expectation.text("correlation", "what both events have in common"),
        _expectation.time("from", "from when on it counts"),
        _expectation.time("deadline", "until when it must have happened"),
        _expectation.text("status", "`open`, `fulfilled`, `missed` or `cancelled`"),
        _expectation.text(
            "met_event_id",
            "the event that fulfilled it, or came late",
            named_by(expectations.c.met_event_key, events, events.c.event_id),
        ),
        _expectation.time("met_at", "when that happened"),
        _expectation.time("ended_at", "when it was no longer open"),
        _expectation.json("chain", "the ids of the rules that led to its event", is_text=False),
    ),
)
