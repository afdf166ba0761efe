"""A job told line by line, taken into a store of its own, and looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.tracker import Tracker
from tests.support.ingesting import Taking
from tests.support.journals import START_NS, line, write_segment
from tests.support.stores import open_sqlite

__all__ = ["JOB", "PROJECT", "Story", "story"]

JOB = "job-1"
PROJECT = 1


class Story:
    """What one worker's journal says of a job; taken in and asked about."""

    def __init__(self, home: Path, store: Store) -> None:
        self._home, self._store = home, store
        self._lines: list[bytes] = []
        self._others: list[bytes] = []
        self._seq = 0
        data = {"resource": {}, "pid": 1, "cpu_count": 2}
        self.worker_says(0, "worker.started", data=data)

    def worker_says(self, at_s: float, event_type: str, **fields: Any) -> None:
        """A line of the worker; the fields are those of the line."""
        fields = {"service": "s", "worker_id": "w", "machine_id": "m", **fields}
        self._seq += 1
        self._lines.append(line(self._seq, event_type, after_s=at_s, **fields))

    def other_says(self, at_s: float, event_type: str, **fields: Any) -> None:
        """A line of another process."""
        self._seq += 1
        self._others.append(line(self._seq, event_type, after_s=at_s, **fields))

    def says(self, at_s: float, event_type: str, **data: Any) -> None:
        """An event of the job; ``fields`` are those of the line, the others its data."""
        fields = data.pop("fields", {})
        fields = {"job_id": JOB, "job_name": "n", "attempt": 1, "span_id": "ab" * 8, **fields}
        fields = {name: value for name, value in fields.items() if value is not None}
        level = "error" if event_type.endswith(".failed") else "info"
        self.worker_says(at_s, event_type, **{"level": level, "data": data, **fields})

    def stage(self, at_s: float, name: str, index: int, done: float, **known: Any) -> float:
        """A stage that took as long as ``takes_s`` says; returns its end."""
        takes_s = known.pop("takes_s", 10.0)
        known = {"stage": name, "index": index, "unit": "records", **known}
        self.says(at_s, "stage.started", **known)
        figures = {"done": done, "duration_s": takes_s, "rate_per_s": done / takes_s}
        self.says(at_s + takes_s, "stage.completed", **known, **figures)
        return at_s + takes_s

    def tracker(self, now_s: float) -> Tracker:
        """All of it taken in, and looked at so many seconds after the beginning."""
        write_segment(self._home, "w-1-1767323045000000", 1, *self._lines)
        write_segment(self._home, "other-2-1767323045000000", 1, *self._others)
        self._lines.clear()
        self._others.clear()
        taking = Taking(self._store, self._home)
        taking.all()
        assert taking.reports == []
        return Tracker(self._store, now=lambda: START_NS / 1e9 + now_s)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """One that has not begun."""
    store = open_sqlite(tmp_path / "store.sqlite3")
    yield Story(tmp_path, store)
    store.close()
