"""Takes out what has expired as long as the monitor runs: at the start, and every hour.

One thread. Where several monitors share a store, one of them does it at a time.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing

from fiveobs.monitor.figures import Figures, Sample
from fiveobs.monitor.retention.cleaner import Cleaner, Gone
from fiveobs.monitor.retention.policy import Policy
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.webhooks.turns import Turns

__all__ = ["LOCK", "Retention"]

#: Any number, as long as nobody else locks it.
LOCK = 0x66_69_76_72
#: From one pass to the next, and after one that failed, in seconds.
_EVERY_S, _AFTER_FAILURE_S = 3600.0, 60.0


class Retention:
    """Runs the passes.

    Args:
        store: What is cleaned.
        policy: How long everything is kept where no tenant or project says otherwise.
        report: Called with a cause and a message when something goes wrong.
        now: Seconds since 1970.
    """

    name = "retention"

    def __init__(
        self,
        store: Store,
        policy: Policy,
        *,
        report: Callable[[str, str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._cleaner = Cleaner(store, policy, now=now)
        self._report = report
        self._now = now
        #: Rows that this process has deleted, by table.
        self.rows: Counter[str] = Counter()
        #: What the last pass left, by table; usually nothing.
        self.left: Counter[str] = Counter()
        #: When the last pass of this process ended, in seconds since 1970.
        self.last_at_s: float | None = None

    def run(self, stop: threading.Event) -> None:
        """Clean until told to stop; what goes wrong is reported and tried again."""
        pause_s = 0.0
        while not stop.wait(pause_s):
            try:
                self.step(stop)
            except Exception as exc:
                self._report("retention", f"{type(exc).__name__}: {exc}")
                pause_s = _AFTER_FAILURE_S
            else:
                pause_s = _EVERY_S

    def step(self, stop: threading.Event) -> bool:
        """Make one pass, if nobody else does; whether it was made.

        Raises:
            sqlalchemy.exc.DBAPIError: The store cannot be reached, or refuses.
        """
        with closing(Turns(self._store, LOCK)) as turns:
            if not turns.is_mine():
                return False
            self._cleaner.clean(stop, told=self._count)
            left: Counter[str] = Counter()
            for each in self._cleaner.count() if not stop.is_set() else ():
                left[each.table] += each.rows
        self.left, self.last_at_s = left, self._now()
        return True

    def _count(self, gone: Gone, rows: int) -> None:
        self.rows[gone.table] += rows

    def watch(self, figures: Figures) -> None:
        """Have what is done among the figures."""
        figures.ask(
            "fiveobs_monitor_retention_rows_total",
            "Expired rows that this process has deleted, by table.",
            lambda: _by_table(self.rows),
            "counter",
        )
        figures.ask(
            "fiveobs_monitor_retention_expired_rows",
            "Expired rows that the last pass of this process has left, by table.",
            lambda: _by_table(self.left),
        )
        figures.ask(
            "fiveobs_monitor_retention_last_run_timestamp_seconds",
            "When the last pass of this process ended.",
            lambda: [] if self.last_at_s is None else [({}, self.last_at_s)],
        )


def _by_table(rows: Counter[str]) -> list[Sample]:
    return [({"table": table}, float(count)) for table, count in list(rows.items())]
