from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiveobs.exceptions import DeliveryError
from fiveobs.journal.cursors import CursorFile, CursorState, Position
from fiveobs.journal.reader import Reader
from fiveobs.journal.records import is_log
from tests.support.journals import append, line
from tests.support.shipping import (
    Clock,
    FakeDestination,
    Reports,
    appended,
    drain,
    make_journal,
    make_shipper,
    program,
    until,
)

REFUSED = DeliveryError("refused", permanent=True)
FAILED = DeliveryError("down")


@pytest.fixture
def journal():
    """A journal in memory."""
    journal = make_journal(None, "logs", "metrics", segment_bytes=2000)
    yield journal
    journal.close()


class BlackHole(FakeDestination):
    """Never answers until it is told to."""

    def __init__(self):
        super().__init__()
        self.answering = threading.Event()
        self.asked = threading.Event()

    def ship(self, lines, timeout_s, origin):
        self.asked.set()
        self.answering.wait(30)
        return super().ship(lines, timeout_s, origin)


def soon(seconds=10.0):
    return time.monotonic() + seconds


def other_reader(count=3, origin=None, *, fail=None):
    """A reader of a dead process's lines, and those lines."""
    other = make_journal(None, "logs")
    other.resource = origin or {"worker.id": "dead"}
    lines = appended(other, range(1000, 1000 + count))
    return other.readers["logs"], lines


# --- deliveries ---


def test_lines_go_out_in_order_in_batches_with_their_origin(journal):
    """Batches keep to the destination's sizes, and the journal's resource goes with them."""
    journal.resource = {"worker.id": "w"}
    destination = FakeDestination(max_records=4)
    lines = appended(journal, range(30))
    append(journal, line(99, "envelope"))
    shipper = make_shipper(journal, destination)
    drain(shipper)
    assert destination.taken == lines
    assert max(map(len, destination.calls)) == 4
    assert destination.origins[0] == {"worker.id": "w"}
    assert journal.readers["logs"].position == journal.end()


def test_a_failed_delivery_is_tried_again_after_growing_pauses(journal):
    """The pause doubles up to half a minute; a delivery that works begins anew."""
    clock, destination = Clock(), FakeDestination()
    shipper = make_shipper(journal, destination, clock=clock)
    lines = appended(journal, range(3))
    destination.script.extend([FAILED] * 9)
    pauses = []
    for attempt in range(1, 10):
        assert not shipper._turn()
        assert len(destination.calls) == attempt
        assert (shipper.health.failures, shipper.health.last_error) == (attempt, "down")
        assert not shipper._turn()
        assert len(destination.calls) == attempt
        pauses.append(shipper._resume_at - clock.now)
        clock.now = shipper._resume_at
    expected = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert all(0.8 * e <= p <= 1.2 * e for p, e in zip(pauses, expected, strict=True))
    assert shipper._turn()
    assert (destination.taken, shipper.health) == (lines, (0, ""))


@pytest.mark.parametrize(
    ("asked", "pause"),
    [(7.0, 7.0), (100_000.0, 300.0), (0.0, 0.5), (-3.0, 0.5), (float("nan"), 0.5)],
)
def test_the_pause_that_a_destination_asks_for_is_kept(journal, asked, pause):
    """Up to five minutes, and never so short that it is a busy loop."""
    clock, destination = Clock(), FakeDestination()
    shipper = make_shipper(journal, destination, clock=clock)
    appended(journal, range(3))
    destination.script.append(DeliveryError("busy", retry_after_s=asked))
    shipper._turn()
    clock.now += pause - 0.01
    shipper._turn()
    assert len(destination.calls) == 1
    clock.now += 0.02
    shipper._turn()
    assert len(destination.calls) == 2


def test_a_flush_keeps_the_pause_that_a_destination_asked_for(journal):
    """No request before it is over, and no waiting for a deadline that comes before that."""
    clock, destination = Clock(), FakeDestination()
    shipper = make_shipper(journal, destination, clock=clock)
    appended(journal, range(3))
    destination.script.append(DeliveryError("busy", retry_after_s=7.0))
    shipper._turn()
    shipper.start()
    assert not shipper.flush(clock.now + 6.9)
    assert len(destination.calls) == 1
    clock.now += 7.1
    assert shipper.flush(clock.now + 5.0)
    assert len(destination.calls) == 2
    shipper.close(clock.now + 5.0)


@settings(deadline=None)
@given(st.sets(st.integers(0, 99), max_size=6))
def test_only_refused_records_are_dropped(poisoned):
    """A refused batch is halved until the records are found that are not taken."""
    journal, reports = make_journal(None, "logs"), Reports()
    destination = FakeDestination()
    shipper = make_shipper(journal, destination, reports=reports)
    lines = appended(journal, range(100))
    poison = {lines[number] for number in poisoned}
    destination.poison = poison.__contains__
    drain(shipper)
    assert destination.taken == [each for each in lines if each not in poison]
    assert journal.readers["logs"].sums() == (100 - len(poison), len(poison))
    assert len(reports.about("logs")) == len(poison)


def test_a_destination_that_refuses_everything_is_not_asked_for_each_record(journal):
    """The batch is dropped after a few tries, and the health says why."""
    destination = FakeDestination(max_records=1000)
    destination.poison = lambda _: True
    journal = make_journal(None, "logs")
    shipper = make_shipper(journal, destination)
    appended(journal, range(1000))
    drain(shipper)
    assert journal.readers["logs"].sums() == (0, 1000)
    assert len(destination.calls) < 40
    assert shipper.health.last_error == "poison"


def test_rejected_records_are_counted_as_dropped(journal):
    """A destination that takes a part says how much it did not; it cannot reject more than all."""
    destination = FakeDestination()
    shipper = make_shipper(journal, destination)
    appended(journal, range(5))
    destination.script.append(2)
    drain(shipper)
    assert journal.readers["logs"].sums() == (3, 2)
    destination.ship = lambda lines, timeout_s, origin: 50
    appended(journal, range(5))
    drain(shipper)
    assert journal.readers["logs"].sums() == (3, 7)


def test_a_failure_in_the_middle_of_halving_drops_nothing(journal):
    """Refused parts count when the whole batch is through, so that none is counted twice."""
    destination, clock = FakeDestination(), Clock()
    shipper = make_shipper(journal, destination, clock=clock)
    lines = appended(journal, range(4))
    destination.script.extend([REFUSED, REFUSED, REFUSED, FAILED])
    shipper._turn()
    assert journal.readers["logs"].sums() == (0, 0)
    clock.now += 10
    drain(shipper)
    assert destination.taken == lines
    assert journal.readers["logs"].sums() == (4, 0)


def test_a_record_that_breaks_the_destination_does_not_stop_the_track(journal):
    """After some tries it is looked for and dropped, once others are taken beside it."""
    clock, destination, reports = Clock(), FakeDestination(), Reports()
    shipper = make_shipper(journal, destination, clock=clock, reports=reports)
    lines = appended(journal, range(10))
    destination.poison = lines[3].__eq__
    destination.poison_error = ValueError("cannot encode")
    for _ in range(20):
        shipper._turn()
        clock.now += 40
    assert destination.taken == lines[:3] + lines[4:]
    assert journal.readers["logs"].sums() == (9, 1)
    assert "ValueError: cannot encode" in reports.about("logs")[-1]


@pytest.mark.parametrize("error", [ValueError("a bug"), ConnectionResetError(), MemoryError()])
def test_a_destination_that_is_broken_loses_nothing(journal, error):
    """As long as it takes no record at all, the fault is not a record's."""
    clock, destination = Clock(), FakeDestination()
    shipper = make_shipper(journal, destination, clock=clock)
    lines = appended(journal, range(10))
    destination.poison, destination.poison_error = lambda _: True, error
    for _ in range(20):
        shipper._turn()
        clock.now += 40
    assert journal.readers["logs"].sums() == (0, 0)
    destination.poison = lambda _: False
    drain(shipper)
    assert destination.taken == lines


# --- sums ---


def test_sums_count_as_delivered_when_they_are_sent(journal):
    """Until then the cursor stays; a failing export is repeated and nothing is summed twice."""
    clock, destination = Clock(), FakeDestination(max_records=2)
    shipper = make_shipper(journal, destination, "metrics", clock=clock, export_interval_s=60)
    reader = journal.readers["metrics"]
    for number in range(40):
        append(journal, line(number, "job.completed"))
    drain(shipper)
    assert len(destination.taken) == 40
    assert (reader.sums(), reader.position, destination.exports) == ((0, 0), (1, 0), 0)
    clock.now += 61
    destination.export_errors.extend([FAILED, REFUSED])
    drain(shipper)
    drain(shipper)
    assert (reader.sums(), destination.exports) == ((0, 0), 1)
    clock.now += 30
    drain(shipper)
    clock.now += 30
    drain(shipper)
    assert (reader.sums(), reader.position) == ((40, 0), journal.end())
    assert len(destination.taken) == 40


def test_what_is_held_takes_no_memory_by_the_record(journal):
    """An outage of days costs an entry for each segment."""
    destination = FakeDestination(max_records=1)
    shipper = make_shipper(journal, destination, "metrics", clock=Clock(), export_interval_s=60)
    for number in range(100):
        append(journal, line(number, "job.completed"))
    drain(shipper)
    assert len(shipper._held) <= journal.last_number()


def test_a_failing_line_does_not_have_summed_ones_summed_again(journal):
    """Only the batch that failed is read again."""
    clock, destination = Clock(), FakeDestination(max_records=2)
    shipper = make_shipper(journal, destination, "metrics", clock=clock, export_interval_s=60)
    for number in range(6):
        append(journal, line(number, "job.completed"))
    destination.script.extend([0, ValueError("bug"), 0])
    drain(shipper)
    clock.now += 10
    drain(shipper)
    assert len(destination.taken) == len(set(destination.taken)) == 6


def test_adopted_sums_are_left_only_when_they_are_sent(journal):
    """A dead process's cursor moves with the export, too."""
    clock, destination, done = Clock(), FakeDestination(), []
    shipper = make_shipper(journal, destination, "metrics", clock=clock, export_interval_s=60)
    other = make_journal(None, "metrics")
    append(other, line(1, "job.completed"))
    shipper.adopt(other.readers["metrics"], lambda: done.append(1))
    drain(shipper)
    assert (len(destination.taken), done, other.readers["metrics"].sums()) == (1, [], (0, 0))
    clock.now += 61
    drain(shipper)
    drain(shipper)
    assert (done, other.readers["metrics"].sums()) == ([1], (1, 0))


def test_a_flush_sends_the_sums_at_once(journal):
    """However long the interval is."""
    destination = FakeDestination()
    shipper = make_shipper(journal, destination, "metrics", export_interval_s=3600)
    append(journal, line(1, "job.completed"))
    append(journal, line(2, "log"))
    shipper.start()
    assert shipper.flush(soon())
    assert (destination.exports, journal.readers["metrics"].sums()) == (1, (1, 0))
    shipper.close(soon())


# --- adopted lines ---


def test_adopted_lines_follow_our_own(journal):
    """One dead process after another, each with its origin; each is left when it is through."""
    destination, done = FakeDestination(max_records=2), []
    shipper = make_shipper(journal, destination)
    first, first_lines = other_reader(origin={"worker.id": "a"})
    second, second_lines = other_reader(origin={"worker.id": "b"})
    shipper.adopt(first, lambda: done.append("a"))
    shipper.adopt(second, lambda: done.append("b"))
    own = appended(journal, range(3))
    drain(shipper)
    assert destination.taken == own + first_lines + second_lines
    assert done == ["a", "b"]
    assert [origin.get("worker.id") for origin in destination.origins[2:]] == ["a", "a", "b", "b"]


def test_an_adopted_stem_is_kept_while_its_delivery_fails(journal):
    """Also when a flush ends the pause at once."""
    clock, destination, done = Clock(), FakeDestination(), []
    shipper = make_shipper(journal, destination, clock=clock)
    reader, lines = other_reader()
    shipper.adopt(reader, lambda: done.append(1))
    destination.script.append(FAILED)
    shipper._turn()
    shipper.hurry(0.0)
    assert done == []
    drain(shipper)
    assert (destination.taken, done) == (lines, [1])


def test_our_own_failure_is_not_repeated_for_adopted_lines(journal):
    """One attempt per pause."""
    destination = FakeDestination()
    shipper = make_shipper(journal, destination, clock=Clock())
    appended(journal, range(3))
    shipper.adopt(other_reader()[0], lambda: None)
    destination.script.extend([FAILED, FAILED])
    shipper._turn()
    assert (len(destination.calls), shipper.health.failures) == (1, 1)


class Unreadable:
    """A source whose disk fails."""

    def segment(self, number):
        raise OSError(5, "Input/output error")

    def last_number(self):
        return 1

    def origin(self):
        return {}


def test_an_unreadable_dead_journal_holds_up_nobody(journal):
    """It is left as it is, and said."""
    destination, done, reports = FakeDestination(), [], Reports()
    shipper = make_shipper(journal, destination, reports=reports)
    broken = Reader(Unreadable(), is_log, CursorFile(None), CursorState())
    reader, lines = other_reader()
    shipper.adopt(broken, lambda: done.append("broken"))
    shipper.adopt(reader, lambda: done.append("other"))
    drain(shipper)
    assert (destination.taken, done) == (lines, ["broken", "other"])
    assert "cannot be read" in reports.about("logs")[0]
    assert broken.position == Position(1, 0)
    assert shipper.health.failures == 0


# --- the thread ---


def test_a_flush_waits_until_all_is_taken(journal):
    """Everything appended before it, with the time that is left as the delivery's timeout."""
    destination = FakeDestination()
    shipper = make_shipper(journal, destination, interval_s=60)
    shipper.start()
    lines = appended(journal, range(10))
    assert shipper.flush(soon(5))
    assert destination.taken == lines
    assert 4 < destination.timeouts[-1] <= 5
    shipper.close(soon())
    assert (destination.closed, shipper._thread.is_alive()) == (1, False)


def test_a_flush_keeps_its_deadline_against_a_black_hole(journal):
    """It says that it did not work, the lines are still there, and close does not wait either."""
    destination = BlackHole()
    shipper = make_shipper(journal, destination)
    lines = appended(journal, range(5))
    shipper.start()
    assert destination.asked.wait(10)
    began = time.monotonic()
    assert not shipper.flush(soon(0.1))
    shipper.close(soon(0.1))
    assert time.monotonic() - began < 2
    assert journal.readers["logs"].pending() == 5
    assert destination.closed == 0
    destination.answering.set()
    until(lambda: destination.closed)
    assert destination.taken == lines


def test_a_failed_flush_leaves_the_lines(journal):
    """They go out as soon as the destination works."""
    destination = FakeDestination()
    destination.poison, destination.poison_error = lambda _: True, FAILED
    shipper = make_shipper(journal, destination)
    lines = appended(journal, range(5))
    shipper.start()
    assert not shipper.flush(soon(0.1))
    assert journal.readers["logs"].pending() == 5
    destination.poison = lambda _: False
    assert shipper.flush(soon())
    assert destination.taken == lines
    shipper.close(soon())


def test_whatever_a_destination_raises_the_thread_lives(journal):
    """Also when the close raises."""
    destination, reports = FakeDestination(), Reports()
    destination.script.extend([KeyError("x"), OSError("y"), DeliveryError("z"), RecursionError()])
    destination.close = lambda: 1 / 0
    shipper = make_shipper(journal, destination, reports=reports)
    lines = appended(journal, range(5))
    shipper.start()
    until(lambda: shipper.flush(soon(0.05)))
    assert destination.taken == lines
    shipper.close(soon())
    assert not shipper._thread.is_alive()
    assert "ZeroDivisionError" in reports.about("logs")[-1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("died", [True, False])
def test_a_flush_does_not_wait_for_a_thread_that_is_not_there(journal, died):
    """Neither for one that has died nor for one that was never started."""
    destination = FakeDestination()
    shipper = make_shipper(journal, destination)
    if died:
        destination.poison, destination.poison_error = lambda _: True, SystemExit()
    appended(journal, range(3))
    if died:
        shipper.start()
        until(lambda: not shipper._thread.is_alive())
    began = time.monotonic()
    assert not shipper.flush(soon(20))
    shipper.close(soon(20))
    assert time.monotonic() - began < 5
    assert destination.closed == 1
    assert journal.readers["logs"].pending() == 3


def test_adopting_wakes_the_thread(journal):
    """A dead process's lines do not wait for the next interval."""
    destination, done = FakeDestination(), threading.Event()
    shipper = make_shipper(journal, destination, interval_s=60)
    shipper.start()
    reader, lines = other_reader()
    shipper.adopt(reader, done.set)
    assert done.wait(10)
    assert destination.taken == lines
    shipper.close(soon())


FORK = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore")
from tests.support.shipping import FakeDestination, appended, make_journal, make_shipper
journal = make_journal(None, "logs")
shipper = make_shipper(journal, FakeDestination())
shipper.start()
held = threading.Event()

def hold():
    with journal._lock, shipper._moved:
        held.set()
        threading.Event().wait(60)

threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    began = time.monotonic()
    done = shipper.flush(began + 30)
    shipper.hurry(began + 30)
    shipper.close(began + 30)
    journal.abandon()
    os._exit(int(done or time.monotonic() - began > 5))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os._exit(0)
"""


def test_a_flush_in_a_forked_child_returns_at_once():
    """Even if its parent's threads held every lock at the fork."""
    assert program(FORK) == "0"
