"""The tables. Only the monitor opens them; workers never do.

Times are integers: microseconds since 1970, UTC (``*_at_us``). Ids that others know (``job_id``,
``worker_id``) are text; keys that only the store knows (``job_key``) are integers. ``event_key``
grows with each event taken in, in the order of commits, so it is also the place in a stream:
whoever takes events in holds the row of ``sequences`` that keys come from until the commit.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from fiveobs.monitor.store.columns import count, key, number, partial, size, text, time

__all__ = [
    "attempts",
    "audit",
    "conditions",
    "deliveries",
    "dependencies",
    "errors",
    "events",
    "jobs",
    "kinds",
    "measures",
    "metadata",
    "projects",
    "resources",
    "samples",
    "sequences",
    "stages",
    "subscriptions",
    "tokens",
    "told",
    "unreadable",
    "workers",
]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: The last key that was given out, by table. Holding a row is the right to take events in.
sequences = Table(
    "sequences",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

#: Who may see what: every row that a caller can reach belongs to one project of one tenant.
projects = Table(
    "projects",
    metadata,
    Column("project_key", key(), primary_key=True),
    text("tenant_id", nullable=False),
    text("project_id", nullable=False),
    time("created_at_us", nullable=False),
    UniqueConstraint("tenant_id", "project_id"),
)

#: A process that wrote a journal, and how far that journal has been read.
workers = Table(
    "workers",
    metadata,
    Column("worker_key", key(), primary_key=True),
    #: The journal's name: ``<machine>-<pid>-<start>``.
    text("stem", nullable=False),
    Column("project_key", ForeignKey("projects.project_key"), nullable=False),
    text("worker_id"),
    text("machine_id"),
    text("service"),
    Column("pid", BigInteger),
    #: CPUs that it may use; a part of one where its container has less.
    number("cpu_count"),
    #: Its OpenTelemetry resource attributes, as JSON text.
    text("resource"),
    #: The first byte of the journal that is not in the store: segment and offset.
    Column("segment", BigInteger, nullable=False, server_default="1"),
    count("offset_bytes"),
    #: Lines taken in, and those that could not be read (kept in ``unreadable``).
    count("lines"),
    count("unreadable_lines"),
    time("started_at_us"),
    time("heartbeat_at_us"),
    time("stopped_at_us"),
    #: The latest time in its journal; what follows there is not earlier, whatever its clock says.
    Column("latest_at_us", BigInteger, nullable=False, server_default="0"),
    Column("active_jobs", BigInteger),
    #: CPU time since the process began, and the share of one core between two heartbeats.
    number("cpu_s"),
    number("cpu_percent"),
    size("memory_rss_bytes"),
    size("memory_used_bytes"),
    size("memory_limit_bytes"),
    UniqueConstraint("stem"),
    Index(None, "project_key", "heartbeat_at_us"),
)

#: A worker's figures at each heartbeat.
samples = Table(
    "samples",
    metadata,
    Column("worker_key", ForeignKey("workers.worker_key"), primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, primary_key=True, autoincrement=False),
    Column("active_jobs", BigInteger),
    number("cpu_s"),
    number("cpu_percent"),
    *map(size, ("memory_rss_bytes", "memory_used_bytes", "memory_limit_bytes")),
    #: Since the worker began, and since its machine's or container's network is there.
    Column("io_operations", BigInteger),
    *map(size, ("network_receive_bytes", "network_transmit_bytes")),
)

#: What kind of job: the same work done again and again has one history.
kinds = Table(
    "kinds",
    metadata,
    Column("kind_key", key(), primary_key=True),
    Column("project_key", ForeignKey("projects.project_key"), nullable=False),
    text("service", nullable=False),
    text("job_name", nullable=False),
    UniqueConstraint("project_key", "service", "job_name"),
)

#: One row for each job, with the state of its latest attempt.
jobs = Table(
    "jobs",
    metadata,
    Column("job_key", key(), primary_key=True),
    Column("project_key", ForeignKey("projects.project_key"), nullable=False),
    text("job_id", nullable=False),
    Column("kind_key", ForeignKey("kinds.kind_key"), nullable=False),
    text("status", nullable=False),
    Column("attempt", Integer, nullable=False),
    text("parent_job_id"),
    text("session_id"),
    text("request_id"),
    text("submitted_by"),
    text("priority"),
    text("queue"),
    #: When it was first heard of: received or, if it was not announced, started.
    time("created_at_us", nullable=False),
    time("started_at_us"),
    time("ended_at_us"),
    number("duration_s"),
    time("updated_at_us", nullable=False),
    UniqueConstraint("project_key", "job_id"),
    Index(None, "project_key", "status", "created_at_us"),
    Index(None, "project_key", "created_at_us"),
    Index(None, "kind_key", "status", "ended_at_us"),
    Index(None, "kind_key", "status", "created_at_us"),
    Index(None, "kind_key", "created_at_us"),
)
for _id in (jobs.c.session_id, jobs.c.request_id, jobs.c.parent_job_id):
    partial(f"ix_jobs_{_id.name}", _id.is_not(None), jobs.c.project_key, _id)
for _whose in (jobs.c.project_key, jobs.c.kind_key):  # lists of the longest
    _name, _took = f"ix_jobs_{_whose.name}_duration_s", jobs.c.duration_s
    partial(_name, _took.is_not(None), _whose, _took, jobs.c.job_key)
partial(
    "ix_jobs_submitted_by",
    jobs.c.submitted_by.is_not(None),
    jobs.c.project_key,
    jobs.c.submitted_by,
    jobs.c.status,
    jobs.c.created_at_us,
)
#: What waits, in the order in which it came: a job's place in its queue is counted here.
partial(
    "ix_jobs_queue",
    jobs.c.status == "received",
    jobs.c.project_key,
    jobs.c.queue,
    jobs.c.created_at_us,
    jobs.c.job_key,
)

#: One row for each attempt at a job.
attempts = Table(
    "attempts",
    metadata,
    Column("job_key", ForeignKey("jobs.job_key"), primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    text("status", nullable=False),
    #: When the event that led to this status happened.
    time("status_at_us", nullable=False),
    Column("worker_key", ForeignKey("workers.worker_key")),
    text("trace_id"),
    text("span_id"),
    #: How many runs are known under this number; the row tells of the one that began last.
    count("runs"),
    time("received_at_us"),
    time("started_at_us"),
    time("ended_at_us"),
    time("progress_at_us"),
    #: The latest of each: begun or gone on, paused, concluded to be lost, and any sign of life,
    #: heartbeats of its worker included. The status follows from these.
    time("running_at_us"),
    time("paused_at_us"),
    time("lost_at_us"),
    time("alive_at_us"),
    #: Whence ``percent`` is: an attempt's last event may say it, too.
    time("percent_at_us"),
    number("queue_wait_s"),
    number("percent"),
    number("done"),
    number("total"),
    number("eta_s"),
    #: What it last said it was doing.
    text("activity"),
    text("stage"),
    number("duration_s"),
    number("cpu_s"),
    size("input_size_bytes"),
    size("output_size_bytes"),
    #: Events and log lines by level; critical ones count as errors.
    *map(count, ("debug_entries", "info_entries", "warning_entries", "error_entries")),
    #: JSON text, as are the two after it: the names of the stages that were announced, in order.
    text("planned_stages"),
    text("attributes"),
    text("result"),
    text("error_type"),
    text("error_message"),
    text("sentry_event_id"),
    #: Why it is taken to be lost.
    text("lost_cause"),
    text("lost_details"),
    #: What the job said of its next attempt.
    *(text("retry_reason"), number("retry_delay_s")),
    Index(None, "trace_id"),
    Index(None, "worker_key", "status"),
)

#: The stages of an attempt that have begun, in the order in which they did.
stages = Table(
    "stages",
    metadata,
    Column("job_key", ForeignKey("jobs.job_key"), primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("stage_index", Integer, primary_key=True, autoincrement=False),
    text("stage", nullable=False),
    text("status", nullable=False),
    text("span_id"),
    time("started_at_us"),
    time("ended_at_us"),
    time("updated_at_us"),
    text("unit"),
    *map(number, ("done", "total", "percent", "rate_per_s", "eta_s", "duration_s", "cpu_s")),
    size("memory_rss_bytes"),
    size("memory_growth_bytes"),
    *map(size, ("io_read_bytes", "io_write_bytes")),
    *map(size, ("network_receive_bytes", "network_transmit_bytes")),
    #: JSON text.
    text("attributes"),
    text("error_type"),
    text("error_message"),
)

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

#: Who wants to hear of events, and where.
subscriptions = Table(
    "subscriptions",
    metadata,
    Column("subscription_key", key(), primary_key=True),
    text("subscription_id", nullable=False),
    Column("project_key", ForeignKey("projects.project_key"), nullable=False),
    Column("job_key", ForeignKey("jobs.job_key")),
    text("kind", nullable=False),
    text("status", nullable=False),
    text("url"),
    Column("events", JSON, nullable=False),
    Column("filters", JSON, nullable=False),
    #: How to prove to the receiver who sends; never shown.
    Column("authentication", JSON),
    #: Signs deliveries; shown once.
    text("secret"),
    text("created_by"),
    #: The token that answers for it; ends with it.
    text("token_id"),
    time("created_at_us", nullable=False),
    time("expires_at_us"),
    #: The last event that was looked at for it.
    Column("event_key", BigInteger, nullable=False),
    text("ended_reason"),
    UniqueConstraint("subscription_id"),
    Index(None, "status"),
    Index(None, "job_key"),
)

#: The progress that a subscriber was last told of a running job, or of one of its stages.
told = Table(
    "told",
    metadata,
    Column(
        "subscription_key",
        ForeignKey("subscriptions.subscription_key"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("job_key", BigInteger, primary_key=True, autoincrement=False),
    #: 0 is the job itself.
    Column("stage_index", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("percent", Float(53), nullable=False),
)

#: One event on its way to one subscriber.
deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_key", key(), primary_key=True),
    Column("subscription_key", ForeignKey("subscriptions.subscription_key"), nullable=False),
    Column("event_key", BigInteger, nullable=False),
    text("status", nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    time("created_at_us", nullable=False),
    time("next_try_at_us"),
    time("ended_at_us"),
    Column("http_status", Integer),
    text("last_error"),
    UniqueConstraint("subscription_key", "event_key"),
    Index(None, "status", "next_try_at_us"),
)

partial(
    "ix_deliveries_pending",
    deliveries.c.status == "pending",
    deliveries.c.subscription_key,
    deliveries.c.event_key,
)

#: Who may call. The token itself is not kept, only its hash.
tokens = Table(
    "tokens",
    metadata,
    Column("token_key", key(), primary_key=True),
    text("token_id", nullable=False),
    text("hash", nullable=False),
    text("name", nullable=False),
    text("role", nullable=False),
    #: Empty: every tenant, every project.
    text("tenant_id"),
    text("project_id"),
    time("created_at_us", nullable=False),
    time("expires_at_us"),
    time("used_at_us"),
    time("revoked_at_us"),
    Column("is_first", Boolean, nullable=False, server_default="0"),
    UniqueConstraint("token_id"),
)

#: Who did what, when and why.
audit = Table(
    "audit",
    metadata,
    Column("audit_key", key(), primary_key=True),
    time("at_us", nullable=False),
    Column("project_key", ForeignKey("projects.project_key")),
    text("actor", nullable=False),
    text("action", nullable=False),
    text("target", nullable=False),
    text("reason"),
    text("outcome", nullable=False),
    Column("details", JSON),
    Index(None, "project_key", "at_us"),
    Index(None, "target"),
)
#: Requests of which nobody knows yet what became of them.
partial("ix_audit_requested", audit.c.outcome == "requested", audit.c.audit_key)

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
