"""A store, workers whose journals are written by hand, and a monitor that looks when told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import insert, select

from fiveobs.monitor.control import Control, Requester
from fiveobs.monitor.coordination.projector import Projector
from fiveobs.monitor.coordination.reconciler import Reconciler
from fiveobs.monitor.coordination.states import Setter, States
from fiveobs.monitor.store import coordinating
from fiveobs.monitor.store.coordinating import EntityRow, Place
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import entities, projects
from tests.support.ingesting import Taking
from tests.support.journals import START_NS, line, write_segment

__all__ = ["House", "Worker", "make_project"]

ALICE = Setter("alice", "t1", "the database moves")


def make_project(store: Store, *names: str) -> int:
    """Make a project in an empty store; its key."""
    tenant_id, project_id = names or ("default", "default")
    with store.writing() as connection:
        keys = connection.execute(select(projects.c.project_key)).scalars().all()
        values = {"tenant_id": tenant_id, "project_id": project_id, "created_at_us": 1}
        values["project_key"] = len(keys) + 1
        connection.execute(insert(projects).values(values))
    return len(keys) + 1


class Worker:
    """One process of a worker; what it says is taken in by the house at its next look."""

    def __init__(self, house: House, worker_id: str, service: str, pid: int) -> None:
        self._house = house
        self._count = 0
        self._fields = {"worker_id": worker_id, "machine_id": "m1", "service": service}
        self.stem = f"host-{pid}-1767323045000000"
        self.say("worker.started", data={"pid": pid, "resource": {}})

    def say(self, event_type: str, **fields: Any) -> None:
        self._count += 1
        text = line(self._count, event_type, after_s=self._house.at_s, **{**self._fields, **fields})
        write_segment(self._house.home, self.stem, 1, text)

    def job(self, job_id: str, event_type: str, run: int = 1, **fields: Any) -> None:
        """Say something of a job; each run has a span of its own."""
        same = {"job_id": job_id, "job_name": "etl", "attempt": 1, "span_id": f"{run:016x}"}
        self.say(event_type, **{**same, **fields})

    def beat(self, *jobs: str, **figures: Any) -> None:
        """Give a sign of life."""
        data = {"active_jobs": len(jobs), "cpu_s": 1.0, "jobs": [], **figures}
        self.say("worker.heartbeat", data=data)


class House:
    """What is there, and a clock that stands still."""

    def __init__(self, store: Store, home: Path) -> None:
        self.store = store
        self.home = home
        self.at_s = 0.0
        self.reports: list[tuple[str, str]] = []
        self._pid = 6
        self.projector = self.make_projector()
        self.control = Control(store, home, now=self.now)
        self.reconciler = Reconciler(
            store, home, self.control, clock=lambda: self.at_s, now=self.now
        )
        self.states = States(store, now=self.now)

    def make_projector(self) -> Projector:
        def report(cause: str, text: str) -> None:
            self.reports.append((cause, text))

        clock = lambda: self.at_s  # noqa: E731 - it is asked again and again
        return Projector(self.store, report=report, clock=clock, now=self.now)

    def now(self) -> float:
        return START_NS / 1e9 + self.at_s

    def worker(self, worker_id: str = "w1", service: str = "mining") -> Worker:
        self._pid += 1
        return Worker(self, worker_id, service, self._pid)

    def take(self) -> None:
        """Take in what was said, without anybody observing it."""
        # One that begins anew looks at every file at once.
        taking = Taking(self.store, self.home)
        taking.all()
        assert taking.reports == []

    def look(self, after_s: float = 1.0) -> int:
        """Take in what was said, wait, and observe; how many changes that were."""
        self.take()
        self.at_s += after_s
        return self.projector.step()

    def settle(self, after_s: float = 1.0) -> None:
        """Look, have jobs follow what is desired, and look what came of it."""
        self.look(after_s)
        self.reconciler.step()
        self.control.settle()
        self.look(0.0)

    # --- what is kept ------------------------------------------------------------------------

    def row(self, kind: str, entity_id: str) -> EntityRow:
        with self.store.reading() as connection:
            found = coordinating.entity_of(connection, Place(1, kind, entity_id))
        assert found is not None, f"nothing is kept of {kind} {entity_id}"
        return found

    def observed(self, kind: str, entity_id: str) -> dict[str, Any]:
        return {**orjson.loads(self.row(kind, entity_id).observed or "{}")}

    def health(self, kind: str, entity_id: str) -> str | None:
        return self.row(kind, entity_id).health

    def changes(self) -> list[int]:
        """The latest change of each entity."""
        with self.store.reading() as connection:
            keys = connection.execute(select(entities.c.change_key)).scalars().all()
        return sorted(keys)

    @property
    def who(self) -> Requester:
        return Requester(1, "default", "default", "alice", "t1")
