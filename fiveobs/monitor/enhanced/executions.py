"""Reads the lists of the enhanced-monitoring API, a page at a time, each page of one moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fiveobs.monitor.enhanced.answers import (
    COUNTED,
    execution_log,
    step_executions,
    workflow_execution,
)
from fiveobs.monitor.enhanced.models import ExecutionLog, StepExecution, WorkflowExecution
from fiveobs.monitor.gathering import gathered
from fiveobs.monitor.store import executions as listed
from fiveobs.monitor.store import reading
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.executions import Executions, Mark
from fiveobs.monitor.tracking.human import US
from fiveobs.monitor.tracking.tracked import Tracked

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from fiveobs.monitor.store.rows import JobRow

__all__ = ["Lists", "StepMark", "Steps", "Workflow"]

#: Jobs that are looked through for the steps of one page; then a page ends, full or not.
_FEWEST_JOBS, _MOST_JOBS = 100, 1_000


class Workflow(NamedTuple):
    """A kind of job."""

    #: The name of its jobs.
    workflow_id: str
    #: Whose; ``None`` means any that has jobs of that name.
    service: str | None


class Steps(NamedTuple):
    """Which steps; ``None`` means any."""

    execution_id: str | None = None
    step_name: str | None = None
    #: A word of the API.
    status: str | None = None

    @property
    def are_few(self) -> bool:
        """Whether most jobs may have none of them."""
        return self.step_name is not None or self.status is not None

    def take(self, step: StepExecution) -> bool:
        """Whether a step is one of them."""
        return self.step_name in (None, step.step_name) and self.status in (None, step.status)


class StepMark(NamedTuple):
    """Where a page of steps ended: in which job, and after which of its steps."""

    job: Mark
    #: Steps of the job up to this place are through; 0 for none.
    order: int


class Lists:
    """Makes the pages.

    Args:
        store: What it reads.
        now: Seconds since 1970.
    """

    def __init__(self, store: Store, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    def workflows(
        self, wanted: Executions, workflow: Workflow | None, after: Mark | None, limit: int
    ) -> tuple[list[WorkflowExecution], Mark | None]:
        """A page of executions, and where the next one begins; ``None`` if there is none.

        Args:
            wanted: Which, save for their kind.
            workflow: Only those of this kind.
            after: Where the page before ended.
            limit: How many at most.
        """
        with self._store.reading() as connection:
            chosen = self._of_kind(connection, wanted, workflow)
            rows = listed.executions_of(connection, chosen, after, limit + 1)
            page = rows[:limit]
            tracked, values = self._read(connection, page)
        following = wanted.mark_of(page[-1]) if len(rows) > limit else None
        made = [workflow_execution(each, values.get(each.job.job_key, {})) for each in tracked]
        return made, following

    def steps(
        self,
        wanted: Executions,
        workflow: Workflow | None,
        steps: Steps,
        after: StepMark | None,
        limit: int,
    ) -> tuple[list[StepExecution], StepMark | None]:
        """A page of steps: those of one job together, in their order; as `workflows`."""
        with self._store.reading() as connection:
            most = _MOST_JOBS if steps.are_few else max(limit, _FEWEST_JOBS)
            chosen = self._of_kind(connection, wanted, workflow)
            if steps.execution_id is not None:
                job = _job(connection, wanted.project_key, steps.execution_id)
                rows, following = [job] if job is not None and chosen.take(job) else [], None
            else:
                rows, following = _jobs_after(connection, chosen, after, most)
            tracked, values = self._read(connection, rows)
        found: list[StepExecution] = []
        for each in tracked:
            mark, last = wanted.mark_of(each.job), 0
            if after is not None and mark == after.job:
                last = after.order
            for step in step_executions(each, values.get(each.job.job_key, {})):
                if step.step_order > last and steps.take(step):
                    if len(found) == limit:
                        return found, StepMark(mark, last)
                    found.append(step)
                last = max(last, step.step_order)
        return found, following

    def logs(
        self, project_key: int, execution_id: str, level: int, after_key: int, limit: int
    ) -> tuple[list[ExecutionLog], int | None]:
        """A page of a job's events, and the key after which the next one begins.

        Raises:
            KeyError: There is no such job in the project.
        """
        with self._store.reading() as connection:
            job = _job(connection, project_key, execution_id)
            if job is None:
                raise KeyError(execution_id)
            found = listed.events_after(connection, job.job_key, level, after_key, limit + 1)
            stages = reading.latest_stages(connection, [job.job_key])[job.job_key]
        tracked = Tracked(job=job, stages=stages, now_us=round(self._now() * US))
        page = found[:limit]
        following = page[-1].event_key if len(found) > limit else None
        return [execution_log(tracked, event) for event in page], following

    # --- rows --------------------------------------------------------------------------------

    def _of_kind(
        self, connection: Connection, wanted: Executions, workflow: Workflow | None
    ) -> Executions:
        if workflow is None:
            return wanted
        keys = listed.kinds_named(connection, wanted.project_key, *workflow)
        return wanted._replace(kind_keys=keys)

    def _read(
        self, connection: Connection, rows: Sequence[JobRow]
    ) -> tuple[list[Tracked], Mapping[int, Mapping[str, float | None]]]:
        """Jobs with what belongs to them, and what they have counted themselves."""
        keys, now_us = [row.job_key for row in rows], round(self._now() * US)
        values = listed.measured_by(connection, keys, COUNTED)
        return gathered(connection, rows, now_us, {}), values


def _job(connection: Connection, project_key: int, job_id: str) -> JobRow | None:
    # PostgreSQL refuses NUL in a text; no id has one.
    return None if "\0" in job_id else reading.job_by_id(connection, project_key, job_id)


#: More steps than a job has.
_ALL = 2**31 - 1


def _just_before(mark: Mark, *, is_descending: bool) -> Mark:
    """The place from which a job is the next one."""
    return mark._replace(job_key=mark.job_key + (1 if is_descending else -1))


def _jobs_after(
    connection: Connection, wanted: Executions, after: StepMark | None, most: int
) -> tuple[list[JobRow], StepMark | None]:
    """The jobs whose steps may be on the page, and where to go on if all of these fit."""
    begun: list[JobRow] = []
    if after is not None:  # the job in which the page before ended may have more
        before = _just_before(after.job, is_descending=wanted.is_descending)
        next_ones = listed.executions_of(connection, wanted, before, 1)
        begun = [row for row in next_ones if wanted.mark_of(row) == after.job]
    rows = listed.executions_of(connection, wanted, after.job if after else None, most)
    following = StepMark(wanted.mark_of(rows[-1]), _ALL) if len(rows) == most else None
    return [*begun, *rows], following
