"""Measurements through the application's own ``MeterProvider``; its readers send them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fiveobs.tracks._sums import ExemplarIds, Instrument, Labels


def application_meter() -> Meter | None:
    """A meter of the provider that the application has set up; ``None`` if it has none."""
    provider = metrics.get_meter_provider()
    if type(provider).__name__ in ("_ProxyMeterProvider", "NoOpMeterProvider"):
        return None
    return provider.get_meter("fiveobs")


class _Figures:
    """The figures of the moment, read once for all callbacks of one collection."""

    def __init__(self, observe: Callable[[], Iterable[tuple[Instrument, Labels, float]]]) -> None:
        self._observe = observe
        self._pid = os.getpid()
        self._asked: set[Instrument] = set()
        self._rows: list[tuple[Instrument, Labels, float]] = []

    def of(self, instrument: Instrument) -> list[Observation]:
        """One instrument's; a forked child has no figures before it has a pipeline."""
        if self._pid != os.getpid():
            return []
        if not self._asked or instrument in self._asked:  # asked again: another collection
            self._rows, self._asked = list(self._observe()), set()
        self._asked.add(instrument)
        return [
            Observation(value, dict(own)) for each, own, value in self._rows if each == instrument
        ]


#: The present pipeline's; callbacks, which cannot be taken back, read here.
_figures: _Figures | None = None
#: Meters that have our callbacks.
_observed: WeakSet[Meter] = WeakSet()


class Instruments:
    """Records into the application's instruments.

    Args:
        meter: The application's.
        observe: Reads the figures of the moment; called by the application's readers.
        observed: The instruments of those figures.
    """

    def __init__(
        self,
        meter: Meter,
        observe: Callable[[], Iterable[tuple[Instrument, Labels, float]]],
        observed: Iterable[Instrument],
    ) -> None:
        global _figures
        self._meter = meter
        self._made: dict[Instrument, Any] = {}
        self._own_figures = _figures = _Figures(observe)
        if meter not in _observed:
            _observed.add(meter)
            for instrument in observed:
                self._make_observable(instrument)

    def close(self) -> None:
        """Give no more figures."""
        global _figures
        if _figures is self._own_figures:
            _figures = None

    def _make_observable(self, instrument: Instrument) -> None:
        def read(options: CallbackOptions) -> Iterable[Observation]:
            return [] if _figures is None else _figures.of(instrument)

        make = {
            "counter": self._meter.create_observable_counter,
            "updowncounter": self._meter.create_observable_up_down_counter,
            "gauge": self._meter.create_observable_gauge,
        }[instrument.kind]
        make(instrument.name, [read], instrument.unit, instrument.description)

    def _instrument(self, instrument: Instrument) -> Any:
        made = self._made.get(instrument)
        if made is None:
            arguments = (instrument.name, instrument.unit, instrument.description)
            if instrument.kind == "histogram":
                bounds = list(instrument.bounds)
                made = self._meter.create_histogram(
                    *arguments, explicit_bucket_boundaries_advisory=bounds
                )
            elif instrument.kind == "counter":
                made = self._meter.create_counter(*arguments)
            else:
                made = self._meter.create_gauge(*arguments)
            self._made[instrument] = made
        return made

    def add(self, instrument: Instrument, labels: Labels, value: float) -> None:
        """Add to a counter."""
        self._instrument(instrument).add(value, dict(labels))

    def set(self, instrument: Instrument, labels: Labels, value: float) -> None:
        """Set a gauge."""
        self._instrument(instrument).set(value, dict(labels))

    def record(
        self, instrument: Instrument, labels: Labels, value: float, ids: ExemplarIds | None = None
    ) -> None:
        """Record a value, in the context of the span that it belongs to."""
        context = None
        if ids is not None:
            flags = TraceFlags(TraceFlags.SAMPLED)
            span = SpanContext(int(ids.trace_id, 16), int(ids.span_id, 16), True, flags)
            context = set_span_in_context(NonRecordingSpan(span))
        self._instrument(instrument).record(value, dict(labels), context)
