"""RQ over Redis: what docs/howto/prefork-servers.md says of its work horses is so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.harness.program import until
from tests.peers.harness.python_program import PythonProgram, need
from tests.peers.harness.received import WORKERS, Received, run_program, undelivered
from tests.peers.harness.redis import Redis
from tests.support.workers import Destinations

pytestmark = pytest.mark.peer

JOBS = WORKERS / "rq_jobs.py"


class Rq(PythonProgram):
    """A worker that forks a work horse for each job, and what arrived from it."""

    def __init__(self, folder: Path, redis_url: str, there: Destinations, *options: str) -> None:
        self.received = Received(there, folder / "home")
        self.variables = {
            **self.received.settings(),
            "REDIS_URL": redis_url,
            "KILLED_ONCE": str(folder / "killed"),
            "METRICS_COLLECTION_INTERVAL": "1s",
            "FIVEOBS_HEARTBEAT_INTERVAL": "0.2",  # a dead horse's journal is looked for this often
        }
        arguments = ("worker", *options, "--url", redis_url, "thumbs")
        super().__init__(folder, "rq.cli", *arguments, says="Listening on", **self.variables)

    def send(self, function: str, count: int) -> list[dict[str, Any]]:
        told = run_program(JOBS, function, count, **self.variables)
        assert [each["status"] for each in told] == ["finished"] * count, self.output
        return told


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    need("rq")
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


def test_a_flush_in_the_job_is_before_the_horse_leaves(redis: Redis, tmp_path: Path) -> None:
    """When RQ calls the jobs finished, everything of them has arrived, metrics included."""
    with Destinations() as there, Rq(tmp_path, f"{redis.url}1", there) as worker:
        (first, *_) = worker.send("resize_and_flush", 4)
        received = worker.received
        assert received.missing() == []
        counts = received.counts("resize-image")
        assert len(counts) == 4 * 3
        assert set(counts.values()) == {1}
        assert received.total("jobs.processed", name="resize-image") == 4
        spans = received.spans("resize-image")
        assert {span["trace_id"] for span in spans} == {first["trace_id"]}
        assert len({span["resource"]["process.pid"] for span in spans}) == 4
        assert undelivered(received.home) == []


def test_a_configured_worker_sends_what_its_horses_left(redis: Redis, tmp_path: Path) -> None:
    """Horses that leave by os._exit or are killed are heard, though none of them has flushed."""
    with Destinations() as there:
        with Rq(tmp_path, f"{redis.url}2", there, "-c", "rq_settings") as worker:
            worker.send("resize", 6)
            worker.send("heavy", 1)
            received = worker.received
            received.wait_for_all()
            # Of all journals, the worker's own is the only one that is not through.
            until(lambda: len(_locks(worker)) == 1, timeout_s=60.0, what="all were sent")
        counts = received.counts("resize-image")
        assert len(counts) == 6 * 3
        assert set(counts.values()) == {1}
        assert received.total("jobs.processed", service="thumbnails") == 6 + 1
        assert _locks(worker) == []
        assert undelivered(received.home) == []
        (job_id,) = {event["job_id"] for event in received.events(job_name="heavy-image")}
        assert received.endings(job_id) == [(2, "job.completed")]
        started = received.events("job.started", job_id=job_id)
        assert [event["attempt"] for event in started] == [1, 2]
        assert len({event["worker_id"] for event in started}) == 2


def test_another_process_sends_what_horses_left(redis: Redis, tmp_path: Path) -> None:
    """Without fiveobs in the worker, any later process with the same home does it."""
    with Destinations() as there:
        with Rq(tmp_path, f"{redis.url}3", there) as worker:
            worker.send("resize", 3)
            received = worker.received
        until(lambda: _sent_by_next(worker), what="all of it was sent")
        counts = received.counts("resize-image")
        assert len(counts) == 3 * 3
        assert set(counts.values()) == {1}
        assert received.total("jobs.processed", service="thumbnails") == 3
        assert undelivered(received.home) == []


def _locks(worker: Rq) -> list[Path]:
    """Journals that somebody has still to send."""
    return list((worker.received.home / "journal").glob("*.lock"))


def _sent_by_next(worker: Rq) -> bool:
    run_program(WORKERS / "bystander.py", **worker.variables)
    return not worker.received.missing() and not _locks(worker)
