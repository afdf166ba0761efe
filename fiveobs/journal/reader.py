"""Reads a stem's lines in order, from a cursor, for one track.

Works over the process's own journal while it grows and over the files a dead process left. A torn
last line is passed over; a file that cannot be read just now raises ``OSError`` and is not. Thread
safety: ``next_batch`` and ``commit`` belong to one shipper thread; ``skip_segment`` and ``sums``
may be called from any thread.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from fiveobs._yielding import Turns, give_way
from fiveobs.journal.cursors import CursorFile, CursorState, Position
from fiveobs.journal.records import glance, record_type
from fiveobs.journal.segments import FoundSegment, Readable, segment_files

#: Bytes read at once; a line longer than this is read in one larger piece.
CHUNK_BYTES = 256 * 1024
#: What is longer than this and does not begin like a record is damage, and passed over.
MAX_LINE_BYTES = 64 * 1024 * 1024


class Source(Protocol):
    """Where a reader gets segments from."""

    def segment(self, number: int) -> Readable | None:
        """The segment, or ``None`` if it is not there (any more)."""

    def last_number(self) -> int:
        """The number of the newest segment; 0 if there is none."""

    def origin(self) -> Mapping[str, Any]:
        """The resource attributes of the process that wrote it; empty if not known."""


class Batch(NamedTuple):
    """Lines for one delivery."""

    #: Without their newlines, in order.
    lines: list[bytes]
    start: Position
    #: The first byte after the last line looked at.
    end: Position


class Sums(NamedTuple):
    """What a reader has done, in records."""

    delivered: int
    dropped: int


class Reader:
    """One track's view of one stem."""

    def __init__(
        self,
        source: Source,
        wants: Callable[[bytes], bool],
        cursor: CursorFile,
        state: CursorState,
    ) -> None:
        self._source = source
        self._wants = wants
        self._cursor = cursor
        self._state = state
        self._lock = threading.RLock()
        #: Where the next batch starts; ahead of the cursor while batches await their commit.
        self._next = state.position
        #: Segments ahead of the cursor that were given up and counted as dropped.
        self._given_up: set[int] = set()

    @property
    def position(self) -> Position:
        """The first byte not yet committed."""
        return self._state.position

    def saved_position(self) -> Position:
        """The same, once the cursor file says so, too: after a flush a process may end at once."""
        with self._lock:
            return self._state.position

    def sums(self) -> Sums:
        """Delivered and dropped so far, all processes that shipped this stem included."""
        with self._lock:
            return Sums(self._state.delivered, self._state.dropped)

    def next_batch(self, max_records: int, max_bytes: int) -> Batch:
        """The wanted lines from here on, all of one segment; an empty batch at the end.

        Reading does not commit: call ``commit`` when the lines are delivered, ``rewind`` when not.

        Args:
            max_records: Most lines.
            max_bytes: Most bytes; a longer line comes alone.

        Raises:
            OSError: The segment is there and cannot be read.
        """
        with self._lock:
            begin = start = at = self._next
        lines: list[bytes] = []
        left = max_bytes
        # A batch that is half full will do: filling it would read a chunk for a few of its lines.
        while left > 0 and (not lines or 2 * len(lines) <= max_records):
            step, moved = self._read(at, max_records - len(lines), left, is_first=not lines)
            if moved == at or (lines and moved.segment != at.segment):
                break
            if moved.segment != at.segment:
                start = moved  # what comes before it holds no line of this batch
            lines += step
            left -= sum(map(len, step))
            at = moved
            give_way()
        with self._lock:
            if self._next == begin:
                self._next = at
        return Batch(lines, start, at)

    def commit(self, start: Position, end: Position, *, delivered: int, dropped: int) -> None:
        """Count the lines of a batch and move the cursor behind it."""
        count = delivered + dropped
        with self._lock:
            if self._state.position > start or start.segment in self._given_up:
                # The journal's bound overtook this batch and has counted it as dropped already.
                dropped -= count
            self._state.delivered += delivered
            self._state.dropped += dropped
            self._move(end)
            if count:
                self._cursor.save(self._state)

    def _move(self, to: Position) -> None:
        self._state.position = max(self._state.position, to)
        self._next = max(self._next, self._state.position)
        if self._given_up:
            first = self._state.position.segment
            self._given_up = {number for number in self._given_up if number >= first}

    def origin(self) -> Mapping[str, Any]:
        """The resource attributes of the process whose lines these are."""
        return self._source.origin()

    def rewind(self, to: Position = Position()) -> None:
        """Read again from ``to``, or from the cursor if that is further on."""
        with self._lock:
            self._next = max(to, self._state.position)

    def skip_segment(self, number: int) -> int:
        """Give up what is left in segment ``number``, and count it as dropped.

        Returns:
            How many lines that were.
        """
        while True:
            with self._lock:
                at = self._state.position
                if at.segment > number or number in self._given_up:
                    return 0
            # Not under the lock: it takes a while, and a job may be waiting for us.
            count = self._count(max(at, Position(number, 0)))
            with self._lock:
                if self._give_up(number, at, count):
                    return count

    def _give_up(self, number: int, seen: Position, count: int) -> bool:
        """Count lines of a segment as dropped, unless some were shipped since we looked."""
        at = self._state.position
        if number in self._given_up or (at != seen and at.segment >= number):
            return False
        self._state.dropped += count
        if at.segment == number:
            self._move(Position(number + 1, 0))
        else:  # lines before it are still to be shipped
            self._given_up.add(number)
        self._cursor.save(self._state)
        return True

    def pending(self) -> int:
        """Wanted lines behind the cursor; reads them all, so ask rarely."""
        with self._lock:
            at, given_up = self._state.position, self._given_up
        numbers = range(at.segment, self._source.last_number() + 1)
        places = (at if number == at.segment else Position(number, 0) for number in numbers)
        return sum(self._count(place) for place in places if place.segment not in given_up)

    def has_pending(self) -> bool:
        """Whether there is a wanted line behind the cursor; reads up to the first one."""
        at = self.position
        while True:
            lines, moved = self._read(at, 1, 1)
            if lines or moved == at:
                return bool(lines)
            at = moved
            give_way()

    def keep(self) -> None:
        """Write the cursor file again if somebody has deleted it: adopters go by it."""
        with self._lock:
            if self._cursor.is_missing():
                self._cursor.save(self._state)

    def close(self) -> None:
        """Save where we are and give up the cursor file; what is committed later is not saved."""
        with self._lock:
            self._cursor.save(self._state)
            self._cursor.close()

    def abandon(self) -> None:
        """In a forked child: close the parent's file."""
        self._cursor.abandon()

    def _count(self, at: Position) -> int:
        """Wanted lines from ``at`` to the end of its segment, as far as it can be read."""
        total = 0
        while True:
            try:
                lines, moved = self._read(at, 1 << 30, 1 << 30)
            except OSError:
                return total
            total += len(lines)
            if moved == at or moved.segment != at.segment:
                return total
            at = moved
            give_way()

    def _read(
        self, at: Position, max_records: int, max_bytes: int, *, is_first: bool = True
    ) -> tuple[list[bytes], Position]:
        """Wanted lines of the next chunk, and the place behind the last line looked at."""
        # Asked first: what is over by then is complete in the segment that is got afterwards.
        is_over = at.segment < self._source.last_number()
        if at.segment not in self._given_up:
            segment = self._source.segment(at.segment)
            if segment is not None:
                chunk, size = _whole_lines(segment, at.offset)
                if chunk:
                    return self._pick(chunk, at, max_records, max_bytes, is_first=is_first)
                if size:
                    return [], Position(at.segment, at.offset + size)
        elif not is_over:
            return [], Position(at.segment + 1, 0)
        return [], Position(at.segment + 1, 0) if is_over else at

    def _pick(
        self, chunk: bytes, at: Position, max_records: int, max_bytes: int, *, is_first: bool
    ) -> tuple[list[bytes], Position]:
        picked: list[bytes] = []
        offset = at.offset
        wants = self._wants
        verdict = glance(wants, chunk)
        if verdict is False:
            return [], Position(at.segment, offset + len(chunk))
        lines = chunk.split(b"\n")[:-1]
        if verdict and len(chunk) <= max_bytes:
            lines = lines[:max_records]
            return lines, Position(at.segment, offset + sum(map(len, lines)) + len(lines))
        turns = Turns()
        for line in lines:
            turns.give_way()
            if wants(line):
                if max_bytes < len(line) and (picked or not is_first):
                    break
                picked.append(line)
                max_bytes -= len(line)
            offset += len(line) + 1
            if len(picked) >= max_records or max_bytes <= 0:
                break
        return picked, Position(at.segment, offset)


def _whole_lines(segment: Readable, offset: int) -> tuple[bytes, int]:
    """A chunk that ends with a newline, and how many bytes to pass over.

    No chunk and no bytes: no whole line is there. No chunk but bytes: they are damage.
    """
    limit = CHUNK_BYTES
    while True:
        chunk = segment.read(offset, limit)
        end = chunk.rfind(b"\n") + 1
        if end or len(chunk) < limit:
            return chunk[:end], end
        if limit >= MAX_LINE_BYTES and not record_type(chunk):
            return b"", _damaged(segment, offset)
        limit *= 8


def _damaged(segment: Readable, offset: int) -> int:
    """The bytes from ``offset`` through the next newline, or to the end if there is none."""
    at = offset
    while chunk := segment.read(at, CHUNK_BYTES):
        end = chunk.find(b"\n") + 1
        if end:
            return at + end - offset
        at += len(chunk)
    return at - offset


def _resource_in(segment: Readable) -> Mapping[str, Any]:
    first, _, _ = _whole_lines(segment, 0)[0].partition(b"\n")
    try:
        resource = json.loads(first)["data"]["resource"]
    except (ValueError, KeyError, TypeError):
        return {}
    return resource if isinstance(resource, dict) else {}


class StemFiles:
    """The files that a dead process left, as a source; holds none of them open."""

    def __init__(self, folder: Path, stem: str) -> None:
        self._segments = {
            number: FoundSegment(path, number) for _, number, path in segment_files(folder, stem)
        }
        self._last_number = max(self._segments, default=0)
        self._origin: Mapping[str, Any] | None = None

    def segment(self, number: int) -> Readable | None:
        """The segment, if its file was there when the stem was opened."""
        return self._segments.get(number)

    def last_number(self) -> int:
        """The highest number there was when the stem was opened."""
        return self._last_number

    def origin(self) -> Mapping[str, Any]:
        """What the first line (``worker.started``) says of the process."""
        if self._origin is None:
            first = self._segments.get(1)
            self._origin = _resource_in(first) if first is not None else {}
        return self._origin
