from __future__ import annotations

import json
import ssl
from collections import Counter
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from fiveobs.monitor.store.auditing import audit_rows
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import deliveries, subscriptions, told
from fiveobs.monitor.webhooks.guard import Guard
from fiveobs.monitor.webhooks.planning import Planner
from fiveobs.monitor.webhooks.schedule import HELD_TRIES, MAX_TRIES, PAUSES_S, REFUSALS, pause_s
from fiveobs.monitor.webhooks.sending import Message, Sender
from fiveobs.monitor.webhooks.signing import new_secret, signature
from fiveobs.monitor.webhooks.subscriptions import enable, replay
from tests.support.certificates import make_certificate, server_context
from tests.support.hooks import (
    LOOPBACK,
    Home,
    HookReceiver,
    delivering,
    happen,
    is_signed,
    subscribe,
)
from tests.support.web import Answer
from tests.support.workers import until


@pytest.fixture
def home(store: Store, tmp_path: Path) -> Home:
    """A project with one job that runs, on each sort of store."""
    return happen(store, tmp_path)


@pytest.fixture
def hook() -> Iterator[HookReceiver]:
    """A receiver that takes everything."""
    with HookReceiver() as receiver:
        yield receiver


def statuses(store: Store) -> list[str]:
    """The status of each delivery, in the order of the events."""
    with store.reading() as connection:
        wanted = select(deliveries.c.status).order_by(deliveries.c.event_key)
        return list(connection.execute(wanted).scalars())


def rows(store: Store, table: Any) -> list[Any]:
    with store.reading() as connection:
        return list(connection.execute(select(table)))


def seen(hook: HookReceiver, count: int) -> None:
    """Wait for so many requests."""
    hook.wait_for(lambda receiver: len(receiver.seen) >= count)


def settled(store: Store, *expected: str) -> None:
    """Wait until the deliveries have these statuses."""
    until(lambda: statuses(store) == list(expected), what=f"{expected}, not {statuses(store)}")


def stepped(store: Store) -> None:
    """Plan everything that has happened."""
    planner = Planner(store, now=lambda: 1_767_330_000.0, clock=lambda: 0.0)
    while planner.step():
        pass


# --- what is sent ---


def test_a_delivery_is_a_signed_cloudevent(store: Store, home: Home, hook: HookReceiver) -> None:
    """Signed by the Standard Webhooks scheme, CloudEvents 1.0 with the job as its subject."""
    row = subscribe(
        store, hook.endpoint + "/x?y=1", authentication={"type": "bearer", "token": "t0ken"}
    )
    home.say("job.completed", data={"status": "completed", "duration_s": 1.0})
    with delivering(store):
        seen(hook, 1)
        settled(store, "delivered")
    (request,) = hook.seen
    event = json.loads(request.body)
    assert request.path == "/x?y=1"
    assert request.headers["content-type"].startswith("application/cloudevents+json")
    assert request.headers["authorization"] == "Bearer t0ken"
    assert is_signed(request, row.secret or "")
    assert (event["specversion"], event["type"], event["subject"]) == (
        "1.0",
        "fiveobs.job.completed",
        "job-1",
    )
    assert event["data"]["data"]["duration_s"] == 1.0


def test_the_signature_is_that_of_the_scheme() -> None:
    """The example of the Standard Webhooks specification's reference implementation."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_events_come_in_order(store: Store, home: Home, hook: HookReceiver) -> None:
    """A receiver gets the events of a subscription one after the other, as they were taken in."""
    subscribe(store, hook.endpoint, "stageStarted", "stageCompleted", "milestone")
    for number in range(10):
        home.say("stage.started", data={"stage": f"s{number}", "index": number + 1})
        home.say("job.milestone")
    with delivering(store):
        seen(hook, 20)
    assert hook.sequences == sorted(hook.sequences)
    assert len(set(hook.sequences)) == 20


def test_only_what_was_chosen_is_sent(store: Store, home: Home, hook: HookReceiver) -> None:
    """Names stand for event types and levels; debug events need to be asked for."""
    subscribe(store, hook.endpoint, "jobCompleted", "warning", job_id="job-1")
    home.say("job.milestone")
    home.say("log", level="warning", message="hm")
    home.say("log", level="error", message="oh")
    home.say("job.completed", job_id="job-2", data={"status": "completed"})
    home.say("job.completed", data={"status": "completed"})
    with delivering(store):
        seen(hook, 2)
        settled(store, "delivered", "delivered")
    assert hook.types == ["log", "job.completed"]


def test_progress_is_told_in_steps(store: Store, home: Home) -> None:
    """minProgressIncrement: from the first on, whatever has grown so much, and always the end."""
    subscribe(store, "http://127.0.0.1:1/", "progressUpdate", min_progress_increment=10.0)
    home.progress(1, 5, 10.9, 11, 12, 30)
    stepped(store)
    home.progress(35, 40, 99, 100, 100)
    stepped(store)
    with store.reading() as connection:
        keys = [row.event_key for row in connection.execute(select(deliveries))]
    # The job began with event 1.
    assert [[1, 5, 10.9, 11, 12, 30, 35, 40, 99, 100, 100][key - 2] for key in keys] == [
        *(1, 11, 30, 40, 99, 100),
    ]


def test_progress_that_falls_is_told_in_steps_too(store: Store, home: Home) -> None:
    """Going up and down a little is no news; falling far is."""
    subscribe(store, "http://127.0.0.1:1/", "progressUpdate", min_progress_increment=10.0)
    percents = [50, 49, 50, 49, 50, 40, 41, 50, 1]
    home.progress(*percents)
    stepped(store)
    with store.reading() as connection:
        keys = [row.event_key for row in connection.execute(select(deliveries))]
    assert [percents[key - 2] for key in keys] == [50, 40, 50, 1]


def test_what_was_told_is_forgotten_with_the_job(store: Store, home: Home) -> None:
    """No row of progress is left of a job that has ended, for whoever is told of its end."""
    subscribe(store, "http://127.0.0.1:1/", "progressUpdate", "jobCompleted")
    home.progress(50)
    stepped(store)
    assert len(rows(store, told)) == 1
    home.say("job.completed", data={"status": "completed"})
    stepped(store)
    assert rows(store, told) == []


def test_an_event_is_planned_once(store: Store, home: Home) -> None:
    """However often planning begins anew, each event leads to one delivery."""
    subscribe(store, "http://127.0.0.1:1/", "milestone")
    for _ in range(5):
        home.say("job.milestone")
        stepped(store)
        stepped(store)
    assert statuses(store) == ["pending"] * 5


def test_what_a_subscriber_does_not_take_waits_in_the_store(store: Store, home: Home) -> None:
    """A subscription has a bounded number of deliveries; the events after them are not lost."""
    subscribe(store, "http://127.0.0.1:1/", "milestone")
    home.say(*["job.milestone"] * 10)
    clock = [0.0]
    planner = Planner(store, now=lambda: 0.0, clock=lambda: clock[0], max_pending=4)
    planner.step()
    assert statuses(store) == ["pending"] * 4
    with store.writing() as connection:
        connection.execute(deliveries.update().values(status="delivered"))
    clock[0] += 10.0
    planner.step()
    assert statuses(store) == ["delivered"] * 4 + ["pending"] * 4


def test_a_subscription_expires(store: Store, home: Home, hook: HookReceiver) -> None:
    """What happens after its time is not sent; what happened before still is."""
    subscribe(store, hook.endpoint, "milestone", lifetime_s=-10.0)
    home.say("job.milestone")
    with delivering(store):
        seen(hook, 1)
        until(lambda: rows(store, subscriptions)[0].status == "expired")
        home.say("job.milestone", timestamp="2099-01-01T00:00:00.000000Z")
    assert len(hook.seen) == 1


# --- what is not taken ---


def test_a_failed_delivery_is_tried_again_under_the_same_id(
    store: Store, home: Home, hook: HookReceiver
) -> None:
    """It is signed anew, keeps its webhook-id, and those after it wait for it."""
    hook.answers = [Answer(status=500), Answer(status=503)]
    row = subscribe(store, hook.endpoint, "milestone")
    home.say("job.milestone", "job.milestone")
    with delivering(store):
        settled(store, "delivered", "delivered")
    ids = [request.headers["webhook-id"] for request in hook.seen]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert all(is_signed(request, row.secret or "") for request in hook.seen)
    assert [delivery.tries for delivery in rows(store, deliveries)] == [3, 1]


def test_a_delivery_that_fails_often_holds_up_nothing(
    store: Store, home: Home, hook: HookReceiver
) -> None:
    """After so many tries the ones after it are sent before it."""
    hook.answers = [Answer(status=404)] * HELD_TRIES
    subscribe(store, hook.endpoint, "milestone")
    home.say("job.milestone", "job.milestone")
    with delivering(store):
        settled(store, "delivered", "delivered")
    first, second = sorted(set(hook.sequences))
    assert hook.sequences == [first] * HELD_TRIES + [second, first]


@pytest.mark.parametrize("status", REFUSALS)
def test_an_event_that_is_refused_holds_up_nothing_for_long(
    store: Store, home: Home, hook: HookReceiver, status: int
) -> None:
    """What is about the event itself will not change: tried once more, then the others come."""
    hook.answers = [Answer(status=status)] * 2
    subscribe(store, hook.endpoint, "milestone")
    home.say("job.milestone", "job.milestone")
    with delivering(store):
        settled(store, "delivered", "delivered")
    first, second = sorted(set(hook.sequences))
    assert hook.sequences == [first, first, second, first]


def test_nothing_is_asked_of_the_store_while_nothing_happens(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """Without webhooks it looks whether there are events, and for deliveries once a second."""
    happen(sqlite_store, tmp_path)
    asked: Counter[bool] = Counter()

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "SELECT" in statement:
            asked["FROM deliveries" in statement] += 1

    event.listen(sqlite_store.engine, "before_cursor_execute", note)
    with delivering(sqlite_store):
        until(lambda: asked[False] >= 30, timeout_s=30, what="looks for events")
    event.remove(sqlite_store.engine, "before_cursor_execute", note)
    assert asked[True] < asked[False]


def test_the_last_try_makes_a_dead_letter_that_can_be_replayed(
    store: Store, home: Home, hook: HookReceiver
) -> None:
    """A receiver that takes nothing at all is disabled; enabled again, it gets what it missed."""
    hook.answers = [Answer(status=500)] * MAX_TRIES
    row = subscribe(store, hook.endpoint, "milestone")
    home.say("job.milestone")
    with delivering(store):
        settled(store, "dead")
        found = rows(store, subscriptions)[0]
        assert (found.status, "nothing was taken" in found.ended_reason) == ("disabled", True)
        home.say("job.milestone")
        with store.writing() as connection:
            enable(connection, row.subscription_key)
            count = replay(
                connection,
                row.subscription_key,
                from_us=None,
                to_us=None,
                statuses=("dead",),
                now_us=0,
            )
        assert count == 1
        settled(store, "delivered", "delivered")
    ids = [request.headers["webhook-id"] for request in hook.seen]
    assert ids[0] == ids[MAX_TRIES]


def test_410_disables_the_subscription(store: Store, home: Home, hook: HookReceiver) -> None:
    """Gone is gone: nothing more is sent, and what was on its way is dead."""
    hook.answers = [Answer(status=410)]
    subscribe(store, hook.endpoint, "milestone")
    home.say("job.milestone", "job.milestone")
    with delivering(store):
        settled(store, "dead", "dead")
        home.say("job.milestone")
    assert len(hook.seen) == 1
    assert rows(store, subscriptions)[0].status == "disabled"
    (noted,) = audit_rows(store, 1, limit=9)
    assert (noted.actor, noted.action) == ("monitor", "subscription.disable")
    assert "410" in str(noted.reason)
    assert (noted.details or {})["host"] == "127.0.0.1"


def test_redirects_are_not_followed(store: Store, home: Home, hook: HookReceiver) -> None:
    """An answer that points elsewhere is a failure."""
    with HookReceiver() as elsewhere:
        hook.answers = [Answer(status=307, headers={"Location": elsewhere.endpoint})]
        subscribe(store, hook.endpoint, "milestone")
        home.say("job.milestone")
        with delivering(store):
            settled(store, "delivered")
        assert elsewhere.seen == []
    assert len(hook.seen) == 2


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [("7", 7.0), (formatdate(1_000_060, usegmt=True), 60.0), ("99999999", 86_400.0), ("x", None)],
)
def test_retry_after_is_read(hook: HookReceiver, value: str, expected_s: float | None) -> None:
    """As seconds or as a date; at most a day, and nothing else."""
    hook.answers = [Answer(status=429, headers={"Retry-After": value})]
    sender = Sender(Guard([LOOPBACK]), now=lambda: 1_000_000.0)
    line = sender.line(hook.endpoint, new_secret(), None)
    answer = line.send(Message("msg_1", b"{}"))
    line.close()
    assert (answer.status, answer.retry_after_s) == (429, expected_s)


def test_the_schedule_lasts_for_days() -> None:
    """Thirteen tries, three days; chance moves each by a fifth; Retry-After only lengthens."""
    assert (MAX_TRIES, sum(PAUSES_S) > 3 * 86_400) == (13, True)
    assert pause_s(1, None, lambda: 0.0) == pytest.approx(4.0)
    assert pause_s(1, None, lambda: 1.0) == pytest.approx(6.0)
    assert pause_s(1, 60.0) == 60.0
    assert pause_s(12, 1.0) > 60_000


# --- the network ---


def test_a_slow_receiver_is_given_up(hook: HookReceiver) -> None:
    """One that accepts and does not answer costs a deadline, not a thread for good."""
    hook.mode = "blackhole"
    line = Sender(Guard([LOOPBACK]), total_s=0.2).line(hook.endpoint, new_secret(), None)
    answer = line.send(Message("msg_1", b"{}"))
    assert (answer.status, answer.error) == (None, "no answer within 0.2 s")


def test_a_large_answer_is_not_read_to_its_end(hook: HookReceiver) -> None:
    """What is needed is the status; the connection is closed."""
    hook.answers = [Answer(status=200, body=b"x" * 5_000_000), Answer(status=200)]
    line = Sender(Guard([LOOPBACK])).line(hook.endpoint, new_secret(), None)
    assert line.send(Message("msg_1", b"{}")).is_taken
    assert line.send(Message("msg_2", b"{}")).is_taken
    line.close()
    assert hook.counts["connections"] == 2


def test_a_connection_is_used_for_several_deliveries(hook: HookReceiver) -> None:
    """As long as the receiver keeps it; one that it has closed is opened anew."""
    line = Sender(Guard([LOOPBACK])).line(hook.endpoint, new_secret(), None)
    assert all(line.send(Message(f"msg_{number}", b"{}")).is_taken for number in range(3))
    assert hook.counts["connections"] == 1
    hook.stop()
    hook.start()
    assert line.send(Message("msg_4", b"{}")).is_taken
    line.close()


def test_a_name_is_resolved_once_and_its_address_connected_to(hook: HookReceiver) -> None:
    """A name that points elsewhere a moment later (DNS rebinding) leads nowhere else."""
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    sender = Sender(Guard([LOOPBACK], resolver=resolver))
    url = f"http://hooks.example.com:{hook.port}/"
    line = sender.line(url, new_secret(), None)
    assert line.send(Message("msg_1", b"{}")).is_taken
    line.close()
    assert asked == ["hooks.example.com"]
    assert hook.seen[0].headers["host"] == f"hooks.example.com:{hook.port}"
    answer = sender.line(url, new_secret(), None).send(Message("msg_2", b"{}"))
    assert "may not reach" in answer.error
    assert len(hook.seen) == 1


def test_a_receiver_without_leave_is_never_connected_to(hook: HookReceiver) -> None:
    """Loopback needs a setting."""
    answer = Sender(Guard()).line(hook.endpoint, new_secret(), None).send(Message("m", b"{}"))
    assert "FIVEOBS_WEBHOOK_ALLOWED_NETWORKS" in answer.error
    assert hook.counts["connections"] == 0


def test_certificates_are_verified(tmp_path: Path) -> None:
    """A receiver that nobody vouches for gets nothing; one whose name fits does."""
    certificate, key = make_certificate(tmp_path)
    with HookReceiver(tls=server_context(certificate, key)) as hook:
        line = Sender(Guard([LOOPBACK])).line(hook.endpoint, new_secret(), None)
        assert "certificate verify failed" in line.send(Message("msg_1", b"{}")).error
        trusting = ssl.create_default_context(cafile=str(certificate))
        guard = Guard([LOOPBACK], resolver=lambda host, port: ["127.0.0.1"])
        good = Sender(guard, tls=trusting).line(
            f"https://localhost:{hook.port}/", new_secret(), None
        )
        assert good.send(Message("msg_2", b"{}")).is_taken
        good.close()
        other = Sender(guard, tls=trusting).line(
            f"https://other.example:{hook.port}/", new_secret(), None
        )
        assert "certificate verify failed" in other.send(Message("msg_3", b"{}")).error
    assert len(hook.seen) == 1


@pytest.mark.parametrize("mode", ["garbage", "error", "ok"])
def test_nothing_secret_is_in_what_is_said_of_a_failure(
    store: Store, home: Home, hook: HookReceiver, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the secret nor the token is in the log, in the store's errors or in a repr."""
    hook.mode = mode  # type: ignore[assignment]
    authentication = {"type": "apiKey", "header": "X-Key", "token": "hush-hush"}
    row = subscribe(store, hook.endpoint, "milestone", authentication=authentication)
    home.say("job.milestone")
    with delivering(store) as deliverer:
        until(lambda: sum(deliverer.counts.values()) > 0)
    said = caplog.text + repr(row) + str([each.last_error for each in rows(store, deliveries)])
    assert "hush-hush" not in said
    assert str(row.secret) not in said


def test_a_restart_goes_on_where_it_was(store: Store, home: Home, hook: HookReceiver) -> None:
    """What was not taken before a restart is sent after it, and nothing twice."""
    hook.mode = "error"
    subscribe(store, hook.endpoint, "milestone")
    home.say("job.milestone", "job.milestone")
    with delivering(store):
        hook.wait_for(lambda receiver: receiver.counts["requests"] >= 1)
    hook.mode = "ok"
    home.say("job.milestone")
    with delivering(store):
        settled(store, "delivered", "delivered", "delivered")
    assert len(hook.seen) == 3


def test_a_stop_does_not_wait_for_a_slow_receiver(
    store: Store, home: Home, hook: HookReceiver
) -> None:
    """What is being sent is cut short, and not counted as a try."""
    hook.mode = "blackhole"
    subscribe(store, hook.endpoint, "milestone")
    home.say("job.milestone")
    with delivering(store, sender=Sender(Guard([LOOPBACK]), total_s=60.0)):
        hook.wait_for(lambda receiver: receiver.counts["held"] == 1)
    assert [each.tries for each in rows(store, deliveries)] == [0]
