"""What events say: their details, and whether their message is one of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from fiveobs.monitor.store.rows import EventRow

__all__ = ["details_of", "in_time"]


def in_time(events: Iterable[EventRow]) -> list[EventRow]:
    """In the order of their times: those of two processes may have come in the other way round."""
    return sorted(events, key=lambda event: event.at_us)


def details_of(event: EventRow) -> dict[str, Any]:
    """What an event says beside its message."""
    found = orjson.loads(event.data)
    return found if isinstance(found, dict) else {"data": found}
