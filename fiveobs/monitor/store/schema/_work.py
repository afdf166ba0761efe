"""Workers, the jobs that they did, and the attempts and stages of those."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, UniqueConstraint

from fiveobs.monitor.store.columns import count, key, number, partial, size, text, time
from fiveobs.monitor.store.schema._base import metadata

__all__ = ["attempts", "jobs", "kinds", "samples", "stages", "workers"]

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
