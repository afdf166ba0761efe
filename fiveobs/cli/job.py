"""``fiveobs job ID``: all that a monitor knows of one job."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fiveobs.cli._asking import add_monitor, asking, full_id
from fiveobs.exceptions import BadInputError

if TYPE_CHECKING:
    from fiveobs.client import Answer

__all__ = ["add_parser", "run"]

_DEFAULT_COUNT, _MOST = 20, 10_000


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    parser = subparsers.add_parser(
        "job",
        help="show all of one job",
        description="Show one job: progress, stages, timeline, warnings and errors, resource use,"
        " what it needs and what needs it. Ends with 1 if there is no such job.",
    )
    parser.add_argument(
        "id", metavar="ID", help="the job's id, or 6 or more characters of its beginning or end"
    )
    parser.add_argument(
        "-n",
        "--lines",
        metavar="N",
        help=f"how many events, and how many log entries (default: {_DEFAULT_COUNT})",
    )
    parser.add_argument(
        "--level",
        metavar="L",
        default="warn",
        help="log entries from this level on (default: warn)",
    )
    add_monitor(parser)


def run(args: argparse.Namespace) -> int:
    """Print the job."""
    count, level = _count(args.lines), _level(args.level)
    with asking(args) as client:
        job_id = full_id(client, args.id)
        answers: dict[str, Any] = {
            "progress": client.progress(job_id),
            "timeline": client.timeline(job_id),
            "logs": client.logs(job_id, level=level, limit=count),
            "metrics": client.metrics(job_id),
            "dependencies": client.dependencies(job_id),
        }
    if args.json:
        _print_json(answers)
    else:
        _show(args.color, answers, count)
    return 0


def _print_json(answers: dict[str, Answer]) -> None:
    from fiveobs.cli._screen import as_json

    print(as_json({name: answer.raw for name, answer in answers.items()}))


def _show(colour: str, answers: dict[str, Any], count: int) -> None:
    from fiveobs.cli import _views
    from fiveobs.cli._screen import Screen, words

    progress = answers["progress"]
    sections = {
        "Stages": _views.stage_table(progress),
        "Resources": _views.usage(progress),
        "Compared with past runs": _views.comparison(answers["metrics"]),
        "Dependencies": _views.dependency_table(answers["dependencies"]),
        "Log": _views.entries(answers["logs"]),
        "Timeline": _views.timeline_table(answers["timeline"], count),
    }
    screen = Screen(colour)
    screen.show(_views.head(progress))
    for title, table in sections.items():
        if table.row_count:
            screen.show("", words(title, "bold"), table)


def _count(text: str | None) -> int:
    if text is None:
        return _DEFAULT_COUNT
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise BadInputError(f"-n {text!r} is no number of lines; use 1 to {_MOST}")
    return int(text)


def _level(text: str) -> str:
    found = {"warning": "WARN"}.get(text.lower(), text.upper())
    if found not in ("DEBUG", "INFO", "WARN", "ERROR"):
        raise BadInputError(f"--level {text!r} is none; use debug, info, warn or error")
    return found
