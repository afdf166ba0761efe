"""The command line: ``fiveobs tail``, ``find`` and the others in `_COMMANDS`.

Exit codes: 0 all is well, 1 a problem was found (or nothing was), 2 the command cannot be
understood, 130 interrupted. A subcommand's module is loaded only when it is asked for.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from keyword import iskeyword
from typing import Any

from fiveobs._version import __version__
from fiveobs.exceptions import FiveobsError, MonitorError

__all__ = ["main"]

#: The subcommands, each a module of this package with ``add_parser(subparsers)`` and ``run(args)``;
#: one whose name Python keeps to itself has an underscore behind it.
_COMMANDS = (
    *("tail", "find", "doctor", "config", "serve", "token", "retention", "import"),
    *("jobs", "job", "watch", "stop", "pause", "resume", "state", "rules"),
    *("export", "report"),
)
_PROBLEM, _USAGE, _INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; ``None`` takes those of this process.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parse(arguments)
        code = int(_module(args.command).run(args) or 0)
        sys.stdout.flush()
    except SystemExit as exc:  # argparse ends so, having said why
        return exc.code if isinstance(exc.code, int) else _USAGE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return 0
    except FiveobsError as exc:
        return _complain(str(exc), _PROBLEM if isinstance(exc, MonitorError) else _USAGE)
    except OSError as exc:
        return _complain(f"{exc.filename or 'the system'}: {exc.strerror or exc}", _PROBLEM)
    return code


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="fiveobs",
        description="Look at the five tracks of your jobs: events, logs, traces, metrics, errors.",
        epilog="'fiveobs COMMAND --help' says more. Exit codes: 0 all is well, 1 a problem was"
        " found, 2 the command cannot be understood.",
    )
    parser.add_argument("--version", action="version", version=f"fiveobs {__version__}")
    _add_colour(parser, "auto")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((each for each in arguments if each in _COMMANDS), None)
    for name in (chosen,) if chosen else _COMMANDS:
        _module(name).add_parser(subparsers)
    for each in subparsers.choices.values():
        _add_colour(each, argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _add_colour(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default=default,
        help="colours: auto (on a terminal, unless NO_COLOR is set), always or never",
    )


def _module(name: str) -> Any:
    return importlib.import_module(f"fiveobs.cli.{name}{'_' if iskeyword(name) else ''}")


def _complain(message: str, code: int) -> int:
    print(f"fiveobs: {message}", file=sys.stderr)
    return code


def _forget_stdout() -> None:
    """Whoever read our output has gone: let the interpreter's last flush go nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # it is no real file, or closed already
        return
