"""What one process's journal has taken up to a place, and lost: a small file beside its segments.

While the disk takes lines they are their own count. Where it refuses, they wait in memory, and may
be given up there or die with the process: then the tally says how many there were. It is
overwritten in place by one small write, which takes no room on a full disk (unless the file system
copies what it overwrites) and which a SIGKILL cannot tear. Only the process that wrote the journal
writes it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiveobs.journal.cursors import Position
from fiveobs.journal.segments import OPEN_FLAGS, TALLY_SUFFIX, pwrite

#: Bytes a tally takes; padded, so that a shorter one leaves nothing of a longer one.
_RECORD_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a tally file holds."""

    #: What is counted here was taken before this place; lines from here on are still to be added.
    place: Position
    #: Records given to each track.
    accepted: Mapping[str, int]
    #: Of those, what neither disk nor memory could hold and no cursor counts as dropped.
    lost: Mapping[str, int]
    #: Segments that were given up in memory, so that there was never a file with their number.
    given_up: int
    #: The first segment that is in memory only; 0 if none is.
    memory_from: int
    #: Lines that are in memory only.
    in_memory: int


def tally_path(folder: Path, stem: str) -> Path:
    """Where the tally of a stem lies."""
    return folder / f"{stem}{TALLY_SUFFIX}"


def load_tally(path: Path) -> Tally | None:
    """Read a tally; ``None`` if there is none, or none that can be read."""
    try:
        values = json.loads(path.read_bytes())
        segment, offset = values["place"]
        accepted, lost = values["accepted"], values["lost"]
        if "events" not in accepted or accepted.keys() != lost.keys():
            return None
        return Tally(
            place=Position(_count(segment), _count(offset)),
            accepted={track: _count(value) for track, value in accepted.items()},
            lost={track: _count(value) for track, value in lost.items()},
            given_up=_count(values["given_up"]),
            memory_from=_count(values["memory_from"]),
            in_memory=_count(values["in_memory"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


class TallyFile:
    """Writes one tally; without a path (no disk) it remembers nothing.

    Not thread-safe: the journal calls it with its own lock held.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fd = -1

    def open(self, *, create: bool) -> bool:
        """Have the file there; with ``create`` it is made anew if somebody has deleted it.

        Returns:
            Whether it was opened now, so that a tally must be saved: it may be a new one.
        """
        if self._path is None or (self._fd >= 0 and self._path.exists()):
            return False
        self.abandon()
        with contextlib.suppress(OSError):
            self._fd = os.open(
                self._path, os.O_RDWR | OPEN_FLAGS | (os.O_CREAT if create else 0), 0o600
            )
        return self._fd >= 0

    def save(self, tally: Tally) -> None:
        """Write the tally; where that fails it is tried again when the file is opened again."""
        if self._fd < 0:
            return
        values = {
            "place": tally.place,
            "accepted": tally.accepted,
            "lost": tally.lost,
            "given_up": tally.given_up,
            "memory_from": tally.memory_from,
            "in_memory": tally.in_memory,
        }
        record = json.dumps(values).encode().ljust(_RECORD_BYTES - 1) + b"\n"
        try:
            pwrite(self._fd, record, 0)
        except OSError:
            self.abandon()

    def abandon(self) -> None:
        """Give up the descriptor; idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)
