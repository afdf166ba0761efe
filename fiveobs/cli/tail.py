"""``fiveobs tail``: the events of every process under one home, as they happen.

Reads the journal only. The last records are found from the end of the files; from there on the
files are looked at several times a second.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from fiveobs import _parsers
from fiveobs._ids import rfc3339
from fiveobs._parsers import UnusableError
from fiveobs.cli._journals import (
    add_home,
    home_of,
    journal_folder,
    lines_backward,
    lines_forward,
    stems,
)
from fiveobs.cli._records import Record, key_data, level_text, local_time, short_id, who
from fiveobs.cli._selection import Selection, since_timestamp
from fiveobs.cli._terminal import Output, plain
from fiveobs.exceptions import BadInputError

__all__ = ["Follower", "Shown", "add_parser", "human_line", "last_lines", "run"]

#: How often files are looked at, in seconds.
_INTERVAL_S = 0.2
_DEFAULT_COUNT = 10
#: How far a file's time of change may lag behind the last record in it, in seconds.
_CLOCK_SLACK_S = 2.0
#: A record this much older than asked for ends the way back through a stem, in nanoseconds: several
#: threads append, so times are not quite in order.
_ORDER_SLACK_NS = 5_000_000_000
_TYPE_WIDTH = 15

_ID_OPTIONS = {
    "job": "job_id",
    "trace": "trace_id",
    "session": "session_id",
    "request": "request_id",
    "worker": "worker_id",
    "machine": "machine_id",
}


class Shown(NamedTuple):
    """A line to print; sorts by time."""

    timestamp: str
    seq: int
    line: bytes
    record: dict[str, Any]

    def __lt__(self, other: tuple[Any, ...]) -> bool:
        """By time, then by the order in which a process wrote."""
        return self[:3] < other[:3]


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    parser = subparsers.add_parser(
        "tail",
        help="follow the events of all processes",
        description="Print the last events of all processes under FIVEOBS_HOME, then follow.",
    )
    parser.add_argument(
        "id",
        nargs="*",
        metavar="ID",
        help="any id, or 6 or more characters of its beginning or end",
    )
    parser.add_argument(
        "-n",
        "--lines",
        metavar="N",
        help="how many of the last events to begin with, or 'all' (default: 10, with --since all)",
    )
    parser.add_argument("--no-follow", action="store_true", help="print what is there, then end")
    for name in _ID_OPTIONS:
        parser.add_argument(
            f"--{name}", action="append", metavar="ID", help=f"only this {name}; may be repeated"
        )
    _add_filters(parser)
    parser.add_argument(
        "--all",
        action="store_true",
        help="also heartbeats, and the records that are no events: metric, span, envelope",
    )
    parser.add_argument("--json", action="store_true", help="print the journal's lines as they are")
    add_home(parser)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--service", metavar="S", help="only this service; * and ? are allowed")
    parser.add_argument("--name", metavar="N", help="only jobs of this name; * and ? are allowed")
    parser.add_argument(
        "--type",
        action="append",
        metavar="GLOB",
        help="only events of this type, such as 'job.*'; may be repeated",
    )
    parser.add_argument(
        "--level",
        metavar="L",
        help="only events of at least this level: debug, info, warning, error or critical",
    )
    parser.add_argument("--grep", metavar="TEXT", help="only records that hold this text")
    parser.add_argument(
        "--since", metavar="TIME", help="only events since then: 10m (ago), or 2026-01-31T12:00"
    )


def run(args: argparse.Namespace) -> int:
    """Print, then follow until interrupted."""
    selection = _selection(args)
    count = _count(args)
    home = home_of(args)
    out = Output(args.color)
    follower = Follower(journal_folder(home), selection)
    printer = _printer(out, as_json=args.json)
    for shown in last_lines(follower, selection, count):
        printer(shown)
    if args.no_follow:
        return 0
    try:
        _follow(follower, out, printer)
    except KeyboardInterrupt:  # the way to end it
        return 0
    return 0


def _follow(follower: Follower, out: Output, printer: Callable[[Shown], None]) -> None:
    while True:
        for shown in follower.step():
            printer(shown)
        out.flush()
        out.wait(_INTERVAL_S)


def _count(args: argparse.Namespace) -> int | None:
    """How many lines to begin with; ``None`` for all."""
    text = args.lines
    if text is None:
        return None if args.since else _DEFAULT_COUNT
    if text.lower() == "all":
        return None
    if not text.isascii() or not text.isdecimal():
        raise BadInputError(f"-n {text!r} is no number of lines; use 0, 1, 2, … or all")
    return int(text)


def _selection(args: argparse.Namespace) -> Selection:
    selection = Selection(show_all=args.all)
    selection.only_types(args.type or [])
    if args.id:
        selection.only_id((), args.id)
    for option, field in _ID_OPTIONS.items():
        if wanted := getattr(args, option):
            selection.only_id((field,), wanted)
    for option, field in (("service", "service"), ("name", "job_name")):
        if pattern := getattr(args, option):
            selection.only_named(field, pattern)
    if args.level:
        selection.only_level(_level(args.level))
    if args.grep:
        selection.only_with(args.grep)
    if args.since:
        selection.only_since(since_timestamp(args.since))
    return selection


def _level(text: str) -> str:
    try:
        return str(_parsers.level(text))
    except UnusableError as exc:
        raise BadInputError(f"--level {text!r} is no level; use {exc.valid}") from None


# --- finding lines -------------------------------------------------------------------------------


class Follower:
    """Reads what is appended to any journal from now on.

    Args:
        folder: The journal folder; it need not be there yet.
        selection: Which lines to give.
    """

    def __init__(self, folder: Path, selection: Selection) -> None:
        self._folder = folder
        self._selection = selection
        #: How far each file was read.
        self._offsets: dict[Path, int] = {}
        #: The segments that were there at the beginning, by stem, with their size then.
        self.start: dict[str, list[tuple[Path, int]]] = {}
        for stem, segments in stems(folder).items():
            for _, path in segments:
                size = _size(path)
                self.start.setdefault(stem, []).append((path, size))
                self._offsets[path] = size

    def step(self) -> list[Shown]:
        """What was appended since the last step, in time order."""
        found: list[Shown] = []
        there = set()
        for segments in stems(self._folder).values():
            for _, path in segments:
                there.add(path)
                found += self._new_lines(path)
        self._offsets = {path: at for path, at in self._offsets.items() if path in there}
        return sorted(found)

    def _new_lines(self, path: Path) -> list[Shown]:
        offset = self._offsets.get(path, 0)
        size = _size(path)
        if size < offset:  # somebody emptied it
            offset = 0
        found = []
        if size > offset:
            for at, line in lines_forward(path, offset):
                offset = at + len(line) + 1
                if shown := _shown(line, self._selection):
                    found.append(shown)
        self._offsets[path] = offset
        return found


def last_lines(follower: Follower, selection: Selection, count: int | None) -> Iterable[Shown]:
    """The last lines that were there when the follower began, in time order.

    Args:
        follower: Knows how far the files reached then.
        selection: Which lines to give.
        count: How many; ``None`` for all.
    """
    if count is None:
        return heapq.merge(*(_forward(files, selection) for files in follower.start.values()))
    best: list[Shown] = []
    for changed_at, files in sorted(
        ((_changed_at(files), files) for files in follower.start.values()), reverse=True
    ):
        if count == 0 or (len(best) == count and best[0].timestamp > changed_at):
            break  # nothing in this stem, or in those left for longer, is late enough
        _keep_latest(best, _backward(files, selection), count)
    return sorted(best)


def _keep_latest(best: list[Shown], newest_first: Iterable[Shown], count: int) -> None:
    for shown in newest_first:
        if len(best) < count:
            heapq.heappush(best, shown)
        elif best[0] < shown:
            heapq.heapreplace(best, shown)
        elif _before(best[0].timestamp) > shown.timestamp:
            return


def _backward(files: list[tuple[Path, int]], selection: Selection) -> Iterator[Shown]:
    """A stem's lines, the last first."""
    for path, size in reversed(files):
        for line in lines_backward(path, size, selection.may_be_in):
            shown = _shown(line, selection)
            if shown:
                yield shown
            elif selection.since and _is_long_before(line, selection.since):
                return


def _forward(files: list[tuple[Path, int]], selection: Selection) -> Iterator[Shown]:
    """A stem's lines in order; files that ended before what is wanted are not opened."""
    for path, size in files:
        if selection.since and _changed_at([(path, size)]) < selection.since:
            continue
        for at, line in lines_forward(path):
            if at >= size:
                break
            if shown := _shown(line, selection):
                yield shown


def _shown(line: bytes, selection: Selection) -> Shown | None:
    record = selection.pick(line)
    if record is None:
        return None
    seq = record.get("seq")
    return Shown(str(record.get("timestamp", "")), seq if isinstance(seq, int) else 0, line, record)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _changed_at(files: list[tuple[Path, int]]) -> str:
    """The latest time that a record in the files can have."""
    try:
        changed_ns = files[-1][0].stat().st_mtime_ns
    except OSError:
        return ""
    return rfc3339(changed_ns + int(_CLOCK_SLACK_S * 1e9))


def _before(timestamp: str) -> str:
    try:
        moment_ns = int(datetime.fromisoformat(timestamp).timestamp()) * 1_000_000_000
    except ValueError:
        return ""
    return rfc3339(moment_ns - _ORDER_SLACK_NS)


def _is_long_before(line: bytes, since: str) -> bool:
    start = line.find(b'"timestamp":"', 0, 200) + 13
    return start > 12 and line[start : start + 27].decode("ascii", "replace") < _before(since)


# --- printing ------------------------------------------------------------------------------------


def _printer(out: Output, *, as_json: bool) -> Callable[[Shown], None]:
    if as_json:
        return lambda shown: out.raw(shown.line)
    now = datetime.now().astimezone()
    return lambda shown: out.line(human_line(shown.record, out, now))


def human_line(record: Record, out: Output, now: datetime) -> str:
    """One event for people: when, how bad, what, whose, what was said, the figures."""
    event_type = plain(record.get("event_type", ""))
    job_id = record.get("job_id")
    parts = [
        out.paint(local_time(str(record.get("timestamp", "")), now), "dim"),
        level_text(record, out),
        out.paint(f"{event_type:<{_TYPE_WIDTH}}", "bold"),
        out.paint(who(record), "cyan"),
        out.paint(short_id(str(job_id)), "blue") if job_id else "",
        plain(record.get("message", "")),
        out.paint(f"({figures})", "dim") if (figures := key_data(record)) else "",
    ]
    return " ".join(filter(None, parts))
