"""Ships what dead processes left behind.

A stem whose lock nobody holds belongs to a process that ended without shipping everything. Whoever
takes the lock ships it, from the cursors it finds. When the adopter dies too, the next one goes on.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from fiveobs.journal.cursors import CursorFile, cursor_path, read_cursor
from fiveobs.journal.locks import StemLock
from fiveobs.journal.reader import Reader, StemFiles
from fiveobs.journal.records import WANTS
from fiveobs.journal.segments import CURSOR_SUFFIX, LOCK_SUFFIX, segment_files
from fiveobs.journal.shipper import Shipper
from fiveobs.journal.tally import tally_path

#: A lock file younger than this may belong to a process that is about to lock it.
_MIN_AGE_S = 2.0
#: Seconds until a stem that needs tracks we do not ship is looked at again.
_FOREIGN_PAUSE_S = 300.0
#: And until one is that could not be read.
_UNREADABLE_PAUSE_S = 5.0


class _Stem:
    """A stem in our care."""

    def __init__(self, folder: Path, stem: str, lock: StemLock, tracks: list[str]) -> None:
        self.lock = lock
        files = StemFiles(folder, stem)
        self.readers = {
            track: Reader(
                files,
                WANTS[track],
                CursorFile(cursor_path(folder, stem, track)),
                read_cursor(cursor_path(folder, stem, track)),
            )
            for track in tracks
        }


class Adopter:
    """Finds dead processes' stems and gives them to our shippers.

    Args:
        folder: The journal folder.
        shippers: Ours, by track.
    """

    def __init__(self, folder: Path, shippers: Mapping[str, Shipper]) -> None:
        self._folder = folder
        self._shippers = shippers
        self._stems: dict[str, _Stem] = {}
        self._skip_until: dict[str, float] = {}
        #: Shipper threads end their part of a stem while others look for more.
        self._lock = threading.RLock()
        self._closed = False

    def scan(self) -> None:
        """Look once; called every few seconds by the maintenance thread."""
        now = time.monotonic()
        self._skip_until = {s: t for s, t in list(self._skip_until.items()) if t > now}
        for path in sorted(self._folder.glob(f"*{LOCK_SUFFIX}")):
            stem = path.name.removesuffix(LOCK_SUFFIX)
            if stem in self._stems or stem in self._skip_until or not _is_old(path):
                continue
            lock = StemLock(path)
            if lock.acquire(create=False):
                try:
                    self._take(stem, lock)
                except BaseException:
                    lock.release()  # else nobody could adopt it for as long as we live
                    raise

    def _take(self, stem: str, lock: StemLock) -> None:
        tracks = cursor_tracks(self._folder, stem)
        ours = [track for track in tracks if track in self._shippers]
        adopted = _Stem(self._folder, stem, lock, ours)
        with self._lock:
            if self._closed:
                lock.release()
                return
            if ours:
                self._stems[stem] = adopted
        if not ours:
            self._leave(stem, lock)
        for track, reader in list(adopted.readers.items()):
            self._shippers[track].adopt(reader, partial(self._done, stem, track))

    def _done(self, stem: str, track: str) -> None:
        """One track has shipped the stem; runs on that track's thread."""
        with self._lock:
            adopted = self._stems.get(stem)
            if adopted is None:
                return
            adopted.readers.pop(track).close()
            if adopted.readers:
                return
        try:
            self._leave(stem, adopted.lock)
        finally:
            with self._lock:
                self._stems.pop(stem, None)

    def _leave(self, stem: str, lock: StemLock) -> None:
        """Give a stem back: for good when it is finished, else for one that ships the rest."""
        finished = False
        pause_s = _UNREADABLE_PAUSE_S
        try:
            if any(track not in self._shippers for track in cursor_tracks(self._folder, stem)):
                pause_s = _FOREIGN_PAUSE_S
            finished = not has_pending(self._folder, stem)
            if finished and not segment_files(self._folder, stem):
                forget(self._folder, stem)
        finally:
            if not finished:
                self._skip_until[stem] = time.monotonic() + pause_s
            lock.release(remove=finished)

    def give_up_segment(self, stem: str, number: int) -> int | None:
        """Count what is unshipped of a segment of a stem in our care as dropped.

        Returns:
            How many records that were; ``None`` if the stem is not in our care.
        """
        with self._lock:
            adopted = self._stems.get(stem)
            readers = list(adopted.readers.values()) if adopted is not None else None
        if readers is None:
            return None
        return sum(reader.skip_segment(number) for reader in readers)

    def close(self) -> None:
        """Leave unfinished stems to the next process."""
        with self._lock:
            self._closed = True
            stems, self._stems = list(self._stems.values()), {}
            for adopted in stems:
                for reader in adopted.readers.values():
                    reader.close()
                adopted.lock.release()


def cursor_tracks(folder: Path, stem: str) -> list[str]:
    """The tracks that have a cursor over a stem."""
    # Not by a glob: that may take a folder which cannot be listed just now for an empty one.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        names = set(os.listdir(folder))
        return sorted(track for track in WANTS if f"{stem}.{track}{CURSOR_SUFFIX}" in names)
    return []


def forget(folder: Path, stem: str) -> None:
    """Remove what is left of a stem whose last segment is gone; for whoever holds its lock."""
    cursors = [cursor_path(folder, stem, track) for track in cursor_tracks(folder, stem)]
    for path in (*cursors, tally_path(folder, stem)):
        with contextlib.suppress(OSError):
            path.unlink()


def has_pending(folder: Path, stem: str) -> bool:
    """Whether some track has still to ship records of a stem; true if that cannot be read."""
    try:
        files = StemFiles(folder, stem)
        readers = (
            Reader(files, WANTS[t], CursorFile(None), read_cursor(cursor_path(folder, stem, t)))
            for t in cursor_tracks(folder, stem)
        )
        return any(reader.has_pending() for reader in readers)
    except OSError:
        return True


def _is_old(path: Path) -> bool:
    try:
        # A time to come is as good as one gone by: the clock was set back, perhaps by hours.
        return abs(time.time() - path.stat().st_mtime) > _MIN_AGE_S
    except OSError:
        return False
