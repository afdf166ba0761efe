"""What rules do on both stores: once for each cause, again after a failure, never in circles."""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import select, update

from fiveobs._carrier import read_carrier
from fiveobs.journal.locks import StemLock
from fiveobs.journal.segments import LOCK_SUFFIX, segment_files
from fiveobs.monitor.rules import (
    Firing,
    Launch,
    planning,
    register_launcher,
    register_processor,
    stored,
)
from fiveobs.monitor.rules.book import firing_id
from fiveobs.monitor.rules.facts import MAX_DEPTH
from fiveobs.monitor.rules.models import EMITTED
from fiveobs.monitor.store import schema
from fiveobs.monitor.store.engine import Store
from tests.support.hooks import Home, HookReceiver, happen, is_signed
from tests.support.journals import line, write_segment
from tests.support.ruling import START_S, Ruling, Running, add_rule, change_rule
from tests.support.web import Answer
from tests.support.workers import until

DONE = {"status": "completed", "duration_s": 2.0}
#: Held while the tests run.
LOCKS: list[StemLock] = []
NOTE = {"emit": {"type": "log", "message": "noted {event.job_id}"}}


@pytest.fixture
def home(store: Store, fiveobs_home: Path) -> Home:
    """A project with one job that runs, on each sort of store."""
    return happen(store, fiveobs_home)


@pytest.fixture
def ruling(store: Store, fiveobs_home: Path) -> Iterator[Ruling]:
    made = Ruling(store, fiveobs_home)
    yield made
    made.close()


@pytest.fixture
def hook() -> Iterator[HookReceiver]:
    with HookReceiver() as receiver:
        yield receiver


class Calls:
    """A processor that remembers what it was called with, and fails as often as it is told to."""

    def __init__(self, name: str, failures: int = 0) -> None:
        self.name = name
        self.failures = failures
        self.seen: list[Any] = []
        register_processor(name, self)
        register_launcher(name, self)

    def __call__(self, given: Firing, /) -> None:
        self.seen.append(given)
        if len(self.seen) <= self.failures:
            raise RuntimeError(f"failure {len(self.seen)}")

    @property
    def keys(self) -> list[str]:
        return [each.idempotency_key for each in self.seen]

    def then(self) -> list[dict[str, Any]]:
        return [{"process": {"processor": self.name, "parameters": {"id": "{event.job_id}"}}}]


def place(store: Store) -> int:
    with store.reading() as connection:
        return int(connection.execute(select(schema.rule_progress.c.event_key)).scalar_one())


# --- what is done ---


def test_a_webhook_is_signed_and_carries_its_key(
    store: Store, home: Home, ruling: Ruling, hook: HookReceiver
) -> None:
    """A CloudEvent with the job as its subject, by the Standard Webhooks scheme."""
    row = add_rule(store, {"name": "r", "on": "job.completed", "then": [_hook(hook)]})
    home.say("job.completed", data=DONE)
    ruling.work()
    (request,) = hook.seen
    (firing,) = ruling.firings()
    body = json.loads(request.body)
    assert is_signed(request, row.secret)
    assert request.headers["idempotency-key"] == firing.firing_id
    assert (body["type"], body["subject"]) == ("fiveobs.job.completed", "job-1")
    assert (body["ruleid"], body["rulename"]) == (row.rule_id, "r")
    assert body["data"]["data"] == DONE
    assert firing.status == "done"


def _hook(hook: HookReceiver) -> dict[str, Any]:
    return {"webhook": {"url": hook.endpoint}}


def test_only_what_is_meant_is_acted_on(store: Store, home: Home, ruling: Ruling) -> None:
    """Its own project's events, of its types, that fulfil its conditions, after it was made."""
    calls = Calls("meant")
    home.say("job.completed", job_id="before", data=DONE)
    where = {"data.duration_s": {"gt": 1}, "job.status": "completed"}
    add_rule(store, {"name": "r", "on": "job.completed", "where": where, "then": calls.then()})
    off = {"name": "off", "on": "job.*", "enabled": False, "then": calls.then()}
    add_rule(store, off)
    home.say("job.completed", job_id="short", data={**DONE, "duration_s": 0.5})
    home.say("job.failed", job_id="failed")
    home.say("job.completed", job_id="meant", data=DONE)
    ruling.work()
    assert [each.parameters["id"] for each in calls.seen] == ["meant"]
    assert calls.seen[0].event.event_type == "job.completed"
    assert calls.seen[0].rule_name == "r"


def test_each_firing_is_recorded_with_its_cause(store: Store, home: Home, ruling: Ruling) -> None:
    """As ``workflow.triggered``, with the job's ids, so that it is found where the job is."""
    calls = Calls("recorded")
    row = add_rule(store, {"name": "r", "on": "job.completed", "then": calls.then()})
    home.say("job.completed", data=DONE, session_id="s-1", trace_id="ab" * 16)
    ruling.work()
    ((event, data),) = ruling.recorded()
    job = schema.jobs.c.job_key == event.job_key
    with store.reading() as connection:
        assert connection.execute(select(schema.jobs.c.job_id).where(job)).scalar() == "job-1"
        assert connection.execute(select(schema.jobs.c.status).where(job)).scalar() == "completed"
    assert event.message == "rule r: process done"
    assert (data["workflow"], data["rule_id"]) == ("r", row.rule_id)
    assert (data["action"], data["outcome"], data["tries"]) == ("process", "done", 1)
    assert data["firing_id"] == calls.keys[0]
    assert data["cause"]["event_type"] == "job.completed"
    assert data["cause"]["chain"] == [row.rule_id]


def test_what_is_recorded_is_what_the_schema_says(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path
) -> None:
    """Of each type that a rule may record, and of firings, whatever the placeholders stand for."""
    needed = {"entity": "{event.attempt}", "to_state": "{event.data.none}", "status": "{event.id}"}
    needed |= dict.fromkeys(("milestone", "resource", "workflow"), "{event.data.duration_s}")
    then = [{"emit": {"type": each, "data": needed}} for each in EMITTED]
    add_rule(store, {"name": "r", "on": "job.completed", "then": then})
    home.say("job.completed", data=DONE)
    ruling.work()
    assert set(ruling.statuses()) == {"done"}
    says = json.loads(files("fiveobs").joinpath("journal/schema.json").read_bytes())
    validator = Draft202012Validator(says)
    own = [
        json.loads(text)
        for stem, _, path in segment_files(fiveobs_home / "journal")
        if not stem.startswith("machine-1-")
        for text in path.read_text(encoding="utf-8").splitlines()
    ]
    assert {each["event_type"] for each in own} >= EMITTED.keys()
    assert [error.message for each in own for error in validator.iter_errors(each)] == []


def test_a_record_about_a_lost_job_leaves_it_lost(store: Store, home: Home, ruling: Ruling) -> None:
    """What a rule has done about a job is no sign of its life."""
    add_rule(store, {"name": "r", "on": "job.lost", "then": [NOTE]})
    home.say("job.lost", level="error", data={"cause": "killed", "evidence": []})
    ruling.work()
    assert len(ruling.recorded()) == 1
    with store.reading() as connection:
        assert connection.execute(select(schema.jobs.c.status)).scalar_one() == "lost"


def test_an_event_is_recorded_as_the_rule_says(store: Store, home: Home, ruling: Ruling) -> None:
    """With its placeholders replaced, about the job, and its cause beside its own data."""
    emit = {
        "type": "state.changed",
        "level": "warning",
        "message": "{event.job_name}: {event.data.status}",
        "data": {"entity": "report", "to_state": "ready", "took_s": "{event.data.duration_s}"},
    }
    row = add_rule(store, {"name": "r", "on": "job.completed", "then": [{"emit": emit}]})
    home.say("job.completed", data=DONE)
    ruling.work()
    ((event, data),) = ruling.recorded("state.changed")
    assert (event.level, event.message) == (30, "resize: completed")
    assert (data["took_s"], data["entity"]) == (2.0, "report")
    assert data["cause"]["chain"] == [row.rule_id]
    assert event.job_key == 1


def test_an_event_about_no_job_stays_in_its_project(
    store: Store, ruling: Ruling, fiveobs_home: Path
) -> None:
    """And the monitor that records it stays in its own."""
    owner = {"tenant_id": "t", "project_id": "p"}
    live(fiveobs_home, "host-9-1")
    write_segment(fiveobs_home, "host-9-1", 1, line(1, "worker.started", **owner))
    ruling.ingest()
    with store.reading() as connection:
        wanted = select(schema.projects.c.project_key).where(schema.projects.c.tenant_id == "t")
        key = connection.execute(wanted).scalar_one()
    add_rule(store, {"name": "r", "on": "worker.stopped", "then": [NOTE]}, key)
    write_segment(fiveobs_home, "host-9-1", 1, line(2, "worker.stopped", **owner))
    ruling.ingest()
    ruling.work()
    found = [*ruling.recorded(), *ruling.recorded("log")]
    assert [event.project_key for event, _ in found] == [key, key]
    with store.reading() as connection:
        of = select(schema.workers.c.project_key).where(schema.workers.c.stem != "host-9-1")
        assert key not in connection.execute(of).scalars().all()


def test_a_job_is_started_with_what_leads_it_on(store: Store, home: Home, ruling: Ruling) -> None:
    """The carrier has session, request, trace and parent; the id is the same for every try."""
    calls = Calls("launched", failures=1)
    then = [{"launch": {"launcher": calls.name, "parameters": {"of": "{event.job_id}"}}}]
    add_rule(store, {"name": "r", "on": "job.completed", "then": then})
    ids = {"trace_id": "ab" * 16, "span_id": "cd" * 8, "session_id": "s-1", "request_id": "q-1"}
    home.say("job.started", job_id="job-9", **ids)
    home.say("job.completed", job_id="job-9", data=DONE, **ids)
    ruling.work()
    ruling.now_s += 60
    ruling.work()
    first, again = calls.seen
    assert isinstance(again, Launch)
    assert first.job_id == again.job_id
    link = read_carrier(again.carrier)
    assert (link.job_id, link.parent_job_id) == (again.job_id, "job-9")
    assert (link.session_id, link.request_id) == ("s-1", "q-1")
    assert link.trace_id == "ab" * 16
    assert again.parameters == {"of": "job-9"}
    (firing,) = ruling.firings()
    assert (firing.status, firing.job_id) == ("done", again.job_id)


def test_a_name_that_is_not_registered_is_tried_again(
    store: Store, home: Home, ruling: Ruling
) -> None:
    """Another monitor, or this one's next version, may know it; the reason says what there is."""
    name = f"not-there-yet-{uuid.uuid4()}"
    then = [{"process": {"processor": name}}]
    add_rule(store, {"name": "r", "on": "job.completed", "then": then})
    home.say("job.completed", data=DONE)
    ruling.work()
    (firing,) = ruling.firings()
    assert firing.status == "pending"
    assert f"{name!r} is not registered" in firing.last_error
    calls = Calls(name)
    ruling.now_s += 60
    ruling.work()
    assert (ruling.statuses(), len(calls.seen)) == (["done"], 1)


# --- at least once ---


def test_the_place_and_what_it_led_to_are_one(
    store: Store, home: Home, ruling: Ruling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails while it is written leaves neither; then each cause has led to one firing."""
    calls = Calls("atomic")
    add_rule(store, {"name": "r", "on": "job.completed", "then": calls.then()})
    home.say("job.completed", data=DONE)
    insert = planning._insert

    def failing(*args: Any) -> None:
        insert(*args)
        raise ZeroDivisionError

    monkeypatch.setattr(planning, "_insert", failing)
    before = place(store)
    with pytest.raises(ZeroDivisionError):
        ruling.engine.step()
    assert (ruling.firings(), place(store)) == ([], before)
    monkeypatch.setattr(planning, "_insert", insert)
    ruling.work()
    assert (ruling.statuses(), len(calls.seen)) == (["done"], 1)
    assert place(store) > before


def test_a_new_engine_goes_on_where_the_last_one_was(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path
) -> None:
    """What was planned is not planned again; what happened meanwhile is."""
    calls = Calls("restarted")
    add_rule(store, {"name": "r", "on": "job.completed", "then": calls.then()})
    home.say("job.completed", data=DONE)
    ruling.work()
    home.say("job.completed", job_id="job-2", data=DONE)
    again = Ruling(store, fiveobs_home)
    again.work()
    assert [each.parameters["id"] for each in calls.seen] == ["job-1", "job-2"]
    assert ruling.statuses() == ["done", "done"]


def test_a_kill_before_the_outcome_is_written_repeats_the_action(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the same key, by whichever monitor comes, once the lease has ended."""
    calls = Calls("killed")
    add_rule(store, {"name": "r", "on": "job.completed", "then": calls.then()})
    home.say("job.completed", data=DONE)
    # As if it were killed right after the action.
    monkeypatch.setattr(ruling.engine, "_write", lambda *_: None)
    ruling.work(lambda: len(calls.seen) == 1 and not ruling.engine._under_way())
    again = Ruling(store, fiveobs_home)
    again.now_s = ruling.now_s + 30
    again.engine.step()
    assert len(calls.seen) == 1  # the lease lasts a minute
    again.now_s += 60
    again.work()
    assert calls.keys == [calls.keys[0]] * 2
    (firing,) = again.firings()
    assert (firing.status, firing.tries) == ("done", 2)


def test_a_kill_before_the_record_is_made_up_for(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has ended and was not recorded is recorded later; the action is not done again."""
    calls = Calls("unrecorded")
    add_rule(store, {"name": "r", "on": "job.completed", "then": calls.then()})
    home.say("job.completed", data=DONE)
    monkeypatch.setattr(ruling.engine, "_tell", lambda *_: None)
    ruling.work()
    assert ruling.recorded() == []
    again = Ruling(store, fiveobs_home)
    again.now_s = ruling.now_s + 60
    again.work()
    assert [data["outcome"] for _, data in again.recorded()] == ["done"]
    assert len(calls.seen) == 1


def test_an_outcome_that_could_not_be_recorded_is_recorded_later(
    store: Store, home: Home, ruling: Ruling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done, and what was left out, which is counted when it is recorded."""
    calls = Calls("unrecordable")
    written = {"name": "r", "on": "job.milestone", "then": calls.then()}
    add_rule(store, {**written, "limits": {"max_per_minute": 1}})
    home.say("job.milestone")
    home.say("job.milestone")
    with monkeypatch.context() as patched:
        patched.setattr("fiveobs.monitor.rules.engine.record_for", lambda *_: False)
        ruling.work()
    assert ruling.recorded() == []
    assert ruling.engine.counts["limited"] == 0
    ruling.now_s += 60
    ruling.engine._tell_at = 0.0
    ruling.work()
    assert sorted(data["outcome"] for _, data in ruling.recorded()) == ["done", "limited"]
    assert ruling.engine.counts["limited"] == 1
    assert len(calls.seen) == 1


def test_an_event_that_was_recorded_twice_has_one_effect(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path
) -> None:
    """A monitor that was killed has recorded an event again: its key says that it is the same."""
    calls = Calls("twice")
    add_rule(store, {"name": "second", "on": "state.changed", "then": calls.then()})
    cause = {"kind": "event", "event_id": "e", "event_type": "job.completed", "chain": ["rule-1"]}
    data = {"entity": "x", "to_state": "y", "firing_id": "fire_1", "cause": cause}
    home.say("state.changed", "state.changed", data=data)
    ruling.work()
    assert len(calls.seen) == 1
    assert ruling.statuses() == ["done"]


def test_monitors_of_one_store_do_each_thing_once(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path
) -> None:
    """Two that run at once: nothing is done by both, and nothing by neither."""
    at_once: Counter[str] = Counter()
    seen: list[str] = []
    clashes: list[str] = []
    lock = threading.Lock()

    def process(firing: Firing) -> None:
        with lock:
            at_once[firing.idempotency_key] += 1
            seen.append(firing.idempotency_key)
            if at_once[firing.idempotency_key] > 1:
                clashes.append(firing.idempotency_key)
        threading.Event().wait(0.01)
        with lock:
            at_once[firing.idempotency_key] -= 1

    register_processor("both", process)
    then = [{"process": {"processor": "both"}}]
    for number in range(3):
        add_rule(store, {"name": f"r{number}", "on": "job.completed", "then": then})
    other = Ruling(store, fiveobs_home)
    with Running(ruling.engine), Running(other.engine):
        for number in range(10):
            home.say("job.completed", job_id=f"j{number}", data=DONE)
            ruling.now_s = other.now_s = ruling.now_s + 1.1
        until(lambda: _moved(ruling, other) == ["done"] * 30, timeout_s=30, what="all of it")
    assert clashes == []
    assert len(seen) == len(set(seen)) == 30


def test_a_monitor_that_is_overtaken_leaves_the_place_where_it_is(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its reading and its writing another one has gone further: it goes on from there."""
    calls = Calls("overtaken")
    add_rule(store, awaiting(calls, within="1d"))
    home.say("job.started", job_id="j1")
    other = Ruling(store, fiveobs_home)
    planner, places = ruling.engine._planner, []
    write = planner._write

    def overtaken(*args: Any) -> bool:
        monkeypatch.undo()
        home.say("job.started", job_id="j2")
        other.work()
        places.append(place(store))
        return write(*args)

    monkeypatch.setattr(planner, "_write", overtaken)
    assert planner.step() is True
    assert [place(store)] == places
    ruling.work()
    assert [row.correlation for row in ruling.expectations()] == ["j1", "j2"]


def _moved(*rulings: Ruling) -> list[str]:
    for each in rulings:
        each.now_s += 1.1
    return rulings[0].statuses()


# --- failures ---


def test_a_rule_that_is_changed_meanwhile_is_asked_again(
    store: Store, home: Home, ruling: Ruling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading events and writing what they lead to: none is lost, and none is old."""
    calls, written = Calls("asked again"), {"name": "r", "on": "job.completed"}
    row = add_rule(store, {**written, "where": {"job_id": "nobody"}, "then": calls.then()})
    other = add_rule(store, {"name": "other", "on": "job.completed", "then": [NOTE]})
    home.say("job.completed", data=DONE)
    write = ruling.engine._planner._write

    def changed(*args: Any) -> bool:
        monkeypatch.undo()
        change_rule(store, other, {**written, "name": "other", "then": calls.then()})
        change_rule(store, row, {**written, "then": calls.then()})
        return write(*args)

    monkeypatch.setattr(ruling.engine._planner, "_write", changed)
    ruling.work()
    assert [each.rule_name for each in calls.seen].count("r") == 1
    assert [each.rule_name for each in calls.seen].count("other") == 1


def test_a_rule_in_the_place_of_a_deleted_one_is_another(
    store: Store, home: Home, ruling: Ruling
) -> None:
    """A store may give its key again: it is known by its id."""
    first, second = Calls("deleted"), Calls("instead")
    written = {"name": "r", "on": "job.milestone"}
    row = add_rule(store, {**written, "then": first.then()})
    home.say("job.milestone")
    ruling.work()
    with store.writing() as connection:
        stored.remove(connection, row.rule_key)
    add_rule(store, {**written, "then": second.then()})
    home.say("job.milestone")
    ruling.work()
    assert (len(first.seen), len(second.seen)) == (1, 1)
    assert ruling.statuses() == ["done"]


def test_what_fails_is_tried_again_later_each_time(
    store: Store, home: Home, ruling: Ruling
) -> None:
    """After the pause and not before; the key is the same."""
    calls = Calls("failing", failures=2)
    add_rule(store, {"name": "r", "on": "job.completed", "then": calls.then()})
    home.say("job.completed", data=DONE)
    ruling.work()
    (firing,) = ruling.firings()
    assert (firing.status, firing.tries, firing.last_error) == (
        "pending",
        1,
        "RuntimeError: failure 1",
    )
    ruling.now_s += 5
    ruling.work()
    assert len(calls.seen) == 1
    ruling.now_s += 5.1
    ruling.work()
    assert len(calls.seen) == 2
    ruling.now_s += 21
    ruling.work()
    assert ruling.statuses() == ["done"]
    assert len(set(calls.keys)) == 1
    assert ruling.engine.counts == {"failed": 2, "done": 1}


def test_what_fails_too_often_is_a_dead_letter_and_can_be_retried(
    store: Store, home: Home, ruling: Ruling
) -> None:
    """With the reason, recorded as an error; by hand it is done again, under its key."""
    calls = Calls("dead", failures=2)
    written = {"name": "r", "on": "job.completed", "then": calls.then()}
    row = add_rule(store, {**written, "limits": {"max_tries": 2}})
    home.say("job.completed", data=DONE)
    for _ in range(3):
        ruling.work()
        ruling.now_s += 60
    (firing,) = ruling.firings()
    assert (firing.status, firing.tries, firing.next_try_at_us) == ("dead", 2, None)
    ((event, data),) = ruling.recorded()
    assert (event.level, data["outcome"], data["reason"]) == (40, "dead", "RuntimeError: failure 2")
    with store.writing() as connection:
        ids = ["fire_unknown"]
        assert stored.retry(connection, row.rule_key, firing_ids=ids, now_us=1) == 0
        assert stored.retry(connection, row.rule_key, firing_ids=None, now_us=1) == 1
    ruling.work()
    assert ruling.statuses() == ["done"]
    assert calls.keys == [firing.firing_id] * 3
    assert [data["outcome"] for _, data in ruling.recorded()] == ["dead", "done"]


def test_a_receiver_that_is_gone_is_not_tried_again(
    store: Store, home: Home, ruling: Ruling, hook: HookReceiver
) -> None:
    """410 says so; 503 with Retry-After is waited for."""
    add_rule(store, {"name": "r", "on": "job.*", "then": [_hook(hook)]})
    hook.answers = [Answer(status=503, headers={"Retry-After": "5"}), Answer(status=410)]
    home.say("job.completed", data=DONE)
    ruling.work()
    assert ruling.statuses() == ["pending"]
    ruling.now_s += 60
    ruling.work()
    (firing,) = ruling.firings()
    assert (firing.status, firing.last_error) == ("dead", "HTTP 410")


def test_a_slow_action_keeps_its_claim(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path
) -> None:
    """The lease of what is being done is renewed, so nobody else begins with it."""
    go_on, seen = threading.Event(), []

    def process(firing: Firing) -> None:
        seen.append(firing.idempotency_key)
        assert go_on.wait(30)

    register_processor("slow", process)
    then = [{"process": {"processor": "slow"}}]
    add_rule(store, {"name": "r", "on": "job.completed", "then": then})
    home.say("job.completed", data=DONE)
    ruling.work(lambda: len(seen) == 1)
    other = Ruling(store, fiveobs_home)
    for _ in range(5):
        ruling.now_s += 40
        ruling.engine._renew()
        other.now_s = ruling.now_s + 15
        other.engine.step()
    assert len(seen) == 1
    go_on.set()
    ruling.work()
    assert ruling.statuses() == ["done"]


def test_what_is_to_be_tried_again_is_not_put_off_by_a_late_renewal(
    store: Store, home: Home, ruling: Ruling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The action has failed after its lease was found to be running out."""
    under_way: list[Any] = []

    def process(firing: Firing) -> None:
        under_way.extend(ruling.engine._under_way())
        raise RuntimeError("not now")

    register_processor("fails", process)
    then = [{"process": {"processor": "fails"}}]
    add_rule(store, {"name": "r", "on": "job.completed", "then": then})
    home.say("job.completed", data=DONE)
    ruling.work()
    (before,) = ruling.firings()
    assert (before.status, len(under_way)) == ("pending", 1)
    monkeypatch.setattr(ruling.engine, "_under_way", lambda: under_way)
    ruling.engine._renew()
    assert ruling.firings() == [before]


def test_one_rule_does_not_keep_the_others_waiting(
    store: Store, home: Home, ruling: Ruling
) -> None:
    """Of a rule whose processor hangs, some actions are under way; other rules go on."""
    go_on, slow, calls = threading.Event(), [], Calls("quick")

    def hang(firing: Firing) -> None:
        slow.append(firing)
        assert go_on.wait(30)

    register_processor("hangs", hang)
    hanging = [{"process": {"processor": "hangs"}}]
    add_rule(store, {"name": "slow", "on": "job.completed", "then": hanging})
    add_rule(store, {"name": "quick", "on": "job.failed", "then": calls.then()})
    for number in range(30):
        home.say("job.completed", job_id=f"j{number}", data=DONE)
    home.say("job.failed", job_id="last")
    ruling.work(lambda: len(calls.seen) == 1)
    assert 0 < len(slow) <= 4
    go_on.set()
    ruling.work(lambda: ruling.statuses().count("done") == 31)


def test_what_a_rule_may_do_in_a_minute_is_limited(
    store: Store, home: Home, ruling: Ruling
) -> None:
    """By the clock of the events; what is more is left out, recorded, and can be done after all."""
    calls = Calls("limited")
    written = {"name": "r", "on": "job.milestone", "then": calls.then()}
    row = add_rule(store, {**written, "limits": {"max_per_minute": 3}})
    for _ in range(5):
        home.say("job.milestone")
    ruling.work()
    assert Counter(ruling.statuses()) == {"done": 3, "limited": 2}
    for _ in range(60):
        home.say("log")  # a minute later
    home.say("job.milestone")
    ruling.work()
    assert Counter(ruling.statuses()) == {"done": 4, "limited": 2}
    ruling.now_s += 3
    ruling.engine._tell_at = 0.0
    ruling.work()
    assert [data["outcome"] for _, data in ruling.recorded()].count("limited") == 2
    with store.writing() as connection:
        assert stored.retry(connection, row.rule_key, firing_ids=None, now_us=1) == 2
    ruling.work()
    assert ruling.statuses() == ["done"] * 6


def test_a_changed_rule_does_what_is_left_as_it_says_now(
    store: Store, home: Home, ruling: Ruling
) -> None:
    """What failed because of a slip is done right once the slip is mended."""
    calls = Calls("mended")
    slip = [{"process": {"processor": "meended"}}, {"process": {"processor": "meended"}}]
    written = {"name": "r", "on": "job.completed"}
    row = add_rule(store, {**written, "then": slip})
    home.say("job.completed", data=DONE)
    ruling.work()
    change_rule(store, row, {**written, "then": calls.then()})
    ruling.now_s += 60
    ruling.work()
    assert ruling.statuses() == ["done", "dead"]
    assert "has no such action" in ruling.firings()[1].last_error
    assert len(calls.seen) == 1


def test_a_disabled_rule_waits(store: Store, home: Home, ruling: Ruling) -> None:
    """What was to be done is done once it is enabled; what happens meanwhile is not."""
    calls = Calls("disabled", failures=1)
    row = add_rule(store, {"name": "r", "on": "job.completed", "then": calls.then()})
    home.say("job.completed", data=DONE)
    ruling.work()
    with store.writing() as connection:
        row = stored.set_enabled(connection, row, is_enabled=False, now_us=1)
    ruling.now_s += 60
    home.say("job.completed", job_id="meanwhile", data=DONE)
    ruling.engine.step()
    assert len(calls.seen) == 1
    with store.writing() as connection:
        stored.set_enabled(connection, row, is_enabled=True, now_us=1)
    ruling.work()
    assert [each.parameters["id"] for each in calls.seen] == ["job-1", "job-1"]


def test_what_has_ended_long_ago_is_forgotten(store: Store, home: Home, ruling: Ruling) -> None:
    """After thirty days."""
    add_rule(store, {"name": "r", "on": "job.completed", "then": [NOTE]})
    home.say("job.completed", data=DONE)
    ruling.work()
    ruling.now_s += 29 * 24 * 3600
    ruling.engine._clean()
    assert ruling.statuses() == ["done"]
    ruling.now_s += 2 * 24 * 3600
    ruling.engine._clean()
    assert ruling.firings() == []


# --- loops ---


def emits(name: str, on: str, what: str, **more: Any) -> dict[str, Any]:
    data = {"entity": "x", "to_state": what}
    where = {"data.to_state": on}
    then = [{"emit": {"type": "state.changed", "data": data}}]
    return {"name": name, "on": "state.changed", "where": where, "then": then, **more}


def circle(ruling: Ruling) -> None:
    """Let rules act on what they have led to until nothing more comes of it."""
    for _ in range(30):
        before = len(ruling.firings())
        ruling.work()
        ruling.now_s += 3
        ruling.engine._tell_at = 0.0
        ruling.work()
        ruling.ingest()
        ruling.work()
        if len(ruling.firings()) == before:
            return
    raise AssertionError("it goes on for ever")


def test_two_rules_that_feed_each_other_are_stopped(
    store: Store, home: Home, ruling: Ruling
) -> None:
    """The one whose turn comes again is refused, and that is recorded with the job's ids."""
    first = add_rule(store, emits("ping", "a", "b"))
    second = add_rule(store, emits("pong", "b", "a"))
    home.say("state.changed", data={"entity": "x", "to_state": "a"})
    circle(ruling)
    found = ruling.firings()
    assert [each.status for each in found] == ["done", "done", "loop"]
    assert found[2].chain == [first.rule_id, second.rule_id, first.rule_id]
    assert "has led to this itself" in found[2].last_error
    ((event, data),) = [each for each in ruling.recorded() if each[1]["outcome"] == "loop"]
    assert (event.level, event.job_key, data["rule_id"]) == (30, 1, first.rule_id)
    assert ruling.engine.counts["loop"] == 1


def test_a_rule_that_may_repeat_ends_at_the_depth(store: Store, home: Home, ruling: Ruling) -> None:
    """Eight, one after the other."""
    add_rule(store, emits("again", "a", "a", allow_repeat=True))
    home.say("state.changed", data={"entity": "x", "to_state": "a"})
    circle(ruling)
    assert ruling.statuses() == ["done"] * MAX_DEPTH + ["loop"]


def test_a_rule_for_everything_is_no_loop(store: Store, home: Home, ruling: Ruling) -> None:
    """What is recorded of firings is not among what a star means; one that names it may see it."""
    calls = Calls("everything")
    add_rule(store, {"name": "all", "on": "*", "then": calls.then()})
    watching = Calls("watching", failures=9)
    where = {"data.outcome": "done"}
    named = {"name": "named", "on": "workflow.triggered", "where": where}
    add_rule(store, {**named, "then": watching.then()})
    home.say("job.completed", data=DONE)
    circle(ruling)
    of_job = [each for each in calls.seen if each.event.job_id == "job-1"]
    assert [each.event.event_type for each in of_job] == ["job.completed"]
    assert {each.event.data["workflow"] for each in watching.seen} == {"all"}


def test_a_job_that_a_rule_has_started_does_not_start_itself_again(
    store: Store, home: Home, ruling: Ruling
) -> None:
    """Its events and those of the jobs that it starts are known to come from the rule."""
    calls = Calls("itself")
    then = [{"launch": {"launcher": calls.name}}]
    add_rule(store, {"name": "r", "on": "job.completed", "then": then})
    home.say("job.completed", data=DONE)
    ruling.work()
    (launch,) = calls.seen
    home.say("job.started", "job.completed", job_id=launch.job_id, parent_job_id="job-1", data=DONE)
    home.say("job.started", "job.completed", job_id="child", parent_job_id=launch.job_id, data=DONE)
    ruling.work()
    assert ruling.statuses() == ["done", "loop", "loop"]
    assert len(calls.seen) == 1


# --- what did not happen ---


def awaiting(calls: Calls, **expect: Any) -> dict[str, Any]:
    expect = {"event": "job.milestone", "within": "10s", **expect}
    return {"name": "r", "on": "job.started", "expect": expect, "then": calls.then()}


def _at(ruling: Ruling, after_s: float) -> None:
    """Go on until this time, in seconds after the beginning of the made-up time."""
    ruling.now_s = START_S + after_s
    ruling.work()


def said(home: Path, seq: int, event_type: str, after_s: float, stem: str = "host-2-1") -> None:
    """A line of another worker's journal; it lives, so that more is looked for at once."""
    same = {"job_id": "j", "job_name": "n", "attempt": 1, "session_id": "s"}
    live(home, stem)
    write_segment(home, stem, 1, line(seq, event_type, after_s=after_s, **same))


def live(home: Path, stem: str) -> None:
    """Have a worker live until the tests end."""
    path = home / "journal" / f"{stem}{LOCK_SUFFIX}"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = StemLock(path)
    if lock.acquire(create=True):
        LOCKS.append(lock)


def test_what_does_not_happen_in_time_is_acted_on(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path
) -> None:
    """Once, after the deadline; the cause says what was awaited and until when."""
    calls = Calls("missed")
    add_rule(store, awaiting(calls))
    said(fiveobs_home, 1, "job.started", 100)
    ruling.ingest()
    _at(ruling, 109)
    assert calls.seen == []
    _at(ruling, 113)
    _at(ruling, 200)
    (firing,) = calls.seen
    assert firing.event.event_type == "job.started"
    assert firing.missed == {
        "from": "2026-01-02T03:05:45Z",
        "until": "2026-01-02T03:05:55Z",
        "correlation": "j",
    }
    ((event, data),) = ruling.recorded()
    assert data["cause"]["kind"] == "missed"
    assert [row.status for row in ruling.expectations()] == ["missed"]
    assert event.job_key is not None


def test_what_happens_in_time_is_not_acted_on(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path
) -> None:
    """Of the same job, within the time; another job's does not count."""
    calls = Calls("met")
    add_rule(store, awaiting(calls))
    said(fiveobs_home, 1, "job.started", 100)
    ruling.ingest()
    home.say("job.milestone")  # of another job
    _at(ruling, 105)
    assert [row.status for row in ruling.expectations()] == ["open"]
    said(fiveobs_home, 2, "job.milestone", 110)
    ruling.ingest()
    _at(ruling, 300)
    (row,) = ruling.expectations()
    assert (row.status, row.met_at_us) == ("fulfilled", (START_S + 110) * 1_000_000)
    assert calls.seen == []


def test_what_is_taken_in_first_counts(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path
) -> None:
    """Journals are read each by itself: what follows may come in before what it follows."""
    calls = Calls("first")
    add_rule(store, awaiting(calls))
    said(fiveobs_home, 1, "job.milestone", 105, stem="host-3-1")
    ruling.ingest()
    _at(ruling, 106)
    said(fiveobs_home, 1, "job.started", 100)
    ruling.ingest()
    _at(ruling, 300)
    assert [row.status for row in ruling.expectations()] == ["fulfilled"]
    assert calls.seen == []


@pytest.mark.parametrize(("before", "status"), [("0s", "missed"), ("5s", "fulfilled")])
def test_what_happened_before_counts_as_far_as_the_rule_says(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path, before: str, status: str
) -> None:
    """Clocks of two machines differ, and some things may come in any order."""
    calls = Calls("before")
    add_rule(store, awaiting(calls, before=before))
    said(fiveobs_home, 1, "job.milestone", 97)
    said(fiveobs_home, 2, "job.started", 100)
    ruling.ingest()
    _at(ruling, 300)
    assert [row.status for row in ruling.expectations()] == [status]


def test_what_comes_late_is_recorded(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path
) -> None:
    """After the rule has acted, and it does not act again."""
    calls = Calls("late")
    add_rule(store, awaiting(calls))
    said(fiveobs_home, 1, "job.started", 100)
    ruling.ingest()
    _at(ruling, 120)
    said(fiveobs_home, 2, "job.milestone", 121)
    ruling.ingest()
    ruling.engine._tell_at = 0.0
    _at(ruling, 130)
    ruling.engine._tell_at = 0.0
    _at(ruling, 140)
    (row,) = ruling.expectations()
    assert (row.status, row.met_at_us) == ("missed", (START_S + 121) * 1_000_000)
    assert sorted(ruling.statuses()) == ["done", "late"]
    late = [data for _, data in ruling.recorded() if data["outcome"] == "late"]
    assert "came late" in late[0]["reason"]
    assert len(calls.seen) == 1


def test_nothing_is_concluded_before_all_is_in_the_store(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path
) -> None:
    """Not before it is known how far the journals are read, nor while that is behind."""
    calls = Calls("behind")
    add_rule(store, awaiting(calls))
    said(fiveobs_home, 1, "job.started", 100)
    ruling.ingest()
    ruling.settled_s = None
    _at(ruling, 1_000)
    ruling.settled_s = 895.0  # read up to 105 s
    _at(ruling, 1_000)
    assert [row.status for row in ruling.expectations()] == ["open"]
    said(fiveobs_home, 2, "job.milestone", 108)
    ruling.ingest()
    ruling.settled_s = 0.0
    _at(ruling, 1_000)
    assert [row.status for row in ruling.expectations()] == ["fulfilled"]
    assert calls.seen == []


def test_a_restart_awaits_what_was_awaited(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path
) -> None:
    """Another engine concludes it, once."""
    calls = Calls("restart")
    add_rule(store, awaiting(calls))
    said(fiveobs_home, 1, "job.started", 100)
    ruling.ingest()
    _at(ruling, 101)
    again = Ruling(store, fiveobs_home)
    _at(again, 200)
    _at(ruling, 200)
    assert len(calls.seen) == 1


@pytest.mark.parametrize("same", ["session", "data.order"])
def test_events_of_different_jobs_are_told_by_what_they_have_in_common(
    store: Store, home: Home, ruling: Ruling, same: str
) -> None:
    """The session, or a field of the data; an event that lacks it awaits nothing."""
    calls = Calls(f"common {same}")
    expect = {"event": "job.completed", "within": "100s", "same": same}
    add_rule(store, {**awaiting(calls, **expect), "on": "job.milestone"})
    for order in ("o-1", "o-2"):
        about = {"session_id": order, "data": {"milestone": "m", "order": order}}
        home.say("job.milestone", job_id=f"first-{order}", **about)
    home.say("job.milestone", job_id="lacks it", data={"milestone": "m"})
    home.say("job.completed", job_id="second", session_id="o-1", data={**DONE, "order": "o-1"})
    _at(ruling, 1_000)
    assert [each.event.job_id for each in calls.seen] == ["first-o-2"]
    assert sorted(row.status for row in ruling.expectations()) == ["fulfilled", "missed"]


def test_texts_that_a_store_does_not_take_hold_up_nothing(
    store: Store, home: Home, ruling: Ruling
) -> None:
    """PostgreSQL takes no NUL, and neither takes half a character: events and errors have both."""

    def process(firing: Firing) -> None:
        raise RuntimeError("no \0 and no \ud800")

    register_processor("odd", process)
    expect = {"event": "job.completed", "within": "9s", "same": "data.order"}
    then = [{"process": {"processor": "odd", "parameters": {"id": "{event.data.order}"}}}]
    written = {"name": "r", "on": "job.milestone", "expect": expect, "then": then}
    add_rule(store, {**written, "limits": {"max_tries": 1}})
    chain = {"chain": ["\0", 7, *(["x" * 900] * 900)]}
    home.say("job.milestone", data={"milestone": "m", "order": "a\0b"})
    home.say("job.milestone", data={"milestone": "m", "order": "c\0d", "cause": chain})
    home.say("job.completed", data={**DONE, "order": "a\0b"})
    _at(ruling, 1_000)
    assert [row.status for row in ruling.expectations()] == ["fulfilled"]
    assert ruling.statuses() == ["loop"]
    home.say("job.milestone", data={"milestone": "m", "order": "e\0"})
    _at(ruling, 2_000)
    assert ruling.statuses() == ["loop", "dead"]
    assert ruling.firings()[1].last_error == "RuntimeError: no ? and no ?"


def test_a_changed_rule_awaits_nothing_of_before(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path
) -> None:
    """What it awaited may not be what it awaits now."""
    calls = Calls("changed")
    row = add_rule(store, awaiting(calls))
    said(fiveobs_home, 1, "job.started", 100)
    ruling.ingest()
    _at(ruling, 101)
    change_rule(store, row, awaiting(calls, within="1s"))
    _at(ruling, 300)
    assert [each.status for each in ruling.expectations()] == ["cancelled"]
    assert calls.seen == []


def test_what_was_seen_is_not_kept_for_ever(
    store: Store, home: Home, ruling: Ruling, fiveobs_home: Path
) -> None:
    """An hour beside the time that the rule gives."""
    add_rule(store, awaiting(Calls("seen")))
    said(fiveobs_home, 1, "job.milestone", 100)
    ruling.ingest()
    _at(ruling, 101)
    ruling.now_s += 3_600
    ruling.engine._clean()
    assert len(_sightings(store)) == 1
    ruling.now_s += 20
    ruling.engine._clean()
    assert _sightings(store) == []


def _sightings(store: Store) -> list[Any]:
    with store.reading() as connection:
        return list(connection.execute(select(schema.sightings)))


# --- cost ---


def test_a_long_way_is_gone_in_stretches(
    store: Store, home: Home, ruling: Ruling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much came in while no monitor ran: no look at the store takes long."""
    monkeypatch.setattr(planning, "_STRETCH_EVENTS", 7)
    monkeypatch.setattr(planning, "_BATCH_EVENTS", 2)
    calls = Calls("stretches")
    add_rule(store, {"name": "r", "on": "job.milestone", "then": calls.then()})
    for number in range(30):
        home.say(*["log"] * (number % 9), "job.milestone", job_id=f"j{number}")
    ruling.work()
    expected = [f"j{number}" for number in range(30)]
    assert sorted(each.parameters["id"] for each in calls.seen) == sorted(expected)


def test_events_that_no_rule_wants_cost_no_writing(
    store: Store, home: Home, ruling: Ruling
) -> None:
    """They are passed over by their type, and how far is only written down now and then."""
    calls = Calls("cheap")
    add_rule(store, {"name": "r", "on": "job.failed", "then": calls.then()})
    before = place(store)
    for _ in range(50):
        home.say("log")
    ruling.work()
    assert place(store) == before
    with store.writing() as connection:  # had it been written: nothing would be looked at again
        connection.execute(update(schema.rule_progress).values(event_key=before))
    home.say("job.failed")
    ruling.work()
    assert len(calls.seen) == 1
    assert place(store) > before + 50


def test_the_key_of_an_action_is_that_of_its_cause() -> None:
    """Another rule, cause or action has another one."""
    keys = {
        firing_id(rule, origin, number)
        for rule in ("rule-1", "rule-2")
        for origin in ("e-1", "e-2")
        for number in (0, 1)
    }
    assert len(keys) == 8
    assert firing_id("rule-1", "e-1", 0) == firing_id("rule-1", "e-1", 0)
