"""A job as it stands, put together from its rows: its words, stages, progress and rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import orjson

from fiveobs.monitor.store.rows import AttemptRow, JobRow, SampleRow, StageRow, WorkerRow
from fiveobs.monitor.tracking.failures import repeated
from fiveobs.monitor.tracking.history import History
from fiveobs.monitor.tracking.human import US
from fiveobs.monitor.tracking.throughput import DEFAULT_UNIT, counted_in

__all__ = ["OPEN", "STATUSES", "STATUS_WORDS", "StageState", "Tracked", "parsed", "plain"]

#: The words of the API for the statuses of jobs.
STATUS_WORDS = {
    "received": "Queued",
    "running": "Running",
    "completed": "Completed",
    "failed": "Failed",
    "paused": "Paused",
    "stopped": "Stopped",
    "cancelled": "Cancelled",
    "interrupted": "Interrupted",
    "lost": "Lost",
}
#: The statuses, for the words of the API.
STATUSES = {word: status for status, word in STATUS_WORDS.items()}
#: Statuses of jobs that are still to end.
OPEN = frozenset({"received", "running", "paused"})


class StageState(NamedTuple):
    """A stage: begun, or known to come."""

    name: str
    #: Its place, from 1.
    order: int
    #: Running, Completed, Failed, Pending; Skipped, or a job's word, where the job has ended.
    status: str
    #: Its row, if it has begun.
    row: StageRow | None = None


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """A job with all that is needed to say how it is doing."""

    job: JobRow
    attempt: AttemptRow | None = None
    stages: tuple[StageRow, ...] = ()
    worker: WorkerRow | None = None
    #: The last figures of its worker while it ran, if it has ended.
    sample: SampleRow | None = None
    history: History = field(default_factory=History)
    #: When it is looked at.
    now_us: int

    @property
    def status(self) -> str:
        """The API's word for its status."""
        return STATUS_WORDS.get(self.job.status, self.job.status.capitalize())

    @property
    def is_running(self) -> bool:
        """Whether it runs now: neither waits nor rests."""
        return self.job.status == "running"

    @property
    def is_ended(self) -> bool:
        """Whether nothing more is to come of it."""
        return self.job.status not in OPEN

    @property
    def until_us(self) -> int:
        """When it ended, or now."""
        if self.job.ended_at_us is not None:
            return self.job.ended_at_us
        return self.job.updated_at_us if self.is_ended else self.now_us

    @property
    def elapsed_s(self) -> float | None:
        """Seconds since it began, up to its end; ``None`` before it began."""
        if self.job.duration_s is not None:
            return self.job.duration_s
        if self.job.started_at_us is None:
            return None
        return max(self.until_us - self.job.started_at_us, 0) / US

    @property
    def planned(self) -> tuple[str, ...]:
        """The names of the stages that were announced, in order."""
        return _names(self.attempt.planned_stages) if self.attempt is not None else ()

    @cached_property
    def all_stages(self) -> tuple[StageState, ...]:
        """Stages that have begun, in that order, then those known to come."""
        found, to_come = [], list(self.planned)
        for order, row in enumerate(self.stages, 1):
            found.append(StageState(row.stage, order, self._stage_status(row), row))
            if row.stage in to_come:
                to_come.remove(row.stage)
        waiting = "Skipped" if self.is_ended else "Pending"
        for order, name in enumerate(to_come, len(found) + 1):
            found.append(StageState(name, order, waiting))
        return tuple(found)

    def _stage_status(self, row: StageRow) -> str:
        is_left_open = row.status == "running" and self.is_ended
        return self.status if is_left_open else row.status.capitalize()

    @property
    def current(self) -> StageRow | None:
        """The stage that runs; of nested ones the innermost."""
        if self.is_ended:
            return None
        return next((row for row in reversed(self.stages) if row.status == "running"), None)

    @property
    def pending(self) -> tuple[StageState, ...]:
        """Stages that are known to come."""
        return tuple(stage for stage in self.all_stages if stage.status == "Pending")

    def percent_of(self, row: StageRow) -> float | None:
        """How far a stage is, 0 to 100; ``None`` if it does not say."""
        if row.status == "completed":
            return 100.0
        return row.percent

    @property
    def percent(self) -> float | None:
        """How far it is, 0 to 100: as it said, or by its stages; ``None`` if neither."""
        return self._percent_and_when[0]

    @property
    def percent_at_us(self) -> int | None:
        """When it was known to be that far; ``None`` if it is not known to be anywhere."""
        return self._percent_and_when[1]

    @cached_property
    def _percent_and_when(self) -> tuple[float | None, int | None]:
        """What was said stands until its stages lead further."""
        if self.job.status == "completed":
            return 100.0, self.job.ended_at_us
        said = self.attempt.percent if self.attempt else None
        said_us = self.attempt.percent_at_us if self.attempt else None
        by_stages, moved_us = self._percent_by_stages(), self._stages_moved_us
        is_behind = said is None or (by_stages or 0.0) > said
        if by_stages is not None and is_behind and (moved_us or 0) >= (said_us or 0):
            return by_stages, moved_us
        if said is not None:
            return said, said_us
        return (0.0, None) if self.job.status == "received" else (None, None)

    @property
    def _stages_moved_us(self) -> int | None:
        """When one of its stages was last heard of."""
        times = [
            at
            for row in self.stages
            for at in (row.started_at_us, row.updated_at_us, row.ended_at_us)
            if at is not None
        ]
        return max(times, default=None)

    def _percent_by_stages(self) -> float | None:
        """By the share of its announced stages."""
        if not self.planned:
            return None
        weights = self.history.weights(self.planned)
        done = whole = 0.0
        for stage in self.all_stages:
            weight = weights.get(stage.name, 0.0)
            whole += weight
            if stage.row is not None:
                done += weight * (self.percent_of(stage.row) or 0.0) / 100
        return 100 * done / whole if whole else None

    @property
    def counted(self) -> StageRow | None:
        """The stage whose counts speak for the job: the one that runs, or the last that counted.

        ``None`` too where no stage counted any and the job itself did.
        """
        current = self.current
        if current is not None and current.done:
            return current
        found = next((row for row in reversed(self.stages) if row.done), None)
        own = self.attempt.done if self.attempt is not None else None
        return current if found is None and own is None else found

    @property
    def done(self) -> float | None:
        """How many units are done: by the counted stage, or as the job itself said."""
        if self.counted is not None:
            return self.counted.done
        return self.attempt.done if self.attempt is not None else None

    @property
    def total(self) -> float | None:
        """Of how many."""
        if self.counted is not None:
            return self.counted.total
        return self.attempt.total if self.attempt is not None else None

    @cached_property
    def work(self) -> tuple[float, float] | None:
        """Units done by all stages that count what the counted one does, and in how many seconds.

        By the job itself up to when it last said so, where no stage counts.
        """
        if self.counted is not None:
            return counted_in(self.stages, self.unit)
        attempt, started_us = self.attempt, self.job.started_at_us
        if attempt is None or not attempt.done or not attempt.progress_at_us or not started_us:
            return None
        took_s = (attempt.progress_at_us - started_us) / US
        return (attempt.done, took_s) if took_s > 0 else None

    @property
    def rate_per_s(self) -> float | None:
        """Units a second, of one unit; the same while it runs and afterwards."""
        if self.work is None:
            return None
        done, took_s = self.work
        return done / took_s

    @property
    def unit(self) -> str:
        """What is counted."""
        return (self.counted.unit if self.counted is not None else None) or DEFAULT_UNIT

    @property
    def errors(self) -> int:
        """How many errors its last attempt has had; one that went through stages is one."""
        if self.attempt is None:
            return 0
        repeats = repeated(self.job, self.attempt, self.stages)
        return max(self.attempt.error_entries - repeats, 0)

    @property
    def memory_bytes(self) -> int | None:
        """Resident memory of its worker now, or when it ended; else at the end of a stage."""
        now = self.sample if self.is_ended else self.worker
        if now is not None and now.memory_rss_bytes is not None:
            return now.memory_rss_bytes
        known = (row.memory_rss_bytes for row in reversed(self.stages))
        return next((each for each in known if each is not None), None)

    @property
    def cpu_usage(self) -> float | None:
        """CPU of its worker now, or when it ended: percent of the CPUs that the worker may use.

        Of a job that ended before a heartbeat: its own, over all its time.
        """
        if self.worker is None:
            return None
        now = self.sample if self.is_ended else self.worker
        percent = now.cpu_percent if now is not None else None
        cpu_s = self.attempt.cpu_s if self.attempt is not None else None
        if percent is None and cpu_s is not None and self.job.duration_s:
            percent = 100 * cpu_s / self.job.duration_s
        return None if percent is None else percent / (self.worker.cpu_count or 1.0)

    def stage_at(self, at_us: int) -> str | None:
        """The stage that ran at a time; of nested ones the innermost."""
        for row in reversed(self.stages):
            began = row.started_at_us
            if (
                began is not None
                and began <= at_us
                and (row.ended_at_us is None or at_us <= row.ended_at_us)
            ):
                return row.stage
        return None

    @cached_property
    def attributes(self) -> Mapping[str, Any]:
        """What its code attached to it."""
        found = parsed(self.attempt.attributes) if self.attempt else None
        return found if isinstance(found, dict) else {}

    @cached_property
    def result(self) -> Mapping[str, Any]:
        """What it recorded as its result."""
        found = parsed(self.attempt.result) if self.attempt else None
        return found if isinstance(found, dict) else {}


@lru_cache(maxsize=1_024)  # jobs of one kind announce the same
def _names(text: str | None) -> tuple[str, ...]:
    names = parsed(text)
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def parsed(text: str | None) -> Any:
    """The value of a JSON text of the store; ``None`` if there is none."""
    return None if text is None else orjson.loads(text)


def plain(value: Any) -> float | None:
    """A number as it was recorded; ``None`` for anything else, truth values included."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
