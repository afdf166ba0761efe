"""The tables of jobs, their attempts and stages, their kinds, and the workers that did them."""

from __future__ import annotations

from sqlalchemy import func

from fiveobs.monitor.exporting.columns import Columns, named_by
from fiveobs.monitor.exporting.table import Table
from fiveobs.monitor.exporting.walking import (
    JOB,
    KIND,
    PERIOD,
    STATUS,
    ByKey,
    ByParent,
    jobs_of,
    keys_of,
)
from fiveobs.monitor.store.schema import attempts, jobs, kinds, samples, stages, workers
from fiveobs.monitor.tracking.tracked import STATUS_WORDS

__all__ = [
    "ATTEMPTS",
    "JOBS",
    "JOB_FILTERS",
    "KINDS",
    "KIND_NAME",
    "OF_JOB",
    "SAMPLES",
    "STAGES",
    "WORKERS",
]

#: What the tables of jobs, and of what belongs to them, can be chosen by.
JOB_FILTERS = (PERIOD, KIND, STATUS, JOB)
#: What their period is about.
OF_JOB = "when the job was first heard of"
#: Where nobody said what kind of job it is, it is named after its service.
KIND_NAME = func.coalesce(func.nullif(kinds.c.job_name, ""), kinds.c.service)
_STAGE_WORDS = {status: status.capitalize() for status in ("running", "completed", "failed")}

_job = Columns(jobs)
JOBS = Table(
    name="jobs",
    doc="A job, with the state of its latest attempt.",
    period=OF_JOB,
    walk=ByParent(jobs_of, jobs.c.job_key, filters=JOB_FILTERS),
    columns=(
        _job.text("job_id", "its id"),
        _job.text(
            "service",
            "the service it belongs to",
            named_by(jobs.c.kind_key, kinds, kinds.c.service),
        ),
        _job.text("job_name", "its kind", named_by(jobs.c.kind_key, kinds, KIND_NAME)),
        _job.word("status", "its status, in the words of the HTTP API", STATUS_WORDS),
        _job.integer("attempt", "the number of its latest attempt, from 1"),
        _job.text("parent_job_id", "the job that it runs inside"),
        _job.text("session_id", "its session"),
        _job.text("request_id", "its request"),
        _job.text("submitted_by", "who asked for it"),
        _job.text("priority", "how urgent it was said to be"),
        _job.text("queue", "where it waited"),
        _job.time("created_at", "when it was first heard of: received or, if that was not, begun"),
        _job.time("started_at", "when its latest attempt began"),
        _job.time("ended_at", "when that ended"),
        _job.number("duration_s", "how long that took, in seconds"),
        _job.time("updated_at", "when something was last heard of it"),
    ),
)

_attempt = Columns(attempts)
ATTEMPTS = Table(
    name="attempts",
    doc="An attempt at a job.",
    period=OF_JOB,
    walk=ByParent(jobs_of, attempts.c.job_key, attempts.c.attempt, filters=JOB_FILTERS),
    columns=(
        _attempt.text("job_id", "the job", named_by(attempts.c.job_key, jobs, jobs.c.job_id)),
        _attempt.integer("attempt", "its number, from 1"),
        _attempt.word("status", "its status, in the words of the HTTP API", STATUS_WORDS),
        _attempt.time("status_at", "when it came to that"),
        _attempt.text(
            "worker_id",
            "the worker that ran it",
            named_by(attempts.c.worker_key, workers, workers.c.worker_id),
        ),
        _attempt.text(
            "machine_id",
            "the machine it ran on",
            named_by(attempts.c.worker_key, workers, workers.c.machine_id),
        ),
        _attempt.text("trace_id", "its trace"),
        _attempt.text("span_id", "its span"),
        _attempt.integer("runs", "how many runs are known under this number"),
        _attempt.time("received_at", "when it was announced"),
        _attempt.time("started_at", "when it began"),
        _attempt.time("ended_at", "when it ended"),
        _attempt.time("progress_at", "when it last told of its progress"),
        _attempt.time("alive_at", "the last sign of life, heartbeats of its worker included"),
        _attempt.number("queue_wait_s", "how long it waited, in seconds"),
        _attempt.number("percent", "its progress, 0 to 100"),
        _attempt.number("done", "records done"),
        _attempt.number("total", "of so many"),
        _attempt.number("eta_s", "seconds left, as it said itself"),
        _attempt.text("activity", "what it last said it was doing"),
        _attempt.text("stage", "the stage it was in last"),
        _attempt.number("duration_s", "how long it took, in seconds"),
        _attempt.number("cpu_s", "CPU time, in seconds"),
        _attempt.integer("input_size_bytes", "the size of what it was given"),
        _attempt.integer("output_size_bytes", "the size of what it made"),
        _attempt.integer("debug_entries", "events and log lines of level debug"),
        _attempt.integer("info_entries", "of level info"),
        _attempt.integer("warning_entries", "of level warning"),
        _attempt.integer("error_entries", "of levels error and critical"),
        _attempt.json("planned_stages", "the names of the stages that it announced"),
        _attempt.json("attributes", "what it said about itself"),
        _attempt.json("result", "its result, if it was recorded"),
        _attempt.text("error_type", "the type of the error that ended it"),
        _attempt.text("error_message", "and its message"),
        _attempt.text("sentry_event_id", "the same error in Sentry"),
        _attempt.text("lost_cause", "why it is taken to be lost"),
        _attempt.json("lost_details", "the evidence for that"),
        _attempt.text("retry_reason", "why there is to be another attempt"),
        _attempt.number("retry_delay_s", "after how many seconds"),
    ),
)

_stage = Columns(stages)
STAGES = Table(
    name="stages",
    doc="A stage of an attempt that has begun.",
    period=OF_JOB,
    walk=ByParent(
        jobs_of, stages.c.job_key, stages.c.attempt, stages.c.stage_index, filters=JOB_FILTERS
    ),
    columns=(
        _stage.text("job_id", "the job", named_by(stages.c.job_key, jobs, jobs.c.job_id)),
        _stage.integer("attempt", "the attempt"),
        _stage.integer("stage_index", "its place among the stages of the attempt, from 1"),
        _stage.text("stage", "its name"),
        _stage.word("status", "`Running`, `Completed` or `Failed`", _STAGE_WORDS),
        _stage.text("span_id", "its span"),
        _stage.time("started_at", "when it began"),
        _stage.time("ended_at", "when it ended"),
        _stage.time("updated_at", "when something was last heard of it"),
        _stage.text("unit", "what it counts"),
        _stage.number("done", "records done"),
        _stage.number("total", "of so many"),
        _stage.number("percent", "its progress, 0 to 100"),
        _stage.number("rate_per_s", "records a second"),
        _stage.number("eta_s", "seconds left, as it said itself"),
        _stage.number("duration_s", "how long it took, in seconds"),
        _stage.number("cpu_s", "CPU time of the process meanwhile, in seconds"),
        _stage.integer("memory_rss_bytes", "resident memory of the process at its end"),
        _stage.integer("memory_growth_bytes", "by how much that grew meanwhile"),
        _stage.integer("io_read_bytes", "read from disks by the process meanwhile"),
        _stage.integer("io_write_bytes", "written to disks"),
        _stage.integer("network_receive_bytes", "received by the machine or container meanwhile"),
        _stage.integer("network_transmit_bytes", "and sent"),
        _stage.json("attributes", "what the job said about it"),
        _stage.text("error_type", "the type of the error that ended it"),
        _stage.text("error_message", "and its message"),
    ),
)

_kind = Columns(kinds)
KINDS = Table(
    name="kinds",
    doc="A kind of job: the same work, done again and again.",
    walk=ByKey(kinds.c.kind_key, where=lambda wanted: [kinds.c.project_key == wanted.project_key]),
    columns=(
        _kind.text("service", "the service it belongs to"),
        _kind.text("job_name", "its name; where there is none, its service's", KIND_NAME),
    ),
)

_worker = Columns(workers)
_WORKERS = ByKey(
    workers.c.worker_key, where=lambda wanted: [workers.c.project_key == wanted.project_key]
)
WORKERS = Table(
    name="workers",
    doc="A process that wrote a journal, with the figures of its last heartbeat.",
    walk=_WORKERS,
    columns=(
        _worker.text("worker_id", "its id, which the next process of that worker may have again"),
        _worker.text("journal", "the name of its journal, which is its own", workers.c.stem),
        _worker.text("machine_id", "the machine it ran on"),
        _worker.text("service", "its service"),
        _worker.integer("pid", "its process id"),
        _worker.number("cpu_count", "CPUs that it may use"),
        _worker.json("resource", "its OpenTelemetry resource attributes"),
        _worker.integer("lines", "lines of its journal that were taken in"),
        _worker.integer("unreadable_lines", "lines that could not be read"),
        _worker.time("started_at", "when it began"),
        _worker.time("heartbeat_at", "its last heartbeat"),
        _worker.time("stopped_at", "when it said that it ends"),
        _worker.integer("active_jobs", "jobs that it ran then"),
        _worker.number("cpu_s", "CPU time since it began, in seconds"),
        _worker.number("cpu_percent", "percent of one CPU"),
        _worker.integer("memory_rss_bytes", "its resident memory"),
        _worker.integer("memory_used_bytes", "memory used on the machine or in the container"),
        _worker.integer("memory_limit_bytes", "and how much there is"),
    ),
)

_sample = Columns(samples)
SAMPLES = Table(
    name="samples",
    doc="The figures of a worker at one heartbeat.",
    period="when the heartbeat was",
    walk=ByParent(
        keys_of(_WORKERS),
        samples.c.worker_key,
        samples.c.at_us,
        where=lambda wanted: [
            samples.c.at_us >= wanted.period[0],
            samples.c.at_us < wanted.period[1],
        ],
        filters=(PERIOD,),
    ),
    columns=(
        _sample.text(
            "worker_id", "the worker", named_by(samples.c.worker_key, workers, workers.c.worker_id)
        ),
        _sample.text(
            "journal", "its journal", named_by(samples.c.worker_key, workers, workers.c.stem)
        ),
        _sample.time("at", "when"),
        _sample.integer("active_jobs", "jobs that it ran"),
        _sample.number("cpu_s", "CPU time since it began, in seconds"),
        _sample.number("cpu_percent", "percent of one CPU since the heartbeat before"),
        _sample.integer("memory_rss_bytes", "its resident memory"),
        _sample.integer("memory_used_bytes", "memory used on the machine or in the container"),
        _sample.integer("memory_limit_bytes", "and how much there is"),
        _sample.integer("io_operations", "disk operations since it began"),
        _sample.integer("network_receive_bytes", "received since the machine or container runs"),
        _sample.integer("network_transmit_bytes", "and sent"),
    ),
)
