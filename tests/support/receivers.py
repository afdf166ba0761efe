"""The receivers under one roof, and a process of its own that serves them.

``python -m tests.support.receivers --all --json`` prints one JSON line with the addresses and
serves until its standard input closes. Each line on standard input is a JSON command, answered by
one JSON line:

============================================== ===================================================
``{"counts": true}``                           the counts of each receiver
``{"set_mode": "slow", "delay_s": 0.2}``       sets mode (and ``delay_s``, ``retry_after_s``,
                                               ``error_status``) of all receivers
``{"stop": true}``, ``{"start": true}``        closes the ports; listens on the same ports again
``{"clear": true}``                            forgets what was received
============================================== ===================================================

A command may name one receiver with ``"receiver": "otlp"``.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any

from tests.support.base import HOST, MODES, Mode, Receiver
from tests.support.forward import ForwardReceiver
from tests.support.otlp import OtlpReceiver
from tests.support.sentry import Envelope, Item, SentryReceiver
from tests.support.web import AgentReceiver, FluentHttpReceiver, Request

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "HOST",
    "MODES",
    "RECEIVERS",
    "AgentReceiver",
    "Envelope",
    "FluentHttpReceiver",
    "ForwardReceiver",
    "Item",
    "Mode",
    "OtlpReceiver",
    "Receiver",
    "Request",
    "SentryReceiver",
    "main",
    "serve",
]

#: Every kind of receiver by its name on the command line.
RECEIVERS: dict[str, type[Receiver]] = {
    each.name: each
    for each in (OtlpReceiver, ForwardReceiver, FluentHttpReceiver, SentryReceiver, AgentReceiver)
}
_SETTINGS = ("delay_s", "retry_after_s", "error_status")


def main(arguments: list[str] | None = None) -> int:
    """Serve the receivers asked for until standard input closes."""
    options = _options(arguments)
    receivers = {
        name: kind(count_only=options.count_only)
        for name, kind in RECEIVERS.items()
        if options.all or getattr(options, name)
    }
    serve(receivers, as_json=options.json)
    return 0


def serve(receivers: dict[str, Receiver], *, as_json: bool = True) -> None:
    """Print the receivers' addresses and obey commands until standard input closes."""
    with ExitStack() as stack:
        for receiver in receivers.values():
            stack.enter_context(receiver)
        _print_addresses(receivers, as_json=as_json)
        _obey(sys.stdin, receivers)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="receivers", description="Serve receivers for tests.")
    parser.add_argument("--all", action="store_true", help="serve every kind")
    for name in RECEIVERS:
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true")
    parser.add_argument("--json", action="store_true", help="print the addresses as one JSON line")
    parser.add_argument("--count-only", action="store_true", help="store counts only")
    return parser.parse_args(arguments)


def _print_addresses(receivers: dict[str, Receiver], *, as_json: bool) -> None:
    addresses = {name: receiver.describe() for name, receiver in receivers.items()}
    if as_json:
        _say(json.dumps(addresses))
        return
    for name, address in addresses.items():
        _say(f"{name:12} {address}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _obey(commands: IO[str], receivers: dict[str, Receiver]) -> None:
    for line in commands:
        if line.strip():
            try:
                answer = _command(json.loads(line), receivers)
            except Exception as exc:  # whoever typed it gets the reason
                answer = {"error": repr(exc)}
            _say(json.dumps(answer))


def _command(command: dict[str, Any], receivers: dict[str, Receiver]) -> dict[str, Any]:
    named = command.get("receiver")
    chosen = {named: receivers[named]} if named else receivers
    if "counts" in command:
        return {name: _counts(receiver) for name, receiver in chosen.items()}
    if "set_mode" in command:
        _set_mode(command, chosen.values())
        return {"ok": True}
    for verb in ("stop", "start", "clear"):
        if verb in command:
            for receiver in chosen.values():
                getattr(receiver, verb)()
            return {"ok": True}
    return {"error": f"no such command: {command}"}


def _set_mode(command: dict[str, Any], receivers: Iterable[Receiver]) -> None:
    for receiver in receivers:
        for setting in _SETTINGS:
            if setting in command:
                setattr(receiver, setting, command[setting])
        receiver.mode = command["set_mode"]


def _counts(receiver: Receiver) -> dict[str, Any]:
    counts: dict[str, Any] = dict(receiver.counts)
    if isinstance(receiver, OtlpReceiver):
        counts["metric_totals"] = dict(receiver.metric_totals)
    return counts


if __name__ == "__main__":
    sys.exit(main())
