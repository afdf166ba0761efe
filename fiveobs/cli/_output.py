"""Where ``export`` and ``report`` write, and of which period: flags that both have."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from fiveobs.cli._selection import since_timestamp
from fiveobs.exceptions import BadInputError

__all__ = ["add_choice", "add_output", "format_of", "moment_of", "written"]

_STDOUT = "-"


def add_output(parser: argparse.ArgumentParser, formats: tuple[str, ...]) -> None:
    """Add ``--format`` and ``--output``."""
    parser.add_argument(
        "--format",
        metavar="F",
        help=f"{', '.join(formats)} (default: as the output is called, else {formats[0]})",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default=_STDOUT,
        help="where to; '-', the default, is standard output. The file appears when it is whole",
    )


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add ``--since``, ``--until``, ``--workflow`` and ``--service``."""
    parser.add_argument(
        "--since", metavar="TIME", help="from then on: 7d (ago), or 2026-01-31T12:00"
    )
    parser.add_argument("--until", metavar="TIME", help="before then (default: now)")
    parser.add_argument("--workflow", metavar="NAME", help="only of jobs of this name")
    parser.add_argument(
        "--service", metavar="NAME", help="with --workflow: only of jobs of this service"
    )


def moment_of(args: argparse.Namespace, name: str) -> datetime | None:
    """The time that a flag says.

    Raises:
        BadInputError: It is none.
    """
    text = getattr(args, name)
    if text is None:
        return None
    return datetime.fromisoformat(since_timestamp(text, f"--{name}"))


def format_of(args: argparse.Namespace, by_suffix: Mapping[str, str]) -> str:
    """The format that is meant.

    Args:
        args: The flags.
        by_suffix: The formats by what names of files end with; the first is the default.

    Raises:
        BadInputError: There is no such format.
    """
    formats = list(dict.fromkeys(by_suffix.values()))
    if args.format is None:
        return by_suffix.get(Path(args.output).suffix.lower(), formats[0])
    if args.format not in formats:
        raise BadInputError(f"--format {args.format!r} is none; use {', '.join(formats)}")
    return str(args.format)


@contextlib.contextmanager
def written(args: argparse.Namespace, *, is_binary: bool = False) -> Iterator[BinaryIO]:
    """Where to write: standard output, or a file that takes its name only when it is whole.

    Raises:
        BadInputError: It is a terminal, and what is to be written is no text.
    """
    if args.output != _STDOUT:
        with _replaced(Path(args.output)) as file:
            yield file
        return
    if is_binary and sys.stdout.isatty():
        raise BadInputError(
            "this is no text, and standard output is a terminal: use --output FILE, or a pipe"
        )
    sys.stdout.flush()
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """A new file beside it, which takes its place at the end, or is removed."""
    if path.exists() and not path.is_file():  # a pipe or a device is written to as it is
        with path.open("wb") as file:
            yield file
        return
    path = path.resolve()  # what a link leads to is replaced, and not the link
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("xb") as file:
            yield file
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
