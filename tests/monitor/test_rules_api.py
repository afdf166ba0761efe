"""Rules over the API and the client: made, changed, tried out, retried; whose they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from fiveobs.client import BadRequestError, Client, ConflictError, ForbiddenError, NotFoundError
from fiveobs.monitor.rules import register_processor
from fiveobs.monitor.store.auditing import audit_rows
from fiveobs.monitor.webhooks.guard import Guard
from fiveobs.monitor.webhooks.sending import Sender
from tests.support.hooks import LOOPBACK, Home, happen
from tests.support.monitors import Monitor, monitor
from tests.support.ruling import Ruling

HOOK = {"webhook": {"url": "https://hooks.example.com/x?key=k"}}
WRITTEN = {"name": "r", "on": ["job.completed"], "then": [HOOK]}
DONE = {"status": "completed", "duration_s": 1.0}


@pytest.fixture
def running(fiveobs_home: Path) -> Iterator[Monitor]:
    """A monitor whose events come only when a test says so."""
    with monitor(fiveobs_home) as found:
        found.app.state.sender = Sender(Guard([LOOPBACK]), total_s=2.0)
        yield found


@pytest.fixture
def home(running: Monitor) -> Home:
    """A project with one job that runs."""
    return happen(running.store, running.home)


@pytest.fixture
def client(running: Monitor, home: Home) -> Iterator[Client]:
    with Client(running.url, running.token_of("operator")) as found:
        yield found


def acted(running: Monitor, done: Any = None) -> Ruling:
    """Have the rules act, once."""
    ruling = Ruling(running.store, running.home)
    ruling.now_s = time.time() + 1
    ruling.work(done)
    ruling.close()
    return ruling


def test_a_rule_lives_and_ends(running: Monitor, client: Client) -> None:
    """Made, found, listed, replaced, disabled, deleted; the audit trail has all of it."""
    made = client.create_rule(WRITTEN)
    assert made.secret.startswith("whsec_")
    assert made.secret not in repr(made)
    assert (made.rule, made.revision, made.enabled) == (WRITTEN, 1, True)
    assert client.rule(made.rule_id).rule == WRITTEN
    assert [each.rule_id for each in client.rules().rules] == [made.rule_id]
    assert client.replace_rule(made.rule_id, WRITTEN).revision == 1
    changed = client.replace_rule(made.rule_id, {**WRITTEN, "on": "job.failed", "name": "s"})
    assert (changed.revision, changed.name, changed.rule["on"]) == (2, "s", ["job.failed"])
    assert client.disable_rule(made.rule_id).enabled is False
    assert client.disable_rule(made.rule_id).revision == 3
    assert client.rule(made.rule_id).rule["enabled"] is False
    assert client.enable_rule(made.rule_id).enabled is True
    assert client.delete_rule(made.rule_id) is None  # type: ignore[func-returns-value]
    with pytest.raises(NotFoundError, match="there is no rule"):
        client.rule(made.rule_id)
    trail = audit_rows(running.store, 1, target=made.rule_id, limit=9)
    assert [each.action for each in trail] == [
        *("rule.delete", "rule.enable", "rule.disable", "rule.replace", "rule.create"),
    ]
    assert {each.actor for each in trail} == {"operator"}
    assert (trail[3].details or {})["revision"] == 2


def test_a_rule_that_is_made_says_where_it_is(running: Monitor, home: Home) -> None:
    """As every thing that is made over HTTP does."""
    url = f"{running.url}/api/default/default/execution/rules"
    headers = {"Authorization": f"Bearer {running.token}"}
    answer = httpx.post(url, json=WRITTEN, headers=headers)
    assert answer.status_code == 201
    place = httpx.get(running.url + answer.headers["location"], headers=headers)
    assert place.json()["ruleId"] == answer.json()["ruleId"]
    assert "secret" not in place.json()


def test_all_that_is_wrong_is_answered_at_once(client: Client) -> None:
    """With the key's path, the value, and what would be valid."""
    bad = {
        "name": "r",
        "on": "job.done",
        "where": {"data.n": {"over": 3}},
        "then": [{"emit": {"type": "log", "message": "{event.foo}"}}],
        "limits": {"max_tries": 99},
    }
    with pytest.raises(BadRequestError) as caught:
        client.create_rule(bad)
    found = {each["name"]: each for each in caught.value.problem["errors"]}
    assert found["on"]["value"] == "job.done"
    assert "job.completed" in found["on"]["detail"]
    assert "there is no such operator" in found["where.data.n.over"]["detail"]
    assert "there is no {event.foo}" in found["then.0.emit.message"]["detail"]
    assert found["limits.max_tries"]["detail"] == "valid are integers from 1 to 13"
    assert client.rules().rules == ()


def test_a_webhook_may_not_go_where_none_may(client: Client) -> None:
    """The same bounds as for subscriptions, and the same words."""
    with pytest.raises(BadRequestError, match="webhooks may not reach that address"):
        client.create_rule({**WRITTEN, "then": [{"webhook": {"url": "http://10.0.0.1/"}}]})


def test_a_name_is_a_rules_alone(client: Client) -> None:
    """Whether it is made or renamed."""
    client.create_rule(WRITTEN)
    with pytest.raises(ConflictError, match="another rule is called 'r'"):
        client.create_rule(WRITTEN)
    other = client.create_rule({**WRITTEN, "name": "other"})
    with pytest.raises(ConflictError, match="another rule is called 'r'"):
        client.replace_rule(other.rule_id, WRITTEN)


def test_viewers_see_rules_and_change_none(running: Monitor, client: Client) -> None:
    """Nor do they see by what a receiver knows its senders, as nobody sees tokens."""
    hook = {**HOOK["webhook"], "authentication": {"type": "bearer", "token": "geheim"}}
    made = client.create_rule({**WRITTEN, "then": [{"webhook": hook}]})
    assert made.rule["then"][0]["webhook"]["authentication"]["token"] == "***"
    with Client(running.url, running.token_of("viewer")) as viewer:
        shown = viewer.rule(made.rule_id).rule["then"][0]["webhook"]
        assert shown["url"] == "https://hooks.example.com/x?***"
        assert viewer.firings(made.rule_id).firings == ()
        for change in (
            lambda: viewer.create_rule({**WRITTEN, "name": "x"}),
            lambda: viewer.replace_rule(made.rule_id, WRITTEN),
            lambda: viewer.delete_rule(made.rule_id),
            lambda: viewer.disable_rule(made.rule_id),
            lambda: viewer.retry_firings(made.rule_id),
            lambda: viewer.dry_run_rule(WRITTEN),
        ):
            with pytest.raises(ForbiddenError):
                change()
    token = running.token_of("admin", tenant_id="other")
    with (
        Client(running.url, token) as stranger,
        pytest.raises(NotFoundError, match="no project"),
    ):
        stranger.rule(made.rule_id)


def test_firings_are_paged_and_retried(running: Monitor, home: Home, client: Client) -> None:
    """Dead letters are the firings of that status; what is retried is done again."""
    failures = [RuntimeError("no"), RuntimeError("no")]

    def process(_firing: Any) -> None:
        if failures:
            raise failures.pop()

    register_processor("api", process)
    then = [{"process": {"processor": "api"}}]
    limits = {"max_tries": 1}
    made = client.create_rule({**WRITTEN, "then": then, "limits": limits})
    for number in range(5):
        home.say("job.completed", job_id=f"j{number}", data=DONE)
    acted(running)
    counts = client.rule(made.rule_id).firings
    assert counts is not None
    assert (counts.done, counts.dead, counts.pending) == (3, 2, 0)
    dead = client.firings(made.rule_id, status="dead").firings
    assert {each.last_error for each in dead} == {"RuntimeError: no"}
    first = client.firings(made.rule_id, limit=3)
    second = client.firings(made.rule_id, limit=3, before=first.next)
    found = [*first.firings, *second.firings]
    assert [each.job_id for each in found] == ["j4", "j3", "j2", "j1", "j0"]
    assert second.next is None
    assert found[0].event_type == "job.completed"
    assert found[0].chain == (made.rule_id,)
    assert client.retry_firings(made.rule_id, firing_ids=[dead[0].firing_id]).retried == 1
    assert client.retry_firings(made.rule_id).retried == 1
    acted(running)
    assert {each.status for each in client.firings(made.rule_id).firings} == {"done"}


def test_expectations_are_shown(running: Monitor, home: Home, client: Client) -> None:
    """What is awaited after which event, and what came."""
    expect = {"event": "job.completed", "within": "365d"}
    made = client.create_rule({**WRITTEN, "on": "job.milestone", "expect": expect})
    home.say("job.milestone", job_id="a")
    home.say("job.milestone", job_id="b")
    home.say("job.completed", job_id="a", data=DONE)
    acted(running)
    found = client.expectations(made.rule_id).expectations
    assert [(each.job_id, each.status) for each in found] == [("b", "open"), ("a", "fulfilled")]
    assert found[1].met_by == "00000000000000aa-4"
    assert client.expectations(made.rule_id, status="missed").expectations == ()
    (newest,) = client.expectations(made.rule_id, limit=1).expectations
    page = client.expectations(made.rule_id, before=newest.expectation_id)
    assert [each.job_id for each in page.expectations] == ["a"]


# --- dry run ---


def test_a_dry_run_says_what_would_be_sent(running: Monitor, client: Client) -> None:
    """On an event that is made up; nothing is stored, sent or recorded."""
    rule = {
        "name": "r",
        "on": "job.failed",
        "where": {"data.error.type": "OSError"},
        "then": [
            HOOK,
            {"emit": {"type": "log", "message": "{event.job_id} failed"}},
            {"launch": {"launcher": "rq", "parameters": {"again": "{event.job_id}"}}},
        ],
    }
    event = {"event_type": "job.failed", "job_id": "j", "session_id": "s"}
    data = {"error": {"type": "OSError"}}
    found = client.dry_run_rule(rule, event={**event, "data": data})
    assert (found.matched, found.events[0].outcome) == (1, "fires")
    hook, emit, launch = found.events[0].actions
    assert hook.sends["body"]["type"] == "fiveobs.job.failed"
    assert emit.sends["message"] == "j failed"
    assert launch.sends["parameters"] == {"again": "j"}
    assert "fiveobs.parent_job_id=j" in launch.sends["carrier"]["baggage"]
    assert client.dry_run_rule(rule, event=event).matched == 0
    assert client.rules().rules == ()


def test_a_dry_run_looks_at_past_events(running: Monitor, home: Home, client: Client) -> None:
    """Those of a while, of the project; what would have been missed and what not."""
    for number in range(5):
        home.say("job.milestone", job_id=f"j{number}")
    home.say("job.completed", job_id="j1", data=DONE)
    begin = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    rule = {**WRITTEN, "on": "job.milestone"}
    assert client.dry_run_rule(rule).matched == 5
    some = {"from_time": begin + timedelta(seconds=3), "to_time": begin + timedelta(seconds=5)}
    found = client.dry_run_rule(rule, **some)
    assert [each.job_id for each in found.events] == ["j1", "j2", "j3"]
    expect = {"event": "job.completed", "within": "4s"}
    awaits = client.dry_run_rule({**rule, "expect": expect})
    outcomes = ["missed", "fulfilled", "open", "open", "open"]
    assert [each.outcome for each in awaits.events] == outcomes
    assert awaits.looked_at == 6


def test_a_dry_run_finds_loops(client: Client) -> None:
    """An event that the rule has led to itself would be refused."""
    made = client.create_rule(WRITTEN)
    cause = {"chain": [made.rule_id]}
    event = {"event_type": "job.completed", "data": {"cause": cause}}
    found = client.dry_run_rule(WRITTEN, rule_id=made.rule_id, event=event)
    assert (found.events[0].outcome, found.events[0].actions) == ("loop", ())
    assert "has led to this itself" in (found.events[0].detail or "")


@pytest.mark.parametrize(
    "wanted",
    [
        {"event": {"event_type": "job.done"}},
        {"event": {"event_type": "log"}, "from_time": datetime.now(UTC)},
        {"event": {"event_type": "log", "jobId": "camel"}},
        {
            "from_time": datetime(2026, 1, 2, tzinfo=UTC),
            "to_time": datetime(2026, 1, 1, tzinfo=UTC),
        },
    ],
    ids=["type", "both", "name", "order"],
)
def test_a_dry_run_of_nothing_is_refused(client: Client, wanted: dict[str, Any]) -> None:
    """What cannot be tried on is told."""
    with pytest.raises(BadRequestError):
        client.dry_run_rule(WRITTEN, **wanted)
