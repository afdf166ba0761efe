"""``fiveobs state``: what is observed and desired of jobs, workers, machines and services."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fiveobs.cli._asking import add_monitor, asking
from fiveobs.cli._terminal import Output, plain
from fiveobs.exceptions import BadInputError

if TYPE_CHECKING:
    from fiveobs.client import Client
    from fiveobs.client.answers import StateAnswer

__all__ = ["add_parser", "run"]

_KINDS = ("job", "worker", "machine", "service", "document")
_STATUSES = ("running", "paused", "stopped")
_DEFAULT_COUNT, _MOST = 100, 1_000


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    parser = subparsers.add_parser(
        "state",
        help="see and set the state of jobs, workers, machines, services and documents",
        description="See what is observed and desired of jobs, workers, machines and services, set"
        " what is desired, and share documents: each with a version.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = _add_action(actions, "list", _list, "print what is kept, a line for each")
    listing.add_argument("--kind", choices=_KINDS, help="only of this kind")
    listing.add_argument("--health", metavar="H", help="only those that are so: stuck, silent …")
    listing.add_argument("-n", "--lines", metavar="N", help=f"at most N ({_DEFAULT_COUNT})")
    _add_which(_add_action(actions, "get", _get, "print one, with its version"))
    setting = _add_action(
        actions, "set", _set, "set what is desired of one, or a document, and print it"
    )
    _add_which(setting)
    setting.add_argument(
        "value", metavar="VALUE", help="of a job running, paused or stopped; else a JSON object"
    )
    setting.add_argument("--version", metavar="N", help="only if it has this version")
    setting.add_argument("--new", action="store_true", help="only if the document is not there")
    setting.add_argument("--reason", metavar="TEXT", default="", help="why, for the audit trail")
    watching = _add_action(
        actions, "watch", _watch, "print every state, then each change, until Ctrl-C"
    )
    watching.add_argument("--kind", action="append", choices=_KINDS, help="only of this kind")
    watching.add_argument("--now", action="store_true", help="only what changes from now on")


def _add_action(
    actions: Any, name: str, do: Callable[..., int], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    add_monitor(parser)
    parser.set_defaults(do=do)
    return parser


def _add_which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=_KINDS, metavar="KIND", help=", ".join(_KINDS))
    parser.add_argument("id", metavar="ID", help="its id, or the name of the document")


def run(args: argparse.Namespace) -> int:
    """Do one of the actions; ``do`` is which."""
    with asking(args) as client:
        code: int = args.do(args, client)
    return code


def _list(args: argparse.Namespace, client: Client) -> int:
    from fiveobs.cli._screen import Screen, as_json
    from fiveobs.cli._views import state_table

    found = client.states(args.kind, health=args.health, limit=_count(args.lines)).states
    if args.json:
        print(as_json([each.raw for each in found]))
    else:
        Screen(args.color).show(state_table(found))
    return 0


def _get(args: argparse.Namespace, client: Client) -> int:
    return _show(client.state(args.kind, args.id))


def _set(args: argparse.Namespace, client: Client) -> int:
    version = None if args.version is None else _whole("--version", args.version, 2**63 - 1)
    value = _value(args.kind, args.value)
    more = {"version": version, "is_new": args.new, "reason": args.reason}
    return _show(client.set_state(args.kind, args.id, value, **more))


def _show(state: StateAnswer) -> int:
    from fiveobs.cli._screen import as_json

    print(as_json(dict(state.raw)))
    return 0


def _watch(args: argparse.Namespace, client: Client) -> int:
    out = Output(args.color)
    try:
        with client.watch_states(kinds=args.kind or (), from_now=args.now) as watch:
            for state in watch:
                out.line(
                    json.dumps(dict(state.raw), ensure_ascii=False) if args.json else _line(state)
                )
                out.flush()
    except KeyboardInterrupt:  # the way to end it
        pass
    return 0


def _line(state: StateAnswer) -> str:
    """A state on one line."""
    parts = [state.kind, state.id, f"v{state.version}", state.health or "-"]
    if state.observed is not None and state.observed.status:
        parts.append(state.observed.status)
    if state.desired is not None:
        parts.append(f"desired {json.dumps(dict(state.desired.value), ensure_ascii=False)}")
    if state.value is not None:
        parts.append(json.dumps(dict(state.value), ensure_ascii=False))
    if state.is_over:
        parts.append("over")
    return plain(" ".join(parts))


def _value(kind: str, text: str) -> dict[str, Any]:
    if kind == "job" and text in _STATUSES:
        return {"status": text}
    if kind == "job":
        raise BadInputError(f"VALUE {text!r} is no status of a job; use {', '.join(_STATUSES)}")
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise BadInputError(f"VALUE {text!r} is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise BadInputError(f"VALUE {text!r} is no JSON object; use one such as {{}}")
    return found


def _count(text: str | None) -> int:
    return _DEFAULT_COUNT if text is None else _whole("-n", text, _MOST)


def _whole(name: str, text: str, most: int) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= most:
        raise BadInputError(f"{name} {text!r} is no number that can be used; use 1 to {most}")
    return int(text)
