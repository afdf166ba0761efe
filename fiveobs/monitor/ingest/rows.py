"""The rows that a batch of records adds, beside those of jobs and workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Rows"]


@dataclass(slots=True)
class Rows:
    """Rows to add and rows to merge, each in the order of its table's columns.

    Of what is found by a key, times decide between two sayings, so their order does not matter.
    """

    #: Gives a table's next key.
    next_key: Callable[[str], int]
    events: list[tuple[Any, ...]] = field(default_factory=list)
    errors: list[tuple[Any, ...]] = field(default_factory=list)
    samples: list[tuple[Any, ...]] = field(default_factory=list)
    #: Each without its key, which it is found by here.
    measures: dict[tuple[int, int, str, str], list[Any]] = field(default_factory=dict)
    #: Each with its key, in which order they came; merged when they are written.
    dependencies: list[tuple[Any, ...]] = field(default_factory=list)
    resources: list[tuple[Any, ...]] = field(default_factory=list)
    conditions: list[tuple[Any, ...]] = field(default_factory=list)
