from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect

from fiveobs.monitor.live import lifetime
from tests.support.hooks import Home, happen
from tests.support.monitors import Monitor, monitor
from tests.support.workers import until

EXECUTION = "/api/default/default/execution"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Monitor]:
    """A monitor whose events come only when a test says so."""
    with monitor(tmp_path) as found:
        yield found


@pytest.fixture
def home(running: Monitor, tmp_path: Path) -> Home:
    """A project with one job that runs."""
    return happen(running.store, tmp_path)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Stream:
    """A server-sent stream that is read as it comes."""

    def __init__(self, running: Monitor, path: str, **headers: str) -> None:
        self._client = httpx.Client(headers={**bearer(running.token), **headers}, timeout=10.0)
        self._answer = self._client.send(
            self._client.build_request("GET", running.url + EXECUTION + path), stream=True
        )
        assert self._answer.status_code == 200, self._answer.read()
        self._lines = self._answer.iter_lines()

    def read(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """So many events, each with its id."""
        found: list[tuple[str, dict[str, Any]]] = []
        key = ""
        while len(found) < count:
            text = next(self._lines)
            if text.startswith("id: "):
                key = text[4:]
            elif text.startswith("data: "):
                found.append((key, json.loads(text[6:])))
        return found

    def types(self, count: int) -> list[str]:
        return [event["type"].removeprefix("fiveobs.") for _, event in self.read(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._answer.close()
        self._client.close()


def test_a_jobs_stream_begins_at_its_start_and_goes_on(running: Monitor, home: Home) -> None:
    """What has happened comes first, then what happens, as CloudEvents with the job as subject."""
    with Stream(running, "/job/job-1/events") as stream:
        ((key, event),) = stream.read(1)
        assert (event["type"], event["subject"]) == ("fiveobs.job.started", "job-1")
        assert int(event["sequence"]) == int(key)
        home.say("job.started", job_id="job-2")
        home.progress(10, 20)
        assert stream.types(2) == ["job.progress", "job.progress"]


def test_a_projects_stream_begins_now(running: Monitor, home: Home) -> None:
    """Without a last event only what happens from here on comes, of all jobs."""
    with Stream(running, "/events") as stream:
        home.say("job.started", job_id="job-2")
        assert [event["subject"] for _, event in stream.read(1)] == ["job-2"]


@pytest.mark.parametrize("way", ["header", "query"])
def test_a_stream_resumes_after_the_last_event(running: Monitor, home: Home, way: str) -> None:
    """By Last-Event-ID or lastEventId: nothing is missing, nothing comes twice."""
    home.progress(*range(1, 31))
    with Stream(running, "/events?from=start") as stream:
        first = stream.read(10)
    last = first[-1][0]
    headers = {"Last-Event-ID": last} if way == "header" else {}
    path = "/events" if way == "header" else f"/events?lastEventId={last}"
    with Stream(running, path, **headers) as stream:
        rest = stream.read(21)
        home.progress(99)
        rest += stream.read(1)
    assert [key for key, _ in first + rest] == [str(number) for number in range(1, 33)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("types=job.*", ["job.started", "job.started", "job.completed"]),
        ("types=stage.started&types=job.completed", ["stage.started", "job.completed"]),
        ("types=log,stage.started", ["log", "stage.started"]),
        ("level=WARN", ["log"]),
        ("jobIds=job-2", ["job.started", "stage.started", "job.completed"]),
        ("service=other", ["job.started", "stage.started", "job.completed"]),
        ("status=Completed", ["job.completed"]),
        ("sessionId=s-1", ["job.started", "stage.started", "job.completed"]),
        ("jobName=resize&types=log", ["log"]),
    ],
)
@pytest.mark.parametrize("is_live", [False, True])
def test_streams_are_filtered(
    running: Monitor, home: Home, query: str, expected: list[str], is_live: bool
) -> None:
    """By type, level, job, service, status and session: of the past, and as it happens."""

    def happened() -> None:
        home.say("log", level="warning")
        fields = {"job_id": "job-2", "service": "other", "session_id": "s-1"}
        home.say("job.started", "stage.started", data={"stage": "x", "index": 1}, **fields)
        home.say("job.completed", data={"status": "completed"}, **fields)

    if not is_live:
        happened()
    with Stream(running, f"/events?from=start&{query}") as stream:
        if is_live:
            happened()
        expected = expected[:]
        if query == "service=other":
            assert [event["data"]["service"] for _, event in stream.read(3)] == ["other"] * 3
        else:
            assert stream.types(len(expected)) == expected


@pytest.mark.parametrize(
    "query", ["lastEventId=x", "lastEventId=-1", "lastEventId=99999", "types=..", "level=LOUD"]
)
def test_what_cannot_be_asked_is_refused(running: Monitor, home: Home, query: str) -> None:
    """An id of no event, a pattern that is none: 422, and no stream."""
    url = f"{running.url}{EXECUTION}/events?{query}"
    answer = httpx.get(url, headers=bearer(running.token), timeout=5.0)
    assert (answer.status_code, answer.json()["status"]) == (422, 422)


@pytest.mark.parametrize("path", ["/events", "/job/job-1/events", "/events/ws"])
def test_nobody_reads_another_tenants_stream(running: Monitor, home: Home, path: str) -> None:
    """A token of another tenant finds no such project; without one there is nothing."""
    other = running.token_of("admin", tenant_id="other")
    url = running.url + EXECUTION + path
    if path.endswith("/ws"):
        for token, status in ((other, 404), ("", 401)):
            with pytest.raises(InvalidStatus) as refused:
                connect(url.replace("http", "ws"), additional_headers=bearer(token))
            assert refused.value.response.status_code == status
        return
    assert httpx.get(url, headers=bearer(other), timeout=5.0).status_code == 404
    assert httpx.get(url, timeout=5.0).status_code == 401


def test_a_token_cannot_take_all_streams(running: Monitor, home: Home) -> None:
    """It has its share, of streams and WebSockets together; others still get in."""
    running.app.state.hub.most_per_owner = 2
    url = f"{running.url.replace('http', 'ws')}{EXECUTION}/events/ws"
    path = f"{running.url}{EXECUTION}/events"
    with (
        Stream(running, "/events?from=start") as stream,
        connect(url, additional_headers=bearer(running.token)) as socket,
    ):
        stream.read(1)
        home.say("job.started", job_id="job-2")
        assert socket.recv(timeout=10)  # both are counted now
        refused = httpx.get(path, headers=bearer(running.token), timeout=5.0)
        assert refused.status_code == 429
        assert "2 streams" in refused.json()["detail"]
        other = bearer(running.token_of("viewer"))
        with httpx.stream("GET", path, headers=other, timeout=5.0) as allowed:
            assert allowed.status_code == 200

    def is_let_in() -> bool:
        with httpx.stream("GET", path, headers=bearer(running.token), timeout=5.0) as again:
            return again.status_code == 200

    until(is_let_in, what="room")


def test_a_websocket_has_the_same_events(running: Monitor, home: Home) -> None:
    """One CloudEvents object a message; a browser's token comes as a subprotocol; it resumes."""
    url = f"{running.url.replace('http', 'ws')}{EXECUTION}/job/job-1/events/ws"
    token = f"fiveobs.bearer.{running.token}"
    with connect(url, subprotocols=["cloudevents.json", token]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "cloudevents.json"
        first = json.loads(socket.recv(timeout=10))
        assert first["type"] == "fiveobs.job.started"
        home.progress(10)
        assert json.loads(socket.recv(timeout=10))["data"]["data"] == {"percent": 10}
    again = f"{url}?lastEventId={first['sequence']}"
    with connect(again, additional_headers=bearer(running.token)) as socket:
        assert json.loads(socket.recv(timeout=10))["type"] == "fiveobs.job.progress"


def test_a_subscription_by_websocket(running: Monitor, home: Home) -> None:
    """Its events are read at the address in the answer, from when it was made."""
    body = {"subscriptionType": "websocket", "events": ["progressUpdate", "jobCompleted"]}
    body["filters"] = {"minProgressIncrement": 20}
    url = f"{running.url}{EXECUTION}/job/job-1/subscribe"
    answer = httpx.post(url, json=body, headers=bearer(running.token)).json()
    home.progress(10, 15, 40)
    home.say("job.completed", data={"status": "completed"})
    path = running.url.replace("http", "ws") + answer["websocketUrl"]
    with connect(path, additional_headers=bearer(running.token)) as socket:
        found = [json.loads(socket.recv(timeout=10)) for _ in range(3)]
    assert [each["data"]["data"].get("percent") for each in found] == [10, 40, None]


def test_a_stream_ends_with_its_subscription(
    running: Monitor, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever deletes it ends what is read of it, both as a stream and over WebSocket."""
    monkeypatch.setattr(lifetime, "LOOK_EVERY_S", 0.2)
    body = {"subscriptionType": "websocket", "events": ["progressUpdate"]}
    url = f"{running.url}{EXECUTION}/job/job-1/subscribe"
    answer = httpx.post(url, json=body, headers=bearer(running.token)).json()
    mine = f"/subscriptions/{answer['subscriptionId']}"
    path = running.url.replace("http", "ws") + answer["websocketUrl"]
    with (
        Stream(running, f"{mine}/events") as stream,
        connect(path, additional_headers=bearer(running.token)) as socket,
    ):
        home.progress(10)
        assert stream.types(1) == ["job.progress"]
        assert json.loads(socket.recv(timeout=10))["type"] == "fiveobs.job.progress"
        deleted = httpx.delete(running.url + EXECUTION + mine, headers=bearer(running.token))
        assert deleted.status_code == 204
        with pytest.raises(ConnectionClosedOK, match="the subscription has ended"):
            socket.recv(timeout=10)
        with pytest.raises(StopIteration):
            stream.read(1)


def test_a_subscription_is_answered_as_published(running: Monitor, home: Home) -> None:
    """The fields of the specification; the secret once, and the receiver's token never."""
    body = {
        "subscriptionType": "webhook",
        "webhookUrl": "https://your-app.com/webhooks/job-events",
        "events": ["stageStarted", "progressUpdate", "error", "jobCompleted"],
        "filters": {
            "minProgressIncrement": 5,
            "includeDebugEvents": False,
            "notifyOnErrors": True,
        },
        "authentication": {"type": "bearer", "token": "your-webhook-auth-token"},
    }
    headers = bearer(running.token)
    url = f"{running.url}{EXECUTION}/job/job-1/subscribe"
    answer = httpx.post(url, json=body, headers=headers)
    made = answer.json()
    assert answer.status_code == 201
    assert made["subscriptionId"].startswith("sub-")
    assert made["jobId"] == "job-1"
    assert made["status"] == "Active"
    assert made["eventsSubscribed"] == body["events"]
    assert made["secret"].startswith("whsec_")
    mine = f"{running.url}{EXECUTION}/subscriptions/{made['subscriptionId']}"
    shown = httpx.get(mine, headers=headers)
    assert "secret" not in shown.json()
    assert "your-webhook-auth-token" not in answer.text + shown.text
    assert httpx.delete(mine, headers=headers).status_code == 204
    assert httpx.get(mine, headers=headers).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"webhookUrl": "http://127.0.0.1/"},
        {"webhookUrl": "http://[::1]/"},
        {"webhookUrl": "http://localhost:8000/"},
        {"webhookUrl": "https://user:secret@example.com/"},
        {"webhookUrl": None},
        {"webhookUrl": None, "authentication": {"type": "bearer", "token": "secret@"}},
        {"events": []},
        {"events": ["jobExploded"]},
        {"filters": {"minProgressIncrement": 101}},
        {"authentication": {"type": "bearer"}},
        {"authentication": {"type": "basic", "token": "secret@without-a-colon"}},
        {"authentication": {"type": "bearer", "token": "a\r\nHost: b"}},
        {"authentication": {"type": "apiKey", "token": "x", "header": "Host"}},
        {"expiresInSeconds": 10**9},
        {"surprise": 1},
    ],
)
def test_a_subscription_that_cannot_be_is_refused(
    running: Monitor, home: Home, change: dict[str, Any]
) -> None:
    """422 with what would be valid, and no secret repeated."""
    body = {
        "subscriptionType": "webhook",
        "webhookUrl": "https://example.com/",
        "events": ["error"],
        **change,
    }
    url = f"{running.url}{EXECUTION}/job/job-1/subscribe"
    answer = httpx.post(url, json=body, headers=bearer(running.token))
    assert answer.status_code == 422
    assert "secret@" not in answer.text
    viewer = running.token_of("viewer")
    assert httpx.post(url, json=body, headers=bearer(viewer)).status_code in (403, 422)
