"""What each type of event says of its job, its attempt and its stage.

A fold refuses a record (``ValueError``, ``TypeError``, ``KeyError``) before it changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from fiveobs.monitor.ingest.rows import Rows
from fiveobs.monitor.ingest.states import FINAL, AttemptState, JobState, StageState
from fiveobs.monitor.ingest.values import (
    MAX_NAME_LENGTH,
    as_json,
    beginning,
    cut,
    number,
    to_us,
    whole,
    word,
)

__all__ = ["FOLDS", "Fold", "add_error", "lost_at", "measure"]

#: The state of an entity (``state.changed``) that keeps a job from going on.
BLOCKING = "blocking"
#: Attributes of a job that have a column of their own.
_SUBMITTED_BY, _PRIORITY = "submitted_by", "priority"
_MOST_STAGES = 2**31 - 1

Record = Mapping[str, Any]
Function = Callable[[Rows, JobState, AttemptState, int, Record, dict[str, Any]], None]


class Fold(NamedTuple):
    """How events of one type are folded."""

    fold: Function
    #: Only the job itself says it: a sign of life.
    is_alive: bool = True
    #: It may change the status, or times that the job has too.
    is_move: bool = False
    #: Its span is the run's own.
    is_of_run: bool = False


# --- jobs ------------------------------------------------------------------------------------


def _received(
    rows: Rows, job: JobState, attempt: AttemptState, at: int, record: Record, data: dict[str, Any]
) -> None:
    if attempt.received_at_us is None or at < attempt.received_at_us:
        before, attempt.received_at_us = attempt.received_at_us, at
        job.originate("received_at_us", before, at)
    is_late = attempt.started_at_us is not None or attempt.status in FINAL
    _describe(job, attempt, data, is_late=is_late)
    _need(rows, job, at, data)


def _started(
    rows: Rows, job: JobState, attempt: AttemptState, at: int, record: Record, data: dict[str, Any]
) -> None:
    attempt.runs = attempt.runs or 1
    before, span_id = attempt.started_at_us, record.get("span_id")
    is_listed = span_id is not None and span_id == attempt.span_id  # by a heartbeat, before
    if before is not None and before <= at and not is_listed:
        return  # the same attempt, begun again: it counts from its first beginning
    attempt.started_at_us = at
    job.originate("started_at_us", before, at)
    attempt.span_id = span_id
    attempt.trace_id = cut(record.get("trace_id"))
    if data:
        attempt.queue_wait_s = number(data.get("queue_wait_s"))
        stages = data.get("stages")
        attempt.planned_stages = as_json(stages) if isinstance(stages, list) else None
        _describe(job, attempt, data, is_late=attempt.status in FINAL)
        _need(rows, job, at, data)


def _describe(
    job: JobState, attempt: AttemptState, data: Mapping[str, Any], *, is_late: bool
) -> None:
    """Take over what is said of the job; where that is late, only what nobody else has said."""
    queue = cut(data.get("queue"))
    if queue is not None and not (is_late and job.queue is not None):
        job.queue = queue
    size = whole(data.get("input_size_bytes"))
    if size is not None and not (is_late and attempt.input_size_bytes is not None):
        attempt.input_size_bytes = size
    attributes = data.get("attributes")
    if isinstance(attributes, dict) and not (is_late and attempt.attributes is not None):
        attempt.attributes = as_json(attributes)
        job.submitted_by = cut(attributes.get(_SUBMITTED_BY)) or job.submitted_by
        job.priority = cut(attributes.get(_PRIORITY)) or job.priority


def _need(rows: Rows, job: JobState, at: int, data: Mapping[str, Any]) -> None:
    """Note the jobs that it depends on: a text, a list of them, or reasons by id."""
    needed = data.get("depends_on")
    if not needed:
        return
    if not isinstance(needed, dict):
        listed = needed if isinstance(needed, list) else [needed]
        needed = {each: None for each in listed if isinstance(each, str)}
    for job_id, reason in needed.items():
        if job_id != job.job_id and len(job_id) <= MAX_NAME_LENGTH:
            rows.dependencies.append((job.job_key, job_id, job.project_key, word(reason), at))


def _progress(
    rows: Rows, job: JobState, attempt: AttemptState, at: int, record: Record, data: dict[str, Any]
) -> None:
    percent, order_us = number(data.get("percent")), rows.order_us
    if attempt.progress_at_us is None or order_us >= attempt.progress_at_us:
        attempt.progress_at_us = order_us
        attempt.done = number(data.get("done"))
        attempt.total = number(data.get("total"))
        attempt.activity = record["message"]
        attempt.eta_s = number(data.get("eta_s"))
    _percent(attempt, order_us, percent)


def _percent(attempt: AttemptState, at: int, percent: float | None) -> None:
    if percent is not None and (attempt.percent_at_us is None or at >= attempt.percent_at_us):
        attempt.percent_at_us = at
        attempt.percent = percent


def _ended(
    rows: Rows, job: JobState, attempt: AttemptState, at: int, record: Record, data: dict[str, Any]
) -> None:
    if not attempt.end(record["event_type"][4:], rows.order_us, at):
        return
    get = data.get
    attempt.duration_s = number(get("duration_s"))
    attempt.cpu_s = number(get("cpu_s"))
    attempt.output_size_bytes = whole(get("output_size_bytes"))
    attempt.input_size_bytes = whole(get("input_size_bytes")) or attempt.input_size_bytes
    _percent(attempt, rows.order_us, number(get("percent")))
    if not attempt.stages:
        attempt.stage = cut(get("stage"))
    attempt.result = as_json(get("result"))
    if "attributes" in data:
        _describe(job, attempt, {"attributes": data["attributes"]}, is_late=False)
    error = get("error")
    error = error if isinstance(error, dict) else {}
    attempt.error_type = word(error.get("type"))
    attempt.error_message = word(error.get("message"))
    attempt.sentry_event_id = word(get("sentry_event_id"))


def _retrying(
    rows: Rows, job: JobState, attempt: AttemptState, at: int, record: Record, data: dict[str, Any]
) -> None:
    attempt.retry_reason = word(data.get("reason")) or ""
    attempt.retry_delay_s = number(data.get("delay_s"))


def _paused(
    rows: Rows, job: JobState, attempt: AttemptState, at: int, record: Record, data: dict[str, Any]
) -> None:
    attempt.pause(rows.order_us)


def _lost(
    rows: Rows, job: JobState, attempt: AttemptState, at: int, record: Record, data: dict[str, Any]
) -> None:
    attempt.lose(word(data.get("cause")) or "exited", as_json(data), lost_at(rows.order_us, data))


def lost_at(order_us: int, data: Mapping[str, Any]) -> int:
    """When a job that is reported as lost was last seen, by the worker's clock and not another.

    Raises:
        ValueError: It is no timestamp.
    """
    seen = data.get("last_seen_at")
    return to_us(seen) if isinstance(seen, str) else order_us


def _nothing_more(
    rows: Rows, job: JobState, attempt: AttemptState, at: int, record: Record, data: dict[str, Any]
) -> None:
    """It says no more than that it happened."""


# --- stages ----------------------------------------------------------------------------------


def _stage(attempt: AttemptState, data: Mapping[str, Any]) -> StageState:
    index = data["index"]
    stage = attempt.stages.get(index)
    if stage is None:
        if type(index) is not int or not 0 <= index <= _MOST_STAGES:
            raise ValueError(f"index: {index!r} is no stage's number")
        named = beginning("stage", data["stage"])
        stage = attempt.stages[index] = StageState(attempt.job_key, attempt.attempt, index)
        stage.stage = named
    stage.is_changed = True
    return stage


def _stage_started(
    rows: Rows, job: JobState, attempt: AttemptState, at: int, record: Record, data: dict[str, Any]
) -> None:
    stage = _stage(attempt, data)
    stage.started_at_us = at
    stage.span_id = record.get("span_id")
    stage.unit = word(data.get("unit"))
    if stage.attributes is None and "attributes" in data:
        stage.attributes = as_json(data["attributes"])
    if stage.total is None:
        stage.total = number(data.get("total"))
    attempt.enter(stage, rows.order_us)


def _stage_progress(
    rows: Rows, job: JobState, attempt: AttemptState, at: int, record: Record, data: dict[str, Any]
) -> None:
    stage = _stage(attempt, data)
    order_us = rows.order_us
    if stage.status == "running" and (
        stage.updated_at_us is None or order_us >= stage.updated_at_us
    ):
        _take_figures(stage, order_us, data)


def _take_figures(stage: StageState, at: int, data: Mapping[str, Any]) -> None:
    stage.updated_at_us = at
    for key, value in data.items():
        read = _FIGURES.get(key)
        if read is not None:
            figure = read(value)
            if figure is not None:
                stage.__dict__[key] = figure


def _stage_ended(
    rows: Rows, job: JobState, attempt: AttemptState, at: int, record: Record, data: dict[str, Any]
) -> None:
    stage = _stage(attempt, data)
    _take_figures(stage, rows.order_us, data)
    stage.status = record["event_type"][6:]
    stage.ended_at_us = at
    stage.eta_s = None
    error = data.get("error")
    if isinstance(error, dict):
        stage.error_type = word(error.get("type"))
        stage.error_message = word(error.get("message"))


# --- what belongs to a job -------------------------------------------------------------------


def _resource(
    rows: Rows, job: JobState, attempt: AttemptState, at: int, record: Record, data: dict[str, Any]
) -> None:
    key = job.job_key, beginning("resource", data["resource"])
    is_released = record["event_type"] == "resource.released"
    times = (None, at) if is_released else (at, None)
    figures = number(data.get("amount")), word(data.get("unit"))
    rows.resources.append((*key, *figures, *times, as_json(data), at))


def _condition(
    rows: Rows, job: JobState, attempt: AttemptState, at: int, record: Record, data: dict[str, Any]
) -> None:
    """Note a condition that the job waits for: an entity that is or was ``blocking``."""
    entity, now = beginning("entity", data["entity"]), beginning("to_state", data["to_state"])
    if BLOCKING in (now, data.get("from_state")):
        rows.conditions.append((job.job_key, entity, now, at, word(data.get("resolution"))))


def add_error(
    rows: Rows, job: JobState, attempt: int, at: int, event_type: str, data: Mapping[str, Any]
) -> None:
    """Add what went wrong, if that is what ``error`` says."""
    error = data["error"]
    if not isinstance(error, dict):
        return
    texts = (word(error.get(key)) for key in ("type", "message"))
    rows.errors.append(
        (
            rows.next_key("errors"),
            job.project_key,
            job.job_key,
            attempt,
            at,
            event_type,
            word(data.get("stage")),
            *(text or "" for text in texts),
            word(error.get("stacktrace")),
            word(data.get("sentry_event_id")),
        )
    )


def measure(rows: Rows, attempt: AttemptState, at: int, data: Mapping[str, Any]) -> None:
    """Sum up what a user measured."""
    value = number(data["value"])
    if value is None:
        raise ValueError(f"value: {data['value']!r} is no number")
    labels = orjson.dumps(data["labels"], option=orjson.OPT_SORT_KEYS).decode()
    if len(labels) > 2 * MAX_NAME_LENGTH:
        raise ValueError(f"labels: {len(labels)} characters; at most {2 * MAX_NAME_LENGTH}")
    key = attempt.job_key, attempt.attempt, beginning("name", data["name"]), labels
    row = rows.measures.get(key)
    if row is None:
        kind, unit = word(data["kind"]) or "", word(data["unit"]) or ""
        rows.measures[key] = [kind, unit, 1, value, value, value, value, at]
        return
    row[2] += 1
    row[3] += value
    row[4] = min(row[4], value)
    row[5] = max(row[5], value)
    if at >= row[7]:
        row[6:] = value, at


_FIGURES: Mapping[str, Callable[[object], Any]] = {
    "attributes": as_json,
    "unit": word,
    **dict.fromkeys(
        ("done", "total", "percent", "rate_per_s", "eta_s", "duration_s", "cpu_s"), number
    ),
    **dict.fromkeys(("memory_rss_bytes", "memory_growth_bytes"), whole),
    **dict.fromkeys(("io_read_bytes", "io_write_bytes"), whole),
    **dict.fromkeys(("network_receive_bytes", "network_transmit_bytes"), whole),
}
FOLDS: Mapping[str, Fold] = {
    "job.received": Fold(_received, is_alive=False, is_move=True),
    "job.started": Fold(_started, is_move=True, is_of_run=True),
    "job.progress": Fold(_progress, is_of_run=True),
    **{f"job.{status}": Fold(_ended, is_move=True, is_of_run=True) for status in FINAL},
    "job.retrying": Fold(_retrying, is_of_run=True),
    "job.paused": Fold(_paused, is_move=True, is_of_run=True),
    "job.resumed": Fold(_nothing_more, is_move=True, is_of_run=True),
    "job.lost": Fold(_lost, is_alive=False, is_move=True),
    "job.milestone": Fold(_nothing_more, is_of_run=True),
    "stage.started": Fold(_stage_started),
    "stage.progress": Fold(_stage_progress),
    "stage.completed": Fold(_stage_ended),
    "stage.failed": Fold(_stage_ended),
    "resource.allocated": Fold(_resource, is_alive=False),
    "resource.released": Fold(_resource, is_alive=False),
    "state.changed": Fold(_condition, is_alive=False),
}
