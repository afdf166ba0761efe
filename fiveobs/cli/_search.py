"""Finds every record of one id in all journals, and sums up what it says about jobs.

Reads every file once, passing over whole pieces that do not hold the id. What is kept in memory is
bounded: the latest records, and one small summary for each job.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fiveobs.cli._journals import chunks, stems
from fiveobs.cli._records import escaped, ids_of, is_part_of, parsed
from fiveobs.journal.adoption import cursor_tracks
from fiveobs.journal.cursors import CursorState, Position, cursor_path, load_cursor
from fiveobs.journal.records import NOT_EVENTS, WANTS, record_type

__all__ = ["SINGLE", "Group", "Hit", "JobSummary", "Search", "Shipping"]

#: With more candidates than this the id is ambiguous for sure, and only counts are kept.
_MAX_CANDIDATES = 100
_HEX = re.compile(r"[0-9a-fA-F-]+")
#: Ids that name one record: what is found by them is completed by the rest of its job.
SINGLE = frozenset(("id", "sentry_event_id"))
#: Ids of one record are taken whole only: their beginning is that of a thousand others.
_WHOLE_ONLY = frozenset(("id",))

_STATUS_EVENTS = {
    "job.received": "received",
    "job.started": "running",
    "job.progress": "running",
    "job.resumed": "running",
    "job.paused": "paused",
    "job.retrying": "retrying",
    "job.completed": "completed",
    "job.failed": "failed",
    "job.stopped": "stopped",
    "job.cancelled": "cancelled",
    "job.interrupted": "interrupted",
    "job.lost": "lost",
}


class Hit(NamedTuple):
    """A record and where it lies; sorts by time."""

    timestamp: str
    stem: str
    position: Position
    line: bytes


@dataclass(slots=True)
class JobSummary:
    """What the records found say about one job."""

    job_id: str
    name: str = ""
    service: str = ""
    status: str = "unknown"
    status_at: str = ""
    duration_s: float | None = None
    attempts: int = 1
    error: str = ""
    parent_job_id: str = ""
    first_at: str = ""
    last_at: str = ""

    def add(self, record: dict[str, Any]) -> None:
        """Take in one record of the job."""
        at = str(record.get("timestamp", ""))
        self.first_at = min(self.first_at or at, at)
        self.last_at = max(self.last_at, at)
        self.name = str(record.get("job_name") or self.name)
        self.service = str(record.get("service") or self.service)
        self.parent_job_id = str(record.get("parent_job_id") or self.parent_job_id)
        if isinstance(attempt := record.get("attempt"), int):
            self.attempts = max(self.attempts, attempt)
        status = _STATUS_EVENTS.get(str(record["event_type"]))
        if status and at >= self.status_at:
            self.status, self.status_at = status, at
            self._ended(record)

    def _ended(self, record: dict[str, Any]) -> None:
        data = record.get("data") or {}
        duration_s = data.get("duration_s")
        self.duration_s = float(duration_s) if isinstance(duration_s, int | float) else None
        error = data.get("error")
        if isinstance(error, dict):
            self.error = ": ".join(str(error[key]) for key in ("type", "message") if error.get(key))
        else:
            self.error = str(error or "")


@dataclass(slots=True)
class Group:
    """All records that have one id."""

    value: str
    #: What the id is: ``job_id``, ``trace_id`` and so on.
    kinds: set[str] = field(default_factory=set)
    count: int = 0
    #: The latest records, a heap.
    hits: list[Hit] = field(default_factory=list)
    jobs: dict[str, JobSummary] = field(default_factory=dict)
    #: Jobs that have the id as their parent's, with their names.
    children: dict[str, str] = field(default_factory=dict)
    #: Every other id of the records, by field, in the order in which they were met.
    ids: dict[str, dict[str, None]] = field(default_factory=dict)
    first_at: str = ""
    last_at: str = ""

    def note(self, hit: Hit, kinds: set[str]) -> None:
        """Count a record without looking into it."""
        self.count += 1
        self.kinds |= kinds
        self.first_at = min(self.first_at or hit.timestamp, hit.timestamp)
        self.last_at = max(self.last_at, hit.timestamp)

    def add(self, hit: Hit, record: dict[str, Any], limit: int) -> None:
        """Take in one record."""
        self.note(hit, set())
        for kind, value in ids_of(record):
            if kind not in ("id", "span_id", "parent_job_id"):
                self.ids.setdefault(kind, {})[value] = None
        if job_id := record.get("job_id"):
            self.jobs.setdefault(str(job_id), JobSummary(str(job_id))).add(record)
        if len(self.hits) < limit:
            heapq.heappush(self.hits, hit)
        else:
            heapq.heappushpop(self.hits, hit)


class Search:
    """One look through all journals.

    Args:
        folder: The journal folder.
        wanted: An id, or 6 or more characters of its beginning or end.
        limit: How many records to keep for each id; the latest ones.
    """

    def __init__(self, folder: Path, wanted: str, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._wanted = _spellings(wanted)
        self._needles = tuple(escaped(each) for each in self._wanted)
        self._exact: dict[str, Group] = {}
        self._partial: dict[str, Group] = {}
        #: What was looked through.
        self.files = 0
        self.records = 0

    def run(self) -> list[Group]:
        """The ids that were found: one, or several if the text could mean any of them."""
        for stem, segments in stems(self._folder).items():
            for number, path in segments:
                self.files += 1
                self._file(stem, number, path)
        exact, partial = (
            [group for group in groups.values() if group.count or group.children]
            for groups in (self._exact, self._partial)
        )
        return exact or partial

    def _file(self, stem: str, number: int, path: Path) -> None:
        for offset, chunk in chunks(path):
            self.records += chunk.count(b"\n")
            if any(needle in chunk for needle in self._needles):
                for at, line in self._lines(chunk):
                    self._line(line, stem, Position(number, offset + at))

    def _lines(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        at = 0
        for line in chunk.split(b"\n"):
            if any(needle in line for needle in self._needles):
                yield at, line
            at += len(line) + 1

    def _line(self, line: bytes, stem: str, position: Position) -> None:
        record = parsed(line)
        if record is None:
            return
        matched: dict[str, set[str]] = {}
        for kind, value in ids_of(record):
            if self._matches(kind, value):
                matched.setdefault(value, set()).add(kind)
        hit = Hit(str(record.get("timestamp", "")), stem, position, line)
        for value, kinds in matched.items():
            self._take(value, kinds, hit, record)

    def _matches(self, kind: str, value: str) -> bool:
        if value in self._wanted:
            return True
        return kind not in _WHOLE_ONLY and any(is_part_of(each, value) for each in self._wanted)

    def _take(self, value: str, kinds: set[str], hit: Hit, record: dict[str, Any]) -> None:
        groups = self._exact if value in self._wanted else self._partial
        group = groups.setdefault(value, Group(value))
        if len(groups) > _MAX_CANDIDATES:
            group.note(hit, kinds)
            return
        if "parent_job_id" in kinds and (child := record.get("job_id")):
            group.children[str(child)] = str(record.get("job_name") or "")
            kinds = kinds - {"parent_job_id"}
        if kinds:
            group.kinds |= kinds
            group.add(hit, record, self._limit)


class Shipping:
    """Tells which tracks a record belongs to and whether they have shipped it.

    Args:
        folder: The journal folder; each stem's cursors are read once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cursors: dict[str, dict[str, CursorState]] = {}

    def tracks(self, hit: Hit) -> dict[str, str]:
        """Track to ``delivered``, ``delivered or dropped``, ``pending`` or ``not configured``."""
        is_event = record_type(hit.line) not in NOT_EVENTS
        found = {"events": "delivered"} if is_event else {}
        cursors = self._of(hit.stem)
        for track, wants in WANTS.items():
            if wants(hit.line):
                found[track] = _state(cursors.get(track), hit.position)
        return found

    def _of(self, stem: str) -> dict[str, CursorState]:
        if stem not in self._cursors:
            self._cursors[stem] = {
                track: load_cursor(cursor_path(self._folder, stem, track))
                for track in cursor_tracks(self._folder, stem)
            }
        return self._cursors[stem]


def _state(cursor: CursorState | None, position: Position) -> str:
    if cursor is None:
        return "not configured"
    if position >= cursor.position:
        return "pending"
    return "delivered or dropped" if cursor.dropped else "delivered"


def _spellings(wanted: str) -> tuple[str, ...]:
    """The ways in which the same id is written: in lower case, with and without dashes."""
    found = [wanted]
    if _HEX.fullmatch(wanted):
        low = wanted.lower()
        digits = low.replace("-", "")
        found.append(low)
        if len(digits) == 32:
            found += [digits, "-".join(re.findall("(.{8})(.{4})(.{4})(.{4})(.{12})", digits)[0])]
    return tuple(dict.fromkeys(found))
