"""Which lines ``fiveobs tail`` shows; most are passed over by their bytes alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from fiveobs import _parsers
from fiveobs._ids import rfc3339
from fiveobs._parsers import UnusableError
from fiveobs.cli._records import LEVELS, escaped, ids_of, is_part_of, parsed
from fiveobs.exceptions import BadInputError
from fiveobs.journal.records import NOT_EVENTS, record_type

__all__ = ["Selection", "since_timestamp"]

#: Left out unless asked for: parts of other tracks on their way out, and signs of life.
_QUIET = NOT_EVENTS | {b"worker.heartbeat"}
_WILDCARDS = frozenset("*?[")

Check = Callable[[dict[str, Any]], bool]


class Selection:
    """The conditions a line must meet; each ``only_`` call adds one.

    Args:
        show_all: Also show what is left out by default.
    """

    def __init__(self, *, show_all: bool = False) -> None:
        self._show_all = show_all
        self._types: tuple[str, ...] = ()
        self._known_types: dict[bytes, bool] = {}
        #: Of each group, the line must hold at least one.
        self._needles: list[tuple[bytes, ...]] = []
        self._folded_needles: list[bytes] = []
        self._checks: list[Check] = []
        #: Records before this are left out; sorts as text. Empty: none are.
        self.since = ""

    def only_types(self, patterns: list[str]) -> None:
        """Event types, with wildcards: ``job.*``."""
        self._types = tuple(patterns)

    def only_id(self, fields: tuple[str, ...], wanted: list[str]) -> None:
        """One of the ids, or a part of it, in one of the fields; no fields means any."""
        values = [value.strip().strip("…") for value in wanted]
        if not all(values):
            raise BadInputError("an id is empty; give a whole id, or 6 or more characters of one")
        self._needles.append(tuple(escaped(value) for value in values))
        self._checks.append(lambda record: _has_id(record, fields, values))

    def only_named(self, field: str, pattern: str) -> None:
        """A field with this text; wildcards are allowed."""
        if not _WILDCARDS.intersection(pattern):
            self._needles.append((escaped(pattern),))
        self._checks.append(lambda record: fnmatchcase(str(record.get(field, "")), pattern))

    def only_level(self, level: str) -> None:
        """At least this level."""
        shown = frozenset(LEVELS[LEVELS.index(level) :])
        self._checks.append(lambda record: record.get("level", "info") in shown)

    def only_with(self, text: str) -> None:
        """The text anywhere in the record, in upper or lower case."""
        self._folded_needles.append(escaped(text).lower())

    def only_since(self, timestamp: str) -> None:
        """Not before this RFC 3339 time (UTC, microseconds)."""
        self.since = timestamp
        self._checks.append(lambda record: str(record.get("timestamp", "")) >= timestamp)

    def pick(self, line: bytes) -> dict[str, Any] | None:
        """The line's object if it meets all conditions."""
        if not self._may_match(line):
            return None
        record = parsed(line)
        if record is None or not all(check(record) for check in self._checks):
            return None
        return record

    def may_be_in(self, piece: bytes) -> bool:
        """Whether a piece of a journal may hold a line that meets all conditions."""
        if not all(any(needle in piece for needle in group) for group in self._needles):
            return False
        return not self._folded_needles or all(
            needle in piece.lower() for needle in self._folded_needles
        )

    def _may_match(self, line: bytes) -> bool:
        kind = record_type(line)
        if kind not in self._known_types:
            self._known_types[kind] = self._shows_type(kind)
        return self._known_types[kind] and self.may_be_in(line)

    def _shows_type(self, kind: bytes) -> bool:
        name = kind.decode("utf-8", "replace")
        if not kind:
            return False
        if not self._types:
            return self._show_all or kind not in _QUIET
        return any(fnmatchcase(name, pattern) for pattern in self._types) and (
            self._show_all or kind not in NOT_EVENTS or name in self._types
        )


def _has_id(record: dict[str, Any], fields: tuple[str, ...], values: list[str]) -> bool:
    return any(
        value == wanted or is_part_of(wanted, value)
        for field, value in ids_of(record)
        if not fields or field in fields
        for wanted in values
    )


def since_timestamp(text: str, flag: str = "--since") -> str:
    """``10m`` (ago), or a time such as ``2026-01-31T12:00``, as a record's timestamp.

    Args:
        text: What was given.
        flag: How.

    Raises:
        BadInputError: It is neither.
    """
    try:
        ago_s = _parsers.duration(0.0)(text)
    except UnusableError:
        return rfc3339(_moment_ns(text, flag))
    return rfc3339(time.time_ns() - int(ago_s * 1e9))


def _moment_ns(text: str, flag: str) -> int:
    try:
        moment = datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise BadInputError(
            f"{flag} {text!r} is no time; use how long ago (30s, 10m, 2h, 1d), or a moment"
            " (2026-01-31T12:00, local time unless it says otherwise)"
        ) from None
    return int(moment.timestamp() * 1e6) * 1000
