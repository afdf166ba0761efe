"""The state that parts of a system agree on: what is observed, what is wanted, and its version."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from fiveobs.monitor.store.columns import key, partial, text, time
from fiveobs.monitor.store.schema._base import metadata

__all__ = ["entities", "positions"]

#: One row for each job, worker, machine, service and document whose state is kept.
entities = Table(
    "entities",
    metadata,
    Column("entity_key", key(), primary_key=True),
    Column("project_key", ForeignKey("projects.project_key"), nullable=False),
    #: ``job``, ``worker``, ``machine``, ``service`` or ``document``.
    text("kind", nullable=False),
    text("entity_id", nullable=False),
    #: One more with each change of what is observed or desired.
    Column("version", BigInteger, nullable=False),
    #: The place of its latest change among all changes, in the order of commits.
    Column("change_key", BigInteger, nullable=False),
    time("changed_at_us", nullable=False),
    text("health"),
    #: JSON text; what the monitor sees, and what somebody wants it to be (or a document's value).
    text("observed"),
    text("desired"),
    text("desired_by"),
    text("desired_reason"),
    time("desired_at_us"),
    #: Its last sign of life; moves without a new version.
    time("seen_at_us"),
    #: When it ended or was removed: the row is dropped some time after.
    time("over_at_us"),
    #: What was done to have it follow: how often, for which version, and when not again before.
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("tried_version", BigInteger, nullable=False, server_default="0"),
    time("next_try_at_us"),
    #: Why it is not tried any more.
    text("given_up"),
    UniqueConstraint("project_key", "kind", "entity_id"),
    Index(None, "project_key", "change_key"),
    Index(None, "change_key", unique=True),
    Index(None, "project_key", "health", "kind", "entity_id"),
)
partial("ix_entities_over", entities.c.over_at_us.is_not(None), entities.c.over_at_us)
#: What may change by itself, and what a reconciler looks at.
partial("ix_entities_open", entities.c.over_at_us.is_(None), entities.c.kind, entities.c.entity_key)
partial(
    "ix_entities_desired", entities.c.desired.is_not(None), entities.c.kind, entities.c.entity_key
)

#: Numbers that belong to all entities. Holding the row ``changes`` is the right to change one.
positions = Table(
    "positions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
    #: Of ``projector``: which monitor it is, until then.
    text("holder"),
)
