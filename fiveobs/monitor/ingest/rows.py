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
    #: The time of the record that is folded, by the order of its journal: after the one of the
    #: record before it, whatever the clock says. States are decided by it; what is shown is not.
    order_us: int = 0
    events: list[tuple[Any, ...]] = field(default_factory=list)
    errors: list[tuple[Any, ...]] = field(default_factory=list)
    samples: list[tuple[Any, ...]] = field(default_factory=list)
    #: Each without its key, which it is found by here.
    measures: dict[tuple[int, int, str, str], list[Any]] = field(default_factory=dict)
    #: Each with its key, in which order they came; merged when they are written.
    dependencies: list[tuple[Any, ...]] = field(default_factory=list)
    resources: list[tuple[Any, ...]] = field(default_factory=list)
    conditions: list[tuple[Any, ...]] = field(default_factory=list)
    #: Job and attempt where another run has taken the place of the one that is stored.
    begun_again: list[tuple[int, int]] = field(default_factory=list)

    def begin_again(self, job_key: int, attempt: int) -> None:
        """What an earlier run under this number has done and measured goes."""
        self.begun_again.append((job_key, attempt))
        for key in [each for each in self.measures if each[:2] == (job_key, attempt)]:
            del self.measures[key]
