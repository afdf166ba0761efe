"""Says what goes wrong inside fiveobs, without filling anybody's log.

Everything goes to the logger ``fiveobs.internal``, which no track forwards, at most one line a
minute for each cause. A line that follows silence says how many were left out.
"""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("fiveobs.internal")

#: Seconds between two lines of the same cause.
_PAUSE_S = 60.0

#: Cause to when it was last said and how often it was left out since.
_said: dict[str, tuple[float, int]] = {}


def report(cause: str, message: str) -> None:
    """Log a warning, at most once a minute for each cause. Never raises."""
    try:
        now = time.monotonic()
        last, left_out = _said.get(cause, (-_PAUSE_S, 0))
        if now - last < _PAUSE_S:
            _said[cause] = (last, left_out + 1)
            return
        _said[cause] = (now, 0)
        again = f" ({left_out} more in the last minute)" if left_out else ""
        logger.warning("%s: %s%s", cause, message, again)
    except Exception:
        pass


def forget() -> None:
    """Begin anew; for tests and after ``configure()``."""
    _said.clear()
