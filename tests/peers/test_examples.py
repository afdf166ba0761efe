"""Every example, under the specification's variables, against the real programs.

Traces and metrics go to the real Collector (and through it to a backend), logs to the Forward
server of @fluent-org/logger, errors to Spotlight. What each journal holds is compared with what
arrived there.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.peers.harness.collector import Collector, Sample, binary
from tests.peers.harness.fluent_server import FluentServer
from tests.peers.harness.node import modules
from tests.peers.harness.normalizer import complaints
from tests.peers.harness.program import until
from tests.peers.harness.received import undelivered
from tests.peers.harness.spotlight import Spotlight
from tests.peers.harness.worker import to_collector
from tests.support import workers
from tests.support.programs import ROOT, run_example
from tests.support.receivers import OtlpReceiver

pytestmark = pytest.mark.peer

#: What each is run with; each brings services of its own, so metrics are told apart by them.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "asyncio_worker.py": (),
    "bare_script.py": (str(ROOT / "fiveobs"),),
    "cron_job.py": ("--fail",),
    "demo.py": ("--files", "24", "--plain"),
    "gpu_figures.py": ("--size", "16", "--rounds", "5"),
    "process_pool.py": (),
    "producer.py": ("--files", "3", "--queue", "queue"),  # starts consumer.py
    "thread_pool.py": ("--files", "12"),
}
TIMEOUT_S = 60.0
NOT_LOGS = {"metric", "span", "envelope"}
ENDINGS = {"job.completed", "job.failed", "job.cancelled"}
#: How the metrics name what the events call completed.
STATUS = {"completed": "success"}


class Peers(NamedTuple):
    """The real programs."""

    collector: Collector
    backend: OtlpReceiver
    logs: FluentServer
    errors: Spotlight

    def settings(self, home: Path) -> dict[str, str]:
        return to_collector(self.collector) | {
            "FIVEOBS_HOME": str(home),
            "FLUENT_BIT_PORT": str(self.logs.port),
            "SENTRY_DSN": self.errors.dsn,
        }


class Ran:
    """One example: what it printed, what its journal holds, and what of that arrived."""

    def __init__(self, name: str, peers: Peers, home: Path) -> None:
        folder = str(home / "queue")
        arguments = [folder if each == "queue" else each for each in EXAMPLES[name]]
        self._peers = peers
        settings = peers.settings(home)
        code = int("--fail" in arguments)
        self.output = run_example(name, *arguments, code=code, timeout_s=240.0, **settings)
        self.journal = workers.events(home)
        self.services = {each["service"] for each in self._jobs()}
        self._traces = {each["trace_id"] for each in self.journal if "trace_id" in each}
        self._ids = {each["id"] for each in self.journal}
        self.undelivered = undelivered(home)
        until(self._is_all_there, timeout_s=TIMEOUT_S, what="all of it has arrived")

    def events(self, event_type: str, **fields: Any) -> list[dict[str, Any]]:
        """The log records of a type."""
        return [
            each
            for each in self.logs.values()
            if each["event_type"] == event_type and fields.items() <= each.items()
        ]

    def job_spans(self, name: str) -> list[dict[str, Any]]:
        """The spans of a kind of job."""
        return [span for span in self.spans.values() if span["name"] == name]

    def ended(self) -> list[dict[str, Any]]:
        """The last events of all jobs, as the journal has them."""
        return [each for each in self.journal if each["event_type"] in ENDINGS]

    def samples(self, name: str) -> list[Sample]:
        """What the Collector offers to Prometheus of this example's services."""
        found = self._peers.collector.samples(name)
        return [each for each in found if each.labels.get("service") in self.services]

    def found_id(self) -> str:
        """The id that the example says to look for next."""
        found = re.search(r"fiveobs find (\S+)", self.output)
        assert found is not None, self.output
        return found[1]

    def _jobs(self) -> Iterator[dict[str, Any]]:
        return (each for each in self.journal if each["event_type"] == "job.started")

    def _is_all_there(self) -> bool:
        """The Collector holds a trace for a moment before it decides on it; so may others."""
        peers, traces = self._peers, self._traces
        #: What arrived of this example, each record once.
        self.spans = {
            each["span_id"]: each
            for each in list(peers.backend.spans)
            if each["trace_id"] in traces
        }
        self.logs = {
            each["id"]: each for _, _, each in peers.logs.records if each["id"] in self._ids
        }
        self.errors = [
            each for each in peers.errors.events if each["contexts"]["trace"]["trace_id"] in traces
        ]
        return (
            len(self.spans) >= sum("span" in each for each in self.journal)
            and len(self.logs) >= sum(each["event_type"] not in NOT_LOGS for each in self.journal)
            and len(self.errors) >= sum(each["event_type"] == "job.failed" for each in self.journal)
        )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Ran]]:
    """Runs an example, once for all tests."""
    binary()
    modules()
    folder = tmp_path_factory.mktemp("peers")
    with (
        OtlpReceiver(with_grpc=False) as backend,
        Collector(
            folder / "collector",
            backend=backend.endpoint,
            OTELCOL_METRIC_EXPIRATION="1h",  # the first example is asked about after the last
        ) as collector,
        FluentServer(folder / "logs") as logs,
        Spotlight(folder / "errors") as errors,
    ):
        peers = Peers(collector, backend, logs, errors)
        yield functools.cache(lambda name: Ran(name, peers, tmp_path_factory.mktemp(name)))


# --- what holds for each -------------------------------------------------------------------------


def test_every_example_is_run() -> None:
    """What is added to the examples is added here; producer.py starts consumer.py."""
    files = {path.name for path in (ROOT / "examples").glob("[!_]*.py")}
    assert files == {*EXAMPLES, "consumer.py"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_our_own_sums_say_that_all_was_taken(name: str, ran: Callable[[str], Ran]) -> None:
    """On every track all that was accepted is delivered: each log record was acknowledged."""
    assert ran(name).undelivered == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_record_is_a_log_as_the_journal_has_it(name: str, ran: Callable[[str], Ran]) -> None:
    """What the Forward server has is the journal's lines, none missing and none changed."""
    run = ran(name)
    expected = [each for each in run.journal if each["event_type"] not in NOT_LOGS]
    assert run.logs.keys() == {each["id"] for each in expected}
    for record in expected:
        assert _without_span(run.logs[record["id"]]) == _without_span(record)


def _without_span(record: dict[str, Any]) -> dict[str, Any]:
    """Its times in nanoseconds are more than a JavaScript number can hold."""
    return {name: value for name, value in record.items() if name != "span"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_job_is_a_span_with_its_ids(name: str, ran: Callable[[str], Ran]) -> None:
    """Behind the Collector are the spans of all jobs, with the ids that their events have."""
    run = ran(name)
    assert len(run.spans) == sum("span" in each for each in run.journal)
    for event in run.ended():
        span = run.spans[event["span_id"]]
        assert span["trace_id"] == event["trace_id"]
        assert span["attributes"]["job.id"] == event["job_id"]
        assert span["attributes"]["job.attempt"] == event["attempt"]
        assert span["resource"]["worker.id"] == event["worker_id"]
        assert (span["status"]["code"] == "ERROR") == (event["event_type"] == "job.failed")


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_failure_is_an_error_with_its_ids(name: str, ran: Callable[[str], Ran]) -> None:
    """Spotlight has one event for each failed attempt, which Sentry's normalizer takes whole."""
    run = ran(name)
    expected = Counter(
        (each["job_id"], each["attempt"], each["trace_id"], each["span_id"])
        for each in run.ended()
        if each["event_type"] == "job.failed"
    )
    assert Counter(map(_ids_of_error, run.errors)) == expected
    assert [complaint for event in run.errors for complaint in complaints(event)] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_job_is_counted(name: str, ran: Callable[[str], Ran]) -> None:
    """The Collector's metrics say how many jobs ended, how, and lead to jobs that were there."""
    run = ran(name)
    expected = Counter(
        (each["service"], each["job_name"], STATUS.get(status, status))
        for each in run.ended()
        for status in [each["data"]["status"]]
    )
    until(lambda: _counted(run) == expected, timeout_s=TIMEOUT_S, what="all jobs were counted")
    jobs = {(each["trace_id"], each["span_id"]) for each in run.ended()}
    exemplars = {
        (each.exemplar["trace_id"], each.exemplar["span_id"])
        for each in run.samples("job_duration_seconds_bucket")
        if each.exemplar
    }
    assert exemplars
    assert exemplars <= jobs
    active = run.samples("jobs_active")
    assert {each.labels["service"] for each in active} == run.services
    assert {each.value for each in active} == {0}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_failure_is_counted(name: str, ran: Callable[[str], Ran]) -> None:
    """errors_total has each failed attempt under its service and error; without any, no series."""
    run = ran(name)
    expected = Counter(
        (each["service"], each["data"]["error"]["type"])
        for each in run.ended()
        if each["event_type"] == "job.failed"
    )
    until(lambda: _errors(run) == expected, timeout_s=TIMEOUT_S, what="all errors were counted")


def _errors(run: Ran) -> Counter[tuple[str, str]]:
    totals: Counter[tuple[str, str]] = Counter()
    for each in run.samples("errors_total"):
        totals[each.labels["service"], each.labels["error_type"]] += int(each.value)
    return totals


def _counted(run: Ran) -> Counter[tuple[str, ...]]:
    totals: Counter[tuple[str, ...]] = Counter()
    for each in run.samples("jobs_processed_total"):
        labels = each.labels
        totals[labels["service"], labels["name"], labels["status"]] += int(each.value)
    return totals


def _ids_of_error(event: dict[str, Any]) -> tuple[str, int, str, str]:
    tags, trace = event["tags"], event["contexts"]["trace"]
    assert tags["trace_id"] == trace["trace_id"]
    return tags["job_id"], int(tags["attempt"]), trace["trace_id"], trace["span_id"]


# --- what each shows -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "outer", "inner", "count"),
    [
        ("bare_script.py", "find-duplicates", "report", 1),
        ("process_pool.py", "count-library", "count-tokens", 8),
        ("producer.py", "plan-outlines", "outline", 5),
        ("thread_pool.py", "compress-folder", "compress-file", 12),
    ],
)
def test_one_trace(
    name: str, outer: str, inner: str, count: int, ran: Callable[[str], Ran]
) -> None:
    """Threads, forked children and a second program: their jobs are children of the first job."""
    run = ran(name)
    (parent,) = run.job_spans(outer)
    children = run.job_spans(inner)
    assert len(children) == count
    assert {span["trace_id"] for span in children} == {parent["trace_id"]}
    assert {span["parent_span_id"] for span in children} == {parent["span_id"]}
    assert run.found_id() in (parent["trace_id"], parent["attributes"]["job.id"])


def test_processes_with_one_worker_id_are_counted_each(ran: Callable[[str], Ran]) -> None:
    """The specification's WORKER_ID is the same in all of a pool; their metrics stay apart."""
    run = ran("process_pool.py")
    assert {each["worker_id"] for each in run.journal} == {"worker-gpu-01"}
    pids = {span["resource"]["process.pid"] for span in run.spans.values()}
    assert len(pids) > 1
    instances = {each.labels["instance"] for each in run.samples("jobs_processed_total")}
    assert len(instances) == len(pids)


def test_a_queue_between_two_programs(ran: Callable[[str], Ran]) -> None:
    """What was announced is what was started; the wait is in the events and in the metric."""
    run = ran("producer.py")
    announced = {each["job_id"] for each in run.events("job.received")}
    started = run.events("job.started", job_name="outline")
    assert {each["job_id"] for each in started} == announced
    assert all(each["data"]["queue_wait_s"] > 0 for each in started)
    waits = [
        each.value
        for each in run._peers.collector.samples("job_queue_wait_seconds_count")
        if each.labels["queue"] == "outlines"
    ]
    assert waits == [len(started)] == [5]
    failed = run.events("job.failed")
    assert sorted(each["attempt"] for each in failed) == [1, 2]
    assert len({each["job_id"] for each in failed}) == 1


def test_the_five_metrics_have_their_published_names(ran: Callable[[str], Ran]) -> None:
    """Two programs and a queue are enough for all five, under exactly the specification's names."""
    run = ran("producer.py")
    queues = [each.labels["queue"] for each in run._peers.collector.samples("queue_size")]
    assert queues == ["outlines"]
    for name in ("jobs_processed_total", "errors_total", "jobs_active"):
        assert "consumer" in {each.labels["service"] for each in run.samples(name)}, name
    parts = [f"job_duration_seconds_{part}" for part in ("bucket", "count", "sum")]
    assert all(run.samples(name) for name in parts)


def test_a_cancelled_job_is_no_error(ran: Callable[[str], Ran]) -> None:
    """The job that hung is found by its request, and Spotlight has heard nothing."""
    run = ran("asyncio_worker.py")
    (cancelled,) = run.events("job.cancelled")
    assert cancelled["request_id"] == run.found_id() == "get-never-answers"
    assert run.spans[cancelled["span_id"]]["attributes"]["request.id"] == run.found_id()
    assert run.errors == []


def test_check_ins_arrive(ran: Callable[[str], Ran]) -> None:
    """Spotlight has both check-ins of the monitor, the second with how the job ended."""
    run = ran("cron_job.py")
    items = [each for each in run._peers.errors.items if each.type == "check_in"]
    first, last = (each.payload for each in items)
    assert (first["status"], last["status"]) == ("in_progress", "error")
    assert first["check_in_id"] == last["check_in_id"]
    assert {first["monitor_slug"], last["monitor_slug"]} == {"nightly-backup"}


def test_measures_of_a_jobs_own_arrive(ran: Callable[[str], Ran]) -> None:
    """Histograms and gauges of the job have the names and values that Prometheus is offered."""
    run = ran("gpu_figures.py")
    collector = run._peers.collector
    (count,) = collector.samples("multiplication_duration_seconds_count")
    assert count.value == 5
    (rate,) = collector.samples("multiplication_rate_per_second")
    (completed,) = run.events("job.completed")
    assert round(rate.value) == completed["data"]["result"]["flop_per_s"]
    assert run.events("resource.allocated")
    assert run.events("resource.released")


def test_the_demo_adds_up(ran: Callable[[str], Ran]) -> None:
    """With real destinations the demo says the same: each record is delivered, none dropped."""
    run = ran("demo.py")
    assert "the destinations you configured" in run.output
    assert "DOES NOT AGREE" not in run.output
    assert "not configured" not in run.output
    assert len(run.job_spans("index-file")) == 24
