"""Warns of jobs that are alive and make no progress for longer than is usual for their kind.

Usual is the longest time between two changes of progress (`store.moving`) in the last completed
runs of the same kind; what a job logs is no progress. It is a warning (``state.changed`` of the
entity ``progress``), not a state: the job may well go on, and then a second event says so. A job
without enough past runs is not judged. Which monitor warns is settled in the audit trail, where the
warning stands as long as it holds. One thread runs it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, update

from fiveobs._others import JobOfOthers, record_change
from fiveobs.monitor.claims import Claims
from fiveobs.monitor.store import auditing
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.moving import (
    Change,
    RunningJob,
    known_job,
    last_change,
    longest_gap_s,
    running_jobs,
)
from fiveobs.monitor.store.schema import audit, events, jobs, projects

__all__ = ["ENTITY", "StuckJobs"]

#: What changes its state in the events.
ENTITY = "progress"
#: The action in the audit trail, and what comes of it.
_ACTION, _WARNED, _GOES_ON, _ENDED = "job.stuck", "warned", "goes on", "ended"
_US = 1_000_000
#: How often jobs are looked at, and how long what is usual stays known, in seconds.
_STEP_S, _KNOWN_S = 10.0, 600.0
#: Runs behind what is usual: so many at most, and at least.
_MOST_RUNS, _LEAST_RUNS = 20, 5
#: A standstill shorter than this is never a warning, in seconds; nor one that is not so much longer
#: than usual.
_LEAST_S, _FACTOR = 60.0, 3.0
#: Jobs that are read at once.
_MOST_AT_ONCE = 500


class _Looked(NamedTuple):
    """What was seen of a running job; in seconds since 1970."""

    figures: tuple[Any, ...]
    #: Since when they are the same, as far as is known without reading its events.
    since_s: float
    #: It cannot be stuck before.
    look_at_s: float


class _Stuck(NamedTuple):
    """A job that is stuck."""

    job: RunningJob
    audit_key: int
    change: Change


class StuckJobs:
    """Finds them and warns of each once for each standstill.

    Args:
        store: Where the jobs are.
        folder: The journal folder, ``<FIVEOBS_HOME>/journal``.
        least_s: No standstill shorter than this is a warning.
        clock: Monotonic seconds.
        now: Seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        *,
        least_s: float = _LEAST_S,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._claims = Claims(folder)
        self._least_s = least_s
        self._clock = clock
        self._now = now
        self._step_at = 0.0
        #: By kind: when it was found out, and the longest gap in seconds.
        self._usual: dict[int, tuple[float, float | None]] = {}
        #: By job, of those that run.
        self._looked: dict[int, _Looked] = {}
        #: Jobs that are stuck now.
        self._stuck: dict[int, _Stuck] = {}

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
        if self._step_at == 0.0:
            self._take_up()
        self._step_at = now + _STEP_S
        self._look_at_stuck()
        with self._store.reading() as connection:
            found = list(self._standing(connection))
        for job, change, usual_s in found:
            self._warn(job, change, usual_s)

    def _take_up(self) -> None:
        """Look after the warnings that stood when we began."""
        wanted = select(audit.c.audit_key, audit.c.details).where(
            audit.c.action == _ACTION, audit.c.outcome == _WARNED
        )
        with self._store.reading() as connection:
            for key, of in connection.execute(wanted).all():
                job = known_job(connection, of["job_key"])
                if job is not None:
                    change = Change(of["event_key"], of["moved_at_us"])
                    self._stuck[job.job_key] = _Stuck(job, key, change)

    # --- who stands still --------------------------------------------------------------------

    def _standing(self, connection: Connection) -> Iterator[tuple[RunningJob, Change, float]]:
        """Jobs that stand still for longer than usual, with their last change and what is usual."""
        before, self._looked = self._looked, {}
        for job, figures, said_at_us in _all_running(connection):
            looked = before.get(job.job_key)
            if looked is None:
                looked = _Looked(figures, said_at_us / _US, 0.0)
            elif looked.figures != figures:
                looked = _Looked(figures, self._now(), 0.0)
            self._looked[job.job_key] = looked
            if job.job_key not in self._stuck and self._is_due(looked):
                yield from self._judge(connection, job, looked)

    def _is_due(self, looked: _Looked) -> bool:
        return self._now() >= max(looked.look_at_s, looked.since_s + self._least_s)

    def _judge(
        self, connection: Connection, job: RunningJob, looked: _Looked
    ) -> Iterator[tuple[RunningJob, Change, float]]:
        usual_s = self._usual_s(connection, job.kind_key)
        change = None if usual_s is None else last_change(connection, job.job_key, job.attempt)
        if usual_s is None or change is None:
            self._looked[job.job_key] = looked._replace(look_at_s=self._now() + self._least_s)
            return
        stuck_at_s = change.at_us / _US + max(self._least_s, _FACTOR * usual_s)
        if self._now() < stuck_at_s:
            self._looked[job.job_key] = looked._replace(look_at_s=stuck_at_s)
        else:
            yield job, change, usual_s

    def _usual_s(self, connection: Connection, kind_key: int) -> float | None:
        known = self._usual.get(kind_key)
        if known is None or self._clock() - known[0] > _KNOWN_S:
            gap_s = longest_gap_s(connection, kind_key, _MOST_RUNS, _LEAST_RUNS)
            known = self._usual[kind_key] = self._clock(), gap_s
        return known[1]

    # --- what is said of them ----------------------------------------------------------------

    def _warn(self, job: RunningJob, change: Change, usual_s: float) -> None:
        still_s = self._now() - change.at_us / _US
        message = f"{job.job_name} has made no progress for {still_s:.0f} s; usual is {usual_s:.0f}"
        audit_key, is_ours = self._claim(job, change, message)
        self._stuck[job.job_key] = _Stuck(job, audit_key, change)
        if is_ours:
            data = {"still_s": round(still_s, 3), "usual_s": round(usual_s, 3)}
            record_change(_named(job), ENTITY, ("moving", "stuck"), message, data)

    def _claim(self, job: RunningJob, change: Change, reason: str) -> tuple[int, bool]:
        """The row of the warning, and whether it is ours to make."""
        now_us = round(self._now() * _US)
        what = {"attempt": job.attempt, "moved_at_us": change.at_us}
        named = (job.project_key, _ACTION, job.job_id, what)
        with self._store.writing() as connection:
            auditing.take_turn(connection)
            before = auditing.claim_of(connection, *named)
            if before is None:
                what |= {"job_key": job.job_key, "event_key": change.event_key}
                what |= self._claims.details
                key = auditing.claim(connection, now_us, *named, outcome=_WARNED, reason=reason)
                return key, True
            # In this order: the warning may just have come.
            is_ours = self._claims.is_void(connection, before, now_us) and not _was_told(
                connection, job.job_key, change
            )
            if is_ours:
                auditing.renew(connection, before, now_us, self._claims.details)
            return before.audit_key, is_ours

    def _look_at_stuck(self) -> None:
        """Forget those that have ended, and say of those that go on that they do."""
        for key, stuck in list(self._stuck.items()):
            with self._store.reading() as connection:
                found = connection.execute(
                    select(jobs.c.status, jobs.c.attempt).filter_by(job_key=key)
                ).first()
                status, attempt = found or ("", 0)
                change = last_change(connection, key, attempt)
            if status == "running" and (change is None or change == stuck.change):
                continue
            del self._stuck[key]
            goes_on = status in ("running", "paused")
            if self._settle(stuck.audit_key, _GOES_ON if goes_on else _ENDED) and goes_on:
                message = f"{stuck.job.job_name} goes on"
                change_of = ("stuck", "moving")
                record_change(_named(stuck.job), ENTITY, change_of, message, {}, level="info")

    def _settle(self, audit_key: int, outcome: str) -> bool:
        """Say in the trail what came of a warning; whether nobody else has."""
        is_open = (audit.c.audit_key == audit_key) & (audit.c.outcome == _WARNED)
        with self._store.writing() as connection:
            done = connection.execute(update(audit).where(is_open).values(outcome=outcome))
        return bool(done.rowcount)


def _all_running(
    connection: Connection,
) -> Iterator[tuple[RunningJob, tuple[Any, ...], int]]:
    for project_key in connection.execute(select(projects.c.project_key)).scalars().all():
        after_key = 0
        while found := running_jobs(connection, project_key, after_key, _MOST_AT_ONCE):
            yield from found
            after_key = found[-1][0].job_key


def _was_told(connection: Connection, job_key: int, change: Change) -> bool:
    """Whether our warning has come back since this change; others may report changes, too."""
    later = (
        select(events.c.data)
        .where(events.c.job_key == job_key, events.c.event_key > change.event_key)
        .where(events.c.event_type == "state.changed")
    )
    found = map(json.loads, connection.execute(later).scalars())
    return any(each.get("entity") == ENTITY and "usual_s" in each for each in found)


def _named(job: RunningJob) -> JobOfOthers:
    return JobOfOthers(**{name: getattr(job, name) for name in JobOfOthers._fields})
