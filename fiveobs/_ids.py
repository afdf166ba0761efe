"""The one source of ids and of time; both exist before an event's first record.

Ids come from a generator of our own, seeded by the operating system, so that an application that
seeds ``random`` does not make them repeat. A forked child makes its own generator.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from time import time_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Longest id taken from a caller, in characters.
MAX_ID_LENGTH = 256
#: Longest job, stage, queue or service name, in characters.
MAX_NAME_LENGTH = 200

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class IdSource:
    """Mints the ids of one process."""

    def __init__(self) -> None:
        from random import Random

        self._bits: Callable[[int], int] = Random(os.urandom(32)).getrandbits
        #: Names this process in event ids.
        self.process = f"{self._bits(64):016x}"
        #: The millisecond of the last job id, how such ids begin, and how many there were.
        self._ms, self._head, self._count = 0, "", 0
        #: The next event's number.
        self.next_seq = itertools.count(1).__next__

    def trace_id(self) -> str:
        """32 hex digits, never all zeros."""
        return f"{self._bits(128) or 1:032x}"

    def span_id(self) -> str:
        """16 hex digits, never all zeros."""
        return f"{self._bits(64) or 1:016x}"

    def job_id(self) -> str:
        """A UUID version 7 with a counter in ``rand_a``: sorts as it was minted in this process.

        Source: RFC 9562, sections 5.7 and 6.2 (method 1).
        """
        ms = time_ns() // 1_000_000
        if ms != self._ms:
            self._ms, self._head, self._count = ms, f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7", 0
        self._count = count = (self._count + 1) & 0xFFF
        noise = f"{self._bits(60):015x}"
        return f"{self._head}{count:03x}-8{noise[:3]}-{noise[3:]}"


#: The last second that was formatted: seconds since 1970 and its text.
_second = (-1, "")


def rfc3339(at_ns: int) -> str:
    """RFC 3339, UTC, microseconds, of nanoseconds since 1970."""
    global _second
    seconds, ns = divmod(at_ns, 1_000_000_000)
    known, text = _second
    if known != seconds:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        _second = (seconds, text)
    return f"{text}.{ns // 1000:06d}Z"


def clean_text(value: object, limit: int) -> str:
    """A caller's name or id made safe: one line, printable, at most ``limit`` characters."""
    try:
        text = value if type(value) is str else str(value)
    except Exception:  # a hostile __str__ must not reach the job
        return ""
    text = text.strip()
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isprintable() else _CONTROL.sub("_", text)


def clean_id(value: object) -> str | None:
    """A caller's id made safe, or ``None`` if nothing is left of it."""
    return clean_text(value, MAX_ID_LENGTH) or None
