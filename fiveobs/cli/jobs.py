"""``fiveobs jobs``: the jobs that a monitor knows, the newest first."""

from __future__ import annotations

import argparse
from typing import Any

from fiveobs.cli._asking import add_monitor, asking
from fiveobs.exceptions import BadInputError

__all__ = ["add_parser", "run", "status_of"]

_STATUSES = (
    *("Running", "Queued", "Completed", "Failed", "Paused"),
    *("Stopped", "Cancelled", "Interrupted", "Lost"),
)
_DEFAULT_COUNT, _MOST = 30, 1_000


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    parser = subparsers.add_parser(
        "jobs",
        help="list jobs",
        description="List the jobs that a monitor knows, the newest first, with their progress."
        " Ends with 1 if one of the ids is not known.",
    )
    parser.add_argument("id", nargs="*", metavar="ID", help="only these jobs; whole ids")
    parser.add_argument(
        "--status", metavar="S", help=f"only jobs in this status: {', '.join(_STATUSES).lower()}"
    )
    parser.add_argument("--by", metavar="USER", help="only jobs that this user submitted")
    parser.add_argument(
        "-n", "--lines", metavar="N", help=f"how many at most (default: {_DEFAULT_COUNT})"
    )
    add_monitor(parser)


def run(args: argparse.Namespace) -> int:
    """Print the jobs."""
    with asking(args) as client:
        answer = client.jobs(
            args.id or None,
            status=status_of(args.status),
            submitted_by=args.by,
            include_metrics=args.json,
            limit=_count(args.lines),
        )
    if args.json:
        from fiveobs.cli._screen import as_json

        print(as_json(answer.raw))
    else:
        _show(args.color, answer)
    return 1 if answer.not_found else 0


def _show(colour: str, answer: Any) -> None:
    from fiveobs.cli._screen import Screen
    from fiveobs.cli._views import job_table, summary_line

    screen = Screen(colour)
    if answer.jobs:
        screen.show(job_table(answer))
    screen.show(summary_line(answer))


def status_of(text: str | None) -> str | None:
    """A status as the monitor writes it.

    Raises:
        BadInputError: There is no such status.
    """
    if text is None:
        return None
    found = next((each for each in _STATUSES if each.lower() == text.lower()), None)
    if found is None:
        raise BadInputError(f"--status {text!r} is none; use {', '.join(_STATUSES).lower()}")
    return found


def _count(text: str | None) -> int:
    if text is None:
        return _DEFAULT_COUNT
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise BadInputError(f"-n {text!r} is no number of jobs; use 1 to {_MOST}")
    return int(text)
