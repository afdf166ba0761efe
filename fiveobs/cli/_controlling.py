"""``fiveobs stop``, ``pause`` and ``resume``: one thing, done to jobs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from fiveobs.cli._asking import add_monitor, asking, full_id
from fiveobs.cli._terminal import plain
from fiveobs.exceptions import ProblemError

__all__ = ["add_control", "run_control"]


def add_control(
    subparsers: Any, action: str, description: str, *, needs_id: bool = True
) -> argparse.ArgumentParser:
    """Define the arguments of one of the commands; without ``needs_id`` jobs need not be named."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        action,
        help=f"{action} a job",
        description=f"{description} What was done, by whom and why, is in the audit trail. Ends"
        " with 1 if one of the jobs is not known or has ended.",
    )
    parser.add_argument(
        "id",
        nargs="+" if needs_id else "*",
        metavar="JOB",
        help="the job's id, or 6 or more characters of its beginning or end",
    )
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the audit trail")
    add_monitor(parser)
    return parser


def run_control(args: argparse.Namespace, action: str) -> int:
    """Do it to each job; one that cannot be does not hold up the others."""
    from fiveobs.cli._screen import as_json

    failures, answers = 0, []
    with asking(args) as client:
        for text in args.id:
            try:
                job_id = full_id(client, text)
                answers.append(getattr(client, action)(job_id, reason=args.reason))
            except ProblemError as exc:
                failures += 1
                print(f"fiveobs: {plain(exc)}", file=sys.stderr)
    if args.json:
        print(as_json([each.raw for each in answers]))
    else:
        for each in answers:
            print(f"{plain(each.job_id)}: {plain(each.message)}")
    return 1 if failures else 0
