"""Answers: what several answers have in common.

Made by docs/reference/generate.py from the OpenAPI document.
"""

from __future__ import annotations

from dataclasses import dataclass

from fiveobs.client._reading import Answer

__all__ = ["Estimate"]


@dataclass(frozen=True, kw_only=True)
class Estimate(Answer):
    """What an estimate rests on."""

    #: ``stages``, ``progress+history``, ``progress``, ``history`` or ``queue``.
    method: str
    #: Seconds left: one run in ten like it took less. Null where too few runs are known.
    low_seconds: float | None
    #: Seconds left: one run in ten like it took more.
    high_seconds: float | None
    #: Completed runs of the same kind of job behind it.
    runs: int
