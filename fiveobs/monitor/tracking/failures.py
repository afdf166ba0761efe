"""How often one exception was told: each stage that it leaves says so, and the job at its end."""

from __future__ import annotations

from collections.abc import Sequence

from fiveobs.monitor.store.rows import AttemptRow, JobRow, StageRow

__all__ = ["repeated"]


def repeated(job: JobRow, attempt: AttemptRow, stages: Sequence[StageRow]) -> int:
    """How many stages failed with what then failed the stage around them, or the job."""
    failed = [row for row in stages if row.status == "failed"]
    ends = [(row.stage_index, _error(row), row.ended_at_us or 0) for row in failed]
    if job.status == "failed":
        ends.append((-1, _error(attempt), job.ended_at_us or 0))
    return sum(_is_passed_on(row, ends, stages) for row in failed)


def _is_passed_on(
    row: StageRow,
    ends: list[tuple[int, tuple[str | None, str | None], int]],
    all_: Sequence[StageRow],
) -> bool:
    """Whether something that was around a stage failed with the same error, and at once.

    Where another stage began in between, the error had been dealt with; the later one is another.
    """
    ended_us = row.ended_at_us or 0
    begun = (each.started_at_us or 0 for each in all_ if each.stage_index > row.stage_index)
    next_us = min((at for at in begun if at >= ended_us), default=None)
    return any(
        index < row.stage_index
        and error == _error(row)
        and at >= ended_us
        and (next_us is None or at <= next_us)
        for index, error, at in ends
    )


def _error(row: StageRow | AttemptRow) -> tuple[str | None, str | None]:
    return row.error_type, row.error_message
