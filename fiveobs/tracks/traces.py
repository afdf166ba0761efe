"""The traces track: a span for each job and stage, and for what the application traces in them.

Reads the journal lines that carry a span; sends them by OTLP. Whether a job's trace is kept is
decided when the job ends: a share of the normal ones, and all that failed or ran longer than usual.
Until then spans wait in a bounded buffer.

A ``TracerProvider`` that the application has set up is used as it is: then our spans are its spans,
and its sampler and exporters decide. Otherwise we set one up, whose spans go the same way as ours.

Thread safety: hooks run in the jobs' threads, ``ship`` in the shipper's. Fork safety: a child makes
a track of its own; the provider, which cannot be replaced, finds the present one at each call.
"""

from __future__ import annotations

import os
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fiveobs._carrier import Link
from fiveobs._loading import loading
from fiveobs._report import report
from fiveobs.tracks import _library_spans
from fiveobs.tracks._span_encoding import SpanEncoder
from fiveobs.types import JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import TracerProvider

    from fiveobs._config import Config
    from fiveobs._ids import IdSource
    from fiveobs._job import Job
    from fiveobs.tracks._otlp import OtlpSender

#: The bound of a trace id's low half when every trace is kept.
_ALL = 1 << 64
#: OTLP numbers of span kinds.
_INTERNAL, _PRODUCER, _CONSUMER = 1, 4, 5
#: Durations of this many kinds of job are remembered.
_MAX_USUAL = 2000
#: Runs of a kind of job before one can be called slow, and how much slower it must at least be.
_MIN_RUNS = 20
_MIN_SLOWER_S = 0.1
#: The usual duration is a mean over about this many runs.
_MEAN_OVER = 100


#: A span's ids, itself, and the data of the event whose span it is.
_Waiting = tuple[dict[str, Any], dict[str, Any], Mapping[str, Any]]
_NO_DATA: Mapping[str, Any] = {}


class Trace:
    """The part of a trace that runs in this process, from its first job on."""

    #: Jobs that run: with the last one it is decided that the trace is not kept.
    open_jobs = 0
    #: Whether something happened for which the whole trace is kept.
    is_kept = False

    def __init__(self, pid: int) -> None:
        #: The process that decides.
        self.pid = pid
        #: Spans that wait for the decision, as (fields, span, data).
        self.waiting: list[_Waiting] = []


class StageSpan:
    """An open stage's span."""

    __slots__ = ("otel_span", "parent_span_id", "span_id", "started_at_ns", "token")

    def __init__(self, span_id: str, parent_span_id: str, started_at_ns: int) -> None:
        self.span_id = span_id
        self.parent_span_id = parent_span_id
        self.started_at_ns = started_at_ns
        self.otel_span: Any = None
        self.token: Any = None


class TracesTrack:
    """Gives jobs their trace ids and decides which traces are kept.

    Args:
        config: Settings; with no destination, ids are given all the same.
        ids: Where new ids come from.
        emit_span: Writes a span that is not a job's or a stage's last event to the journal.
        lose: Told how many spans the full buffer could not hold.
    """

    name = "traces"

    def __init__(
        self,
        config: Config,
        ids: IdSource,
        emit_span: Callable[[dict[str, Any], dict[str, Any], Mapping[str, Any]], None],
        lose: Callable[[int], None],
    ) -> None:
        self._pid = os.getpid()
        self._ids = ids
        self._emit_span = emit_span
        self._lose = lose
        self._continues = config.trace_parent == "continue"
        self._bound = round(config.trace_sample_ratio * _ALL)
        self._slow_factor = config.trace_slow_factor
        self._usual: OrderedDict[tuple[str, str], list[float]] = OrderedDict()
        self._max_waiting = config.trace_buffer_spans
        self._waiting_count = 0
        self.is_exporting = config.traces_configured
        self._otel: Any = None
        self._tracer: Any = None
        if self.is_exporting or "opentelemetry.sdk.trace" in sys.modules:
            try:
                self._meet_application(config)
            except Exception as exc:  # the application's provider raised; the rest must go on
                report("track traces", f"{type(exc).__name__}: {exc}")

    def _meet_application(self, config: Config) -> None:
        """Use the application's provider if it has one; else set up ours, if there is a target."""
        from fiveobs.tracks import _otel

        provider: TracerProvider | None = _otel.application_provider()
        if provider is not None:
            self.is_exporting = False
            self._otel = _otel
            self._tracer = provider.get_tracer("fiveobs")
        elif self.is_exporting:
            self._otel = _otel
            _library_spans.install(config)

    # --- hooks ---------------------------------------------------------------------------------

    def on_job_opening(self, job: Job, link: Link) -> None:
        """Give the job its trace id, span id and place in the trace."""
        self._place(job, link)
        if not job.trace_sampled:
            job._trace.open_jobs += 1
        kind = _CONSUMER if link.trace_id else _INTERNAL
        if self._tracer is not None:
            self._otel.open_application_span(self._tracer, job, link, kind)
        elif self._otel is not None:
            self._otel.open_job_span(job, kind)

    def _place(self, job: Job, link: Link) -> None:
        parent = job._parent
        if link.trace_id and link.span_id:
            if self._continues:
                job.trace_id, job.parent_span_id = link.trace_id, link.parent_span_id
                job.trace_sampled, job._tracestate = link.sampled, link.tracestate
            else:
                job._links = ((link.trace_id, link.span_id),)
        elif self._otel is not None and self._otel.take_current_span(job):
            pass
        elif parent is not None and parent.trace_id:
            job.trace_id, job.parent_span_id = parent.trace_id, parent.span_id
            job.trace_sampled, job._tracestate = parent.trace_sampled, parent._tracestate
        if not job.trace_id:
            job.trace_id = self._ids.trace_id()
            job.trace_sampled = self.is_in_share(job.trace_id)
        if not job.trace_sampled:
            job._trace = self._shared_trace(job) or Trace(self._pid)
        job.span_id = self._ids.span_id()

    def _shared_trace(self, job: Job) -> Trace | None:
        """What the enclosing job's spans wait in, if it is of the same trace and process."""
        parent = job._parent
        if parent is None or parent.trace_id != job.trace_id:
            return None
        trace: Trace | None = parent._trace
        return trace if trace is not None and trace.pid == self._pid else None

    def is_in_share(self, trace_id: str) -> bool:
        """Whether a trace belongs to the share that is kept anyway; the same in every process."""
        bound = self._bound
        return bound == _ALL or (bound != 0 and int(trace_id[16:], 16) < bound)

    def announce(self, job: Job) -> None:
        """Give a job that is only announced ids in the present trace; it has no span here."""
        self._place(job, Link())
        if job.parent_span_id:
            job.span_id = job.parent_span_id

    def on_job_closing(
        self, job: Job, error: BaseException | None, data: Mapping[str, Any]
    ) -> None:
        """Decide whether the trace is kept, and make the span if so."""
        if self._tracer is not None:
            self._otel.close_application_span(job, error, data)
            return
        if not self.is_exporting:
            return
        if job.trace_sampled:
            job.span_record = self._span_of(job)
        else:
            self._decide(job, job._trace, data)

    def _decide(self, job: Job, trace: Trace, data: Mapping[str, Any]) -> None:
        """The job is not in the share that is kept anyway."""
        trace.open_jobs -= 1
        if job.status is JobStatus.FAILED or self._is_slow(job) or trace.is_kept:
            job.span_record = self._span_of(job)
            self._keep(trace)
        elif trace.open_jobs > 0:
            self._wait(trace, job._fields, {"name": job.name, **self._span_of(job)}, data)
        elif trace.waiting:
            self._forget(trace)

    def _span_of(self, job: Job) -> dict[str, Any]:
        span: dict[str, Any] = {
            "start_ns": job.started_at_ns,
            "end_ns": job.started_at_ns + job.ended_ns - job.started_ns,
        }
        if job.parent_span_id:
            span["parent_span_id"] = job.parent_span_id
        if job._links:
            span["links"] = job._links
        if job._span is not None:
            job._span.add_to(span)
        return span

    def on_job_closed(self, job: Job) -> None:
        """Make the span that was current before the job current again."""
        if self._otel is not None:
            self._otel.take_back_job(job)

    def resume(self, job: Job) -> None:
        """Make a suspended job's span current again."""
        if self._otel is not None and job._span is not None:
            self._otel.resume_job(job)

    # --- stages --------------------------------------------------------------------------------

    def open_stage(self, job: Job, name: str) -> StageSpan:
        """Begin a child span."""
        span = StageSpan(self._ids.span_id(), job.span_id, time.time_ns())
        if self._tracer is not None:
            self._otel.open_application_stage(self._tracer, job, span, name)
        elif self._otel is not None:
            self._otel.open_stage_span(job, span)
        return span

    def close_stage(
        self, job: Job, span: StageSpan, data: Mapping[str, Any], error: BaseException | None
    ) -> dict[str, Any] | None:
        """End a child span; the span to put on the stage's last event, if it is kept already."""
        if span.token is not None:
            self._otel.take_back(span.otel_span, span.token)
        if self._tracer is not None:
            self._otel.close_application_stage(span, data, error)
            return None
        if not self.is_exporting:
            return None
        duration_ns = round(data["duration_s"] * 1e9)
        record: dict[str, Any] = {
            "name": data["stage"],
            "parent_span_id": span.parent_span_id,
            "start_ns": span.started_at_ns,
            "end_ns": span.started_at_ns + duration_ns,
        }
        if span.otel_span is not None:
            span.otel_span.add_to(record)
        if job.trace_sampled or (job._trace is not None and job._trace.is_kept):
            return record
        self._wait(job._trace, {**job._fields, "span_id": span.span_id}, record, data)
        return None

    # --- spans that wait -----------------------------------------------------------------------

    def take_library_span(
        self, job: Job | None, fields: dict[str, Any], span: dict[str, Any], *, is_sampled: bool
    ) -> None:
        """A span that the application made, through our provider, has ended."""
        trace = job._trace if job is not None else None
        if is_sampled or (trace is not None and trace.is_kept):
            self._emit_span(fields, span, _NO_DATA)
        else:
            self._wait(trace, fields, span, _NO_DATA)

    def _wait(
        self,
        trace: Trace | None,
        fields: dict[str, Any],
        span: dict[str, Any],
        data: Mapping[str, Any],
    ) -> None:
        """Hold a span until it is decided; a trace in which nothing runs is decided already."""
        if trace is None or trace.pid != self._pid or not trace.open_jobs:
            return
        if self._waiting_count >= self._max_waiting:
            self._lose(1)
            return
        self._waiting_count += 1
        trace.waiting.append((fields, span, data))
        if trace.is_kept:  # decided by another thread meanwhile
            self._keep(trace)

    def _keep(self, trace: Trace) -> None:
        trace.is_kept = True
        waiting, trace.waiting = trace.waiting, []
        self._waiting_count -= len(waiting)
        for fields, span, data in waiting:
            self._emit_span(fields, span, data)

    def _forget(self, trace: Trace) -> None:
        self._waiting_count -= len(trace.waiting)
        trace.waiting = []

    def _is_slow(self, job: Job) -> bool:
        """Whether the job ran much longer than its kind usually does; remembers its duration."""
        if not self._slow_factor:
            return False
        key = (job.service, job.name)
        duration_s = (job.ended_ns - job.started_ns) * 1e-9
        usual = self._usual.get(key)
        if usual is None:
            self._usual[key] = [1.0, duration_s]
            if len(self._usual) > _MAX_USUAL:
                self._usual.popitem(last=False)
            return False
        runs, mean_s = usual
        usual[0] = runs = runs + 1
        usual[1] = mean_s + (duration_s - mean_s) / min(_MEAN_OVER, runs)
        if duration_s < _MIN_SLOWER_S or runs <= _MIN_RUNS:
            return False
        return duration_s > max(mean_s * self._slow_factor, mean_s + _MIN_SLOWER_S)


class TracesDestination:
    """Sends the spans of journal lines to an OTLP receiver."""

    max_records = 256
    max_bytes = 1024 * 1024

    def __init__(self, config: Config, own_resource: Mapping[str, Any]) -> None:
        self._config = config
        self._encoder = SpanEncoder(own_resource)
        self._sender: OtlpSender | None = None

    def ship(self, lines: list[bytes], timeout_s: float, origin: Mapping[str, Any]) -> int:
        """Send one batch; the number of spans that the receiver rejected."""
        if self._sender is None:
            with loading:
                from fiveobs.tracks._otlp_settings import otlp_sender

                self._sender = otlp_sender("traces", self._config)
        body, unusable = self._encoder.encode(lines, origin)
        return unusable + self._sender.send(body, timeout_s)

    def close(self) -> None:
        """Give up the connection."""
        if self._sender is not None:
            self._sender.close()
