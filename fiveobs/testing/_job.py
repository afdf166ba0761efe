"""One job as the five tracks show it, and whether they agree on its ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fiveobs.types import JobEvent, JobStatus

if TYPE_CHECKING:
    from fiveobs.testing._captured import Captured

_LAST = frozenset(f"job.{status.value}" for status in JobStatus if status.is_final)


class CapturedJob:
    """What the tracks say of one job; each property is read anew.

    Args:
        captured: Where it ran.
        job_id: Which.
    """

    def __init__(self, captured: Captured, job_id: str) -> None:
        self._captured = captured
        self.job_id = job_id

    def __repr__(self) -> str:
        """Id and types of the events."""
        return f"<CapturedJob {self.job_id}: {', '.join(self.event_types)}>"

    @property
    def events(self) -> list[JobEvent]:
        """Its events, log lines included, in order."""
        return [event for event in self._captured.events if event.job_id == self.job_id]

    @property
    def event_types(self) -> list[str]:
        """The types of its events, in order."""
        return [event.event_type for event in self.events]

    @property
    def first(self) -> JobEvent:
        """Its first event."""
        return self.events[0]

    @property
    def last(self) -> JobEvent | None:
        """The event that says how it ended; ``None`` while it runs."""
        ends = [event for event in self.events if event.event_type in _LAST]
        return ends[-1] if ends else None

    @property
    def status(self) -> JobStatus:
        """How it ended, or that it has not."""
        last = self.last
        if last is not None:
            return JobStatus(last.event_type.removeprefix("job."))
        is_announced = self.event_types == ["job.received"]
        return JobStatus.RECEIVED if is_announced else JobStatus.RUNNING

    @property
    def name(self) -> str | None:
        """What kind of job it is."""
        return self.first.job_name

    @property
    def service(self) -> str:
        """What it belongs to."""
        return self.first.service

    @property
    def trace_id(self) -> str | None:
        """Its trace."""
        return self.first.trace_id

    @property
    def span_id(self) -> str | None:
        """Its own span."""
        started = [event for event in self.events if event.event_type == "job.started"]
        return (started or self.events)[0].span_id

    @property
    def duration_s(self) -> float | None:
        """How long it took; ``None`` while it runs."""
        last = self.last
        return None if last is None else last.data.get("duration_s")

    @property
    def error(self) -> Mapping[str, Any] | None:
        """``type``, ``message`` and ``stacktrace`` of what it raised, if it failed."""
        last = self.last
        return None if last is None else last.data.get("error")

    @property
    def logs(self) -> list[JobEvent]:
        """Its log lines, as the logs track sent them."""
        return [event for event in self._captured.logs if event.job_id == self.job_id]

    @property
    def spans(self) -> list[dict[str, Any]]:
        """Its own span, its stages', and what libraries traced in it."""
        spans = self._captured.spans
        return [span for span in spans if span["attributes"].get("job.id") == self.job_id]

    @property
    def span(self) -> dict[str, Any] | None:
        """Its own span; ``None`` if that was not sent."""
        return next((span for span in self.spans if span["span_id"] == self.span_id), None)

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Its Sentry events."""
        errors = self._captured.errors
        return [event for event in errors if event.get("tags", {}).get("job_id") == self.job_id]


def disagreements(job: CapturedJob, captured: Captured, tracks: tuple[str, ...]) -> Iterator[str]:
    """What is wrong with the ids of a job, a line for each fault."""
    for track in tracks:
        yield from _CHECKS[track](job, captured)


def _events(job: CapturedJob, _: Captured) -> Iterator[str]:
    for event in job.events:
        if event.trace_id != job.trace_id:
            yield f"events: {event.event_type} has trace {event.trace_id}"
    if job.trace_id is None or job.span_id is None:
        yield "events: no trace and span ids"


def _logs(job: CapturedJob, captured: Captured) -> Iterator[str]:
    sent = {event.id: event for event in captured.log_records}
    for event in job.events:
        found = sent.get(event.id)
        if found is None:
            yield f"logs: {event.event_type} ({event.id}) was not sent"
        elif found != event:
            yield f"logs: {event.event_type} ({event.id}) differs from the journal's"


def _traces(job: CapturedJob, _: Captured) -> Iterator[str]:
    last = job.last
    if last is not None and last.record.get("sampled") and job.span is None:
        yield f"traces: no span {job.span_id} was sent"
    for span in job.spans:
        if span["trace_id"] != job.trace_id:
            yield f"traces: span {span['name']!r} has trace {span['trace_id']}"


def _metrics(job: CapturedJob, captured: Captured) -> Iterator[str]:
    traces = {event.span_id: event.trace_id for event in captured.events}
    for name, points in captured.metrics.items():
        for point in points:
            if "job_id" in point["attributes"]:
                yield f"metrics: {name} has a label job_id"
            for exemplar in point["exemplars"]:
                yield from _exemplar(exemplar, name, job.trace_id, traces)


def _exemplar(
    exemplar: Mapping[str, Any],
    name: str,
    trace_id: str | None,
    traces: Mapping[str | None, str | None],
) -> Iterator[str]:
    """Only the newest measurement of a bucket has one, so its absence says nothing."""
    span_id = exemplar["span_id"]
    if exemplar["trace_id"] == trace_id and span_id not in traces:
        yield f"metrics: {name} points to span {span_id}, which no event has"
    elif exemplar["trace_id"] != traces.get(span_id) == trace_id:
        yield f"metrics: {name} points to trace {exemplar['trace_id']} for span {span_id}"


def _errors(job: CapturedJob, captured: Captured) -> Iterator[str]:
    last = job.last
    event_id = last.data.get("sentry_event_id") if last is not None else None
    if job.status is JobStatus.FAILED and event_id is None:
        yield "errors: the job failed and the event that says so has no sentry_event_id"
    if event_id is not None and event_id not in {each["event_id"] for each in captured.errors}:
        yield f"errors: event {event_id} was not sent"
    for event in job.errors:
        trace = event.get("contexts", {}).get("trace", {})
        found = (trace.get("trace_id"), trace.get("span_id"))
        if found != (job.trace_id, job.span_id):
            yield f"errors: event {event['event_id']} has trace {found[0]} and span {found[1]}"


_CHECKS: dict[str, Callable[[CapturedJob, Captured], Iterator[str]]] = {
    "events": _events,
    "logs": _logs,
    "traces": _traces,
    "metrics": _metrics,
    "errors": _errors,
}
