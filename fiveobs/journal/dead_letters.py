"""Keeps the events that a subscription of the bus could not handle, with the reason.

Reads and writes ``<home>/dead-letters/<machine>-<pid>.log``, JSON lines. Nothing is rewritten: a
letter that has been delivered again gets a second line that says so, in the file of the process
that did it, so any process may replay what any other has left. Safe from any thread and from
signal handlers; make a new one after a fork. Every call opens and closes its files and may block
on the disk.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from fiveobs._ids import rfc3339
from fiveobs.types import JobEvent

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DeadLetter", "DeadLetterJournal"]

#: How large a process's file gets before it is put aside, in bytes; one is kept beside it.
MAX_FILE_BYTES = 16 * 2**20
#: What the files of all processes may take together, in bytes.
MAX_FOLDER_BYTES = 256 * 2**20

_FOLDER = "dead-letters"
_SUFFIX = ".log"
_OLD_SUFFIX = ".1.log"
_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class DeadLetter(NamedTuple):
    """An event that a subscription could not handle."""

    #: When it was given up: RFC 3339, UTC, microseconds.
    dead_at: str
    #: The subscription's name.
    subscription: str
    #: The last error, ``queue full`` or ``shutdown``.
    reason: str
    #: How often the handler was called with it.
    attempts: int
    #: What was to be handled.
    event: JobEvent

    @property
    def key(self) -> tuple[str, str, str]:
        """Tells this letter from every other."""
        return self.subscription, self.dead_at, self.event.id


class DeadLetterJournal:
    """The dead letters under one home.

    Args:
        home: Gives ``FIVEOBS_HOME``, or ``None`` where there is none.
    """

    def __init__(self, home: Callable[[], Path | None]) -> None:
        self._home = home
        self._lock = threading.RLock()

    def append(
        self, letters: Iterable[DeadLetter], replayed: Iterable[DeadLetter] = ()
    ) -> tuple[str, int]:
        """Write letters, and that others have been replayed.

        Returns:
            The file, and how many bytes of older letters were dropped to bound the folder.

        Raises:
            OSError: Nothing can be written there.
        """
        letters = list(letters)
        lines = [_line(_letter_record(letter)) for letter in letters]
        lines += [_line(_replayed_record(letter)) for letter in replayed]
        machine = next((letter.event.machine_id for letter in letters), None)
        with self._lock:
            path = self._path(machine)
            dropped = _make_room(path)
            _write(path, lines)
        return path, dropped

    def read(self) -> list[DeadLetter]:
        """What every process has left and nobody has replayed since, oldest first."""
        letters: list[DeadLetter] = []
        replayed: set[tuple[str, str, str]] = set()
        for path in self._files():
            for record in _records(path):
                if "replayed_at" in record:
                    replayed.add(_replayed_key(record))
                elif (letter := _parse(record)) is not None:
                    letters.append(letter)
        return sorted(
            (letter for letter in letters if letter.key not in replayed),
            key=lambda letter: (letter.dead_at, letter.event.seq),
        )

    def _path(self, machine: str | None) -> str:
        home = self._home()
        if home is None:
            raise FileNotFoundError("there is no FIVEOBS_HOME to keep dead letters in")
        folder = os.path.join(home, _FOLDER)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        safe = _UNSAFE.sub("_", machine or "")[:64] or "machine"
        return os.path.join(folder, f"{safe}-{os.getpid()}{_SUFFIX}")

    def _files(self) -> list[str]:
        home = self._home()
        if home is None:
            return []
        return [path for path, _ in _sizes(os.path.join(home, _FOLDER))]


def _letter_record(letter: DeadLetter) -> dict[str, Any]:
    return {**letter._asdict(), "event": letter.event._record}


def _replayed_record(letter: DeadLetter) -> dict[str, Any]:
    return {
        "replayed_at": rfc3339(time.time_ns()),
        "subscription": letter.subscription,
        "dead_at": letter.dead_at,
        "event_id": letter.event.id,
    }


def _replayed_key(record: dict[str, Any]) -> tuple[str, str, str]:
    subscription, dead_at, event_id = _texts(record, "subscription", "dead_at", "event_id")
    return subscription, dead_at, event_id


def _texts(record: dict[str, Any], *names: str) -> list[str]:
    return [str(record.get(name, "")) for name in names]


def _line(record: dict[str, Any]) -> bytes:
    import json  # dead letters are rare, and importing fiveobs is to be quick

    return json.dumps(record, default=str, separators=(",", ":")).encode() + b"\n"


def _parse(record: dict[str, Any]) -> DeadLetter | None:
    """The letter, or ``None`` if the line is no letter of ours."""
    event, attempts = record.get("event"), record.get("attempts")
    if not isinstance(event, dict) or not isinstance(attempts, int):
        return None
    dead_at, subscription, reason = _texts(record, "dead_at", "subscription", "reason")
    return DeadLetter(dead_at, subscription, reason, attempts, JobEvent(event))


def _records(path: str) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; a torn one is skipped, a file that is gone is empty."""
    import json  # as above

    try:
        with open(path, "rb") as file:
            for line in file:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield record
    except OSError:
        return


def _write(path: str, lines: list[bytes]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _FLAGS, 0o600)
    try:
        for line in lines:
            written = os.write(fd, line)
            if written != len(line):
                raise OSError(f"only {written} of {len(line)} bytes could be written to {path}")
    finally:
        os.close(fd)


def _make_room(path: str) -> int:
    """Put a full file aside, and before a new one delete the oldest; the bytes dropped."""
    try:
        size = os.stat(path).st_size
    except FileNotFoundError:
        return _prune(os.path.dirname(path))
    if size < MAX_FILE_BYTES:
        return 0
    old = path.removesuffix(_SUFFIX) + _OLD_SUFFIX
    dropped = os.stat(old).st_size if os.path.exists(old) else 0
    os.replace(path, old)
    return dropped + _prune(os.path.dirname(path))


def _prune(folder: str) -> int:
    """Delete the files written to least recently until the rest is within the bound."""
    files = _sizes(folder)
    total, dropped = sum(size for _, size in files), 0
    for path, size in files:
        if total - dropped <= MAX_FOLDER_BYTES:
            break
        try:
            os.unlink(path)
            dropped += size
        except OSError:
            continue
    return dropped


def _sizes(folder: str) -> list[tuple[str, int]]:
    """The folder's files and their sizes in bytes, the one written to least recently first."""
    found = []
    try:
        for entry in os.scandir(folder):
            if entry.name.endswith(_SUFFIX):
                stat = entry.stat()
                found.append((stat.st_mtime_ns, entry.path, stat.st_size))
    except OSError:
        pass
    return [(path, size) for _, path, size in sorted(found)]
