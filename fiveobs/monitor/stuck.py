"""Warns of jobs that are alive and say nothing for longer than is usual for their kind.

Usual is the longest silence within any of the last completed runs of the same kind. It is a
warning (``state.changed`` of the entity ``progress``), not a state: the job may well go on, and
then a second event says so. A job without enough past runs is not judged. One thread runs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from fiveobs._lost import JobOfOthers, record_change
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import attempts, events, jobs, kinds, projects

__all__ = ["ENTITY", "StuckJobs"]

#: What changes its state in the events.
ENTITY = "progress"
_US = 1_000_000
#: How often jobs are looked at, and how long what is usual stays known, in seconds.
_STEP_S, _KNOWN_S = 10.0, 600.0
#: Runs behind what is usual: so many at most, and at least.
_MOST_RUNS, _LEAST_RUNS = 20, 5
#: A silence shorter than this is never a warning, in seconds; nor one that is not so much longer.
_LEAST_S, _FACTOR = 60.0, 3.0
_MOST_JOBS = 500
_MOST_EVENTS = 50


class _Silent(NamedTuple):
    """A running job that has said nothing for a while."""

    job_key: int
    kind_key: int
    attempt: int
    job_id: str
    parent_job_id: str | None
    session_id: str | None
    request_id: str | None
    trace_id: str | None
    span_id: str | None
    job_name: str
    service: str
    tenant_id: str
    project_id: str

    def named(self) -> JobOfOthers:
        """As its events name it."""
        return JobOfOthers(**{name: getattr(self, name) for name in JobOfOthers._fields})


def _column(name: str) -> Any:
    for table in (attempts, jobs, kinds, projects):
        if name in table.c:
            return table.c[name]
    raise KeyError(name)


class StuckJobs:
    """Finds them and warns of each once for each silence.

    Args:
        store: Where the jobs are.
        least_s: No silence shorter than this is a warning.
        clock: Monotonic seconds.
        now: Seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        *,
        least_s: float = _LEAST_S,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._least_s = least_s
        self._clock = clock
        self._now = now
        self._step_at = 0.0
        #: By kind: when it was found out, and the longest silence in seconds.
        self._usual: dict[int, tuple[float, float | None]] = {}
        #: Jobs that are stuck now, each with the key of the last event it made.
        self._stuck: dict[int, tuple[_Silent, int]] = {}

    @property
    def count(self) -> int:
        """How many jobs are stuck now."""
        return len(self._stuck)

    def step(self) -> None:
        """Look, if it is time to.

        Raises:
            sqlalchemy.exc.OperationalError: The store cannot be reached.
        """
        now = self._clock()
        if now < self._step_at:
            return
        self._step_at = now + _STEP_S
        with self._store.reading() as connection:
            self._look_at_stuck(connection)
            for job in self._silent(connection):
                if job.job_key not in self._stuck:
                    self._judge(connection, job)

    def _silent(self, connection: Connection) -> list[_Silent]:
        until_us = round((self._now() - self._least_s) * _US)
        keys = connection.execute(select(projects.c.project_key)).scalars().all()
        found: list[_Silent] = []
        for key in keys:
            statement = (
                select(*map(_column, _Silent._fields))
                .select_from(jobs)
                .join(
                    attempts,
                    (attempts.c.job_key == jobs.c.job_key) & (attempts.c.attempt == jobs.c.attempt),
                )
                .join(kinds, kinds.c.kind_key == jobs.c.kind_key)
                .join(projects, projects.c.project_key == jobs.c.project_key)
                .where(jobs.c.project_key == key, jobs.c.status == "running")
                .where(jobs.c.updated_at_us < until_us)
                .limit(_MOST_JOBS)
            )
            found += [_Silent(*row) for row in connection.execute(statement)]
        return found

    def _judge(self, connection: Connection, job: _Silent) -> None:
        usual_s = self._usual_s(connection, job.kind_key)
        sign = _last_sign(connection, job.job_key)
        if usual_s is None or sign is None:
            return
        silent_s = self._now() - sign.at_us / _US
        if silent_s < max(self._least_s, _FACTOR * usual_s):
            return
        self._stuck[job.job_key] = job, sign.event_key
        if not sign.is_told:
            message = (
                f"{job.job_name} has said nothing for {silent_s:.0f} s; usual is {usual_s:.0f}"
            )
            data = {"silent_s": round(silent_s, 3), "usual_s": round(usual_s, 3)}
            record_change(job.named(), ENTITY, ("moving", "stuck"), message, data)

    def _look_at_stuck(self, connection: Connection) -> None:
        """Forget those that have ended, and say of those that go on that they do."""
        for key, (job, event_key) in list(self._stuck.items()):
            status = connection.execute(select(jobs.c.status).filter_by(job_key=key)).scalar()
            sign = _last_sign(connection, key)
            if status == "running" and (sign is None or sign.event_key == event_key):
                continue
            del self._stuck[key]
            if status == "running":
                message = f"{job.job_name} goes on"
                record_change(job.named(), ENTITY, ("stuck", "moving"), message, {}, level="info")

    def _usual_s(self, connection: Connection, kind_key: int) -> float | None:
        known = self._usual.get(kind_key)
        if known is None or self._clock() - known[0] > _KNOWN_S:
            known = self._usual[kind_key] = self._clock(), _longest_silence_s(connection, kind_key)
        return known[1]


class _Sign(NamedTuple):
    """The last event that a job made itself."""

    event_key: int
    at_us: int
    #: Whether it was warned of since.
    is_told: bool


def _last_sign(connection: Connection, job_key: int) -> _Sign | None:
    latest = (
        select(events.c.event_key, events.c.at_us, events.c.event_type)
        .where(events.c.job_key == job_key)
        .order_by(events.c.event_key.desc())
        .limit(_MOST_EVENTS)
    )
    is_told = False
    for row in connection.execute(latest):
        if row.event_type != "state.changed":
            return _Sign(row.event_key, row.at_us, is_told)
        is_told = True
    return None


def _longest_silence_s(connection: Connection, kind_key: int) -> float | None:
    """The longest pause between two events of the last completed runs; ``None`` with too few."""
    runs = (
        select(jobs.c.job_key)
        .where(jobs.c.kind_key == kind_key, jobs.c.status == "completed")
        .order_by(jobs.c.ended_at_us.desc())
        .limit(_MOST_RUNS)
    )
    keys = connection.execute(runs).scalars().all()
    if len(keys) < _LEAST_RUNS:
        return None
    before = func.lag(events.c.at_us).over(partition_by=events.c.job_key, order_by=events.c.at_us)
    pauses = (
        select((events.c.at_us - before).label("pause_us"))
        .where(events.c.job_key.in_(keys), events.c.event_type != "state.changed")
        .subquery()
    )
    longest = connection.execute(select(func.max(pauses.c.pause_us))).scalar()
    return None if longest is None else longest / _US
