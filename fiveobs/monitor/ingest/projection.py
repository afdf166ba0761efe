"""Folds journal records into rows: pure, no I/O; what is stored already is given to it.

A batch is folded as a whole and then written (`writing`). A record may come before the one that it
follows from; the outcome is the same in any order, except for the order of `events` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import orjson

from fiveobs.monitor.ingest.folds import FOLDS, Fold, add_error, measure
from fiveobs.monitor.ingest.rows import Rows
from fiveobs.monitor.ingest.runs import Beat, begin_again, belongs
from fiveobs.monitor.ingest.states import FINAL, AttemptState, JobState, WorkerState
from fiveobs.monitor.ingest.values import (
    LEVELS,
    MAX_NAME_LENGTH,
    as_json,
    cut,
    name,
    number,
    to_us,
    whole,
)

__all__ = ["NOT_EVENTS", "REFUSALS", "Projection", "jobs_of"]

#: Record types that are on their way to other tracks and tell nothing that an event does not.
NOT_EVENTS = frozenset({"span", "envelope"})
_OTHERS = NOT_EVENTS | {"metric", "worker.heartbeat"}
#: What a record that cannot be folded raises; it has changed nothing then.
REFUSALS = (KeyError, TypeError, ValueError, AttributeError)
_US = 1_000_000
_MOST_ATTEMPTS = 2**31 - 1
#: What a job has from the record that describes it best.
_OF_JOB = ("parent_job_id", "session_id", "request_id")

_dumps = orjson.dumps


class _Names(Protocol):
    def project(self, tenant_id: str, project_id: str) -> int: ...

    def kind(self, project_key: int, service: str, job_name: str) -> int: ...


def jobs_of(
    records: Iterable[Any], project_key: int, project: Callable[[str, str], int]
) -> set[tuple[int, str]]:
    """The jobs that records are about, by project and job id."""
    found: set[tuple[int, str]] = set()
    for record in records:
        if type(record) is not dict:
            continue
        job_id, of_project = record.get("job_id"), project_key
        is_beat = job_id is None and record.get("event_type") == "worker.heartbeat"
        if "tenant_id" in record and (is_beat or type(job_id) is str):
            try:
                of_project = _project_key(record, project_key, project)
            except ValueError:
                continue  # it will be refused
        if type(job_id) is str:
            found.add((of_project, job_id))
        elif is_beat:
            found.update((of_project, each["job_id"]) for each in _active_jobs(record))
    return found


def _project_key(
    record: Mapping[str, Any], default: int, project: Callable[[str, str], int]
) -> int:
    """The project of a record that names one: a monitor's, about others' jobs."""
    tenant_id = record.get("tenant_id")
    if tenant_id is None:
        return default
    project_id = record.get("project_id")
    if project_id is None:
        return default
    return project(name("tenant_id", tenant_id), name("project_id", project_id))


def _active_jobs(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The jobs that a heartbeat says are running, each with its id."""
    data = record.get("data")
    jobs = data.get("jobs") if isinstance(data, dict) else None
    for job in jobs if isinstance(jobs, list) else ():
        if isinstance(job, dict):
            job_id = job.get("job_id")
            if type(job_id) is str and 0 < len(job_id) <= MAX_NAME_LENGTH:
                yield job


class Projection:
    """The rows that a batch of records leads to.

    Args:
        next_key: Gives a table's next key.
        event_key: The last key of an event.
        names: Gives the keys of projects and kinds of jobs.
        jobs: What is stored of the jobs of the batch, by project and job id; more are added.
    """

    def __init__(
        self,
        next_key: Callable[[str], int],
        event_key: int,
        names: _Names,
        jobs: dict[tuple[int, str], JobState],
    ) -> None:
        self.event_key = event_key
        self.jobs = jobs
        self.rows = Rows(next_key)
        #: Those with something to write, in the order in which they were touched.
        self.touched: dict[int, JobState] = {}
        self._names = names

    def add(  # noqa: C901 - one piece, because it runs for each record
        self, worker: WorkerState, record: Mapping[str, Any]
    ) -> None:
        """Fold one record of a worker; it changes nothing if it cannot be folded.

        Raises:
            KeyError: A field that every record has is missing.
            TypeError: A field has a wrong type.
            ValueError: A field has a wrong value.
        """
        # Long, because it runs for each record: what is usual makes no call that it can do without.
        event_type, job_id = record["event_type"], record.get("job_id")
        if job_id is None or event_type in _OTHERS:
            self._other(worker, event_type, record)
            return
        at = to_us(record["timestamp"])
        data, message, event_id = record["data"], record["message"], record["id"]
        span_id, number = record.get("span_id"), record.get("attempt", 1)
        level = LEVELS.get(record["level"], 20)
        if not (
            type(data) is dict
            and type(message) is type(event_id) is type(event_type) is str
            and (span_id is None or type(span_id) is str)
        ):
            raise _refusal(record)
        text = _dumps(data).decode()
        project_key = _project_key(record, worker.project_key, self._names.project)
        job = self.jobs.get((project_key, job_id))
        attempt = None if job is None else job.attempts.get(number)
        is_known = attempt is not None and type(number) is int
        if job is None or attempt is None or not is_known:
            job, attempt = self._found(project_key, record, at)
        latest_us = worker.latest_at_us
        self.rows.order_us = order_us = at if at > latest_us else latest_us + 1
        fold = FOLDS.get(event_type)
        if fold is not None:
            if attempt.runs > 1 or (fold.is_of_run and span_id != attempt.span_id):
                fold = self._of_run(fold, job, attempt, worker, record, at)
            if fold is not None:
                fold.fold(self.rows, job, attempt, at, record, data)
        # From here on nothing refuses.
        worker.latest_at_us = order_us
        if not is_known or not job.created_at_us <= at >= attempt.status_at_us:
            self._meet(job, attempt, at, record)
        elif at > job.updated_at_us:
            job.updated_at_us = at
        self.touched[job.job_key] = job
        attempt.is_changed = True
        if fold is not None:
            self._follow(fold, job, attempt, worker, at, record)
        if level == 20:
            attempt.info_entries += 1
        else:
            attempt.count_entry(level)
        if "error" in data:
            add_error(self.rows, job, attempt.attempt, at, event_type, data)
        self.event_key = event_key = self.event_key + 1
        self.rows.events.append(
            (
                event_key,
                event_id,
                job.project_key,
                job.job_key,
                number,
                worker.worker_key,
                at,
                event_type,
                level,
                message,
                span_id,
                text,
            )
        )

    # --- jobs --------------------------------------------------------------------------------

    def _found(
        self, project_key: int, record: Mapping[str, Any], at: int
    ) -> tuple[JobState, AttemptState]:
        """Job and attempt of a record; those that are new are not known to others yet."""
        job_id = record["job_id"]
        number = record.get("attempt", 1)
        if type(number) is not int or not 0 <= number <= _MOST_ATTEMPTS:
            raise ValueError(f"attempt: {number!r} is no attempt's number")
        job = self.jobs.get((project_key, name("job_id", job_id)))
        if job is None:
            job = JobState(self.rows.next_key("jobs"), project_key, job_id, 0, at)
        return job, job.attempts.get(number) or AttemptState(job.job_key, number, at)

    def _of_run(
        self,
        fold: Fold,
        job: JobState,
        attempt: AttemptState,
        worker: WorkerState,
        record: Mapping[str, Any],
        at: int,
    ) -> Fold | None:
        """The fold of a record that may be of another run than the attempt tells of.

        ``None`` if it is of an earlier one: then it is only counted.
        """
        found = belongs(fold, attempt, worker, record, self.rows.order_us, at)
        if found is None:
            return fold
        is_later, is_known = found
        if fold.fold is FOLDS["job.started"].fold or is_later:
            attempt.runs = max(attempt.runs, is_known) + 1
        if is_later:
            begin_again(self.rows, job, attempt, record.get("span_id"), at)
            return fold
        job.follow(attempt)
        return None

    def _meet(
        self, job: JobState, attempt: AttemptState, at: int, record: Mapping[str, Any]
    ) -> None:
        """Get to know a job or an attempt, or that it is older than was known."""
        job.updated_at_us = max(at, job.updated_at_us)
        # An event that says what the job is has its turn later.
        is_older = at < job.created_at_us or not job.kind_key
        if is_older and record["event_type"] not in _ORIGINS and not job.descriptions:
            self._describe(job, record, is_better=True, is_first=True)
        job.created_at_us = min(at, job.created_at_us)
        if attempt.status == "received" and attempt.received_at_us is None:
            attempt.status_at_us = min(at, attempt.status_at_us)
        if attempt.trace_id is None:
            attempt.trace_id = cut(record.get("trace_id"))
        if attempt.attempt not in job.attempts:
            job.attempts[attempt.attempt] = attempt
            self.jobs[job.project_key, job.job_id] = job
            job.follow(attempt)

    def _follow(
        self,
        fold: Fold,
        job: JobState,
        attempt: AttemptState,
        worker: WorkerState,
        at: int,
        record: Mapping[str, Any],
    ) -> None:
        """Move along the machine, after an event that may do so."""
        event_type = record["event_type"]
        if fold.is_alive:
            attempt.live(self.rows.order_us)
            if event_type in _BEGINNINGS:
                # What has no span is a connector's, which may speak from anywhere.
                is_here = record.get("span_id") is not None
                attempt.run(worker.worker_key if is_here else None, self.rows.order_us)
            elif attempt.worker_key is None and record.get("span_id") is not None:
                # Its beginning is not known.
                attempt.worker_key = worker.worker_key
        if not fold.is_move and attempt.status == "running" and attempt.running_at_us is not None:
            return
        attempt.settle()
        job.follow(attempt)
        if event_type in _ORIGINS:
            is_earliest = at == job.first_at[_ORIGINS[event_type]]
            is_better = is_earliest and (event_type == "job.started" or not _has_started(job))
            is_first = is_earliest and job.descriptions == 1
            self._describe(job, record, is_better=is_better, is_first=is_first)

    def _describe(
        self, job: JobState, record: Mapping[str, Any], *, is_better: bool, is_first: bool
    ) -> None:
        """Take over whose job it is and what kind of.

        Args:
            job: Which.
            record: What says so.
            is_better: Nothing that is known knows better; else it fills gaps.
            is_first: What is known was gathered from lines that are about other things.
        """
        if is_better or not job.kind_key:
            names = (cut(record.get(each)) or "" for each in ("service", "job_name"))
            service, job_name = names
            job.kind_key = self._names.kind(job.project_key, service, job_name)
        for each in _OF_JOB:
            value = cut(record.get(each))
            if is_first or (value is not None and (is_better or getattr(job, each) is None)):
                setattr(job, each, value)

    # --- the rest ----------------------------------------------------------------------------

    def _other(
        self,
        worker: WorkerState,
        event_type: str,
        record: Mapping[str, Any],
    ) -> None:
        """Fold a record that is no event of a job."""
        if event_type in NOT_EVENTS:
            return
        at, data = to_us(record["timestamp"]), record["data"]
        if type(data) is not dict:
            raise _refusal(record)
        project_key = _project_key(record, worker.project_key, self._names.project)
        self.rows.order_us = max(at, worker.latest_at_us + 1)
        if event_type == "worker.heartbeat":
            self._heartbeat(worker, project_key, at, data, record)
        elif event_type != "metric":
            self._of_worker(worker, project_key, event_type, at, data, record)
        elif record.get("job_id") is not None:
            job, attempt = self._found(project_key, record, at)
            span_id = record.get("span_id")
            if attempt.span_id is None or span_id in (None, attempt.span_id):
                measure(self.rows, attempt, at, data)
            self._meet(job, attempt, at, record)
            self.touched[job.job_key] = job
            attempt.is_changed = True

    def _of_worker(
        self,
        worker: WorkerState,
        project_key: int,
        event_type: str,
        at: int,
        data: dict[str, Any],
        record: Mapping[str, Any],
    ) -> None:
        event_id, message, span_id = record["id"], record["message"], record.get("span_id")
        level = LEVELS.get(record["level"], 20)
        if not type(event_type) is type(event_id) is type(message) is type(span_id or "") is str:
            raise _refusal(record)
        text = _dumps(data).decode()
        _introduce(worker, record)
        worker.latest_at_us = self.rows.order_us
        if event_type.startswith("worker."):  # a monitor records about others' projects, too
            worker.project_key = project_key
        if event_type == "worker.started":
            worker.pid = whole(data.get("pid"))
            worker.cpu_count = number(data.get("cpu_count"))
            worker.resource = as_json(data.get("resource"))
            worker.started_at_us = worker.heartbeat_at_us = at
        elif event_type == "worker.stopped":
            worker.stopped_at_us = at
            worker.active_jobs = whole(data.get("active_jobs"))
        worker.is_changed = True
        self.event_key += 1
        self.rows.events.append(
            (
                *(self.event_key, event_id, project_key, None, None, worker.worker_key, at),
                *(event_type, level, message, span_id, text),
            )
        )

    def _heartbeat(
        self,
        worker: WorkerState,
        project_key: int,
        at: int,
        data: dict[str, Any],
        record: Mapping[str, Any],
    ) -> None:
        cpu_s = number(data.get("cpu_s"))
        before_at, before_s = worker.heartbeat_at_us, worker.cpu_s
        if None not in (before_at, before_s, cpu_s) and at > before_at:  # type: ignore[operator]
            share = _US * (cpu_s - before_s) / (at - before_at)  # type: ignore[operator]
            worker.cpu_percent = max(0.0, 100 * share)
        _introduce(worker, record)
        # Its first record says whose it is, and may have been deleted before it was read.
        worker.project_key, worker.latest_at_us = project_key, self.rows.order_us
        worker.heartbeat_at_us, worker.cpu_s, worker.is_changed = at, cpu_s, True
        for each in _HEARTBEAT_FIGURES:
            setattr(worker, each, whole(data.get(each)))
        figures = (getattr(worker, each) for each in _SAMPLED)
        counters = (whole(data.get(each)) for each in _COUNTERS)
        self.rows.samples.append((worker.worker_key, at, *figures, *counters))
        for listed in _active_jobs(record):
            self._alive(worker, project_key, listed, at, record)

    def _alive(
        self,
        worker: WorkerState,
        project_key: int,
        listed: Mapping[str, Any],
        at: int,
        record: Mapping[str, Any],
    ) -> None:
        """A worker says that it runs a job: evidence even if nothing else of it was read."""
        beat = Beat.of(listed, at)
        job = self.jobs.get((project_key, listed["job_id"]))
        if beat is not None:
            job, attempt = self._found(project_key, listed, beat.begun_at_us)
            if attempt.attempt not in job.attempts:
                fields = {"event_type": "worker.heartbeat", "service": record.get("service")}
                self._meet(job, attempt, beat.begun_at_us, {**fields, **listed})
            if not beat.tell(self.rows, job, attempt, worker):
                return
        elif job is None or (attempt := job.last_of(worker.worker_key)) is None:  # type: ignore[assignment]
            return
        attempt.is_changed = True
        self.touched[job.job_key] = job
        if attempt.status not in FINAL:
            attempt.live(self.rows.order_us)
            attempt.settle()
        job.follow(attempt)


#: The events that say which worker runs an attempt.
_BEGINNINGS = frozenset({"job.started", "job.resumed"})
#: The events that say what a job is, and the column that holds when they happened.
_ORIGINS: Mapping[str, str] = {"job.received": "received_at_us", "job.started": "started_at_us"}
_HEARTBEAT_FIGURES = (
    "active_jobs",
    "memory_rss_bytes",
    "memory_used_bytes",
    "memory_limit_bytes",
)
_SAMPLED = (
    *("active_jobs", "cpu_s", "cpu_percent"),
    *("memory_rss_bytes", "memory_used_bytes", "memory_limit_bytes"),
)
#: What a heartbeat counts since long ago: only differences say anything.
_COUNTERS = ("io_operations", "network_receive_bytes", "network_transmit_bytes")


def _introduce(worker: WorkerState, record: Mapping[str, Any]) -> None:
    """Who the worker is; its first record may have been deleted before it was read."""
    if worker.worker_id is None:
        for each in ("worker_id", "machine_id", "service"):
            setattr(worker, each, cut(record.get(each)))


def _has_started(job: JobState) -> bool:
    return "started_at_us" in job.first_at


def _refusal(record: Mapping[str, Any]) -> Exception:
    """What is wrong with a record that has a field of a wrong type."""
    for key, kind in (("data", dict), ("message", str), ("id", str), ("event_type", str)):
        if type(record[key]) is not kind:
            return TypeError(f"{key}: {str(record[key])[:80]!r} is of a wrong type")
    return TypeError(f"span_id: {str(record.get('span_id'))[:80]!r} is no text")
