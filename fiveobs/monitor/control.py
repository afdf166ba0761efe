"""Asks running jobs to stop, to pause or to go on, and keeps the record of who asked for what.

A request is a small file that the worker finds at its next checkpoint (`fiveobs._control`). It
names the project and the run: an id that repeats in another project, or a next attempt, is not
meant. The audit trail has a row for each request, and says later what became of it
(`Control.settle`).

Reads and writes the store and ``<FIVEOBS_HOME>/control``. May be used by several threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, Connection, func, select, update

from fiveobs import _control
from fiveobs._control import Action, Run
from fiveobs.journal.segments import segment_files
from fiveobs.monitor.store import auditing
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import attempts, audit, jobs, kinds, workers

__all__ = [
    "Asked",
    "AuditRow",
    "Control",
    "Filter",
    "RefusedError",
    "Requester",
    "Stopped",
    "UnknownJobError",
    "audit_rows",
]

Outcome: TypeAlias = str
#: What becomes of a request, in the audit trail.
REQUESTED, REFUSED, DONE = "requested", "refused", "done"
TOO_LATE, REPLACED, UNREACHABLE = "too late", "replaced", "unreachable"
_US = 1_000_000
#: Jobs of one transaction of an emergency stop.
_MOST_AT_ONCE = 500
_OPEN = ("received", "running", "paused")
#: The status that shows that a request was followed.
_FOLLOWED: Mapping[str, str] = {"stop": "stopped", "pause": "paused", "resume": "running"}


#: Requests that nobody knows yet what became of.
_PENDING = (
    select(*(audit.c[name] for name in ("audit_key", "project_key", "action", "target", "details")))
    .where(audit.c.outcome == REQUESTED, audit.c.action.in_([f"job.{each}" for each in _FOLLOWED]))
    .order_by(audit.c.audit_key)
    .limit(1_000)
)


class UnknownJobError(LookupError):
    """There is no such job in the project."""


class RefusedError(Exception):
    """The job's state does not allow it.

    Args:
        detail: Why, and what would be possible.
        status: What the job is doing.
    """

    def __init__(self, detail: str, status: str) -> None:
        super().__init__(detail)
        self.status = status


class Requester(NamedTuple):
    """Who asks, and for which project."""

    project_key: int
    tenant_id: str
    project_id: str
    #: The name and the id of the token.
    name: str
    token_id: str = ""


class Filter(NamedTuple):
    """Which jobs are meant; each part that is given must fit."""

    job_names: Collection[str] = ()
    services: Collection[str] = ()
    statuses: Collection[str] = ()
    session_id: str | None = None
    submitted_by: str | None = None
    job_ids: Collection[str] = ()


class Asked(NamedTuple):
    """What was asked of a job; times in microseconds since 1970."""

    job_id: str
    action: Action
    #: What the job was doing then.
    status: str
    attempt: int
    requested_at_us: int
    outcome: Outcome = REQUESTED


class Stopped(NamedTuple):
    """What an emergency stop has asked for."""

    requested_at_us: int
    asked: list[Asked]

    def count(self, status: str) -> int:
        """How many of them were in this status, and can be reached."""
        return sum(e.status == status and e.outcome == REQUESTED for e in self.asked)

    @property
    def unreachable(self) -> list[str]:
        """Jobs whose worker does not share our home."""
        return [each.job_id for each in self.asked if each.outcome == UNREACHABLE]


class AuditRow(NamedTuple):
    """One row of the audit trail."""

    audit_key: int
    at_us: int
    actor: str
    action: str
    target: str
    reason: str | None
    outcome: str
    details: Mapping[str, Any] | None


class _Job(NamedTuple):
    job_key: int
    job_id: str
    status: str
    attempt: int
    span_id: str | None
    #: The journal of the worker that runs it; ``None`` while it waits.
    stem: str | None
    machine_id: str | None


_JOBS = (
    select(
        *(jobs.c.job_key, jobs.c.job_id, jobs.c.status, jobs.c.attempt),
        *(attempts.c.span_id, workers.c.stem, workers.c.machine_id),
    )
    .select_from(jobs)
    .join(attempts, (attempts.c.job_key == jobs.c.job_key) & (attempts.c.attempt == jobs.c.attempt))
    .outerjoin(workers, workers.c.worker_key == attempts.c.worker_key)
)


class Control:
    """Asks things of jobs.

    Args:
        store: Where jobs and the audit trail are.
        home: ``FIVEOBS_HOME``, which workers share.
        now: Seconds since 1970.
    """

    def __init__(self, store: Store, home: Path, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._home = home
        self._now = now
        #: Every request up to this row of the trail is settled.
        self._settled_key = 0

    # --- one job -----------------------------------------------------------------------------

    def ask(self, who: Requester, job_id: str, action: Action, reason: str = "") -> Asked:
        """Ask one job.

        Args:
            who: Who asks.
            job_id: Which job.
            action: What it should do.
            reason: Why.

        Raises:
            UnknownJobError: There is no such job in the project.
            RefusedError: Its state does not allow it.
            OSError: The request cannot be written.
        """
        with self._store.writing() as connection:
            job = self._job(connection, who.project_key, job_id)
            refusal = self._refusal(who, job, action)
            if refusal is None:
                return self._ask(connection, who, job, action, reason)
            self._note(connection, who, job, action, reason, outcome=REFUSED, why=refusal)
        raise RefusedError(refusal, job.status)

    def _job(self, connection: Connection, project_key: int, job_id: str) -> _Job:
        wanted = _JOBS.where(jobs.c.project_key == project_key, jobs.c.job_id == job_id)
        found = connection.execute(wanted).first()
        if found is None:
            raise UnknownJobError(job_id)
        return _Job(*found)

    def _refusal(self, who: Requester, job: _Job, action: Action) -> str | None:
        """Why it cannot be asked; ``None`` if it can."""
        wrong = _wrong_state(job.status, action)
        if wrong and not (job.status == "running" and self._is_to_pause(who, job)):
            return wrong
        if job.status != "received" and job.span_id is None:
            return "the job runs where fiveobs does not: a connector reports it"
        if not self._is_reachable(job):
            return f"the job runs on {job.machine_id}, whose jobs another monitor reaches"
        return None

    def _is_to_pause(self, who: Requester, job: _Job) -> bool:
        asked = _control.requested(self._home, _run(who, job))
        return asked is not None and asked.action == "pause"

    def _is_reachable(self, job: _Job) -> bool:
        """Whether the worker writes into our home, and so reads there."""
        return job.stem is None or bool(segment_files(self._home / "journal", job.stem))

    def _ask(
        self, connection: Connection, who: Requester, job: _Job, action: Action, reason: str
    ) -> Asked:
        run = _run(who, job)
        before = _control.requested(self._home, run)
        if before is not None:
            _settle_row(connection, before.notes.get("audit_key"), REPLACED)
        key, at_us = self._note(connection, who, job, action, reason, outcome=REQUESTED)
        notes = {"audit_key": key, "project_key": who.project_key}
        _control.request(self._home, run, action, by=who.name, reason=reason, notes=notes)
        return Asked(job.job_id, action, job.status, job.attempt, at_us)

    def _note(
        self,
        connection: Connection,
        who: Requester,
        job: _Job,
        action: Action,
        reason: str,
        *,
        outcome: Outcome,
        **details: Any,
    ) -> tuple[int, int]:
        """Add a row to the audit trail; its key and its time."""
        at_us = round(self._now() * _US)
        details = {"attempt": job.attempt, "status": job.status, **details}
        if who.token_id:
            details["tokenId"] = who.token_id
        key = auditing.note(
            connection,
            at_us=at_us,
            project_key=who.project_key,
            actor=who.name,
            action=f"job.{action}",
            target=job.job_id,
            outcome=outcome,
            reason=reason or None,
            details=details,
        )
        return key, at_us

    # --- many jobs ---------------------------------------------------------------------------

    def stop_all(self, who: Requester, wanted: Filter, reason: str = "") -> Stopped:
        """Ask every job of a filter to stop; one that waits stops when it starts.

        Args:
            who: Who asks.
            wanted: Which jobs; an empty filter means all of the project.
            reason: Why.

        Raises:
            OSError: A request cannot be written.
        """
        asked: list[Asked] = []
        after_key = 0
        at_us = round(self._now() * _US)
        while True:
            with self._store.writing() as connection:
                found = self._open_jobs(connection, who, wanted, after_key)
                asked += [self._stop(connection, who, job, reason) for job in found]
            if len(found) < _MOST_AT_ONCE:
                return Stopped(at_us, asked)
            after_key = found[-1].job_key

    def _open_jobs(
        self, connection: Connection, who: Requester, wanted: Filter, after_key: int
    ) -> list[_Job]:
        found = (
            _JOBS.join(kinds, kinds.c.kind_key == jobs.c.kind_key)
            .where(jobs.c.project_key == who.project_key, jobs.c.job_key > after_key)
            .where(*_conditions(wanted))
            .order_by(jobs.c.job_key)
            .limit(_MOST_AT_ONCE)
        )
        return [_Job(*row) for row in connection.execute(found)]

    def _stop(self, connection: Connection, who: Requester, job: _Job, reason: str) -> Asked:
        if self._refusal(who, job, "stop") is None:
            return self._ask(connection, who, job, "stop", reason)
        _, at_us = self._note(connection, who, job, "stop", reason, outcome=UNREACHABLE)
        return Asked(job.job_id, "stop", job.status, job.attempt, at_us, UNREACHABLE)

    # --- what becomes of it ------------------------------------------------------------------

    def settle(self) -> None:
        """Note what became of requests, and take back those whose job has ended.

        Raises:
            sqlalchemy.exc.OperationalError: The store cannot be reached.
        """
        with self._store.reading() as connection:
            last_key = connection.execute(select(func.max(audit.c.audit_key))).scalar() or 0
            rows = connection.execute(_PENDING.where(audit.c.audit_key > self._settled_key)).all()
            outcomes = {row.audit_key: _outcome(connection, row) for row in rows}
        changed = {key: outcome for key, (outcome, _) in outcomes.items() if outcome}
        if changed:
            with self._store.writing() as connection:
                for key, outcome in changed.items():
                    _settle_row(connection, key, outcome)
        self._clear({key for key, (_, is_over) in outcomes.items() if is_over})
        self._settled_key = min(outcomes.keys() - changed.keys(), default=last_key + 1) - 1

    def _clear(self, over: Collection[int]) -> None:
        """Take back requests; the worker does so too, if it has seen them."""
        if not over:
            return
        for asked in _control.pending(self._home):
            if asked.notes.get("audit_key") in over:
                _control.clear(self._home, asked.run)


def _wrong_state(status: str, action: Action) -> str | None:
    """Why a job in this status cannot be asked for this; ``None`` if it can."""
    if status not in _OPEN:
        return f"the job is {status}: there is nothing to {action}"
    if action != "stop" and status == "received":
        return f"the job waits in its queue: it can be stopped, not {action}d"
    if action == "pause" and status == "paused":
        return "the job is paused already"
    if action == "resume" and status == "running":
        return "the job is running: there is nothing to resume"
    return None


def _run(who: Requester, job: _Job) -> Run:
    return Run(job.job_id, who.tenant_id, who.project_id, job.attempt, job.span_id)


def _conditions(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    yield jobs.c.status.in_(list(wanted.statuses) or _OPEN)
    for column, values in (
        (kinds.c.job_name, wanted.job_names),
        (kinds.c.service, wanted.services),
        (jobs.c.job_id, wanted.job_ids),
    ):
        if values:
            yield column.in_(list(values))
    if wanted.session_id is not None:
        yield jobs.c.session_id == wanted.session_id
    if wanted.submitted_by is not None:
        yield jobs.c.submitted_by == wanted.submitted_by


def _outcome(connection: Connection, row: Any) -> tuple[Outcome, bool]:
    """What became of a request (empty: nothing yet), and whether it is over."""
    found = connection.execute(
        select(attempts.c.status)
        .join(jobs, jobs.c.job_key == attempts.c.job_key)
        .where(jobs.c.project_key == row.project_key, jobs.c.job_id == row.target)
        .where(attempts.c.attempt == row.details["attempt"])
    ).scalar()
    action = row.action.removeprefix("job.")
    if found is None or (found in _OPEN and found != _FOLLOWED[action]):
        return "", False
    if found == _FOLLOWED[action]:
        return DONE, action != "pause"  # a paused job waits until its request is gone
    return TOO_LATE, True


def _settle_row(connection: Connection, key: object, outcome: Outcome) -> None:
    if isinstance(key, int):
        open_row = (audit.c.audit_key == key) & (audit.c.outcome == REQUESTED)
        connection.execute(update(audit).where(open_row).values(outcome=outcome))


def audit_rows(
    store: Store,
    project_key: int,
    *,
    before_key: int | None = None,
    target: str | None = None,
    limit: int,
) -> list[AuditRow]:
    """The audit trail of a project, the newest first.

    Args:
        store: Where it is.
        project_key: Whose.
        before_key: Only what was done before this row.
        target: Only what was done to this job.
        limit: How many rows at most.
    """
    found = select(*(audit.c[name] for name in AuditRow._fields)).filter_by(project_key=project_key)
    if before_key is not None:
        found = found.where(audit.c.audit_key < before_key)
    if target is not None:
        found = found.where(audit.c.target == target)
    found = found.order_by(audit.c.audit_key.desc()).limit(limit)
    with store.reading() as connection:
        return [AuditRow(*row) for row in connection.execute(found)]
