"""Keeps the journal folder within its bound: the oldest shipped files go first, then the oldest.

A process deletes files of its own stem, of stems in its care and of stems that are finished or
dead; those of other living processes are theirs. What is deleted unshipped is counted as dropped.
Called by one thread of a process.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

from fiveobs.journal.adoption import Adopter, cursor_tracks, forget
from fiveobs.journal.cursors import CursorFile, cursor_path, read_cursor
from fiveobs.journal.locks import StemLock
from fiveobs.journal.reader import Reader, StemFiles
from fiveobs.journal.records import WANTS
from fiveobs.journal.segments import LOCK_SUFFIX, segment_files
from fiveobs.journal.writer import Journal


class _File(NamedTuple):
    unshipped: bool
    changed_at: float
    stem: str
    number: int
    path: Path
    size_bytes: int


def enforce_bound(folder: Path, max_bytes: int, journal: Journal, adopter: Adopter) -> int:
    """Delete files until the folder's segments are within ``max_bytes``.

    Returns:
        How many files were deleted.
    """
    files = _files(folder, journal)
    total = sum(file.size_bytes for file in files)
    deleted = 0
    for file in sorted(files):
        if total <= max_bytes:
            break
        if _delete(file, folder, journal, adopter):
            total -= file.size_bytes
            deleted += 1
    return deleted


def _files(folder: Path, journal: Journal) -> list[_File]:
    found = []
    unread: dict[str, float] = {journal.stem: journal.oldest_unread()}
    for stem, number, path in segment_files(folder):
        if stem not in unread:
            unread[stem] = _oldest_unread(folder, stem)
        with contextlib.suppress(OSError):
            status = path.stat()
            is_unshipped = number >= unread[stem]
            found.append(_File(is_unshipped, status.st_mtime, stem, number, path, status.st_size))
    return found


def _oldest_unread(folder: Path, stem: str) -> float:
    """The first segment that some track still needs; past all of them if the stem is finished."""
    if not _lock_path(folder, stem).exists():
        return float("inf")
    cursors = (cursor_path(folder, stem, track) for track in cursor_tracks(folder, stem))
    return min((read_cursor(path).position.segment for path in cursors), default=float("inf"))


def _lock_path(folder: Path, stem: str) -> Path:
    return folder / f"{stem}{LOCK_SUFFIX}"


def _delete(file: _File, folder: Path, journal: Journal, adopter: Adopter) -> bool:
    if file.stem == journal.stem:
        return journal.give_up_segment(file.number)
    count = adopter.give_up_segment(file.stem, file.number)
    if count is not None:
        journal.report_given_up(count)
        return _unlink(file.path)
    lock = StemLock(_lock_path(folder, file.stem))
    if lock.path.exists() and not lock.acquire(create=False):
        return False  # a living process's
    try:
        journal.report_given_up(_count_dropped(folder, file))
        is_deleted = _unlink(file.path)
        if not segment_files(folder, file.stem):
            forget(folder, file.stem)
    finally:
        lock.release(remove=not segment_files(folder, file.stem))
    return is_deleted


def _unlink(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _count_dropped(folder: Path, file: _File) -> int:
    """Count what is unshipped of a dead process's segment as dropped, on every cursor."""
    if not file.unshipped:
        return 0
    files = StemFiles(folder, file.stem)
    total = 0
    for track in cursor_tracks(folder, file.stem):
        path = cursor_path(folder, file.stem, track)
        reader = Reader(files, WANTS[track], CursorFile(path), read_cursor(path))
        total += reader.skip_segment(file.number)
        reader.close()
    return total
