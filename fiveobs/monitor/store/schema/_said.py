"""What workers said: every event, and what was made of those that say more than a state."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
)

from fiveobs.monitor.store.columns import count, key, number, partial, text, time
from fiveobs.monitor.store.schema._base import metadata

__all__ = ["conditions", "dependencies", "errors", "events", "measures", "resources", "unreadable"]

#: Every event and log line, in the order in which they were taken in.
events = Table(
    "events",
    metadata,
    Column("event_key", key(), primary_key=True),
    text("event_id", nullable=False),
    Column("project_key", BigInteger, nullable=False),
    Column("job_key", BigInteger),
    Column("attempt", Integer),
    Column("worker_key", BigInteger),
    Column("at_us", BigInteger, nullable=False),
    text("event_type", nullable=False),
    #: 10 debug, 20 info, 30 warning, 40 error, 50 critical, as in ``logging``.
    Column("level", SmallInteger, nullable=False),
    text("message", nullable=False),
    text("span_id"),
    #: The line's ``data``, as JSON text.
    text("data", nullable=False),
)
partial("ix_events_job_key", events.c.job_key.is_not(None), events.c.job_key, events.c.event_key)
#: What workers say of themselves goes by its time; what belongs to a job goes with the job.
partial("ix_events_of_workers", events.c.job_key.is_(None), events.c.project_key, events.c.at_us)

#: What users measured (``Job.count``, ``gauge``, ``record``), summed for each attempt.
measures = Table(
    "measures",
    metadata,
    Column("job_key", ForeignKey("jobs.job_key"), primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    #: The labels as sorted JSON text; ``{}`` if there are none.
    Column("labels", Text, primary_key=True),
    text("kind", nullable=False),
    text("unit", nullable=False),
    count("count"),
    number("total"),
    number("minimum"),
    number("maximum"),
    number("last"),
    time("last_at_us"),
)

#: What went wrong: exceptions that ended attempts and stages, and those that were logged.
errors = Table(
    "errors",
    metadata,
    Column("error_key", key(), primary_key=True),
    Column("project_key", ForeignKey("projects.project_key"), nullable=False),
    Column("job_key", ForeignKey("jobs.job_key")),
    Column("attempt", Integer),
    time("at_us", nullable=False),
    text("event_type", nullable=False),
    text("stage"),
    text("error_type", nullable=False),
    text("message", nullable=False),
    text("stacktrace"),
    text("sentry_event_id"),
    Index(None, "job_key"),
    Index(None, "project_key", "at_us"),
)

#: Jobs that a job said it needs (``depends_on``).
dependencies = Table(
    "dependencies",
    metadata,
    Column("job_key", ForeignKey("jobs.job_key"), primary_key=True, autoincrement=False),
    Column("needs_job_id", Text, primary_key=True),
    Column("project_key", ForeignKey("projects.project_key"), nullable=False),
    text("reason"),
    time("declared_at_us", nullable=False),
    Index(None, "project_key", "needs_job_id"),
)

#: What kept a job from going on, and what became of it (``state.changed`` to ``blocking`` and on).
conditions = Table(
    "conditions",
    metadata,
    Column("job_key", ForeignKey("jobs.job_key"), primary_key=True, autoincrement=False),
    Column("condition", Text, primary_key=True),
    text("state", nullable=False),
    time("changed_at_us", nullable=False),
    text("resolution"),
)

#: What jobs took into use and gave back (``resource.allocated``, ``resource.released``).
resources = Table(
    "resources",
    metadata,
    Column("job_key", ForeignKey("jobs.job_key"), primary_key=True, autoincrement=False),
    Column("resource", Text, primary_key=True),
    number("amount"),
    text("unit"),
    time("allocated_at_us"),
    time("released_at_us"),
    #: JSON text: the data of its latest event, and when that was.
    text("details"),
    time("said_at_us", nullable=False),
)

#: Journal lines that could not be read, as they are.
unreadable = Table(
    "unreadable",
    metadata,
    Column("unreadable_key", key(), primary_key=True),
    Column("worker_key", ForeignKey("workers.worker_key"), nullable=False),
    Column("segment", BigInteger, nullable=False),
    Column("offset_bytes", BigInteger, nullable=False),
    time("found_at_us", nullable=False),
    text("reason", nullable=False),
    Column("line", LargeBinary, nullable=False),
)
