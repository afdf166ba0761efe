"""Jobs that are not over: when those of some kinds came, and what is known of one of them."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select

from fiveobs.monitor.store.analysed import Period, origins_of
from fiveobs.monitor.store.schema import attempts, jobs

__all__ = ["Begun", "begun", "open_arrivals"]

_OPEN = ("received", "running", "paused")


class Begun(NamedTuple):
    """What is known of an attempt while it runs."""

    #: Microseconds since 1970; ``None`` before it has begun.
    started_at_us: int | None
    input_size_bytes: int | None
    #: ``service.version`` of its worker; empty if that has none.
    release: str


def open_arrivals(connection: Connection, period: Period) -> list[int]:
    """When the jobs of a period came that wait or run, in microseconds since 1970; in no order."""
    found: list[int] = []
    for kind_key in period.kind_keys:
        for status in _OPEN:
            wanted = (
                select(jobs.c.created_at_us)
                .where(jobs.c.kind_key == kind_key, jobs.c.status == status)
                .where(jobs.c.created_at_us >= period.from_us, jobs.c.created_at_us < period.to_us)
                .limit(period.limit)
            )
            found += connection.execute(wanted).scalars()
    return found


def begun(connection: Connection, job_key: int, attempt: int) -> Begun:
    """What is known of an attempt; nothing of one that there is not."""
    wanted = select(
        attempts.c.started_at_us, attempts.c.input_size_bytes, attempts.c.worker_key
    ).where(attempts.c.job_key == job_key, attempts.c.attempt == attempt)
    row = connection.execute(wanted).one_or_none()
    if row is None:
        return Begun(None, None, "")
    origin = origins_of(connection, [row.worker_key]).get(row.worker_key)
    return Begun(row.started_at_us, row.input_size_bytes, origin.release if origin else "")
