"""The processes of workers that the projector of state keeps in mind, by what they belong to.

One thread uses it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from fiveobs.monitor.coordination.observing import FULL, SILENT_S, Process, process_health
from fiveobs.monitor.store.coordinating import JOB, MACHINE, SERVICE, WORKER, Place
from fiveobs.monitor.store.observing import WorkerNow

__all__ = ["Processes", "places_of"]

_US = 1_000_000


@dataclass(slots=True)
class _Kept:
    row: WorkerNow
    #: When its last sign of life came in here, in monotonic seconds; its own clock may be wrong.
    heard_at_s: float
    #: What it belongs to.
    places: set[Place] = field(default_factory=set)
    #: The jobs that it has begun and not ended: ids by key.
    held: dict[int, str] = field(default_factory=dict)
    has_lost: bool = False
    has_stuck: bool = False
    #: As it was when it was last looked at.
    shown: Process | None = None


class Processes:
    """Which there are, and how they are."""

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}
        self._members: dict[Place, set[int]] = {}

    @property
    def keys(self) -> Collection[int]:
        """Those that have not ended."""
        return self._kept.keys()

    def add(self, rows: Iterable[WorkerNow], now_s: float, now_us: int | None = None) -> None:
        """Keep processes that are not kept yet.

        Args:
            rows: As they are.
            now_s: Monotonic seconds.
            now_us: Microseconds since 1970: its clock says whether it is silent already. ``None``:
                something was heard of it just now.
        """
        for row in rows:
            if row.worker_key not in self._kept:
                heard_at_us = row.heartbeat_at_us if now_us is not None else None
                silent_s = ((now_us or 0) - heard_at_us) / _US if heard_at_us else 0.0
                # Its clock may be wrong: it is not said to have ended without having waited.
                heard_at_s = now_s - min(max(silent_s, 0.0), SILENT_S + 1.0)
                self._kept[row.worker_key] = _Kept(row, heard_at_s)
                self._join(self._kept[row.worker_key])

    def _join(self, kept: _Kept) -> None:
        for place in places_of(kept.row):
            self._members.setdefault(place, set()).add(kept.row.worker_key)
            kept.places.add(place)

    def refresh(self, rows: Iterable[WorkerNow], now_s: float) -> Iterator[int]:
        """Take over how they are now; gives those of which something was heard."""
        for row in rows:
            kept = self._kept[row.worker_key]
            before, kept.row = kept.row, row
            if row.heartbeat_at_us != before.heartbeat_at_us:
                kept.heard_at_s = now_s
                yield row.worker_key
            self._join(kept)

    def hold(self, key: int, held: Iterable[tuple[int, str]], stuck: Collection[int]) -> None:
        """Say what one has begun and not ended, and which of that is stuck."""
        kept = self._kept[key]
        kept.held = dict(held)
        kept.has_stuck = any(job_key in stuck for job_key in kept.held)

    def lose(self, keys: Collection[int], lost: Collection[int]) -> None:
        """Say of which of some a job is lost."""
        for key in keys:
            self._kept[key].has_lost = key in lost

    def look(self, now_s: float) -> tuple[set[Place], set[int]]:
        """How they are now: the entities whose processes changed, and jobs whose worker did."""
        changed: set[Place] = set()
        jobs: set[int] = set()
        for kept in self._kept.values():
            before, kept.shown = kept.shown, _process(kept, now_s)
            if before is None or before._replace(seen_at_us=None) != kept.shown._replace(
                seen_at_us=None
            ):
                changed.update(places_of(kept.row))
                if before is not None and before.health != kept.shown.health:
                    jobs.update(kept.held)
        return changed, jobs

    def of(self, place: Place) -> list[Process]:
        """The processes of a worker, a machine or a service, the newest last."""
        found = (self._kept.get(key) for key in sorted(self._members.get(place, ())))
        return [each.shown for each in found if each is not None and each.shown is not None]

    def places(self, kind: str) -> list[Place]:
        """The entities of a kind that have processes."""
        return [place for place in self._members if place.kind == kind]

    def health_of(self, key: int | None) -> str | None:
        """How one is; ``None`` if it is not kept."""
        kept = None if key is None else self._kept.get(key)
        return None if kept is None or kept.shown is None else kept.shown.health

    def service_of(self, key: int | None) -> str | None:
        """The service that one belongs to."""
        kept = None if key is None else self._kept.get(key)
        return None if kept is None else kept.row.service

    def seen(self) -> dict[Place, int]:
        """The last sign of life of each entity and of its jobs, in microseconds since 1970."""
        found: dict[Place, int] = {}
        for kept in self._kept.values():
            jobs = (Place(kept.row.project_key, JOB, each) for each in kept.held.values())
            for place in (*places_of(kept.row), *jobs):
                found[place] = max(found.get(place, 0), kept.row.heartbeat_at_us or 0)
        return found

    def forget_ended(self) -> None:
        """Let those go that have ended, once that is stored."""
        for key, kept in list(self._kept.items()):
            if kept.shown is not None and not kept.shown.is_there:
                del self._kept[key]
                for place in kept.places:
                    self._members[place].discard(key)
                    if not self._members[place]:
                        del self._members[place]


def places_of(row: WorkerNow) -> list[Place]:
    """The entities that a process belongs to."""
    found = [Place(row.project_key, WORKER, row.worker_id or row.stem)]
    if row.machine_id:
        found.append(Place(row.project_key, MACHINE, row.machine_id))
    if row.service:
        found.append(Place(row.project_key, SERVICE, row.service))
    return found


def _process(kept: _Kept, now_s: float) -> Process:
    row = kept.row
    health = process_health(
        silent_s=now_s - kept.heard_at_s,
        has_stopped=row.stopped_at_us is not None,
        has_lost=kept.has_lost,
        has_open=bool(kept.held),
        has_stuck=kept.has_stuck,
    )
    used, limit = row.memory_used_bytes, row.memory_limit_bytes
    return Process(
        worker_id=row.worker_id or row.stem,
        machine_id=row.machine_id,
        service=row.service,
        seen_at_us=row.heartbeat_at_us,
        health=health,
        job_ids=tuple(sorted(kept.held.values())) if health != "ended" else (),
        is_memory_full=bool(used and limit and used >= FULL * limit),
    )
