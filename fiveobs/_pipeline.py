"""Everything that one process has running: journal, tracks, shippers, maintenance.

Made by ``_runtime``; belongs to the process that made it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from time import time_ns
from typing import TYPE_CHECKING, Any

from fiveobs import _bus, _control, _figures
from fiveobs._context import current
from fiveobs._failure import error_data
from fiveobs._fanout import Fanout
from fiveobs._ids import IdSource, rfc3339
from fiveobs._loading import loading
from fiveobs._redact import Redactor
from fiveobs._report import report
from fiveobs._shippers import make_shippers
from fiveobs._sizes import size_of
from fiveobs.journal.adoption import Adopter
from fiveobs.journal.records import WANTS
from fiveobs.journal.retention import enforce_bound
from fiveobs.journal.writer import Journal, JournalSettings
from fiveobs.tracks import _library_spans
from fiveobs.tracks.errors import ErrorsTrack
from fiveobs.tracks.events import EventsTrack
from fiveobs.tracks.traces import TracesTrack
from fiveobs.types import Accounting, JobEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fiveobs._config import Config
    from fiveobs._job import Job
    from fiveobs.tracks.metrics import Observation

_LEVEL_NUMBERS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
#: A span of ours has its two times, beside perhaps its parent; more comes from the application.
_OWN_SPAN_PARTS = 2
#: What follows the event type of a line without a span, and with one.
_MAYBE_SAMPLED: tuple[dict[str, bool], dict[str, bool]] = ({}, {"sampled": True})
#: Jobs that one heartbeat lists; where more run, they take turns.
_MOST_LISTED = 100
#: What the end of a process may take longer for what dead ones have left, in seconds; so programs
#: that run for a moment now and then get through with it.
_LEFTOVERS_S = 1.0


class _BusTrack:
    """Hands events to the process's bus, whose subscriptions outlive pipelines."""

    name = "bus"

    def __init__(self) -> None:
        self.on_event = _bus.bus.publish


class Pipeline:
    """One process's observability.

    Args:
        config: Settings in force.
        ids: Mints the ids; ``None`` for one of its own.
    """

    def __init__(self, config: Config, ids: IdSource | None = None) -> None:
        self.pid = os.getpid()
        self.config = config
        self.log_level = _LEVEL_NUMBERS[config.log_level]
        self.ids = ids or IdSource()
        self._next_seq, self._process_id = self.ids.next_seq, self.ids.process
        #: Measures arguments and results.
        self.size_of = size_of
        self.redactor = Redactor(config.redact_keys, config.redact_patterns)
        #: This process. WORKER_ID may be the same for several, whose sums must stay apart.
        self._instance_id = f"{socket.gethostname()}-{self.pid}"
        worker_id = config.worker_id or self._instance_id
        #: On every record.
        self.base = {"worker_id": worker_id, "machine_id": config.machine_id}
        #: Whose it is, on every record where that is not the default one: each file of the journal
        #: may be deleted before it is read.
        self._owner = self._tenancy("{}_id")
        #: Jobs that run in this process, by identity.
        self.active: dict[int, Job] = {}
        #: Which of them a heartbeat lists first, where they are too many for one.
        self._turn = 0
        #: Time that jobs have spent in us.
        self.overhead_ns = 0
        #: Services that have had a job here: of each is said how many run, also when none does.
        self.services = {config.service}
        self.traces = TracesTrack(config, self.ids, self._emit_span, self._lose_spans)
        self.errors = ErrorsTrack(config, self.base, self.redactor, self._emit_envelope)
        self.journal = self._make_journal()
        _library_spans.connect(self.traces, self.ids, _present)
        _bus.bus.home = config.home
        events = EventsTrack(self.journal, self.redactor)
        self.fanout = Fanout((events, _BusTrack(), self.traces, self.errors, *config.tracks))
        self.shippers = make_shippers(self)
        self._adopter = Adopter(self.journal.folder, self.shippers) if self.journal.folder else None
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="fiveobs-heartbeat", daemon=True)
        #: When to try again to start threads, on the monotonic clock; 0 when all are there.
        self.threads_due_at = 0.0

    def _make_journal(self) -> Journal:
        config = self.config
        settings = JournalSettings(
            segment_bytes=config.journal_segment_bytes,
            memory_bytes=config.journal_memory_bytes,
            fsync_interval_s=config.journal_fsync,
        )
        configured = {
            "logs": config.logs_configured,
            "traces": self.traces.is_exporting,
            "metrics": config.metrics_configured,
            "errors": self.errors.is_exporting,
        }
        wants = {track: WANTS[track] for track, is_on in configured.items() if is_on}
        folder = config.home / "journal"
        journal = Journal(folder, config.machine_id, settings, wants, report)
        journal.resource = self._resource()
        return journal

    def _resource(self) -> dict[str, Any]:
        return {
            "service.instance.id": self._instance_id,
            "worker.id": self.base["worker_id"],
            "machine.id": self.base["machine_id"],
            "host.id": self.base["machine_id"],
            "host.name": socket.gethostname(),
            "process.pid": self.pid,
            **_figures.identity(),
            "telemetry.sdk.language": "python",
            **self.config.resource_attributes,
            **self._tenancy("fiveobs.{}.id"),
            # Last: OTEL_SERVICE_NAME comes before the service.name of OTEL_RESOURCE_ATTRIBUTES.
            "service.name": self.config.service,
        }

    def _tenancy(self, name: str) -> dict[str, str]:
        """Tenant and project, if they are not the default ones: what others need not know."""
        found = {"tenant": self.config.tenant_id, "project": self.config.project_id}
        if set(found.values()) == {"default"}:
            return {}
        return {name.format(key): value for key, value in found.items()}

    # --- emitting ----------------------------------------------------------------------------

    def emit(
        self,
        fields: Mapping[str, Any],
        event_type: str,
        level: str,
        message: str,
        data: Mapping[str, Any],
        span: Mapping[str, Any] | None = None,
    ) -> None:
        """Make one event and hand it to the tracks; what is passed must be redacted already."""
        seq = self._next_seq()
        record: dict[str, Any] = {
            "id": f"{self._process_id}-{seq}",
            "seq": seq,
            "timestamp": rfc3339(time_ns()),
            "event_type": event_type,
            **_MAYBE_SAMPLED[span is not None],
            "level": level,
            "message": message,
            **self._owner,
            **fields,
            "data": data,
        }
        if span is not None:
            if len(span) > _OWN_SPAN_PARTS + ("parent_span_id" in span):
                span = self._clean_span(dict(span))
            record["span"] = span
        self.fanout.event(JobEvent(record))

    def fields_of(self, job: Job) -> dict[str, Any]:
        """A job's ids; in a fork of the process where it began, with the present worker's."""
        return job._fields if job._pid == self.pid else {**job._fields, **self.base}

    def run_of(self, job: Job) -> _control.Run:
        """The job's present run, as whoever may ask something of it names it."""
        return _control.run_of(self.journal.resource, job.job_id, job.attempt, job.span_id)

    def emit_for(
        self,
        fields: Mapping[str, Any],
        event_type: str,
        level: str,
        message: str,
        data: Mapping[str, Any],
    ) -> None:
        """Make an event of a connector: of the job it names, or of the one that runs here."""
        job = current.get()
        found: dict[str, Any] = {"service": self.config.service, **self.base}
        if job is not None and job._fields and fields.get("job_id") in (None, job.job_id):
            found = {**job._fields, **self.base}
        found |= {key: value for key, value in fields.items() if value is not None}
        message, cleaned = self.cleaned(message, data)
        self.emit(found, event_type, level, message, cleaned)

    def cleaned(self, message: str, data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """A caller's message and data, redacted and safe to serialize."""
        clean = self.redactor.clean
        return self.redactor.text(_text(message)), clean(data)  # type: ignore[return-value]

    def log(
        self,
        job: Job | None,
        level: str,
        message: str,
        data: Mapping[str, Any],
        *,
        with_error: bool = False,
    ) -> None:
        """Make one ``log`` event, of the given job if there is one."""
        message, cleaned = self.cleaned(message, data)
        if with_error:
            import sys

            error = sys.exc_info()[1]
            if error is not None:
                cleaned["error"] = self.error_data(error)
        fields: Mapping[str, Any] = {"service": self.config.service, **self.base}
        if job is not None and job._fields:
            fields = self.fields_of(job)
            if job.stage_name is not None:
                cleaned.setdefault("stage", job.stage_name)
            if self.errors.keeps_breadcrumbs():
                job._keep_breadcrumb(level, message, cleaned)
        self.emit(fields, "log", level, message, cleaned)

    def error_data(self, error: BaseException, *, with_stack: bool = True) -> dict[str, Any]:
        """An exception as event data."""
        return error_data(self.redactor, error, with_stack=with_stack)

    def _emit_span(
        self, fields: dict[str, Any], span: dict[str, Any], data: Mapping[str, Any]
    ) -> None:
        fields = {"service": self.config.service, **self.base, **fields}
        self.emit(fields, "span", "debug", str(span.get("name", "")), data, span)

    def _clean_span(self, span: dict[str, Any]) -> dict[str, Any]:
        for part in ("name", "attributes", "events", "status"):
            if span.get(part):
                span[part] = self.redactor.clean(span[part])
        return span

    def _lose_spans(self, count: int) -> None:
        self.journal.lose("traces", count)

    def _emit_envelope(self, data: dict[str, str]) -> None:
        if self.pid != os.getpid():  # the SDK's client is the parent's until there is a job here
            present = _present()
            if present is not None:
                present._emit_envelope(data)
            return
        job = current.get()
        fields = self.fields_of(job) if job is not None else self.base
        self.emit(fields, "envelope", "debug", "Sentry envelope", data)

    # --- figures -----------------------------------------------------------------------------

    def usage(self) -> _figures.Usage:
        """What the process has used so far."""
        return _figures.usage()

    def usage_since(self, before: _figures.Usage) -> dict[str, float | int]:
        """What it has used since then, as event data."""
        return _figures.usage_between(before, _figures.usage())

    def accounting(self) -> dict[str, Accounting]:
        """What became of the records of each track in this process."""
        journal = self.journal
        lost = journal.lost["events"]
        accepted, pending = journal.accepted("events"), journal.pending_events()
        sums = {"events": Accounting(accepted, accepted - pending - lost, pending, lost)}
        for track, reader in journal.readers.items():
            accepted, dropped = journal.accepted(track), journal.dropped(track)
            delivered = reader.sums().delivered
            sums[track] = Accounting(accepted, delivered, accepted - delivered - dropped, dropped)
        return sums

    def meet(self, service: str) -> None:
        """Remember a service that has a job; past the limit of label sets it is none of its own."""
        if len(self.services) < self.config.metric_label_limit:
            self.services.add(service)

    def observe(self) -> Iterator[Observation]:
        """The figures of the moment, for the metrics."""
        with loading:
            from fiveobs.tracks._observations import observations

        return observations(
            [job.service for job in list(self.active.values())],
            self.services,
            self.accounting(),
            self.overhead_ns / 1e9,
            self.fanout.failures,
        )

    # --- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Say that the worker is there, and begin to ship."""
        data = {"resource": self.journal.resource, "pid": self.pid}
        cpus = _figures.cpu_count()
        if cpus:
            data["cpu_count"] = cpus
        self._say("worker.started", "worker started", data)
        self.start_threads()

    def start_threads(self) -> None:
        """Have every thread run; where the system gives none, jobs are recorded all the same."""
        try:
            for shipper in self.shippers.values():
                shipper.start()
            if self._heart.ident is None and not self._stop.is_set():
                self._heart.start()
            self.threads_due_at = 0.0
        except (RuntimeError, MemoryError) as exc:
            self.threads_due_at = time.monotonic() + self.config.heartbeat_interval_s
            report("threads", f"{exc}; records wait in the journal, and it is tried again")

    def _say(self, event_type: str, message: str, data: Mapping[str, Any]) -> None:
        fields = {"service": self.config.service, **self.base}
        self.emit(fields, event_type, "info", message, data)

    def _beat(self) -> None:
        """The maintenance thread: signs of life, the journal's upkeep, others' leftovers."""
        self._take_care(self._maintain)
        while not self._stop.wait(self.config.heartbeat_interval_s):
            self._take_care(self._heartbeat)
            self._take_care(self._maintain)

    def _take_care(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as exc:
            report("heartbeat", f"{type(exc).__name__}: {exc}")

    def _heartbeat(self) -> None:
        used = _figures.usage()
        memory = _figures.memory_limit()
        data = {
            "active_jobs": len(self.active),
            "jobs": [_entry(job) for job in self._listed()],
            "cpu_s": round(used.cpu_s, 3),
            "memory_rss_bytes": used.rss_bytes,
            "memory_used_bytes": memory.used_bytes,
            "memory_limit_bytes": memory.limit_bytes,
            "io_operations": used.io_operations,
            "network_receive_bytes": used.network_receive_bytes,
            "network_transmit_bytes": used.network_transmit_bytes,
        }
        data = {name: value for name, value in data.items() if value is not None}
        self._say("worker.heartbeat", f"{len(self.active)} active jobs", data)

    def _listed(self) -> list[Job]:
        """The active jobs that this heartbeat lists: all, or as many of them as have their turn."""
        jobs = list(self.active.values())
        if len(jobs) <= _MOST_LISTED:
            return jobs
        begin = self._turn % len(jobs)
        self._turn = begin + _MOST_LISTED
        return (jobs[begin:] + jobs[:begin])[:_MOST_LISTED]

    def _maintain(self) -> None:
        self.journal.maintain()
        folder = self.journal.folder
        if folder is not None and self._adopter is not None:
            self._adopter.scan()
            enforce_bound(folder, self.config.journal_max_bytes, self.journal, self._adopter)

    def flush(self, deadline: float) -> bool:
        """Have everything delivered until ``deadline`` (monotonic); whether it was."""
        if self.threads_due_at:
            self.start_threads()
        for shipper in self.shippers.values():
            shipper.hurry(deadline)
        done = [_bus.bus.flush(deadline)]
        done += [shipper.flush(deadline) for shipper in self.shippers.values()]
        return all(done)

    def close(self, deadline: float) -> bool:
        """Flush and end everything until ``deadline`` (monotonic); whether all was delivered."""
        self._stop.set()
        if self._heart.ident is not None:
            self._heart.join(max(0.0, deadline - time.monotonic()))
        self._say("worker.stopped", "worker stopped", {"active_jobs": len(self.active)})
        done = self.flush(deadline)
        leftovers_until = min(deadline, time.monotonic() + _LEFTOVERS_S)
        for shipper in self.shippers.values():
            shipper.finish(leftovers_until)
        _bus.bus.close(deadline)
        for shipper in self.shippers.values():
            shipper.close(deadline)
        self._close_tracks(deadline)
        _library_spans.connect(None, None)
        self.errors.close()
        if self._adopter is not None:
            self._adopter.close()
        self.journal.close()
        return done

    def _close_tracks(self, deadline: float) -> None:
        for track in reversed(self.config.tracks):
            try:
                track.close(max(0.0, deadline - time.monotonic()))
            except Exception as exc:
                report(f"track {track.name}", f"close: {type(exc).__name__}: {exc}")

    def abandon(self) -> None:
        """In a forked child: this is the parent's; keep off everything but its open files."""
        _bus.bus.after_fork()
        self.journal.abandon()


def _entry(job: Job) -> dict[str, Any]:
    """What a heartbeat says of a job: which run of it runs here, and since when."""
    found = {
        "job_id": job.job_id,
        "job_name": job.name,
        "service": job.service,
        "attempt": job.attempt,
        "duration_s": round(job.duration_s, 6),
    }
    return {**found, "span_id": job.span_id} if job.span_id else found


def _present() -> Pipeline | None:
    """The pipeline of this process, made if need be."""
    from fiveobs import _runtime

    return _runtime.get()


def _text(value: object) -> str:
    """A message as text; callers pass anything."""
    if isinstance(value, str):
        return value
    try:
        return str(value)
    except Exception:
        return f"<unprintable {type(value).__name__}>"
