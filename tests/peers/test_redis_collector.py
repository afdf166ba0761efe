"""The whole way of production: a producer, Redis, a consumer, and the Collector before a backend.

Both programs send traces, metrics and logs to the real Collector; what is asserted is what the
backend behind it received, and what it offers to Prometheus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.harness.collector import Collector, binary
from tests.peers.harness.program import until
from tests.peers.harness.python_program import need
from tests.peers.harness.received import undelivered
from tests.peers.harness.redis import Redis
from tests.peers.harness.worker import to_collector
from tests.support import workers
from tests.support.programs import run_example
from tests.support.receivers import OtlpReceiver

pytestmark = pytest.mark.peer

TIMEOUT_S = 60.0
FILES = 3
#: One file is not there, and is tried twice.
JOBS, ATTEMPTS = FILES + 1, FILES + 2
NOT_LOGS = {"metric", "span", "envelope"}


class Ran:
    """A producer and then a consumer: their journal, and what the backend has of it."""

    def __init__(self, redis: Redis, folder: Path) -> None:
        home = folder / "home"
        with (
            OtlpReceiver(with_grpc=False) as self.backend,
            Collector(folder / "collector", backend=self.backend.endpoint) as self.collector,
        ):
            variables = to_collector(self.collector) | {
                "FIVEOBS_HOME": str(home),
                "REDIS_URL": f"{redis.url}7",
            }
            arguments = ("--files", str(FILES), "--no-consumer")
            run_example("producer.py", *arguments, timeout_s=TIMEOUT_S, **variables)
            run_example("consumer.py", "--idle", "0.5", timeout_s=TIMEOUT_S, **variables)
            self.journal = workers.events(home)
            self.undelivered = undelivered(home, ("logs", "traces", "metrics"))
            self._wait()
            self.waits = self.collector.samples("job_queue_wait_seconds_count")
            self.processed = self.collector.samples("jobs_processed_total")
        self.spans: list[dict[str, Any]] = self.backend.spans
        self.logs = [each["attributes"] for each in self.backend.logs]

    def of_journal(self) -> list[dict[str, Any]]:
        """What the journal has for the logs track."""
        return [each for each in self.journal if each["event_type"] not in NOT_LOGS]

    def _wait(self) -> None:
        expected = (sum("span" in each for each in self.journal), len(self.of_journal()))
        backend = self.backend
        backend.wait_for(
            lambda _: len(backend.spans) >= expected[0] and len(backend.logs) >= expected[1],
            timeout_s=TIMEOUT_S,
        )
        until(
            lambda: (
                sum(each.value for each in self.collector.samples("jobs_processed_total"))
                >= 1 + ATTEMPTS
            ),
            timeout_s=TIMEOUT_S,
            what="all jobs were counted",
        )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    binary()
    need("redis")
    with Redis(tmp_path_factory.mktemp("redis")) as redis:
        yield Ran(redis, tmp_path_factory.mktemp("ran"))


def test_one_trace_across_producer_queue_and_worker(ran: Ran) -> None:
    """Behind the Collector the consumer's jobs are children of the producer's, in one trace."""
    (plan,) = (span for span in ran.spans if span["name"] == "plan-outlines")
    outlines = [span for span in ran.spans if span["name"] == "outline"]
    assert len(outlines) == ATTEMPTS
    assert {span["trace_id"] for span in ran.spans} == {plan["trace_id"]}
    assert {span["parent_span_id"] for span in outlines} == {plan["span_id"]}
    assert {span["kind"] for span in outlines} == {"CONSUMER"}
    pids = {span["resource"]["process.pid"] for span in outlines}
    assert len(pids) == 1
    assert plan["resource"]["process.pid"] not in pids
    announced = [each for each in ran.logs if each["event_type"] == "job.received"]
    assert {each["job_id"] for each in announced} == {
        span["attributes"]["job.id"] for span in outlines
    }
    assert {each["trace_id"] for each in announced} == {plan["trace_id"]}


def test_the_logs_of_both_come_through_fluent_forward(ran: Ran) -> None:
    """The Collector's fluentforward receiver has taken each record of both programs once."""
    assert Counter(each["id"] for each in ran.logs) == Counter(
        each["id"] for each in ran.of_journal()
    )
    assert {each["fluent.tag"] for each in ran.logs} == {"fiveobs"}
    arrived = {each["id"]: each for each in ran.logs}
    for record in ran.of_journal():
        ids = ("job_id", "trace_id", "span_id", "request_id", "worker_id", "attempt")
        assert [arrived[record["id"]].get(name) for name in ids] == [
            record.get(name) for name in ids
        ]
    services = {each["service"] for each in ran.logs if each["event_type"] == "job.started"}
    assert services == {"producer", "consumer"}


def test_jobs_and_their_waits_are_counted(ran: Ran) -> None:
    """Each attempt has ended and waited in Redis, as Prometheus is told of it."""
    assert {
        (each.labels["service"], each.labels["status"]): each.value for each in ran.processed
    } == {("producer", "success"): 1, ("consumer", "success"): FILES, ("consumer", "failed"): 2}
    assert [(each.labels["queue"], each.value) for each in ran.waits] == [("outlines", ATTEMPTS)]


def test_our_own_sums_say_that_all_was_taken(ran: Ran) -> None:
    """Of logs, traces and metrics all that was accepted is delivered, and nothing dropped."""
    assert ran.undelivered == []
