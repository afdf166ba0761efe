"""Journals, destinations and clocks for tests of the journal: they do as they are told."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fiveobs.exceptions import DeliveryError
from fiveobs.journal.records import WANTS
from fiveobs.journal.segments import LOCK_SUFFIX, FileSegment
from fiveobs.journal.shipper import Shipper, SumShipper
from fiveobs.journal.writer import Journal, JournalSettings
from tests.support.journals import append, line

__all__ = [
    "Clock",
    "FakeDestination",
    "Reports",
    "age",
    "appended",
    "drain",
    "full_disk",
    "make_journal",
    "make_shipper",
    "open_descriptors",
    "program",
    "start_program",
    "until",
]

_ROOT = Path(__file__).resolve().parents[2]


class Reports(list[tuple[str, str]]):
    """Keeps what is reported: causes and messages."""

    def __call__(self, cause: str, message: str) -> None:
        self.append((cause, message))

    def about(self, cause: str) -> list[str]:
        """The messages of one cause."""
        return [message for each, message in self if each == cause]


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeDestination:
    """Takes lines, unless it is told to do something else with the next deliveries."""

    def __init__(self, *, max_records: int = 100, max_bytes: int = 1_000_000) -> None:
        self.max_records = max_records
        self.max_bytes = max_bytes
        self.taken: list[bytes] = []
        self.calls: list[list[bytes]] = []
        self.timeouts: list[float] = []
        self.origins: list[Mapping[str, Any]] = []
        #: What the next deliveries do: raise, or reject so many.
        self.script: deque[Exception | int] = deque()
        self.poison: Callable[[bytes], bool] = lambda _: False
        self.poison_error: BaseException = DeliveryError("poison", permanent=True)
        self.exports = 0
        self.export_errors: deque[Exception] = deque()
        self.closed = 0

    def ship(self, lines: list[bytes], timeout_s: float, origin: Mapping[str, Any]) -> int:
        self.calls.append(lines)
        self.timeouts.append(timeout_s)
        self.origins.append(origin)
        done = self.script.popleft() if self.script else 0
        if isinstance(done, Exception):
            raise done
        if any(map(self.poison, lines)):
            raise self.poison_error
        rejected = min(done, len(lines))
        self.taken += lines[: len(lines) - rejected]
        return rejected

    def export(self, timeout_s: float) -> None:
        self.exports += 1
        if self.export_errors:
            raise self.export_errors.popleft()

    def close(self) -> None:
        self.closed += 1


def make_journal(
    folder: Path | None,
    *tracks: str,
    reports: Reports | None = None,
    machine: str = "m",
    **settings: Any,
) -> Journal:
    """A journal of this process, with a reader for each track."""
    wants = {track: WANTS[track] for track in tracks}
    journal = Journal(
        folder,
        machine,
        JournalSettings(**settings),
        wants,
        Reports() if reports is None else reports,
    )
    for track in tracks:
        journal.reader(track)
    return journal


def make_shipper(
    journal: Journal,
    destination: FakeDestination,
    track: str = "logs",
    *,
    clock: Callable[[], float] = time.monotonic,
    reports: Reports | None = None,
    export_interval_s: float | None = None,
    interval_s: float = 0.01,
) -> Shipper:
    """A shipper of one track; of sums if it has an export interval."""
    given: Any = {
        "interval_s": interval_s,
        "timeout_s": 10.0,
        "report": Reports() if reports is None else reports,
        "clock": clock,
    }
    parts: Any = (track, destination, journal.readers[track], journal.end)
    if export_interval_s is None:
        return Shipper(*parts, **given)
    return SumShipper(*parts, export_interval_s=export_interval_s, **given)


def appended(journal: Journal, numbers: Iterable[int], size_bytes: int = 0) -> list[bytes]:
    """Append log lines; return them without their newlines."""
    lines = [line(number, data={"x": "x" * size_bytes}) for number in numbers]
    for each in lines:
        append(journal, each)
    return [each[:-1] for each in lines]


def drain(shipper: Shipper) -> None:
    """Have it ship on this thread until there is nothing to do."""
    while shipper._turn():
        pass


def age(folder: Path) -> None:
    """Make the lock files look old enough to be adopted."""
    for path in folder.glob(f"*{LOCK_SUFFIX}"):
        os.utime(path, (1, 1))


@contextmanager
def full_disk() -> Iterator[None]:
    """Meanwhile, files can be made and nothing can be written to them."""

    def refuse(self: FileSegment, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    append_to_file = FileSegment.append
    FileSegment.append = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        FileSegment.append = append_to_file  # type: ignore[method-assign]


def open_descriptors() -> int:
    """How many files this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


def start_program(text: str, *args: object) -> subprocess.Popen[str]:
    """Run a program of ours in a process of its own, with pipes to it."""
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, args)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def program(text: str, *args: object) -> str:
    """Run a program to its end; return what it printed."""
    with start_program(text, *args) as process:
        try:
            printed, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0
    return printed.strip()


def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: It did not come true.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(condition)
        time.sleep(0.005)
