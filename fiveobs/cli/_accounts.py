"""Adds up what became of every record: accepted = delivered + pending + dropped, for each track.

*Delivered* and *dropped* come from the cursors. *Pending* are the lines behind a cursor. *Accepted*
is what the stem's tally says, and the lines after the tally's place, so that the two sides can be
compared. What was accepted, is not on disk and on no cursor, was in memory only: pending while its
process lives, dropped when that is dead. For ``events``, lost lines also show as gaps in the
sequence numbers. A stem without a tally is counted from the lines on disk where all segments are
still there; elsewhere the sums stand for themselves. Each cursor is read once, before the tally and
the lines, so a running shipper does not matter. Reads files only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fiveobs.cli._journals import lines_forward, stems
from fiveobs.journal.adoption import cursor_tracks
from fiveobs.journal.cursors import CursorState, Position, cursor_path, load_cursor
from fiveobs.journal.locks import StemLock
from fiveobs.journal.records import WANTS
from fiveobs.journal.segments import LOCK_SUFFIX, TALLY_SUFFIX
from fiveobs.journal.tally import Tally, load_tally, tally_path

__all__ = ["ALIVE", "DEAD", "FINISHED", "StemAccount", "TrackAccount", "account", "add_up"]

#: What a stem is: its process lives; it ended with records left to ship; all is shipped.
ALIVE, DEAD, FINISHED = "alive", "dead", "finished"

#: Where in a line its number and time are, in bytes.
_HEAD_BYTES = 200
#: A number that is missing this shortly before the end may still be on its way to the file, or was
#: when the process was killed; in seconds.
_IN_FLIGHT_S = {ALIVE: 1.0, DEAD: 0.05, FINISHED: 0.05}
#: Lines next to a removed segment may belong into it, since threads overtake each other.
_NEXT_TO_REMOVED = 256


@dataclass(slots=True)
class TrackAccount:
    """The sums of one track."""

    accepted: int = 0
    delivered: int = 0
    pending: int = 0
    dropped: int = 0
    #: The time of the oldest pending record; empty if there is none.
    oldest_pending: str = ""
    #: Stems whose accepted records could be counted, and of which the sums differ.
    counted_stems: int = 0
    wrong_stems: list[str] = field(default_factory=list)

    @property
    def adds_up(self) -> bool:
        """Whether all is accounted for, as far as it can be checked."""
        return not self.wrong_stems and self.accepted == (
            self.delivered + self.pending + self.dropped
        )

    def add(self, other: TrackAccount) -> None:
        """Take in another stem's sums."""
        self.accepted += other.accepted
        self.delivered += other.delivered
        self.pending += other.pending
        self.dropped += other.dropped
        oldest = [each for each in (self.oldest_pending, other.oldest_pending) if each]
        self.oldest_pending = min(oldest, default="")
        self.counted_stems += other.counted_stems
        self.wrong_stems += other.wrong_stems


@dataclass(slots=True)
class StemAccount:
    """What one process's journal holds."""

    stem: str
    state: str
    files: int = 0
    size_bytes: int = 0
    lines: int = 0
    #: Lines that are damaged, an unfinished last one included.
    torn: int = 0
    #: Files that are no longer there, of those that were.
    removed_files: int = 0
    tracks: dict[str, TrackAccount] = field(default_factory=dict)


def account(folder: Path) -> list[StemAccount]:
    """Every stem's account; reads all files."""
    found = stems(folder)
    for path in folder.glob(f"*{TALLY_SUFFIX}"):
        if path.with_suffix(LOCK_SUFFIX).exists():  # all that it has is in memory
            found.setdefault(path.name.removesuffix(TALLY_SUFFIX), [])
    return [_Count(folder, stem, segments).run() for stem, segments in sorted(found.items())]


def add_up(accounts: Iterable[StemAccount]) -> dict[str, TrackAccount]:
    """The sums of each track over all stems."""
    totals = {track: TrackAccount() for track in ("events", *WANTS)}
    for each in accounts:
        for track, sums in each.tracks.items():
            totals[track].add(sums)
    return totals


class _Count:
    """One look through a stem."""

    def __init__(self, folder: Path, stem: str, segments: list[tuple[int, Path]]) -> None:
        self._account = StemAccount(stem, _state(folder, stem))
        self._tracks = [
            _TrackCount(track, load_cursor(cursor_path(folder, stem, track)))
            for track in cursor_tracks(folder, stem)
        ]
        self._gaps = _Gaps()
        self._tally = load_tally(tally_path(folder, stem))
        self._place = self._tally.place if self._tally is not None else Position()
        if self._account.state == ALIVE and (not segments or self._place.segment > segments[-1][0]):
            segments = stems(folder, stem).get(stem, segments)  # it may have begun a file meanwhile
        self._segments = segments
        #: Lines from the tally's place on.
        self._lines_after = 0
        #: Lines that the tally has as in memory and that have been written to a file since.
        self._moved = 0

    def run(self) -> StemAccount:
        before = 0
        for number, path in self._segments:
            if number != before + 1:
                self._gaps.interrupt()
            before = number
            self._segment(number, path)
        self._finish()
        return self._account

    def _segment(self, number: int, path: Path) -> None:
        account = self._account
        account.files += 1
        end = 0
        for offset, line in lines_forward(path):
            end = offset + len(line) + 1
            account.lines += 1
            if not _is_whole(line):
                account.torn += 1
            self._gaps.add(_seq(line), line)
            self._add(line, Position(number, offset))
        with contextlib.suppress(OSError):
            size_bytes = path.stat().st_size
            account.size_bytes += size_bytes
            # What a living process has half written is finished in a moment.
            account.torn += size_bytes > end and account.state != ALIVE

    def _add(self, line: bytes, position: Position) -> None:
        is_after = position >= self._place
        self._lines_after += is_after
        if self._tally is not None and not is_after:
            self._moved += 0 < self._tally.memory_from <= position.segment
        for track in self._tracks:
            track.add(line, position, is_after=is_after)

    def _finish(self) -> None:
        account, tally = self._account, self._tally
        account.removed_files = self._removed()
        in_memory = max(0, tally.in_memory - self._moved) if tally is not None else 0
        account.tracks["events"] = self._events(in_memory)
        for track in self._tracks:
            if tally is not None and track.name in tally.accepted:
                sums = track.sums_by(tally, account, in_memory)
            else:
                sums = track.sums(account.stem, is_complete=account.removed_files == 0)
            account.tracks[track.name] = sums

    def _removed(self) -> int:
        """Files that were there and are not; what was given up in memory never was a file."""
        tally, last = self._tally, max((number for number, _ in self._segments), default=0)
        if tally is None:
            return last - len(self._segments)
        written = tally.memory_from - 1 if tally.memory_from else tally.place.segment
        return max(0, max(last, written) - len(self._segments) - tally.given_up)

    def _events(self, in_memory: int) -> TrackAccount:
        """Delivered is what files hold, and what those held that have been removed."""
        account, tally = self._account, self._tally
        lost = self._gaps.lost(_IN_FLIGHT_S[account.state])
        pending = in_memory if account.state == ALIVE else 0
        delivered = account.lines
        if tally is not None:
            accepted = tally.accepted["events"] + self._lines_after
            unwritten = tally.lost["events"] + in_memory - pending
            if account.removed_files:
                delivered = max(account.lines, accepted - unwritten - pending)
            else:
                unwritten = accepted - account.lines - pending
            lost = max(lost, unwritten)
        return TrackAccount(delivered + pending + lost, delivered, pending, lost, counted_stems=1)


class _TrackCount:
    """One track's lines of a stem, beside its cursor."""

    def __init__(self, name: str, cursor: CursorState) -> None:
        self.name = name
        self._cursor = cursor
        self._wants: Callable[[bytes], bool] = WANTS[name]
        self._on_disk = 0
        self._after = 0
        self._pending = 0
        self._oldest_pending = ""

    def add(self, line: bytes, position: Position, *, is_after: bool) -> None:
        if not self._wants(line):
            return
        self._on_disk += 1
        self._after += is_after
        if position >= self._cursor.position:
            self._pending += 1
            self._oldest_pending = self._oldest_pending or _timestamp(line)

    def sums(self, stem: str, *, is_complete: bool) -> TrackAccount:
        """By the cursor, and by the lines on disk if all of them are still there."""
        found = self._by_cursor()
        expected = found.accepted
        if is_complete:
            found.accepted = self._on_disk
        found.counted_stems = int(is_complete)
        if found.accepted != expected:
            found.wrong_stems = [stem]
        return found

    def sums_by(self, tally: Tally, account: StemAccount, in_memory: int) -> TrackAccount:
        """By the cursor, and by the tally with the lines that came after it.

        Args:
            tally: The stem's.
            account: The stem's.
            in_memory: How many lines can have been in memory only.
        """
        found = self._by_cursor()
        found.dropped += tally.lost[self.name]
        counted = tally.accepted[self.name] + self._after
        unwritten = counted - found.delivered - found.pending - found.dropped
        is_alive = account.state == ALIVE
        if is_alive:
            found.pending += max(0, unwritten)
        else:
            found.dropped += min(max(0, unwritten), in_memory)
        found.accepted = found.delivered + found.pending + found.dropped
        if account.removed_files and counted < found.accepted:
            return found  # files are gone that came after the tally
        found.counted_stems = 1
        # While it lives, memory changes between the looks at cursor and tally.
        if counted != found.accepted or (is_alive and unwritten > 0 and not tally.memory_from):
            found.accepted = counted
            found.wrong_stems = [account.stem]
        return found

    def _by_cursor(self) -> TrackAccount:
        cursor = self._cursor
        return TrackAccount(
            accepted=cursor.delivered + self._pending + cursor.dropped,
            delivered=cursor.delivered,
            pending=self._pending,
            dropped=cursor.dropped,
            oldest_pending=self._oldest_pending,
        )


class _Gaps:
    """Missing numbers in a sequence that threads write slightly out of order."""

    def __init__(self) -> None:
        #: ``[first missing, last missing, time of the line that showed it]``.
        self._missing: list[tuple[int, int, str]] = []
        self._first = 0
        self._last = 0
        self._last_line = b""
        #: Whether the segment before the present run of lines was removed.
        self._is_cut = False
        self._total = 0

    def add(self, seq: int, line: bytes) -> None:
        if seq <= 0:
            return
        self._last_line = line
        if not self._last:
            self._first = self._last = seq
        elif seq > self._last:
            if seq > self._last + 1:
                self._missing.append((self._last + 1, seq - 1, _timestamp(line)))
            self._last = seq
        else:
            self._found(seq)

    def _found(self, seq: int) -> None:
        """A late line; the gap it fills is among the latest."""
        for at in range(len(self._missing) - 1, -1, -1):
            first, last, shown_at = self._missing[at]
            if first <= seq <= last:
                rest = [(first, seq - 1, shown_at), (seq + 1, last, shown_at)]
                self._missing[at : at + 1] = [gap for gap in rest if gap[0] <= gap[1]]
                return

    def interrupt(self) -> None:
        """A segment is not there: what it held is not in the sequence, and not lost for that."""
        self._total += sum(
            last - first + 1
            for first, last, _ in self._certain()
            if last < self._last - _NEXT_TO_REMOVED
        )
        self._missing = []
        self._first = self._last = 0
        self._is_cut = True

    def lost(self, in_flight_s: float) -> int:
        """How many numbers are missing for good."""
        latest = _seconds(_timestamp(self._last_line))
        return self._total + sum(
            last - first + 1
            for first, last, shown_at in self._certain()
            if latest - _seconds(shown_at) >= in_flight_s
        )

    def _certain(self) -> list[tuple[int, int, str]]:
        if not self._is_cut:
            return self._missing
        return [gap for gap in self._missing if gap[0] > self._first + _NEXT_TO_REMOVED]


def _state(folder: Path, stem: str) -> str:
    lock = StemLock(folder / f"{stem}{LOCK_SUFFIX}")
    if not lock.path.exists():
        return FINISHED
    return ALIVE if lock.is_held_elsewhere() else DEAD


def _is_whole(line: bytes) -> bool:
    return line.startswith(b'{"') and line.endswith(b"}") and b'"event_type":"' in line


def _seq(line: bytes) -> int:
    start = line.find(b'"seq":', 0, _HEAD_BYTES) + 6
    digits = line[start : start + 20].partition(b",")[0] if start > 5 else b""
    return int(digits) if digits.isdigit() else 0


def _timestamp(line: bytes) -> str:
    start = line.find(b'"timestamp":"', 0, _HEAD_BYTES) + 13
    return line[start : line.find(b'"', start)].decode("ascii", "replace") if start > 12 else ""


def _seconds(timestamp: str) -> float:
    try:
        return datetime.fromisoformat(timestamp).astimezone(UTC).timestamp()
    except ValueError:
        return 0.0
