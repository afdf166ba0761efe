"""A job's id is any text: every route finds the job, whatever its id holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from fiveobs.cli import main
from fiveobs.client import BadRequestError, Client
from tests.support.asgi import WEBSOCKET, ask
from tests.support.journals import line, write_segment
from tests.support.monitors import Monitor, monitor

BASE = "/api/default/default/execution"
#: Ids that a path, a query or a comma-separated list could take for something else.
IDS = (
    "a/b",
    "/",
    "a//b/",
    "a/progress",
    "x/events",
    "x/events/ws",
    "..",
    "a/../b",
    "a,b",
    " a ",
    "a b?c=d#e",
    "%2F",
    "ü/語",
    "two\nlines/x",
    "l" * 255 + "/",
)
READS = ("logs", "progress", "timeline", "metrics", "dependencies")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    home = tmp_path_factory.mktemp("ids")
    lines = [line(1, "worker.started", data={"pid": 7})]
    for number, job_id in enumerate(IDS, 2):
        same = {"job_id": job_id, "job_name": f"job {number}", "span_id": f"{number:016x}"}
        lines.append(line(number, "job.started", **same))
    write_segment(home, "host-7-1", 1, *lines)
    with monitor(home) as found:
        found.ingest()
        yield found


@pytest.fixture
def client(running: Monitor) -> Iterator[Client]:
    with Client(running.url, running.token) as found:
        yield found


def path_of(job_id: str) -> str:
    return f"{BASE}/job/{quote(job_id, safe='').replace('.', '%2E')}"


def answer(running: Monitor, method: str, path: str, body: bytes = b"") -> Any:
    return ask(running.app, method, path, token=running.token, body=body)


@pytest.mark.parametrize("job_id", IDS)
def test_every_route_of_a_job_finds_it(running: Monitor, job_id: str) -> None:
    """Reading, controlling, subscribing to and streaming a job all work."""
    for name in READS:
        found = answer(running, "GET", f"{path_of(job_id)}/{name}")
        assert (found.status, found.content["jobId"]) == (200, job_id)
    assert answer(running, "GET", f"{path_of(job_id)}/events").status == 200
    assert answer(running, WEBSOCKET, f"{path_of(job_id)}/events/ws").status == 101
    for name in ("stop", "pause", "resume"):
        found = answer(running, "POST", f"{path_of(job_id)}/{name}")
        assert (found.status, found.content["jobId"]) == (202, job_id)
    body = b'{"subscriptionType": "websocket", "events": ["error"]}'
    found = answer(running, "POST", f"{path_of(job_id)}/subscribe", body)
    assert (found.status, found.content["jobId"]) == (201, job_id)
    assert answer(running, WEBSOCKET, found.content["websocketUrl"]).status == 101


@pytest.mark.parametrize("job_id", IDS)
def test_the_client_asks_for_any_id(client: Client, job_id: str) -> None:
    """Over the network, by itself and in a list."""
    assert client.progress(job_id).job_id == job_id
    assert [job.job_id for job in client.jobs([job_id]).jobs] == [job_id]
    assert client.pause(job_id).job_id == job_id
    assert client.audit(job_id).entries[0].target == job_id


def test_all_ids_can_be_asked_for_together(client: Client) -> None:
    """Repeated, each parameter is one id, whatever commas it holds."""
    answered = client.jobs([*IDS, "a", "b"])
    assert [job.job_id for job in answered.jobs] == list(IDS)
    assert answered.not_found == ("a", "b")


def test_job_ids_given_once_are_a_list(running: Monitor) -> None:
    """One parameter is comma-separated, as published."""
    found = answer(running, "GET", f"{BASE}/tracking/batch?jobIds=a/b,%20/")
    assert [job["jobId"] for job in found.content["jobs"]] == ["a/b", "/"]


@pytest.mark.parametrize("query", ["jobIds=", "jobIds=,", "jobIds=&jobIds="])
def test_job_ids_that_name_none_are_refused(running: Monitor, query: str) -> None:
    """An empty list is a slip, as it is for metrics: it does not mean every job."""
    found = answer(running, "GET", f"{BASE}/tracking/batch?{query}")
    assert found.status == 422
    assert found.content["errors"][0]["name"] == "jobIds"


def test_too_many_job_ids_are_refused(running: Monitor) -> None:
    """The problem names the parameter and how many there may be."""
    found = answer(running, "GET", f"{BASE}/tracking/batch?jobIds={','.join('x' * 1_001)}")
    (error,) = found.content["errors"]
    assert (found.status, error["in"], error["name"]) == (422, "query", "jobIds")
    assert "1000" in error["detail"]


def test_an_id_that_is_too_long_is_refused(client: Client) -> None:
    """No job can have it."""
    with pytest.raises(BadRequestError, match="256"):
        client.progress("x/" * 128 + "x")


@pytest.mark.parametrize("job_id", ["a/b", "..", "a,b"])
def test_the_terminal_takes_any_id(
    running: Monitor,
    job_id: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``fiveobs job`` and ``fiveobs stop`` work as with any other id."""
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    assert main(["job", job_id]) == 0
    assert f" {job_id} Running" in capsys.readouterr().out
    assert main(["stop", job_id]) == 0
    assert capsys.readouterr().out.startswith(f"{job_id}: ")


def test_the_figures_name_routes_as_the_document_does(running: Monitor) -> None:
    """How the route takes ids is no part of the label."""
    answer(running, "GET", f"{path_of('a/b')}/progress")
    text = running.app.state.figures.as_text()
    assert 'route="/api/{tenantId}/{projectId}/execution/job/{jobId}/progress"' in text
    assert "{jobId:text}" not in text
