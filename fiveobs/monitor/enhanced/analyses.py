"""Reads the past runs of a workflow, and hands them to what draws conclusions from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fiveobs.monitor.analytics.anomalies import find_anomalies
from fiveobs.monitor.analytics.bottlenecks import find_bottlenecks
from fiveobs.monitor.analytics.capacity import TARGET, Capacity, capacity
from fiveobs.monitor.analytics.columns import Floats, Runs, Steps
from fiveobs.monitor.analytics.comparison import Side, compare
from fiveobs.monitor.analytics.failures import analyse_failures
from fiveobs.monitor.analytics.prediction import Coming, predict
from fiveobs.monitor.analytics.throughput import NONE_OPEN, Throughput, throughput
from fiveobs.monitor.analytics.trends import find_trends
from fiveobs.monitor.enhanced.executions import Workflow
from fiveobs.monitor.store.analysed import Period, origins_of, past_runs, past_steps
from fiveobs.monitor.store.coming import begun, open_arrivals
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.executions import kinds_named
from fiveobs.monitor.store.reading import job_by_id
from fiveobs.monitor.tracking.human import US

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "ANALYSES",
    "DAY_S",
    "DEFAULT_DAYS",
    "WITHOUT_STEPS",
    "Analyses",
    "Past",
    "Wanted",
    "time_before",
]

#: How far back is looked if nobody says how far.
DEFAULT_DAYS = 30
DAY_S = 86_400.0
#: The earliest moment that can be written: the year 1.
_FIRST_US = -62_135_596_800 * US


class Past(NamedTuple):
    """What is known of the past of a workflow: all that an analysis may take."""

    runs: Runs
    #: None if the analysis takes none.
    steps: Steps
    #: How much memory processes may have, by `Runs.worker_key`, where that is known.
    limits_bytes: Mapping[int, int]
    #: Until when runs are known.
    now_s: float
    #: The period, in seconds since 1970; its end is not in it.
    from_s: float
    to_s: float
    #: When those jobs came that are not over; none if the analysis does not take them.
    open_arrived_s: Floats = NONE_OPEN
    #: The release that these are the runs of; ``None`` for all.
    release: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing came or ran."""
        return not len(self.runs) and not self.open_arrived_s.size


def _predicted(
    past: Past, coming: Coming | None = None, execution_id: str | None = None
) -> dict[str, Any]:
    coming = coming or Coming()
    found = asdict(predict(past.runs, coming))
    return {**found, "execution_id": execution_id, "elapsed_s": coming.elapsed_s}


def _throughput(past: Past, bucket_s: float = DAY_S) -> Throughput:
    return throughput(past.runs, past.from_s, past.to_s, bucket_s, past.open_arrived_s)


def _capacity(past: Past, places: int | None = None, target: float = TARGET) -> Capacity:
    return capacity(
        past.runs,
        past.from_s,
        past.to_s,
        places=places,
        target=target,
        open_arrived_s=past.open_arrived_s,
    )


def _compared(past: Past, before: Past) -> dict[str, Any]:
    sides = {"before": before, "after": past}
    found = compare(*(Side(runs=each.runs, steps=each.steps) for each in sides.values()))
    told = {
        name: {
            "from_at": each.from_s,
            "to_at": each.to_s,
            "release": each.release,
            "run_count": len(each.runs),
        }
        for name, each in sides.items()
    }
    return {**told, **asdict(found)}


#: What can be asked for, by name: takes the past and, by name, what it was asked with beside that.
ANALYSES: Mapping[str, Callable[..., object]] = {
    "bottlenecks": lambda past: find_bottlenecks(past.steps),
    "resource-trends": lambda past: find_trends(past.runs, past.steps, past.limits_bytes),
    "failure-analysis": lambda past: analyse_failures(past.runs, past.steps),
    "anomalies": lambda past: find_anomalies(past.runs, past.steps, now_s=past.now_s),
    "predictive": _predicted,
    "throughput": _throughput,
    "capacity": _capacity,
    "comparison": _compared,
}
#: Those that look at runs alone, and those that look at jobs that are not over, too.
WITHOUT_STEPS = frozenset({"predictive", "throughput", "capacity"})
_WITH_OPEN = frozenset({"throughput", "capacity"})


class Wanted(NamedTuple):
    """Which past: of a workflow, in a period."""

    project_key: int
    workflow: Workflow
    #: Microseconds since 1970: from then on, and before; ``None`` means `DEFAULT_DAYS` before the
    #: end, and now.
    from_us: int | None = None
    to_us: int | None = None
    #: Only runs of this ``service.version``; ``None`` means any.
    release: str | None = None


def time_before(from_us: int, to_us: int) -> tuple[int, int]:
    """The period of the same length before another, in microseconds since 1970."""
    return max(from_us - (to_us - from_us), _FIRST_US), from_us


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
        from_us = wanted.from_us
        if from_us is None:
            from_us = max(to_us - round(DEFAULT_DAYS * DAY_S) * US, _FIRST_US)
        return from_us, to_us

    def past(self, wanted: Wanted, analysis: str) -> Past:
        """What an analysis takes of the newest 100,000 jobs of a period.

        Blocks while they are read, for seconds if they are many.

        Raises:
            KeyError: The project has no such workflow.
        """
        from_us, to_us = self.period(wanted)
        step_rows, open_us = [], []
        with self._store.reading() as connection:
            period = Period(_kinds(connection, wanted), from_us, to_us)
            rows = past_runs(connection, period)
            origins = origins_of(connection, (row.worker_key for row in rows))
            if analysis not in WITHOUT_STEPS:
                step_rows = past_steps(connection, period)
            if analysis in _WITH_OPEN:
                open_us = open_arrivals(connection, period)
        runs = Runs.of(rows, origins)
        if wanted.release is not None:
            runs = runs.where(runs.release == wanted.release)
        limits = {key: origin.memory_limit_bytes for key, origin in origins.items()}
        return Past(
            runs=runs,
            steps=Steps.of(step_rows, runs),
            limits_bytes={key: limit for key, limit in limits.items() if limit is not None},
            now_s=min(to_us / US, self._now()),
            from_s=from_us / US,
            to_s=to_us / US,
            open_arrived_s=np.array(open_us, dtype=np.float64) / US,
            release=wanted.release,
        )

    def coming(
        self, wanted: Wanted, execution_id: str | None, input_size_bytes: int | None
    ) -> Coming:
        """What is known of a job that waits or runs.

        Args:
            wanted: Of which workflow.
            execution_id: Its id; ``None`` for the next one.
            input_size_bytes: Of its input, if that is not what it has said itself.

        Raises:
            KeyError: The project has no such workflow, or that has no such job.
        """
        if execution_id is None:
            return Coming(input_size_bytes=input_size_bytes)
        with self._store.reading() as connection:
            kind_keys = _kinds(connection, wanted)
            # PostgreSQL refuses NUL in a text; no id has one.
            is_id = "\0" not in execution_id
            job = job_by_id(connection, wanted.project_key, execution_id) if is_id else None
            if job is None or job.kind_key not in kind_keys:
                raise KeyError(f"there is no execution {execution_id!r} of this workflow")
            known = begun(connection, job.job_key, job.attempt)
        elapsed_s = 0.0
        if known.started_at_us is not None:
            until_s = self._now() if job.ended_at_us is None else job.ended_at_us / US
            elapsed_s = max(until_s - known.started_at_us / US, 0.0)
        size = known.input_size_bytes if input_size_bytes is None else input_size_bytes
        return Coming(input_size_bytes=size, release=known.release or None, elapsed_s=elapsed_s)


def _kinds(connection: Connection, wanted: Wanted) -> list[int]:
    name = wanted.workflow.workflow_id
    # PostgreSQL refuses NUL in a text; no name has one.
    found = [] if "\0" in name else kinds_named(connection, wanted.project_key, *wanted.workflow)
    if not found:
        raise KeyError(f"there is no workflow {name!r} in this project")
    return found
