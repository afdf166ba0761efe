"""What the demo knows about its workers: read from the journal files, line by line.

Any other program could do the same: a journal is a folder of files of JSON lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Ended", "Journal", "State", "Worker"]

_ENDINGS = ("job.completed", "job.failed", "job.interrupted", "job.cancelled", "job.stopped")
#: What only the worker that has the job records; a monitor, for one, reports a lost job as well.
_WORK = ("job.started", "stage.started", *_ENDINGS)


class Journal:
    """Gives the records that are new since the last look, of every process.

    Args:
        home: The ``FIVEOBS_HOME``; what is there already is passed over.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "journal"
        self._offsets = {path: path.stat().st_size for path in self._folder.glob("*.log")}

    def new_records(self) -> Iterator[dict[str, Any]]:
        """Every whole new line; half a line waits for the next look."""
        for path in sorted(self._folder.glob("*.log")):
            offset = self._offsets.get(path, 0)
            with path.open("rb") as file:
                file.seek(offset)
                lines, end, _rest = file.read().rpartition(b"\n")
            self._offsets[path] = offset + len(lines) + len(end)
            yield from (json.loads(line) for line in lines.splitlines() if line)


@dataclass
class Worker:
    """What the journal says of one worker."""

    name: str
    #: The file it works on, and the job; empty between jobs.
    path: str = ""
    job_id: str = ""
    stage: str = ""
    done: int = 0
    failed: int = 0
    #: Whether the process was found dead; the journal does not say that.
    is_dead: bool = False


@dataclass(frozen=True)
class Ended:
    """How a job ended."""

    job_id: str
    trace_id: str
    worker: str
    error: str = ""


@dataclass
class State:
    """What the journal says of the session."""

    session_id: str
    #: Job id to the file it is about.
    paths: dict[str, str]
    workers: dict[str, Worker] = field(default_factory=dict)
    ended: dict[str, Ended] = field(default_factory=dict)
    lines_indexed: int = 0
    #: Ids of all events, by worker.
    event_ids: dict[str, list[str]] = field(default_factory=dict)
    #: Jobs that have ended, each attempt counted.
    endings: int = 0

    @property
    def failed(self) -> list[Ended]:
        """The jobs that failed."""
        return [each for each in self.ended.values() if each.error]

    def take(self, record: dict[str, Any]) -> None:
        """Learn from one record."""
        if record["event_type"] in ("metric", "span", "envelope"):
            return  # parts of other tracks on their way out, no events
        name = record["worker_id"]
        self.event_ids.setdefault(name, []).append(record["id"])
        if record.get("session_id") != self.session_id or record.get("job_id") not in self.paths:
            return
        if record["event_type"] in _WORK:
            self._take(self.workers.setdefault(name, Worker(name)), record)

    def _take(self, worker: Worker, record: dict[str, Any]) -> None:
        kind, job_id = record["event_type"], record["job_id"]
        if kind == "job.started":
            worker.job_id, worker.path, worker.stage = job_id, self.paths[job_id], ""
        elif kind == "stage.started":
            worker.stage = record["data"]["stage"]
        elif kind in _ENDINGS:
            self._end(worker, record)

    def _end(self, worker: Worker, record: dict[str, Any]) -> None:
        error = ""
        if record["event_type"] != "job.completed":
            error = (record["data"].get("error") or {}).get("type", record["event_type"])
        worker.done += not error
        worker.failed += bool(error)
        worker.job_id = worker.path = worker.stage = ""
        self.endings += 1
        self.lines_indexed += record["data"].get("result", {}).get("lines", 0)
        job_id = record["job_id"]
        self.ended[job_id] = Ended(job_id, record["trace_id"], worker.name, error)
