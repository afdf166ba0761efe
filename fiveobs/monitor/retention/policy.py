"""How long each part of what is stored is kept: the parts, their defaults, and what is in force.

Pure: what tenants and projects say themselves is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from fiveobs._parsers import UnusableError

__all__ = [
    "DEFAULTS_S",
    "FAILED",
    "PARTS",
    "SUCCEEDED",
    "Keep",
    "Part",
    "Policy",
    "as_text",
    "keep",
]

#: Seconds; ``None`` is for ever.
Keep: TypeAlias = float | None

_DAY_S = 86_400.0
_UNITS_S = {"h": 3_600.0, "d": _DAY_S, "w": 7 * _DAY_S, "y": 365 * _DAY_S}
_QUANTITY = re.compile(r"(\d{1,6})\s*([hdwy])", re.ASCII)
_FOREVER = ("0", "forever")
_LONGEST_S = 100 * _UNITS_S["y"]
#: How jobs end that count as failures here; what is of them is kept longer.
FAILED = ("failed", "lost")
#: The other ways to end.
SUCCEEDED = ("completed", "stopped", "cancelled", "interrupted")


class Part(NamedTuple):
    """Something that is kept for a while."""

    name: str
    default_s: float
    #: What belongs to it.
    doc: str

    @property
    def variable(self) -> str:
        """The variable of the environment that says how long."""
        return f"FIVEOBS_RETENTION_{self.name.upper()}"


#: What can be said, in the order in which it is documented.
PARTS = (
    Part("logs", 30 * _DAY_S, "Log lines below ERROR of jobs that did not fail."),
    Part("error_logs", 90 * _DAY_S, "Log lines from ERROR on, and all of jobs that failed."),
    Part("metrics", 30 * _DAY_S, "Figures of workers, and what jobs measured, as they came in."),
    Part("aggregates", 365 * _DAY_S, "The same, and how long jobs took, by hour and by day."),
    Part("errors", 90 * _DAY_S, "Errors that are resolved."),
    Part("unresolved_errors", 365 * _DAY_S, "Errors that are not."),
    Part("events", 180 * _DAY_S, "Jobs that did not fail, with all that is left of them."),
    Part("failed_events", 365 * _DAY_S, "Jobs that failed or are lost, with all that is left."),
)
#: The defaults, by part.
DEFAULTS_S: Mapping[str, float] = {part.name: part.default_s for part in PARTS}


def keep(value: Any) -> Keep:
    """How long something is kept: ``30d``, ``12w``, ``1y``; ``forever`` or ``0`` keeps it.

    Raises:
        UnusableError: It is none of these, or less than a day: what a day or more old is has been
            taken in, and nobody works on it.
    """
    text = str(value).strip().lower()
    if text in _FOREVER:
        return None
    match = _QUANTITY.fullmatch(text)
    seconds = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    if not _DAY_S <= seconds <= _LONGEST_S:
        raise UnusableError("a time from 1d to 100y, such as 36h, 30d, 12w or 1y, or forever")
    return seconds


def as_text(seconds: Keep) -> str:
    """What `keep` reads: the shortest way to say it."""
    if seconds is None:
        return "forever"
    hours = round(seconds / 3_600)
    return f"{hours}h" if hours % 24 else f"{hours // 24}d"


class Policy:
    """How long everything of a project is kept.

    Args:
        keeps: By part; what is left out is kept as long as the default says.
    """

    def __init__(self, keeps: Mapping[str, Keep] | None = None) -> None:
        given = keeps or {}
        if unknown := given.keys() - DEFAULTS_S.keys():
            raise ValueError(f"{min(unknown)!r} is no part: valid are {', '.join(DEFAULTS_S)}")
        self._keeps: dict[str, Keep] = {**DEFAULTS_S, **given}

    def __getitem__(self, part: str) -> Keep:
        """How long a part is kept."""
        return self._keeps[part]

    def until_us(self, part: str, now_us: int) -> int | None:
        """What is older than this has expired; ``None`` if nothing ever does.

        Args:
            part: One of `PARTS`.
            now_us: Microseconds since 1970.
        """
        seconds = self._keeps[part]
        return None if seconds is None else now_us - round(seconds * 1_000_000)

    def with_(self, keeps: Mapping[str, Keep]) -> Policy:
        """The same but for what is said here."""
        return Policy({**self._keeps, **keeps})
