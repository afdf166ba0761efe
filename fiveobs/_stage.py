"""A part of a job: a child span with progress, rate, time left and figures of its own."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fiveobs import _runtime
from fiveobs._report import report
from fiveobs._spec import clean_name, clean_number

if TYPE_CHECKING:
    from fiveobs._job import Job
    from fiveobs._pipeline import Pipeline

#: Progress events of a stage are at most this frequent, in seconds.
_PROGRESS_PAUSE_S = 0.5
#: What most stages set: replaced, never changed.
_NOTHING: dict[str, Any] = {}


class Stage:
    """Made by ``Job.stage``.

    Example:
        >>> with job.stage("Data Loading", total=192_850) as stage:
        ...     stage.advance(12_856)
    """

    def __init__(self, job: Job, name: str, *, index: int, total: float | None, unit: str) -> None:
        self._job = job
        self._index = index
        self._said_at = 0.0
        self._started_ns = 0
        self._span: Any = None
        self._usage: Any = None
        self._attributes = self._said_attributes = _NOTHING
        self.name = clean_name(name, "stage")
        self.total = total
        self.unit = unit
        #: How many are done.
        self.done: float = 0

    # --- progress ----------------------------------------------------------------------------

    @property
    def total(self) -> float | None:
        """How many units there are to do; may be set later."""
        return self._total

    @total.setter
    def total(self, total: float | None) -> None:
        self._total = clean_number(total, f"the total of {self.name}")

    def advance(self, count: float = 1, message: str = "") -> None:
        """Say that ``count`` more units are done. Cheap: events are made twice a second at most."""
        try:
            self.done += clean_number(count, f"what {self.name} advanced by") or 0
            now = time.monotonic()
            if now - self._said_at >= _PROGRESS_PAUSE_S:
                self._said_at = now
                message = message or f"{self.name}: {self.done:g}"
                data = self.figures()
                self._add_attributes(data)
                self._say("stage.progress", message, data)
        except Exception as exc:  # a count that is no number
            report("job.stage", f"{self.name}: {type(exc).__name__}: {exc}")

    @property
    def duration_s(self) -> float:
        """Seconds since the stage began."""
        return (time.perf_counter_ns() - self._started_ns) / 1e9 if self._started_ns else 0.0

    @property
    def percent(self) -> float | None:
        """0 to 100; ``None`` without a total."""
        return round(min(self.done / self.total, 1.0) * 100, 2) if self.total else None

    @property
    def rate_per_s(self) -> float:
        """Units a second since the stage began."""
        duration_s = self.duration_s
        return self.done / duration_s if duration_s > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds left at this rate; ``None`` without a total or before the first unit."""
        rate = self.rate_per_s
        if not self.total or not rate:
            return None
        return max(self.total - self.done, 0.0) / rate

    def figures(self) -> dict[str, Any]:
        """Progress as event data."""
        data: dict[str, Any] = {"stage": self.name, "index": self._index, "done": self.done}
        data |= {"unit": self.unit, "duration_s": round(self.duration_s, 6)}
        data["rate_per_s"] = round(self.rate_per_s, 3)
        try:
            if self.total:
                data |= {"total": self.total, "percent": self.percent}
                if self.eta_s is not None:
                    data["eta_s"] = round(self.eta_s, 3)
        except Exception as exc:  # a total that is no number
            report("job.stage", f"{self.name}: {type(exc).__name__}: {exc}")
        return data

    # --- what else there is to say -----------------------------------------------------------

    def set(self, /, **attributes: Any) -> None:
        """Add attributes to the stage: on its last event and its span.

        Those that are set before it is entered are on its first event, too, others on its next
        progress.
        """
        self._attributes = {**self._attributes, **attributes}

    def _add_attributes(self, data: dict[str, Any]) -> None:
        """Say what was set since it was said last."""
        attributes = self._attributes
        if attributes is not self._said_attributes:
            self._said_attributes = data["attributes"] = attributes

    # --- beginning and end -------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Begin the stage."""
        self._started_ns = time.perf_counter_ns()
        try:
            self._begin()
        except Exception as exc:
            report("job.stage", f"{type(exc).__name__}: {exc}")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the stage; what was raised goes on."""
        try:
            self._end(error)
        except Exception as exc:
            report("job.stage", f"{type(exc).__name__}: {exc}")

    async def __aenter__(self) -> Self:
        """Begin the stage."""
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the stage; what was raised goes on."""
        self.__exit__(exc_type, error, traceback)

    def _begin(self) -> None:
        job = self._job
        job._entered(self)
        self._said_at = time.monotonic()
        pipeline = _runtime.get()
        if pipeline is None:
            return
        self._usage = pipeline.usage()
        try:
            self._span = pipeline.traces.open_stage(job, self.name)
        except Exception as exc:
            report("traces", f"stage {self.name}: {type(exc).__name__}: {exc}")
        data: dict[str, Any] = {"stage": self.name, "index": self._index, "unit": self.unit}
        if self.total is not None:
            data["total"] = self.total
        if self._attributes:
            self._add_attributes(data)
        self._say("stage.started", f"{self.name} started", data)

    def _end(self, error: BaseException | None) -> None:
        job = self._job
        job._left(self, error)
        pipeline = _runtime.get()
        if pipeline is None or not self._started_ns:
            return
        data = self.figures()
        if self._usage is not None:
            data |= pipeline.usage_since(self._usage)
        if self._attributes:
            data["attributes"] = pipeline.redactor.clean(self._attributes)
        if error is not None:
            data["error"] = pipeline.error_data(error, with_stack=False)
        span = self._close_span(pipeline, data, error)
        event_type = "stage.completed" if error is None else "stage.failed"
        word = "completed" if error is None else "failed"
        level = "info" if error is None else "error"
        self._say(event_type, f"{self.name} {word}", data, level, span)

    def _close_span(
        self, pipeline: Pipeline, data: dict[str, Any], error: BaseException | None
    ) -> dict[str, Any] | None:
        """The span to put on the last event; ``None`` too if the application's provider raised."""
        if self._span is None:
            return None
        try:
            return pipeline.traces.close_stage(self._job, self._span, data, error)
        except Exception as exc:
            report("traces", f"stage {self.name}: {type(exc).__name__}: {exc}")
            return None

    def _say(
        self,
        event_type: str,
        message: str,
        data: dict[str, Any],
        level: str = "info",
        span: dict[str, Any] | None = None,
    ) -> None:
        fields = {"span_id": self._span.span_id} if self._span is not None else {}
        self._job._emit(event_type, message, data, level, clean=True, span=span, fields=fields)
