"""Turns the jobs of a trace into journal lines, as a worker that ran them would have written them.

Ids follow from the trace alone, so importing it once more says nothing new. Lines are in the order
of their times; what waits for its turn is at most what waited and ran at once in the trace.
"""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from fiveobs._ids import rfc3339
from fiveobs.cli._swf import CANCELLED, COMPLETED, FAILED, Job
from fiveobs.journal.segments import OPEN_FLAGS, segment_path

__all__ = ["Importing", "kind_of", "write_segments"]

_NS = 1_000_000_000
_KIB = 1024
_ENDINGS = {FAILED: "failed", COMPLETED: "completed", CANCELLED: "cancelled", -1: "completed"}
#: Of these the journal's segments are made.
SEGMENT_BYTES = 16 * 1024 * 1024


def kind_of(job: Job) -> str:
    """What the job does, as far as the trace tells: its application, of its user.

    Users name their applications as they like, so the same number may be another program for
    another user.
    """
    parts = [
        f"{name}-{number}"
        for name, number in (("user", job.user), ("app", job.application))
        if number is not None
    ]
    return "-".join(parts) or "job"


class Importing:
    """Makes the lines of one trace.

    Args:
        digest: Names the trace, in hex digits; 16 or more.
        service: The service that the jobs are to belong to.
        owner: Attributes of a worker's resource that say whose the jobs are.
    """

    def __init__(self, digest: str, service: str, owner: Mapping[str, str]) -> None:
        self.digest, self.service, self.machine = digest, service, f"swf-{digest[:8]}"
        self._resource = {"service.name": service, **owner}
        #: Jobs by what became of them: how they ended, or why they were left out.
        self.counts: Counter[str] = Counter()
        #: When the trace began, in seconds since 1970.
        self.start_s = 0
        self._planned = self._said = 0
        #: Lines to come: when, a number that keeps the order, type, and the other fields.
        self._coming: list[tuple[int, int, str, dict[str, Any]]] = []
        self._latest_ns = 0

    @property
    def stem(self) -> str:
        """The name of the journal."""
        return f"import_swf-0-{int(self.digest[:13], 16)}"

    def lines(self, jobs: Iterable[Job]) -> Iterator[bytes]:
        """The lines of some jobs, which are in the order in which they were submitted."""
        started = False
        for job in jobs:
            if job.is_part:  # the line of the whole has their time in it
                self.counts["parts"] += 1
                continue
            at_ns = self._at_ns(job.submitted_s)
            if not started:
                data = {"resource": self._resource, "pid": 0}
                yield self._line(at_ns, "worker.started", {"data": data})
                started = True
            yield from self._due(at_ns)
            self._take(job, at_ns)
        yield from self._due(None)
        if started:
            yield self._line(self._latest_ns, "worker.stopped", {"data": {"active_jobs": 0}})

    def _at_ns(self, submitted_s: float) -> int:
        return round((self.start_s + submitted_s) * _NS)

    def _due(self, until_ns: int | None) -> Iterator[bytes]:
        while self._coming and (until_ns is None or self._coming[0][0] <= until_ns):
            at_ns, _, event_type, fields = heapq.heappop(self._coming)
            yield self._line(at_ns, event_type, fields)

    def _take(self, job: Job, at_ns: int) -> None:
        """Plan what there is to say of a job."""
        ending = _ENDINGS[job.status]
        if job.run_s is None and ending != "cancelled":
            self.counts["without a run time"] += 1
            return
        self.counts["status unknown" if job.status == -1 else ending] += 1
        told = _told(job)
        self._plan(job, at_ns, "job.received", {"attributes": told, **_queue(job)})
        wait_s, run_s = job.wait_s or 0.0, job.run_s
        began_ns = at_ns + round(wait_s * _NS)
        if run_s is None or (run_s == 0 and ending == "cancelled"):
            self._plan(job, began_ns, "job.cancelled", {"status": "cancelled"})
            return
        waited = {} if job.wait_s is None else {"queue_wait_s": wait_s}
        self._plan(job, began_ns, "job.started", {"attributes": told, **_queue(job), **waited})
        ended_ns = began_ns + round(run_s * _NS)
        self._plan(job, ended_ns, f"job.{ending}", _ended(job, run_s, ending))

    def _plan(self, job: Job, at_ns: int, event_type: str, data: dict[str, Any]) -> None:
        self._planned += 1
        job_id = f"swf-{self.digest[:16]}-{job.number}"
        named = {"job_name": kind_of(job), "job_id": job_id, "attempt": 1, "data": data}
        heapq.heappush(self._coming, (at_ns, self._planned, event_type, named))

    def _line(self, at_ns: int, event_type: str, fields: dict[str, Any]) -> bytes:
        self._latest_ns = max(self._latest_ns, at_ns)
        self._said += 1
        record = {
            "id": f"{self.digest[:16]}-{self._said}",
            "seq": self._said,
            "timestamp": rfc3339(at_ns),
            "event_type": event_type,
            "level": "error" if event_type == "job.failed" else "info",
            "message": f"{fields.get('job_name', 'import')} {event_type.partition('.')[2]}",
            "worker_id": f"{self.machine}/swf",
            "machine_id": self.machine,
            "service": self.service,
            **fields,
        }
        return orjson.dumps(record) + b"\n"


def _queue(job: Job) -> dict[str, str]:
    return {} if job.queue is None else {"queue": f"queue-{job.queue}"}


def _told(job: Job) -> dict[str, Any]:
    """The attributes of a job: what the trace says of it, with units."""
    requested = job.requested_memory_kib
    found = {
        "submitted_by": None if job.user is None else f"user-{job.user}",
        "user_group": job.group,
        "application": job.application,
        "partition": job.partition,
        "processors": job.processors,
        "requested_processors": job.requested_processors,
        "requested_s": job.requested_s,
        "requested_memory_bytes": None if requested is None else round(requested * _KIB),
        "preceding_job": job.preceding,
        "think_s": job.think_s,
    }
    return {name: value for name, value in found.items() if value is not None}


def _ended(job: Job, run_s: float, ending: str) -> dict[str, Any]:
    """What is said of a job at its end; CPU time and memory are those of all its processors."""
    found: dict[str, Any] = {"status": ending, "duration_s": run_s}
    processors = job.processors or 1
    if job.cpu_s is not None:
        found["cpu_s"] = job.cpu_s * processors
    if job.memory_kib is not None:
        found["memory_rss_bytes"] = round(job.memory_kib * _KIB * processors)
    if ending == "failed":
        found["error"] = {"type": "Failed", "message": "status 0 in the trace"}
    return found


def write_segments(folder: Path, stem: str, lines: Iterable[bytes]) -> int:
    """Write a journal; a segment is there as a whole or not at all.

    Args:
        folder: Where the journals lie; made if it is not there.
        stem: The journal's name. Its segments of the same number are replaced.
        lines: What is in it.

    Returns:
        How many segments there are.

    Raises:
        OSError: It cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    number = 0
    for number, content in enumerate(_segments(lines), 1):
        unfinished = folder / f"{stem}.part"
        with os.fdopen(os.open(unfinished, _FLAGS, 0o600), "wb") as file:
            file.write(content)
        unfinished.replace(segment_path(folder, stem, number))
    return number


_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | OPEN_FLAGS


def _segments(lines: Iterable[bytes]) -> Iterator[bytes]:
    content = bytearray()
    for line in lines:
        content += line
        if len(content) >= SEGMENT_BYTES:
            yield bytes(content)
            content.clear()
    if content:
        yield bytes(content)
