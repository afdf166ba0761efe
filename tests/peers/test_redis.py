"""Redis as the queue between a real producer and real consumers: the ids go through it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

from tests.peers.harness.program import until
from tests.peers.harness.python_program import need
from tests.peers.harness.received import WORKERS, Received, environment, run_program, undelivered
from tests.peers.harness.redis import Redis
from tests.support.programs import ROOT, run_example
from tests.support.workers import Destinations, events

pytestmark = pytest.mark.peer

CONSUMER = ROOT / "examples" / "consumer.py"
STREAM_WORKER = WORKERS / "stream_worker.py"
#: A dead process's journal is looked for this often.
QUICK = {"FIVEOBS_HEARTBEAT_INTERVAL": "0.2"}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    need("redis")
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def worked_off(
    redis: Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Received, str]]:
    """What arrived when one producer and one consumer ran, and the trace id that was printed."""
    with Destinations() as there:
        received = Received(there, tmp_path_factory.mktemp("home"))
        variables = received.settings() | {"REDIS_URL": f"{redis.url}1"}
        output = run_example("producer.py", "--files", "3", "--no-consumer", **variables)
        consumed = run_example("consumer.py", "--idle", "0.5", **variables)
        assert "3 done, 2 attempts failed" in consumed, output
        yield received, received.spans("plan-outlines")[0]["trace_id"]


def test_one_trace_goes_through_the_queue(worked_off: tuple[Received, str]) -> None:
    """The consumer's jobs are children of the producer's, as of another process, in one trace."""
    received, trace_id = worked_off
    (plan,) = received.spans("plan-outlines")
    outlines = received.spans("outline")
    assert len(outlines) == 5
    assert {span["trace_id"] for span in outlines} == {trace_id}
    assert {span["parent_span_id"] for span in outlines} == {plan["span_id"]}
    assert {span["kind"] for span in outlines} == {"CONSUMER"}
    pids = {span["resource"]["process.pid"] for span in (plan, *outlines)}
    assert len(pids) == 2
    assert {event["trace_id"] for event in received.events() if "job_id" in event} == {trace_id}
    assert received.missing() == []
    assert undelivered(received.home) == []


def test_what_was_announced_is_what_was_started(worked_off: tuple[Received, str]) -> None:
    """Each job id is received once in the producer and started in the consumer."""
    received, _ = worked_off
    announced = {event["job_id"]: event for event in received.events("job.received")}
    started = received.events("job.started", job_name="outline")
    assert len(announced) == 4
    assert {event["job_id"] for event in started} == set(announced)
    for event in started:
        before = announced[event["job_id"]]
        assert event["worker_id"] != before["worker_id"]
        assert event["request_id"] == before["request_id"]


def test_the_wait_in_redis_is_known(worked_off: tuple[Received, str]) -> None:
    """It is in each first event, as long as between the two events, and in the metric."""
    received, _ = worked_off
    announced = {event["job_id"]: event["timestamp"] for event in received.events("job.received")}
    started = received.events("job.started", job_name="outline")
    assert {event["data"]["queue"] for event in started} == {"outlines"}
    for event in started[1:]:  # the first one's process has still to set up its tracks
        waited_s = event["data"]["queue_wait_s"]
        between_s = _seconds(event["timestamp"]) - _seconds(announced[event["job_id"]])
        assert 0 < waited_s < between_s + 0.01
        assert waited_s > between_s - 0.5
    assert received.total("job.queue.wait", queue="outlines") == len(started)


def test_a_second_attempt_has_the_same_job_id(worked_off: tuple[Received, str]) -> None:
    """The failed job goes through Redis a second time, as the same job's attempt number 2."""
    received, _ = worked_off
    (retrying,) = received.events("job.retrying")
    job_id = retrying["job_id"]
    assert received.endings(job_id) == [(1, "job.failed"), (2, "job.failed")]
    assert len(received.events("job.received", job_id=job_id)) == 1
    attempts = [
        span["attributes"]["job.attempt"]
        for span in received.spans("outline")
        if span["attributes"]["job.id"] == job_id
    ]
    assert sorted(attempts) == [1, 2]
    assert [event["tags"]["job_id"] for event in received.there.sentry.events] == [job_id] * 2


def test_a_consumer_that_links_has_traces_of_its_own(redis: Redis, fiveobs_home: Path) -> None:
    """With FIVEOBS_TRACE_PARENT=link each job begins a trace that is linked to the producer's."""
    with Destinations() as there:
        received = Received(there, fiveobs_home)
        variables = received.settings() | {"REDIS_URL": f"{redis.url}2"}
        run_example("producer.py", "--files", "2", "--no-consumer", **variables)
        run_example("consumer.py", "--idle", "0.5", FIVEOBS_TRACE_PARENT="link", **variables)
    (plan,) = received.spans("plan-outlines")
    outlines = received.spans("outline")
    assert len({span["trace_id"] for span in (plan, *outlines)}) == 1 + len(outlines) == 5
    for span in outlines:
        assert span["parent_span_id"] is None
        (link,) = span["links"]
        assert (link["trace_id"], link["span_id"]) == (plan["trace_id"], plan["span_id"])


def test_several_consumers_do_each_job_once(redis: Redis, fiveobs_home: Path) -> None:
    """Of three consumers each takes its share; no job is done twice and none is left out."""
    with Destinations() as there, ExitStack() as stack:
        received = Received(there, fiveobs_home)
        variables = received.settings() | {"REDIS_URL": f"{redis.url}3"}
        consumers = [
            stack.enter_context(_start(CONSUMER, "--idle", 60, **variables)) for _ in "123"
        ]
        _wait_for_clients(redis, database=3, count=3)
        run_example("producer.py", "--files", "60", "--no-consumer", **variables)
        there.forward.wait_for(
            lambda _: (
                len(received.events("job.completed", job_name="outline")) == 60
                and len(received.events("job.failed")) == 2
            ),
            timeout_s=60.0,
        )
        for process in consumers:
            process.terminate()
            process.communicate(timeout=30)
    counts = received.counts("outline")
    jobs = {event["job_id"] for event in received.events("job.received")}
    assert len(jobs) == 61
    (failed,) = {event["job_id"] for event in received.events("job.failed")}
    for job_id in jobs - {failed}:
        assert counts[job_id, "job.started"] == counts[job_id, "job.completed"] == 1
    assert (counts[failed, "job.started"], counts[failed, "job.failed"]) == (2, 2)
    assert received.total("jobs.processed", service="consumer", status="success") == 60
    assert received.total("jobs.processed", service="consumer", status="failed") == 2
    workers = {event["worker_id"] for event in received.events("job.started", job_name="outline")}
    assert len(workers) == 3
    assert received.missing() == []
    assert undelivered(received.home) == []


def test_another_consumer_takes_over_from_a_killed_one(redis: Redis, fiveobs_home: Path) -> None:
    """The killed attempt has begun and never ends; attempt 2 of the same job ends in another."""
    with Destinations() as there:
        received = Received(there, fiveobs_home)
        variables = received.settings() | QUICK | {"REDIS_URL": f"{redis.url}4"}
        (sent,) = run_program(STREAM_WORKER, "send", 3, **variables)
        with _start(STREAM_WORKER, "work", "first", HOLD="1", **variables) as first:
            held = json.loads(first.stdout.readline())["holds"]
            first.kill()
        (begun,) = events(fiveobs_home, "job.started")[1:]
        assert begun["job_id"] == held
        run_program(STREAM_WORKER, "work", "second", **variables)
        # Whoever runs next with the same home sends what the killed one left.
        until(lambda: _sent_by_next(received, variables), what="all of it was sent")
    assert received.endings(held) == [(2, "job.completed")]
    first_try, second_try = received.events("job.started", job_id=held)
    assert (first_try["attempt"], second_try["attempt"]) == (1, 2)
    assert first_try["worker_id"] != second_try["worker_id"]
    assert second_try["data"]["queue_wait_s"] > first_try["data"]["queue_wait_s"]
    spans = received.spans("resize-image")
    assert len(spans) == 3  # of the killed attempt there is none: a span is sent when it ends
    assert {span["trace_id"] for span in spans} == {sent["trace_id"]} == {first_try["trace_id"]}
    assert undelivered(received.home) == []


def _sent_by_next(received: Received, variables: dict[str, str]) -> bool:
    """Whether all has arrived and is acknowledged, once another process has run and ended.

    One that ends while it is sending what it took over leaves it to the next one after all.
    """
    run_program(WORKERS / "bystander.py", **variables)
    return not received.missing() and not undelivered(received.home)


def _start(path: Path, *arguments: object, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(path), *map(str, arguments)],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for_clients(redis: Redis, *, database: int, count: int) -> None:
    """Wait until so many clients have asked a database for something."""
    client_module = pytest.importorskip("redis")
    with client_module.Redis.from_url(redis.url) as client:
        until(
            lambda: sum(each["db"] == str(database) for each in client.client_list()) >= count,
            what=f"{count} clients are there",
        )


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
