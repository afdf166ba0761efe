"""The state of jobs, workers, machines, services and documents, on every store."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select, update

from fiveobs import _control
from fiveobs._control import Run
from fiveobs.monitor.coordination.projector import KEPT_S
from fiveobs.monitor.coordination.states import (
    CompletedError,
    Expected,
    States,
    UnknownEntityError,
    VersionError,
)
from fiveobs.monitor.store import auditing, coordinating
from fiveobs.monitor.store.auditing import audit_rows
from fiveobs.monitor.store.coordinating import DOCUMENT, JOB, KINDS, Changes, Place
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import audit, entities
from tests.support.coordinated import ALICE, House, make_project

TIMEOUT_S = 60
NOTE = Place(1, DOCUMENT, "note")


@pytest.fixture
def house(store: Store, fiveobs_home: Path) -> House:
    return House(store, fiveobs_home)


# --- what is observed --------------------------------------------------------------------------


def test_a_running_job_is_observed_with_all_that_it_belongs_to(house: House) -> None:
    """The job, its worker, the machine and the service: one row each, with what each holds."""
    worker = house.worker()
    worker.job("7", "job.started")
    worker.job("7", "resource.allocated", data={"resource": "gpu-0", "amount": 8, "unit": "GiB"})
    assert house.look() == 4
    assert house.observed("job", "7") == {
        "status": "running",
        "attempt": 1,
        "runId": f"{1:016x}",
        "jobName": "etl",
        "service": "mining",
        "workerId": "w1",
        "machineId": "m1",
        "resources": [{"resource": "gpu-0", "amount": 8.0, "unit": "GiB"}],
    }
    held = {"jobs": ["7"], "jobCount": 1}
    of_worker = {"machineId": "m1", "service": "mining", "processCount": 1}
    assert house.observed("worker", "w1") == of_worker | held
    workers = {"workers": ["w1"], "workerCount": 1}
    assert house.observed("machine", "m1") == house.observed("service", "mining") == workers | held
    health = [house.health(*each) for each in (("job", "7"), ("worker", "w1"), ("machine", "m1"))]
    assert health == ["ok", "alive", "ok"]


def test_each_change_is_one_version_and_what_stays_is_none(house: House) -> None:
    """Looking again without a change writes nothing, and a sign of life alone is no change."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    worker.beat("7")
    assert house.look() == 0
    worker.job("7", "job.paused")
    house.look()
    assert (house.row("job", "7").version, house.observed("job", "7")["status"]) == (2, "paused")
    worker.job("7", "job.resumed")
    worker.job("7", "job.completed", data={"status": "completed", "duration_s": 1.0})
    house.look(5.0)
    row = house.row("job", "7")
    assert (row.version, row.health, row.over_at_us is None) == (3, "ended", False)
    assert house.observed("worker", "w1")["jobs"] == []


def test_the_last_sign_of_life_moves_without_a_version(house: House) -> None:
    """It is written now and then, of the worker and of what it runs."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    before = house.row("worker", "w1")
    worker.beat("7")
    house.look(11.0)
    after = house.row("worker", "w1")
    assert after.version == before.version
    assert (before.seen_at_us or 0) < (after.seen_at_us or 0)
    assert house.row("job", "7").seen_at_us == after.seen_at_us


def test_a_job_that_was_over_before_anybody_looked_is_no_news(house: House) -> None:
    """Short jobs cost no row."""
    worker = house.worker()
    for number in range(20):
        worker.job(f"quick-{number}", "job.started")
        worker.job(f"quick-{number}", "job.completed", data={"status": "completed"})
    house.look()
    with house.store.reading() as connection:
        kinds = connection.execute(select(entities.c.kind)).scalars().all()
    assert sorted(kinds) == ["machine", "service", "worker"]


def test_a_worker_that_falls_silent_takes_its_job_with_it(house: House) -> None:
    """The worker, the job, the machine and the service say so; and all is well when it is heard."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    house.look(25.0)
    house.look()
    silent = [house.health(*each) for each in (("worker", "w1"), ("job", "7"), ("machine", "m1"))]
    assert silent == ["silent", "silent", "degraded"]
    assert house.health("service", "mining") == "down"
    worker.beat("7")
    house.look()
    house.look()
    heard = [house.health(*each) for each in (("worker", "w1"), ("job", "7"), ("machine", "m1"))]
    assert (heard, house.health("service", "mining")) == (["alive", "ok", "ok"], "ok")


def test_a_stuck_job_is_one_and_its_worker_too(house: House) -> None:
    """As long as the warning stands."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    named = {"at_us": 1, "project_key": 1, "actor": "monitor", "action": "job.stuck"}
    with house.store.writing() as connection:
        key = auditing.note(connection, **named, target="7", outcome="warned")
    for outcome, of_job, of_worker in (("warned", "stuck", "stuck"), ("goes on", "ok", "alive")):
        with house.store.writing() as connection:
            row = update(audit).where(audit.c.audit_key == key)
            connection.execute(row.values(outcome=outcome))
        worker.job("7", "state.changed", data={"entity": "progress", "to_state": "x"})
        house.look(3.0)
        house.look(3.0)
        assert (house.health("job", "7"), house.health("worker", "w1")) == (of_job, of_worker)


def test_a_worker_that_is_heard_of_again_is_there_again(house: House) -> None:
    """Also after it was taken to have ended, because it was frozen, say."""
    worker = house.worker()
    house.look()
    house.look(301.0)
    assert house.health("worker", "w1") == "ended"
    worker.beat()
    house.look(6.0)
    house.look()
    assert (house.health("worker", "w1"), house.health("machine", "m1")) == ("alive", "ok")
    house.look(301.0)
    worker.job("7", "job.started")
    house.look()
    assert house.observed("worker", "w1")["jobs"] == ["7"]


def test_a_name_that_no_store_takes_is_passed_over(house: House) -> None:
    """A service may say anything; what it says of others with odd names is no news."""
    worker = house.worker()
    for service in ("a\0b", "x" * 300, 7, ["y"]):
        data = {"status": "degraded", "service": service, "reason": "r" * 9_999}
        worker.say("service.health_changed", data=data)
    house.look()
    assert house.health("service", "x" * 256) == "degraded"
    assert house.health("service", "mining") == "ok"
    assert house.reports == []


def test_a_turn_ends_with_the_monitor(house: House) -> None:
    """The next one need not wait until it would have run out."""
    house.worker()
    house.look()
    stop = threading.Event()
    stop.set()
    house.projector.run(stop)
    house.projector = house.make_projector()
    house.worker("w2")
    assert house.look(0.0) > 0


def test_what_has_ended_is_over(house: House) -> None:
    """A worker that says that it stops leaves nothing behind on its machine and in its service."""
    worker = house.worker()
    house.look()
    worker.say("worker.stopped", data={})
    house.look()
    ended = [house.health(*each) for each in (("worker", "w1"), ("machine", "m1"))]
    assert (ended, house.health("service", "mining")) == (["ended", "gone"], "gone")
    with house.store.reading() as connection:
        assert coordinating.open_entities(connection, KINDS) == []


def test_full_memory_is_pressure(house: House) -> None:
    """A machine whose worker has used nearly all memory that it may use."""
    worker = house.worker()
    worker.beat(memory_used_bytes=98, memory_limit_bytes=100)
    house.look()
    assert house.health("machine", "m1") == "memory_pressure"


def test_a_service_says_itself_how_it_is(house: House) -> None:
    """The worse of what it says and of what its workers show; its words are kept."""
    worker = house.worker()
    house.look()
    worker.say("service.health_changed", data={"status": "degraded", "reason": "slow disk"})
    house.look()
    assert house.health("service", "mining") == "degraded"
    reported = {"status": "degraded", "reason": "slow disk"}
    assert house.observed("service", "mining")["reported"] == reported
    other = house.make_projector()
    house.projector = other
    house.at_s += 60  # the turn of the one before is over
    worker.beat()
    house.look()
    assert house.health("service", "mining") == "degraded"
    worker.say("service.health_changed", data={"status": "healthy"})
    house.look()
    assert house.health("service", "mining") == "ok"


def test_failing_jobs_make_their_service_degraded(house: House) -> None:
    """Half of those that ended lately, and five at least."""
    worker = house.worker()
    house.look()
    for number in range(5):
        worker.job(f"bad-{number}", "job.started")
        worker.job(f"bad-{number}", "job.failed", level="error", data={"status": "failed"})
    house.look(11.0)
    house.look()
    assert house.health("service", "mining") == "degraded"
    assert house.observed("service", "mining")["failedLately"] == 5


def test_one_of_several_monitors_observes(house: House) -> None:
    """The other one writes nothing until the turn of the first is over, and then goes on."""
    worker = house.worker()
    house.look()
    first, second = house.projector, house.make_projector()
    worker.job("7", "job.started")
    house.projector = second
    assert house.look() == 0
    house.projector = first
    assert house.look() > 0
    worker.job("7", "job.paused")
    house.projector = second
    worker.beat("7")
    house.look(16.0)
    assert house.observed("job", "7")["status"] == "paused"
    house.projector = first
    worker.job("7", "job.resumed")
    assert house.look(0.0) == 0


def test_what_is_over_is_dropped_after_a_day(house: House) -> None:
    """And a watch that has not seen its last change is told that it missed something."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    worker.job("7", "job.completed", data={"status": "completed"})
    house.look(5.0)
    last = house.row("job", "7").change_key
    worker.beat()
    house.look(KEPT_S + 61.0)
    with house.store.reading() as connection:
        assert coordinating.entity_of(connection, Place(1, JOB, "7")) is None
        assert coordinating.position(connection, "dropped") == last


# --- compare and set ---------------------------------------------------------------------------


@pytest.fixture
def states(store: Store) -> States:
    make_project(store)
    return States(store)


def test_what_has_another_version_is_left_alone(states: States) -> None:
    """The refusal says which it has; each change is one more, a removal included."""
    made = states.set(ALICE, NOTE, {"owner": "a"}, Expected(is_new=True))
    assert made.version == 1
    with pytest.raises(VersionError) as refused:
        states.set(ALICE, NOTE, {"owner": "b"}, Expected(is_new=True))
    assert refused.value.version == 1
    assert states.set(ALICE, NOTE, {"owner": "b"}, Expected(version=1)).version == 2
    with pytest.raises(VersionError):
        states.set(ALICE, NOTE, {"owner": "c"}, Expected(version=1))
    assert orjson.loads(states.get(NOTE).desired or "") == {"owner": "b"}
    assert states.set(ALICE, NOTE, None, Expected(version=2)).version == 3
    for missing in (Expected(version=3), Expected()):
        with pytest.raises(UnknownEntityError):
            states.set(ALICE, NOTE, {}, missing)
    assert states.set(ALICE, NOTE, {}, Expected(is_new=True)).version == 4


def test_every_change_is_in_the_trail(states: States, store: Store) -> None:
    """Who, what, why and which version; not what a document holds."""
    states.set(ALICE, NOTE, {"secret": "x"}, Expected(is_new=True))
    states.set(ALICE, NOTE, None, Expected(version=1))
    rows = audit_rows(store, 1, limit=9)
    assert [(row.actor, row.action, row.target) for row in rows] == [
        ("alice", "state.removed", "note"),
        ("alice", "state.set", "note"),
    ]
    assert [row.details for row in rows] == [
        {"kind": "document", "version": version, "tokenId": "t1"} for version in (2, 1)
    ]


def test_of_those_who_race_one_wins_each_version(store: Store) -> None:
    """What eight threads add by comparing and setting is all there; no version was won twice."""
    make_project(store)
    states = States(store)
    states.set(ALICE, NOTE, {"count": 0}, Expected(is_new=True))
    won: list[int] = []
    start = threading.Barrier(8)

    def add() -> None:
        start.wait(TIMEOUT_S)
        for _ in range(10):
            while True:
                row = states.get(NOTE)
                count = orjson.loads(row.desired or "")["count"] + 1
                try:
                    done = states.set(ALICE, NOTE, {"count": count}, Expected(version=row.version))
                except VersionError:
                    continue
                won.append(done.version)
                break

    threads = [threading.Thread(target=add) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(TIMEOUT_S)
    assert orjson.loads(states.get(NOTE).desired or "") == {"count": 80}
    assert sorted(won) == list(range(2, 82))


def test_changes_are_seen_in_the_order_of_commits(store: Store) -> None:
    """Who reads after a place while others write misses nothing: keys never appear behind it."""
    make_project(store)
    states, over = States(store), threading.Event()
    names = [f"doc-{number}" for number in range(4)]
    for each in names:
        states.set(ALICE, Place(1, DOCUMENT, each), {"n": 0}, Expected(is_new=True))

    def write(name: str) -> None:
        for number in range(1, 16):
            states.set(ALICE, Place(1, DOCUMENT, name), {"n": number}, Expected())

    seen: dict[str, int] = {}
    places = [0]

    def follow() -> None:
        is_last = False
        while not is_last:
            is_last = over.is_set()
            with store.reading() as connection:
                end = coordinating.position(connection, "changes")
                rows = coordinating.changed_after(connection, 1, places[-1], up_to=end, limit=999)
            for row in rows:
                assert row.change_key > places[-1]
                number = orjson.loads(row.desired or "")["n"]
                assert number >= seen.get(row.entity_id, 0)
                seen[row.entity_id] = number
                places.append(row.change_key)
            places.append(end)

    threads = [threading.Thread(target=write, args=(each,)) for each in names]
    reader = threading.Thread(target=follow)
    for each in (reader, *threads):
        each.start()
    for each in threads:
        each.join(TIMEOUT_S)
    over.set()
    reader.join(TIMEOUT_S)
    assert seen == dict.fromkeys(names, 15)
    assert places[-1] == 64


def test_the_list_is_read_page_by_page(house: House) -> None:
    """By kind and id, each once; by kind and health where that is asked."""
    for each in ("w1", "w2", "w3"):
        house.worker(each)
    house.look()
    house.states.set(ALICE, NOTE, {}, Expected(is_new=True))
    found: list[tuple[str, str]] = []
    while page := house.states.list(1, None, None, found[-1] if found else None, 2):
        found += [(row.kind, row.entity_id) for row in page]
    assert found == [
        *(("document", "note"), ("machine", "m1"), ("service", "mining")),
        *(("worker", "w1"), ("worker", "w2"), ("worker", "w3")),
    ]
    assert [row.entity_id for row in house.states.list(1, None, "ok", None, 9)] == ["m1", "mining"]
    assert [
        row.entity_id for row in house.states.list(1, "worker", "alive", ("worker", "w1"), 9)
    ] == [*("w2", "w3")]
    assert house.states.list(2, None, None, None, 9) == []


# --- what is desired ---------------------------------------------------------------------------


def asked(house: House, run: int = 1) -> Any:
    """What the run of a job would find at its checkpoint."""
    found = _control.requested(house.home, Run("7", attempt=1, span_id=f"{run:016x}"))
    return None if found is None else (found.action, found.is_standing)


def desired(house: House) -> Any:
    row = house.row("job", "7")
    return None if row.desired is None else orjson.loads(row.desired)["status"]


def test_what_is_asked_for_is_what_is_desired(house: House) -> None:
    """Pause, resume and stop set it; a stop that was followed is done with."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    house.control.ask(house.who, "7", "pause", "lunch")
    row = house.row("job", "7")
    assert (desired(house), row.desired_by, row.desired_reason) == ("paused", "alice", "lunch")
    worker.job("7", "job.paused")
    house.settle()
    house.control.ask(house.who, "7", "resume")
    assert desired(house) == "running"
    worker.job("7", "job.resumed")
    house.settle()
    house.control.ask(house.who, "7", "stop")
    assert desired(house) == "stopped"
    worker.job("7", "job.stopped", data={"status": "stopped"})
    house.settle()
    assert desired(house) is None


def test_what_is_desired_is_asked_for(house: House) -> None:
    """Once, by the monitor, with the reason; the job finds it at its next checkpoint."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    version = house.row("job", "7").version
    house.states.set(ALICE, Place(1, JOB, "7"), {"status": "paused"}, Expected(version=version))
    for _ in range(3):
        house.settle()
    assert asked(house) == ("pause", False)
    rows = [row for row in audit_rows(house.store, 1, limit=9) if row.action == "job.pause"]
    assert [(row.actor, row.outcome) for row in rows] == [("monitor", "requested")]
    assert rows[0].reason == (
        "alice wants it paused: the database moves; it is running in attempt 1 on w1"
    )


def test_a_paused_job_is_paused_in_its_next_run_too(house: House) -> None:
    """What it has followed stands: a run that begins elsewhere finds it at its first checkpoint."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    house.control.ask(house.who, "7", "pause")
    worker.job("7", "job.paused")
    house.settle()
    assert asked(house, run=2) == ("pause", True)
    other = house.worker("w2")
    other.job("7", "job.started", run=2)
    house.settle()
    assert asked(house, run=2) == ("pause", True)
    other.job("7", "job.paused", run=2)
    house.settle()
    assert house.observed("job", "7")["workerId"] == "w2"
    house.control.ask(house.who, "7", "resume")
    assert asked(house, run=2) == ("resume", False)
    other.job("7", "job.resumed", run=2)
    house.settle(3.0)
    assert asked(house, run=3) is None


def test_a_run_that_began_before_the_request_stood_is_asked_anew(house: House) -> None:
    """The first run ended without having followed; its request was for it alone."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    house.control.ask(house.who, "7", "pause")
    house.worker("w2").job("7", "job.started", run=2)
    house.settle()
    assert asked(house, run=2) == ("pause", False)


@pytest.mark.parametrize("ending", ["failed", "interrupted", "cancelled"])
def test_a_job_that_ended_otherwise_leaves_the_request_to_its_next_run(
    house: House, ending: str
) -> None:
    """It may be run again; that is noted once."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    house.control.ask(house.who, "7", "pause")
    _control.clear(house.home, "7")  # as the worker does
    worker.job("7", f"job.{ending}", data={"status": ending})
    for _ in range(3):
        house.settle()
    assert asked(house, run=2) == ("pause", True)
    rows = [row for row in audit_rows(house.store, 1, limit=9) if row.actor == "monitor"]
    assert [(row.action, row.outcome) for row in rows] == [
        ("state.reconciled", "left for the next run")
    ]
    assert rows[0].reason == "alice wants it paused; no run of it is there"


def test_a_job_that_has_completed_is_left_alone(house: House) -> None:
    """What was desired is forgotten, nothing stands for a later job of its id."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    house.control.ask(house.who, "7", "pause")
    worker.job("7", "job.paused")
    house.settle()
    worker.job("7", "job.resumed")
    worker.job("7", "job.completed", data={"status": "completed"})
    house.settle(5.0)
    house.settle(5.0)
    assert (desired(house), asked(house, run=2)) == (None, None)
    with pytest.raises(CompletedError):
        house.states.set(ALICE, Place(1, JOB, "7"), {"status": "paused"}, Expected())


def test_whoever_wants_it_stopped_has_later_runs_stopped_too(house: House) -> None:
    """A request to stop is done with once it is followed; what is set as desired stays."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    house.states.set(ALICE, Place(1, JOB, "7"), {"status": "stopped"}, Expected())
    house.settle()
    worker.job("7", "job.stopped", data={"status": "stopped"})
    house.settle()
    assert asked(house, run=2) == ("stop", True)
    house.states.set(ALICE, Place(1, JOB, "7"), None, Expected())
    house.settle(3.0)
    assert asked(house, run=2) is None


def test_a_job_that_does_not_follow_is_given_up(house: House) -> None:
    """Each new run is asked once, later each time, and after five of them no more: it says why."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    house.states.set(ALICE, Place(1, JOB, "7"), {"status": "paused"}, Expected())
    tries: list[int] = []
    for run in range(2, 10):
        house.settle(70.0)
        worker.beat("7")
        tries.append(house.row("job", "7").tries)
        worker.job("7", "job.started", run=run)
    assert tries == [1, 2, 3, 4, 5, 5, 5, 5]
    assert house.row("job", "7").given_up == "it was asked 5 times and has not followed"
    assert house.reconciler.asked == 5
    assert audit_rows(house.store, 1, limit=1)[0].outcome == "given up"
    house.states.set(ALICE, Place(1, JOB, "7"), {"status": "paused"}, Expected())
    assert house.row("job", "7").given_up is None


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_a_stop_that_came_too_late_is_no_trap(house: House, ending: str) -> None:
    """The job has ended, as was wanted: whoever runs it again means it."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    house.control.ask(house.who, "7", "stop")
    worker.job("7", f"job.{ending}", data={"status": ending})
    house.settle(3.0)
    house.settle(3.0)
    assert (desired(house), asked(house, run=2)) == (None, None)


def test_a_stop_outlives_its_worker(house: House) -> None:
    """The run was lost before it looked: the next one is stopped."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    house.control.ask(house.who, "7", "stop")
    worker.job("7", "job.lost", data={"cause": "killed by signal"})
    house.settle(3.0)
    assert (house.health("job", "7"), asked(house, run=2)) == ("lost", ("stop", True))
    assert house.row("job", "7").over_at_us is not None
    worker.job("7", "job.progress", data={"percent": 1.0})
    worker.job("7", "state.changed", data={"entity": "job", "to_state": "running"})
    house.look()
    assert (house.health("job", "7"), house.row("job", "7").over_at_us) == ("ok", None)


def test_who_resumes_meanwhile_has_the_last_word(house: House) -> None:
    """What the reconciler has read before is not made to stand."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    house.control.ask(house.who, "7", "pause")
    worker.job("7", "job.paused")
    house.look()
    with house.store.reading() as connection:
        (job,) = coordinating.desired_jobs(connection, 0, 9)
    house.control.ask(house.who, "7", "resume")
    house.reconciler._settle(job)
    assert asked(house) == ("resume", False)


def test_it_is_not_asked_again_at_once(house: House) -> None:
    """The pause grows with each try; a run that comes before its end waits."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    house.states.set(ALICE, Place(1, JOB, "7"), {"status": "paused"}, Expected())
    house.settle()
    worker.job("7", "job.started", run=2)
    house.settle(0.5)
    assert house.reconciler.asked == 1
    house.settle(0.6)
    assert house.reconciler.asked == 2


@pytest.mark.parametrize("is_known", [True, False])
def test_a_run_that_somebody_asked_is_not_asked_again_at_once(
    house: House, *, is_known: bool
) -> None:
    """It has followed, and what it says of that is on its way."""
    worker = house.worker()
    worker.job("7", "job.started")
    if is_known:
        house.look()
    else:
        house.take()
    house.control.ask(house.who, "7", "stop", "enough")
    _control.clear(house.home, Run("7"))
    house.settle(0.5)
    house.settle(0.4)
    worker.job("7", "job.stopped", data={"status": "stopped"})
    house.settle(3.0)
    assert [(row.actor, row.reason) for row in audit_rows(house.store, 1, limit=9)] == [
        (house.who.name, "enough")
    ]
    assert house.reconciler.asked == 0


def test_a_run_that_could_not_be_asked_is_asked_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked was told that it could not be written; what they want stays."""
    worker = house.worker()
    worker.job("7", "job.started")
    house.look()

    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "no space left")

    with monkeypatch.context() as broken:
        broken.setattr(_control, "request", fail)
        with pytest.raises(OSError, match="no space"):
            house.control.ask(house.who, "7", "pause")
        house.reconciler.step()
    house.settle(2.0)
    assert asked(house) == ("pause", False)


def test_a_request_that_cannot_be_written_is_tried_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds up no other job, and counts as a try."""
    worker = house.worker()
    for job_id in ("7", "8"):
        worker.job(job_id, "job.started")
    house.look()
    for job_id in ("7", "8"):
        house.states.set(ALICE, Place(1, JOB, job_id), {"status": "paused"}, Expected())
    write = _control.request

    def fail(home: Path, run: Run, *args: Any, **kwargs: Any) -> None:
        if run.job_id == "7":
            raise OSError(28, "no space left")
        write(home, run, *args, **kwargs)

    with monkeypatch.context() as broken:
        broken.setattr(_control, "request", fail)
        with pytest.raises(OSError, match="no space"):
            house.reconciler.step()
    assert _control.requested(house.home, Run("8")) is not None
    house.settle(2.0)
    assert (asked(house), house.row("job", "7").tries) == (("pause", False), 2)


def test_two_monitors_ask_once(house: House) -> None:
    """Whoever comes second finds that this version was seen to."""
    from fiveobs.monitor.coordination.reconciler import Reconciler

    worker = house.worker()
    worker.job("7", "job.started")
    house.look()
    house.states.set(ALICE, Place(1, JOB, "7"), {"status": "paused"}, Expected())
    other = Reconciler(house.store, house.home, house.control, now=house.now)
    house.reconciler.step()
    _control.clear(house.home, Run("7"))
    other.step()
    house.reconciler.step()
    assert house.reconciler.asked + other.asked == 1


def test_a_job_that_runs_elsewhere_is_not_asked(house: House) -> None:
    """What a connector reports has no checkpoint of ours: that is said at once."""
    worker = house.worker()
    worker.job("7", "job.started", span_id=None)
    house.look()
    house.states.set(ALICE, Place(1, JOB, "7"), {"status": "paused"}, Expected())
    house.settle()
    row = house.row("job", "7")
    assert row.given_up == "it runs where fiveobs does not: a connector reports it"
    assert house.reconciler.asked == 0


def test_a_write_without_a_turn_is_refused(house: House) -> None:
    """Whoever lost the turn while it looked writes nothing of what it saw."""
    house.worker()
    house.look()
    with house.store.writing() as connection:
        coordinating.take_turn(connection, "other", 2**62, 2**62)
        assert not Changes(connection, 1).is_turn_of(house.projector._holder)
    house.worker("w2")
    assert house.look() == 0
