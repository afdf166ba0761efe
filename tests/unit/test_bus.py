"""The bus: who gets which event, in which order, and what becomes of what nobody could handle."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import logging
import os
import tempfile
import threading
import time
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiveobs import _bus, _report, _subscription
from fiveobs._bus import Bus, DeadLetter
from fiveobs.journal import dead_letters as letters_module
from fiveobs.types import JobEvent

DEADLINE_S = 20.0


def soon() -> float:
    return time.monotonic() + DEADLINE_S


def wait_until(bus: Bus, condition: Callable[[], bool]) -> None:
    """Wait while the bus is never quite done."""
    deadline = soon()
    while not condition() and time.monotonic() < deadline:
        bus.flush(time.monotonic() + 0.01)
    assert condition()


def event(event_type: str = "job.started", job_id: str | None = "a", **fields: Any) -> JobEvent:
    record = {"id": f"e{next(_seq)}", "event_type": event_type, "machine_id": "m/1", **fields}
    return JobEvent(record | ({"job_id": job_id} if job_id else {}))


_seq = iter(range(1, 10**9))


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    made = Bus(tmp_path)
    yield made
    for inbox in made.inboxes:
        inbox.is_cancelled = True
    made.close(time.monotonic())


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    _report.forget()


class Recorder:
    """A handler that keeps what it gets, and refuses the first tries where told to."""

    def __init__(self, refuse: Callable[[JobEvent, int], bool] = lambda *_: False) -> None:
        self.seen: list[JobEvent] = []
        self.tries: dict[str, int] = defaultdict(int)
        self._refuse = refuse

    def __call__(self, event: JobEvent) -> None:
        self.tries[event.id] += 1
        if self._refuse(event, self.tries[event.id]):
            raise ValueError(f"no {event.event_type}")
        self.seen.append(event)

    @property
    def types(self) -> list[str]:
        return [one.event_type for one in self.seen]


class Gate:
    """A handler that waits until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, event: JobEvent) -> None:
        self.entered.set()
        assert self.opened.wait(DEADLINE_S)


# --- who gets what ---


@pytest.mark.parametrize(
    ("pattern", "matched", "not_matched"),
    [
        ("job.started", ["job.started"], ["job.started2", "job", "xjob.started", "job-started"]),
        ("job.*", ["job.started", "job.a.b"], ["job", "job.", "jobs.started", "stage.started"]),
        ("*", ["log", "job.started", "a.b.c"], []),
        ("*.failed", ["job.failed", "stage.failed"], ["failed", "a.b.failed", "job.failed.x"]),
        ("*.*", ["job.failed", "a.b.c"], ["log"]),
        ("a.*.c", ["a.b.c"], ["a.c", "a.b.b.c"]),
        ("job.comp*", ["job.completed"], ["job.cancelled", "job.comp.x"]),
        (["log", "stage.*"], ["log", "stage.failed"], ["job.failed", "logs"]),
    ],
)
def test_a_pattern_matches_whole_types(
    pattern: str | list[str], matched: list[str], not_matched: list[str], bus: Bus
) -> None:
    """A ``*`` stands for something within a segment, and as the last segment for the rest."""
    recorder = Recorder()
    bus.subscribe(pattern, recorder)
    for event_type in [*not_matched, *matched]:
        bus.publish(event(event_type))
    assert bus.flush(soon())
    assert recorder.types == matched


@pytest.mark.parametrize("pattern", ["", " ", ".", "job.", ".job", "a..b", "**", "job started", []])
def test_a_pattern_that_matches_nothing_is_refused(pattern: Any, bus: Bus) -> None:
    """A mistake in a pattern raises where the subscription is made."""
    with pytest.raises(ValueError, match=r"matches|pattern"):
        bus.subscribe(pattern, Recorder())


def test_what_cannot_be_a_subscription_is_refused(bus: Bus) -> None:
    """Each wrong argument raises where the subscription is made, and says what is valid."""
    wrong: Any = None
    for wrong in (3, [3], None):
        with pytest.raises(TypeError, match=r"job\.\*"):
            bus.subscribe(wrong, Recorder())
    for wrong in ("no", 3):
        with pytest.raises(TypeError, match="cannot be called"):
            bus.subscribe("*", wrong)
    with pytest.raises(TypeError, match="service"):
        bus.subscribe("*", Recorder(), service=wrong)
    with pytest.raises(TypeError, match="loop"):
        bus.subscribe("*", Recorder(), loop=wrong)
    for numbers in ({"retries": -1}, {"first_backoff_s": -1}, {"max_backoff_s": float("nan")}):
        with pytest.raises(ValueError):
            bus.subscribe("*", Recorder(), **numbers)
    assert not bus.has_subscribers


def test_a_subscription_may_be_for_one_service(bus: Bus) -> None:
    """With ``service=``, events of other services are not delivered."""
    recorder = Recorder()
    bus.subscribe("*", recorder, service="mining")
    bus.publish(event("job.started", service="mining"))
    bus.publish(event("job.failed", service="thumbnails"))
    bus.publish(event("log"))
    assert bus.flush(soon())
    assert recorder.types == ["job.started"]


def test_a_decorator_leaves_the_function_as_it_is(bus: Bus) -> None:
    """``@bus.subscribe`` returns the very function, which is then called."""
    seen = []

    def note(event: JobEvent) -> None:
        seen.append(event.event_type)

    assert bus.subscribe("job.*", retries=0)(note) is note
    bus.publish(event())
    assert bus.flush(soon())
    assert seen == ["job.started"]


def test_a_cancelled_subscription_gets_nothing_more(bus: Bus) -> None:
    """After ``cancel`` nothing is delivered, also not what waited, and nothing is pending."""
    gate, recorder = Gate(), Recorder()
    first = bus.subscribe("job.started", gate)
    second = bus.subscribe("job.*", recorder)
    bus.publish(event())
    assert gate.entered.wait(DEADLINE_S)
    second.cancel()
    second.cancel()
    bus.publish(event("job.completed"))
    gate.opened.set()
    assert bus.flush(soon())
    assert recorder.seen == []
    assert (first.delivered, second.delivered, second.pending) == (1, 0, 0)
    first.cancel()
    assert not bus.has_subscribers


def test_a_subscription_cancelled_while_it_retries_is_forgotten(bus: Bus) -> None:
    """A retry that is due after ``cancel`` does not happen, and leaves no dead letter."""
    recorder = Recorder(lambda *_: True)
    subscription = bus.subscribe("*", recorder, first_backoff_s=0.001)

    def cancel_at_second_try(event: JobEvent) -> None:
        if recorder.tries:
            subscription.cancel()

    bus.subscribe("*", cancel_at_second_try)
    bus.publish(event())
    bus.publish(event(job_id="b"))
    assert bus.flush(soon())
    bus.close(soon())
    assert bus.dead_letters() == []


def test_without_subscribers_nothing_is_started(bus: Bus) -> None:
    """An event that nobody wants starts no thread and waits nowhere."""
    bus.publish(event())
    bus.subscribe("stage.*", Recorder())
    bus.publish(event("job.started"))
    assert bus._dispatcher is None
    assert bus.pending == 0


def test_handlers_run_outside_of_any_job(bus: Bus) -> None:
    """A handler sees no context variable of the job that made the event, nor of another call."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen = []

    def look(event: JobEvent) -> None:
        seen.append((variable.get(), threading.current_thread().name))
        variable.set("left by a handler")

    bus.subscribe("*", look)
    token = variable.set("the job's")
    bus.publish(event())
    bus.publish(event(job_id="b"))
    variable.reset(token)
    assert bus.flush(soon())
    assert seen == [("none", "fiveobs-bus")] * 2


def test_what_a_handler_publishes_is_delivered(bus: Bus) -> None:
    """A handler may publish events and subscribe others."""
    recorder = Recorder()

    def follow(start: JobEvent) -> None:
        bus.subscribe("workflow.*", recorder)
        bus.publish(event("workflow.triggered", job_id=start.job_id))

    bus.subscribe("job.started", follow)
    bus.publish(event())
    assert bus.flush(soon())
    assert recorder.types == ["workflow.triggered"]


# --- order and retries ---


def test_a_failing_handler_is_called_again(bus: Bus) -> None:
    """A handler that raises twice gets the event a third time, and nothing goes to the dead."""
    recorder = Recorder(lambda _, tries: tries <= 2)
    subscription = bus.subscribe("*", recorder, first_backoff_s=0.001)
    bus.publish(event())
    assert bus.flush(soon())
    assert list(recorder.tries.values()) == [3]
    assert (subscription.delivered, subscription.failed, subscription.pending) == (1, 0, 0)
    assert bus.dead_letters() == []


def test_pauses_double_up_to_the_longest() -> None:
    """The pause doubles with each try, half of it is jitter, and no number of tries overflows."""
    retry = _subscription.Retry(9, 0.1, 1.0)
    assert [retry.backoff_s(n, 1.0) for n in (1, 2, 3, 4, 5)] == [0.1, 0.2, 0.4, 0.8, 1.0]
    assert retry.backoff_s(1, 0.0) == 0.05
    assert retry.backoff_s(100_000, 1.0) == 1.0


def test_other_jobs_are_not_held_up(bus: Bus) -> None:
    """While one job's event waits for another try, events of other jobs are delivered."""
    held = Recorder(lambda one, _: one.job_id == "held")
    subscription = bus.subscribe("*", held, first_backoff_s=30.0)
    first = event("job.started", "held")
    bus.publish(first)
    bus.publish(event("job.completed", "held"))
    others = [event("job.started", f"job-{n}") for n in range(50)]
    for one in others:
        bus.publish(one)
    wait_until(bus, lambda: len(held.seen) == 50)
    assert held.seen == others
    assert subscription.pending == 2
    assert held.tries[first.id] == 1


def test_later_events_of_the_job_wait_behind(bus: Bus) -> None:
    """Events of a job stay in order for a subscription, also when the first needs three tries."""
    recorder = Recorder(lambda one, tries: one.event_type == "job.started" and tries < 3)
    bus.subscribe("*", recorder, first_backoff_s=0.005)
    for event_type in ("job.started", "job.progress", "job.completed"):
        bus.publish(event(event_type))
    assert bus.flush(soon())
    assert recorder.types == ["job.started", "job.progress", "job.completed"]


def test_one_subscription_does_not_hold_up_another(bus: Bus) -> None:
    """Of the same event, the subscription that fails waits; the other has it at once."""
    recorder = Recorder()
    failing = bus.subscribe("*", Recorder(lambda *_: True), first_backoff_s=30.0)
    bus.subscribe("*", recorder)
    bus.publish(event("job.started"))
    bus.publish(event("job.completed"))
    wait_until(bus, lambda: len(recorder.seen) == 2)
    assert recorder.types == ["job.started", "job.completed"]
    assert failing.pending == 2


@settings(max_examples=25, deadline=None)
@given(
    jobs=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    fails=st.dictionaries(st.integers(0, 59), st.integers(1, 4), max_size=20),
)
def test_order_is_kept_for_each_job(jobs: list[int], fails: dict[int, int]) -> None:
    """Whatever fails how often, each job's events arrive in order or end as dead letters."""
    with tempfile.TemporaryDirectory() as home:
        keeps_order(Bus(Path(home)), jobs, fails)


def keeps_order(made: Bus, jobs: list[int], fails: dict[int, int]) -> None:
    events = [event("job.progress", f"job-{job}", seq=n) for n, job in enumerate(jobs)]
    recorder = Recorder(lambda one, tries: tries <= fails.get(one.seq, 0))
    subscription = made.subscribe("*", recorder, retries=3, first_backoff_s=0.0001)
    for one in events:
        made.publish(one)
    assert made.flush(soon())
    made.close(soon())
    expected = [one for one in events if fails.get(one.seq, 0) <= 3]
    for job in set(jobs):
        assert [one.seq for one in recorder.seen if one.job_id == f"job-{job}"] == [
            one.seq for one in expected if one.job_id == f"job-{job}"
        ]
    assert subscription.delivered == len(expected)
    assert subscription.failed == len(events) - len(expected)


def test_many_threads_publish_in_order(bus: Bus) -> None:
    """Eight jobs in eight threads: every event arrives, each job's in its order."""
    recorder = Recorder(lambda one, tries: one.seq % 97 == 0 and tries == 1)
    bus.subscribe("*", recorder, first_backoff_s=0.0005)

    def run(job: int) -> None:
        for n in range(500):
            bus.publish(event("job.progress", f"job-{job}", seq=n))

    threads = [threading.Thread(target=run, args=(job,)) for job in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bus.flush(soon())
    for job in range(8):
        assert [e.seq for e in recorder.seen if e.job_id == f"job-{job}"] == list(range(500))


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_no_exception_of_a_handler_ends_the_thread(error: BaseException, bus: Bus) -> None:
    """A handler that exits fails like any other, and the next event is delivered."""
    recorder = Recorder()

    def leave(event: JobEvent) -> None:
        raise error

    bus.subscribe("job.started", leave, retries=0)
    bus.subscribe("job.*", recorder)
    bus.publish(event("job.started"))
    bus.publish(event("job.completed"))
    assert bus.flush(soon())
    assert recorder.types == ["job.started", "job.completed"]
    assert [letter.reason.split(":")[0] for letter in bus.dead_letters()] == [type(error).__name__]


# --- event loops ---


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join(DEADLINE_S)
    made.close()


async def do_nothing(event: JobEvent) -> None:
    """A handler that would never run."""


class AsyncCallable:
    async def __call__(self, event: JobEvent) -> None:
        """A handler that would never run."""


@pytest.mark.parametrize(
    "handler",
    [do_nothing, functools.partial(do_nothing), AsyncCallable()],
    ids=["function", "partial", "object"],
)
def test_a_coroutine_function_needs_a_loop(handler: Any, bus: Bus) -> None:
    """An ``async def`` without ``loop=`` is refused, with what to do about it."""
    with pytest.raises(TypeError, match=r"loop=asyncio\.get_running_loop"):
        bus.subscribe("*", handler)


def test_a_coroutine_in_disguise_fails(bus: Bus) -> None:
    """What a plain handler returns is not awaited: it is closed, and the event is dead."""

    def disguised(event: JobEvent) -> object:
        return do_nothing(event)

    bus.subscribe("*", disguised, retries=0, name="disguised")
    bus.publish(event())
    assert bus.flush(soon())
    (letter,) = bus.dead_letters()
    assert letter.reason == "TypeError: disguised returned an awaitable: subscribe it with loop="


def test_a_handler_runs_in_its_loop(bus: Bus, loop: asyncio.AbstractEventLoop) -> None:
    """With ``loop=``, handlers run there, are retried, and keep the order of each job."""
    tries: dict[str, int] = defaultdict(int)
    seen = []

    async def handle(event: JobEvent) -> None:
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0)
        tries[event.id] += 1
        if event.event_type == "job.started" and tries[event.id] < 3:
            raise ValueError("not yet")
        seen.append((event.job_id, event.event_type))

    subscription = bus.subscribe("*", handle, loop=loop, first_backoff_s=0.001)
    plain = Recorder()
    bus.subscribe("*", plain, loop=loop)
    for event_type in ("job.started", "job.progress", "job.completed"):
        for job_id in "ab":
            bus.publish(event(event_type, job_id))
    assert bus.flush(soon())
    for job_id in "ab":
        types = [event_type for job, event_type in seen if job == job_id]
        assert types == ["job.started", "job.progress", "job.completed"]
    assert subscription.delivered == len(plain.seen) == 6


def test_a_closed_loop_ends_in_dead_letters(bus: Bus) -> None:
    """Events for a loop that is gone are not lost, and nothing else is held up."""
    gone = asyncio.new_event_loop()
    gone.close()
    recorder = Recorder()
    bus.subscribe("*", do_nothing, loop=gone, retries=1, first_backoff_s=0.001)
    bus.subscribe("*", recorder)
    bus.publish(event())
    assert bus.flush(soon())
    assert [letter.attempts for letter in bus.dead_letters()] == [2]
    assert recorder.types == ["job.started"]


def test_a_loop_that_stands_still_does_not_hold_up_the_end(bus: Bus) -> None:
    """``close`` keeps its deadline, and what the loop never handled is a dead letter."""
    idle = asyncio.new_event_loop()
    subscription = bus.subscribe("*", do_nothing, loop=idle)
    bus.publish(event("job.started"))
    bus.publish(event("job.completed"))
    assert not bus.close(time.monotonic() + 0.1)
    letters = bus.dead_letters()
    assert [letter.event.event_type for letter in letters] == ["job.started", "job.completed"]
    assert subscription.failed == 2
    idle.run_until_complete(asyncio.sleep(0))
    idle.close()


# --- dead letters ---


def test_an_event_given_up_is_a_dead_letter(
    bus: Bus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After the last try the event is in the file, with subscription, reason and attempts."""
    subscription = bus.subscribe(
        "*", Recorder(lambda *_: True), name="mailer", retries=2, first_backoff_s=0.001
    )
    refused = event(data={"n": 1})
    with caplog.at_level(logging.WARNING, "fiveobs.internal"):
        bus.publish(refused)
        assert bus.flush(soon())
    (letter,) = bus.dead_letters()
    assert letter[1:] == ("mailer", "ValueError: no job.started", 3, refused)
    assert (subscription.delivered, subscription.failed, subscription.pending) == (0, 1, 0)
    path = tmp_path / "dead-letters" / f"m_1-{os.getpid()}.log"
    assert json.loads(path.read_text()) == {
        "dead_at": letter.dead_at,
        "subscription": "mailer",
        "reason": "ValueError: no job.started",
        "attempts": 3,
        "event": dict(refused.record),
    }
    assert "mailer" in caplog.text
    assert str(path) in caplog.text
    if os.name == "posix":
        assert path.stat().st_mode & 0o077 == 0


def test_dead_letters_can_be_replayed(bus: Bus) -> None:
    """A replayed letter goes to the subscription with its name only, and then it is no more."""
    is_broken = True
    recorder, other = Recorder(lambda *_: is_broken), Recorder()
    bus.subscribe("*", recorder, name="mailer", retries=0)
    bus.subscribe("*", other)
    bus.publish(event())
    assert bus.flush(soon())
    is_broken = False
    assert bus.replay() == 1
    assert bus.flush(soon())
    assert recorder.types == other.types == ["job.started"]
    assert bus.dead_letters() == []
    assert bus.replay() == 0


def test_a_letter_that_fails_again_replaces_the_old(bus: Bus) -> None:
    """A replay that fails leaves one letter, not two."""
    bus.subscribe("*", Recorder(lambda *_: True), name="mailer", retries=0)
    bus.publish(event())
    assert bus.flush(soon())
    (first,) = bus.dead_letters()
    assert bus.replay(first) == 1
    assert bus.flush(soon())
    (second,) = bus.dead_letters()
    assert second.event == first.event
    assert second.dead_at > first.dead_at


def test_a_letter_on_its_way_is_not_sent_twice(bus: Bus) -> None:
    """Replaying again before the first replay has ended adds nothing."""
    gate = Gate()
    bus.subscribe("*", Recorder(lambda *_: True), name="gate", retries=0)
    bus.publish(event())
    assert bus.flush(soon())
    bus.inboxes[0].handler = gate
    assert [bus.replay(), bus.replay()] == [1, 0]
    gate.opened.set()
    assert bus.flush(soon())


def test_letters_of_other_processes_are_seen(bus: Bus, tmp_path: Path) -> None:
    """A later process reads and replays what an earlier one left; torn lines are skipped."""
    folder = tmp_path / "dead-letters"
    folder.mkdir()
    line = {
        "dead_at": "2026-01-01T00:00:00.000000Z",
        "subscription": "mailer",
        "reason": "shutdown",
        "attempts": 0,
        "event": {"id": "x", "event_type": "job.failed"},
    }
    torn = '\n[]\n{"event":{}}\n\xff\n{"dead_at": "20'
    (folder / "old-1.log").write_text(json.dumps(line) + torn, encoding="latin-1")
    recorder = Recorder()
    bus.subscribe("*", recorder, name="mailer")
    assert [letter.event.id for letter in bus.dead_letters()] == ["x"]
    assert bus.replay() == 1
    assert bus.flush(soon())
    assert recorder.types == ["job.failed"]
    assert bus.dead_letters() == []


def test_a_letter_without_its_subscription_stays(bus: Bus) -> None:
    """Replaying a letter for a name that nobody has now changes nothing."""
    subscription = bus.subscribe("*", Recorder(lambda *_: True), name="mailer", retries=0)
    bus.publish(event())
    assert bus.flush(soon())
    subscription.cancel()
    bus.subscribe("*", Recorder(), name="other")
    assert bus.replay(bus.dead_letters()) == 0
    assert len(bus.dead_letters()) == 1


def test_a_full_queue_loses_nothing_silently(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is counted and a dead letter; the rest is delivered; nobody waits."""
    monkeypatch.setattr(_bus, "MAX_PENDING", 5)
    gate, recorder = Gate(), Recorder()
    full = bus.subscribe("*", gate, name="full")
    bus.publish(event(seq=0))
    assert gate.entered.wait(DEADLINE_S)
    free = bus.subscribe("job.progress", recorder)
    for n in range(1, 8):
        bus.publish(event(seq=n))
    bus.publish(event("job.progress", seq=8))
    assert full.pending == 5
    gate.opened.set()
    assert bus.flush(soon())
    assert (full.delivered, full.failed, full.pending) == (5, 4, 0)
    letters = bus.dead_letters()
    assert {(letter.subscription, letter.reason, letter.attempts) for letter in letters} == {
        ("full", "queue full", 0)
    }
    assert [letter.event.seq for letter in letters] == [5, 6, 7, 8]
    assert free.delivered == 1


def test_the_file_is_bounded(bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full file is put aside once; the newest letters are kept and the drop is reported."""
    monkeypatch.setattr(letters_module, "MAX_FILE_BYTES", 2_000)
    bus.subscribe("*", Recorder(lambda *_: True), retries=0)
    for n in range(60):
        bus.publish(event(seq=n))
    assert bus.flush(soon())
    files = sorted(path.name for path in (tmp_path / "dead-letters").iterdir())
    assert files == [f"m_1-{os.getpid()}.1.log", f"m_1-{os.getpid()}.log"]
    kept = [letter.event.seq for letter in bus.dead_letters()]
    assert kept == list(range(kept[0], 60))
    assert 10 < len(kept) < 60
    assert "bus dead letters" in _report._said


def test_the_folder_is_bounded(bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a new file is begun, the ones written to least recently are deleted."""
    monkeypatch.setattr(letters_module, "MAX_FOLDER_BYTES", 250)
    folder = tmp_path / "dead-letters"
    folder.mkdir()
    for n in range(5):
        path = folder / f"old-{n}.log"
        path.write_bytes(b"x" * 99 + b"\n")
        os.utime(path, (n, n))
    bus.subscribe("*", Recorder(lambda *_: True), retries=0)
    bus.publish(event())
    assert bus.flush(soon())
    left = sorted(path.name for path in folder.iterdir())
    assert left == [f"m_1-{os.getpid()}.log", "old-3.log", "old-4.log"]


def test_without_a_home_the_events_are_counted(tmp_path: Path) -> None:
    """Where no file can be written, the failure is counted and said, and the thread goes on."""
    (tmp_path / "file").write_text("")
    made = Bus(tmp_path / "file")
    subscription = made.subscribe("*", Recorder(lambda *_: True), retries=0)
    for n in range(3):
        made.publish(event(seq=n))
    assert made.flush(soon())
    assert subscription.failed == 3
    assert made.dead_letters() == []
    assert made.close(soon())


def test_home_is_that_of_the_environment(fiveobs_home: Path) -> None:
    """A bus that was told no home keeps dead letters under ``FIVEOBS_HOME``."""
    made = Bus()
    made.subscribe("*", Recorder(lambda *_: True), retries=0)
    made.publish(event())
    assert made.flush(soon())
    made.close(soon())
    assert len(list((fiveobs_home / "dead-letters").iterdir())) == 1


# --- the end ---


def test_what_is_left_at_the_end_is_a_dead_letter(bus: Bus) -> None:
    """``close`` keeps its deadline while a handler hangs, and keeps every event it leaves."""
    gate = Gate()
    subscription = bus.subscribe("*", gate)
    for n in range(4):
        bus.publish(event(job_id=f"job-{n}", seq=n))
    assert gate.entered.wait(DEADLINE_S)
    began = time.monotonic()
    assert not bus.close(began + 0.1)
    assert time.monotonic() - began < DEADLINE_S / 2
    letters = bus.dead_letters()
    assert {letter.reason for letter in letters} == {"shutdown"}
    assert sorted(letter.event.seq for letter in letters) == [0, 1, 2, 3]
    gate.opened.set()
    assert (subscription.failed, subscription.pending) == (4, 0)


def test_events_waiting_for_a_retry_are_kept_at_the_end(bus: Bus) -> None:
    """``close`` does not wait for a far retry longer than its deadline."""
    bus.subscribe("*", Recorder(lambda *_: True), first_backoff_s=30.0)
    bus.publish(event("job.started"))
    bus.publish(event("job.completed"))
    assert not bus.close(time.monotonic() + 0.1)
    letters = bus.dead_letters()
    assert [letter.event.event_type for letter in letters] == ["job.started", "job.completed"]


def test_close_is_idempotent_and_not_for_ever(bus: Bus) -> None:
    """Closing twice is fine, closing delivers what waits, and a later event starts anew."""
    recorder = Recorder()
    assert bus.close(soon())
    bus.subscribe("*", recorder)
    for _ in range(2):
        bus.publish(event())
        assert bus.close(soon())
        assert bus.close(time.monotonic())
        assert bus._dispatcher is None
    assert recorder.types == ["job.started"] * 2


def test_closing_while_others_publish_loses_nothing(bus: Bus) -> None:
    """Every event is delivered or a dead letter, however closing and publishing interleave."""
    recorder = Recorder(lambda one, tries: one.seq % 19 == 0 and tries <= 2)
    subscription = bus.subscribe("*", recorder, retries=1, first_backoff_s=0.0005)

    def run(job: int) -> None:
        for n in range(300):
            bus.publish(event("job.progress", f"job-{job}", seq=n))
            if n % 100 == 50:
                bus.close(time.monotonic() + 0.001)

    threads = [threading.Thread(target=run, args=(job,)) for job in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bus.flush(soon())
    assert subscription.pending == 0
    assert subscription.delivered + subscription.failed == 4 * 300
    assert subscription.failed == len(bus.dead_letters())


def test_a_handler_may_flush_and_close(bus: Bus) -> None:
    """Inside a handler neither waits for that very handler."""
    results = []

    def end(event: JobEvent) -> None:
        results.append(bus.flush(soon()))
        results.append(bus.close(soon()))
        ended.set()

    ended = threading.Event()
    bus.subscribe("*", end)
    began = time.monotonic()
    bus.publish(event())
    assert ended.wait(DEADLINE_S)
    assert results == [False, False]
    assert time.monotonic() - began < DEADLINE_S / 2


def test_no_thread_no_harm(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, events wait, and are kept at the end."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    bus.subscribe("*", Recorder())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    bus.publish(event())
    assert not bus.flush(soon())
    assert not bus.close(soon())
    assert [letter.reason for letter in bus.dead_letters()] == ["shutdown"]


# --- forks ---


def in_child(check: Callable[[], None]) -> None:
    """Run a check in a forked child and fail where it fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads run: that is the point
        pid = os.fork()
    if pid == 0:
        try:
            check()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@needs_fork
@pytest.mark.parametrize("is_hooked", [True, False])
def test_a_child_begins_anew(bus: Bus, *, is_hooked: bool) -> None:
    """A child keeps subscriptions and not the parent's events, told of the fork or not."""
    gate, recorder = Gate(), Recorder()
    bus.subscribe("job.started", gate)
    subscription = bus.subscribe("*", recorder)
    bus.publish(event("job.started", seq=1))
    assert gate.entered.wait(DEADLINE_S)
    bus.publish(event("job.progress", seq=2))

    def check() -> None:
        gate.opened.set()
        if is_hooked:
            bus.after_fork()
            bus.after_fork()
        recorder.seen.clear()
        bus.publish(event("job.completed", seq=3))
        assert bus.flush(soon())
        assert [one.seq for one in recorder.seen] == [3]
        assert (subscription.delivered, subscription.pending) == (1, 0)
        assert bus.close(soon())

    with bus._lock, bus._starting:
        in_child(check)
    gate.opened.set()
    assert bus.flush(soon())
    assert [one.seq for one in recorder.seen] == [1, 2]


@needs_fork
def test_a_fork_inside_a_handler_ends_the_copied_thread(bus: Bus) -> None:
    """A child forked by a handler has a bus of its own that works."""
    statuses = []
    recorder = Recorder()

    def fork(event_: JobEvent) -> None:
        def check() -> None:
            bus.publish(event("job.completed"))
            assert bus.flush(soon())
            assert "job.completed" in recorder.types

        in_child(check)
        statuses.append("ok")

    bus.subscribe("job.started", fork)
    bus.subscribe("job.completed", recorder)
    bus.publish(event())
    assert bus.flush(soon())
    assert statuses == ["ok"]
    assert recorder.seen == []


def test_a_dead_letter_shows_what_it_is() -> None:
    """A letter is a plain tuple with names."""
    letter = DeadLetter("2026-01-01T00:00:00.000000Z", "s", "r", 1, event(id="x"))
    assert letter.key == ("s", "2026-01-01T00:00:00.000000Z", "x")
