"""What is known of a worker, a job, an attempt and a stage: rows that can be changed.

Each class has one attribute for each column of its table. The state of an attempt moves along one
machine::

    received ──► running ◄──► paused
       │           │  ▲          │
       │           ▼  │ sign of  │
       │          lost   life ◄──┘
       ▼           ▼
    completed · failed · stopped · cancelled · interrupted      (final: nothing follows)

The status is not moved from event to event, though: files of several processes are read side by
side, so that an event may be read before the one that it follows. Each event only moves the latest
time of its sort, and the status is worked out from those times. So it is the same in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Self

from fiveobs.monitor.store import schema

if TYPE_CHECKING:
    from sqlalchemy import Table

__all__ = ["FINAL", "AttemptState", "JobState", "Row", "StageState", "WorkerState"]

#: Statuses after which an attempt has ended.
FINAL = frozenset({"completed", "failed", "stopped", "cancelled", "interrupted"})


class Row:
    """A row of a table; what is not set is what its class says."""

    table: ClassVar[Table]
    columns: ClassVar[tuple[str, ...]]
    #: The row's values in the order of ``columns``.
    values: ClassVar[Callable[[Any], tuple[Any, ...]]]

    #: How many columns, the first ones, are the primary key.
    key_length: ClassVar[int]

    #: Its values in the table; ``None`` if it is not in it yet.
    stored: tuple[Any, ...] | None = None
    #: There may be something to write.
    is_changed: bool = True

    def __init_subclass__(cls, *, table: Table) -> None:
        """Tie the class to its table."""
        super().__init_subclass__()
        cls.table = table
        cls.columns = tuple(column.name for column in table.columns)
        cls.values = attrgetter(*cls.columns)
        cls.key_length = len(table.primary_key.columns)

    @classmethod
    def of(cls, row: Sequence[Any]) -> Self:
        """From a row of the table, its values in the order of ``columns``."""
        state = cls.__new__(cls)
        state.__dict__.update(zip(cls.columns, row, strict=True), stored=tuple(row))
        state.is_changed = False
        return state


class WorkerState(Row, table=schema.workers):
    """A process and how far its journal has been read."""

    stem: str
    project_key: int
    worker_id: str | None = None
    machine_id: str | None = None
    service: str | None = None
    pid: int | None = None
    cpu_count: float | None = None
    resource: str | None = None
    segment: int = 1
    offset_bytes: int = 0
    lines: int = 0
    unreadable_lines: int = 0
    started_at_us: int | None = None
    heartbeat_at_us: int | None = None
    stopped_at_us: int | None = None
    latest_at_us: int = 0
    active_jobs: int | None = None
    cpu_s: float | None = None
    cpu_percent: float | None = None
    memory_rss_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_limit_bytes: int | None = None

    def __init__(self, worker_key: int, stem: str, project_key: int) -> None:
        self.worker_key = worker_key
        self.stem = stem
        self.project_key = project_key


class JobState(Row, table=schema.jobs):
    """A job, with the state of its latest attempt."""

    status: str = "received"
    attempt: int = 1
    parent_job_id: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    submitted_by: str | None = None
    priority: str | None = None
    queue: str | None = None
    started_at_us: int | None = None
    ended_at_us: int | None = None
    duration_s: float | None = None

    def __init__(self, job_key: int, project_key: int, job_id: str, kind_key: int, at: int) -> None:
        self.job_key = job_key
        self.project_key = project_key
        self.job_id = job_id
        self.kind_key = kind_key
        self.created_at_us = at
        self.updated_at_us = at
        self._begin_empty()

    @classmethod
    def of(cls, row: Sequence[Any]) -> Self:
        """From a row of the table; its attempts are added by whoever loads them."""
        state = super().of(row)
        state._begin_empty()
        return state

    def _begin_empty(self) -> None:
        self.attempts: dict[int, AttemptState] = {}
        #: The one whose state the job has.
        self.latest: AttemptState | None = None
        #: When it was first said what the job is, by the column that holds it, and how often.
        self.first_at: dict[str, int] = {}
        self.descriptions = 0

    def loaded(self) -> None:
        """Every attempt that is stored is here now."""
        for number in sorted(self.attempts):
            self._prefer(self.attempts[number])
        self.count_origins()

    def count_origins(self) -> None:
        """Look through all attempts for when it was said what the job is."""
        self.first_at, self.descriptions = {}, 0
        for attempt in self.attempts.values():
            for column in _ORIGINS:
                at = getattr(attempt, column)
                if at is not None:
                    self.originate(column, None, at)

    def originate(self, column: str, before: int | None, at: int) -> None:
        """Say in one of the attempts what the job is: at another time than before, or anew."""
        first = self.first_at.get(column)
        self.descriptions += before is None
        if first is None or at < first:
            self.first_at[column] = at
        elif before == first:
            self.count_origins()  # the earliest has moved to a later time

    def last_of(self, worker_key: int) -> AttemptState | None:
        """The last attempt that a worker has begun."""
        mine = [each for each in self.attempts.values() if each.worker_key == worker_key]
        return max(mine, key=lambda each: each.attempt, default=None)

    def _prefer(self, attempt: AttemptState) -> None:
        """The highest number is the latest attempt, but for one that was run anew after it."""
        latest = self.latest
        if latest is None or latest is attempt:
            self.latest = attempt
        elif latest.runs <= 1 >= attempt.runs:
            self.latest = max(latest, attempt, key=attrgetter("attempt"))
        else:
            self.latest = max(latest, attempt, key=AttemptState.begun)

    def follow(self, attempt: AttemptState) -> None:
        """Take over the state of an attempt, if there is no later one."""
        self._prefer(attempt)
        if self.latest is not attempt:
            return
        self.attempt = attempt.attempt
        self.status = attempt.status
        self.started_at_us = attempt.started_at_us
        self.ended_at_us = attempt.ended_at_us
        self.duration_s = attempt.duration_s


class AttemptState(Row, table=schema.attempts):
    """One attempt at a job."""

    status: str = "received"
    worker_key: int | None = None
    trace_id: str | None = None
    span_id: str | None = None
    runs: int = 0
    received_at_us: int | None = None
    started_at_us: int | None = None
    ended_at_us: int | None = None
    progress_at_us: int | None = None
    running_at_us: int | None = None
    paused_at_us: int | None = None
    lost_at_us: int | None = None
    alive_at_us: int | None = None
    percent_at_us: int | None = None
    queue_wait_s: float | None = None
    percent: float | None = None
    done: float | None = None
    total: float | None = None
    eta_s: float | None = None
    activity: str | None = None
    stage: str | None = None
    duration_s: float | None = None
    cpu_s: float | None = None
    input_size_bytes: int | None = None
    output_size_bytes: int | None = None
    debug_entries: int = 0
    info_entries: int = 0
    warning_entries: int = 0
    error_entries: int = 0
    planned_stages: str | None = None
    attributes: str | None = None
    result: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    sentry_event_id: str | None = None
    lost_cause: str | None = None
    lost_details: str | None = None
    retry_reason: str | None = None
    retry_delay_s: float | None = None

    #: When the stage that began last did so; ``None``: not looked up yet.
    _entered_at_us: int | None = None

    def __init__(self, job_key: int, attempt: int, at: int) -> None:
        self.job_key = job_key
        self.attempt = attempt
        self.status_at_us = at
        self.stages: dict[int, StageState] = {}

    @classmethod
    def of(cls, row: Sequence[Any]) -> Self:
        """From a row of the table; its stages are added by whoever loads them."""
        state = super().of(row)
        state.stages = {}
        return state

    def begun(self) -> tuple[int, int]:
        """When it began, as far as is known; of two at the same time the higher number is later."""
        return self.started_at_us or self.status_at_us, self.attempt

    def begin_again(self, span_id: str | None, at: int) -> None:
        """Tell of another run under the same number from now on, which began then."""
        lost = self.lost_at_us, self.lost_cause, self.lost_details
        self.__dict__.update(_OF_A_RUN)
        self.status_at_us = self.received_at_us or 0
        self.span_id, self.stages, self.is_changed = span_id, {}, True
        if lost[0] is not None and lost[0] >= at:  # it is this run that was reported
            self.lost_at_us, self.lost_cause, self.lost_details = lost

    def enter(self, stage: StageState, at: int) -> None:
        """A stage has begun: the one that did so last is where it is."""
        if self._entered_at_us is None:
            others = (each.started_at_us or 0 for each in self.stages.values() if each is not stage)
            self._entered_at_us = max(others, default=0)
        if at >= self._entered_at_us:
            self._entered_at_us = at
            self.stage = stage.stage

    def end(self, status: str, order_us: int, at: int) -> bool:
        """Move to a final status; the earliest one stands. Whether this one does."""
        if self.status in FINAL and (self.status_at_us, self.status) <= (order_us, status):
            return False
        self.status = status
        self.status_at_us, self.ended_at_us = order_us, at
        self._forgive()
        return True

    def _forgive(self) -> None:
        """It has ended and is not lost; a report of a run after that is kept until it is read."""
        if self.lost_at_us is None or self.lost_at_us <= self.status_at_us:
            self.lost_cause = self.lost_details = None

    def run(self, worker_key: int | None, at: int) -> None:
        """It has begun or goes on: where it did so last, there it is, if that is known."""
        if self.running_at_us is None or at >= self.running_at_us:
            self.running_at_us = at
            if worker_key is not None:
                self.worker_key = worker_key

    def pause(self, at: int) -> None:
        """It waits at a checkpoint."""
        if self.paused_at_us is None or at > self.paused_at_us:
            self.paused_at_us = at

    def lose(self, cause: str, details: str | None, at: int) -> None:
        """Somebody concludes that it is lost."""
        if self.lost_at_us is None or at >= self.lost_at_us:
            self.lost_at_us = at
            self.lost_cause, self.lost_details = cause, details

    def live(self, at: int) -> None:
        """It has given a sign of life."""
        if self.alive_at_us is None or at > self.alive_at_us:
            self.alive_at_us = at

    def settle(self) -> None:
        """Work the status out from the times."""
        if self.status in FINAL:
            self._forgive()
            return
        alive_at, lost_at = self.alive_at_us, self.lost_at_us
        if lost_at is not None and (alive_at is None or lost_at >= alive_at):
            self.status, self.status_at_us = "lost", lost_at
            return
        self.lost_cause = self.lost_details = None
        running_at, paused_at = self.running_at_us, self.paused_at_us
        if paused_at is not None and (running_at is None or paused_at > running_at):
            self.status, self.status_at_us = "paused", paused_at
        elif alive_at is not None:
            at = alive_at if running_at is None else running_at
            self.status, self.status_at_us = "running", at
        elif self.received_at_us is not None:
            self.status_at_us = self.received_at_us

    def count_entry(self, level: int) -> None:
        """One more event of this level."""
        if level >= 40:
            self.error_entries += 1
        elif level >= 30:
            self.warning_entries += 1
        elif level >= 20:
            self.info_entries += 1
        else:
            self.debug_entries += 1


class StageState(Row, table=schema.stages):
    """A stage of an attempt that has begun."""

    stage: str = ""
    status: str = "running"
    span_id: str | None = None
    started_at_us: int | None = None
    ended_at_us: int | None = None
    updated_at_us: int | None = None
    unit: str | None = None
    done: float | None = None
    total: float | None = None
    percent: float | None = None
    rate_per_s: float | None = None
    eta_s: float | None = None
    duration_s: float | None = None
    cpu_s: float | None = None
    memory_rss_bytes: int | None = None
    memory_growth_bytes: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    network_receive_bytes: int | None = None
    network_transmit_bytes: int | None = None
    attributes: str | None = None
    error_type: str | None = None
    error_message: str | None = None

    def __init__(self, job_key: int, attempt: int, stage_index: int) -> None:
        self.job_key = job_key
        self.attempt = attempt
        self.stage_index = stage_index


#: What is said of an attempt whichever run of it is meant: by whoever announced it, or in sum.
_OF_EVERY_RUN = frozenset(
    {
        *("job_key", "attempt", "status_at_us", "runs", "received_at_us"),
        *("input_size_bytes", "attributes"),
        *("debug_entries", "info_entries", "warning_entries", "error_entries"),
    }
)
#: The rest, as it is at the beginning of a run.
_OF_A_RUN = {
    name: getattr(AttemptState, name)
    for name in (*AttemptState.columns, "_entered_at_us")
    if name not in _OF_EVERY_RUN
}
#: The columns that hold when it was said what the job is.
_ORIGINS = ("received_at_us", "started_at_us")
