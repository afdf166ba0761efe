"""Past runs of some kinds of job, as the analytics take them: the newest of a period, with steps.

A period is read by the index of each kind over time, so what it costs grows with the runs read and
not with the store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Select, select, union_all

from fiveobs.monitor.analytics.columns import Origin, PastRunRow, PastStepRow
from fiveobs.monitor.store.reading import all_rows
from fiveobs.monitor.store.schema import attempts, jobs, stages, workers

__all__ = ["Period", "origins_of", "past_runs", "past_steps"]

#: Workers that are asked for at once.
_CHUNK = 500


class Period(NamedTuple):
    """Which past jobs: those of some kinds that were first heard of in a period."""

    kind_keys: Collection[int]
    #: Microseconds since 1970; from then on, and before.
    from_us: int
    to_us: int
    #: How many jobs at most, the newest of them.
    limit: int = 100_000


def _keys(period: Period) -> Any:
    parts = [
        select(
            select(jobs.c.job_key, jobs.c.created_at_us)
            .where(jobs.c.kind_key == kind_key)
            .where(jobs.c.created_at_us >= period.from_us, jobs.c.created_at_us < period.to_us)
            .order_by(jobs.c.created_at_us.desc())
            .limit(period.limit)
            .subquery()
        )
        for kind_key in period.kind_keys
    ]
    every = union_all(*parts).subquery()
    newest = select(every.c.job_key).order_by(every.c.created_at_us.desc()).limit(period.limit)
    return newest.subquery()


_RUN_COLUMNS = [
    jobs.c.job_id if name == "job_id" else attempts.c[name] for name in PastRunRow._fields
]


_WORKER_COLUMNS = [
    workers.c[name]
    for name in ("worker_key", "worker_id", "machine_id", "resource", "memory_limit_bytes")
]


def past_runs(connection: Connection, period: Period) -> list[PastRunRow]:
    """The attempts at the jobs of a period that began and are over, in no order."""
    if not period.kind_keys:
        return []
    keys = _keys(period)
    wanted = (
        select(*_RUN_COLUMNS)
        .join_from(keys, attempts, attempts.c.job_key == keys.c.job_key)
        .join(jobs, jobs.c.job_key == keys.c.job_key)
        .where(attempts.c.started_at_us.is_not(None), attempts.c.ended_at_us.is_not(None))
    )
    return all_rows(connection, PastRunRow, wanted)


def past_steps(connection: Connection, period: Period) -> list[PastStepRow]:
    """The stages of those attempts and of others at the same jobs, in no order."""
    if not period.kind_keys:
        return []
    keys = _keys(period)
    columns = [stages.c[name] for name in PastStepRow._fields]
    wanted: Select[Any] = select(*columns).join_from(
        keys, stages, stages.c.job_key == keys.c.job_key
    )
    return all_rows(connection, PastStepRow, wanted)


def origins_of(connection: Connection, worker_keys: Iterable[int | None]) -> dict[int, Origin]:
    """Where some workers ran, and which release, by key."""
    wanted = sorted({key for key in worker_keys if key is not None})
    found: dict[int, Origin] = {}
    for first in range(0, len(wanted), _CHUNK):
        query = select(*_WORKER_COLUMNS).where(
            workers.c.worker_key.in_(wanted[first : first + _CHUNK])
        )
        for key, worker_id, machine_id, resource, limit_bytes in connection.execute(query):
            release = _release(resource)
            found[key] = Origin(worker_id or "", machine_id or "", release, limit_bytes)
    return found


def _release(resource: str | None) -> str:
    """The ``service.version`` of a worker; empty where it has none."""
    said = orjson.loads(resource) if resource else {}
    return str(said.get("service.version") or "")
