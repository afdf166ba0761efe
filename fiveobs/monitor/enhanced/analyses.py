"""Reads the past runs of a workflow, and hands them to what draws conclusions from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from fiveobs.monitor.analytics.anomalies import find_anomalies
from fiveobs.monitor.analytics.bottlenecks import find_bottlenecks
from fiveobs.monitor.analytics.columns import Runs, Steps
from fiveobs.monitor.analytics.failures import analyse_failures
from fiveobs.monitor.analytics.trends import find_trends
from fiveobs.monitor.enhanced.executions import Workflow
from fiveobs.monitor.store.analysed import Period, origins_of, past_runs, past_steps
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.executions import kinds_named
from fiveobs.monitor.tracking.human import US

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["ANALYSES", "DEFAULT_DAYS", "Analyses", "Past", "Wanted"]

#: How far back is looked if nobody says how far.
DEFAULT_DAYS = 30
_DAY_US = 86_400 * US


class Past(NamedTuple):
    """What is known of the past of a workflow: all that an analysis may take."""

    runs: Runs
    steps: Steps
    #: How much memory processes may have, by `Runs.worker_key`, where that is known.
    limits_bytes: Mapping[int, int]
    #: Until when runs are known.
    now_s: float


#: What can be asked for, by name.
ANALYSES: Mapping[str, Callable[[Past], object]] = {
    "bottlenecks": lambda past: find_bottlenecks(past.steps),
    "resource-trends": lambda past: find_trends(past.runs, past.steps, past.limits_bytes),
    "failure-analysis": lambda past: analyse_failures(past.runs, past.steps),
    "anomalies": lambda past: find_anomalies(past.runs, past.steps, now_s=past.now_s),
}


class Wanted(NamedTuple):
    """Which past: of a workflow, in a period."""

    project_key: int
    workflow: Workflow
    #: Microseconds since 1970: from then on, and before; ``None`` means `DEFAULT_DAYS` before the
    #: end, and now.
    from_us: int | None = None
    to_us: int | None = None


class Analyses:
    """Reads the past of workflows.

    Args:
        store: What it reads.
        now: Seconds since 1970.
    """

    def __init__(self, store: Store, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    def period(self, wanted: Wanted) -> tuple[int, int]:
        """From when, and before when, in microseconds since 1970."""
        to_us = round(self._now() * US) if wanted.to_us is None else wanted.to_us
        from_us = to_us - DEFAULT_DAYS * _DAY_US if wanted.from_us is None else wanted.from_us
        return from_us, to_us

    def past(self, wanted: Wanted) -> Past:
        """The newest 100,000 jobs of a period. Blocks while they are read, for seconds if many.

        Raises:
            KeyError: The project has no such workflow.
        """
        from_us, to_us = self.period(wanted)
        with self._store.reading() as connection:
            period = Period(_kinds(connection, wanted), from_us, to_us)
            rows, step_rows = past_runs(connection, period), past_steps(connection, period)
            origins = origins_of(connection, (row.worker_key for row in rows))
        runs = Runs.of(rows, origins)
        limits = {key: origin.memory_limit_bytes for key, origin in origins.items()}
        return Past(
            runs=runs,
            steps=Steps.of(step_rows, runs),
            limits_bytes={key: limit for key, limit in limits.items() if limit is not None},
            now_s=min(to_us / US, self._now()),
        )


def _kinds(connection: Connection, wanted: Wanted) -> list[int]:
    name = wanted.workflow.workflow_id
    # PostgreSQL refuses NUL in a text; no name has one.
    found = [] if "\0" in name else kinds_named(connection, wanted.project_key, *wanted.workflow)
    if not found:
        raise KeyError(name)
    return found
