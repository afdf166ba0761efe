"""Finds what is new in the journal folder: files that grow, new ones, those of dead processes.

Reads only; what has been read is remembered by whoever stores it. Used by one thread.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fiveobs.journal.locks import is_held
from fiveobs.journal.segments import LOCK_SUFFIX, OPEN_FLAGS, pread, segment_files

__all__ = ["Follower", "Piece", "Place", "first_line_with"]

_CHUNK_BYTES = 1024 * 1024
_LEAST_BYTES = 64 * 1024
#: A line may be longer than a chunk; one longer than this is damage.
_MAX_LINE_BYTES = 64 * 1024 * 1024
#: How often the folder is listed even if it does not seem to have changed.
_LIST_INTERVAL_S = 2.0
#: A journal that has not grown for so long, by no heartbeat even, is looked at less often.
_QUIET_S, _QUIET_INTERVAL_S = 60.0, 1.0
#: A line without an end is damage after so long if its lock file is there and nobody holds it.
_TORN_S = 5.0
#: A journal that cannot be read is tried again after this, doubled each time up to that.
_RETRY_S, _MOST_RETRY_S = 1.0, 300.0


class Place(NamedTuple):
    """A byte in a journal: a segment and an offset in it."""

    segment: int = 1
    offset: int = 0


class Piece(NamedTuple):
    """What comes next in one journal: whole lines, or bytes that cannot be read."""

    stem: str
    #: What has been taken in before ends here; the content begins there or in a later segment.
    start: Place
    begin: Place
    end: Place
    #: The lines, each with its newline; if there is damage, what cannot be read.
    content: bytes
    #: Why the content is none; empty if all is well.
    damage: str = ""


@dataclass(slots=True)
class _Followed:
    """A journal and its files."""

    stem: str
    at: Place
    segments: dict[int, Path]
    #: Sizes as they were last seen, of the segments that are not read to their end.
    sizes: dict[int, int] = field(default_factory=dict)
    #: Its process has ended in good order and everything is read.
    is_done: bool = False
    is_owned: bool = True
    #: Its lock file is there, held or not.
    has_lock: bool = True
    #: A line without an end: where it begins, how long it is, and when it was first so.
    torn: tuple[Place, int] = (Place(), 0)
    torn_at: float = 0.0
    grown_at: float = 0.0
    look_at: float = 0.0
    #: How long it rests since it could not be read; 0 if it could.
    retry_s: float = 0.0

    def after(self, segment: int) -> int | None:
        """The next segment that is there."""
        return min((number for number in self.segments if number > segment), default=None)

    def unread(self, until: int | None = None) -> int:
        """Bytes that were seen there and are not read, in segments before one or in all."""
        return sum(
            max(0, size - (self.at.offset if number == self.at.segment else 0))
            for number, size in self.sizes.items()
            if number >= self.at.segment and (until is None or number < until)
        )

    def look(self) -> None:
        """See how large the files are that are still to be read."""
        for number, path in self.segments.items():
            if number >= self.at.segment:
                with contextlib.suppress(OSError):
                    self.sizes[number] = path.stat().st_size
        for number in [each for each in self.sizes if each < self.at.segment]:
            del self.sizes[number]


class Follower:
    """Follows every journal of a folder.

    Args:
        folder: ``<FIVEOBS_HOME>/journal``; it may not exist yet.
        stored: Gives the places up to which journals are in the store; none for unknown ones.
        report: Called with a cause and a message when a journal cannot be read.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        folder: Path,
        stored: Callable[[Collection[str]], Mapping[str, Place]],
        *,
        report: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._stored = stored
        self._report = report
        self._clock = clock
        self._followed: dict[str, _Followed] = {}
        #: Journals that the store must be asked about again.
        self._unplaced: set[str] = set()
        self._list_at = 0.0
        self._changed_ns = -1
        #: Whose turn it is first, so that one busy journal does not keep the others waiting.
        self._turn = 0

    def read(self, max_bytes: int) -> list[Piece]:
        """What is new, up to about ``max_bytes``; the same again until `moved` is told.

        A journal that cannot be read is reported, and tried again later; the others go on.

        Raises:
            OSError: The folder cannot be listed just now.
        """
        if self._unplaced:
            self._place()
        self._list()
        now = self._clock()
        pieces: list[Piece] = []
        journals = list(self._followed.values())
        self._turn = (self._turn + 1) % max(1, len(journals))
        for journal in journals[self._turn :] + journals[: self._turn]:
            if max_bytes <= 0:
                break
            if journal.is_done or now < journal.look_at:
                continue
            piece = self._try(journal, max_bytes, now)
            if piece is not None:
                pieces.append(piece)
                max_bytes -= len(piece.content)
                journal.grown_at = now
            elif now - journal.grown_at > _QUIET_S:
                journal.look_at = max(journal.look_at, now + _QUIET_INTERVAL_S)
        return pieces

    def _try(self, journal: _Followed, max_bytes: int, now: float) -> Piece | None:
        """The next piece of a journal; if it cannot be read it rests, longer each time."""
        try:
            piece = self._next(journal, max_bytes)
        except OSError as exc:
            if not journal.retry_s:
                self._report("journal", _advice(journal, exc))
            journal.retry_s = min(2 * journal.retry_s or _RETRY_S, _MOST_RETRY_S)
            journal.look_at = now + journal.retry_s
            return None
        journal.retry_s = 0.0
        return piece

    def moved(self, stem: str, to: Place) -> None:
        """Go on from there: what comes before is stored."""
        journal = self._followed.get(stem)
        if journal is not None:
            journal.at = to

    def forget(self) -> None:
        """Ask the store anew how far each journal is in it."""
        self._unplaced = set(self._followed)

    def _place(self) -> None:
        places = self._stored(self._unplaced)
        for stem in self._unplaced & self._followed.keys():
            journal = self._followed[stem]
            journal.at, journal.is_done = places.get(stem, Place()), False
        self._unplaced = set()

    # --- which files -------------------------------------------------------------------------

    def _list(self) -> None:
        now = self._clock()
        try:
            changed_ns = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed_ns == self._changed_ns and now < self._list_at:
            return
        found: dict[str, dict[int, Path]] = {}
        for stem, number, path in segment_files(self._folder):
            found.setdefault(stem, {})[number] = path
        unknown = found.keys() - self._followed.keys()
        places = self._stored(unknown) if unknown else {}
        # Oldest first, as far as there is a choice.
        for stem in sorted(unknown):
            place = places.get(stem, Place())
            self._followed[stem] = _Followed(stem, place, {}, grown_at=now)
        for stem in self._followed.keys() - found.keys():
            journal = self._followed[stem]
            journal.segments, journal.is_done = {}, False
            if not journal.unread():
                del self._followed[stem]
        for stem, segments in found.items():
            self._look_at(self._followed[stem], segments)
        self._changed_ns, self._list_at = changed_ns, now + _LIST_INTERVAL_S

    def _look_at(self, journal: _Followed, segments: dict[int, Path]) -> None:
        # Before its end is read: once nobody holds the lock, nothing is added.
        lock = self._folder / f"{journal.stem}{LOCK_SUFFIX}"
        journal.has_lock = lock.exists()
        journal.is_owned = journal.has_lock and is_held(lock)
        if journal.is_owned or journal.segments.keys() != segments.keys() or _has_grown(journal):
            journal.is_done = False
        journal.segments = segments
        if not journal.is_done:
            journal.look()

    # --- what is in them ---------------------------------------------------------------------

    def _next(self, journal: _Followed, max_bytes: int) -> Piece | None:
        start = at = journal.at
        while True:
            path = journal.segments.get(at.segment)
            if path is None:
                return _deleted(journal, start, at)
            try:
                content = _read_lines(path, at.offset, max_bytes)
            except FileNotFoundError:
                self._changed_ns = -1  # deleted since the folder was listed
                return None
            following = journal.after(at.segment)
            if content.endswith(b"\n"):
                end = Place(at.segment, at.offset + len(content))
                return Piece(journal.stem, start, at, end, content)
            is_damage = following is not None or self._is_left(journal, at, len(content))
            if len(content) >= _MAX_LINE_BYTES or (content and is_damage):
                return _torn(journal.stem, start, at, content)
            if following is None:
                # What is there without a newline is being written.
                journal.is_done = not (journal.is_owned or content)
                return None
            at = Place(at.segment + 1)

    def _is_left(self, journal: _Followed, at: Place, length: int) -> bool:
        """Whether nobody goes on with a line that has no end.

        Where the lock file is there and not held, somebody may hold it all the same: on another
        machine, whose locks our file system does not know. Then the line must rest for a while.
        """
        if journal.is_owned:
            return False
        if journal.torn != (at, length):
            journal.torn, journal.torn_at = (at, length), self._clock()
        return not journal.has_lock or self._clock() - journal.torn_at >= _TORN_S


def _has_grown(journal: _Followed) -> bool:
    """Whether there is more in it than was read, although its process seemed to have ended."""
    path = journal.segments.get(journal.at.segment)
    try:
        return path is not None and path.stat().st_size > journal.at.offset
    except OSError:
        return True


def _advice(journal: _Followed, exc: OSError) -> str:
    path = journal.segments.get(journal.at.segment, exc.filename)
    what = exc.strerror or type(exc).__name__
    return (
        f"{path}: {what}; the other journals go on. Let the monitor's user read it, or move it "
        "away if it is no journal"
    )


def _deleted(journal: _Followed, start: Place, at: Place) -> Piece | None:
    """A gap in the numbers of the segments; or the last ones are gone, and were not read."""
    following = journal.after(at.segment)
    unread = journal.unread(following)
    if following is None:
        if not unread:
            journal.is_done = not journal.is_owned
            return None
        following = max(journal.sizes) + 1
    lost = f"segment {at.segment}" + (f" to {following - 1}" if following - 1 > at.segment else "")
    known = f"at least {unread} bytes" if unread else "nobody knows how many bytes"
    damage = f"{lost}: deleted before its end was read; {known}"
    return Piece(journal.stem, start, at, Place(following), b"", damage)


def _torn(stem: str, start: Place, at: Place, content: bytes) -> Piece:
    end = Place(at.segment, at.offset + len(content))
    is_long = len(content) >= _MAX_LINE_BYTES
    why = f"no line ends within {_MAX_LINE_BYTES} bytes" if is_long else "the line has no end"
    return Piece(stem, start, at, end, content, why)


def _read_lines(path: Path, offset: int, max_bytes: int) -> bytes:
    """Whole lines from there; without a newline at the end if there is not even one.

    Raises:
        FileNotFoundError: It is not there any more.
    """
    limit = min(_CHUNK_BYTES, max(max_bytes, _LEAST_BYTES))
    fd = os.open(path, os.O_RDONLY | OPEN_FLAGS)
    try:
        while True:
            chunk = pread(fd, limit, offset)
            end = chunk.rfind(b"\n") + 1
            if end:
                return chunk[:end]
            if len(chunk) < limit or limit >= _MAX_LINE_BYTES:
                return chunk
            limit = min(8 * limit, _MAX_LINE_BYTES)
    finally:
        os.close(fd)


def first_line_with(folder: Path, stem: str, marker: bytes) -> bytes:
    """The first line of a journal that has a marker; empty if there is none."""
    for _, _, path in segment_files(folder, stem):
        try:
            with path.open("rb") as file:
                found = next((line for line in file if marker in line), b"")
        except OSError:
            continue  # deleted, or not for us to read
        if found:
            return found
    return b""
