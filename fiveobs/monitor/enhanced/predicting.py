"""Reads past runs and has the analytics of volume answer from them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fiveobs.monitor.analytics.capacity import capacity
from fiveobs.monitor.analytics.columns import Floats, Runs, Steps
from fiveobs.monitor.analytics.comparison import Side, compare
from fiveobs.monitor.analytics.prediction import Coming, predict
from fiveobs.monitor.analytics.throughput import throughput
from fiveobs.monitor.enhanced.executions import Workflow
from fiveobs.monitor.enhanced.predictive import (
    CapacityAnswer,
    ComparisonAnswer,
    PredictionAnswer,
    SideModel,
    ThroughputAnswer,
)
from fiveobs.monitor.store.analysed import Period, origins_of, past_runs, past_steps
from fiveobs.monitor.store.coming import begun, open_arrivals
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.executions import kinds_named
from fiveobs.monitor.store.reading import job_by_id
from fiveobs.monitor.tracking.human import US, as_time

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Asked", "Compared", "Predicting", "Span"]


class Span(NamedTuple):
    """A period, in microseconds since 1970; its end is not in it."""

    from_us: int
    to_us: int


class Asked(NamedTuple):
    """Which workflow, of which project, and of which time."""

    project_key: int
    workflow: Workflow
    span: Span


class Compared(NamedTuple):
    """A side of a comparison."""

    span: Span
    #: Only runs of this release; ``None`` is all.
    release: str | None


class Predicting:
    """Makes the answers.

    Args:
        store: What it reads.
        now: Seconds since 1970.
    """

    def __init__(self, store: Store, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    def prediction(
        self, asked: Asked, execution_id: str | None, input_size_bytes: int | None
    ) -> PredictionAnswer:
        """Predict the next run, or one that waits or runs.

        Raises:
            KeyError: There is no such workflow, or no such execution of it.
        """
        with self._store.reading() as connection:
            period = _period(connection, asked)
            runs = _runs(connection, period)
            coming = Coming(input_size_bytes=input_size_bytes)
            if execution_id is not None:
                coming = self._coming(connection, asked, period, execution_id, input_size_bytes)
        found = predict(runs, coming)
        return PredictionAnswer.model_validate(
            {
                **_heading(asked, runs),
                "execution_id": execution_id,
                "elapsed_s": coming.elapsed_s,
                **asdict(found),
            }
        )

    def _coming(
        self,
        connection: Connection,
        asked: Asked,
        period: Period,
        execution_id: str,
        input_size_bytes: int | None,
    ) -> Coming:
        # PostgreSQL refuses NUL in a text; no id has one.
        is_id = "\0" not in execution_id
        job = job_by_id(connection, asked.project_key, execution_id) if is_id else None
        if job is None or job.kind_key not in period.kind_keys:
            raise KeyError(f"there is no execution {execution_id!r} of this workflow")
        known = begun(connection, job.job_key, job.attempt)
        elapsed_s = 0.0
        if known.started_at_us is not None:
            until_s = self._now() if job.ended_at_us is None else job.ended_at_us / US
            elapsed_s = max(until_s - known.started_at_us / US, 0.0)
        size = known.input_size_bytes if input_size_bytes is None else input_size_bytes
        return Coming(input_size_bytes=size, release=known.release or None, elapsed_s=elapsed_s)

    def throughput(self, asked: Asked, bucket_s: float) -> ThroughputAnswer:
        """Count what came and ended.

        Raises:
            KeyError: There is no such workflow.
        """
        runs, open_s = self._read(asked)
        from_s, to_s = asked.span.from_us / US, asked.span.to_us / US
        found = asdict(throughput(runs, from_s, to_s, bucket_s, open_s))
        buckets = [{"from_time": each.pop("from_s"), **each} for each in found["buckets"]]
        return ThroughputAnswer.model_validate(
            {**_heading(asked, runs), **found, "buckets": buckets}
        )

    def capacity(self, asked: Asked, places: int | None, target: float) -> CapacityAnswer:
        """Find out how much more fits.

        Raises:
            KeyError: There is no such workflow.
        """
        runs, open_s = self._read(asked)
        from_s, to_s = asked.span.from_us / US, asked.span.to_us / US
        found = capacity(runs, from_s, to_s, places=places, target=target, open_arrived_s=open_s)
        return CapacityAnswer.model_validate({**_heading(asked, runs), **asdict(found)})

    def comparison(self, asked: Asked, before: Compared, after: Compared) -> ComparisonAnswer:
        """Compare two periods, or two releases.

        Raises:
            KeyError: There is no such workflow.
        """
        with self._store.reading() as connection:
            sides = [_side(connection, asked, each) for each in (before, after)]
        found = compare(*sides)
        told = [_told(side, each) for side, each in zip(sides, (before, after), strict=True)]
        return ComparisonAnswer.model_validate(
            {
                "workflow_id": asked.workflow.workflow_id,
                "service": asked.workflow.service,
                "before": told[0],
                "after": told[1],
                **asdict(found),
            }
        )

    def _read(self, asked: Asked) -> tuple[Runs, Floats]:
        """Past runs, and when those came that are not over."""
        with self._store.reading() as connection:
            period = _period(connection, asked)
            arrived_us = open_arrivals(connection, period)
            return _runs(connection, period), np.array(arrived_us, dtype=np.float64) / US


def _period(connection: Connection, asked: Asked) -> Period:
    keys = kinds_named(connection, asked.project_key, *asked.workflow)
    if not keys:
        raise KeyError(f"there is no workflow {asked.workflow.workflow_id!r} in this project")
    return Period(keys, asked.span.from_us, asked.span.to_us)


def _runs(connection: Connection, period: Period) -> Runs:
    rows = past_runs(connection, period)
    return Runs.of(rows, origins_of(connection, {row.worker_key for row in rows}))


def _side(connection: Connection, asked: Asked, side: Compared) -> Side:
    period = _period(connection, asked._replace(span=side.span))
    runs = _runs(connection, period)
    if side.release is not None:
        runs = runs.where(runs.release == side.release)
    return Side(runs=runs, steps=Steps.of(past_steps(connection, period), runs))


def _told(side: Side, compared: Compared) -> SideModel:
    return SideModel(
        from_time=as_time(compared.span.from_us) or "",
        to_time=as_time(compared.span.to_us) or "",
        release=compared.release,
        past_runs=len(side.runs),
    )


def _heading(asked: Asked, runs: Runs) -> dict[str, Any]:
    return {
        "workflow_id": asked.workflow.workflow_id,
        "service": asked.workflow.service,
        "from_time": as_time(asked.span.from_us),
        "to_time": as_time(asked.span.to_us),
        "past_runs": len(runs),
    }
