"""Finds jobs that never said how they ended, and reports them as lost, each once.

A worker of this machine is dead when the kernel says so, at once; how busy or quiet it is does not
matter, so that a job which blocks the interpreter for a minute is not lost. A worker elsewhere is
dead when its heartbeats have stopped for longer than the lease. Nothing is concluded before all of
a dead worker's journal is in the store. A conclusion goes into this process's own journal
(`fiveobs._others`), comes back like any record, and is taken back by a later sign of life.

Reads the store and the journal folder; writes the audit trail. One thread runs it.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from fiveobs._others import JobOfOthers, conclude_lost, record_change
from fiveobs.journal.locks import holder_pid
from fiveobs.journal.segments import LOCK_SUFFIX, segment_files
from fiveobs.monitor.claims import Claims, is_taken_in
from fiveobs.monitor.evidence import HOST_GONE, Conclusion, Exit, Memory, conclude, unseen
from fiveobs.monitor.processes import HERTZ, Processes, exit_of_zombie, is_running, own_identity
from fiveobs.monitor.store import losing
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.losing import OpenAttempt, WorkerNow

__all__ = ["Lease", "Reaper"]

_US = 1_000_000
#: How often the store is asked how the workers are, in seconds.
_STEP_S = 0.5
#: A silent worker that had nothing open is looked at again after so many seconds, and forgotten
#: when it has been silent for so long.
_IDLE_S, _FORGOTTEN_S = 10.0, 3600.0
#: Share of the container's or machine's memory from which on it is full.
_FULL = 0.95
_MOST_BEATS = 4
_MIB = 1024 * 1024
_BEGUN_ANEW = "its machine was started anew after the last sign of life: it has another boot id"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """How long silence is no death, in seconds."""

    #: A worker elsewhere: three heartbeats and a margin; more if its heartbeats are further apart.
    elsewhere_s: float = 20.0
    #: A worker whose journal another monitor reads: that one may be what is silent.
    unseen_s: float = 300.0
    #: A worker of this machine that cannot be seen, in a container beside ours, and whose lock
    #: is free: a sixth of a minute less what a look takes.
    neighbour_s: float = 7.5
    #: Where nobody saw how a process ended, so long is left to a monitor that did.
    courtesy_s: float = 2.0


class _Identity(NamedTuple):
    """What ``fiveobs.process`` names."""

    boot_id: str
    namespace: str
    started_ticks: int


@dataclass(slots=True)
class _Watched:
    """A worker that may have something open; times are monotonic seconds."""

    row: WorkerNow
    #: When its last record came in here; its own clock may be set back.
    seen_at_s: float
    #: Which process it is, as it says.
    identity: _Identity | None
    #: When it was first found to be gone.
    gone_at_s: float | None = None
    #: What was reported of it.
    told: tuple[OpenAttempt, ...] = ()
    #: It had nothing open: not to be looked at before.
    look_at_s: float = 0.0


class Reaper:
    """Reports lost jobs.

    Args:
        store: Where jobs and workers are.
        folder: The journal folder, ``<FIVEOBS_HOME>/journal``.
        report: Called with a cause and a message when something goes wrong.
        processes: Sees the processes of this machine, while it runs.
        lease: How long silence is no death.
        beside: What else is to be done at each look, in the same thread.
        clock: Monotonic seconds.
        now: Seconds since 1970.
    """

    name = "reaper"

    def __init__(
        self,
        store: Store,
        folder: Path,
        *,
        report: Callable[[str, str], None],
        processes: Processes,
        lease: Lease | None = None,
        beside: Sequence[Callable[[], object]] = (),
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._folder = folder
        self._report = report
        self._claims = Claims(folder)
        self._lease = lease or Lease()
        self._processes = processes
        self._beside = beside
        self._clock = clock
        self._now = now
        self._own = own_identity()
        self._watched: dict[int, _Watched] = {}
        self._last_key = 0
        #: When it is next looked for workers that were forgotten and have begun something since.
        self._search_at_s = 0.0
        #: By machine: when it was last started, in microseconds since 1970, and that boot id.
        self._boots: dict[str, tuple[float, str]] = {}
        #: Jobs reported so far, by cause.
        self.lost: dict[str, int] = {}

    def run(self, stop: threading.Event) -> None:
        """Look after the workers until told to stop; failures are reported, and tried again."""
        while not stop.is_set():
            for task in (self.step, *self._beside):
                self._take_care(task)
            stop.wait(_STEP_S)

    def _take_care(self, task: Callable[[], object]) -> None:
        try:
            task()
        except Exception as exc:
            self._report("lost jobs", f"{type(exc).__name__}: {exc}")

    def step(self) -> int:
        """Look once; how many jobs were reported.

        Raises:
            sqlalchemy.exc.OperationalError: The store cannot be reached.
        """
        self._refresh()
        told = sum(self._bury(*each) for each in self._dead())
        self._let_go()
        return told

    def _dead(self) -> list[tuple[_Watched, Conclusion]]:
        """Workers that are dead and have something open, each with the reason."""
        now = self._clock()
        suspects = {
            key: each
            for key, each in self._watched.items()
            if now >= each.look_at_s and self._may_be_dead(each)
        }
        if not suspects:
            return []
        with self._store.reading() as connection:
            busy = {each.worker_key for each in losing.open_attempts(connection, suspects)}
        found = []
        for key, watched in suspects.items():
            if key not in busy:
                watched.look_at_s = now + _IDLE_S
            elif (why := self._verdict(watched)) is not None:
                found.append((watched, why))
        return found

    # --- who is there ------------------------------------------------------------------------

    def _refresh(self) -> None:
        now = self._clock()
        with self._store.reading() as connection:
            rows = losing.workers_now(connection, self._watched)
            new = losing.new_workers(connection, self._last_key)
            if now >= self._search_at_s:
                self._search_at_s = now + _IDLE_S
                known = self._watched.keys() | {row.worker_key for row in new}
                new += losing.workers_now(connection, losing.busy_workers(connection) - known)
        for row in rows:
            self._seen(self._watched[row.worker_key], row, now)
        for row in new:
            self._last_key = max(self._last_key, row.worker_key)
            self._watched[row.worker_key] = _Watched(row, now, _identity(row))
        self._boots = dict(sorted(self._boots_seen()))

    def _boots_seen(self) -> Iterator[tuple[str, tuple[float, str]]]:
        """Machines, and when they were started: by when a process of theirs was, and its age."""
        for watched in self._watched.values():
            row, identity = watched.row, watched.identity
            if row.machine_id and row.started_at_us and identity is not None:
                age_us = identity.started_ticks / HERTZ * _US
                yield row.machine_id, (row.started_at_us - age_us, identity.boot_id)

    def _seen(self, watched: _Watched, row: WorkerNow, now: float) -> None:
        before, watched.row = watched.row, row
        if row.resource != before.resource:
            watched.identity = _identity(row)
        if _place(row) != _place(before):
            watched.seen_at_s = now
            watched.gone_at_s = None
            if watched.told:
                self._take_back(watched)

    def _take_back(self, watched: _Watched) -> None:
        """Say of jobs that were reported that they are not lost, if they are not any more."""
        with self._store.reading() as connection:
            now = [
                (each, *losing.status_of(connection, each.job_key, each.attempt))
                for each in watched.told
            ]
        # Until the report is in the store, its job is there what it was before.
        watched.told = tuple(each for each, status, is_in in now if status == "lost" or not is_in)
        for attempt, status, is_in in now:
            if is_in and status in ("running", "paused"):
                message = f"{attempt.job_name} is not lost: its worker is heard of again"
                change = ("lost", status)
                record_change(_job(attempt), "job", change, message, {}, level="info")

    def _let_go(self) -> None:
        """Forget workers that have nothing open and never will."""
        over = [key for key, each in self._watched.items() if self._is_over(each)]
        if not over:
            return
        with self._store.reading() as connection:
            busy = {each.worker_key for each in losing.open_attempts(connection, over)}
        for key in over:
            if key not in busy and is_taken_in(self._folder, self._watched[key].row):
                self._processes.forget(self._watched.pop(key).row.stem)

    def _is_over(self, watched: _Watched) -> bool:
        """Whether it has ended, or is dead for certain, or has long been silent."""
        row = watched.row
        if row.stopped_at_us is not None or self._processes.death(row.stem) is not None:
            return True
        if self._clock() - watched.seen_at_s > _FORGOTTEN_S and not self._processes.is_alive(
            row.stem
        ):
            return True
        ticks = self._ticks_here(watched)
        return ticks is not None and not is_running(row.pid or 0, ticks)

    # --- alive or not ------------------------------------------------------------------------

    def _may_be_dead(self, watched: _Watched) -> bool:
        """Whether it is worth a closer look; cheap."""
        stem = watched.row.stem
        if self._processes.is_alive(stem) or self._processes.is_ending(stem):
            return False
        if self._processes.death(stem) is not None or self._has_begun_anew(watched):
            return True
        ticks = self._ticks_here(watched)
        if ticks is not None:
            return not is_running(watched.row.pid or 0, ticks)
        least_s = min(self._lease.elsewhere_s, self._lease.neighbour_s)
        return self._clock() - watched.seen_at_s > least_s

    def _ticks_here(self, watched: _Watched) -> int | None:
        """When its process began, if we would see that process: one of our pid namespace."""
        identity = watched.identity
        if identity is None or watched.row.pid is None or not self._own[0]:
            return None
        return identity.started_ticks if identity[:2] == self._own else None

    def _has_begun_anew(self, watched: _Watched) -> bool:
        """Whether its machine was started after the worker was last heard of.

        Two machines that are called the same are not taken for one: of a worker that lives, more
        was heard since the other one was started.
        """
        row, identity = watched.row, watched.identity
        started_us, boot_id = self._boots.get(row.machine_id or "", (0.0, ""))
        if identity is None or not boot_id or identity.boot_id == boot_id:
            return False
        return row.heartbeat_at_us is not None and row.heartbeat_at_us < started_us

    def _verdict(self, watched: _Watched) -> Conclusion | None:
        """Why the worker is dead; ``None`` if that is not known yet."""
        stem = watched.row.stem
        death = self._processes.death(stem)
        if death is not None:
            return self._conclude(watched, death.exit, death.memory)
        if self._has_begun_anew(watched):
            return Conclusion(HOST_GONE, True, (_BEGUN_ANEW,))
        ticks = self._ticks_here(watched)
        if ticks is not None:
            return self._here(watched, watched.row.pid or 0, ticks)
        if watched.identity is not None and watched.identity.boot_id == self._own[0]:
            return self._neighbour(watched)
        return self._elsewhere(watched)

    def _here(self, watched: _Watched, pid: int, started_ticks: int) -> Conclusion | None:
        """A process of this machine whose end we did not see."""
        ended = exit_of_zombie(pid, started_ticks)
        if ended is None and not self._is_gone_for(watched, self._lease.courtesy_s):
            return None
        # That it is not named tells nothing: it may have been before we began to read.
        return self._conclude(
            watched, ended, Memory(is_named=self._processes.is_named(pid) or None)
        )

    def _neighbour(self, watched: _Watched) -> Conclusion | None:
        """A process of this machine in a container beside ours: only its lock can be seen."""
        try:
            holder = holder_pid(self._folder / f"{watched.row.stem}{LOCK_SUFFIX}")
        except OSError:
            return self._elsewhere(watched)
        silent_s = self._clock() - watched.seen_at_s
        if holder is not None:
            watched.gone_at_s = None
            # Whoever holds it may have adopted the journal of a dead one.
            return self._unheard(watched) if silent_s > self._lease.unseen_s else None
        if silent_s < self._lease.neighbour_s:
            return None
        if not self._is_gone_for(watched, self._lease.courtesy_s):
            return None
        return self._conclude(watched, None, Memory())

    def _elsewhere(self, watched: _Watched) -> Conclusion | None:
        """A process of another machine, as far as we know."""
        silent_s = self._clock() - watched.seen_at_s
        if silent_s <= self._lease.elsewhere_s:
            return None
        if silent_s <= self._lease.unseen_s and not self._has_journal(watched.row.stem):
            return None
        return self._unheard(watched) if silent_s > self._own_lease_s(watched.row) else None

    def _unheard(self, watched: _Watched) -> Conclusion:
        silent_s = self._clock() - watched.seen_at_s
        how = f"no heartbeat for {silent_s:.0f} s"
        machine_id = watched.row.machine_id
        others = [
            each
            for each in self._watched.values()
            if each is not watched and machine_id and each.row.machine_id == machine_id
        ]
        heard = [e for e in others if self._clock() - e.seen_at_s <= self._lease.elsewhere_s]
        if any(each.row.stopped_at_us is None for each in heard):
            how += ", but other workers of its machine are heard of"
            has_stopped = watched.row.stopped_at_us is not None
            return unseen(self._memory(watched, Memory()), how, has_stopped=has_stopped)
        return Conclusion(HOST_GONE, False, (how, "nor from any other worker of its machine"))

    def _own_lease_s(self, row: WorkerNow) -> float:
        """Three times the pause that the worker itself keeps between heartbeats."""
        with self._store.reading() as connection:
            beats = losing.heartbeats_of(connection, row.worker_key, _MOST_BEATS)
        at = [beat.at_us for beat in beats]
        pauses = [later - earlier for later, earlier in itertools.pairwise(at)]
        return 3 * max(pauses, default=0) / _US + 5.0

    def _is_gone_for(self, watched: _Watched, wait_s: float) -> bool:
        if watched.gone_at_s is None:
            watched.gone_at_s = self._clock()
        return self._clock() - watched.gone_at_s >= wait_s

    def _conclude(self, watched: _Watched, ended: Exit | None, memory: Memory) -> Conclusion:
        has_stopped = watched.row.stopped_at_us is not None
        return conclude(ended, self._memory(watched, memory), has_stopped=has_stopped)

    def _memory(self, watched: _Watched, memory: Memory) -> Memory:
        """What heartbeats said of memory, beside what was seen of the process."""
        with self._store.reading() as connection:
            beats = losing.heartbeats_of(connection, watched.row.worker_key, _MOST_BEATS)
            open_ones = losing.open_attempts(connection, [watched.row.worker_key])
            said_so = any(losing.said_memory_error(connection, each) for each in open_ones[:100])
        return memory._replace(was_full=_was_full(beats), said_so=said_so)

    # --- the end -----------------------------------------------------------------------------

    def _bury(self, watched: _Watched, why: Conclusion) -> int:
        """Report what a dead worker had open; how many jobs that was."""
        row = watched.row
        if not is_taken_in(self._folder, row):
            return 0
        with self._store.reading() as connection:
            if not losing.open_attempts(connection, [row.worker_key]):
                return 0
        now_us = round(self._now() * _US)
        reason = f"{why.cause}: {'; '.join(why.evidence)}"
        with self._store.writing() as connection:
            # As they are now: what was taken in meanwhile counts.
            open_ones = losing.open_attempts(connection, [row.worker_key])
            details, is_void = self._claims.details, self._claims.is_void
            claimed = losing.claim(connection, open_ones, now_us, reason, details, is_void)
        for each in claimed:
            self._tell(watched, each, why)
        return len(claimed)

    def _tell(self, watched: _Watched, attempt: OpenAttempt, why: Conclusion) -> None:
        row, seen_us = watched.row, attempt.seen_at_us
        started_us = min(attempt.started_at_us or seen_us, seen_us)
        data = {
            **why.data(),
            "last_seen_at": _rfc3339(seen_us),
            "seen_for_s": (seen_us - started_us) / _US,
            "lost_worker_id": row.worker_id,
            "lost_machine_id": row.machine_id,
            "lost_pid": row.pid,
        }
        data = {name: value for name, value in data.items() if value is not None}
        job = _job(attempt)
        if conclude_lost(job, data, started_ns=started_us * 1000, seen_ns=seen_us * 1000):
            watched.told = (*watched.told, attempt)
            self.lost[why.cause] = self.lost.get(why.cause, 0) + 1

    # --- the journal -------------------------------------------------------------------------

    def _has_journal(self, stem: str) -> bool:
        return bool(segment_files(self._folder, stem))


def _place(row: WorkerNow) -> tuple[object, ...]:
    """What changes with each record that comes in."""
    return row.segment, row.offset_bytes, row.heartbeat_at_us


def _identity(row: WorkerNow) -> _Identity | None:
    try:
        boot_id, namespace, ticks = json.loads(row.resource or "{}")["fiveobs.process"].split("/")
        return _Identity(boot_id, namespace, int(ticks))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _was_full(beats: Iterable[Any]) -> str:
    """How full memory was at the last heartbeat, or was about to be by how the process grew."""
    found = [beat for beat in beats if beat.memory_limit_bytes and beat.memory_used_bytes]
    if not found:
        return ""
    last, first = found[0], found[-1]
    used, limit = last.memory_used_bytes, last.memory_limit_bytes
    grew = max(0, (last.memory_rss_bytes or 0) - (first.memory_rss_bytes or 0))
    steps = max(1, len(found) - 1)
    if used < _FULL * limit and used + grew / steps < limit:
        return ""
    return (
        f"memory was {used / _MIB:.0f} MiB of {limit / _MIB:.0f} MiB at the last heartbeat, and "
        f"the process grew by {grew / steps / _MIB:.0f} MiB between two"
    )


def _job(attempt: OpenAttempt) -> JobOfOthers:
    return JobOfOthers(**{name: getattr(attempt, name) for name in JobOfOthers._fields})


def _rfc3339(at_us: int) -> str:
    seconds, us = divmod(at_us, _US)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{us:06d}Z"
