"""How long a stream lasts that belongs to something: to a time, or to what is in the store."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fiveobs.monitor.live.hub import Hub

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["ENDLESS", "Lifetime"]

#: How often it is looked whether what a stream belongs to is still there, in seconds.
LOOK_EVERY_S = 5.0


class Lifetime:
    """For one stream.

    Args:
        ends_at_s: When it is over, in seconds since 1970; ``None`` is never.
        goes_on: Whether what it belongs to is still there; ``None`` if it belongs to nothing.
    """

    def __init__(
        self,
        ends_at_s: float | None = None,
        goes_on: Callable[[Connection], bool] | None = None,
    ) -> None:
        self._ends_at_s = math.inf if ends_at_s is None else ends_at_s
        self._goes_on = goes_on
        self._look_at_s = time.monotonic() + LOOK_EVERY_S

    @property
    def wait_s(self) -> float:
        """How long may be waited before it is to be asked again."""
        until_look_s = math.inf if self._goes_on is None else self._look_at_s - time.monotonic()
        return max(0.0, min(self._ends_at_s - time.time(), until_look_s))

    async def is_over(self, hub: Hub) -> bool:
        """Whether the stream is to end now."""
        if time.time() >= self._ends_at_s:
            return True
        if self._goes_on is None or time.monotonic() < self._look_at_s:
            return False
        self._look_at_s = time.monotonic() + LOOK_EVERY_S
        return not await hub.read(self._goes_on)


#: Of streams that belong to nothing.
ENDLESS = Lifetime()
