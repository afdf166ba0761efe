"""Appends one process's lines to its journal; the only thing a job waits for.

An append is one ``write`` to a file that nobody else writes, so a line that was accepted survives a
SIGKILL of the process. Where the disk refuses (full, read-only, deleted under us) lines go to
bounded memory, are shipped from there, and are written to disk as soon as it takes them again.
What memory cannot hold is counted as dropped, per track.

Thread safety: everything may be called from any thread and from signal handlers. Fork safety: a
child makes a journal of its own; see ``fiveobs._runtime``.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiveobs.journal.cursors import CursorFile, CursorState, Position, cursor_path
from fiveobs.journal.locks import StemLock
from fiveobs.journal.reader import Reader
from fiveobs.journal.segments import (
    LOCK_SUFFIX,
    FileSegment,
    MemorySegment,
    Segment,
    segment_path,
    stem_name,
)
from fiveobs.journal.tally import Tally, TallyFile, tally_path

#: Size of one memory segment, at most; small, because giving one up means reading it.
_MEMORY_SEGMENT_BYTES = 256 * 1024
#: So many of them at least, because the oldest is given up whole.
_MEMORY_SEGMENTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """How a journal is kept."""

    #: A file is followed by the next one at this size.
    segment_bytes: int = 16 * 1024 * 1024
    #: Bound of the lines that wait in memory while the disk refuses them.
    memory_bytes: int = 8 * 1024 * 1024
    #: Seconds between two ``fsync`` calls; 0 after every line, infinity never.
    fsync_interval_s: float = float("inf")


class Journal:
    """The journal of this process.

    Args:
        folder: Where the files go; ``None`` keeps everything in memory.
        machine_id: First part of the stem.
        settings: Sizes and syncing.
        wants: For each shipping track, the function that picks its lines.
        report: Called with a cause and a message when the disk refuses or takes lines again.
    """

    def __init__(
        self,
        folder: Path | None,
        machine_id: str,
        settings: JournalSettings,
        wants: Mapping[str, Callable[[bytes], bool]],
        report: Callable[[str, str], None],
    ) -> None:
        self.folder = folder
        self.stem = _new_stem(folder, machine_id)
        self._settings = settings
        self._wants = tuple(wants.items())
        self._report = report
        self._lock = threading.RLock()
        self._segments: dict[int, FileSegment | MemorySegment] = {}
        self._number = 0
        #: Whether the tail is being replaced: a signal handler may append in the middle of that.
        self._is_changing = False
        #: Lines that came in that moment and could not be written.
        self._late: list[bytes] = []
        self._synced_at = time.monotonic()
        #: The first segment that may hold lines that were not synced.
        self._unsynced_number = 1
        self._closed = False
        self._always_sync = settings.fsync_interval_s == 0
        self.readers: dict[str, Reader] = {}
        #: The resource attributes of this process.
        self.resource: dict[str, Any] = {}
        #: Lines given to the journal by kind, and which tracks a kind concerns; they are summed by
        #: track only when somebody asks.
        self._given: dict[object, list[int]] = {}
        self._concerned: dict[object, tuple[str, ...]] = {}
        #: Records that a bound kept from becoming lines; see ``lose``.
        self._never_lines: dict[str, int] = dict.fromkeys(("events", *wants), 0)
        #: Lines lost because neither disk nor memory could hold them.
        self.lost: dict[str, int] = dict.fromkeys(("events", *wants), 0)
        #: Memory segments that were given up.
        self._given_up = 0
        #: The end of the journal, once it is closed.
        self._closed_at: Position | None = None
        self._lock_file = StemLock((folder or Path()) / f"{self.stem}{LOCK_SUFFIX}")
        self._tally = TallyFile(tally_path(folder, self.stem) if folder is not None else None)
        self._open_first()

    def _open_first(self) -> None:
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._lock_file.acquire(create=True)
                self._tail: FileSegment | MemorySegment = self._new_file()
            except OSError as exc:
                self._report("journal", f"cannot write to {self.folder}: {exc}; using memory")
            else:
                self._keep_tally()
                return
        self._tail = self._new_memory(0)

    # --- appending ---------------------------------------------------------------------------

    def append(self, line: bytes, kind: object) -> None:
        """Take one line. Never raises, never waits for a network.

        Args:
            line: Ends with a newline.
            kind: The same for lines that concern the same tracks.
        """
        with self._lock:
            try:
                self._given[kind][0] += 1
            except KeyError:
                self._concerned[kind] = tuple(track for track, wants in self._wants if wants(line))
                self._given.setdefault(kind, [0])[0] += 1
            tail = self._tail
            try:
                tail.append(line)
            except OSError as exc:
                self._append_elsewhere(line, exc)
                return
            if self._always_sync:
                self._sync(tail)
            if tail.size >= self._settings.segment_bytes:
                self._rotate()

    def _append_elsewhere(self, line: bytes, exc: OSError) -> None:
        """The tail refused: go on in memory, giving up the oldest there if it is too much."""
        if self._closed:
            self._count_lost(line)
            self._tally.open(create=False)
            self._note()
            self._tally.abandon()
        elif self._is_changing:
            self._late.append(line)
        else:
            if isinstance(self._tail, FileSegment):
                self._report("journal", f"cannot write to {self._tail.path}: {exc}; using memory")
            self._append_to_memory(line)
            self._append_late()

    def _append_late(self) -> None:
        while self._late:
            line = self._late.pop(0)
            try:
                self._tail.append(line)
            except OSError:
                self._append_to_memory(line)

    def _append_to_memory(self, line: bytes) -> None:
        self._is_changing = True
        try:
            if isinstance(self._tail, FileSegment) or not self._tail.has_room(len(line)):
                if len(line) > self._settings.memory_bytes:
                    self._count_lost(line)
                    self._note()
                    return
                self._tail = self._new_memory(len(line))
            self._tail.append(line)
        finally:
            self._is_changing = False

    def _count_lost(self, line: bytes) -> None:
        self.lost["events"] += 1
        for track, wants in self._wants:
            if wants(line):
                self.lost[track] += 1
        self._report("journal", "a line was dropped: neither disk nor memory could hold it")

    def _rotate(self) -> None:
        if self._is_changing:
            return
        self._is_changing = True
        try:
            self._tail = self._next_tail()
        finally:
            self._is_changing = False
        self._append_late()
        self._note()
        self.release_read()

    def _next_tail(self) -> FileSegment | MemorySegment:
        if isinstance(self._tail, FileSegment):
            try:
                return self._new_file()
            except OSError as exc:
                message = f"cannot begin a file in {self.folder}: {exc}; using memory"
                self._report("journal", message)
        return self._new_memory(0)

    def _new_file(self) -> FileSegment:
        number = self._number + 1
        segment = FileSegment(segment_path(self.folder or Path(), self.stem, number), number)
        self._add(segment)
        return segment

    def _new_memory(self, line_bytes: int) -> MemorySegment:
        """A memory segment with room for a line, within the bound of all of them together."""
        bound = self._settings.memory_bytes
        size = max(min(_MEMORY_SEGMENT_BYTES, bound // _MEMORY_SEGMENTS), line_bytes)
        while self._memory_bytes() + size > bound and self._memory():
            self._give_up_oldest_memory()
        segment = MemorySegment(self._number + 1, size, self._note)
        self._add(segment)
        return segment

    def _add(self, segment: FileSegment | MemorySegment) -> None:
        self._segments[segment.number] = segment
        self._number = segment.number

    def _memory(self) -> list[MemorySegment]:
        return [each for each in self._segments.values() if isinstance(each, MemorySegment)]

    def _memory_bytes(self) -> int:
        return sum(segment.size for segment in self._memory())

    def _give_up_oldest_memory(self) -> None:
        oldest = self._memory()[0]
        for reader in self.readers.values():
            reader.skip_segment(oldest.number)
        self.lost["events"] += oldest.lines
        self._given_up += 1
        del self._segments[oldest.number]
        self._report("journal", "the disk refuses lines and memory is full: the oldest are dropped")

    # --- reading -----------------------------------------------------------------------------

    def segment(self, number: int) -> Segment | None:
        """The segment, if it is still held."""
        return self._segments.get(number)

    def last_number(self) -> int:
        """The segment that is being appended to."""
        return self._number

    def origin(self) -> Mapping[str, Any]:
        """The resource attributes of this process."""
        return self.resource

    def end(self) -> Position:
        """The place after the last line."""
        with self._lock:
            return Position(self._tail.number, self._tail.size)

    def reader(self, track: str) -> Reader:
        """The reader of one of our own tracks; made once."""
        path = cursor_path(self.folder, self.stem, track) if self.folder is not None else None
        cursor = CursorFile(path)
        reader = Reader(self, dict(self._wants)[track], cursor, CursorState())
        cursor.save(CursorState())
        self.readers[track] = reader
        return reader

    def lose(self, track: str, count: int) -> None:
        """Count records of a track that never became lines, because a bound was reached."""
        with self._lock:
            self._never_lines[track] += count
            self.lost[track] += count
            self._note()
        self._report(track, f"{count} records were dropped: a buffer is full")

    def accepted(self, track: str) -> int:
        """Records given to a track so far, whatever became of them."""
        with self._lock:
            counts = [
                count[0]
                for kind, count in self._given.items()
                if track == "events" or track in self._concerned[kind]
            ]
            return sum(counts) + self._never_lines[track]

    def _note(self) -> None:
        """Write down what was taken so far, and lost: what is not on disk is known from that only.

        Called for each line that is in memory, and not for those that the disk has taken: they
        count themselves.
        """
        memory = self._memory()
        self._tally.save(
            Tally(
                place=self._closed_at or self.end(),
                accepted={track: self.accepted(track) for track in self.lost},
                lost=self.lost,
                given_up=self._given_up,
                memory_from=memory[0].number if memory else 0,
                in_memory=sum(segment.lines for segment in memory),
            )
        )

    def _keep_tally(self) -> None:
        """Have the tally's file there."""
        if self._tally.open(create=True):
            self._note()

    @property
    def tracks(self) -> tuple[str, ...]:
        """The tracks that ship from this journal."""
        return tuple(track for track, _ in self._wants)

    def pending_events(self) -> int:
        """Lines that are in memory only."""
        with self._lock:
            return sum(segment.lines for segment in self._memory())

    def dropped(self, track: str) -> int:
        """Lines of a track that were given up, for whatever reason."""
        reader = self.readers.get(track)
        return self.lost[track] + (reader.sums().dropped if reader else 0)

    def abandon(self) -> None:
        """In a forked child: close the parent's files, without its locks or state."""
        for segment in list(self._segments.values()):
            segment.abandon()
        for reader in list(self.readers.values()):
            reader.abandon()
        self._tally.abandon()
        self._lock_file.abandon()

    # --- keeping (called by the maintenance thread) --------------------------------------------

    def maintain(self) -> None:
        """Look after deleted files, memory that can go to disk, and syncing."""
        if self.folder is not None:
            with self._lock:
                self._restore_folder()
                if isinstance(self._tail, FileSegment) and self._tail.gone():
                    message = f"{self._tail.path} was deleted; a new file is begun"
                    self._report("journal", message)
                    self._rotate()
            self._move_memory_to_disk()
        self.release_read()
        self._sync_when_due()

    def _restore_folder(self) -> None:
        """Have the folder, our lock and the cursors there: whoever adopts the files needs them."""
        if self.folder is None or self._closed:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            return  # said when it first failed; tried again at the next maintenance
        if not self._lock_file.is_intact():
            self._lock_file.release()
            self._lock_file.acquire(create=True)
        for reader in list(self.readers.values()):
            reader.keep()
        self._keep_tally()

    def _move_memory_to_disk(self) -> None:
        """Write memory segments to files of the same numbers and offsets, oldest first."""
        moved = False
        try:
            while self._move_oldest_memory():
                moved = True
        except OSError:
            return
        if moved:
            self._report("journal", f"{self.folder} can be written again")

    def _move_oldest_memory(self) -> bool:
        """Move one segment, so that a job never waits for more; ``False`` if there is none."""
        with self._lock:
            waiting = self._memory()
            if not waiting or self.folder is None or self._is_changing:
                return False
            memory = waiting[0]
            file = memory.to_file(segment_path(self.folder, self.stem, memory.number))
            self._segments[memory.number] = file
            if memory is self._tail:
                self._tail = file
            self._note()
            return True

    def release_read(self) -> None:
        """Close own segments that every reader has passed; the files stay for whoever looks."""
        with self._lock:
            oldest = self.oldest_unread()
            if self._settings.fsync_interval_s != float("inf"):
                oldest = min(oldest, self._unsynced_number)
            for number in [n for n in self._segments if n < oldest]:
                if number != self._tail.number and isinstance(self._segments[number], FileSegment):
                    self._segments.pop(number).close()

    def oldest_unread(self) -> int:
        """The lowest segment number that some reader still needs; the tail's if none does."""
        behind = [reader.position.segment for reader in self.readers.values()]
        return min([self._tail.number, *behind])

    def give_up_segment(self, number: int) -> bool:
        """Delete one of our own segments, counting what was not shipped; not the tail."""
        if number == self._tail.number:
            return False
        for reader in list(self.readers.values()):
            # Outside of the lock, because it reads: what is not the tail does not change any more.
            self.report_given_up(reader.skip_segment(number))
        with self._lock:
            segment = self._segments.pop(number, None)
        if segment is not None:
            segment.delete()
        elif self.folder is not None:
            with contextlib.suppress(OSError):
                segment_path(self.folder, self.stem, number).unlink()
        return True

    def report_given_up(self, count: int) -> None:
        """Say that the folder's bound has cost records, of this process or of a dead one."""
        if count:
            message = f"{count} records were dropped unshipped: the journal is at its bound"
            self._report("journal bound", message)

    def _sync_when_due(self) -> None:
        now = time.monotonic()
        if now - self._synced_at < self._settings.fsync_interval_s:
            return
        self._synced_at = now
        with self._lock:
            last = self._tail.number
            segments = list(self._segments.items())
        for number, segment in segments:
            if number >= self._unsynced_number:
                self._sync(segment)
        self._unsynced_number = last

    def _sync(self, segment: Segment) -> None:
        """Sync a file; a disk that fails at it has taken the lines all the same."""
        if isinstance(segment, FileSegment):
            try:
                segment.sync()
            except OSError as exc:
                self._report("journal sync", f"{segment.path} cannot be synced: {exc}")

    def close(self) -> None:
        """Give up the files; the lock file vanishes when everything was shipped."""
        with self._lock:
            if self._closed:
                return
            if self._memory():
                self._restore_folder()
                self._move_memory_to_disk()
            while self.pending_events():
                self._give_up_oldest_memory()
            self._closed_at = self.end()
            self._closed = True
            self._note()
            self._tally.abandon()
            if self._settings.fsync_interval_s != float("inf"):
                self._synced_at = float("-inf")
                self._sync_when_due()
            self._tail = MemorySegment(self._number, 0)
            done = self._shipped_all()
            for reader in self.readers.values():
                reader.close()
            for segment in self._segments.values():
                segment.close()
            self._lock_file.release(remove=done)

    def _shipped_all(self) -> bool:
        try:
            return not any(reader.has_pending() for reader in self.readers.values())
        except OSError:
            return False


def _new_stem(folder: Path | None, machine_id: str) -> str:
    """A stem that no earlier process had: pids come again, and so does a time that is set back."""
    start_us = time.time_ns() // 1000
    while True:
        stem = stem_name(machine_id, os.getpid(), start_us)
        if folder is None or not (
            (folder / f"{stem}{LOCK_SUFFIX}").exists() or segment_path(folder, stem, 1).exists()
        ):
            return stem
        start_us += 1
