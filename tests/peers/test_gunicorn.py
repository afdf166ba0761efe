"""gunicorn: what docs/howto/prefork-servers.md says of its workers is so."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.harness.program import HOST, free_port, until
from tests.peers.harness.python_program import PythonProgram
from tests.peers.harness.received import Received, undelivered
from tests.support.workers import Destinations

pytestmark = pytest.mark.peer

REQUESTS = 6
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"


class Gunicorn(PythonProgram):
    """A server with two workers, and what arrived from it."""

    def __init__(self, folder: Path, there: Destinations, *options: str) -> None:
        self.received = Received(there, folder / "home")
        self.port = free_port()
        variables = self.received.settings() | {"FIVEOBS_HEARTBEAT_INTERVAL": "0.2"}
        # A worker that is being started when the server is told to end does not hear of it.
        ending = ("--graceful-timeout", "5")
        arguments = ("--bind", f"{HOST}:{self.port}", "--workers", "2", *ending, *options)
        says = "Booting worker"
        super().__init__(
            folder, "gunicorn", *arguments, "wsgi_app:application", says=says, **variables
        )

    def get(self, number: int, query: str = "") -> tuple[int, str]:
        """The status and body of a request's answer; a status of 0 is none."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        headers = {
            "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01",
            "x-request-id": f"request-{number}",
        }
        try:
            connection.request("GET", f"/?{query}", headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except http.client.RemoteDisconnected:
            return 0, ""
        finally:
            connection.close()


class Served:
    """What a server did whose workers end after one request each."""

    def __init__(self, server: Gunicorn) -> None:
        self.received = server.received
        answers = [server.get(number) for number in range(REQUESTS)]
        assert {status for status, _ in answers} == {200}
        self.pids = [int(body) for _, body in answers]
        self.refused = server.get(REQUESTS, "fail=1")


@pytest.fixture(scope="module", params=["preloaded", "loaded by each worker"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    options = ["--max-requests", "1"]
    options += ["--preload"] if request.param == "preloaded" else []
    with Destinations() as there:
        with Gunicorn(tmp_path_factory.mktemp("gunicorn"), there, *options) as server:
            what_it_did = Served(server)
        yield what_it_did


def test_each_worker_has_a_journal_of_its_own(served: Served) -> None:
    """Recycled after each request, every worker names itself, whatever the master had begun."""
    received = served.received
    assert len(set(served.pids)) == REQUESTS
    spans = received.spans("checkout")
    owners = {span["resource"]["process.pid"] for span in spans if not span["status"]["message"]}
    assert owners == set(served.pids)
    journals = {path.name.split("-")[-2] for path in (received.home / "journal").glob("*.log")}
    assert journals >= {str(pid) for pid in served.pids}


def test_every_request_has_arrived_once(served: Served) -> None:
    """Each worker flushed when it ended: events, spans, metrics, errors, and no journal is left."""
    received = served.received
    counts = received.counts("checkout")
    job_ids = {job_id for job_id, _ in counts}
    assert len(job_ids) == REQUESTS + 1
    assert {counts[job_id, "job.started"] for job_id in job_ids} == {1}
    assert all(len(received.endings(job_id)) == 1 for job_id in job_ids)
    assert received.total("jobs.processed", name="checkout", status="success") == REQUESTS
    assert received.total("jobs.processed", name="checkout", status="failed") == 1
    assert received.missing() == []
    assert list((received.home / "journal").glob("*.lock")) == []
    assert undelivered(received.home) == []


def test_a_request_belongs_to_its_callers_trace(served: Served) -> None:
    """The header's trace goes on in the worker, and the failed request is on all tracks."""
    received = served.received
    assert served.refused == (400, "the cart is empty")
    spans = received.spans("checkout")
    assert {span["trace_id"] for span in spans} == {TRACE_ID}
    assert {span["parent_span_id"] for span in spans} == {PARENT_ID}
    (failed,) = received.events("job.failed")
    (error,) = received.there.sentry.events
    assert failed["request_id"] == error["tags"]["request_id"] == f"request-{REQUESTS}"
    assert failed["trace_id"] == error["contexts"]["trace"]["trace_id"] == TRACE_ID


def test_a_worker_that_hangs_is_heard(tmp_path: Path) -> None:
    """Its master aborts it after a while: the job ends as interrupted, and that arrives."""
    with Destinations() as there:
        with Gunicorn(tmp_path, there, "--preload", "--timeout", "3") as server:
            assert server.get(1, "hang=1")[0] != 200
            until(lambda: server.get(2)[0] == 200, what="the next worker answers")
            received = server.received
            received.wait_for_all()
        (job_id,) = {event["job_id"] for event in received.events(request_id="request-1")}
        assert received.endings(job_id) == [(1, "job.interrupted")]
        assert received.missing() == []
        assert undelivered(received.home) == []
