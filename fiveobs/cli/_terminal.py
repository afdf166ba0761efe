"""Writes to the terminal: colours where they are wanted, and nothing that could steer it.

What jobs put into their messages is somebody else's text, so control characters in it are replaced
before it is printed.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import sys
import time
from collections.abc import Mapping
from typing import TextIO

__all__ = ["Output", "plain", "table"]

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
    "bold red": "1;31",
}
_BLANKS = re.compile(r"\s+")


class Output:
    """Where a command prints.

    Args:
        colour: ``auto``, ``always`` or ``never``.
        stream: The stream; ``None`` takes standard output.
        environ: Looked at for ``NO_COLOR`` and ``TERM``; ``None`` takes this process's.
    """

    def __init__(
        self,
        colour: str = "auto",
        stream: TextIO | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._stream = sys.stdout if stream is None else stream
        self.is_coloured = _wants_colour(
            colour, self._stream, os.environ if environ is None else environ
        )
        if isinstance(self._stream, io.TextIOWrapper):
            self._stream.reconfigure(errors="replace")

    def line(self, text: str = "") -> None:
        """Print one line."""
        self._stream.write(f"{text}\n")

    def raw(self, line: bytes) -> None:
        """Print a journal line as it is."""
        self._stream.write(line.decode("utf-8", "replace") + "\n")

    def flush(self) -> None:
        """Hand over what was printed."""
        self._stream.flush()

    def paint(self, text: str, style: str) -> str:
        """The text in a style, if there are colours."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.is_coloured and style else text

    def wait(self, seconds: float) -> None:
        """Rest; raises ``BrokenPipeError`` as soon as whoever reads us has gone."""
        fd = _descriptor(self._stream)
        if fd is None or not hasattr(select, "poll"):
            time.sleep(seconds)
            return
        poll = select.poll()
        poll.register(fd, 0)  # errors and hang-ups are always reported
        if poll.poll(seconds * 1000):
            raise BrokenPipeError


def _wants_colour(colour: str, stream: TextIO, environ: Mapping[str, str]) -> bool:
    if colour != "auto":
        return colour == "always"
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _descriptor(stream: TextIO) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return stream.fileno()
    return None


def plain(text: object) -> str:
    """Somebody's text on one line, without what could steer a terminal."""
    one_line = str(text)
    if one_line.isprintable() and "  " not in one_line:
        return one_line.strip()
    one_line = _BLANKS.sub(" ", one_line).strip()
    if one_line.isprintable():
        return one_line
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in one_line)


def table(rows: list[tuple[str, ...]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Rows as lines with aligned columns; those in ``right`` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
