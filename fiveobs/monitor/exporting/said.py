"""The tables of what workers said: events, errors, measures, and what was made of the others."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from fiveobs.monitor.exporting.columns import Columns, named_by
from fiveobs.monitor.exporting.table import Table
from fiveobs.monitor.exporting.walking import (
    PERIOD,
    ByKey,
    ByParent,
    Wanted,
    jobs_of,
)
from fiveobs.monitor.exporting.work import JOB_FILTERS, OF_JOB
from fiveobs.monitor.live.events import LEVEL_NAMES
from fiveobs.monitor.store.schema import (
    conditions,
    dependencies,
    errors,
    events,
    jobs,
    measures,
    resources,
    workers,
)

__all__ = [
    "CONDITIONS",
    "DEPENDENCIES",
    "ERRORS",
    "EVENTS",
    "MEASURES",
    "RESOURCES",
    "WORKER_EVENTS",
]

_event = Columns(events)
_WHAT_IT_IS = (
    _event.text("event_id", "its id"),
    _event.time("at", "when it happened"),
    _event.text("event_type", "[what happened](events.md); `log` is a log line"),
    _event.word("level", "`debug`, `info`, `warning`, `error` or `critical`", LEVEL_NAMES),
    _event.text("message", "in words"),
)
_WHOSE_IT_IS = (
    _event.text(
        "worker_id",
        "the worker that said it",
        named_by(events.c.worker_key, workers, workers.c.worker_id),
    ),
    _event.text("span_id", "the span it belongs to"),
    _event.json("data", "what belongs to its type"),
)
EVENTS = Table(
    name="events",
    doc="An event or a log line of a job; those of one job in the order in which they came in.",
    period=OF_JOB,
    walk=ByParent(jobs_of, events.c.job_key, events.c.event_key, filters=JOB_FILTERS),
    columns=(
        *_WHAT_IT_IS,
        _event.text("job_id", "the job", named_by(events.c.job_key, jobs, jobs.c.job_id)),
        _event.integer("attempt", "the attempt"),
        *_WHOSE_IT_IS,
    ),
)


def _without_job(wanted: Wanted) -> list[Any]:
    from_us, to_us = wanted.period
    return [
        events.c.project_key == wanted.project_key,
        events.c.job_key.is_(None),
        events.c.at_us >= from_us,
        events.c.at_us < to_us,
    ]


WORKER_EVENTS = Table(
    name="worker_events",
    doc="An event or a log line that belongs to no job, such as a worker's beginning, heartbeat and"
    " end.",
    period="when it happened",
    walk=ByKey(events.c.at_us, events.c.event_key, where=_without_job, filters=(PERIOD,)),
    columns=_WHAT_IT_IS + _WHOSE_IT_IS,
)


def _errors(wanted: Wanted) -> list[Any]:
    from_us, to_us = wanted.period
    found: list[Any] = [
        errors.c.project_key == wanted.project_key,
        errors.c.at_us >= from_us,
        errors.c.at_us < to_us,
    ]
    if wanted.job is not None:
        found.append(errors.c.job_key == wanted.job.job_key)
    of_job: list[Any] = []
    if wanted.kind_keys is not None:
        of_job.append(jobs.c.kind_key.in_(wanted.kind_keys))
    if wanted.status is not None:
        of_job.append(jobs.c.status == wanted.status)
    if of_job:
        # With the key beside it, so that each row asks for its job and not for all that fit.
        found.append(
            select(jobs.c.job_key).where(jobs.c.job_key == errors.c.job_key, *of_job).exists()
        )
    return found


_error = Columns(errors)
ERRORS = Table(
    name="errors",
    doc="Something that went wrong: what ended an attempt or a stage, and what was logged.",
    period="when it happened",
    walk=ByKey(errors.c.at_us, errors.c.error_key, where=_errors, filters=JOB_FILTERS),
    columns=(
        _error.time("at", "when it happened"),
        _error.text("job_id", "the job", named_by(errors.c.job_key, jobs, jobs.c.job_id)),
        _error.integer("attempt", "the attempt"),
        _error.text("event_type", "the type of the event that told of it"),
        _error.text("stage", "the stage it happened in"),
        _error.text("error_type", "the type of the exception"),
        _error.text("message", "its message"),
        _error.text("stacktrace", "where it was raised"),
        _error.text("sentry_event_id", "the same error in Sentry"),
    ),
)

_measure = Columns(measures)
MEASURES = Table(
    name="measures",
    doc="What an attempt measured under one name and one set of labels (`job.count`, `job.gauge`,"
    " `job.record`), summed.",
    period=OF_JOB,
    walk=ByParent(
        jobs_of,
        measures.c.job_key,
        measures.c.attempt,
        measures.c.name,
        measures.c.labels,
        filters=JOB_FILTERS,
    ),
    columns=(
        _measure.text("job_id", "the job", named_by(measures.c.job_key, jobs, jobs.c.job_id)),
        _measure.integer("attempt", "the attempt"),
        _measure.text("name", "what it measured"),
        _measure.json("labels", "its labels"),
        _measure.text("kind", "`counter`, `gauge` or `histogram`"),
        _measure.text("unit", "in what"),
        _measure.integer("count", "how often"),
        _measure.number("total", "the sum"),
        _measure.number("minimum", "the least"),
        _measure.number("maximum", "the most"),
        _measure.number("last", "the last value"),
        _measure.time("last_at", "when that was"),
    ),
)

_resource = Columns(resources)
RESOURCES = Table(
    name="resources",
    doc="What a job took into use (`resource.allocated`) and gave back.",
    period=OF_JOB,
    walk=ByParent(jobs_of, resources.c.job_key, resources.c.resource, filters=JOB_FILTERS),
    columns=(
        _resource.text("job_id", "the job", named_by(resources.c.job_key, jobs, jobs.c.job_id)),
        _resource.text("resource", "what"),
        _resource.number("amount", "how much"),
        _resource.text("unit", "in what"),
        _resource.time("allocated_at", "from when on"),
        _resource.time("released_at", "until when"),
        _resource.json("details", "the data of the latest event of it"),
        _resource.time("said_at", "when that was"),
    ),
)

_dependency = Columns(dependencies)
DEPENDENCIES = Table(
    name="dependencies",
    doc="A job that a job said it needs.",
    period=OF_JOB,
    walk=ByParent(
        jobs_of, dependencies.c.job_key, dependencies.c.needs_job_id, filters=JOB_FILTERS
    ),
    columns=(
        _dependency.text(
            "job_id", "the job", named_by(dependencies.c.job_key, jobs, jobs.c.job_id)
        ),
        _dependency.text("needs_job_id", "the job that it needs"),
        _dependency.text("reason", "what for"),
        _dependency.time("declared_at", "when it said so"),
    ),
)

_condition = Columns(conditions)
CONDITIONS = Table(
    name="conditions",
    doc="What keeps, or kept, a job from going on.",
    period=OF_JOB,
    walk=ByParent(jobs_of, conditions.c.job_key, conditions.c.condition, filters=JOB_FILTERS),
    columns=(
        _condition.text("job_id", "the job", named_by(conditions.c.job_key, jobs, jobs.c.job_id)),
        _condition.text("condition", "what"),
        _condition.text("state", "how that is now: `blocking`, `resolved` …"),
        _condition.time("changed_at", "since when"),
        _condition.text("resolution", "how it was resolved"),
    ),
)
