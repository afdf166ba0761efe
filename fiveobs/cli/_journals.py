"""Reads the journals of every process under one home, without changing or locking anything.

Files may appear, grow and vanish while they are read; one that has vanished counts as ended. Only
whole lines are handed out.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from fiveobs._config import load_config
from fiveobs.exceptions import BadInputError
from fiveobs.journal.reader import MAX_LINE_BYTES
from fiveobs.journal.segments import segment_files

__all__ = [
    "add_home",
    "chunks",
    "home_of",
    "journal_folder",
    "lines_backward",
    "lines_forward",
    "stems",
]

#: Bytes read at once when everything is read, from the front and from the end.
_CHUNK_BYTES = 1 << 20
_BACKWARD_BYTES = 64 * 1024


def add_home(parser: argparse.ArgumentParser) -> None:
    """Give a command the option ``--home``."""
    parser.add_argument(
        "--home",
        metavar="PATH",
        help="the directory to look in instead of FIVEOBS_HOME; the workers must use the same",
    )


def home_of(args: argparse.Namespace) -> Path:
    """The home that ``--home`` or the environment names.

    Raises:
        BadInputError: ``--home`` names no directory.
    """
    if args.home is None:
        return load_config(os.environ, {}, strict=False).home
    home = Path(args.home).expanduser().absolute()
    if not home.is_dir():
        raise BadInputError(f"--home {args.home!r} is no directory; name the workers' FIVEOBS_HOME")
    return home


def journal_folder(home: Path) -> Path:
    """Where the journals lie."""
    return home / "journal"


def stems(folder: Path, only: str | None = None) -> dict[str, list[tuple[int, Path]]]:
    """The segments of each stem as ``(number, path)``, in order; of one stem if given."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for stem, number, path in segment_files(folder, only):
        found.setdefault(stem, []).append((number, path))
    return found


def chunks(path: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Pieces of a segment from ``start`` on as ``(offset, whole lines)``."""
    size = _CHUNK_BYTES
    while True:
        block = _read(path, start, size)
        end = block.rfind(b"\n") + 1
        if end:
            yield start, block[:end]
            start += end
            size = _CHUNK_BYTES
        elif len(block) < size or size >= MAX_LINE_BYTES:
            return
        else:
            size *= 4


def lines_forward(path: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Every whole line from ``start`` on as ``(offset, line)``, without its newline."""
    for offset, chunk in chunks(path, start):
        at = offset
        for line in chunk.split(b"\n")[:-1]:
            yield at, line
            at += len(line) + 1


def lines_backward(
    path: Path, end: int, may_hold: Callable[[bytes], bool] = bool
) -> Iterator[bytes]:
    """Every whole line before ``end``, the last first; what no newline ends is left out.

    Of a piece for which ``may_hold`` says no, only one line is given, to know where it is in time.
    """
    rest = b""
    is_torn = True  # until the first newline from the end
    size = _BACKWARD_BYTES
    while end > 0:
        start = max(0, end - size)
        block = _read(path, start, end - start) + rest
        rest, *lines = block.split(b"\n")
        if lines:
            whole = lines[:-1] if is_torn else lines
            yield from reversed(whole if may_hold(block) else whole[:1])
            is_torn = False
            size = _BACKWARD_BYTES
        else:
            size = min(size * 2, MAX_LINE_BYTES)
        end = start
    if not is_torn:
        yield rest


def _read(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size) or b""
    except FileNotFoundError:
        return b""
