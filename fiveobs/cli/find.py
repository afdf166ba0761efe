"""``fiveobs find ID``: everything the journals hold about one id, over all five tracks.

Reads the journal and the tracks' cursors only.
"""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from fiveobs.cli import _queries
from fiveobs.cli._journals import add_home, home_of, journal_folder
from fiveobs.cli._records import (
    MIN_PART,
    duration_text,
    key_data,
    level_text,
    local_time,
    parsed,
    who,
)
from fiveobs.cli._search import SINGLE, Group, Hit, JobSummary, Search, Shipping
from fiveobs.cli._terminal import Output, plain, table
from fiveobs.exceptions import BadInputError

__all__ = ["add_parser", "run"]

_DEFAULT_LIMIT = 1000
#: Jobs that a summary lists; the others are counted.
_MAX_JOBS = 20
_MAX_VALUES = 5
_STATUS_STYLES = {"completed": "green", "failed": "red", "lost": "red", "running": "blue"}
_STATE_MARKS = {
    "delivered": ("", "green"),
    "delivered or dropped": (":delivered or dropped", "yellow"),
    "pending": (":pending", "yellow"),
    "not configured": (":not sent", "dim"),
}


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    parser = subparsers.add_parser(
        "find",
        help="find all records of an id, over all tracks",
        description="Print all records of a job, trace, span, session, worker, machine, request,"
        " event or Sentry event id in time order, which tracks they belong to and whether those"
        " have shipped them, then a summary and queries to paste into other tools.",
    )
    parser.add_argument(
        "id", metavar="ID", help="an id, or 6 or more characters of its beginning or end"
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=_limit,
        default=_DEFAULT_LIMIT,
        help=f"print the latest N records only (default: {_DEFAULT_LIMIT})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_home(parser)


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of records; use 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Search and print; 1 if nothing was found, or too much."""
    wanted = args.id.strip().strip("…")
    if not wanted:
        raise BadInputError("ID is empty; give an id, or 6 or more characters of one")
    home = home_of(args)
    folder = journal_folder(home)
    search = Search(folder, wanted, args.limit)
    groups = search.run()
    out = Output(args.color)
    if len(groups) == 1:
        marked = groups[0]
        group = _whole_job(folder, marked, args.limit)
        _print_found(out, args, home, group, {hit[1:3] for hit in marked.hits})
        return 0
    if args.json:
        _print_json(out, _not_found(wanted, home, search, groups))
    elif groups:
        _print_candidates(out, wanted, groups)
    else:
        _print_nothing(out, wanted, home, search)
    return 1


def _whole_job(folder: Path, group: Group, limit: int) -> Group:
    """The job that a single record belongs to, if the id was that of a single record."""
    if not group.kinds <= SINGLE or len(group.jobs) != 1:
        return group
    found = Search(folder, next(iter(group.jobs)), limit).run()
    job = found[0] if len(found) == 1 else group
    job.kinds |= group.kinds
    return job


# --- found -----------------------------------------------------------------------------------


def _print_found(
    out: Output, args: argparse.Namespace, home: Path, group: Group, marked: set[Any]
) -> None:
    shipping = Shipping(journal_folder(home))
    hits = sorted(group.hits)
    if args.json:
        _print_json(out, _found(args.id, home, group, hits, shipping))
        return
    if group.count > len(hits):
        out.line(f"The latest {len(hits)} of {group.count:,} records; --limit shows more.")
    now = datetime.now().astimezone()
    is_all = len(marked) >= len(hits)
    for hit in hits:
        mark = "" if is_all else "> " if hit[1:3] in marked else "  "
        out.line(mark + _line(hit, shipping, out, now))
    _print_summary(out, group, now)


def _line(hit: Hit, shipping: Shipping, out: Output, now: datetime) -> str:
    record = parsed(hit.line) or {}
    tracks = []
    for track, state in shipping.tracks(hit).items():
        text, style = _STATE_MARKS[state]
        tracks.append(out.paint(f"{track}{text}", style))
    message, figures = plain(record.get("message", "")), key_data(record)
    parts = [
        out.paint(local_time(hit.timestamp, now), "dim"),
        level_text(record, out),
        out.paint(f"{plain(record.get('event_type', '')):<15}", "bold"),
        out.paint(who(record), "cyan"),
        f"[{', '.join(tracks)}]",
        message,
        out.paint(f"({figures})", "dim") if figures else "",
    ]
    return " ".join(filter(None, parts))


def _print_summary(out: Output, group: Group, now: datetime) -> None:
    jobs = sorted(group.jobs.values(), key=lambda job: job.first_at)
    for job in jobs[:_MAX_JOBS]:
        _print_job(out, job, now)
    if len(jobs) > _MAX_JOBS:
        out.line(f"\nand {len(jobs) - _MAX_JOBS:,} more jobs: {_statuses(jobs[_MAX_JOBS:])}")
    if group.children:
        out.line("\n" + out.paint("Child jobs", "bold"))
        for child, name in list(group.children.items())[:_MAX_JOBS]:
            out.line(f"  {plain(child)}  {plain(name)}")
    _print_rows(out, "Ids", [(kind, _values(values)) for kind, values in group.ids.items()])
    for title, rows in _queries.queries(group).items():
        _print_rows(out, title, rows)


def _print_job(out: Output, job: JobSummary, now: datetime) -> None:
    status = out.paint(job.status, _STATUS_STYLES.get(job.status, ""))
    if job.error:
        status += f": {plain(job.error)}"
    rows = [
        ("status", status),
        ("duration", duration_text(job.duration_s) if job.duration_s is not None else ""),
        ("attempts", str(job.attempts)),
        ("from", local_time(job.first_at, now)),
        ("to", local_time(job.last_at, now)),
        ("parent job", plain(job.parent_job_id)),
    ]
    title = f"Job {job.job_id} {job.service}/{job.name}"
    _print_rows(out, plain(title), [row for row in rows if row[1]])


def _print_rows(out: Output, title: str, rows: list[tuple[str, ...]]) -> None:
    if not rows:
        return
    out.line("\n" + out.paint(title, "bold"))
    for line in table(rows):
        out.line(f"  {line}")


def _statuses(jobs: list[JobSummary]) -> str:
    names = [job.status for job in jobs]
    return ", ".join(f"{names.count(name):,} {name}" for name in dict.fromkeys(names))


def _values(values: dict[str, None]) -> str:
    shown = ", ".join(plain(value) for value in list(values)[:_MAX_VALUES])
    return shown + (f" and {len(values) - _MAX_VALUES:,} more" if len(values) > _MAX_VALUES else "")


def _found(
    wanted: str, home: Path, group: Group, hits: list[Hit], shipping: Shipping
) -> dict[str, Any]:
    return {
        "query": wanted,
        "home": str(home),
        "id": group.value,
        "kinds": sorted(group.kinds),
        "count": group.count,
        "records": [
            {
                "record": parsed(hit.line),
                "tracks": shipping.tracks(hit),
                "stem": hit.stem,
                "segment": hit.position.segment,
                "offset": hit.position.offset,
            }
            for hit in hits
        ],
        "jobs": [
            {name: getattr(job, name) for name in JobSummary.__slots__}
            for job in group.jobs.values()
        ],
        "child_jobs": group.children,
        "ids": {kind: list(values) for kind, values in group.ids.items()},
        "queries": _queries.queries(group),
    }


# --- not found ---------------------------------------------------------------------------------


def _not_found(wanted: str, home: Path, search: Search, groups: list[Group]) -> dict[str, Any]:
    return {
        "query": wanted,
        "home": str(home),
        "count": 0,
        "searched_files": search.files,
        "searched_records": search.records,
        "candidates": [
            {"id": group.value, "kinds": sorted(group.kinds), "last_at": group.last_at}
            for group in groups
        ],
    }


def _print_json(out: Output, content: dict[str, Any]) -> None:
    out.raw(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _print_candidates(out: Output, wanted: str, groups: list[Group]) -> None:
    out.line(f"{plain(wanted)!r} could be any of these {len(groups):,}; give more of it:")
    now = datetime.now().astimezone()
    newest = sorted(groups, key=lambda group: group.last_at, reverse=True)
    rows: list[tuple[str, ...]] = [
        (
            plain(group.value),
            " ".join(sorted(group.kinds)),
            local_time(group.last_at, now),
            _job_of(group),
        )
        for group in newest[:_MAX_JOBS]
    ]
    for line in table(rows):
        out.line(f"  {line}")
    if len(groups) > _MAX_JOBS:
        out.line(f"  and {len(groups) - _MAX_JOBS:,} more")


def _job_of(group: Group) -> str:
    if len(group.jobs) != 1:
        return f"{len(group.jobs)} jobs" if group.jobs else ""
    job = next(iter(group.jobs.values()))
    return plain(f"{job.service}/{job.name} {job.status}")


def _print_nothing(out: Output, wanted: str, home: Path, search: Search) -> None:
    out.line(
        f"Nothing has the id {plain(wanted)!r}: {search.records:,} records in {search.files:,}"
        f" files under {journal_folder(home)} were looked through."
    )
    if not search.files:
        out.line(
            "  - No job has written a journal there: use the FIVEOBS_HOME of the workers, or"
            " name it with --home. 'fiveobs config' shows which one is in force."
        )
        return
    if len(wanted) < MIN_PART:
        out.line(f"  - To find an id by a part of it, give at least {MIN_PART} characters.")
    out.line("  - Is it one of another machine, or of another FIVEOBS_HOME?")
    out.line("  - Old records make room for new ones: FIVEOBS_JOURNAL_MAX_BYTES limits them.")
