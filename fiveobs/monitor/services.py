"""What runs beside the API in the monitor's process: threads that are started, watched and ended.

A service is anything with a ``name`` and a ``run(stop)`` that goes on until ``stop`` is set. One
that ends before, or raises, is reported and started again, later each time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fiveobs._report import report
from fiveobs.monitor.access import Access
from fiveobs.monitor.figures import Figures, Sample

__all__ = ["Service", "Services", "TokenUse"]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
#: A service that ran for so long is taken to have recovered.
_RECOVERED_S = 120.0


class Service(Protocol):
    """Runs in a thread of its own."""

    #: One word, for logs and figures.
    name: str

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; blocks."""


class TokenUse:
    """Stores when tokens were last used, once a minute.

    Args:
        access: Who knows.
    """

    name = "tokens"

    def __init__(self, access: Access, *, interval_s: float = 60.0) -> None:
        self._access = access
        self._interval_s = interval_s

    def run(self, stop: threading.Event) -> None:
        """Store until told to stop, and once more then."""
        while not stop.wait(self._interval_s):
            self._access.write_used()
        self._access.write_used()


class Services:
    """The services of one monitor, in the order in which they start; they end in reverse.

    Args:
        services: What is run.
        access: Who knows the tokens.
        figures: Where the monitor's own figures are kept.
        lag_s: How far taking events in is behind, in seconds.
        max_lag_s: How far it may be.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        access: Access,
        figures: Figures,
        lag_s: Callable[[], float] = lambda: 0.0,
        max_lag_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.access = access
        self.figures = figures
        self._lag_s = lag_s
        self._max_lag_s = max_lag_s
        self._running = [_Running(each, figures, clock) for each in services]
        figures.ask(
            "fiveobs_monitor_ingest_lag_seconds", "How long the oldest event waits.", self._lag
        )
        figures.ask("fiveobs_monitor_service_up", "Whether a service runs.", self._up)

    def start(self) -> None:
        """Start all."""
        for each in self._running:
            each.start()

    def stop(self, timeout_s: float) -> list[str]:
        """End all, within one deadline; the names of those that did not."""
        deadline = time.monotonic() + timeout_s
        for each in reversed(self._running):
            each.tell_to_stop()
        return [
            each.name
            for each in reversed(self._running)
            if not each.join(max(0.0, deadline - time.monotonic()))
        ]

    def checks(self) -> dict[str, str]:
        """By what was looked at: ``ok``, or what is wrong."""
        lag_s = self._lag_s()
        behind = f"it is {lag_s:.0f} s behind: at most {self._max_lag_s:g} s are fine"
        found = {each.name: "ok" if each.is_up else "it does not run" for each in self._running}
        if lag_s > self._max_lag_s:
            found["ingest"] = behind
        return found

    def _lag(self) -> list[Sample]:
        return [({}, self._lag_s())]

    def _up(self) -> list[Sample]:
        return [({"service": each.name}, float(each.is_up)) for each in self._running]


class _Running:
    """One service and its thread."""

    def __init__(self, service: Service, figures: Figures, clock: Callable[[], float]) -> None:
        self.name = service.name
        self.is_up = False
        self._service = service
        self._figures = figures
        self._clock = clock
        self._stop = threading.Event()
        self._thread: Any = None

    def start(self) -> None:
        self._thread = threading.Thread(
            target=self._keep_running, name=f"fiveobs-monitor-{self.name}", daemon=True
        )
        self._thread.start()

    def tell_to_stop(self) -> None:
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _keep_running(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            started_at = self._clock()
            reason = self._run()
            if self._stop.is_set():
                return
            if self._clock() - started_at >= _RECOVERED_S:
                pause_s = _FIRST_PAUSE_S
            report(self.name, f"{reason}; it is started again in {pause_s:g} s")
            self._figures.count(
                "fiveobs_monitor_restarts_total",
                "Services that ended and were started again.",
                service=self.name,
            )
            self._stop.wait(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _run(self) -> str:
        """Run the service; why it ended."""
        self.is_up = True
        try:
            self._service.run(self._stop)
        except Exception as exc:
            return f"it ended with {type(exc).__name__}: {exc}"
        finally:
            self.is_up = False
        return "it ended without being told to"
