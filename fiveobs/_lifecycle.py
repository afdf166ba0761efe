"""How a job begins and ends. Neither raises, whatever happens; together they cost microseconds."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic, perf_counter_ns, thread_time_ns, time_ns
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from fiveobs import _context, _control, _runtime
from fiveobs._carrier import Link, read_carrier
from fiveobs._context import current
from fiveobs._failure import error_data, error_line
from fiveobs._ids import clean_id, clean_text
from fiveobs._job import Job
from fiveobs._report import report
from fiveobs._spec import JobSpec, needs, per_call
from fiveobs.exceptions import JobStopped
from fiveobs.types import JobStatus

if TYPE_CHECKING:
    from fiveobs._pipeline import Pipeline

_NO_LINK = Link()
#: A kind of job whose last run took less has its CPU time not read: that takes a good part of it,
#: and it is about the duration anyway.
_QUICK_NS = 500_000
#: How exceptions that are not errors are named by the frameworks that raise them.
_CANCELLATIONS = ("CancelledError", "Cancelled", "GeneratorExit")


class _Ending(NamedTuple):
    """How a job ended, in the words of its last event."""

    status: JobStatus
    name: str
    event_type: str
    level: str


_COMPLETED, _FAILED, _STOPPED, _CANCELLED, _INTERRUPTED = (
    _Ending(status, status.value, f"job.{status.value}", level)
    for status, level in (
        (JobStatus.COMPLETED, "info"),
        (JobStatus.FAILED, "error"),
        (JobStatus.STOPPED, "warning"),
        (JobStatus.CANCELLED, "warning"),
        (JobStatus.INTERRUPTED, "warning"),
    )
)


# --- the beginning -----------------------------------------------------------------------------


def begin(spec: JobSpec, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Job:
    """Start a job and make it the current one here."""
    entered_ns = perf_counter_ns()
    job = Job(spec, _context.present())
    try:
        pipeline = _runtime.get()
        if pipeline is not None:
            _begin(pipeline, job, args, kwargs or {})
    except Exception as exc:
        report("observe_job", f"{job.name} runs unobserved: {type(exc).__name__}: {exc}")
    job._token = current.set(job)
    job.started_at_ns = time_ns()
    job.started_ns = now_ns = perf_counter_ns()
    job._overhead_ns = now_ns - entered_ns
    return job


def _begin(pipeline: Pipeline, job: Job, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    spec = job._spec
    link = _identify(pipeline, job, args, kwargs) if spec.is_per_call else _NO_LINK
    _inherit(pipeline, job)
    if not job.job_id:
        job.job_id = pipeline.ids.job_id()
    pipeline.fanout.opening(job, link)
    if not job.span_id:  # the traces track has raised
        job.trace_id = job.trace_id or pipeline.ids.trace_id()
        job.span_id = pipeline.ids.span_id()
    job._fields = fields = _fields(pipeline, job)
    if link.parent_job_id not in (None, job.job_id):
        fields.setdefault("parent_job_id", link.parent_job_id)
    job._pid = pipeline.pid
    pipeline.active[id(job)] = job
    if job.service not in pipeline.services:
        pipeline.meet(job.service)
    if not spec.is_quick:
        job._started_cpu_ns = thread_time_ns()
    data = _started_data(pipeline, job, link, args, kwargs)
    pipeline.emit(fields, "job.started", "info", f"{job.name} started", data)
    if pipeline.threads_due_at and monotonic() >= pipeline.threads_due_at:
        pipeline.start_threads()


def _inherit(pipeline: Pipeline, job: Job) -> None:
    parent = job._parent
    if parent is not None:
        job.session_id = job.session_id or parent.session_id
        job.request_id = job.request_id or parent.request_id
    if not job.service:
        job.service = pipeline.config.service


def _identify(pipeline: Pipeline, job: Job, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Link:
    """Take the ids that the caller or a carrier gives."""
    spec = job._spec
    carrier = per_call(spec.carrier, args, kwargs)
    link = read_carrier(carrier) if carrier is not None else _NO_LINK
    job.job_id = _given(spec.job_id, args, kwargs) or link.job_id or ""
    job.session_id = _given(spec.session_id, args, kwargs) or link.session_id
    job.request_id = _given(spec.request_id, args, kwargs) or link.request_id
    attempt = per_call(spec.attempt, args, kwargs)
    job.attempt = _attempt(attempt) if attempt is not None else (link.attempt or 1)
    job.queue = job.queue or link.queue
    return link


def _given(value: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    given = per_call(value, args, kwargs)
    if given is None:
        return None
    cleaned = clean_id(given)
    if not isinstance(given, int) and (type(given) is not str or cleaned != given):
        shown = clean_text(given, 80)
        report("id", f"id {shown!r} is not usable as it is: {cleaned!r:.80} is used")
    return cleaned


def _attempt(value: Any) -> int:
    try:
        attempt = int(value)
    except Exception:  # also what a value of the caller's own class raises
        attempt = 0
    if not 1 <= attempt <= 1_000_000:
        report("attempt", f"attempt {clean_text(value, 80)!r} is not a number from 1: 1 is used")
        return 1
    return attempt


def _fields(pipeline: Pipeline, job: Job) -> dict[str, Any]:
    fields: dict[str, Any] = {
        **pipeline.base,
        "service": job.service,
        "job_name": job.name,
        "job_id": job.job_id,
        "trace_id": job.trace_id,
        "span_id": job.span_id,
        "attempt": job.attempt,
    }
    if job._parent is not None and job._parent.job_id not in ("", job.job_id):
        fields["parent_job_id"] = job._parent.job_id
    if job.session_id:
        fields["session_id"] = job.session_id
    if job.request_id:
        fields["request_id"] = job.request_id
    return fields


def _started_data(
    pipeline: Pipeline, job: Job, link: Link, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    spec = job._spec
    data: dict[str, Any] = {}
    if args or kwargs:
        job.input_size_bytes = pipeline.size_of((*args, *kwargs.values()) if kwargs else args)
        if job.input_size_bytes is not None:
            data["input_size_bytes"] = job.input_size_bytes
        if spec.capture_args:
            data["args"] = pipeline.redactor.clean({"args": list(args), "kwargs": kwargs})
    if spec.stages:
        data["stages"] = spec.stages
    if job.queue:
        data["queue"] = job.queue
    if link.queued_at_ns:
        data["queue_wait_s"] = max((job.started_at_ns - link.queued_at_ns) / 1e9, 0.0)
    if job.has_attributes:
        data["attributes"] = pipeline.redactor.clean(job.attributes)
    if spec.depends_on is not None:
        _add_needs(pipeline, job, data, args, kwargs)
    return data


def _add_needs(
    pipeline: Pipeline,
    job: Job,
    data: dict[str, Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Name the jobs that this one needs, as far as any are named."""
    needed = needs(job._spec.depends_on, args, kwargs)
    if needed:
        # Ids are not for the redactor, which would mask those that look like a card's number.
        data["depends_on"] = {
            job_id: None if reason is None else pipeline.redactor.clean(clean_text(reason, 500))
            for job_id, reason in needed.items()
        }


# --- the end -----------------------------------------------------------------------------------


def complete(job: Job, result: Any = None) -> None:
    """The job returned ``result``."""
    end(job, None, result)


def end(job: Job, error: BaseException | None, result: Any = None) -> None:
    """The job ended: with ``error`` if it raised."""
    ended_ns = perf_counter_ns()
    try:
        if job._fields and not job.ended_ns:
            pipeline = _runtime.get()
            if pipeline is not None and not job._is_elsewhere(pipeline.pid):
                job.ended_ns = ended_ns
                pipeline.active.pop(id(job), None)
                try:
                    _end(pipeline, job, error, result)
                except Exception:
                    _end_plainly(pipeline, job)
                    raise
                finally:
                    if job._asked_at:  # it has looked; the next attempt is not asked any more
                        _control.clear(
                            pipeline.config.home,
                            pipeline.run_of(job),
                            is_completed=job.status is JobStatus.COMPLETED,
                        )
                pipeline.overhead_ns += job._overhead_ns + perf_counter_ns() - ended_ns
    except Exception as exc:
        report("observe_job", f"the end of {job.name}: {type(exc).__name__}: {exc}")
    finally:
        leave(job)
        job._parent = None  # else a job that starts its successor would keep all before it alive


def _ending_of(error: BaseException | None) -> _Ending:
    """How a job ended that raised ``error``, or returned."""
    if error is None:
        return _COMPLETED
    if isinstance(error, Exception):
        return _FAILED
    if isinstance(error, JobStopped):
        return _STOPPED
    return _CANCELLED if type(error).__name__ in _CANCELLATIONS else _INTERRUPTED


def _end(pipeline: Pipeline, job: Job, error: BaseException | None, result: Any) -> None:
    job.status, status, event_type, level = _ending_of(error)
    job._spec.is_quick = job.ended_ns - job.started_ns < _QUICK_NS
    data: dict[str, Any] = {
        "status": status,
        "duration_s": (job.ended_ns - job.started_ns) / 1e9,
    }
    if result is not None and job.output_size_bytes is None:
        job.output_size_bytes = pipeline.size_of(result)
    if error is not None and job.status is JobStatus.FAILED:
        data["error"] = error_data(pipeline.redactor, error)
    _add_what_is_known(pipeline, job, data, error)
    pipeline.fanout.closing(job, error, data)
    if job.sentry_event_id:
        data["sentry_event_id"] = job.sentry_event_id
    message = f"{job.name} {status}"
    if error is not None:
        message = f"{message}: {error_line(pipeline.redactor, error)}"
    pipeline.emit(job._fields, event_type, level, message, data, job.span_record)


def _end_plainly(pipeline: Pipeline, job: Job) -> None:
    """Something about the job cannot be shown; that it ended is recorded all the same."""
    data = {"status": job.status.value, "duration_s": (job.ended_ns - job.started_ns) / 1e9}
    message = f"{job.name} {job.status.value}"
    pipeline.emit(job._fields, f"job.{job.status.value}", "warning", message, data)


def _add_what_is_known(
    pipeline: Pipeline, job: Job, data: dict[str, Any], error: BaseException | None
) -> None:
    if job._started_cpu_ns:
        cpu_ns = thread_time_ns() - job._started_cpu_ns
        if cpu_ns >= 0:  # an end on another thread has another clock
            data["cpu_s"] = cpu_ns / 1e9
    if job._is_sized:
        data["input_size_bytes"] = job.input_size_bytes
    if job.output_size_bytes is not None:
        data["output_size_bytes"] = job.output_size_bytes
    if job.percent is not None:
        data["percent"] = job.percent
    stage = job.stage_of(error)
    if stage is not None:
        data["stage"] = stage
    if job.queue:
        data["queue"] = job.queue
    if job.result_summary:
        data["result"] = pipeline.redactor.clean(job.result_summary)
    if job.has_attributes:
        data["attributes"] = pipeline.redactor.clean(job.attributes)


# --- its place in the context ------------------------------------------------------------------


def leave(job: Job) -> None:
    """Make the enclosing job the current one again."""
    try:
        _close_tracks(job)
        _context.leave(job)
    except Exception as exc:
        report("observe_job", f"{job.name}: {type(exc).__name__}: {exc}")


def newest(spec: JobSpec) -> Job | None:
    """The open job of this process that began last under ``spec``."""
    pipeline = _runtime._pipeline
    jobs = list(pipeline.active.values()) if pipeline is not None else []
    return next((job for job in reversed(jobs) if job._spec is spec), None)


def _close_tracks(job: Job) -> None:
    pipeline = _runtime._pipeline  # no new one for this
    if pipeline is not None and job._otel_token is not None:
        pipeline.fanout.closed(job)


def suspend(job: Job) -> Job | None:
    """Make the enclosing job the current one while a generator waits; returns what was current."""
    _close_tracks(job)
    return _context.suspend(job)


def resume(job: Job, inside: Job | None) -> None:
    """Make current again what was when the generator was suspended."""
    try:
        job._token = current.set(inside or job)
        pipeline = _runtime.get()
        if pipeline is not None and job._fields:
            pipeline.traces.resume(job)
    except Exception as exc:
        report("observe_job", f"{job.name}: {type(exc).__name__}: {exc}")


def announce(pipeline: Pipeline, job: Job, given: dict[str, Any]) -> None:
    """Record that a job was queued; it has ids but does not run here."""
    job.job_id = _given(given["job_id"], (), {}) or pipeline.ids.job_id()
    job.session_id = _given(given["session_id"], (), {})
    job.request_id = _given(given["request_id"], (), {})
    if given["attempt"] is not None:
        job.attempt = _attempt(given["attempt"])
    _inherit(pipeline, job)
    job.status = JobStatus.RECEIVED
    pipeline.traces.announce(job)
    job._fields = _fields(pipeline, job)
    job._pid = pipeline.pid
    data: dict[str, Any] = {"queue": job.queue} if job.queue else {}
    if job.has_attributes:
        data["attributes"] = pipeline.redactor.clean(job.attributes)
    if job.input_size_bytes is not None:
        data["input_size_bytes"] = job.input_size_bytes
    if job._spec.depends_on is not None:
        _add_needs(pipeline, job, data)
    pipeline.emit(job._fields, "job.received", "info", f"{job.name} received", data)


_runtime.end_job_with(end)
