"""Keeps what is observed of jobs, workers, machines and services, from what was taken in.

It looks at which events have come since it last looked, and at the signs of life of workers, and
writes how things are now where that is not how they were: not each event is a change, but each
change that lasts is one. Where several monitors share a store, one of them does it, as long as it
renews its turn; every write makes sure of that.

Reads and writes the store. One thread runs it.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy.exc import SQLAlchemyError

from fiveobs.monitor.coordination.desiring import NOTHING_DESIRED, is_done
from fiveobs.monitor.coordination.observing import (
    Failures,
    JobNow,
    Observed,
    job_observed,
    machine_observed,
    service_observed,
    worker_observed,
)
from fiveobs.monitor.coordination.processes import Processes
from fiveobs.monitor.live.events import newest_key
from fiveobs.monitor.store import coordinating, observing
from fiveobs.monitor.store.coordinating import (
    JOB,
    MACHINE,
    SERVICE,
    WORKER,
    Changes,
    EntityRow,
    Place,
)
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.observing import HEALTH_CHANGED, Said

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["KEPT_S", "Projector"]

_US = 1_000_000
#: How often it looks, in seconds.
_STEP_S = 0.5
#: How long a turn lasts that is not renewed, and when it is renewed before.
_TURN_S, _RENEW_S = 15.0, 10.0
#: Events that are gone through at once, and how often in one step where there are more.
_WINDOW_KEYS, _MOST_WINDOWS = 5_000, 20
#: Entities of one transaction: ingest waits for it.
_MOST_WRITTEN = 200
#: What a worker, a machine or a service holds is written this often at most, in seconds: short
#: jobs come and go.
_ALLOCATION_S = 2.0
#: How often signs of life are written, failures counted and the oldest dropped, in seconds.
_SEEN_S, _FAILURES_S, _DROP_S = 10.0, 10.0, 60.0
#: How often some of the open jobs are looked at without an occasion, in seconds, and how many.
_SWEEP_S, _MOST_SWEPT = 5.0, 500
#: Workers that were heard of within so long are there, in seconds.
_SWEPT_S = 15.0
#: Of what a service says of itself so much is kept, in characters.
_MOST_CHARS = 256
#: Rows that are dropped at once.
_MOST_DROPPED = 1_000
#: Failures of so long count.
_LATELY_S = 600.0
#: At the start, workers that were heard of within so long are looked for.
_HEARD_S = 3600.0
#: What is over is kept for so long.
KEPT_S = 86_400.0


class _TurnIsOverError(Exception):
    """Another monitor observes now."""


class Projector:
    """Observes.

    Args:
        store: Where everything is.
        report: Called with a cause and a message when something goes wrong.
        beside: What else is to be done at each look, in the same thread.
        clock: Monotonic seconds.
        now: Seconds since 1970.
    """

    name = "state"

    def __init__(
        self,
        store: Store,
        *,
        report: Callable[[str, str], None],
        beside: Iterable[Callable[[], object]] = (),
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._report = report
        self._tasks: tuple[Callable[[], object], ...] = (self.step, *beside)
        self._clock = clock
        self._now = now
        self._holder = uuid.uuid4().hex
        self._renew_at_s = 0.0
        self._forget()

    def _forget(self) -> None:
        """Know nothing: somebody else was here."""
        self._has_turn = False
        self._processes = Processes()
        self._last_worker_key = 0
        self._event_key = 0
        #: What services said of themselves.
        self._reported: dict[Place, Mapping[str, Any]] = {}
        self._failures: dict[Place, Failures] = {}
        #: What may have changed and is not written yet.
        self._jobs: set[int] = set()
        self._places: set[Place] = set()
        #: Workers that are to be looked at again.
        self._workers: set[int] = set()
        #: Jobs that make no progress, by key.
        self._stuck: set[int] = set()
        #: When what an entity holds was last written, in monotonic seconds.
        self._written_at_s: dict[Place, float] = {}
        #: When something is next due, in monotonic seconds.
        self._due_at_s: dict[str, float] = {}
        #: The last of the open jobs that was looked at without an occasion.
        self._swept_key = 0

    def run(self, stop: threading.Event) -> None:
        """Observe until told to stop; failures are reported, and tried again."""
        while not stop.wait(_STEP_S):
            for task in self._tasks:
                try:
                    task()
                except Exception as exc:
                    self._report("state", f"{type(exc).__name__}: {exc}")
        with contextlib.suppress(SQLAlchemyError), self._store.writing() as connection:
            coordinating.end_turn(connection, self._holder)

    def step(self) -> int:
        """Look once; how many changes were written.

        Raises:
            sqlalchemy.exc.OperationalError: The store cannot be reached.
        """
        try:
            if not self._take_turn():
                return 0
            if not self._has_turn:
                self._take_over()
            self._look()
            written = self._write()
            self._care()
        except _TurnIsOverError:
            self._forget()
            return 0
        except BaseException:
            self._has_turn = False  # what is kept in mind may be half of it
            raise
        return written

    # --- whose turn it is --------------------------------------------------------------------

    def _take_turn(self) -> bool:
        if self._has_turn and self._clock() < self._renew_at_s:
            return True
        now_us = self._now_us()
        until_us = now_us + round(_TURN_S * _US)
        with self._store.writing() as connection:
            is_ours = coordinating.take_turn(connection, self._holder, now_us, until_us)
        if is_ours:
            self._renew_at_s = self._clock() + _TURN_S - _RENEW_S
        elif self._has_turn:
            self._forget()
        return is_ours

    def _take_over(self) -> None:
        """Begin where whoever observed before has left it."""
        self._forget()
        now_us, now_s = self._now_us(), self._clock()
        with self._store.reading() as connection:
            self._event_key = coordinating.position(connection, "events")
            found = observing.workers_heard_since(connection, now_us - round(_HEARD_S * _US))
            rows = coordinating.open_entities(connection, (WORKER, MACHINE, SERVICE))
            self._last_worker_key = observing.newest_worker(connection)
            held = observing.held_by(connection, [row.worker_key for row in found])
        self._processes.add(found, now_s, now_us)
        self._jobs.update(key for some in held.values() for key, _ in some)
        self._take_up(rows)
        self._has_turn = True

    def _take_up(self, rows: Iterable[EntityRow]) -> None:
        """Look again at all that is not over: it may have ended while nobody looked."""
        served = set(self._processes.places(SERVICE))
        for row in rows:
            self._places.add(row.place)
            state = orjson.loads(row.observed or "{}")
            # What a service said of itself ends with its workers, if it had any.
            if "reported" in state and (row.place in served or not state.get("workerCount")):
                self._reported[row.place] = state["reported"]

    # --- what has happened -------------------------------------------------------------------

    def _look(self) -> None:
        now_s = self._clock()
        with self._store.reading() as connection:
            workers = self._read_events(connection)
            new = observing.workers_after(connection, self._last_worker_key)
            self._last_worker_key = max(
                (row.worker_key for row in new), default=self._last_worker_key
            )
            # One that was taken to have ended and is heard of again is as good as new.
            new += observing.workers_now(connection, workers - set(self._processes.keys))
            self._processes.add(new, now_s)
            rows = observing.workers_now(connection, self._processes.keys)
            heard = set(self._processes.refresh(rows, now_s))
            touched = workers | heard | self._workers | {row.worker_key for row in new}
            touched &= set(self._processes.keys)
            self._workers = set()
            self._look_at_held(connection, touched)
            silent = set(self._processes.keys) - touched
            self._processes.lose(silent, observing.lost_by(connection, silent))
        changed, jobs = self._processes.look(now_s)
        self._places |= changed
        self._jobs |= jobs

    def _read_events(self, connection: Connection) -> set[int]:
        """Note the jobs that events are about; the workers whose jobs these are."""
        newest = newest_key(connection)
        workers: set[int] = set()
        for _ in range(_MOST_WINDOWS):
            if self._event_key >= newest:
                break
            end = min(newest, self._event_key + _WINDOW_KEYS)
            for said in observing.events_between(connection, self._event_key, end):
                self._note(said)
                workers |= {said.worker_key} if said.worker_key is not None else set()
            self._event_key = end
        return workers

    def _note(self, said: Said) -> None:
        if said.job_key is not None:
            self._jobs.add(said.job_key)
        if said.event_type == HEALTH_CHANGED:
            data = orjson.loads(said.data or "{}")
            service = data.get("service") or self._processes.service_of(said.worker_key)
            if isinstance(service, str) and "\0" not in service[:_MOST_CHARS]:
                place = Place(said.project_key, SERVICE, service[:_MOST_CHARS])
                told = {name: str(data.get(name) or "") for name in ("status", "reason")}
                self._reported[place] = {
                    name: text[:_MOST_CHARS] for name, text in told.items() if text
                }
                self._places.add(place)

    def _look_at_held(self, connection: Connection, keys: Collection[int]) -> None:
        held = observing.held_by(connection, keys)
        for key in keys:
            self._processes.hold(key, held.get(key, ()), self._stuck)
        self._processes.lose(keys, ())

    # --- what is observed now ----------------------------------------------------------------

    def _write(self) -> int:
        """Write what is not as it was; how many changes that were."""
        with self._store.reading() as connection:
            found = dict(self._observed(connection))
            rows = coordinating.entities_of(connection, found)
        changed = {each: now for each, now in found.items() if _differs(rows.get(each), now)}
        waiting = {each for each, now in changed.items() if self._must_wait(rows.get(each), now)}
        due = [each for each in changed.items() if each[0] not in waiting]
        for first in range(0, len(due), _MOST_WRITTEN):
            self._write_some(due[first : first + _MOST_WRITTEN])
        self._jobs, self._places = set(), waiting
        self._processes.forget_ended()
        return len(due)

    def _observed(self, connection: Connection) -> Iterator[tuple[Place, Observed]]:
        """What may have changed."""
        named = observing.jobs_now(connection, self._jobs)
        stuck = observing.stuck_of(connection, named)
        self._note_stuck(named, stuck)
        resources = observing.resources_held(connection, [job.job_key for job in named])
        for job in named:
            yield (
                Place(job.project_key, JOB, job.job_id),
                job_observed(
                    job,
                    worker_health=self._processes.health_of(job.worker_key),
                    is_stuck=job.job_key in stuck,
                    resources=resources.get(job.job_key, ()),
                ),
            )
        for place in self._places:
            yield place, self._observed_group(place)

    def _note_stuck(self, named: Iterable[JobNow], stuck: Collection[int]) -> None:
        """Keep in mind which jobs are stuck, and that their workers are to be looked at again."""
        for job in named:
            is_stuck = job.job_key in stuck
            if is_stuck != (job.job_key in self._stuck):
                (self._stuck.add if is_stuck else self._stuck.remove)(job.job_key)
                self._workers |= {job.worker_key} if job.worker_key is not None else set()

    def _observed_group(self, place: Place) -> Observed:
        processes = self._processes.of(place)
        if place.kind == MACHINE:
            return machine_observed(processes)
        if place.kind == SERVICE:
            failures = self._failures.get(place, Failures(0, 0))
            return service_observed(processes, failures, self._reported.get(place))
        return worker_observed(processes)

    def _must_wait(self, row: EntityRow | None, now: Observed) -> bool:
        """Whether only what it holds has changed, again within a short time."""
        if row is None or row.kind == JOB or row.health != now.health:
            return False
        return self._clock() - self._written_at_s.get(row.place, -_ALLOCATION_S) < _ALLOCATION_S

    def _write_some(self, some: Collection[tuple[Place, Observed]]) -> None:
        now_us = self._now_us()
        with self._store.writing() as connection:
            changes = Changes(connection, now_us)
            if not changes.is_turn_of(self._holder):
                raise _TurnIsOverError
            rows = changes.get_all([place for place, _ in some])
            # Those together that have the same columns: what was desired is done with for few.
            for done in (False, True):
                changes.put_all(
                    (place, rows.get(place), _values(rows.get(place), now, now_us, done=done))
                    for place, now in some
                    if _is_done(rows.get(place), now) == done
                )
            changes.move("events", self._event_key)
            changes.close()
        self._written_at_s |= dict.fromkeys((place for place, _ in some), self._clock())

    # --- now and then ------------------------------------------------------------------------

    def _care(self) -> None:
        """Do what is due."""
        for task, every_s in (
            (self._see, _SEEN_S),
            (self._count_failures, _FAILURES_S),
            (self._sweep, _SWEEP_S),
            (self._drop, _DROP_S),
        ):
            if self._clock() >= self._due_at_s.get(task.__name__, 0.0):
                self._due_at_s[task.__name__] = self._clock() + every_s
                task()

    def _see(self) -> None:
        """Write signs of life, and how far events were looked at."""
        seen = self._processes.seen()
        with self._store.writing() as connection:
            coordinating.see(connection, seen)
        self._written_at_s = {
            place: at_s
            for place, at_s in self._written_at_s.items()
            if self._clock() - at_s < _ALLOCATION_S
        }

    def _count_failures(self) -> None:
        since_us = self._now_us() - round(_LATELY_S * _US)
        places = self._processes.places(SERVICE)
        with self._store.reading() as connection:
            found = {
                each: observing.failures_of(connection, each.project_key, each.entity_id, since_us)
                for each in places
            }
        self._places |= {each for each in found if found[each] != self._failures.get(each)}
        self._failures = found

    def _sweep(self) -> None:
        """Look again at some of the jobs that are not over, and for workers that are there again.

        A heartbeat alone, which is no event, may change either.
        """
        since_us = self._now_us() - round(_SWEPT_S * _US)
        with self._store.reading() as connection:
            found = coordinating.open_jobs(connection, self._swept_key, _MOST_SWEPT)
            heard = observing.workers_heard_since(connection, since_us)
        self._processes.add(heard, self._clock())
        self._jobs.update(job_key for _, job_key in found)
        self._swept_key = found[-1][0] if len(found) == _MOST_SWEPT else 0

    def _drop(self) -> None:
        before_us = self._now_us() - round(KEPT_S * _US)
        with self._store.writing() as connection:
            coordinating.drop_over(connection, before_us, _MOST_DROPPED)

    def _now_us(self) -> int:
        return round(self._now() * _US)


def _differs(row: EntityRow | None, now: Observed) -> bool:
    """Whether something else is observed than before; what was over before is no news."""
    if row is None:
        return not now.is_over
    return row.health != now.health or row.observed != _text(now)


def _is_done(row: EntityRow | None, now: Observed) -> bool:
    """Whether nothing is desired any more."""
    return row is not None and is_done(row, str(now.state.get("status", "")))


def _values(row: EntityRow | None, now: Observed, now_us: int, *, done: bool) -> dict[str, Any]:
    """The columns that say what is observed, and, where it is done with, of what was desired."""
    before = (None, None) if row is None else (row.over_at_us, row.seen_at_us)
    found = {
        "health": now.health,
        "observed": _text(now),
        "over_at_us": (before[0] or now_us) if now.is_over else None,
        "seen_at_us": now.seen_at_us or before[1],
    }
    return {**found, **NOTHING_DESIRED} if done else found


def _text(now: Observed) -> str:
    return orjson.dumps(now.state, option=orjson.OPT_SORT_KEYS).decode()
