"""Reads traces of jobs in the Standard Workload Format, version 2.2, line by line.

A trace has header comments (``; UnixStartTime: 1027839845``) and a line of 18 numbers for each job,
of which -1 is unknown. Source: Chapin et al., "Benchmarks and standards for the evaluation of
parallel job schedulers" (1999), and https://www.cs.huji.ac.il/labs/parallel/workload/swf.html.
Pure: bytes in, jobs out, in constant memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["BadLine", "Job", "TraceReader"]

FAILED, COMPLETED, CANCELLED = 0, 1, 5
#: Lines of parts of a job that was swapped out; one line before them sums them up.
PARTS = (2, 3, 4)
_STATUSES = (-1, FAILED, COMPLETED, *PARTS, CANCELLED)
_FIELDS = 18
_HEADER = re.compile(r";\s*([A-Za-z]+)\s*:\s*(.*?)\s*$")
_SHOWN = 60
#: Beyond them no trace goes: 300 years in seconds, and anything else.
_MOST_S, _MOST = 1e10, 1e15
_TIMES = ("submit time", "wait time", "run time")


class BadLine(NamedTuple):
    """A line that is no job."""

    number: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A line of a trace; ``None`` is unknown."""

    #: In the file, from 1.
    line: int
    number: int
    #: Seconds since the trace began; 0 where a part does not say it.
    submitted_s: float
    wait_s: float | None
    run_s: float | None
    processors: int | None
    #: Per processor, on the average.
    cpu_s: float | None
    memory_kib: float | None
    requested_processors: int | None
    requested_s: float | None
    requested_memory_kib: float | None
    #: As in the format: 0 failed, 1 completed, 5 cancelled, -1 unknown; 2, 3 and 4 are parts.
    status: int
    user: int | None
    group: int | None
    application: int | None
    queue: int | None
    partition: int | None
    preceding: int | None
    think_s: float | None

    @property
    def is_part(self) -> bool:
        """Whether it is a part of a job that another line sums up."""
        return self.status in PARTS


class TraceReader:
    """The jobs of a trace.

    Args:
        lines: Of the file, in its order.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        #: What the header says, as far as it was read: it comes before the first job.
        self.header: dict[str, str] = {}

    def __iter__(self) -> Iterator[Job | BadLine]:
        for number, raw in enumerate(self._lines, 1):
            text = raw.decode("utf-8", "replace").strip()
            if text.startswith(";"):
                found = _HEADER.match(text)
                if found is not None:
                    self.header.setdefault(found[1], found[2])
            elif text:
                try:
                    yield _job(number, text.split())
                except ValueError as exc:
                    yield BadLine(number, str(exc))

    @property
    def start_s(self) -> int:
        """When the trace began, in seconds since 1970; 0 where the header does not say."""
        text = self.header.get("UnixStartTime", "")
        return int(text) if re.fullmatch(r"\d{1,11}", text) else 0


def _job(line: int, fields: list[str]) -> Job:
    """One line.

    Raises:
        ValueError: It is none, with the reason.
    """
    if len(fields) < _FIELDS:
        raise ValueError(f"{len(fields)} fields; a job has {_FIELDS}")
    numbers = [_number(name, text) for name, text in zip(_NAMES, fields, strict=False)]
    number, submitted_s, status = numbers[0], numbers[1], numbers[10]
    if number is None:
        raise ValueError(f"job number: {fields[0]!r} is none; valid is 0 or more")
    code = -1 if status is None else int(status)
    if code not in _STATUSES:
        raise ValueError(f"status: {fields[10]!r} is none; valid are {_STATUSES}")
    if submitted_s is None and code not in PARTS:
        raise ValueError(f"submit time: {fields[1]!r} is none; valid are 0 or more seconds")
    return Job(
        line=line,
        number=int(number),
        submitted_s=submitted_s or 0.0,
        wait_s=numbers[2],
        run_s=numbers[3],
        processors=_whole(numbers[4]),
        cpu_s=numbers[5],
        memory_kib=numbers[6],
        requested_processors=_whole(numbers[7]),
        requested_s=numbers[8],
        requested_memory_kib=numbers[9],
        status=code,
        user=_whole(numbers[11]),
        group=_whole(numbers[12]),
        application=_whole(numbers[13]),
        queue=_whole(numbers[14]),
        partition=_whole(numbers[15]),
        preceding=_whole(numbers[16]),
        think_s=numbers[17],
    )


_NAMES = (
    *("job number", "submit time", "wait time", "run time", "allocated processors"),
    *("CPU time", "memory", "requested processors", "requested time", "requested memory"),
    *("status", "user", "group", "application", "queue", "partition", "preceding job"),
    "think time",
)


def _number(name: str, text: str) -> float | None:
    """A number; ``None`` if it is negative, which means unknown.

    Raises:
        ValueError: It is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= (_MOST_S if name in _TIMES else _MOST):
        raise ValueError(f"{name}: {text[:_SHOWN]!r} is no number that it can be")
    return None if value < 0 else value


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
