"""What the tracks have sent while a capture lasts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from fiveobs import _runtime
from fiveobs._subscription import compile_patterns
from fiveobs.journal.segments import MemorySegment
from fiveobs.testing import _decoding as decode
from fiveobs.testing._clock import FakeClock
from fiveobs.testing._job import CapturedJob, disagreements
from fiveobs.testing._senders import MemorySender
from fiveobs.types import Accounting, JobEvent

if TYPE_CHECKING:
    from fiveobs._pipeline import Pipeline

T = TypeVar("T")

#: The tracks that send something, and all of them.
SHIPPING = ("logs", "traces", "metrics", "errors")
TRACKS = ("events", *SHIPPING)
#: How long reading a track waits for what is on its way, in seconds.
_PATIENCE_S = 5.0
#: How long ``wait_for`` rests between two looks when nothing is delivered, in seconds.
_REST_S = 0.01


class Captured:
    """What the tracks have sent; made by ``capture``.

    Reading a track first waits until everything recorded so far has been delivered, unless the
    track was broken on purpose. Everything can still be read after the capture has ended.

    Args:
        home: The ``FIVEOBS_HOME`` of the capture.
        clock: The clock that jobs go by, if it is not the real one.
    """

    def __init__(self, home: Path, clock: FakeClock | None = None) -> None:
        #: The ``FIVEOBS_HOME`` of the capture.
        self.home = home
        self._clock = clock
        #: What fiveobs reported as going wrong, a line for each cause.
        self.problems: list[str] = []
        self._changed = threading.Condition()
        self._senders = {track: MemorySender(track, self._changed) for track in SHIPPING}
        self._patience_s = _PATIENCE_S
        self._kept: list[JobEvent] | None = None
        self._kept_accounting: dict[str, Accounting] = {}

    def __repr__(self) -> str:
        """How much each track has sent so far."""
        sent = {track: len(sender.payloads) for track, sender in self._senders.items()}
        return f"<Captured {len(self._read_events())} events; deliveries: {sent}>"

    @property
    def clock(self) -> FakeClock:
        """The clock given to ``capture(clock=...)``."""
        if self._clock is None:
            raise RuntimeError("this capture goes by real time: use capture(clock=FakeClock())")
        return self._clock

    # --- the tracks --------------------------------------------------------------------------

    @property
    def events(self) -> list[JobEvent]:
        """The events in the journal, in order; those of child processes with this home too."""
        return list(self._kept) if self._kept is not None else self._read_events()

    def events_of(self, pattern: str) -> list[JobEvent]:
        """The events whose type matches, for example ``job.*`` or ``*.failed``."""
        types = compile_patterns(pattern)
        return [event for event in self.events if types.fullmatch(event.event_type)]

    @property
    def logs(self) -> list[JobEvent]:
        """The log lines that the logs track has sent."""
        return [event for event in self.log_records if event.event_type == "log"]

    @property
    def log_records(self) -> list[JobEvent]:
        """Everything that the logs track has sent: log lines and all other events."""
        payloads = self._payloads("logs")
        return [JobEvent(each) for payload in payloads for each in decode.log_records_in(payload)]

    @property
    def spans(self) -> list[dict[str, Any]]:
        """The spans that the traces track has sent.

        Each has ``name``, ``trace_id``, ``span_id`` and ``parent_span_id`` (hex; ``None`` for a
        root), ``kind``, ``attributes``, ``status`` (``code`` UNSET, OK or ERROR, and ``message``),
        ``start_ns``, ``end_ns``, ``duration_s``, ``events``, ``links``, ``scope`` and ``resource``.
        """
        return [span for body in self._payloads("traces") for span in decode.spans_in(body)]

    @property
    def metrics(self) -> dict[str, list[dict[str, Any]]]:
        """The newest point of each series that the metrics track has sent, by instrument name.

        Each has ``kind``, ``unit``, ``attributes`` and ``exemplars``; sums and gauges a ``value``,
        histograms ``count``, ``sum``, ``min``, ``max``, ``bounds`` and ``buckets``.
        """
        newest: dict[str, dict[str, dict[str, Any]]] = {}
        for body in self._payloads("metrics"):
            for name, point in decode.points_in(body):
                series = repr(sorted(point["attributes"].items()))
                newest.setdefault(name, {})[series] = point
        return {name: list(points.values()) for name, points in newest.items()}

    def metric(self, name: str, labels: Mapping[str, Any] | None = None) -> float:
        """One figure: the sum of the values (histograms: counts) of the points with these labels.

        Args:
            name: The instrument's name, for example ``jobs.processed``.
            labels: What the points must have, among others; ``None`` takes all points.
        """
        wanted = (labels or {}).items()
        points = [p for p in self.metrics.get(name, ()) if wanted <= p["attributes"].items()]
        return float(sum(point["count" if "count" in point else "value"] for point in points))

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The Sentry events that the errors track has sent."""
        return [content for kind, content in self.envelope_items if kind == "event"]

    @property
    def envelope_items(self) -> list[tuple[str, dict[str, Any]]]:
        """Type and content of all that was sent to Sentry: events, check-ins, transactions."""
        payloads = self._payloads("errors")
        return [item for envelope in payloads for item in decode.envelope_items_in(envelope)]

    # --- jobs --------------------------------------------------------------------------------

    @property
    def jobs(self) -> list[CapturedJob]:
        """Every job, in the order of their first events."""
        ids = dict.fromkeys(event.job_id for event in self.events if event.job_id)
        return [CapturedJob(self, job_id) for job_id in ids]

    def job(self, job_id: str | None = None) -> CapturedJob:
        """One job, as all tracks show it.

        Args:
            job_id: Which; ``None`` takes the only one.

        Raises:
            AssertionError: There is no such job, or more than one and no ``job_id``.
        """
        jobs = self.jobs
        found = [job for job in jobs if job_id in (None, job.job_id)]
        if len(found) != 1:
            wanted = "exactly one job" if job_id is None else f"a job {job_id!r}"
            there = ", ".join(f"{job.name} ({job.job_id})" for job in jobs) or "none"
            raise AssertionError(f"there is not {wanted}; there is: {there}")
        return found[0]

    def ids_agree(
        self, job_id: str | None = None, *, tracks: Iterable[str] | None = None
    ) -> dict[str, str]:
        """Check that all tracks tell of a job under the same ids.

        The journal's line, what went to Fluent Bit, the span, the metrics' exemplars and the Sentry
        event are compared. A job that ended must have been sent by each of them.

        Args:
            job_id: Which job; ``None`` takes the only one.
            tracks: The tracks to compare; ``None`` takes all that have a destination.

        Returns:
            ``job_id``, ``trace_id`` and ``span_id``.

        Raises:
            AssertionError: They differ; the message says where.
        """
        job = self.job(job_id)
        compared = tuple(tracks) if tracks is not None else ("events", *self._configured())
        check_tracks(compared, TRACKS, "tracks")
        faults = list(disagreements(job, self, compared))
        if faults:
            ids = f"job {job.job_id} has trace {job.trace_id} and span {job.span_id}, but"
            raise AssertionError("\n  ".join([ids, *faults]))
        return {"job_id": job.job_id, "trace_id": str(job.trace_id), "span_id": str(job.span_id)}

    def accounting(self) -> dict[str, Accounting]:
        """What became of each track's records; does not wait for those on their way."""
        pipeline = self._pipeline()
        return dict(self._kept_accounting) if pipeline is None else pipeline.accounting()

    def failures(self) -> dict[str, int]:
        """Exceptions that tracks have raised in jobs' threads, by track."""
        pipeline = self._pipeline()
        return {} if pipeline is None else dict(pipeline.fanout.failures)

    # --- waiting -----------------------------------------------------------------------------

    def flush(self, timeout_s: float = _PATIENCE_S, *, track: str | None = None) -> bool:
        """Wait until every track has delivered, and the bus too; whether they have.

        Needed only to wait without reading, or to see that a broken track does not deliver.

        Args:
            timeout_s: How long, for all together.
            track: Wait for this one only; ``None`` for all and the bus.
        """
        if track is None:
            return _runtime.flush(timeout_s)
        check_tracks([track], SHIPPING, "flush")
        shipper = self._shipper(track)
        return shipper is None or bool(shipper.flush(time.monotonic() + timeout_s))

    def wait_for(self, predicate: Callable[[Captured], T], timeout_s: float = _PATIENCE_S) -> T:
        """Wait until ``predicate(captured)`` is true, and return its value.

        Raises:
            TimeoutError: It was not true within ``timeout_s``; the message says what there was.
        """
        deadline = time.monotonic() + timeout_s
        patience_s, self._patience_s = self._patience_s, _REST_S
        try:
            while not (value := predicate(self)):
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"not so within {timeout_s:g} s: {self!r}")
                with self._changed:
                    self._changed.wait(_REST_S)
        finally:
            self._patience_s = patience_s
        return value

    # --- breaking things ---------------------------------------------------------------------

    def break_track(self, track: str) -> None:
        """Have each delivery of a track fail from now on, as in an outage."""
        check_tracks([track], SHIPPING, "break_track")
        self._senders[track].is_broken = True

    def refuse(self, track: str) -> None:
        """Have a track's destination refuse everything for good from now on."""
        check_tracks([track], SHIPPING, "refuse")
        self._senders[track].is_refusing = True

    def slow_down(self, track: str, delay_s: float) -> None:
        """Have each delivery of a track take this long from now on; 0 for none."""
        check_tracks([track], SHIPPING, "slow_down")
        self._senders[track].slow_down(delay_s)

    def repair(self, track: str) -> None:
        """Have a track work again: broken, refusing and slow no more; it catches up at once."""
        check_tracks([track], TRACKS, "repair")
        if track == "events":
            self._repair_journal()
            return
        self._senders[track].repair()
        shipper = self._shipper(track)
        if shipper is not None:
            shipper.hurry(time.monotonic() + _PATIENCE_S)

    def attempts(self, track: str) -> int:
        """Deliveries that a track has tried."""
        check_tracks([track], SHIPPING, "attempts")
        return self._senders[track].attempts

    def break_journal(self) -> None:
        """Put a file where the journal's folder belongs, before there is one."""
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "journal").touch()

    def _repair_journal(self) -> None:
        folder = self.home / "journal"
        if folder.is_file():
            folder.unlink()
        pipeline = self._pipeline()
        if pipeline is not None:
            pipeline.journal.maintain()

    # --- for capture -------------------------------------------------------------------------

    def prepare(self, pipeline: Pipeline) -> None:
        """Put the senders into a new pipeline's destinations."""
        for track, shipper in pipeline.shippers.items():
            destination = shipper._destination
            self._senders[track].put_into(destination, pipeline.config)

    def keep(self) -> None:
        """The capture is ending: deliver what can be delivered, and keep what is on disk."""
        for track in SHIPPING:
            self._settle(track)
        self._kept_accounting = self.accounting()
        self._kept = self._read_events()
        for sender in self._senders.values():
            sender.release()

    # --- inside ------------------------------------------------------------------------------

    def _pipeline(self) -> Pipeline | None:
        return _runtime._pipeline if self._kept is None else None

    def _shipper(self, track: str) -> Any:
        pipeline = self._pipeline()
        return None if pipeline is None else pipeline.shippers.get(track)

    def _configured(self) -> list[str]:
        """The tracks that send something."""
        if self._kept is not None:
            return [track for track in SHIPPING if track in self._kept_accounting]
        return [track for track in SHIPPING if self._shipper(track) is not None]

    def _payloads(self, track: str) -> list[Any]:
        self._settle(track)
        return list(self._senders[track].payloads)

    def _settle(self, track: str) -> None:
        """Wait until the track has delivered, if it can."""
        shipper = self._shipper(track)
        if shipper is not None and not self._senders[track].is_broken:
            shipper.flush(time.monotonic() + self._patience_s)

    def _read_events(self) -> list[JobEvent]:
        records = []
        for line in [*decode.journal_lines(self.home / "journal"), *self._memory_lines()]:
            try:
                records.append(orjson.loads(line))
            except ValueError:  # an empty or torn line
                continue
        events = [JobEvent(record) for record in records if decode.is_event(record)]
        return sorted(events, key=lambda event: event.timestamp)

    def _memory_lines(self) -> list[bytes]:
        """Lines that the disk has refused."""
        pipeline = self._pipeline()
        segments = list(pipeline.journal._segments.values()) if pipeline is not None else []
        memory = [each for each in segments if isinstance(each, MemorySegment)]
        return [line for each in memory for line in each.read(0, each.size).split(b"\n")]


class ProblemHandler(logging.Handler):
    """Keeps what ``fiveobs.internal`` is told.

    Args:
        problems: Where to.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__()
        self._problems = problems

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self._problems.append(record.getMessage())


def check_tracks(given: Iterable[str], valid: tuple[str, ...], where: str) -> None:
    """Refuse names that are no tracks, or none that this can be done to."""
    for track in given:
        if track not in valid:
            raise ValueError(f"{where}: {track!r} is none of {', '.join(valid)}")
