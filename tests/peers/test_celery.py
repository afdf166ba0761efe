"""Celery over Redis: what docs/howto/prefork-servers.md says of its prefork pool is so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.harness.python_program import PythonProgram, need
from tests.peers.harness.received import WORKERS, Received, run_program, undelivered
from tests.peers.harness.redis import Redis
from tests.support.workers import Destinations

pytestmark = pytest.mark.peer

APP = WORKERS / "celery_app.py"
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=info")


class Celery(PythonProgram):
    """A worker with a prefork pool of two, and what arrived from it."""

    def __init__(self, folder: Path, redis_url: str, there: Destinations, *options: str) -> None:
        self.received = Received(there, folder / "home")
        self.variables = {
            **self.received.settings(),
            "REDIS_URL": redis_url,
            "KILLED_ONCE": str(folder / "killed"),
            "FIVEOBS_HEARTBEAT_INTERVAL": "0.2",  # a dead child's journal is looked for this often
        }
        arguments = ("-A", "celery_app", "worker", "-P", "prefork", "-c", "2", *QUIET, *options)
        super().__init__(folder, "celery", *arguments, says="ready.", **self.variables)

    def send(self, task: str, count: int) -> list[dict[str, Any]]:
        return run_program(APP, task, count, **self.variables)


class Recycled:
    """What a worker did whose children end after one task each."""

    def __init__(self, worker: Celery) -> None:
        self.received = worker.received
        self.resized = worker.send("resize", 6)
        self.fetched = worker.send("fetch", 2)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    need("celery")
    need("redis")
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def recycled(redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recycled]:
    with Destinations() as there:
        folder = tmp_path_factory.mktemp("recycled")
        with Celery(folder, f"{redis.url}1", there, "--max-tasks-per-child=1") as worker:
            what_it_did = Recycled(worker)
        yield what_it_did


def test_the_carrier_goes_in_the_headers(recycled: Recycled) -> None:
    """Tasks are children, in other processes, of the job that sent them, and know their wait."""
    received = recycled.received
    upload = next(
        span
        for span in received.spans("upload")
        if span["trace_id"] == recycled.resized[0]["trace_id"]
    )
    tasks = received.spans("resize-image")
    assert {span["parent_span_id"] for span in tasks} == {upload["span_id"]}
    assert {span["trace_id"] for span in tasks} == {upload["trace_id"]}
    assert {span["kind"] for span in tasks} == {"CONSUMER"}
    announced = {event["job_id"] for event in received.events("job.received")}
    started = received.events("job.started", service="thumbnails")
    assert {event["job_id"] for event in started} == announced
    assert all(event["data"]["queue_wait_s"] > 0 for event in started)


def test_every_task_had_a_process_of_its_own(recycled: Recycled) -> None:
    """Children really were recycled, and each span keeps the process it came from."""
    pids = {each["pid"] for each in recycled.resized}
    assert len(pids) == 6
    spans = recycled.received.spans("resize-image")
    assert {span["resource"]["process.pid"] for span in spans} == pids


def test_what_recycled_children_did_has_arrived_once(recycled: Recycled) -> None:
    """Each task's events came, each once, and with the metrics every child was summed once."""
    received = recycled.received
    counts = received.counts("resize-image")
    job_ids = {job_id for job_id, _ in counts}
    assert len(job_ids) == 6
    kinds = ("received", "started", "completed")
    expected = {f"job.{kind}": 1 for kind in kinds} | {"stage.started": 1, "stage.completed": 1}
    for job_id in job_ids:
        assert {kind: counts[job_id, kind] for kind in expected} == expected
    assert received.total("jobs.processed", name="resize-image", status="success") == 6
    assert received.total("job.queue.wait", queue="celery") == 6 + 4
    assert received.missing() == []
    assert undelivered(received.home) == []


def test_children_flush_when_they_end(recycled: Recycled) -> None:
    """Each said that it stops, and left no journal for others to send."""
    received = recycled.received
    started = {event["worker_id"] for event in received.events("worker.started")}
    stopped = {event["worker_id"] for event in received.events("worker.stopped")}
    assert len(started) == 6 + 4 + 2  # tasks, and the two programs that sent them
    assert stopped == started
    assert list((received.home / "journal").glob("*.lock")) == []


def test_a_retry_is_the_same_job(recycled: Recycled) -> None:
    """A task that Celery retries keeps its job id and trace, and is attempt 2."""
    received = recycled.received
    job_ids = {event["job_id"] for event in received.events(job_name="fetch-image")}
    assert len(job_ids) == 2
    for job_id in job_ids:
        assert received.endings(job_id) == [(1, "job.failed"), (2, "job.completed")]
    errors = received.there.sentry.events
    assert {event["tags"]["job_id"] for event in errors} == job_ids
    assert {event["exception"]["values"][-1]["type"] for event in errors} == {"OSError"}
    assert {span["trace_id"] for span in received.spans("fetch-image")} == {
        recycled.fetched[0]["trace_id"]
    }


def test_a_lost_task_comes_back(redis: Redis, tmp_path: Path) -> None:
    """A child is killed in a task; the next attempt has its job id, and all children are heard."""
    with Destinations() as there:
        with Celery(tmp_path, f"{redis.url}2", there) as worker:
            worker.send("heavy", 1)
            worker.send("resize", 4)
            received = worker.received
            received.wait_for_all()  # a child that lives sends what the killed one left
        (job_id,) = {event["job_id"] for event in received.events(job_name="heavy-image")}
        assert received.endings(job_id) == [(2, "job.completed")]
        started = received.events("job.started", job_id=job_id)
        assert [event["attempt"] for event in started] == [1, 2]
        # The interval is 30 s: these have come with the end of the worker's children.
        assert received.total("jobs.processed", service="thumbnails") == 5
        assert received.missing() == []
        assert undelivered(received.home) == []
