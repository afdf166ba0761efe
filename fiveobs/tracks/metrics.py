"""The metrics track: what the journal's lines add up to, and what process and machine use.

Reads the lines that count in a metric; sends the sums by OTLP, as often as
``METRICS_COLLECTION_INTERVAL`` says. The job itself pays nothing. Where the application has set up
a ``MeterProvider``, its instruments are used and its readers send them. ``job_id`` is never a
label. Used by one shipper thread.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from fiveobs._loading import loading
from fiveobs._report import report
from fiveobs._yielding import Turns
from fiveobs.tracks._sums import ExemplarIds, Instrument, Labels, Sums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fiveobs._config import Config
    from fiveobs.tracks._instruments import Instruments
    from fiveobs.tracks._otlp import OtlpSender

#: Upper bounds of duration buckets, in seconds: 0.1 s to 5 min, then on to a day.
_SECONDS = (
    *(0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0),
    *(600.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0),
)
#: Upper bounds of the buckets of a histogram of the user's own.
_ANYTHING = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0),
    *(250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0),
)
#: Instruments of the user's own, at most.
_MAX_OWN = 500
#: What OpenTelemetry allows in an instrument's name, and the longest name and unit.
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.\-/]")
_MAX_NAME_LENGTH = 250
_MAX_UNIT_LENGTH = 63

JOBS_PROCESSED = Instrument("jobs.processed", "counter", "{job}", "Jobs that have ended")
JOBS_RECEIVED = Instrument("jobs.received", "counter", "{job}", "Jobs that were announced")
JOBS_ACTIVE = Instrument("jobs.active", "updowncounter", "{job}", "Jobs that are running")
ERRORS = Instrument("errors", "counter", "{error}", "Jobs that failed, by kind of error")
QUEUE_SIZE = Instrument("queue.size", "gauge", "{job}", "Jobs that wait in a queue")
JOB_DURATION = Instrument("job.duration", "histogram", "s", "How long jobs took", _SECONDS)
JOB_QUEUE_WAIT = Instrument(
    "job.queue.wait", "histogram", "s", "How long jobs waited in a queue", _SECONDS
)
JOB_STAGE_DURATION = Instrument(
    "job.stage.duration", "histogram", "s", "How long stages of jobs took", _SECONDS
)

#: Every instrument that is summed from lines.
SUMMED = (
    *(JOBS_PROCESSED, JOBS_RECEIVED, ERRORS),
    *(JOB_DURATION, JOB_QUEUE_WAIT, JOB_STAGE_DURATION),
)

#: One figure that is read when metrics are sent: instrument, labels, value.
Observation = tuple[Instrument, Labels, float]


class Measures(Protocol):
    """Where measurements go: our own sums or the application's instruments."""

    def add(self, instrument: Instrument, labels: Labels, value: float) -> None:
        """Add to a counter."""

    def set(self, instrument: Instrument, labels: Labels, value: float) -> None:
        """Set a gauge or an observed counter."""

    def record(
        self, instrument: Instrument, labels: Labels, value: float, ids: ExemplarIds | None = None
    ) -> None:
        """Record a value in a histogram."""


class MetricsDestination:
    """Sums lines and sends the sums.

    Args:
        config: Settings.
        resource: This process's resource attributes.
        observe: Reads the figures of the moment.
    """

    max_records = 1000
    max_bytes = 2 * 1024 * 1024

    def __init__(
        self,
        config: Config,
        resource: Mapping[str, Any],
        observe: Callable[[], Iterable[Observation]],
    ) -> None:
        self._config = config
        self._resource = resource
        self._observe = observe
        self._own: dict[str, Instrument] = {}
        self._sender: OtlpSender | None = None
        self._application = application_measures(observe)
        self._sums = Sums(config.metric_label_limit, temporality=config.metrics_temporality)

    def ship(self, lines: list[bytes], timeout_s: float, origin: Mapping[str, Any]) -> int:
        """Sum one batch; the number of lines that were not usable."""
        measures: Measures = self._application or self._sums
        counts: dict[tuple[Instrument, Labels], float] = {}
        unusable = 0
        turns = Turns()
        for line in lines:
            turns.give_way()
            try:
                record = orjson.loads(line)
                self._take(record, record["data"], measures, counts)
            except Exception:  # also what the application's instruments raise
                unusable += 1
        for (instrument, labels), value in counts.items():
            measures.add(instrument, labels, value)
        return unusable

    def _take(
        self,
        record: Mapping[str, Any],
        data: Mapping[str, Any],
        measures: Measures,
        counts: dict[tuple[Instrument, Labels], float],
    ) -> None:
        event_type: str = record["event_type"]
        labels: Labels
        if event_type == "metric":
            self._take_own(data, measures)
        elif event_type == "job.started":
            if "queue_wait_s" in data:
                labels = (("queue", data.get("queue", "")),)
                measures.record(JOB_QUEUE_WAIT, labels, data["queue_wait_s"], _exemplar(record))
        elif event_type == "job.received":
            key = (JOBS_RECEIVED, (("service", record["service"]),))
            counts[key] = counts.get(key, 0) + 1
        elif event_type.startswith("stage."):
            labels = (("service", record["service"]), ("stage", data["stage"]))
            measures.record(JOB_STAGE_DURATION, labels, data["duration_s"], _exemplar(record))
        else:
            _take_end(record, data, measures, counts)

    def _take_own(self, data: Mapping[str, Any], measures: Measures) -> None:
        """A measurement of the user's own."""
        kind, name = data["kind"], str(data["name"])
        instrument = self._own.get(name) or self._make_own(kind, name, str(data.get("unit") or ""))
        if instrument.kind != kind:
            report(f"metric {name}", f"is a {instrument.kind} already, and cannot be a {kind}")
            raise ValueError(f"{name} is a {instrument.kind}")
        labels = tuple(sorted((k, str(v)) for k, v in (data.get("labels") or {}).items()))
        act = {"counter": measures.add, "gauge": measures.set, "histogram": measures.record}[kind]
        value = data["value"]
        if type(value) not in (int, float):
            raise TypeError(f"{name} is no number")
        act(instrument, labels, value)

    def _make_own(self, kind: str, name: str, unit: str) -> Instrument:
        if len(self._own) >= _MAX_OWN:
            report("metrics", f"there are {_MAX_OWN} metrics of your own; {name} is left out")
            raise ValueError(f"more than {_MAX_OWN} instruments")
        clean = _NOT_IN_NAMES.sub("_", name)[:_MAX_NAME_LENGTH]
        if not clean[:1].isalpha():
            clean = f"m_{clean}"
        if clean in _reserved_names():
            report(f"metric {name}", f"is a metric of fiveobs: call yours app.{name}, say")
            raise ValueError(f"{name} is taken")
        unit = unit if unit.isascii() and len(unit) <= _MAX_UNIT_LENGTH else ""
        bounds = _ANYTHING if kind == "histogram" else ()
        return self._own.setdefault(name, Instrument(clean, kind, unit, "", bounds))

    def export(self, timeout_s: float) -> None:
        """Send the present sums and figures; ``DeliveryError`` if they were not taken."""
        if self._application is not None:
            return
        self._sums.observe(self._observe())
        if self._sender is None:
            with loading:
                from fiveobs.tracks._otlp_settings import otlp_sender

                self._sender = otlp_sender("metrics", self._config)
        self._sender.send(self._sums.encode(self._resource), timeout_s)
        self._sums.sent()

    def close(self) -> None:
        """Give up the connection."""
        if self._application is not None:
            self._application.close()
        if self._sender is not None:
            self._sender.close()


def _reserved_names() -> set[str]:
    from fiveobs.tracks._observations import OBSERVED

    return {each.name for each in (*SUMMED, *OBSERVED)}


def _take_end(
    record: Mapping[str, Any],
    data: Mapping[str, Any],
    measures: Measures,
    counts: dict[tuple[Instrument, Labels], float],
) -> None:
    """A job's last event."""
    service, name = record["service"], record.get("job_name", "")
    status = data.get("status") or record["event_type"].removeprefix("job.")
    status = "success" if status == "completed" else status
    labels = (("service", service), ("name", name), ("status", status))
    counts[JOBS_PROCESSED, labels] = counts.get((JOBS_PROCESSED, labels), 0) + 1
    if "duration_s" in data:
        measures.record(JOB_DURATION, labels, data["duration_s"], _exemplar(record))
    if status == "failed":
        kind = data.get("error", {}).get("type", "unknown")
        key = (ERRORS, (("service", service), ("error.type", kind)))
        counts[key] = counts.get(key, 0) + 1


def _exemplar(record: Mapping[str, Any]) -> ExemplarIds | None:
    """The line's span, if its trace is kept: an exemplar must lead somewhere."""
    if not record.get("sampled"):
        return None
    return ExemplarIds(record["trace_id"], record["span_id"])


def application_measures(observe: Callable[[], Iterable[Observation]]) -> Instruments | None:
    """The application's instruments, if it has set up a ``MeterProvider``."""
    if "opentelemetry.sdk.metrics" not in sys.modules:
        return None
    from fiveobs.tracks._instruments import Instruments, application_meter
    from fiveobs.tracks._observations import OBSERVED

    try:
        meter = application_meter()
        return Instruments(meter, observe, OBSERVED) if meter is not None else None
    except Exception as exc:  # the application's provider raised; the other tracks must go on
        report("track metrics", f"{type(exc).__name__}: {exc}")
        return None
