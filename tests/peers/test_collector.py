"""All that leaves a worker by OTLP and Fluent Forward, through the real Collector to its backend.

What the Collector promises: a log record is in its queue on disk before it is acknowledged, so a
kill loses none (and may repeat some). Spans and metrics are acknowledged while they are in memory;
what it held then is lost with it, and the worker cannot know.
"""

from __future__ import annotations

import functools
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.peers.harness.collector import Collector, Sample, binary
from tests.peers.harness.program import free_port, until
from tests.peers.harness.received import undelivered
from tests.peers.harness.worker import Worker, to_collector
from tests.support import workers
from tests.support.receivers import OtlpReceiver

pytestmark = pytest.mark.peer

SUCCEEDED, FAILED = 7, 3
#: Jobs put into the queue, and how many of them are done.
ANNOUNCED, TAKEN = 4, 2
#: The tracks that the Collector takes.
TRACKS = ("logs", "traces", "metrics")
#: For a busy machine.
TIMEOUT_S = 60.0
#: The journal's types that are no logs.
NOT_LOGS = {"metric", "span", "envelope"}
#: Labels that every series has: the worker's resource.
EVERYWHERE = {"job", "instance", "worker_id", "machine_id"}
BOUNDS_S = ["0.1", "0.5", "1.0", "2.0", "5.0", "10.0", "30.0", "60.0", "300.0"]

Truth = list[dict[str, Any]]


class Ran:
    """What a worker said, what the Collector offered to Prometheus, what the backend got."""

    def __init__(self, folder: Path, protocol: str) -> None:
        # 4317 is what selects gRPC, and may be taken on 127.0.0.1: the whole of 127/8 is ours.
        grpc = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.9:4317"
        with (
            OtlpReceiver(with_grpc=False) as self.backend,
            Collector(
                folder / "collector",
                backend=self.backend.endpoint,
                OTELCOL_OTLP_GRPC_ENDPOINT=grpc,
            ) as self.collector,
        ):
            self.settings = to_collector(self.collector, protocol=protocol)
            home = folder / "home"
            with Worker(home, self.settings) as worker:
                self._have_work_done(worker)
                self.exposed = self._exposed(home)
                worker.tell("end")
            self.errors = worker.errors
            self.journal = workers.events(home)
            self.undelivered = undelivered(home, TRACKS)
            self._wait()
            self.after = self.collector.samples("jobs_active")

    def _have_work_done(self, worker: Worker) -> None:
        worker.tell("begin")
        worker.tell(f"announce {ANNOUNCED}")
        worker.tell(f"succeed {SUCCEEDED}")
        worker.tell(f"fail {FAILED}")
        worker.tell(f"take {TAKEN}")
        assert worker.tell(f"flush {TIMEOUT_S}"), worker.errors

    def _exposed(self, home: Path) -> Callable[[str], list[Sample]]:
        until(lambda: self._counted() == len(ended(workers.events(home))), timeout_s=TIMEOUT_S)
        text = {
            name: self.collector.samples(name)
            for name in (
                *("jobs_processed_total", "errors_total", "jobs_active", "queue_size"),
                *(f"job_duration_seconds_{part}" for part in ("bucket", "count", "sum")),
            )
        }
        return text.__getitem__

    def _counted(self) -> float:
        return sum(each.value for each in self.collector.samples("jobs_processed_total"))

    def _wait(self) -> None:
        """Until the backend has as much as the journal."""
        expected = (len(spans_of(self.journal)), len(logs_of(self.journal)))
        backend = self.backend
        backend.wait_for(
            lambda _: len(backend.spans) >= expected[0] and len(backend.logs) >= expected[1],
            timeout_s=TIMEOUT_S,
        )
        until(lambda: not any(each.value for each in self.collector.samples("jobs_active")))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Ran]:
    """Runs a worker over one protocol, once for all tests."""
    binary()

    @functools.cache
    def run(protocol: str) -> Ran:
        return Ran(tmp_path_factory.mktemp(protocol), protocol)

    return run


def spans_of(journal: Truth) -> Truth:
    return [record for record in journal if "span" in record]


def logs_of(journal: Truth) -> Truth:
    return [record for record in journal if record["event_type"] not in NOT_LOGS]


def ended(journal: Truth) -> Truth:
    return [each for each in journal if each["event_type"] in ("job.completed", "job.failed")]


def ids_of(records: Truth) -> Counter[tuple[str, str, str]]:
    """The ids of spans as the journal has them."""
    return Counter(
        (each["trace_id"], each["span_id"], each["span"].get("parent_span_id", ""))
        for each in records
    )


def ids_at(backend: OtlpReceiver) -> Counter[tuple[str, str, str]]:
    """The ids of spans as the backend has them."""
    return Counter(
        (each["trace_id"], each["span_id"], each["parent_span_id"] or "") for each in backend.spans
    )


def logged_at(backend: OtlpReceiver) -> Counter[str]:
    """How often each record has arrived."""
    return Counter(each["attributes"]["id"] for each in backend.logs)


def by_labels(found: list[Sample]) -> dict[tuple[str, ...], float]:
    """Values by the labels that are not the worker's, in the order of their names."""
    return {
        tuple(value for name, value in sorted(each.labels.items()) if name not in EVERYWHERE): (
            each.value
        )
        for each in found
    }


# --- spans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_every_span_of_the_journal_arrives_once(protocol: str, ran: Callable[[str], Ran]) -> None:
    """Every span reaches the backend once, with the ids and the parent that the journal has."""
    run = ran(protocol)
    assert ids_at(run.backend) == ids_of(spans_of(run.journal))
    assert len(run.backend.spans) == 1 + 3 * (SUCCEEDED + TAKEN + FAILED)
    assert run.errors == ""


def test_no_trace_lacks_a_span(ran: Callable[[str], Ran]) -> None:
    """Each trace has one root and every parent, also of jobs that were announced."""
    traces: dict[str, Truth] = defaultdict(list)
    for span in ran("grpc").backend.spans:
        traces[span["trace_id"]].append(span)
    assert len(traces) == 1 + SUCCEEDED + TAKEN + FAILED
    for spans in traces.values():
        parents = Counter(each["parent_span_id"] for each in spans)
        assert parents.pop(None) == 1
        assert set(parents) <= {each["span_id"] for each in spans}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_our_own_sums_say_that_all_was_taken(protocol: str, ran: Callable[[str], Ran]) -> None:
    """Of logs, traces and metrics all that was accepted is delivered, and nothing dropped."""
    assert ran(protocol).undelivered == []


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_endpoint_alone_selects_the_protocol(protocol: str, ran: Callable[[str], Ran]) -> None:
    """With the specification's variables only, port 4317 gets gRPC and any other port HTTP."""
    run = ran(protocol)
    assert not [name for name in run.settings if name.endswith("PROTOCOL")]
    assert run.settings["OTEL_EXPORTER_OTLP_ENDPOINT"].endswith(":4317") == (protocol == "grpc")


def test_a_span_leads_to_its_job(ran: Callable[[str], Ran]) -> None:
    """The job's id, its error and its worker are on the span as the backend has it."""
    run = ran("grpc")
    spans = {each["span_id"]: each for each in run.backend.spans}
    failed = [each for each in run.journal if each["event_type"] == "job.failed"]
    assert len(failed) == FAILED
    for record in failed:
        span = spans[record["span_id"]]
        assert span["trace_id"] == record["trace_id"]
        assert span["attributes"]["job.id"] == record["job_id"]
        assert span["attributes"]["error.type"] == "ValueError"
        assert span["status"]["code"] == "ERROR"
        assert span["resource"]["worker.id"] == "worker-gpu-01"
        assert span["resource"]["machine.id"] == "machine-prod-01"
        assert span["resource"]["service.name"] == "job-processor"


# --- metrics -------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_five_metrics_have_their_published_names_and_exact_values(
    protocol: str, ran: Callable[[str], Ran]
) -> None:
    """The Collector offers the five metrics by name, with labels, values and buckets."""
    exposed = ran(protocol).exposed
    assert by_labels(exposed("jobs_processed_total")) == {
        ("resize", "thumbnails", "success"): SUCCEEDED + TAKEN,
        ("resize", "thumbnails", "failed"): FAILED,
    }
    assert by_labels(exposed("errors_total")) == {("ValueError", "thumbnails"): FAILED}
    active = by_labels(exposed("jobs_active"))
    assert active.pop(("job-processor",), 0) == 0
    assert active == {("thumbnails",): 1}
    assert by_labels(exposed("queue_size")) == {("images",): ANNOUNCED - TAKEN}
    counts = by_labels(exposed("job_duration_seconds_count"))
    assert counts == by_labels(exposed("jobs_processed_total"))


def test_durations_are_those_of_the_journal(ran: Callable[[str], Ran]) -> None:
    """Sum and buckets of job_duration_seconds are made of the durations in the journal."""
    run = ran("grpc")
    sums = by_labels(run.exposed("job_duration_seconds_sum"))
    for status, kind in (("success", "job.completed"), ("failed", "job.failed")):
        durations = [
            record["data"]["duration_s"]
            for record in run.journal
            if record["event_type"] == kind and record["job_name"] == "resize"
        ]
        assert sums["resize", "thumbnails", status] == pytest.approx(sum(durations))
        buckets = [
            each
            for each in run.exposed("job_duration_seconds_bucket")
            if each.labels["status"] == status
        ]
        assert [each.labels["le"] for each in buckets][: len(BOUNDS_S)] == BOUNDS_S
        for bucket in buckets:
            bound = float(bucket.labels["le"])
            assert bucket.value == sum(duration <= bound for duration in durations)


def test_no_job_is_active_after_the_end(ran: Callable[[str], Ran]) -> None:
    """The last export of a worker says that none of its jobs runs any more."""
    assert [each.value for each in ran("grpc").after] != []
    assert {each.value for each in ran("grpc").after} == {0}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_exemplars_lead_to_spans_that_arrived(protocol: str, ran: Callable[[str], Ran]) -> None:
    """The trace beside a duration is at the backend, and is one of a job of that status."""
    run = ran(protocol)
    spans = {(each["trace_id"], each["span_id"]): each for each in run.backend.spans}
    seen = set()
    for sample in run.exposed("job_duration_seconds_bucket"):
        if sample.exemplar:
            span = spans[sample.exemplar["trace_id"], sample.exemplar["span_id"]]
            assert span["name"] == sample.labels["name"]
            assert (span["status"]["code"] == "ERROR") == (sample.labels["status"] == "failed")
            seen.add(sample.labels["status"])
    assert seen == {"success", "failed"}


def test_processes_that_share_a_worker_id_are_counted_apart(tmp_path: Path) -> None:
    """Two processes under one WORKER_ID, as forked ones are, overwrite no sum of each other."""
    with Collector(tmp_path / "collector") as collector:
        settings = to_collector(collector)
        with Worker(tmp_path / "a", settings) as one, Worker(tmp_path / "b", settings) as two:
            for worker, count in ((one, 3), (two, 5), (one, 2)):
                worker.tell(f"succeed {count}")
                assert worker.tell(f"flush {TIMEOUT_S}"), worker.errors
        until(lambda: sum(counts_by_instance(collector)) == 3 + 5 + 2, timeout_s=TIMEOUT_S)
        assert sorted(counts_by_instance(collector)) == [3 + 2, 5]


def counts_by_instance(collector: Collector) -> list[float]:
    found = collector.samples("jobs_processed_total")
    assert {each.labels["worker_id"] for each in found} <= {"worker-gpu-01"}
    assert len({each.labels["instance"] for each in found}) == len(found)
    return [each.value for each in found]


# --- logs ----------------------------------------------------------------------------------------


def test_every_log_record_arrives_once(ran: Callable[[str], Ran]) -> None:
    """Over Fluent Forward with acknowledgement each record of the journal arrives exactly once."""
    run = ran("grpc")
    logs = logs_of(run.journal)
    assert len(logs) > 5 * (SUCCEEDED + FAILED)
    assert logged_at(run.backend) == Counter(record["id"] for record in logs)


def test_a_log_record_arrives_as_it_was_written(ran: Callable[[str], Ran]) -> None:
    """Message, time to the microsecond, level and every id are as in the journal."""
    run = ran("grpc")
    arrived = {each["attributes"]["id"]: each for each in run.backend.logs}
    for record in logs_of(run.journal):
        log = arrived[record["id"]]
        rest = {key: value for key, value in record.items() if key not in ("message", "span")}
        assert log["body"] == record["message"]
        assert {key: log["attributes"].get(key) for key in rest} == rest
        at = datetime.fromisoformat(record["timestamp"])
        assert log["time_ns"] // 1000 == round(at.timestamp() * 1e6)
        assert log["attributes"]["fluent.tag"] == "fiveobs"


def test_logs_and_spans_meet_in_their_ids(ran: Callable[[str], Ran]) -> None:
    """Every log line of a job has the trace id and span id of a span at the backend."""
    run = ran("grpc")
    spans = {(each["trace_id"], each["span_id"]) for each in run.backend.spans}
    lines = [each["attributes"] for each in run.backend.logs if each["body"] == "loaded"]
    assert len(lines) == SUCCEEDED + TAKEN + FAILED
    assert {(each["trace_id"], each["span_id"]) for each in lines} <= spans


def test_what_the_collector_does_not_acknowledge_is_kept_by_the_worker(tmp_path: Path) -> None:
    """With its queue full it takes no more; the worker holds the rest, and nothing is lost."""
    backend = OtlpReceiver(with_grpc=False, port=free_port(), mode="error", error_status=503)
    collector = Collector(
        tmp_path / "collector", backend=backend.endpoint, OTELCOL_QUEUE_SIZE="1500"
    )
    with backend, collector, Worker(tmp_path / "home", to_collector(collector)) as worker:
        worker.tell("log 4000")
        assert not worker.tell("flush 1")
        refused = "otelcol_exporter_enqueue_failed_log_records"
        until(lambda: collector.own_total(refused) > 0, timeout_s=TIMEOUT_S, what="a full queue")
        assert not backend.logs
        backend.mode = "ok"
        assert worker.tell(f"flush {TIMEOUT_S}"), worker.errors
        worker.end()
        assert undelivered(worker.home, TRACKS) == []
        expected = {record["id"] for record in logs_of(workers.events(worker.home))}
        assert len(expected) > 4000
        backend.wait_for(lambda _: set(logged_at(backend)) == expected, timeout_s=TIMEOUT_S)


# --- the Collector comes and goes ----------------------------------------------------------------


class Restarted:
    """A worker that never pauses, while the Collector is killed and comes back.

    Until the kill the backend refuses everything, so that what was taken is on disk only.
    """

    def __init__(self, folder: Path) -> None:
        self.backend = OtlpReceiver(
            with_grpc=False, port=free_port(), mode="error", error_status=503
        )
        collector = Collector(folder / "collector", backend=self.backend.endpoint)
        with self.backend, collector:
            with Worker(folder / "home", to_collector(collector)) as worker:
                self._kill_in_mid_stream(worker, collector)
                self.backend.mode = "ok"
                collector.start()
                self._go_on(worker)
                worker.tell("halt")
            self.errors = worker.errors
            self.journal = workers.events(worker.home)
            self.undelivered = undelivered(worker.home, TRACKS)
            self._wait(collector)

    def _kill_in_mid_stream(self, worker: Worker, collector: Collector) -> None:
        worker.tell("log 300")
        assert worker.tell(f"flush {TIMEOUT_S}"), worker.errors
        self.acknowledged = {each["id"] for each in logs_of(workers.events(worker.home))}
        self.arrived_early = len(self.backend.logs)
        worker.tell("stream")
        until(lambda: collector.own_total("otelcol_receiver_accepted_spans") > 0)
        collector.kill()
        self.killed_at_ns = time.time_ns()
        self._go_on(worker)

    def _go_on(self, worker: Worker) -> None:
        began = worker.tell("count")
        until(lambda: worker.tell("count") > began + 50, timeout_s=TIMEOUT_S)

    def _wait(self, collector: Collector) -> None:
        logs = {record["id"] for record in logs_of(self.journal)}
        spans = set(ids_of(self.ended_later()))
        self.backend.wait_for(
            lambda backend: logs <= set(logged_at(backend)) and spans <= set(ids_at(backend)),
            timeout_s=TIMEOUT_S,
        )
        until(lambda: self._counted(collector) == len(ended(self.journal)), timeout_s=TIMEOUT_S)

    def ended_later(self) -> Truth:
        """Spans that ended after the kill: the killed Collector cannot have taken them."""
        return [
            each for each in spans_of(self.journal) if each["span"]["end_ns"] > self.killed_at_ns
        ]

    def _counted(self, collector: Collector) -> float:
        self.counted = sum(each.value for each in collector.samples("jobs_processed_total"))
        return self.counted


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> Restarted:
    """The Collector killed and restarted, once for all tests."""
    return Restarted(tmp_path_factory.mktemp("restarted"))


def test_a_killed_collector_loses_no_log_record(restarted: Restarted) -> None:
    """Every record arrives at least once, also those that only the killed Collector had."""
    assert restarted.arrived_early == 0
    assert len(restarted.acknowledged) > 300
    expected = {record["id"] for record in logs_of(restarted.journal)}
    assert restarted.acknowledged <= expected
    assert set(logged_at(restarted.backend)) == expected


def test_spans_that_a_killed_collector_had_not_taken_arrive(
    restarted: Restarted,
) -> None:
    """Every span that ended after the kill arrives, and no span that the journal does not have."""
    later = ids_of(restarted.ended_later())
    assert len(later) > 3 * 100
    arrived = set(ids_at(restarted.backend))
    assert set(later) <= arrived
    assert arrived <= set(ids_of(spans_of(restarted.journal)))


def test_counts_are_exact_after_the_collector_was_killed(
    restarted: Restarted,
) -> None:
    """Sums are cumulative: the new Collector offers the number of all jobs there ever were."""
    assert restarted.counted == len(ended(restarted.journal)) > 100
    assert restarted.undelivered == []
    assert "Traceback" not in restarted.errors


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_that_comes_up_later_gets_everything(protocol: str, tmp_path: Path) -> None:
    """What a worker did while no Collector was there arrives once when there is one."""
    with OtlpReceiver(with_grpc=False) as backend:
        collector = Collector(tmp_path / "collector", backend=backend.endpoint)
        settings = to_collector(collector, protocol=protocol)
        settings["OTEL_EXPORTER_OTLP_PROTOCOL"] = "grpc" if protocol == "grpc" else "http/protobuf"
        with Worker(tmp_path / "home", settings) as worker:
            worker.tell(f"succeed {SUCCEEDED}")
            worker.tell(f"fail {FAILED}")
            assert not worker.tell("flush 1")
            with collector:
                assert worker.tell(f"flush {TIMEOUT_S}"), worker.errors
                worker.end()
                assert undelivered(worker.home, TRACKS) == []
                journal = workers.events(worker.home)
                spans, logs = ids_of(spans_of(journal)), logs_of(journal)
                backend.wait_for(
                    lambda _: len(backend.spans) >= len(spans) and len(backend.logs) >= len(logs),
                    timeout_s=TIMEOUT_S,
                )
                assert ids_at(backend) == spans
                assert logged_at(backend) == Counter(record["id"] for record in logs)
                processed = by_labels(collector.samples("jobs_processed_total"))
    assert processed == {
        ("resize", "thumbnails", "success"): SUCCEEDED,
        ("resize", "thumbnails", "failed"): FAILED,
    }
