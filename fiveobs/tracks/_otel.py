"""What the traces track does with the OpenTelemetry API; loaded only where there is a use for it.

``JobSpan`` is the span that is current in a job when we own the pipeline: application code can add
attributes, events and a status to it, and spans it makes become its children. It holds what was
said; the exported span is made from the journal.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from opentelemetry import trace as otel_trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    ProxyTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import (
    Link as OtelLink,
)

from fiveobs._context import current
from fiveobs._failure import error_type, message_of, stack_of
from fiveobs.tracks import _library_spans
from fiveobs.tracks._span_encoding import DATA_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Tracer, TracerProvider
    from opentelemetry.util.types import Attributes, AttributeValue

    from fiveobs._carrier import Link
    from fiveobs._job import Job
    from fiveobs.tracks.traces import StageSpan

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)
#: What a span's attribute may be as it is.
_PLAIN = (str, bool, int, float)
_KINDS = {1: SpanKind.INTERNAL, 4: SpanKind.PRODUCER, 5: SpanKind.CONSUMER}
#: Bounds of what is kept of one span, as in the OpenTelemetry SDK.
_MAX_EVENTS = 128
_MAX_ATTRIBUTES = 128


class JobSpan(Span):
    """A job's or stage's span in our own pipeline."""

    # What most spans never have stands here once; a span is made for every job.
    _context: SpanContext | None = None
    _name = ""
    _attributes: dict[str, AttributeValue] | None = None
    _events: list[dict[str, Any]] | None = None
    _links: list[tuple[str, str]] | None = None
    _status: dict[str, Any] | None = None

    def __init__(self, job: Job, span_id: str, kind: int) -> None:
        self._job = job
        self._span_id = span_id
        self._kind = kind

    def add_to(self, span: dict[str, Any]) -> None:
        """Put what was said about this span into the exported one."""
        if self._kind != 1:
            span["kind"] = self._kind
        if self._attributes:
            span["attributes"] = self._attributes
        if self._events:
            span["events"] = self._events
        if self._links:
            span["links"] = [*span.get("links", ()), *self._links]
        if self._name:
            span["name"] = self._name
        if self._status:
            span["status"] = self._status

    def get_span_context(self) -> SpanContext:
        """The ids."""
        if self._context is None:
            flags = _SAMPLED if self._job.trace_sampled else _NOT_SAMPLED
            ids = int(self._job.trace_id, 16), int(self._span_id, 16)
            self._context = SpanContext(*ids, is_remote=False, trace_flags=flags)
        return self._context

    def is_recording(self) -> bool:
        """While the job runs: its end decides what is kept."""
        return not self._job.ended_ns

    def end(self, end_time: int | None = None) -> None:
        """Ignored: the span ends with its job."""

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Add an attribute to the span."""
        if self._attributes is None:
            self._attributes = {}
        if len(self._attributes) < _MAX_ATTRIBUTES or key in self._attributes:
            self._attributes[str(key)] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Add attributes to the span."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        """Add an event to the span."""
        if self._events is None:
            self._events = []
        if len(self._events) < _MAX_EVENTS:
            event: dict[str, Any] = {"name": name, "time_ns": timestamp or time.time_ns()}
            if attributes:
                event["attributes"] = dict(attributes)
            self._events.append(event)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Link to another span; a link's attributes are left out."""
        if self._links is None:
            self._links = []
        if context.is_valid and len(self._links) < _MAX_EVENTS:
            self._links.append((f"{context.trace_id:032x}", f"{context.span_id:016x}"))

    def update_name(self, name: str) -> None:
        """Export the span under another name."""
        self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the span's status; OK is final, and UNSET says nothing, as OpenTelemetry has it."""
        if isinstance(status, Status):
            code, description = status.status_code, status.description
        else:
            code = status
        is_ok = self._status is not None and self._status["code"] == StatusCode.OK.value
        if not is_ok and code is not StatusCode.UNSET:
            message = description if code is StatusCode.ERROR else None
            self._status = {"code": code.value, "message": message or ""}

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add an exception that the application has handled as an event."""
        found = {
            "exception.type": error_type(exception),
            "exception.message": message_of(exception),
            "exception.stacktrace": stack_of(exception),
            **(attributes or {}),
        }
        self.add_event("exception", found, timestamp)


# --- our own pipeline --------------------------------------------------------------------------


#: What was current before spans that ended while another one was current.
_before: WeakKeyDictionary[Span, Context] = WeakKeyDictionary()


def make_current(span: Span) -> Context:
    """Make a span current; returns what was current before.

    Not the API's token: taking that back in another context logs an error, and taking back two in
    the wrong order makes an ended span current.
    """
    before = get_current()
    attach(set_span_in_context(span, before))
    return before


def take_back(span: Span, before: Context) -> None:
    """Make current what was before the span, unless something else is current here."""
    if otel_trace.get_current_span() is span:
        _go_back(before)
    else:
        _before[span] = before


def _go_back(before: Context) -> None:
    while _before and (earlier := _before.get(otel_trace.get_current_span(before))) is not None:
        before = earlier
    attach(before)


def take_back_job(job: Job) -> None:
    """The job has ended or is suspended: make current what was before it."""
    before = job._otel_token
    if before is None:
        return
    job._otel_token = None
    if not job.status.is_final:
        job._otel_inside = get_current()
        attach(before)
        return
    # A job and its span hold each other: let go, or each job is left to the garbage collection.
    span, job._span = job._span, None
    if current.get() is job:  # also takes back what the application has left behind
        _go_back(before)
    elif span is not None:
        take_back(span, before)


def resume_job(job: Job) -> None:
    """Make current again what was when the job was suspended."""
    job._otel_token = get_current()
    attach(job._otel_inside)


def open_job_span(job: Job, kind: int) -> None:
    """Make the job's span current."""
    job._span = span = JobSpan(job, job.span_id, kind)
    job._otel_token = before = get_current()
    attach(set_span_in_context(span, before))


def open_stage_span(job: Job, stage: StageSpan) -> None:
    """Make the stage's span current, below the span that is current now."""
    parent = otel_trace.get_current_span().get_span_context()
    if parent.is_valid and f"{parent.trace_id:032x}" == job.trace_id:
        stage.parent_span_id = f"{parent.span_id:016x}"
    stage.otel_span = JobSpan(job, stage.span_id, 1)
    stage.token = make_current(stage.otel_span)


def take_current_span(job: Job) -> bool:
    """Take the span that is current here as the job's parent; ``False`` if there is none."""
    span = otel_trace.get_current_span()
    if span is INVALID_SPAN:
        return False
    context = span.get_span_context()
    if not context.is_valid:
        return False
    job.trace_id = f"{context.trace_id:032x}"
    job.parent_span_id = f"{context.span_id:016x}"
    job.trace_sampled = context.trace_flags.sampled
    return True


# --- the application's pipeline ----------------------------------------------------------------


def application_provider() -> TracerProvider | None:
    """The provider that the application has set up; ``None`` if it has none."""
    provider = otel_trace.get_tracer_provider()
    if isinstance(provider, ProxyTracerProvider) or _library_spans.is_ours(provider):
        return None
    if type(provider).__name__ == "NoOpTracerProvider":
        return None
    return provider


def open_application_span(tracer: Tracer, job: Job, link: Link, kind: int) -> None:
    """Start the job's span with the application's tracer, and take its ids."""
    span = tracer.start_span(
        job.name,
        context=_parent_context(job, link),
        kind=_KINDS[kind],
        attributes=_attributes(job),
        links=[OtelLink(_remote(*ids, sampled=link.sampled)) for ids in job._links],
        start_time=job.started_at_ns,
    )
    job._span = span
    job._otel_token = make_current(span)
    context = span.get_span_context()
    if context.is_valid:
        job.trace_id = f"{context.trace_id:032x}"
        job.span_id = f"{context.span_id:016x}"
        job.trace_sampled = context.trace_flags.sampled


def _parent_context(job: Job, link: Link) -> Context:
    if job._links:
        return Context()
    if link.trace_id and link.span_id and job.trace_id == link.trace_id:
        remote = _remote(link.trace_id, link.span_id, sampled=link.sampled)
        return set_span_in_context(NonRecordingSpan(remote))
    return get_current()


def _remote(trace_id: str, span_id: str, *, sampled: bool) -> SpanContext:
    flags = _SAMPLED if sampled else _NOT_SAMPLED
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, flags)


def _attributes(job: Job) -> dict[str, Any]:
    found = {
        "job.id": job.job_id,
        "job.name": job.name,
        "job.service": job.service,
        "job.attempt": job.attempt,
        "session.id": job.session_id,
        "request.id": job.request_id,
        "messaging.destination.name": job.queue,
    }
    return {key: value for key, value in found.items() if value is not None}


def close_application_span(job: Job, error: BaseException | None, data: Mapping[str, Any]) -> None:
    """End the job's span as its provider's own."""
    span = job._span
    if span is None:
        return
    found = {key: data[field] for field, key in DATA_ATTRIBUTES if field in data}
    found |= {"job.status": job.status.value, "worker.id": job._fields.get("worker_id")}
    found["sentry.event_id"] = job.sentry_event_id
    for key, value in {**data.get("attributes", {}), **found}.items():
        if value is not None:
            span.set_attribute(key, value if isinstance(value, _PLAIN) else str(value))
    _end(span, error, data, job.started_at_ns + job.ended_ns - job.started_ns)


def open_application_stage(tracer: Tracer, job: Job, stage: StageSpan, name: str) -> None:
    """Start a stage's span with the application's tracer."""
    attributes = {"job.id": job.job_id, "job.stage": name}
    here = otel_trace.get_current_span().get_span_context()
    is_in_trace = here.is_valid and f"{here.trace_id:032x}" == job.trace_id
    context = None if is_in_trace or job._span is None else set_span_in_context(job._span)
    stage.otel_span = tracer.start_span(name, context, attributes=attributes)
    stage.token = make_current(stage.otel_span)
    context = stage.otel_span.get_span_context()
    if context.is_valid:
        stage.span_id = f"{context.span_id:016x}"


def close_application_stage(
    stage: StageSpan, data: Mapping[str, Any], error: BaseException | None
) -> None:
    """End a stage's span as its provider's own."""
    if stage.otel_span is not None:
        _end(stage.otel_span, error, data, None)


def _end(
    span: Span, error: BaseException | None, data: Mapping[str, Any], end_ns: int | None
) -> None:
    try:
        if isinstance(error, Exception):
            span.record_exception(error)
            span.set_attribute("error.type", data["error"]["type"])
            span.set_status(Status(StatusCode.ERROR, data["error"]["message"]))
    finally:
        span.end(end_ns)
