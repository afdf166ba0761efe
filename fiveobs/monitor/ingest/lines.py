"""The lines of a batch: what each says, where it is, and what is set aside as unreadable."""

from __future__ import annotations

import re
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, NamedTuple, Self

import orjson

from fiveobs.monitor.ingest.follower import Piece, Place

__all__ = ["Aside", "Lines", "Unreadable", "reason", "without_nul"]

#: How JSON writes a NUL, which PostgreSQL takes in no text; it becomes U+FFFD in every store.
#: Behind a backslash that is itself escaped it is none: the text speaks of it.
_HAS_NUL = methodcaller("__contains__", b"\\u0000")
_WRITTEN_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
_NUL, _INSTEAD = "\0", "\ufffd"
_MOST_REASON_CHARACTERS = 500


class Unreadable(NamedTuple):
    """In the place of a record: why there is none."""

    reason: str


class Aside(NamedTuple):
    """A line, or bytes without one, that cannot be read."""

    stem: str
    place: Place
    reason: str
    raw: bytes


@dataclass(slots=True)
class Lines:
    """Lines of one journal, from where the last ones ended."""

    stem: str
    start: Place
    #: Where the first line begins: there, or in a later segment.
    begin: Place
    end: Place
    raw: list[bytes]
    #: Why they are no lines; empty if all is well.
    damage: str = ""

    @classmethod
    def of(cls, piece: Piece) -> Self:
        """Cut a piece into lines; damage is one line."""
        raw = [piece.content] if piece.damage else piece.content.split(b"\n")
        if not piece.damage:
            raw.pop()
        return cls(piece.stem, piece.start, piece.begin, piece.end, raw, piece.damage)

    def parse(self) -> list[Any]:
        """For each line what it says, or `Unreadable`."""
        if self.damage:
            return [Unreadable(self.damage)]
        raw = list(map(without_nul, self.raw)) if any(map(_HAS_NUL, self.raw)) else self.raw
        try:
            return list(map(orjson.loads, raw))
        except ValueError:
            return [_parse_line(line) for line in raw]

    def place(self, number: int) -> Place:
        """Where a line begins."""
        before = sum(map(len, self.raw[:number])) + number
        return Place(self.begin.segment, self.begin.offset + before)

    def halves(self) -> tuple[Self, Self]:
        """The same in two, cut between two lines."""
        middle = len(self.raw) // 2
        cut = self.place(middle)
        kind = type(self)
        return (
            kind(self.stem, self.start, self.begin, cut, self.raw[:middle]),
            kind(self.stem, cut, cut, self.end, self.raw[middle:]),
        )

    def alone(self, number: int) -> Self:
        """One of the lines."""
        at = self.place(number)
        end = Place(at.segment, at.offset + len(self.raw[number]) + 1)
        return type(self)(self.stem, at, at, end, [self.raw[number]], self.damage)


def reason(exc: BaseException) -> str:
    """Why a record cannot be taken in, in a line."""
    if isinstance(exc, KeyError):
        return f"it has no {exc.args[0]}"
    return f"{type(exc).__name__}: {exc}"[:_MOST_REASON_CHARACTERS].replace(_NUL, _INSTEAD)


def _parse_line(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except ValueError as exc:
        return Unreadable(f"it is no JSON: {exc}")


def without_nul(line: bytes) -> bytes:
    """A line of JSON with U+FFFD in place of each NUL, however deep in it."""
    return _WRITTEN_NUL.sub(rb"\1\\ufffd", line)
