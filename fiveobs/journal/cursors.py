"""How far a track has shipped a stem: a position and the sums, kept in a small file.

Each cursor file has one writer: the process that holds the stem's lock. It is overwritten in
place by one small write, which a SIGKILL cannot tear.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fiveobs.journal.segments import CURSOR_SUFFIX, OPEN_FLAGS, pwrite

#: Bytes a cursor file takes; padded, so that a shorter state leaves nothing of a longer one.
_RECORD_BYTES = 192


class Position(NamedTuple):
    """A place in a stem: a segment's number and a byte offset in it."""

    segment: int = 1
    offset: int = 0


@dataclass(slots=True)
class CursorState:
    """What a cursor file holds."""

    #: The first byte not yet shipped.
    position: Position = Position()
    #: Records the destination has taken.
    delivered: int = 0
    #: Records given up: refused for good, or lost to the journal's bound.
    dropped: int = 0


def cursor_path(folder: Path, stem: str, track: str) -> Path:
    """Where the cursor of ``track`` over ``stem`` lies."""
    return folder / f"{stem}.{track}{CURSOR_SUFFIX}"


def load_cursor(path: Path) -> CursorState:
    """Read a cursor for display; one that cannot be read is as an absent one."""
    try:
        return read_cursor(path)
    except OSError:
        return CursorState()


def read_cursor(path: Path) -> CursorState:
    """Read a cursor; an absent or damaged one starts at the beginning (at least once).

    Raises:
        OSError: It is there and cannot be read now (no descriptor is left, say): to begin again
            for that would repeat everything, and forget the sums.
    """
    try:
        values = json.loads(path.read_bytes())
        segment, offset, delivered, dropped = (int(value) for value in values)
    except FileNotFoundError:
        return CursorState()
    except (ValueError, TypeError, OverflowError, RecursionError):
        return CursorState()
    if segment < 1 or min(offset, delivered, dropped) < 0:
        return CursorState()
    return CursorState(Position(segment, offset), delivered, dropped)


class CursorFile:
    """Writes one cursor; without a path (no disk) it remembers nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fd = -1
        #: A file that is closed while it is written might be another one by then.
        self._using = threading.RLock()

    def save(self, state: CursorState) -> None:
        """Write the state; a disk that cannot be written costs a repeat later, never an error."""
        values = (*state.position, state.delivered, state.dropped)
        record = json.dumps(values).encode().ljust(_RECORD_BYTES - 1) + b"\n"
        with self._using, contextlib.suppress(OSError):
            if self._path is None:
                return
            if self._fd < 0 or not self._path.exists():
                self.abandon()
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | OPEN_FLAGS, 0o600)
            pwrite(self._fd, record, 0)

    def is_missing(self) -> bool:
        """Whether the file should be there and is not."""
        path = self._path
        return path is not None and not path.exists()

    def close(self) -> None:
        """Write no more: from now on the cursor may be another process's. Idempotent."""
        with self._using:
            self._path = None
            self.abandon()

    def abandon(self) -> None:
        """Give up the descriptor without waiting for anybody; idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)
