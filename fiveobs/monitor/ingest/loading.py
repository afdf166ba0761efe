"""Loads what a batch starts from: the stored state of its journals and jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from fiveobs.monitor.ingest.states import AttemptState, JobState, Row, StageState, WorkerState
from fiveobs.monitor.ingest.writing import dialect

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["load_jobs", "load_workers"]

T = TypeVar("T")
#: Values of one ``IN (…)``; every SQLite takes 999 parameters.
_MOST_IN = 500


def load_workers(connection: Connection, stems: Iterable[str]) -> dict[str, WorkerState]:
    """The stored rows of journals, by stem."""
    rows = _rows_in(connection, WorkerState, "stem", stems)
    return {worker.stem: worker for worker in map(WorkerState.of, rows)}


def load_jobs(
    connection: Connection, wanted: Iterable[tuple[int, str]]
) -> dict[tuple[int, str], JobState]:
    """The stored jobs, with their attempts and stages, by project and job id."""
    ids: dict[int, list[str]] = {}
    for project_key, job_id in wanted:
        ids.setdefault(project_key, []).append(job_id)
    found: dict[int, JobState] = {}
    for project_key, job_ids in ids.items():
        condition = f"project_key = {project_key:d} AND "
        for row in _rows_in(connection, JobState, "job_id", job_ids, condition):
            job = JobState.of(row)
            found[job.job_key] = job
    for row in _rows_in(connection, AttemptState, "job_key", found):
        attempt = AttemptState.of(row)
        found[attempt.job_key].attempts[attempt.attempt] = attempt
    for job in found.values():
        job.loaded()
    for row in _rows_in(connection, StageState, "job_key", found):
        stage = StageState.of(row)
        found[stage.job_key].attempts[stage.attempt].stages[stage.stage_index] = stage
    return {(job.project_key, job.job_id): job for job in found.values()}


def _rows_in(
    connection: Connection, kind: type[Row], column: str, values: Iterable[Any], condition: str = ""
) -> Iterator[Sequence[Any]]:
    """The rows of a table whose column has one of the values."""
    names = ", ".join(kind.columns)
    for some in _chunks(values):
        marks = ", ".join("?" * len(some))
        # Nothing in it but names of ours, keys and marks.
        where = f"{condition}{column} IN ({marks})"
        statement = f"SELECT {names} FROM {kind.table.name} WHERE {where}"  # noqa: S608
        yield from connection.exec_driver_sql(
            dialect(statement, connection.dialect.name), tuple(some)
        )


def _chunks(values: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while some := list(islice(rest, _MOST_IN)):
        yield some
