"""What a running job can say about itself.

Methods may be called from any thread; none raises (but ``checkpoint``, on purpose), blocks on a
network, or costs more than one journal line. A job that could not be set up, or one that has ended,
takes every call and does nothing.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from time import perf_counter_ns, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fiveobs import _control, _runtime
from fiveobs._carrier import Link, write_carrier
from fiveobs._ids import clean_text
from fiveobs._log import Log
from fiveobs._report import report
from fiveobs._spec import clean_number
from fiveobs._stage import Stage
from fiveobs.exceptions import JobStopped
from fiveobs.types import JobStatus

if TYPE_CHECKING:
    from contextvars import Token

    from fiveobs._spec import JobSpec

#: Progress events with the same message are at most this frequent, in seconds.
_PROGRESS_PAUSE_S = 0.1
#: How often a checkpoint looks whether something was asked, and how long a paused one rests.
_CONTROL_PAUSE_S = 0.2
#: Longest progress message that is no text to begin with, in characters.
_MAX_MESSAGE = 1000
#: Set on an exception that has left a stage: the job's span and the stage's name.
_STAGE = "__fiveobs_stage__"
#: Log lines kept for an error report.
_MAX_BREADCRUMBS = 50


class Job:
    """One run of an observed piece of work.

    Made by ``observe_job``; found with ``current_job()``.
    """

    # What most jobs never change stands here once; a job is made for every call.
    _fields: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed
    _pid = 0
    _token: Token[Job | None] | None = None
    _is_left = False
    _otel_token: Any = None
    _otel_inside: Any = None
    _trace: Any = None
    _span: Any = None
    _links: tuple[tuple[str, str], ...] = ()
    _tracestate = ""
    _overhead_ns = 0
    _progressed_at = 0.0
    _asked_at = 0.0
    _stage_count = 0
    #: Its input's size was set after its first event.
    _is_sized = False
    _started_cpu_ns = 0
    _log: Log | None = None
    _attributes: dict[str, Any] | None = None

    job_id = ""
    session_id: str | None = None
    request_id: str | None = None
    trace_id = ""
    span_id = ""
    parent_span_id: str | None = None
    #: Whether the trace is kept as far as is known now; the end of the job decides.
    trace_sampled = False
    #: 1 for the first try.
    attempt = 1
    status = JobStatus.RUNNING
    #: 0 to 100, or ``None`` before the first ``progress``.
    percent: float | None = None
    progress_message = ""
    #: The stage that was entered last and is still open.
    stage_name: str | None = None
    #: Sizes of the arguments and the result in bytes, where they are cheap to know.
    input_size_bytes: int | None = None
    output_size_bytes: int | None = None
    result_summary: dict[str, Any] | None = None
    #: Set when the error of this job was sent to Sentry.
    sentry_event_id: str | None = None
    span_record: dict[str, Any] | None = None
    #: Recent log lines as (time in s since 1970, level, message, data).
    breadcrumbs: deque[tuple[float, str, str, Any]] | None = None
    #: When it ended on the monotonic clock, in nanoseconds; 0 while it runs.
    ended_ns = 0

    def __init__(self, spec: JobSpec, parent: Job | None) -> None:
        self._spec = spec
        self._parent = parent
        #: What kind of job it is.
        self.name = spec.name
        self.service = spec.service or ""
        self.queue = spec.queue
        #: When it began: wall clock, and the monotonic clock for durations; nanoseconds.
        self.started_at_ns = time_ns()
        self.started_ns = perf_counter_ns()

    @property
    def log(self) -> Log:
        """Logs with the job's ids."""
        if self._log is None:
            self._log = Log(self)
        return self._log

    @property
    def attributes(self) -> dict[str, Any]:
        """What ``observe_job`` and ``set`` attached to the job."""
        if self._attributes is None:
            self._attributes = dict(self._spec.attributes or ())
        return self._attributes

    @property
    def has_attributes(self) -> bool:
        """Whether anything is attached."""
        return bool(self._attributes or self._spec.attributes)

    def __repr__(self) -> str:
        """Name, id and status."""
        return f"<Job {self.name!r} job_id={self.job_id} {self.status.value}>"

    # --- figures -----------------------------------------------------------------------------

    @property
    def duration_s(self) -> float:
        """Seconds since the start, or from start to end."""
        return ((self.ended_ns or perf_counter_ns()) - self.started_ns) / 1e9

    @property
    def is_active(self) -> bool:
        """Whether the job has begun and not ended."""
        return bool(self._fields) and not self.status.is_final

    # --- saying things -----------------------------------------------------------------------

    def progress(
        self,
        fraction: float | None = None,
        message: str = "",
        *,
        done: float | None = None,
        total: float | None = None,
    ) -> None:
        """Say how far the job is.

        Args:
            fraction: 0.0 to 1.0; worked out from ``done`` and ``total`` if left out.
            message: What it is doing, one line.
            done: Units done so far.
            total: Units in all.
        """
        try:
            self._progress(fraction, message, done, total)
        except Exception as exc:
            report("job.progress", f"{type(exc).__name__}: {exc}")

    def _progress(
        self, fraction: float | None, message: str, done: float | None, total: float | None
    ) -> None:
        done, total = clean_number(done, "done"), clean_number(total, "total")
        if fraction is None and done is not None and total:
            fraction = done / total
        fraction = clean_number(fraction, "progress")
        percent = None if fraction is None else round(min(max(fraction, 0.0), 1.0) * 100, 2)
        now = time.monotonic()
        message = _line(message)
        same = message == self.progress_message
        self.percent = percent if percent is not None else self.percent
        if same and percent != 100 and now - self._progressed_at < _PROGRESS_PAUSE_S:
            return
        self._progressed_at = now
        self.progress_message = message
        data: dict[str, Any] = {"duration_s": round(self.duration_s, 6)}
        if self.percent is not None:
            data["percent"] = self.percent
            data["eta_s"] = _eta_s(self.duration_s, self.percent)
        if done is not None:
            data |= {"done": done, "total": total}
        figure = "progress" if self.percent is None else f"{self.percent}%"
        self._emit("job.progress", message or f"{self.name}: {figure}", data, clean=True)

    def stage(self, name: str, *, total: float | None = None, unit: str = "records") -> Stage:
        """A part of the job, as a context manager (``with`` or ``async with``).

        It is a child span and has events, progress and figures of its own.

        Args:
            name: For example ``"Data Loading"``.
            total: How many units it has to do; with it percent and ETA are known.
            unit: What is counted.
        """
        self._stage_count += 1
        return Stage(self, name, index=self._stage_count, total=total, unit=unit)

    def _entered(self, stage: Stage) -> None:
        open_stages = self.__dict__.setdefault("_open_stages", [])  # threads may enter at once
        open_stages.append(stage)
        self.stage_name = stage.name

    def _left(self, stage: Stage, error: BaseException | None) -> None:
        open_stages = self.__dict__.get("_open_stages", [])
        if stage in open_stages:
            open_stages.remove(stage)
        self.stage_name = open_stages[-1].name if open_stages else None
        if error is not None and self._marked_stage(error) is None:  # the innermost is left first
            # Not setattr: a frozen dataclass may be an exception.
            BaseException.__setattr__(error, _STAGE, (self.span_id, stage.name))

    def stage_of(self, error: BaseException | None) -> str | None:
        """The stage in which ``error`` was raised, or else the one that is open."""
        return (self._marked_stage(error) if error is not None else None) or self.stage_name

    def _marked_stage(self, error: BaseException) -> str | None:
        mark = BaseException.__getattribute__(error, "__dict__").get(_STAGE)
        return mark[1] if mark is not None and mark[0] == self.span_id else None

    def milestone(self, name: str, /, **data: Any) -> None:
        """Record that something noteworthy was reached."""
        self._emit("job.milestone", name, {"milestone": name, **data}, clean=True)

    def set(self, /, **attributes: Any) -> None:
        """Add attributes to the job: on its last event, its span and its error report."""
        self.attributes.update(attributes)

    def result(self, /, **summary: Any) -> None:
        """Record what came out, as the job's last event shows it (not the return value itself)."""
        self.result_summary = {**(self.result_summary or {}), **summary}

    def sizes(self, *, input_bytes: int | None = None, output_bytes: int | None = None) -> None:
        """Set the sizes of what went in and came out, where we cannot know them."""
        if input_bytes is not None:
            self.input_size_bytes = input_bytes
            self._is_sized = True
        if output_bytes is not None:
            self.output_size_bytes = output_bytes

    def retrying(self, reason: object = "", *, delay_s: float | None = None) -> None:
        """Record that this attempt is given up and another one will follow."""
        data = {"reason": _shown(reason), "delay_s": delay_s, "next_attempt": self.attempt + 1}
        data = {key: value for key, value in data.items() if value is not None}
        self._emit("job.retrying", f"{self.name} will be tried again", data, "warning", clean=True)

    # --- own measures ------------------------------------------------------------------------

    def count(self, name: str, /, value: float = 1, *, unit: str = "", **labels: str) -> None:
        """Add to a counter of your own, for example ``job.count("records", 128)``."""
        self._measure("counter", name, value, unit, labels)

    def gauge(self, name: str, /, value: float, *, unit: str = "", **labels: str) -> None:
        """Set a gauge of your own to the present value."""
        self._measure("gauge", name, value, unit, labels)

    def record(self, name: str, /, value: float, *, unit: str = "", **labels: str) -> None:
        """Record a value in a histogram of your own."""
        self._measure("histogram", name, value, unit, labels)

    def _measure(
        self, kind: str, name: str, value: float, unit: str, labels: Mapping[str, str]
    ) -> None:
        try:
            number = float(value)
            if not math.isfinite(number):
                report("metric", f"{name!r} is {value!r}: not a number that can be measured")
                return
            if kind == "counter" and number < 0:
                report("metric", f"counter {name!r} cannot go down by {value!r}: use a gauge")
                return
            value = clean_number(value, name) or 0  # as OTLP can hold it: no Decimal, no text
            data = {"kind": kind, "name": name, "value": value, "unit": unit, "labels": labels}
            self._emit("metric", name, data, "debug", clean=True)
        except Exception as exc:
            report("metric", f"{name!r}: {type(exc).__name__}: {exc}")

    # --- going on elsewhere ------------------------------------------------------------------

    def carrier(self) -> dict[str, str]:
        """Headers that let another process go on with the same ids.

        Pass them to ``observe_job(..., carrier=headers)`` there.
        """
        is_announced = self.status is JobStatus.RECEIVED
        return write_carrier(
            Link(
                trace_id=self.trace_id or None,
                span_id=self.span_id or None,
                sampled=self.trace_sampled,
                tracestate=self._tracestate,
                job_id=self.job_id or None,
                session_id=self.session_id,
                request_id=self.request_id,
                attempt=self.attempt if self.attempt != 1 else None,
                queue=self.queue if is_announced else None,
                queued_at_ns=self.started_at_ns if is_announced else None,
                placeholder=self.span_id if is_announced and not self.parent_span_id else None,
            )
        )

    # --- being controlled --------------------------------------------------------------------

    def checkpoint(self) -> None:
        """A point where the job may be stopped or made to wait; cheap enough for a loop.

        Blocks the thread while the job is paused.

        Raises:
            JobStopped: Someone asked the job to stop. Let it through.
        """
        while self._must_wait():
            time.sleep(_CONTROL_PAUSE_S)

    async def acheckpoint(self) -> None:
        """``checkpoint`` for coroutines: waits without blocking the event loop.

        Raises:
            JobStopped: Someone asked the job to stop. Let it through.
        """
        import asyncio

        while self._must_wait():  # noqa: ASYNC110 - another process writes the answer to a file
            await asyncio.sleep(_CONTROL_PAUSE_S)

    def _must_wait(self) -> bool:
        """Look what is asked; raise for a stop, note a pause or its end."""
        paused = self.status is JobStatus.PAUSED
        now = time.monotonic()
        if not self.is_active or (not paused and now - self._asked_at < _CONTROL_PAUSE_S):
            return False
        self._asked_at = now
        asked = self._requested()
        action = None if asked is None else asked.action
        if asked is not None and action == "stop":
            raise JobStopped(f"{self.name} ({self.job_id}) was asked to stop{_by(asked)}")
        if action == "pause" and not paused:
            self.status = JobStatus.PAUSED
            self._emit("job.paused", f"{self.name} paused", {})
        elif action != "pause" and paused:
            self.status = JobStatus.RUNNING
            self._emit("job.resumed", f"{self.name} resumed", {})
        return self.status is JobStatus.PAUSED

    def _requested(self) -> _control.Request | None:
        try:
            pipeline = _runtime.get()
            if pipeline is None:
                return None
            return _control.requested(pipeline.config.home, pipeline.run_of(self))
        except Exception as exc:
            report("job.checkpoint", f"{type(exc).__name__}: {exc}")
            return None

    # --- the way out -------------------------------------------------------------------------

    def _emit(
        self,
        event_type: str,
        message: str,
        data: dict[str, Any],
        level: str = "info",
        *,
        clean: bool = False,
        span: dict[str, Any] | None = None,
        fields: dict[str, Any] | None = None,
    ) -> None:
        """Make one event of this job; ``clean`` when a caller's values are in it."""
        try:
            pipeline = _runtime.get()
            if pipeline is None or not self._fields:
                return
            if clean:
                message, data = pipeline.cleaned(message, data)
            own = pipeline.fields_of(self)
            if fields:
                own = {**own, **fields}
            pipeline.emit(own, event_type, level, message, data, span)
        except Exception as exc:
            report("job", f"{event_type}: {type(exc).__name__}: {exc}")

    def _keep_breadcrumb(self, level: str, message: str, data: Any) -> None:
        if self.breadcrumbs is None:
            self.breadcrumbs = deque(maxlen=_MAX_BREADCRUMBS)
        self.breadcrumbs.append((time.time(), level, message, data))

    def _is_elsewhere(self, pid: int) -> bool:
        """Whether this is a forked copy: the process that began the job also ends it."""
        return self._pid != pid


def _by(asked: _control.Request) -> str:
    """By whom and why, as far as that was said."""
    by = f" by {asked.by}" if asked.by else ""
    return f"{by}: {asked.reason}" if asked.reason else by


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception:  # a hostile __str__ must not reach the job
        return f"<{type(value).__name__}>"


def _line(message: object) -> str:
    """A caller's message as text."""
    return message if isinstance(message, str) else clean_text(message, _MAX_MESSAGE)


def _eta_s(duration_s: float, percent: float) -> float | None:
    """Seconds left if it goes on like this; ``None`` while nothing is done."""
    if percent <= 0:
        return None
    return round(duration_s * (100 - percent) / percent, 3)


#: What ``__exit__`` is given.
ExitArgs = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
