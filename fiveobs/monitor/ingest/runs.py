"""Tells the runs of a job apart that go by the same id and the same number.

A job may be run again under its id without counting (``job_id="nightly"``, or a queue that delivers
twice). Each run has a span of its own. The row of the attempt tells of the run that began last:
what others say is only counted. So it is the same in whatever order the files are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from fiveobs.monitor.ingest.folds import FOLDS, Fold, lost_at
from fiveobs.monitor.ingest.rows import Rows
from fiveobs.monitor.ingest.states import FINAL, AttemptState, JobState, WorkerState
from fiveobs.monitor.ingest.values import number

__all__ = ["Beat", "begin_again", "belongs"]

_US = 1_000_000
_BEGINNING = FOLDS["job.started"]
_LOSS = FOLDS["job.lost"]


def belongs(
    fold: Fold,
    attempt: AttemptState,
    worker: WorkerState,
    record: Mapping[str, Any],
    order_us: int,
    at: int,
) -> tuple[bool, bool] | None:
    """Whose record it is, where that is not sure.

    Returns:
        ``None`` if it is of the run that the attempt tells of; else whether it is of a later one,
        and whether the present one was known by its beginning.
    """
    span_id = record.get("span_id")
    if not fold.is_of_run or span_id is None:
        return _earlier(fold, attempt, worker, record, order_us)
    if span_id == attempt.span_id:
        return None
    is_over = attempt.status in FINAL and _is_after(attempt.ended_at_us, attempt, worker, at)
    if attempt.span_id is None:
        return (True, False) if is_over and fold is _BEGINNING else None
    if fold is not _BEGINNING:
        # A run whose beginning is not known: after the end of the other it is a later one.
        return is_over, True
    return _is_after(attempt.started_at_us, attempt, worker, at, span_id), True


def _earlier(
    fold: Fold,
    attempt: AttemptState,
    worker: WorkerState,
    record: Mapping[str, Any],
    order_us: int,
) -> tuple[bool, bool] | None:
    """A record that does not name its run: it may be of an earlier one, if there was one."""
    began_at = attempt.started_at_us
    if attempt.runs <= 1 or began_at is None:
        return None
    if fold is _LOSS:
        is_earlier = lost_at(order_us, record["data"]) < began_at
    elif not fold.is_alive:
        is_earlier = False
    elif record.get("span_id") is not None:  # a stage's
        is_earlier = attempt.worker_key != worker.worker_key
    else:  # a connector's, which may speak from anywhere
        is_earlier = order_us < began_at
    return (False, True) if is_earlier else None


def _is_after(
    moment: int | None, attempt: AttemptState, worker: WorkerState, at: int, span_id: str = ""
) -> bool:
    """Whether a run began after that: in one journal the order says so, else the time."""
    if attempt.worker_key == worker.worker_key or moment is None:
        return True
    return (at, span_id) > (moment, attempt.span_id or "")


def begin_again(
    rows: Rows, job: JobState, attempt: AttemptState, span_id: str | None, at: int
) -> None:
    """Have the attempt tell of another run, which began then and of which no more is known yet."""
    attempt.begin_again(span_id, at)
    job.count_origins()
    rows.begin_again(attempt.job_key, attempt.attempt)


class Beat(NamedTuple):
    """What a heartbeat says of a run."""

    span_id: str
    #: By its duration.
    begun_at_us: int

    @classmethod
    def of(cls, listed: Mapping[str, Any], at: int) -> Self | None:
        """From one of its entries; ``None`` if it does not tell the run."""
        span_id, duration_s = listed.get("span_id"), number(listed.get("duration_s"))
        attempt = listed.get("attempt")
        if type(span_id) is not str or not span_id or duration_s is None:
            return None
        if type(attempt) is not int or not 0 <= attempt < 2**31:
            return None
        return cls(span_id, at - round(duration_s * _US))

    def tell(self, rows: Rows, job: JobState, attempt: AttemptState, worker: WorkerState) -> bool:
        """Take over what is not known of the run; whether it is the one that the attempt tells of.

        Where its first event was deleted before it was read, nothing else says where it runs.
        """
        begun_at = self.begun_at_us
        if attempt.span_id == self.span_id:
            return True
        if attempt.span_id is not None:
            present = attempt.started_at_us or 0, attempt.span_id
            if (begun_at, self.span_id) <= present:
                return False
        is_another = attempt.span_id is not None or (
            attempt.status in FINAL and begun_at > (attempt.ended_at_us or 0)
        )
        if is_another:
            begin_again(rows, job, attempt, self.span_id, begun_at)
        attempt.runs += 1
        attempt.span_id = self.span_id
        if attempt.started_at_us is None:
            job.originate("started_at_us", None, begun_at)
            attempt.started_at_us = begun_at
        if attempt.worker_key is None or is_another:
            attempt.run(worker.worker_key, begun_at)
        return True
