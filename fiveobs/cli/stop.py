"""``fiveobs stop``: ask jobs to end at their next checkpoint: these, or all that fit."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from fiveobs.cli._asking import asking, full_id
from fiveobs.cli._controlling import add_control, run_control
from fiveobs.cli._terminal import plain
from fiveobs.exceptions import BadInputError

__all__ = ["add_parser", "run"]

_STATUSES = ("Queued", "Running", "Paused")


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    parser = add_control(
        subparsers,
        "stop",
        "Ask jobs to stop: they end as stopped at their next checkpoint. With one of the flags that"
        " choose, every job is asked that fits all that are given, those that wait included.",
        needs_id=False,
    )
    chosen = parser.add_argument_group("choose jobs")
    chosen.add_argument("--all", action="store_true", help="every job of the project")
    for flag, metavar, what in (
        ("--name", "NAME", "jobs of this name"),
        ("--service", "NAME", "jobs of this service"),
        ("--status", "S", f"jobs in this status: {', '.join(_STATUSES).lower()}"),
    ):
        chosen.add_argument(
            flag, metavar=metavar, action="append", default=[], help=f"{what}; may be repeated"
        )
    chosen.add_argument("--session", metavar="ID", help="jobs of this session")
    chosen.add_argument("--by", metavar="USER", help="jobs that this user submitted")
    parser.add_argument("--yes", action="store_true", help="do not ask before many are stopped")


def run(args: argparse.Namespace) -> int:
    """Do it.

    Raises:
        BadInputError: No job is meant, or nobody can be asked whether those are.
    """
    chosen = _chosen(args)
    if chosen:
        return _stop_all(args, chosen)
    if not args.id:
        raise BadInputError("no job is named: give ids, or choose with --all, --name, …")
    return run_control(args, "stop")


def _chosen(args: argparse.Namespace) -> dict[str, Any]:
    """What the flags say, as the client takes it; empty if none is given."""
    if args.all and args.id:
        raise BadInputError("--all means every job: leave the ids out")
    found = {
        "all_jobs": args.all,
        "job_names": args.name,
        "services": args.service,
        "statuses": [_status(each) for each in args.status],
        "session_id": args.session,
        "submitted_by": args.by,
    }
    return {name: value for name, value in found.items() if value}


def _status(text: str) -> str:
    found = next((each for each in _STATUSES if each.lower() == text.lower()), None)
    if found is None:
        raise BadInputError(f"--status {text!r} is none; use {', '.join(_STATUSES).lower()}")
    return found


def _stop_all(args: argparse.Namespace, chosen: dict[str, Any]) -> int:
    if not args.yes and not _agrees(args, chosen):
        print("nothing was stopped", file=sys.stderr)
        return 1
    with asking(args) as client:
        ids = [full_id(client, text) for text in args.id]
        answer = client.emergency_stop(reason=args.reason, job_ids=ids, **chosen)
    if args.json:
        from fiveobs.cli._screen import as_json

        print(as_json(answer.raw))
    else:
        _show(answer)
    return 1 if answer.unreachable or answer.not_written else 0


def _agrees(args: argparse.Namespace, chosen: dict[str, Any]) -> bool:
    """Whether whoever sits at the terminal means it."""
    if not sys.stdin.isatty():
        raise BadInputError("there is no terminal to ask on: say --yes if you mean it")
    parts = [] if args.all else [f"{name.replace('_', ' ')} {chosen[name]}" for name in chosen]
    parts += [f"jobs {args.id}"] if args.id else []
    which = f"that fits: {', '.join(parts)}" if parts else "of the project"
    print(f"Stop every job {plain(which)}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _show(answer: Any) -> None:
    print(
        f"asked {answer.requested} to stop: {answer.running} running, {answer.paused} paused,"
        f" {answer.queued} in queues"
    )
    for ids, why in (
        (answer.unreachable_job_ids, "runs where this monitor reaches nobody"),
        (answer.not_written_job_ids, "the request could not be written"),
    ):
        for job_id in ids:
            print(f"fiveobs: {plain(job_id)}: {why}", file=sys.stderr)
