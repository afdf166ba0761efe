from __future__ import annotations

import sys
import threading
import time

import pytest

from fiveobs._yielding import Turns


@pytest.fixture
def greedy_interpreter():
    """Have the interpreter take its lock away from no thread for a minute."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(60)
    yield
    sys.setswitchinterval(before)


def test_others_get_in_while_a_thread_computes(greedy_interpreter):
    """Whoever waits for a thread that gives way waits far less than the interpreter's interval."""
    is_over: list[bool] = []
    began = threading.Event()

    def compute() -> None:
        turns = Turns()
        until_s = time.monotonic() + 30
        while not is_over and time.monotonic() < until_s:
            turns.give_way()
            began.set()

    thread = threading.Thread(target=compute)
    thread.start()
    began.wait(10)
    asked_at_s = time.monotonic()
    for _ in range(20):
        time.sleep(0)  # lets go of the lock, and has to get it back
    is_over.append(True)
    took_s = time.monotonic() - asked_at_s
    thread.join(30)
    assert took_s < 10


def test_giving_way_costs_next_to_nothing_before_it_is_time():
    """A stretch is not interrupted: the loop goes round many times between two pauses."""
    turns = Turns()
    until_before, rounds = turns._until_ns, 0
    while turns._until_ns == until_before:
        turns.give_way()
        rounds += 1
    assert rounds > 5
