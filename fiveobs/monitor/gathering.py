"""Puts jobs together from the rows that belong to them, all of one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fiveobs.monitor.store import reading
from fiveobs.monitor.tracking.history import History
from fiveobs.monitor.tracking.tracked import Tracked

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from fiveobs.monitor.store.rows import JobRow

__all__ = ["gathered", "told_of"]

_NO_HISTORY = History()


def told_of(jobs: Sequence[JobRow], *, in_short: bool) -> list[JobRow]:
    """Those of which more than their own row is told: in short, nothing of completed ones is."""
    return [job for job in jobs if not in_short or job.status != "completed"]


def gathered(
    connection: Connection,
    jobs: Sequence[JobRow],
    now_us: int,
    histories: Mapping[int, History],
    *,
    in_short: bool = False,
) -> list[Tracked]:
    """Jobs with what belongs to them.

    Args:
        connection: Where.
        jobs: Which.
        now_us: When they are looked at.
        histories: Past runs, by key of the kind of job; a kind that is not there has none.
        in_short: Without what they use, and without anything of completed ones.
    """
    keys = [job.job_key for job in told_of(jobs, in_short=in_short)]
    attempts = reading.latest_attempts(connection, keys)
    stages = reading.latest_stages(connection, keys)
    worker_keys = () if in_short else [row.worker_key for row in attempts.values()]
    workers = reading.workers_by_key(connection, worker_keys)
    last = {} if in_short else reading.last_samples(connection, keys)
    return [
        Tracked(
            job=job,
            attempt=(attempt := attempts.get(job.job_key)),
            stages=stages.get(job.job_key, ()),
            worker=workers.get(attempt.worker_key or 0) if attempt is not None else None,
            sample=last.get(job.job_key),
            history=histories.get(job.kind_key, _NO_HISTORY).without(job.job_key),
            now_us=now_us,
        )
        for job in jobs
    ]
