"""``fiveobs watch [ID]``: jobs as they go on, or the events of one as they happen.

On a terminal a view that changes in place; elsewhere, and with ``--json``, a line for each event.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fiveobs.cli._asking import add_monitor, asking, full_id
from fiveobs.cli._terminal import Output
from fiveobs.cli.tail import human_line

if TYPE_CHECKING:
    from fiveobs.client import Client, Watch
    from fiveobs.types import JobEvent

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    parser = subparsers.add_parser(
        "watch",
        help="watch jobs as they run",
        description="Watch one job until it has ended, or all that run until Ctrl-C. On a terminal"
        " with progress bars, else a line for each event. Ends with 0 if the job completed, with 1"
        " if it ended otherwise.",
    )
    parser.add_argument(
        "id",
        nargs="?",
        metavar="ID",
        help="the job's id, or 6 or more characters of its beginning or end",
    )
    parser.add_argument(
        "--type",
        action="append",
        metavar="GLOB",
        help="only events of this type, such as 'job.*'; may be repeated",
    )
    parser.add_argument("--events", action="store_true", help="a line for each event, always")
    add_monitor(parser)


def run(args: argparse.Namespace) -> int:
    """Watch until the job has ended, or until interrupted."""
    with asking(args) as client:
        if args.id is None:
            return _watch_all(args, client)
        job_id = full_id(client, args.id)
        _watch(args, client, job_id)
        return 0 if client.progress(job_id).status == "Completed" else 1


def _watch_all(args: argparse.Namespace, client: Client) -> int:
    try:
        _watch(args, client, None)
    except KeyboardInterrupt:  # the way to end it
        pass
    return 0


def _watch(args: argparse.Namespace, client: Client, job_id: str | None) -> None:
    from fiveobs.cli._screen import Screen

    screen = Screen(args.color)
    with client.watch(job_id, types=args.type or ()) as watch:
        if args.json or args.events or args.type or not screen.can_redraw:
            _print_events(watch, _printer(args))
        else:
            from fiveobs.cli._live import show_live

            show_live(screen, client, job_id, watch)


def _print_events(watch: Watch, printer: Callable[[JobEvent], None]) -> None:
    for event in watch:
        printer(event)


def _printer(args: argparse.Namespace) -> Callable[[JobEvent], None]:
    out = Output(args.color)

    def print_json(event: JobEvent) -> None:
        out.line(json.dumps(dict(event.record), ensure_ascii=False))
        out.flush()

    def print_line(event: JobEvent) -> None:
        out.line(human_line(event.record, out, datetime.now().astimezone()))
        out.flush()

    return print_json if args.json else print_line
