"""What cannot be used is refused by name, and the problem says what would be valid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.asgi import WEBSOCKET, ask
from tests.support.journals import line, write_segment
from tests.support.monitors import Monitor, monitor

BASE = "/api/default/default/execution"
JOB = f"{BASE}/job/j"
HOOK = {"subscriptionType": "webhook", "webhookUrl": "https://a.example/", "events": ["error"]}
SOCKET = {"subscriptionType": "websocket", "events": ["error"]}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    home = tmp_path_factory.mktemp("problems")
    started = line(2, "job.started", job_id="j", job_name="one")
    write_segment(home, "host-7-1", 1, line(1, "worker.started", data={"pid": 7}), started)
    with monitor(home) as found:
        found.ingest()
        yield found


def errors(running: Monitor, method: str, path: str, body: object = None) -> list[Any]:
    """The errors of a request that has to be refused."""
    content = b"" if body is None else json.dumps(body).encode()
    answer = ask(running.app, method, path, token=running.token, body=content)
    assert answer.status == 422, answer
    found = answer.content
    assert found["errors"]
    for each in found["errors"]:
        assert each["name"] in found["detail"]
        assert each["detail"] in found["detail"]
    return list(found["errors"])


@pytest.mark.parametrize(
    ("query", "name", "detail"),
    [
        ("logs?level=LOUD", "level", "valid are DEBUG, INFO, WARN, ERROR"),
        ("logs?limit=0", "limit", "valid are integers from 1 to 10000"),
        ("logs?limit=10001", "limit", "valid are integers from 1 to 10000"),
        ("logs?limit=many", "limit", "valid are integers from 1 to 10000"),
        ("logs?fromTime=now", "fromTime", "not a time as in RFC 3339, for example 2024-01-20"),
        ("timeline?includeSubEvents=perhaps", "includeSubEvents", "valid are true and false"),
        ("metrics?metrics=", "metrics", "valid are cpu, memory, disk, network, throughput"),
        ("metrics?metrics=cpu,gpu", "metrics", "valid are cpu, memory, disk, network, throughput"),
        ("logs?lvl=DEBUG", "lvl", "valid are level, fromTime, toTime, limit, format"),
        ("progress?x=", "x", "there is no such parameter: this has none"),
        ("events?status=Done", "status.0", "valid are Running, Queued, Completed"),
        (
            "logs?fromTime=2024-01-20T10:30:01Z&toTime=2024-01-20T10:30:00Z",
            "fromTime",
            "valid are times up to toTime, which is 2024-01-20T10:30:00Z",
        ),
    ],
)
def test_a_parameter_of_the_query(running: Monitor, query: str, name: str, detail: str) -> None:
    """Both bounds, all words of a list, both booleans, and the names that a route knows."""
    (error,) = errors(running, "GET", f"{JOB}/{query}")
    assert (error["in"], error["name"]) == ("query", name)
    assert detail in error["detail"]


def test_a_place_that_is_not_there_yet(running: Monitor) -> None:
    """The last event is named as it was given: in the query, or in a header."""
    (error,) = errors(running, "GET", f"{JOB}/events?lastEventId=999999")
    assert (error["in"], error["name"]) == ("query", "lastEventId")
    assert "valid are 0 to " in error["detail"]
    headers = {"Last-Event-ID": "999999"}
    answer = ask(running.app, "GET", f"{BASE}/events", token=running.token, headers=headers)
    assert (answer.status, answer.content["errors"][0]["in"]) == (422, "header")


def test_a_span_of_one_moment_is_one(running: Monitor) -> None:
    """``fromTime`` and ``toTime`` may be the same."""
    moment = "2024-01-20T10:30:00Z"
    path = f"{JOB}/logs?fromTime={moment}&toTime={moment}"
    assert ask(running.app, "GET", path, token=running.token).status == 200


def test_every_unknown_parameter_is_named(running: Monitor) -> None:
    """All of them at once, on every kind of route; what may be a token is not repeated."""
    for method, path in (
        ("GET", f"{JOB}/logs"),
        ("GET", f"{BASE}/events"),
        ("GET", f"{BASE}/audit"),
        ("GET", f"{BASE}/subscriptions"),
        ("POST", f"{JOB}/stop"),
        ("DELETE", f"{BASE}/subscriptions/s"),
        (WEBSOCKET, f"{BASE}/events/ws"),
        (WEBSOCKET, f"{JOB}/events/ws"),
    ):
        found = errors(running, method, f"{path}?lvl=1&token=hunter2")
        assert [each["name"] for each in found] == ["lvl", "token"]
        assert "hunter2" not in json.dumps(found)


@pytest.mark.parametrize(
    ("body", "name", "detail"),
    [
        ({}, "subscriptionType", "it is missing: valid are webhook, websocket"),
        ({**HOOK, "events": []}, "events", "valid are lists of 1 to 26: jobReceived, "),
        ({**HOOK, "events": "error"}, "events", "valid are lists of 1 to 26: jobReceived, "),
        ({**HOOK, "events": ["nothing"]}, "events.0", "valid are jobReceived, "),
        ({"subscriptionType": "webhook"}, "events", "it is missing: valid are lists of 1 to 26"),
        ({**HOOK, "expiresInSeconds": 1}, "expiresInSeconds", "integers from 60 to 2592000"),
        ({**HOOK, "lvl": 1}, "lvl", "there is no such field: valid are subscriptionType, web"),
        ({**HOOK, "filters": {"lvl": 1}}, "filters.lvl", "valid are minProgressIncrement, "),
        ({**HOOK, "filters": {"notifyOnErrors": "x"}}, "filters.notifyOnErrors", "true and false"),
        ({**HOOK, "filters": {"minProgressIncrement": 101}}, "filters.min", "numbers from 0 to"),
        ({**HOOK, "filters": 1}, "filters", "valid are objects with minProgressIncrement, "),
        ({**HOOK, "webhookUrl": None}, "webhookUrl", "it is missing: valid are URLs that begin"),
        ({**HOOK, "authentication": {"type": "bearer"}}, "authentication.token", "is missing: be"),
        ({**SOCKET, "webhookUrl": "https://a.example/"}, "webhookUrl", "of type webhook"),
        ({**SOCKET, "authentication": {"type": "none"}}, "authentication", "of type webhook"),
        ("text", "body", "valid are objects with subscriptionType, "),
        (None, "body", "it is missing: valid are objects with subscriptionType, "),
    ],
)
def test_a_field_of_a_subscription(running: Monitor, body: Any, name: str, detail: str) -> None:
    """Also where only another field makes it wrong, or needed."""
    found = errors(running, "POST", f"{JOB}/subscribe", body)
    assert found[0]["in"] == "body"
    (error,) = [each for each in found if each["name"].startswith(name)]
    assert detail in error["detail"]


def test_a_secret_that_is_wrong_is_not_repeated(running: Monitor) -> None:
    """Nor is what stands in a field that does not belong there."""
    sent = {**SOCKET, "authentication": {"type": "bearer", "token": "hunter2"}}
    found = errors(running, "POST", f"{JOB}/subscribe", sent)
    assert "hunter2" not in json.dumps(found)


def test_a_replay_that_ends_before_it_begins_is_refused(running: Monitor) -> None:
    """The two times of a replay are judged as those of logs are."""
    answer = ask(
        running.app,
        "POST",
        f"{BASE}/subscribe",
        token=running.token,
        body=json.dumps(HOOK).encode(),
    )
    path = f"{BASE}/subscriptions/{answer.content['subscriptionId']}/replay"
    times = {"fromTime": "2024-01-20T10:30:01Z", "toTime": "2024-01-20T10:30:00Z"}
    (error,) = errors(running, "POST", path, times)
    assert (error["in"], error["name"]) == ("body", "fromTime")


def test_a_filter_that_names_nothing_is_refused(running: Monitor) -> None:
    """An emergency stop has to say which jobs."""
    (error,) = errors(running, "POST", f"{BASE}/emergency-stop", {"filter": {}})
    assert error["name"] == "filter"
    (error,) = errors(running, "POST", f"{BASE}/emergency-stop", {"filter": {"statuses": ["x"]}})
    assert "valid are Queued, Running, Paused" in error["detail"]
