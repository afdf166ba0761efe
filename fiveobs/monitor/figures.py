"""The monitor's own figures, as text for Prometheus (exposition format 0.0.4).

Written by the threads that do the work, read by whoever asks for ``/metrics``. The number of
series is bounded: labels come from fixed sets (routes, methods, statuses, services).
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["CONTENT_TYPE", "Figures", "Labels", "Sample"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Seconds, from a cached answer to one that somebody gives up on.
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Series of one figure; what comes above that is counted under ``other``.
_MOST_SERIES = 500

Labels: TypeAlias = Mapping[str, str]
#: Labels and a value.
Sample: TypeAlias = tuple[Labels, float]
_Key: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Durations:
    """A histogram."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS_S) + 1))
    sum_s: float = 0.0


@dataclass(slots=True)
class _Figure:
    kind: str
    doc: str
    values: dict[_Key, float] = field(default_factory=dict)
    durations: dict[_Key, _Durations] = field(default_factory=dict)
    #: Asked when the text is made.
    source: Callable[[], Iterable[Sample]] | None = None


class Figures:
    """Counts, and gives the text."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures: dict[str, _Figure] = {}

    def count(self, name: str, doc: str, by: float = 1.0, **labels: str) -> None:
        """Add to a counter; its name ends in ``_total``."""
        with self._lock:
            values = self._figure(name, "counter", doc).values
            key = _bounded(values, labels)
            values[key] = values.get(key, 0.0) + by

    def took(self, name: str, doc: str, duration_s: float, **labels: str) -> None:
        """Add a duration to a histogram; its name ends in ``_seconds``."""
        with self._lock:
            series = self._figure(name, "histogram", doc).durations
            found = series.setdefault(_bounded(series, labels), _Durations())
            found.counts[bisect_left(_BUCKETS_S, duration_s)] += 1
            found.sum_s += duration_s

    def ask(
        self, name: str, doc: str, source: Callable[[], Iterable[Sample]], kind: str = "gauge"
    ) -> None:
        """Have a figure asked for whenever the text is made.

        Args:
            name: Of the figure.
            doc: What it says.
            source: Gives labels and values; what it raises leaves the figure out.
            kind: ``gauge`` or ``counter``.
        """
        with self._lock:
            self._figure(name, kind, doc).source = source

    def value(self, name: str, **labels: str) -> float:
        """A counter's value; 0.0 if it never counted."""
        with self._lock:
            figure = self._figures.get(name)
            return 0.0 if figure is None else figure.values.get(_key(labels), 0.0)

    def as_text(self) -> str:
        """All figures. Blocks as long as those that are asked for do."""
        with self._lock:
            figures = sorted(self._figures.items())
        lines: list[str] = []
        for name, figure in figures:
            asked = _ask(figure)
            with self._lock:
                samples = [*_lines(name, figure), *(_line(name, *sample) for sample in asked)]
            if samples:
                lines += [f"# HELP {name} {figure.doc}", f"# TYPE {name} {figure.kind}", *samples]
        return "\n".join([*lines, ""])

    def _figure(self, name: str, kind: str, doc: str) -> _Figure:
        return self._figures.setdefault(name, _Figure(kind, doc))


def _bounded(series: Mapping[_Key, object], labels: Labels) -> _Key:
    key = _key(labels)
    if key in series or len(series) < _MOST_SERIES:
        return key
    return _key(dict.fromkeys(labels, "other"))


def _key(labels: Labels) -> _Key:
    return tuple(sorted(labels.items()))


def _ask(figure: _Figure) -> list[Sample]:
    if figure.source is None:
        return []
    try:
        return list(figure.source())
    except Exception:
        return []  # absent, rather than wrong


def _lines(name: str, figure: _Figure) -> Iterable[str]:
    for key, value in sorted(figure.values.items()):
        yield _line(name, dict(key), value)
    for key, durations in sorted(figure.durations.items()):
        labels, total = dict(key), 0
        for bound, count in zip((*_BUCKETS_S, math.inf), durations.counts, strict=True):
            total += count
            yield _line(f"{name}_bucket", {**labels, "le": _number(bound)}, total)
        yield _line(f"{name}_sum", labels, durations.sum_s)
        yield _line(f"{name}_count", labels, total)


def _line(name: str, labels: Labels, value: float) -> str:
    inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {_number(value)}" if inner else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
