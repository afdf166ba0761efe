"""Past runs and their steps as the store gives them, made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fiveobs.monitor.analytics.columns import Origin, PastRunRow, PastStepRow, Runs, Steps

__all__ = [
    "DAY_S",
    "HOUR_S",
    "MONDAY_S",
    "START_S",
    "past",
    "run_row",
    "runs_of",
    "steady",
    "step_row",
]

#: 2027-01-11 00:00 UTC, a Monday, in seconds since 1970.
MONDAY_S = 1_799_625_600
#: When the runs of `runs_of` begin: 2026-01-01 00:00 UTC.
START_S = 1_767_225_600
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


def runs_of(
    durations_s: Sequence[float],
    *,
    apart_s: float | None = None,
    status: Sequence[str] = (),
    waits_s: Sequence[float | None] = (),
    sizes_bytes: Sequence[int | None] = (),
    releases: Sequence[str] = (),
) -> Runs:
    """Runs of one kind, in order.

    Args:
        durations_s: How long each took.
        apart_s: How long after one the next begins; ``None`` a second after its end.
        status: How each ended; all were completed by default.
        waits_s: How long each had waited.
        sizes_bytes: Of the input of each.
        releases: Of each.
    """
    at_s, rows = float(START_S), []
    known = sorted(set(releases))
    for place, took_s in enumerate(durations_s):
        row = run_row(
            place,
            at_s,
            job_id=f"run-{place}",
            status=status[place] if status else "completed",
            ended_at_us=round((at_s + took_s) * 1_000_000),
            duration_s=took_s,
            queue_wait_s=waits_s[place] if waits_s else None,
            cpu_s=took_s / 2,
            input_size_bytes=sizes_bytes[place] if sizes_bytes else None,
            worker_key=known.index(releases[place]) if releases else None,
        )
        rows.append(row)
        at_s += took_s + 1 if apart_s is None else apart_s
    return Runs.of(rows, {key: Origin("w", "m", name) for key, name in enumerate(known)})
