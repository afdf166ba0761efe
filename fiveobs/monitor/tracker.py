"""Answers for jobs: reads the rows that an answer needs, all of one moment, and has it made.

Thread safety: shared by all threads that serve; what it keeps is past runs by kind of job, for a
few seconds, because they change slowly and many jobs are of one kind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fiveobs.monitor.gathering import gathered, told_of
from fiveobs.monitor.store import reading, related
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.rows import EventRow, JobRow, SampleRow, SpanRow
from fiveobs.monitor.tracking.batch import batch_answer
from fiveobs.monitor.tracking.dependencies import Around, dependencies_answer
from fiveobs.monitor.tracking.described import Known
from fiveobs.monitor.tracking.history import MOST_RUNS, History, to_history
from fiveobs.monitor.tracking.human import US, as_time
from fiveobs.monitor.tracking.logs import logs_answer, raw_logs
from fiveobs.monitor.tracking.metrics import METRICS, MOST_INTERVALS, historical, metrics_answer
from fiveobs.monitor.tracking.models import (
    BatchAnswer,
    DependenciesAnswer,
    LogsAnswer,
    MetricsAnswer,
    ProgressAnswer,
    TimelineAnswer,
)
from fiveobs.monitor.tracking.models.logs import TimeRange
from fiveobs.monitor.tracking.models.metrics import HistoricalMetric
from fiveobs.monitor.tracking.progress import ACTIVITY_TYPES, progress_answer, sums
from fiveobs.monitor.tracking.queueing import (
    ALIVE_S,
    QueueEstimate,
    queue_estimate,
    rests_of,
    system_health,
)
from fiveobs.monitor.tracking.throughput import PROGRESS_TYPES
from fiveobs.monitor.tracking.timeline import (
    ALL_TYPES,
    MAJOR_TYPES,
    Granularity,
    timeline_answer,
)
from fiveobs.monitor.tracking.tracked import STATUSES, Tracked
from fiveobs.monitor.tracking.trends import MOST_SAMPLES

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["MOST_EVENTS", "Batch", "LogFilter", "Tracker"]

#: Events of one timeline.
MOST_EVENTS = 10_000
#: Progress events behind the throughput of a history.
_MOST_PROGRESS = 20_000
#: Jobs of one queue that run; with more, nothing is said of when those that wait will begin.
_MOST_RUNNING = 500
#: Events among which one is looked for that tells what a job is doing.
_MOST_ACTIVITY = 200
#: How long past runs are kept, and of how many kinds of job.
_KEPT_S, _MOST_KINDS = 10.0, 5_000


class LogFilter(NamedTuple):
    """Which log entries are wanted."""

    #: The least level, as the store counts them.
    level: int
    from_us: int | None
    to_us: int | None
    limit: int


class Batch(NamedTuple):
    """Which jobs are wanted; ``None`` means any."""

    job_ids: Sequence[str] | None
    #: A word of the API.
    status: str | None
    submitted_by: str | None
    #: At most so many, where they are not named.
    limit: int


class Tracker:
    """Makes the answers of the tracking API.

    Every method raises ``KeyError`` with the id where there is no such job in the project.

    Args:
        store: What it reads.
        now: Seconds since 1970.
        clock: Seconds of a monotonic clock.
    """

    def __init__(
        self,
        store: Store,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._now = now
        self._clock = clock
        self._lock = threading.Lock()
        #: By key of the kind: until when it is good, and the history.
        self._histories: dict[int, tuple[float, History]] = {}

    # --- one job -----------------------------------------------------------------------------

    def logs(self, project_key: int, job_id: str, wanted: LogFilter) -> LogsAnswer:
        """The job's log entries."""
        with self._store.reading() as connection:
            tracked = self.tracked(connection, project_key, job_id)
            events = _entries(connection, tracked.job.job_key, wanted)
            covered = None
            if wanted.from_us is None and wanted.to_us is None:
                counts = reading.count_entries(connection, tracked.job.job_key)
            else:
                key = tracked.job.job_key
                counts = reading.entries_between(connection, key, wanted.from_us, wanted.to_us)
                times = as_time(counts.first_at_us), as_time(counts.last_at_us)
                covered = TimeRange(start_time=times[0], end_time=times[1])
            expired = related.expired_of(connection, tracked.job)
        return logs_answer(tracked, events, counts, covered, expired)

    def raw_logs(self, project_key: int, job_id: str, wanted: LogFilter) -> bytes:
        """The job's log entries as lines of text."""
        with self._store.reading() as connection:
            tracked = self.tracked(connection, project_key, job_id)
            events = _entries(connection, tracked.job.job_key, wanted)
        return b"".join(raw_logs(tracked, events))

    def progress(self, project_key: int, job_id: str) -> ProgressAnswer:
        """How far the job is."""
        with self._store.reading() as connection:
            tracked = self.tracked(connection, project_key, job_id)
            job = tracked.job
            activity: list[EventRow] = []
            if not tracked.is_ended:
                activity = reading.events_of(
                    connection,
                    job.job_key,
                    level=20,
                    event_types=ACTIVITY_TYPES,
                    newest=True,
                    limit=_MOST_ACTIVITY,
                )
            return progress_answer(
                tracked,
                measures=related.measures_of(connection, job.job_key, job.attempt),
                activity=activity,
                span=_span_of(connection, tracked),
                queued=self._queued(connection, [tracked]).get(job.job_key),
            )

    def timeline(
        self, project_key: int, job_id: str, granularity: Granularity, *, sub_events: bool
    ) -> TimelineAnswer:
        """What happened to the job."""
        is_major = granularity == "major_events"
        types = MAJOR_TYPES if is_major else ALL_TYPES
        with self._store.reading() as connection:
            tracked = self.tracked(connection, project_key, job_id)
            events = reading.events_of(
                connection,
                tracked.job.job_key,
                event_types=() if sub_events else types,
                or_level=40 if is_major else 30,
                newest=True,
                limit=MOST_EVENTS + 1,
            )
            beginners = {each.worker_key for each in events if each.event_type == "job.started"}
            measures = related.measures_of(connection, tracked.job.job_key, tracked.job.attempt)
            known = Known(
                workers=reading.workers_by_key(connection, beginners), values=sums(measures)
            )
        is_complete = len(events) <= MOST_EVENTS
        return timeline_answer(
            tracked,
            events[-MOST_EVENTS:],
            known,
            granularity=granularity,
            is_complete=is_complete,
        )

    def metrics(
        self,
        project_key: int,
        job_id: str,
        *,
        wanted: Collection[str] = METRICS,
        interval_s: int = 300,
        include_history: bool = False,
    ) -> MetricsAnswer:
        """The job's performance."""
        with self._store.reading() as connection:
            tracked = self.tracked(connection, project_key, job_id)
            key, span = _worker_span(tracked)
            samples: list[SampleRow] = []
            history: list[HistoricalMetric] = []
            if key is not None:
                samples = reading.samples_of(connection, key, *span, MOST_SAMPLES)
            if include_history:
                history = _history(connection, tracked, wanted, interval_s * US)
            return metrics_answer(
                tracked,
                wanted=wanted,
                span=_span_of(connection, tracked),
                samples=samples,
                progress=_counts(connection, tracked, MOST_SAMPLES + 1, span[0]),
                history=history,
            )

    def dependencies(self, project_key: int, job_id: str) -> DependenciesAnswer:
        """What the job needs and what needs it."""
        with self._store.reading() as connection:
            tracked = self.tracked(connection, project_key, job_id)
            return dependencies_answer(tracked, _around(connection, tracked.job))

    # --- many jobs ---------------------------------------------------------------------------

    def batch(
        self,
        project_key: int,
        wanted: Batch,
        *,
        include_metrics: bool = False,
        refresh_interval_s: int | None = None,
    ) -> BatchAnswer:
        """Many jobs: those that are named, or the newest."""
        now_us = self.now_us
        with self._store.reading() as connection:
            rows, not_found = _jobs(connection, project_key, wanted)
            tracked = self._many(connection, rows, now_us, in_short=not include_metrics)
            queued = self._queued(connection, tracked)
            workers = reading.live_workers(connection, project_key, now_us - ALIVE_S * US)
            health = system_health(workers, related.count_waiting(connection, project_key))
        return batch_answer(
            tracked,
            queued,
            health,
            now_us=now_us,
            not_found=not_found,
            include_metrics=include_metrics,
            refresh_interval_s=refresh_interval_s,
        )

    # --- rows --------------------------------------------------------------------------------

    def tracked(self, connection: Connection, project_key: int, job_id: str) -> Tracked:
        """A job as it stands, for answers that others make.

        Raises:
            KeyError: There is no such job in the project.
        """
        # PostgreSQL refuses NUL in a text; no id has one.
        job = None if "\0" in job_id else reading.job_by_id(connection, project_key, job_id)
        if job is None:
            raise KeyError(job_id)
        return self._many(connection, [job], self.now_us)[0]

    @property
    def now_us(self) -> int:
        """Microseconds since 1970."""
        return round(self._now() * US)

    def _many(
        self,
        connection: Connection,
        jobs: Sequence[JobRow],
        now_us: int,
        *,
        in_short: bool = False,
    ) -> list[Tracked]:
        """Jobs with what belongs to them; in short, without what they use.

        Nothing belongs to completed ones then, as none of it is told.
        """
        kinds = {job.kind_key for job in told_of(jobs, in_short=in_short)}
        histories = self._histories_of(connection, kinds)
        return gathered(connection, jobs, now_us, histories, in_short=in_short)

    def _histories_of(
        self, connection: Connection, kind_keys: Iterable[int]
    ) -> Mapping[int, History]:
        """Past runs of each kind, as they were within the last seconds."""
        now, found = self._clock(), {}
        for kind_key in kind_keys:
            until, history = self._histories.get(kind_key, (0.0, None))
            if history is None or now >= until:
                runs = related.runs_of(connection, kind_key, MOST_RUNS)
                stages = related.stages_of_runs(connection, [run.job_key for run in runs])
                history = to_history(runs, stages)
                self._keep(kind_key, now + _KEPT_S, history)
            found[kind_key] = history
        return found

    def _keep(self, kind_key: int, until: float, history: History) -> None:
        with self._lock:
            if len(self._histories) >= _MOST_KINDS:
                self._histories.clear()
            self._histories[kind_key] = (until, history)

    def _queued(
        self, connection: Connection, tracked: Sequence[Tracked]
    ) -> dict[int, QueueEstimate]:
        """The place of each job that waits, by key."""
        waiting = [each for each in tracked if each.job.status == "received"]
        if not waiting:
            return {}
        places = related.places_in_queue(connection, [each.job for each in waiting])
        running = self._running(connection, waiting)
        rests = {queue: rests_of(found) for queue, found in running.items()}
        return {
            each.job.job_key: queue_estimate(
                each, places.get(each.job.job_key), rests[each.job.queue]
            )
            for each in waiting
        }

    def _running(
        self, connection: Connection, waiting: Sequence[Tracked]
    ) -> dict[str | None, list[Tracked] | None]:
        """What runs in the queues in which these jobs wait; ``None`` where that is too much."""
        project_key, now_us = waiting[0].job.project_key, waiting[0].now_us
        rows = {
            queue: related.running_in(connection, project_key, queue, _MOST_RUNNING + 1)
            for queue in {each.job.queue for each in waiting}
        }
        few = [row for found in rows.values() if len(found) <= _MOST_RUNNING for row in found]
        tracked: dict[str | None, list[Tracked]] = {}
        for each in self._many(connection, few, now_us, in_short=True):
            tracked.setdefault(each.job.queue, []).append(each)
        return {
            queue: tracked.get(queue, []) if len(found) <= _MOST_RUNNING else None
            for queue, found in rows.items()
        }


def _entries(connection: Connection, job_key: int, wanted: LogFilter) -> list[EventRow]:
    """From the time asked for on, the first; without one, the last."""
    return reading.events_of(
        connection,
        job_key,
        level=wanted.level,
        from_us=wanted.from_us,
        to_us=wanted.to_us,
        newest=wanted.from_us is None,
        limit=wanted.limit,
    )


def _worker_span(tracked: Tracked) -> tuple[int | None, tuple[int, int]]:
    """The worker that the job ran on, and from when to when."""
    attempt, job = tracked.attempt, tracked.job
    key = attempt.worker_key if attempt is not None else None
    if job.started_at_us is None:
        key = None
    return key, (job.started_at_us or job.created_at_us, tracked.until_us)


def _span_of(connection: Connection, tracked: Tracked) -> SpanRow | None:
    """What the worker's heartbeats say of the time in which the job ran."""
    key, span = _worker_span(tracked)
    return None if key is None else reading.span_of(connection, key, *span)


def _counts(connection: Connection, tracked: Tracked, limit: int, from_us: int) -> list[EventRow]:
    """The last events that say how much is done: of its stages, or of itself if none counts."""
    by_itself = tracked.counted is None and tracked.done is not None
    return reading.events_of(
        connection,
        tracked.job.job_key,
        from_us=from_us,
        event_types=("job.started", "job.progress") if by_itself else PROGRESS_TYPES,
        newest=True,
        limit=limit,
    )


def _history(
    connection: Connection, tracked: Tracked, wanted: Collection[str], interval_us: int
) -> list[HistoricalMetric]:
    key, (from_us, to_us) = _worker_span(tracked)
    from_us = max(from_us, to_us - MOST_INTERVALS * interval_us)
    intervals = (
        reading.intervals_of(connection, key, from_us, to_us, interval_us)
        if key is not None
        else []
    )
    return historical(
        tracked,
        intervals,
        _counts(connection, tracked, _MOST_PROGRESS, tracked.job.started_at_us or from_us),
        wanted=wanted,
        interval_us=interval_us,
        from_us=from_us,
    )


def _around(connection: Connection, job: JobRow) -> Around:
    needs = related.needs_of(connection, job.job_key)
    wanted = {row.needs_job_id for row in needs}
    if job.parent_job_id is not None:
        wanted.add(job.parent_job_id)
    known = {row.job_id: row for row in reading.jobs_by_id(connection, job.project_key, wanted)}
    return Around(
        needs=needs,
        needed=known,
        needing=related.jobs_needing(connection, job.project_key, job.job_id),
        parent=known.get(job.parent_job_id or ""),
        children=reading.children_of(connection, job.project_key, job.job_id),
        resources=related.resources_of(connection, job.job_key),
        conditions=related.conditions_of(connection, job.job_key),
    )


def _jobs(
    connection: Connection, project_key: int, wanted: Batch
) -> tuple[list[JobRow], list[str]]:
    """The jobs that are wanted, in order, and the ids that are none."""
    statuses = [STATUSES[wanted.status]] if wanted.status is not None else []
    if "\0" in (wanted.submitted_by or ""):
        return [], []
    if wanted.job_ids is None:
        newest = reading.newest_jobs(
            connection,
            project_key,
            statuses=statuses,
            submitted_by=wanted.submitted_by,
            limit=wanted.limit,
        )
        return newest, []
    job_ids = list(dict.fromkeys(wanted.job_ids))
    possible = [job_id for job_id in job_ids if "\0" not in job_id]
    known = {row.job_id: row for row in reading.jobs_by_id(connection, project_key, possible)}
    rows = [known[job_id] for job_id in job_ids if job_id in known]
    if statuses:
        rows = [row for row in rows if row.status in statuses]
    if wanted.submitted_by is not None:
        rows = [row for row in rows if row.submitted_by == wanted.submitted_by]
    return rows, [job_id for job_id in job_ids if job_id not in known]
