"""Time and ids that a test can foretell."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import BuiltinFunctionType, ModuleType, SimpleNamespace
from typing import Any

from fiveobs._ids import IdSource

_START = datetime(2026, 1, 1, tzinfo=UTC)
#: Not zero: that would mean "not started".
_COUNTER_START_NS = 1_000_000_000


class FakeClock:
    """The time of jobs and stages; it stands still until it is told to go on.

    Timestamps, durations and the pauses between progress events follow it. What waits (flushes,
    shippers, retries) goes by real time, and so do CPU figures and the times of metric points.

    Args:
        start: What time it is at first.

    Example:
        >>> clock = FakeClock()
        >>> clock.advance(90)
        >>> clock.now.isoformat()
        '2026-01-01T00:01:30+00:00'
    """

    def __init__(self, start: datetime = _START) -> None:
        if start.tzinfo is None:
            raise ValueError(f"{start!r} has no time zone: write datetime(…, tzinfo=UTC)")
        self._start_ns = int(start.timestamp()) * 1_000_000_000 + start.microsecond * 1000
        self._passed_ns = 0

    @property
    def now(self) -> datetime:
        """What time it is."""
        seconds, ns = divmod(self.time_ns(), 1_000_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=ns // 1000)

    def advance(self, duration_s: float) -> None:
        """Let time pass."""
        if duration_s < 0:
            raise ValueError(f"duration_s is {duration_s}: time does not go back")
        self._passed_ns += round(duration_s * 1e9)

    def time_ns(self) -> int:
        """As ``time.time_ns``."""
        return self._start_ns + self._passed_ns

    def time(self) -> float:
        """As ``time.time``."""
        return self.time_ns() / 1e9

    def perf_counter_ns(self) -> int:
        """As ``time.perf_counter_ns``."""
        return _COUNTER_START_NS + self._passed_ns

    def monotonic(self) -> float:
        """As ``time.monotonic``: real time, and what has passed here on top."""
        return time.monotonic() + self._passed_ns / 1e9


@contextlib.contextmanager
def installed(clock: FakeClock | None) -> Iterator[None]:
    """Have our modules read this clock; ``None`` changes nothing."""
    with contextlib.ExitStack() as stack:
        for module, name, value in _places(clock) if clock is not None else ():
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield


def _places(clock: FakeClock) -> Iterator[tuple[ModuleType, str, Any]]:
    """Every name by which a module of ours reads the time, and what to put there."""
    from fiveobs import _carrier, _ids, _job, _lifecycle, _pipeline, _stage
    from fiveobs.tracks import traces

    wall = {"time": clock.time, "time_ns": clock.time_ns}
    steady = {"perf_counter_ns": clock.perf_counter_ns, "monotonic": clock.monotonic}
    for module in (_carrier, _ids, _job, _lifecycle, _stage, traces):
        yield from _places_in(module, {**wall, **steady})
    # Deadlines are real: the pipeline only takes its timestamps from here.
    yield from _places_in(_pipeline, wall)


def _places_in(
    module: ModuleType, readings: Mapping[str, Any]
) -> Iterator[tuple[ModuleType, str, Any]]:
    functions = {getattr(time, name): reading for name, reading in readings.items()}
    for name, value in list(vars(module).items()):
        if value is time:
            yield module, name, SimpleNamespace(**{**vars(time), **readings})
        elif isinstance(value, BuiltinFunctionType) and value in functions:
            yield module, name, functions[value]


class SequentialIds(IdSource):
    """Ids that count from 1: ``job-1``, trace ``00…01``, span ``00…01``, event ``test-1``."""

    def __init__(self) -> None:
        super().__init__()
        self.process = "test"
        self._trace_ids, self._span_ids, self._job_ids = (itertools.count(1) for _ in range(3))

    def trace_id(self) -> str:
        """32 hex digits."""
        return f"{next(self._trace_ids):032x}"

    def span_id(self) -> str:
        """16 hex digits."""
        return f"{next(self._span_ids):016x}"

    def job_id(self) -> str:
        """``job-1``, ``job-2`` and so on."""
        return f"job-{next(self._job_ids)}"
