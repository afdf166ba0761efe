"""``fiveobs import swf FILE``: writes a journal of the jobs of a trace, for the monitor to take in.

Reads the file twice, line by line, and writes a journal of its own beside those of the workers.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

from fiveobs._config import load_config
from fiveobs._ids import MAX_NAME_LENGTH, clean_text
from fiveobs.cli._imported import Importing, write_segments
from fiveobs.cli._journals import add_home, home_of, journal_folder
from fiveobs.cli._swf import BadLine, Job, TraceReader
from fiveobs.cli._terminal import Output, plain
from fiveobs.exceptions import BadInputError

__all__ = ["add_parser", "run"]

#: Bad lines that are named; the others are counted.
_MOST_NAMED = 10
#: What began so long ago may have expired: as long as the monitor keeps jobs by default.
_OLD_S = 180 * 86_400


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    parser = subparsers.add_parser(
        "import",
        help="have the monitor know jobs that ran elsewhere",
        description="Write a journal of the jobs of a trace, which the monitor takes in like any"
        " other. Importing the same file once more adds nothing.",
    )
    parser.add_argument(
        "format", choices=("swf",), help="what the file is in: swf, the Standard Workload Format"
    )
    parser.add_argument("file", metavar="FILE", help="the trace; with the ending .gz, compressed")
    parser.add_argument(
        "--service", metavar="S", help="the service that the jobs belong to (default: FILE's name)"
    )
    parser.add_argument(
        "--start",
        metavar="TIME",
        help="when the trace is to have begun, such as 2026-01-31T12:00 (default: what it says)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="write nothing if any line cannot be read"
    )
    add_home(parser)


def run(args: argparse.Namespace) -> int:
    """Import a trace; 1 if it has bad lines that were to be refused, or no jobs."""
    path = Path(args.file)
    service = clean_text(path.name.partition(".")[0], MAX_NAME_LENGTH)
    if args.service is not None:
        service = clean_text(args.service, MAX_NAME_LENGTH)
    if not service:
        raise BadInputError("--service is empty; name the service that the jobs belong to")
    out = Output(args.color)
    config = load_config(os.environ, {}, strict=False)
    owner = {"fiveobs.tenant.id": config.tenant_id, "fiveobs.project.id": config.project_id}
    start_s = None if args.start is None else _start_s(args.start)
    moved = () if start_s is None else (str(start_s),)
    bad, digest, said_s = _look(path, (*owner.values(), service, *moved))
    for each in bad.named:
        out.line(f"line {each.number}: {plain(each.reason)}")
    if bad.count > len(bad.named):
        out.line(f"and {bad.count - len(bad.named):,} more lines that cannot be read")
    if bad.count and args.strict:
        out.line(f"{bad.count:,} bad lines: nothing was imported, as --strict says")
        return 1
    importing = Importing(digest, service, owner)
    importing.start_s = said_s if start_s is None else start_s
    with _opened(path) as file:
        jobs = (each for each in TraceReader(file) if isinstance(each, Job))
        write_segments(journal_folder(home_of(args)), importing.stem, importing.lines(jobs))
    return _summarise(out, importing, bad.count)


def _start_s(text: str) -> int:
    """A moment, in seconds since 1970.

    Raises:
        BadInputError: It is none.
    """
    try:
        return int(datetime.fromisoformat(text.strip()).astimezone().timestamp())
    except (ValueError, OverflowError):
        raise BadInputError(
            f"--start {text!r} is no moment; one is 2026-01-31T12:00, local time unless it says"
            " otherwise"
        ) from None


class _Bad:
    """The lines that cannot be read."""

    def __init__(self) -> None:
        self.named: list[BadLine] = []
        self.count = 0

    def add(self, line: BadLine) -> None:
        self.count += 1
        if self.count <= _MOST_NAMED:
            self.named.append(line)


def _look(path: Path, whose: tuple[str, ...]) -> tuple[_Bad, str, int]:
    """The bad lines of a trace, what tells its jobs from others, and when it began."""
    bad, digest = _Bad(), hashlib.sha256("\0".join(whose).encode())

    def lines(file: IO[bytes]) -> Iterator[bytes]:
        for line in file:
            digest.update(line)
            yield line

    with _opened(path) as file:
        reader = TraceReader(lines(file))
        for each in reader:
            if isinstance(each, BadLine):
                bad.add(each)
    return bad, digest.hexdigest(), reader.start_s


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A trace's bytes.

    Raises:
        BadInputError: It cannot be unpacked.
        OSError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield cast("IO[bytes]", unpacked)
            else:
                yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise BadInputError(f"{path}: no whole gzip file ({exc}); unpack or copy it anew") from exc


def _summarise(out: Output, importing: Importing, bad: int) -> int:
    counts = dict(importing.counts)
    left_out = {name: counts.pop(name, 0) for name in ("parts", "without a run time")}
    left_out["bad lines"] = bad
    imported = sum(counts.values())
    if not imported:
        out.line("no job in it was imported")
        return 1
    how = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
    out.line(f"{imported:,} jobs imported into service {plain(importing.service)}: {how}")
    skipped = ", ".join(f"{count:,} {name}" for name, count in left_out.items() if count)
    if skipped:
        out.line(f"left out: {skipped}")
    if importing.start_s < time.time() - _OLD_S:
        out.line(
            "they are old: a monitor keeps jobs for 180 days unless FIVEOBS_RETENTION_EVENTS and"
            " FIVEOBS_RETENTION_FAILED_EVENTS say otherwise; --start has them begin later"
        )
    out.line("the monitor takes them in: fiveobs serve")
    return 0
