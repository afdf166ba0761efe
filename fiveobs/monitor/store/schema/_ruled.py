"""Rules of a project: what shall happen on which events, what did, and what is awaited."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    and_,
)

from fiveobs.monitor.store.columns import key, partial, text, time
from fiveobs.monitor.store.schema._base import metadata

__all__ = ["expectations", "firings", "rule_progress", "rules", "sightings"]

#: What shall happen on which events.
rules = Table(
    "rules",
    metadata,
    Column("rule_key", key(), primary_key=True),
    text("rule_id", nullable=False),
    Column("project_key", ForeignKey("projects.project_key"), nullable=False),
    text("name", nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    #: Grows with each change.
    Column("revision", Integer, nullable=False),
    #: As YAML and JSON have it, but for the name.
    Column("definition", JSON, nullable=False),
    #: Signs its webhooks; shown once.
    text("secret", nullable=False),
    text("created_by"),
    time("created_at_us", nullable=False),
    time("updated_at_us", nullable=False),
    #: The last event that was there before it was made or enabled: it is for those after that.
    Column("after_key", BigInteger, nullable=False),
    UniqueConstraint("rule_id"),
    UniqueConstraint("project_key", "name"),
)

#: How far events have been looked at for all rules: one row.
rule_progress = Table(
    "rule_progress",
    metadata,
    Column("name", Text, primary_key=True),
    Column("event_key", BigInteger, nullable=False),
)

#: One action of a rule, to be done or done because of one event.
firings = Table(
    "firings",
    metadata,
    Column("firing_key", key(), primary_key=True),
    #: The idempotency key: the same however often the same cause is met.
    text("firing_id", nullable=False),
    Column("rule_key", ForeignKey("rules.rule_key"), nullable=False),
    Column("project_key", BigInteger, nullable=False),
    #: The event that caused it.
    Column("event_key", BigInteger, nullable=False),
    #: When that happened; of what was awaited and did not happen, until when that was.
    time("cause_at_us", nullable=False),
    #: What was awaited after that event and did not happen, or happened late.
    Column("expectation_key", BigInteger),
    #: The place of the action in the rule, and its kind.
    Column("action_index", Integer, nullable=False),
    text("action", nullable=False),
    text("status", nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    time("created_at_us", nullable=False),
    #: When it is tried next; while it is being done, until when nobody else may do it.
    time("next_try_at_us"),
    time("ended_at_us"),
    text("last_error"),
    #: The ids of the rules that led to it, the first one first, itself the last.
    Column("chain", JSON, nullable=False),
    #: The job that it has started.
    text("job_id"),
    #: When its outcome was recorded in the journal.
    time("told_at_us"),
    UniqueConstraint("firing_id"),
    Index(None, "rule_key", "firing_key"),
    Index(None, "rule_key", "cause_at_us"),
    Index(None, "ended_at_us"),
)
partial("ix_firings_pending", firings.c.status == "pending", firings.c.next_try_at_us)
partial(
    "ix_firings_untold",
    and_(firings.c.told_at_us.is_(None), firings.c.ended_at_us.is_not(None)),
    firings.c.firing_key,
)
partial("ix_firings_job_id", firings.c.job_id.is_not(None), firings.c.project_key, firings.c.job_id)

#: What must follow an event, and until when.
expectations = Table(
    "expectations",
    metadata,
    Column("expectation_key", key(), primary_key=True),
    Column("rule_key", ForeignKey("rules.rule_key"), nullable=False),
    Column("project_key", BigInteger, nullable=False),
    Column("event_key", BigInteger, nullable=False),
    #: What both events have in common.
    text("correlation", nullable=False),
    time("from_us", nullable=False),
    time("deadline_us", nullable=False),
    text("status", nullable=False),
    #: The event that fulfilled it, or came late.
    Column("met_event_key", BigInteger),
    time("met_at_us"),
    time("ended_at_us"),
    Column("chain", JSON, nullable=False),
    UniqueConstraint("rule_key", "event_key"),
    Index(None, "rule_key", "correlation", "deadline_us"),
    Index(None, "ended_at_us"),
)
partial("ix_expectations_open", expectations.c.status == "open", expectations.c.deadline_us)

#: Events that a rule awaits: what they follow may be taken in after them.
sightings = Table(
    "sightings",
    metadata,
    Column("rule_key", ForeignKey("rules.rule_key"), primary_key=True, autoincrement=False),
    Column("event_key", BigInteger, primary_key=True, autoincrement=False),
    text("correlation", nullable=False),
    time("at_us", nullable=False),
    time("seen_at_us", nullable=False),
    Index(None, "rule_key", "correlation", "at_us"),
    Index(None, "seen_at_us"),
)
