"""Has jobs follow what is desired of them, whatever becomes of their workers.

A request is for one run of a job (`fiveobs.monitor.control`). So when a paused job is run again,
because its worker was killed, say, its new run is asked anew; and where a run has followed, or none
is there, the request is made to stand: a run that begins later finds it at its first checkpoint.
A run is asked at most once for each version of the job's state, with growing pauses, and after some
tries in vain it is given up with the reason. A job that has completed is left alone.

Reads and writes the store and ``<FIVEOBS_HOME>/control``. One thread runs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from fiveobs import _control
from fiveobs._control import Run
from fiveobs.monitor.control import TURN, Control, RefusedError, Requester, UnknownJobError
from fiveobs.monitor.coordination.desiring import ACTIONS, FIRST_PAUSE_S, desired_status, is_done
from fiveobs.monitor.coordination.observing import OPEN
from fiveobs.monitor.store import auditing, coordinating
from fiveobs.monitor.store.auditing import MONITOR
from fiveobs.monitor.store.coordinating import JOB, Changes, DesiredJob, EntityRow, Place
from fiveobs.monitor.store.engine import Store

__all__ = ["Reconciler"]

_US = 1_000_000
#: Jobs that are read at once.
_MOST_AT_ONCE = 500
#: How often it is asked in vain before it is given up, and the longest pause between.
_MOST_TRIES = 5
_LONGEST_PAUSE_S = 60.0
#: How often requests that stand are looked through for those that nobody wants any more.
_LIFT_S = 2.0
#: In the audit trail.
_RECONCILED, _LEFT, _GIVEN_UP = "state.reconciled", "left for the next run", "given up"


class Reconciler:
    """Looks after the jobs of which something is desired.

    Args:
        store: Where they are.
        home: ``FIVEOBS_HOME``, which workers share.
        control: Asks them.
        clock: Monotonic seconds.
        now: Seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        home: Path,
        control: Control,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._home = home
        self._control = control
        self._clock = clock
        self._now = now
        #: By entity: the version of which nothing more is to be done.
        self._done: dict[int, int] = {}
        self._lift_at_s = 0.0
        #: How often a run was asked, and a request was left, so far.
        self.asked = self.left = 0

    def step(self) -> None:
        """Look at each such job once.

        Raises:
            sqlalchemy.exc.OperationalError: The store cannot be reached.
            OSError: A request cannot be written.
        """
        before, self._done = self._done, {}
        failure: OSError | None = None
        for job in self._desired():
            key, version = job.row.entity_key, job.row.version
            try:
                if before.get(key) == version or self._settle(job):
                    self._done[key] = version
            except OSError as exc:  # it does not hold up the others
                failure = exc
        if self._clock() >= self._lift_at_s:
            self._lift_at_s = self._clock() + _LIFT_S
            self._lift()
        if failure is not None:
            raise failure

    def _desired(self) -> Iterator[DesiredJob]:
        after_key = 0
        while True:
            with self._store.reading() as connection:
                found = coordinating.desired_jobs(connection, after_key, _MOST_AT_ONCE)
            yield from found
            if len(found) < _MOST_AT_ONCE:
                return
            after_key = found[-1].row.entity_key

    # --- one job -----------------------------------------------------------------------------

    def _settle(self, job: DesiredJob) -> bool:
        """Do what is to be done now; whether that is all, for this version."""
        row, desired = job.row, desired_status(job.row)
        state: dict[str, Any] = orjson.loads(row.observed or "{}")
        status = str(state.get("status", ""))
        if not status or desired is None or row.given_up is not None or is_done(row, status):
            return bool(status)
        if status == desired:
            self._has_followed(job, desired)
            return True
        run = Run(
            row.entity_id, job.tenant_id, job.project_id, state["attempt"], state.get("runId")
        )
        if status not in OPEN and not (status == "received" and desired == "stopped"):
            self._leave(job, desired)
            return True
        asked = _control.requested(self._home, run)
        if asked is not None and asked.action == ACTIONS[desired]:
            return False  # it follows at its next checkpoint, or it has ended meanwhile
        if desired == "running" and status == "running":
            return True
        return self._ask(job, desired, state)

    def _has_followed(self, job: DesiredJob, desired: str) -> None:
        """Have what it has followed hold for runs to come, too."""
        if job.row.tries:
            with self._store.writing() as connection:
                coordinating.settle_tries(connection, [job.row.entity_key])
        if desired != "running":
            self._stand(job, desired)

    def _leave(self, job: DesiredJob, desired: str) -> None:
        """No run of it is there: leave the request for the next one."""
        if desired != "running" and self._stand(job, desired):
            self.left += 1
            with self._store.writing() as connection:
                self._note(connection, job, _LEFT, f"{_wish(job.row)}; no run of it is there")

    def _stand(self, job: DesiredJob, desired: str) -> bool:
        """Have a request stand; whether none of its kind did."""
        run = Run(job.row.entity_id, job.tenant_id, job.project_id)
        action: Any = ACTIONS[desired]
        with TURN:
            before = _control.requested(self._home, run)
            if before is not None and before.is_standing and before.action == action:
                return False
            with self._store.reading() as connection:
                present = coordinating.entity_of(connection, job.row.place)
            if present is None or desired_status(present) != desired:
                return False  # somebody has just changed their mind
            by, reason = job.row.desired_by or MONITOR, job.row.desired_reason or ""
            _control.stand(self._home, run, action, by=by, reason=reason)
        return before is None or before.action != action

    def _ask(self, job: DesiredJob, desired: str, state: dict[str, Any]) -> bool:
        """Ask the present run, unless that was done; whether nothing more is to be done."""
        row, now_us = job.row, round(self._now() * _US)
        if row.tried_version == row.version:
            return False  # it was asked, or is being asked right now
        if row.next_try_at_us is not None and now_us < row.next_try_at_us:
            return False
        if (why := _hopeless(row, state)) is not None:
            self._give_up(job, why)
            return True
        if not self._control.reaches(row.project_key, row.entity_id):
            return False  # another monitor's
        if self._claim(row, now_us):
            self._ask_now(job, desired, state)
        return True

    def _ask_now(self, job: DesiredJob, desired: str, state: dict[str, Any]) -> None:
        who = Requester(job.row.project_key, job.tenant_id, job.project_id, MONITOR)
        action: Any = ACTIONS[desired]
        try:
            self._control.ask(who, job.row.entity_id, action, _why(job.row, state))
        except (RefusedError, UnknownJobError):
            return  # it is in another state by now: there will be another version
        self.asked += 1

    def _claim(self, row: EntityRow, now_us: int) -> bool:
        """Take this try upon us; whether nobody else has, and all is still as it was."""
        pause_s = min(FIRST_PAUSE_S * 2.0**row.tries, _LONGEST_PAUSE_S)
        with self._store.writing() as connection:
            changes = Changes(connection, now_us)
            present = changes.get(row.place)
            if present is None or present.version != row.version:
                return False
            if present.tried_version == row.version:
                return False
            changes.note(
                present,
                tries=present.tries + 1,
                tried_version=row.version,
                next_try_at_us=now_us + round(pause_s * _US),
            )
        return True

    def _give_up(self, job: DesiredJob, reason: str) -> None:
        """Try no more, and say so: that is a change of its state."""
        row = job.row
        with self._store.writing() as connection:
            changes = Changes(connection, round(self._now() * _US))
            present = changes.get(row.place)
            if present is None or present.version != row.version or present.given_up is not None:
                return
            changes.put(row.place, present, given_up=reason)
            changes.close()
            self._note(connection, job, _GIVEN_UP, f"{_wish(row)}; {reason}")

    def _note(self, connection: Any, job: DesiredJob, outcome: str, reason: str) -> None:
        auditing.note(
            connection,
            at_us=round(self._now() * _US),
            project_key=job.row.project_key,
            actor=MONITOR,
            action=_RECONCILED,
            target=job.row.entity_id,
            outcome=outcome,
            reason=reason,
            details={"version": job.row.version},
        )

    # --- what nobody wants any more ----------------------------------------------------------

    def _lift(self) -> None:
        """Take back requests that stand and that nobody wants any more."""
        standing = [each for each in _control.pending(self._home) if each.is_standing]
        if not standing:
            return
        with self._store.reading() as connection:
            keys = coordinating.project_keys(
                connection, {(each.run.tenant_id, each.run.project_id) for each in standing}
            )
            places = {each.run: self._place(keys, each.run) for each in standing}
            rows = coordinating.entities_of(connection, set(places.values()))
        for each in standing:
            row = rows.get(places[each.run])
            status = None if row is None else desired_status(row)
            if status is None or ACTIONS[status] != each.action:
                with TURN:
                    now = _control.requested(self._home, each.run)
                    if now is not None and now.is_standing and now.action == each.action:
                        _control.clear(self._home, each.run)

    def _place(self, keys: dict[tuple[str, str], int], run: Run) -> Place:
        return Place(keys.get((run.tenant_id, run.project_id), 0), JOB, run.job_id)


def _hopeless(row: EntityRow, state: dict[str, Any]) -> str | None:
    """Why a job is not to be asked any more; ``None`` if it is."""
    if state["status"] in OPEN and state.get("runId") is None:
        return "it runs where fiveobs does not: a connector reports it"
    if row.tries >= _MOST_TRIES:
        return f"it was asked {row.tries} times and has not followed"
    return None


def _wish(row: EntityRow) -> str:
    """What is desired, by whom and why, in words."""
    reason = f": {row.desired_reason}" if row.desired_reason else ""
    return f"{row.desired_by or MONITOR} wants it {desired_status(row)}{reason}"


def _why(row: EntityRow, state: dict[str, Any]) -> str:
    where = f" on {state['workerId']}" if state.get("workerId") else ""
    return f"{_wish(row)}; it is {state['status']} in attempt {state['attempt']}{where}"
