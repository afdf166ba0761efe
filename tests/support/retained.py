"""Old jobs, and what is left of them: written as journals, taken in, cleaned long after."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fiveobs.journal.locks import StemLock
from fiveobs.monitor.retention.cleaner import Cleaner, Passed
from fiveobs.monitor.retention.policy import Policy
from fiveobs.monitor.store import schema
from fiveobs.monitor.store.engine import Store
from tests.support.ingesting import Taking, rows
from tests.support.journals import START_NS, line, write_segment

__all__ = ["DAY_S", "START_S", "Past", "at_day", "everything"]

DAY_S = 86_400.0
#: When the made-up time begins, in seconds since 1970.
START_S = START_NS / 1e9


def at_day(day: float) -> Callable[[], float]:
    """A clock that stands still so many days after the beginning."""
    return lambda: START_S + day * DAY_S


def everything(store: Store) -> dict[str, list[Any]]:
    """Every row of every table."""
    return {table: rows(store, table) for table in schema.metadata.tables}


class Past:
    """A store and the journals of workers, written by hand.

    Args:
        store: Where they are taken in.
        home: The ``FIVEOBS_HOME``.
    """

    def __init__(self, store: Store, home: Path) -> None:
        self.store = store
        self.taking = Taking(store, home)
        self._home = home
        self._living: dict[str, StemLock] = {}
        self._count = 0

    def say(self, at_s: float, event_type: str, *, stem: str = "host-1-1", **fields: Any) -> None:
        """One line, so many seconds after the beginning."""
        self._count += 1
        written = line(self._count, event_type, after_s=at_s, **fields)
        path = write_segment(self._home, stem, 1, written)
        if stem not in self._living:
            # Held, as a worker that lives does: else the journal is looked at less often.
            self._living[stem] = StemLock(path.with_name(f"{stem}.lock"))
            assert self._living[stem].acquire(create=True)

    def worker(self, stem: str, tenant_id: str, project_id: str, at_s: float = 0.0) -> None:
        """A worker of a project."""
        resource = {"fiveobs.tenant.id": tenant_id, "fiveobs.project.id": project_id}
        self.say(at_s, "worker.started", stem=stem, data={"pid": 1, "resource": resource})

    def job(
        self,
        job_id: str,
        end: str = "completed",
        at_s: float = 0.0,
        *,
        took_s: float = 1.0,
        name: str = "etl",
        **fields: Any,
    ) -> None:
        """A job that ended so then, with a log line, a bad one, and a measure."""
        fields |= {"job_id": job_id, "job_name": name, "service": "s"}
        self.say(at_s - took_s, "job.started", span_id="ab" * 8, **fields)
        self.say(at_s - took_s, "log", message="fine", **fields)
        error = {"type": "ValueError", "message": "no"}
        self.say(at_s, "log", level="error", message="bad", data={"error": error}, **fields)
        measure = {"kind": "counter", "name": "n", "value": 2.0, "unit": "", "labels": {}}
        self.say(at_s, "metric", data=measure, **fields)
        if end != "running":
            data = {"duration_s": took_s} | ({"error": error} if end == "failed" else {})
            self.say(at_s, f"job.{end}", data=data, span_id="ab" * 8, **fields)

    def end(self) -> None:
        """Give up the journals."""
        for each in self._living.values():
            each.release(remove=True)

    def take(self) -> None:
        """Take in what was written."""
        self.taking.all()
        assert self.taking.reports == [], self.taking.reports

    def cleaner(self, day: float, policy: Policy | None = None) -> Cleaner:
        """One to whom it is so many days after the beginning."""
        return Cleaner(self.store, policy or Policy(), now=at_day(day))

    def clean(self, day: float, policy: Policy | None = None) -> Passed:
        """Take out what has expired so many days after the beginning."""
        passed = self.cleaner(day, policy).clean(threading.Event())
        assert passed.is_complete
        return passed

    def logs(self, job_id: str) -> list[str]:
        """The log lines of a job that are left."""
        keys = {each[1]: each[0] for each in rows(self.store, "jobs", "job_key", "job_id")}
        found = rows(self.store, "events", "job_key", "event_type", "message")
        key = keys.get(job_id)
        return [text for job_key, kind, text in found if job_key == key and kind == "log"]

    def jobs(self) -> list[str]:
        """The jobs that are left."""
        return rows(self.store, "jobs", "job_id")
