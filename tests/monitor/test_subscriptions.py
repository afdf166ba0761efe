"""Subscriptions over the API: whose they are, how long they last, what can be done with them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fiveobs.cli import main
from fiveobs.monitor.access import NewToken, create_token, revoke_token
from fiveobs.monitor.store.auditing import audit_rows
from fiveobs.monitor.store.schema import deliveries, subscriptions
from fiveobs.monitor.webhooks.guard import Guard
from fiveobs.monitor.webhooks.planning import Planner
from fiveobs.monitor.webhooks.sending import Sender
from tests.support.hooks import LOOPBACK, Home, HookReceiver, delivering, happen, subscribe
from tests.support.monitors import Monitor, monitor
from tests.support.ports import free_port

EXECUTION = "/api/default/default/execution"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Monitor]:
    """A monitor whose events come only when a test says so."""
    with monitor(tmp_path) as found:
        found.app.state.sender = Sender(Guard([LOOPBACK]), total_s=2.0)
        yield found


@pytest.fixture
def home(running: Monitor, tmp_path: Path) -> Home:
    """A project with one job that runs."""
    return happen(running.store, tmp_path)


def operator(running: Monitor, **values: Any) -> NewToken:
    return create_token(running.store, name="op", role="operator", **values)


def asked(running: Monitor, token: str, method: str, path: str, body: Any = None) -> httpx.Response:
    url = f"{running.url}{EXECUTION}/{path}"
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.request(method, url, json=body, headers=headers, timeout=20.0)


def made(running: Monitor, token: str, **fields: Any) -> dict[str, Any]:
    body = {"subscriptionType": "webhook", "webhookUrl": "https://hooks.example.com/x?key=k"}
    body |= {"events": ["milestone"], **fields}
    answer = asked(running, token, "POST", "subscribe", body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def planned(running: Monitor) -> None:
    planner = Planner(running.store, now=time.time, clock=lambda: 0.0)
    while planner.step():
        pass


# --- they end with their token ---


def test_revoking_a_token_ends_its_subscriptions(running: Monitor, home: Home) -> None:
    """Nothing more is sent, what was on its way is dead, and the audit trail says so."""
    mine, other = operator(running), operator(running)
    with HookReceiver() as hook:
        row = subscribe(running.store, hook.endpoint, "milestone", token_id=mine.token_id)
        kept = subscribe(running.store, hook.endpoint, "milestone", token_id=other.token_id)
        home.say("job.milestone")
        planned(running)
        done = revoke_token(running.store, mine.token_id)
        assert done is not None
        assert done.subscriptions == 1
        home.say("job.milestone")
        with delivering(running.store):
            hook.wait_for(lambda receiver: len(receiver.seen) >= 2)
    path = f"subscriptions/{row.subscription_id}"
    shown = asked(running, running.token, "GET", path).json()
    assert (shown["status"], shown["endedReason"]) == ("Disabled", "its token was revoked")
    assert shown["deliveries"] == {"pending": 0, "delivered": 0, "dead": 1}
    path = f"subscriptions/{kept.subscription_id}"
    assert asked(running, running.token, "GET", path).json()["deliveries"]["delivered"] == 2
    (noted,) = audit_rows(running.store, 1, limit=9)
    assert (noted.action, noted.target) == ("subscription.disable", row.subscription_id)
    assert (noted.details or {}) == {"tokenId": mine.token_id, "host": "127.0.0.1"}


def test_the_command_can_leave_the_subscriptions(running: Monitor, home: Home, capsys: Any) -> None:
    """With --keep-subscriptions they go on until their time is over."""
    tokens = [operator(running), operator(running)]
    ids = [made(running, each.token)["subscriptionId"] for each in tokens]
    where = ["--home", str(running.home)]
    revoke = ["token", "revoke", *where]
    assert main([*revoke, tokens[0].token_id, "--keep-subscriptions"]) == 0
    assert main([*revoke, tokens[1].token_id]) == 0
    assert "disabled 1 subscription" in capsys.readouterr().out
    shown = [asked(running, running.token, "GET", f"subscriptions/{each}").json() for each in ids]
    assert [each["status"] for each in shown] == ["Active", "Disabled"]


def test_a_subscription_lasts_no_longer_than_its_token(running: Monitor, home: Home) -> None:
    """However long was asked for."""
    ends_at_us = round((time.time() + 600) * 1e6)
    token = operator(running, expires_at_us=ends_at_us)
    found = made(running, token.token, expiresInSeconds=3_600)
    left_s = (time.time() + 3_600) - 3_000
    with running.store.reading() as connection:
        (row,) = connection.execute(subscriptions.select())
    assert row.expires_at_us == ends_at_us
    assert left_s > row.expires_at_us / 1e6
    assert found["expiresAt"] is not None


def test_whoever_enables_it_answers_for_it(running: Monitor, home: Home) -> None:
    """A subscription whose token has ended is an admin's to enable, and is theirs from then on."""
    gone = operator(running)
    subscription_id = made(running, gone.token)["subscriptionId"]
    revoke_token(running.store, gone.token_id)
    path = f"subscriptions/{subscription_id}/enable"
    assert asked(running, operator(running).token, "POST", path).status_code == 403
    admin = create_token(running.store, name="a", role="admin")
    assert asked(running, admin.token, "POST", path).json()["status"] == "Active"
    revoke_token(running.store, admin.token_id)
    shown = asked(running, running.token, "GET", f"subscriptions/{subscription_id}").json()
    assert shown["status"] == "Disabled"


# --- whose they are ---


@pytest.mark.parametrize(
    ("method", "rest"),
    [("DELETE", ""), ("POST", "/replay"), ("POST", "/test"), ("POST", "/enable")],
)
def test_only_an_admin_changes_what_another_token_has_made(
    running: Monitor, home: Home, method: str, rest: str
) -> None:
    """Another operator sees it and may not touch it; its own token and an admin's may."""
    mine, other = operator(running), operator(running)
    url = f"http://127.0.0.1:{free_port()}/"
    subscription_id = made(running, mine.token, webhookUrl=url)["subscriptionId"]
    path = f"subscriptions/{subscription_id}{rest}"
    assert asked(running, other.token, "GET", f"subscriptions/{subscription_id}").is_success
    refused = asked(running, other.token, method, path)
    assert refused.status_code == 403
    assert "admin" in refused.json()["detail"]
    for token in (mine.token, running.token):
        assert asked(running, token, method, path).status_code != 403


def test_a_viewer_does_not_see_a_receivers_query(running: Monitor, home: Home) -> None:
    """It often holds what the receiver knows its senders by."""
    path = f"subscriptions/{made(running, running.token)['subscriptionId']}"
    viewed = asked(running, running.token_of("viewer"), "GET", path).json()
    assert viewed["webhookUrl"] == "https://hooks.example.com/x?***"
    shown = asked(running, operator(running).token, "GET", path).json()
    assert shown["webhookUrl"] == "https://hooks.example.com/x?key=k"


def test_the_audit_trail_says_who_and_where_to(running: Monitor, home: Home) -> None:
    """Made, tested and deleted: each with the token, and the receiver's host without the rest."""
    token = operator(running)
    found = made(running, token.token, webhookUrl=f"http://127.0.0.1:{free_port()}/hush")
    path = f"subscriptions/{found['subscriptionId']}"
    assert not asked(running, token.token, "POST", f"{path}/test").json()["delivered"]
    assert asked(running, token.token, "DELETE", path).status_code == 204
    entries = asked(running, running.token, "GET", "audit").json()["entries"]
    trail = [each for each in entries if each["action"].startswith("subscription.")]
    assert [each["action"].removeprefix("subscription.") for each in trail] == [
        *("delete", "test", "create"),
    ]
    assert [each["details"]["tokenId"] for each in trail] == [token.token_id] * 3
    assert [each["details"]["host"] for each in trail] == ["127.0.0.1"] * 3
    assert "hush" not in json.dumps(trail)


# --- tests, deliveries, replays ---


def test_tests_of_silent_receivers_keep_nobody_waiting(running: Monitor, home: Home) -> None:
    """Two at a time of a project, the others are refused at once, and the API answers meanwhile."""
    with HookReceiver() as hook:
        hook.mode = "blackhole"
        row = subscribe(running.store, hook.endpoint, "milestone")
        path = f"subscriptions/{row.subscription_id}/test"
        answers: list[httpx.Response] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(asked(running, running.token, "POST", path))
            )
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        hook.wait_for(lambda receiver: receiver.counts["held"] == 2)
        refused = [asked(running, running.token, "POST", path) for _ in range(10)]
        assert {answer.status_code for answer in refused} == {429}
        assert all(answer.headers["retry-after"] == "5" for answer in refused)
        assert answers == []  # the two are still waited for
        for thread in threads:
            thread.join(timeout=10)
        assert [answer.json()["delivered"] for answer in answers] == [False, False]
        hook.mode = "ok"
        again = asked(running, running.token, "POST", path)
        assert again.json()["delivered"]


def test_deliveries_are_read_page_by_page(running: Monitor, home: Home) -> None:
    """By before, to the end, each once."""
    row = subscribe(running.store, "http://127.0.0.1:1/", "milestone")
    home.say(*["job.milestone"] * 7)
    planned(running)
    path = f"subscriptions/{row.subscription_id}/deliveries?limit=3"
    pages, before = [], ""
    while True:
        page = asked(running, running.token, "GET", path + before).json()
        pages.append([each["deliveryId"] for each in page["deliveries"]])
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [key for page in pages for key in page] == [7, 6, 5, 4, 3, 2, 1]


def test_single_deliveries_are_replayed(running: Monitor, home: Home) -> None:
    """Only those that are named, and only of this subscription."""
    row = subscribe(running.store, "http://127.0.0.1:1/", "milestone")
    other = subscribe(running.store, "http://127.0.0.1:1/", "milestone")
    home.say(*["job.milestone"] * 3)
    planned(running)
    with running.store.writing() as connection:
        connection.execute(update(deliveries).values(status="dead"))
    path = f"subscriptions/{row.subscription_id}/"
    listed = asked(running, running.token, "GET", f"{path}deliveries").json()["deliveries"]
    theirs = f"subscriptions/{other.subscription_id}/deliveries"
    foreign = asked(running, running.token, "GET", theirs).json()["deliveries"][0]["deliveryId"]
    body = {"deliveryIds": [listed[0]["deliveryId"], foreign]}
    assert asked(running, running.token, "POST", f"{path}replay", body).json() == {"replayed": 1}
    listed = asked(running, running.token, "GET", f"{path}deliveries").json()["deliveries"]
    assert [each["status"] for each in listed] == ["pending", "dead", "dead"]


def test_an_expired_subscription_is_not_replayed(running: Monitor, home: Home) -> None:
    """Its receiver was promised an end: 409."""
    row = subscribe(running.store, "http://127.0.0.1:1/", "milestone", lifetime_s=-1.0)
    path = f"subscriptions/{row.subscription_id}/replay"
    answer = asked(running, running.token, "POST", path)
    assert answer.status_code == 409
    assert "expired" in answer.json()["detail"]


# --- reading what was subscribed to without a webhook ---


def events_of(running: Monitor, path: str, count: int, **headers: str) -> list[tuple[str, Any]]:
    """So many events of a stream: id and object."""
    headers |= {"Authorization": f"Bearer {running.token}"}
    found: list[tuple[str, Any]] = []
    key = ""
    with httpx.stream("GET", running.url + path, headers=headers, timeout=20.0) as stream:
        for text in stream.iter_lines():
            if text.startswith("id: "):
                key = text[4:]
            elif text.startswith("data: "):
                found.append((key, json.loads(text[6:])["data"]["data"].get("percent")))
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize("kind", ["stream", "websocket"])
def test_a_resumed_subscription_remembers_what_was_told(
    running: Monitor, home: Home, kind: str
) -> None:
    """After a lost connection progress is told in the same steps as without."""
    options = {"webhookUrl": None, "events": ["progressUpdate", "jobCompleted"]}
    options |= {"filters": {"minProgressIncrement": 10}, "subscriptionType": "websocket"}
    path = made(running, running.token, **options)["websocketUrl"]
    home.progress(10, 15, 20, 25)
    stream = path.removesuffix("/ws") + "/events"
    first = events_of(running, stream, 2)
    assert [percent for _, percent in first] == [10, 20]
    home.progress(28, 30)
    home.say("job.completed", data={"status": "completed"})
    last = first[-1][0]
    if kind == "stream":
        rest = events_of(running, stream, 2, **{"Last-Event-ID": last})
        assert [percent for _, percent in rest] == [30, None]
        return
    url = f"{running.url.replace('http', 'ws')}{path}?lastEventId={last}"
    headers = {"Authorization": f"Bearer {running.token}"}
    with connect(url, additional_headers=headers) as socket:
        found = [json.loads(socket.recv(timeout=10))["data"]["data"] for _ in range(2)]
    assert [each.get("percent") for each in found] == [30, None]


def test_a_silent_websocket_ends_with_its_token(running: Monitor, home: Home) -> None:
    """Within seconds, although nothing is sent."""
    token = operator(running)
    url = f"{running.url.replace('http', 'ws')}{EXECUTION}/events/ws"
    headers = {"Authorization": f"Bearer {token.token}"}
    with connect(url, additional_headers=headers) as socket:
        revoke_token(running.store, token.token_id)
        with pytest.raises(ConnectionClosed) as ended:
            socket.recv(timeout=12)
    assert ended.value.rcvd is not None
    assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (1008, "the token has ended")


def test_a_silent_stream_ends_with_its_token(running: Monitor, home: Home) -> None:
    """Within seconds, and in good order."""
    token = operator(running)
    headers = {"Authorization": f"Bearer {token.token}"}
    url = f"{running.url}{EXECUTION}/events"
    with httpx.stream("GET", url, headers=headers, timeout=12.0) as stream:
        revoke_token(running.store, token.token_id)
        assert b"alive" not in b"".join(stream.iter_raw())


def test_health_answers_whatever_token_comes(running: Monitor) -> None:
    """Also to HEAD, and also from an address that has sent many bad tokens."""
    headers = {"Authorization": "Bearer nonsense"}
    for _ in range(30):
        httpx.get(running.url + EXECUTION + "/audit", headers=headers)
    for method in ("GET", "HEAD"):
        for path in ("/healthz", "/readyz"):
            assert httpx.request(method, running.url + path, headers=headers).status_code == 200
