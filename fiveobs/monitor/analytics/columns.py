"""Past runs and their steps in columns, which is how the analytics take them.

Rows are what a store gives; columns are what numpy works on. A number that is not known is NaN, a
text that is not known is empty. Times are seconds since 1970, UTC; durations are seconds; sizes are
bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FAILED",
    "Coded",
    "Floats",
    "Ints",
    "Mask",
    "Origin",
    "PastRunRow",
    "PastStepRow",
    "Runs",
    "Steps",
    "Texts",
    "coded",
]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
#: An array of objects, each a text.
Texts: TypeAlias = NDArray[np.object_]

US = 1_000_000
#: What counts as a failure; who was stopped, cancelled or interrupted neither failed nor succeeded.
FAILED = ("failed", "lost")
COMPLETED = "completed"


class PastRunRow(NamedTuple):
    """An attempt at a job that began and is over."""

    job_key: int
    job_id: str
    attempt: int
    status: str
    started_at_us: int | None
    ended_at_us: int | None
    duration_s: float | None
    queue_wait_s: float | None
    cpu_s: float | None
    input_size_bytes: int | None
    worker_key: int | None
    error_type: str | None
    error_message: str | None


class PastStepRow(NamedTuple):
    """A stage of such an attempt."""

    job_key: int
    attempt: int
    stage: str
    status: str
    started_at_us: int | None
    duration_s: float | None
    cpu_s: float | None
    memory_rss_bytes: int | None
    memory_growth_bytes: int | None
    io_read_bytes: int | None
    io_write_bytes: int | None
    error_type: str | None


class Origin(NamedTuple):
    """Where a run ran: a worker, its machine, and the release (``service.version``) it ran."""

    worker: str = ""
    machine: str = ""
    release: str = ""
    #: How much memory the process may have, as far as that is known.
    memory_limit_bytes: int | None = None


class Coded(NamedTuple):
    """Texts as numbers, which group faster."""

    #: What there is, sorted.
    names: list[str]
    #: Of each text, its place among these.
    codes: Ints


_NOWHERE = Origin()


def coded(texts: Texts) -> Coded:
    """The texts as places in a sorted list."""
    names = sorted(set(texts))
    places = {name: place for place, name in enumerate(names)}
    return Coded(names, np.fromiter(map(places.__getitem__, texts), np.int64, len(texts)))


class _Columns:
    """Columns of one length, which are cut to some rows together."""

    def _cut(self, wanted: Any) -> dict[str, Any]:
        return {each.name: getattr(self, each.name)[wanted] for each in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True, eq=False)
class Runs(_Columns):
    """Attempts at jobs of one kind, in the order in which they began."""

    job_key: Ints
    job_id: Texts
    attempt: Ints
    status: Texts
    started_at_s: Floats
    ended_at_s: Floats
    duration_s: Floats
    queue_wait_s: Floats
    cpu_s: Floats
    input_size_bytes: Floats
    #: The process that ran it: one name may be that of many, one after the other. -1 if unknown.
    worker_key: Ints
    worker: Texts
    machine: Texts
    release: Texts
    error_type: Texts
    error_message: Texts

    def __len__(self) -> int:
        """How many there are."""
        return len(self.job_key)

    @cached_property
    def is_completed(self) -> Mask:
        """Those that ended well."""
        return np.asarray(self.status == COMPLETED, dtype=np.bool_)

    @cached_property
    def is_failed(self) -> Mask:
        """Those that failed or were lost."""
        return np.isin(self.status.astype(str), FAILED) if len(self) else np.zeros(0, np.bool_)

    def where(self, wanted: Mask | Ints | slice) -> Runs:
        """Some of them: by mask, by place or by slice."""
        return Runs(**self._cut(wanted))

    @classmethod
    def of(cls, rows: Iterable[PastRunRow], origins: Mapping[int, Origin] | None = None) -> Runs:
        """The columns of some rows; those that never began are left out.

        Args:
            rows: In any order.
            origins: Where they ran, by the worker's key.
        """
        kept = [row for row in rows if row.started_at_us is not None]
        kept.sort(key=lambda row: (row.started_at_us, row.job_key, row.attempt))
        by_name = _transposed(PastRunRow, kept)
        known = origins or {}
        where = [known.get(key, _NOWHERE) for key in by_name["worker_key"]]
        return cls(
            job_key=_ints(by_name["job_key"]),
            job_id=_texts(by_name["job_id"]),
            attempt=_ints(by_name["attempt"]),
            status=_texts(by_name["status"]),
            started_at_s=_floats(by_name["started_at_us"]) / US,
            ended_at_s=_floats(by_name["ended_at_us"]) / US,
            duration_s=_floats(by_name["duration_s"]),
            queue_wait_s=_floats(by_name["queue_wait_s"]),
            cpu_s=_floats(by_name["cpu_s"]),
            input_size_bytes=_floats(by_name["input_size_bytes"]),
            worker_key=_ints([-1 if key is None else key for key in by_name["worker_key"]]),
            worker=_texts([each.worker for each in where]),
            machine=_texts([each.machine for each in where]),
            release=_texts([each.release for each in where]),
            error_type=_texts(by_name["error_type"]),
            error_message=_texts(by_name["error_message"]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Steps(_Columns):
    """The steps of some runs, in the order of these."""

    #: The place of the run in its `Runs`.
    run: Ints
    step: Texts
    status: Texts
    started_at_s: Floats
    duration_s: Floats
    cpu_s: Floats
    #: Resident memory of the process when the step ended, and by how much it grew during it.
    memory_bytes: Floats
    memory_growth_bytes: Floats
    io_read_bytes: Floats
    io_write_bytes: Floats
    error_type: Texts

    def __len__(self) -> int:
        """How many there are."""
        return len(self.run)

    @cached_property
    def is_failed(self) -> Mask:
        """Those that failed."""
        return np.asarray(self.status == "failed", dtype=np.bool_)

    @cached_property
    def coded(self) -> Coded:
        """What the steps are called, as numbers."""
        return coded(self.step)

    @property
    def names(self) -> list[str]:
        """What the steps are called, sorted."""
        return self.coded.names

    def where(self, wanted: Mask | Ints | slice) -> Steps:
        """Some of them: by mask, by place or by slice."""
        return Steps(**self._cut(wanted))

    @classmethod
    def of(cls, rows: Iterable[PastStepRow], runs: Runs) -> Steps:
        """The columns of the rows that belong to some runs; others are left out."""
        keys = zip(runs.job_key.tolist(), runs.attempt.tolist(), strict=True)
        places = {key: place for place, key in enumerate(keys)}
        found = [(places.get((row.job_key, row.attempt)), row) for row in rows]
        kept = [(place, row) for place, row in found if place is not None]
        kept.sort(key=lambda pair: (pair[0], pair[1].started_at_us or 0))
        by_name = _transposed(PastStepRow, [row for _, row in kept])
        return cls(
            run=_ints([place for place, _ in kept]),
            step=_texts(by_name["stage"]),
            status=_texts(by_name["status"]),
            started_at_s=_floats(by_name["started_at_us"]) / US,
            duration_s=_floats(by_name["duration_s"]),
            cpu_s=_floats(by_name["cpu_s"]),
            memory_bytes=_floats(by_name["memory_rss_bytes"]),
            memory_growth_bytes=_floats(by_name["memory_growth_bytes"]),
            io_read_bytes=_floats(by_name["io_read_bytes"]),
            io_write_bytes=_floats(by_name["io_write_bytes"]),
            error_type=_texts(by_name["error_type"]),
        )


def _transposed(row: type[Any], rows: Sequence[Any]) -> dict[str, Sequence[Any]]:
    columns: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else [()] * len(row._fields)
    return dict(zip(row._fields, columns, strict=True))


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array(values, dtype=np.float64)  # None becomes NaN


def _texts(values: Sequence[str | None]) -> Texts:
    found = np.empty(len(values), dtype=object)
    found[:] = [value or "" for value in values]
    return found
