"""The pieces a journal is made of: files on disk, or memory where the disk cannot be written.

A *stem* names one process's journal (``<machine>-<pid>-<start>``). Its segments are
``<stem>.000001.log``, ``<stem>.000002.log`` and so on; beside them lie ``<stem>.lock``, held while
the process lives, ``<stem>.<track>.cursor`` and ``<stem>.tally``. Segments are safe to read from
any thread while one thread appends: only whole lines are ever handed out.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fiveobs.journal.appends import write_for

SEGMENT_SUFFIX = ".log"
LOCK_SUFFIX = ".lock"
CURSOR_SUFFIX = ".cursor"
TALLY_SUFFIX = ".tally"

#: Splits a segment's file name into its stem and its number.
_SEGMENT_NAME = re.compile(r"(?P<stem>.+)\.(?P<number>\d{6,})\.log")
_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")


#: What every file of the journal is opened with: not for child programs, and no line ending magic.
OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_seek_lock = threading.Lock()


def pread(fd: int, size: int, offset: int) -> bytes:
    """``os.pread``, also where the system has none (Windows)."""
    if hasattr(os, "pread"):
        return os.pread(fd, size, offset)
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)


def pwrite(fd: int, data: bytes, offset: int) -> None:
    """``os.pwrite``, also where the system has none (Windows)."""
    if hasattr(os, "pwrite"):
        os.pwrite(fd, data, offset)
        return
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        os.write(fd, data)


class Readable(Protocol):
    """One piece of a journal, addressed by byte offset."""

    number: int

    def read(self, offset: int, limit: int) -> bytes:
        """Up to ``limit`` bytes from ``offset``; empty at the end, fewer only there."""


class Segment(Readable, Protocol):
    """A piece of this process's journal."""

    size: int

    def append(self, line: bytes) -> None:
        """Add one line whole, or raise ``OSError`` and leave the segment as it was."""

    def close(self) -> None:
        """Give up the file; idempotent. It reads as empty from then on."""

    def abandon(self) -> None:
        """The same in a forked child: waits for no lock."""

    def delete(self) -> None:
        """Remove what is stored; idempotent."""


def stem_name(machine_id: str, pid: int, start_us: int) -> str:
    """The stem of a process: ``<machine>-<pid>-<start in µs>``, safe as a file name."""
    machine = _UNSAFE.sub("_", machine_id)[:64] or "machine"
    return f"{machine}-{pid}-{start_us}"


def segment_path(folder: Path, stem: str, number: int) -> Path:
    """Where segment ``number`` of ``stem`` lies."""
    return folder / f"{stem}.{number:06d}{SEGMENT_SUFFIX}"


def segment_files(folder: Path, stem: str | None = None) -> list[tuple[str, int, Path]]:
    """The segments in ``folder`` as ``(stem, number, path)``, in order; of one stem if given.

    Raises:
        OSError: The folder cannot be listed now (no descriptor is left, say); that is not to be
            taken for an empty one.
    """
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        for name in os.listdir(folder):
            match = _SEGMENT_NAME.fullmatch(name)
            if match and stem in (None, match["stem"]):
                found.append((match["stem"], int(match["number"]), folder / name))
    return sorted(found)


class FileSegment:
    """A segment on disk that this process appends to.

    Opened for append and for reading by one descriptor, so that what was written stays readable
    by our shippers even when somebody deletes the file.
    """

    def __init__(self, path: Path, number: int) -> None:
        self.number = number
        self.path = path
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | OPEN_FLAGS
        self._fd = os.open(path, flags, 0o600)
        self.size = 0
        self._write = write_for(path.parent)
        #: A descriptor that is closed during a read might be another file's by then.
        self._using = threading.RLock()

    def append(self, line: bytes) -> None:
        """One ``write``; a short one is undone, so that no half line stays behind."""
        written = self._write(self._fd, line)
        if written != len(line):
            os.ftruncate(self._fd, self.size)
            raise OSError(f"only {written} of {len(line)} bytes could be written")
        self.size += written

    def read(self, offset: int, limit: int) -> bytes:
        """Bytes from the file, never beyond the last whole append; none once it is closed."""
        limit = min(limit, self.size - offset)
        if limit <= 0:
            return b""
        with self._using:
            return pread(self._fd, limit, offset) if self._fd >= 0 else b""

    def sync(self) -> None:
        """Have the operating system put the file on disk."""
        with self._using:
            if self._fd >= 0:
                os.fsync(self._fd)

    def gone(self) -> bool:
        """Whether the file is no longer where it was made."""
        try:
            return not os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except OSError:
            return True

    def close(self) -> None:
        """Close the descriptor once."""
        with self._using:
            self.abandon()

    def abandon(self) -> None:
        """Close the descriptor in a forked child, where the lock may be held by nobody alive."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def delete(self) -> None:
        """Close and remove the file, if it is still there."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


class FoundSegment:
    """A segment that another process has left; only read.

    No descriptor is kept between two reads: there may be many such files, and many hours until a
    destination takes what is in them.
    """

    def __init__(self, path: Path, number: int) -> None:
        self.number = number
        self.path = path

    @property
    def size(self) -> int:
        """Bytes in the file; 0 if it is gone."""
        try:
            return os.stat(self.path).st_size
        except FileNotFoundError:
            return 0

    def read(self, offset: int, limit: int) -> bytes:
        """Bytes from the file; none if it is gone. Other failures raise: they may pass."""
        try:
            fd = os.open(self.path, os.O_RDONLY | OPEN_FLAGS)
        except FileNotFoundError:
            return b""
        try:
            return pread(fd, limit, offset)
        finally:
            os.close(fd)


class MemorySegment:
    """A segment in memory, bounded; what does not fit is refused.

    Args:
        number: Its place among the segments.
        limit_bytes: The bound.
        taken: Called when a line is in it.
    """

    def __init__(
        self, number: int, limit_bytes: int, taken: Callable[[], None] = lambda: None
    ) -> None:
        self.number = number
        self._taken = taken
        self.size = 0
        self.lines = 0
        self._limit_bytes = limit_bytes
        self._content = bytearray()

    def append(self, line: bytes) -> None:
        """Keep the line, or raise ``OSError`` when the bound is reached."""
        if self.size + len(line) > self._limit_bytes:
            raise OSError(f"more than {self._limit_bytes} bytes wait in memory")
        self._content += line
        self.size += len(line)
        self.lines += 1
        self._taken()

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much more fits."""
        return self.size + size_bytes <= self._limit_bytes

    def read(self, offset: int, limit: int) -> bytes:
        """A copy of the bytes."""
        return bytes(self._content[offset : offset + limit])

    def to_file(self, path: Path) -> FileSegment:
        """Write all of it to a new file, at the same offsets, and return that segment."""
        with contextlib.suppress(OSError):  # what an earlier try has left
            path.unlink()
        segment = FileSegment(path, self.number)
        try:
            if self._content:
                segment.append(bytes(self._content))
        except OSError:
            segment.delete()
            raise
        return segment

    def close(self) -> None:
        """Nothing to give up."""

    def abandon(self) -> None:
        """Nothing to give up."""

    def delete(self) -> None:
        """Free the memory."""
        self._content = bytearray()
        self.size = 0
