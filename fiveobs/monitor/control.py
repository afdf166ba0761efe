"""Asks running jobs to stop, to pause or to go on, and keeps the record of who asked for what.

A request is a small file that the worker finds at its next checkpoint (`fiveobs._control`). It
names the project and the run: an id that repeats in another project, or a next attempt, is not
meant. The audit trail has a row for each request before the request is there to be found, so that
no job ends without a trace of who asked; it says later what became of it (`Control.settle`).

Reads and writes the store and ``<FIVEOBS_HOME>/control``. May be used by several threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, literal_column, or_, select, update

from fiveobs import _control
from fiveobs._control import Action, Run
from fiveobs.journal.segments import segment_files
from fiveobs.monitor.coordination.desiring import note_asked
from fiveobs.monitor.store import auditing
from fiveobs.monitor.store.coordinating import JOB, Place, try_again
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import attempts, audit, jobs, kinds, projects, workers

__all__ = [
    "TURN",
    "Asked",
    "Control",
    "Filter",
    "RefusedError",
    "Requester",
    "Stopped",
    "UnknownJobError",
]

Outcome: TypeAlias = str
#: What becomes of a request, in the audit trail.
REQUESTED, REFUSED, DONE = "requested", "refused", "done"
TOO_LATE, REPLACED, UNREACHABLE = "too late", "replaced", "unreachable"
NOT_WRITTEN = "not written"
_US = 1_000_000
#: Jobs of one transaction of an emergency stop.
_MOST_AT_ONCE = 500
#: Requests that are settled in one transaction.
_MOST_SETTLED = 1_000
_OPEN = ("received", "running", "paused")
#: The status that shows that a request was followed.
_FOLLOWED: Mapping[str, str] = {"stop": "stopped", "pause": "paused", "resume": "running"}


#: In the words of the partial index: neither store uses it for a value that is bound later.
_IS_REQUESTED = audit.c.outcome == literal_column("'requested'")
#: Requests of which it is now known what became of them, with the status that tells.
_FOLLOWED_OR_OVER = (
    select(
        *(audit.c.audit_key, audit.c.action, audit.c.target, attempts.c.status),
        *(projects.c.tenant_id, projects.c.project_id),
    )
    .select_from(audit)
    .join(projects, projects.c.project_key == audit.c.project_key)
    .join(jobs, (jobs.c.project_key == audit.c.project_key) & (jobs.c.job_id == audit.c.target))
    .join(
        attempts,
        (attempts.c.job_key == jobs.c.job_key)
        & (attempts.c.attempt == audit.c.details["attempt"].as_integer()),
    )
    .where(_IS_REQUESTED)
    .where(
        or_(
            *(
                and_(
                    audit.c.action == f"job.{action}",
                    or_(attempts.c.status.not_in(_OPEN), attempts.c.status == status),
                )
                for action, status in _FOLLOWED.items()
            )
        )
    )
    .order_by(audit.c.audit_key)
    .limit(_MOST_SETTLED)
)
#: Held while requests are noted and written: of two for one job the later row has the last word.
TURN = threading.Lock()


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

    @property
    def not_written(self) -> list[str]:
        """Jobs that were not asked, because the request could not be written."""
        return [each.job_id for each in self.asked if each.outcome == NOT_WRITTEN]


class _Job(NamedTuple):
    job_key: int
    job_id: str
    status: str
    attempt: int
    span_id: str | None
    #: The journal of the worker that runs it; ``None`` while it waits.
    stem: str | None
    machine_id: str | None


class _Noted(NamedTuple):
    """A request as it stands in the audit trail."""

    audit_key: int
    asked: Asked
    run: Run
    details: Mapping[str, Any]


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
        stems = self._stems()
        with TURN:
            with self._store.writing() as connection:
                job = self._job(connection, who.project_key, job_id)
                refusal = self._refusal(who, job, action, stems)
                if refusal is None:
                    noted = self._note(connection, who, job, action, reason)
                    self._desire(connection, who, action, [noted], reason)
                else:
                    self._note(connection, who, job, action, reason, outcome=REFUSED, why=refusal)
            if refusal is not None:
                raise RefusedError(refusal, job.status)
            failures = self._write(who, [noted], reason)
        for failure in failures.values():
            raise failure
        return noted.asked

    def reaches(self, project_key: int, job_id: str) -> bool:
        """Whether the worker of a job shares our home, or it has none."""
        with self._store.reading() as connection:
            wanted = _JOBS.where(jobs.c.project_key == project_key, jobs.c.job_id == job_id)
            found = connection.execute(wanted).first()
        return found is not None and (found.stem is None or found.stem in self._stems())

    def _job(self, connection: Connection, project_key: int, job_id: str) -> _Job:
        wanted = _JOBS.where(jobs.c.project_key == project_key, jobs.c.job_id == job_id)
        found = connection.execute(wanted).first()
        if found is None:
            raise UnknownJobError(job_id)
        return _Job(*found)

    def _refusal(
        self, who: Requester, job: _Job, action: Action, stems: Collection[str]
    ) -> str | None:
        """Why it cannot be asked; ``None`` if it can."""
        wrong = _wrong_state(job.status, action)
        if wrong and not (job.status == "running" and self._is_to_pause(who, job)):
            return wrong
        if job.status != "received" and job.span_id is None:
            return "the job runs where fiveobs does not: a connector reports it"
        if job.stem is not None and job.stem not in stems:
            return f"the job runs on {job.machine_id}, whose jobs another monitor reaches"
        return None

    def _is_to_pause(self, who: Requester, job: _Job) -> bool:
        asked = _control.requested(self._home, _run(who, job))
        return asked is not None and asked.action == "pause"

    def _stems(self) -> frozenset[str]:
        """Journals that are written into our home: their workers read there, too."""
        return frozenset(stem for stem, _, _ in segment_files(self._home / "journal"))

    def _note(
        self,
        connection: Connection,
        who: Requester,
        job: _Job,
        action: Action,
        reason: str,
        *,
        outcome: Outcome = REQUESTED,
        **details: Any,
    ) -> _Noted:
        """Add a row to the audit trail."""
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
        asked = Asked(job.job_id, action, job.status, job.attempt, at_us, outcome)
        return _Noted(key, asked, _run(who, job), details)

    def _desire(
        self,
        connection: Connection,
        who: Requester,
        action: Action,
        noted: Sequence[_Noted],
        reason: str,
    ) -> None:
        """Have what is asked for be what is desired: it holds if the worker begins anew."""
        job_ids = [each.asked.job_id for each in noted if each.asked.outcome == REQUESTED]
        if job_ids:
            now_us = round(self._now() * _US)
            note_asked(
                connection,
                who.project_key,
                action,
                job_ids,
                by=who.name,
                reason=reason,
                now_us=now_us,
            )

    def _write(self, who: Requester, noted: Sequence[_Noted], reason: str) -> Mapping[int, OSError]:
        """Carry out what is in the trail; what could not be written, by its key."""
        failures: dict[int, OSError] = {}
        replaced: list[object] = []
        for each in noted:
            before = _control.requested(self._home, each.run)
            notes = {"audit_key": each.audit_key, "project_key": who.project_key}
            try:
                _control.request(
                    self._home, each.run, each.asked.action, by=who.name, reason=reason, notes=notes
                )
            except OSError as exc:
                failures[each.audit_key] = exc
            else:
                replaced += [] if before is None else [before.notes.get("audit_key")]
        if failures or replaced:
            with self._store.writing() as connection:
                for key in replaced:
                    _settle_row(connection, key, REPLACED)
                for each in noted:
                    if each.audit_key in failures:
                        why = {**each.details, "why": str(failures[each.audit_key])}
                        _settle_row(connection, each.audit_key, NOT_WRITTEN, details=why)
                        place = Place(who.project_key, JOB, each.asked.job_id)
                        try_again(connection, place)
        return failures

    # --- many jobs ---------------------------------------------------------------------------

    def stop_all(self, who: Requester, wanted: Filter, reason: str = "") -> Stopped:
        """Ask every job of a filter to stop; one that waits stops when it starts.

        Args:
            who: Who asks.
            wanted: Which jobs; an empty filter means all of the project.
            reason: Why.

        Returns:
            What was asked of each; a request that cannot be written does not hold up the others.

        Raises:
            OSError: The journals cannot be listed.
        """
        stems = self._stems()
        asked: list[Asked] = []
        after_key = 0
        at_us = round(self._now() * _US)
        while True:
            with TURN:
                with self._store.writing() as connection:
                    found = self._open_jobs(connection, who, wanted, after_key)
                    noted = [self._stop(connection, who, job, reason, stems) for job in found]
                    self._desire(connection, who, "stop", noted, reason)
                asked += self._carry_out(who, noted, reason)
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

    def _stop(
        self,
        connection: Connection,
        who: Requester,
        job: _Job,
        reason: str,
        stems: Collection[str],
    ) -> _Noted:
        refusal = self._refusal(who, job, "stop", stems)
        if refusal is None:
            return self._note(connection, who, job, "stop", reason)
        return self._note(connection, who, job, "stop", reason, outcome=UNREACHABLE, why=refusal)

    def _carry_out(self, who: Requester, noted: Sequence[_Noted], reason: str) -> Iterator[Asked]:
        wanted = [each for each in noted if each.asked.outcome == REQUESTED]
        failures = self._write(who, wanted, reason)
        for each in noted:
            failed = each.audit_key in failures
            yield each.asked._replace(outcome=NOT_WRITTEN) if failed else each.asked

    # --- what becomes of it ------------------------------------------------------------------

    def settle(self) -> None:
        """Note what became of requests, and take back those whose job has ended.

        Raises:
            sqlalchemy.exc.OperationalError: The store cannot be reached.
        """
        after_key = 0
        while True:
            wanted = _FOLLOWED_OR_OVER.where(audit.c.audit_key > after_key)
            with self._store.reading() as connection:
                rows = connection.execute(wanted).all()
            if rows:
                with self._store.writing() as connection:
                    for row in rows:
                        _settle_row(connection, row.audit_key, _outcome(row))
            for row in rows:
                if row.status != "paused":  # it waits until its request is gone
                    self._take_back(row)
            if len(rows) < _MOST_SETTLED:
                return
            after_key = rows[-1].audit_key

    def _take_back(self, row: Any) -> None:
        """Remove a request, if it is still the last one; the worker does so too, if it saw it."""
        run = Run(row.target, row.tenant_id, row.project_id)
        with TURN:
            asked = _control.requested(self._home, run)
            if asked is not None and asked.notes.get("audit_key") == row.audit_key:
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


def _outcome(row: Any) -> Outcome:
    return DONE if row.status == _FOLLOWED[row.action.removeprefix("job.")] else TOO_LATE


def _settle_row(
    connection: Connection, key: object, outcome: Outcome, **further: Mapping[str, Any]
) -> None:
    if isinstance(key, int):
        open_row = (audit.c.audit_key == key) & (audit.c.outcome == REQUESTED)
        connection.execute(update(audit).where(open_row).values(outcome=outcome, **further))
