"""What ``fiveobs doctor`` finds worth saying."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PROBLEM", "WARNING", "Finding"]

#: Ends the command with 1.
PROBLEM = "problem"
#: Worth a look; does not change how the command ends.
WARNING = "warning"


class Finding(NamedTuple):
    """Something that is not as it should be, and what to do about it."""

    severity: str
    #: A track, ``journal`` or ``settings``.
    area: str
    text: str
    #: What to try, the likeliest first.
    steps: list[str]
