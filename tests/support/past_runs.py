"""Past runs and their steps as the store gives them, made by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fiveobs.monitor.analytics.columns import Origin, PastRunRow, PastStepRow, Runs, Steps

__all__ = ["DAY_S", "HOUR_S", "MONDAY_S", "past", "run_row", "steady", "step_row"]

#: 2027-01-11 00:00 UTC, a Monday, in seconds since 1970.
MONDAY_S = 1_799_625_600
DAY_S, HOUR_S = 86_400.0, 3_600.0


def run_row(key: int, at_s: float = MONDAY_S, **changes: Any) -> PastRunRow:
    """A run that was completed in a minute; error and status follow from ``error_type``."""
    at_us = round(at_s * 1_000_000)
    row = PastRunRow(
        job_key=key,
        job_id=f"job-{key}",
        attempt=1,
        status="failed" if changes.get("error_type") else "completed",
        started_at_us=at_us,
        ended_at_us=at_us + 60_000_000,
        duration_s=60.0,
        queue_wait_s=1.0,
        cpu_s=30.0,
        input_size_bytes=None,
        worker_key=1,
        error_type=None,
        error_message=None,
    )
    return row._replace(**changes)


def step_row(key: int, stage: str = "Load", at_s: float = MONDAY_S, **changes: Any) -> PastStepRow:
    """A step of that run's first attempt."""
    row = PastStepRow(
        job_key=key,
        attempt=1,
        stage=stage,
        status="completed",
        started_at_us=round(at_s * 1_000_000),
        duration_s=60.0,
        cpu_s=30.0,
        memory_rss_bytes=100_000_000,
        memory_growth_bytes=None,
        io_read_bytes=None,
        io_write_bytes=None,
        error_type=None,
    )
    return row._replace(**changes)


def past(
    rows: Iterable[PastRunRow],
    steps: Iterable[PastStepRow] = (),
    origins: dict[int, Origin] | None = None,
) -> tuple[Runs, Steps]:
    """In columns."""
    runs = Runs.of(rows, origins)
    return runs, Steps.of(steps, runs)


def steady(count: int, spread: float = 0.2, every_s: float = HOUR_S, seed: int = 1) -> Any:
    """So many moments, one after the other, and as many log-normal seconds about 60."""
    chance = np.random.default_rng(seed)
    return MONDAY_S + every_s * np.arange(count), 60 * np.exp(chance.normal(0, spread, count))
