"""Forks and gRPC's calls keep out of each other's way; the calls here are threads that wait."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import pytest

from fiveobs.exceptions import DeliveryError
from fiveobs.tracks import _grpc_forks
from fiveobs.tracks._grpc_forks import Turn, _Calls

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
LONG_S = 20.0


class Call:
    """A call that goes on in a thread of its own until it is told to end, or broken off."""

    def __init__(self, calls: _Calls, turn: Turn | None = None) -> None:
        self.told, self.is_in = threading.Event(), threading.Event()
        self.turn = turn or Turn(lambda: None)
        self.turn.break_off = self.told.set
        self._calls = calls
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with self._calls.inside(self.turn):
            self.is_in.set()
            self.told.wait(LONG_S)


@pytest.fixture
def calls() -> _Calls:
    return _Calls()


@contextlib.contextmanager
def forking(calls: _Calls) -> Iterator[None]:
    """What is done around a fork, in the parent."""
    calls._before()
    try:
        yield
    finally:
        calls._after()


def test_a_fork_waits_for_a_call_that_ends_soon(
    calls: _Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not broken off, and nobody is inside while the fork goes on."""
    monkeypatch.setattr(_grpc_forks, "_FIRST_PATIENCE_S", LONG_S)
    call = Call(calls)
    assert call.is_in.wait(LONG_S)
    threading.Timer(0.05, call.told.set).start()
    with forking(calls):
        assert not calls._turns
        assert not call.turn.is_broken_off


@pytest.mark.parametrize(
    ("is_worth_waiting", "expected_s"),
    [(True, [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.25]), (False, [0.005] * 4)],
)
def test_a_fork_breaks_off_a_call_that_goes_on(
    calls: _Calls, is_worth_waiting: bool, expected_s: list[float]
) -> None:
    """Each time that it meets the same one it waits longer before, if that is worth it."""
    turn, patience_s = Turn(lambda: None, is_worth_waiting=is_worth_waiting), []
    for _ in expected_s:
        patience_s.append(turn.patience_s)
        call = Call(calls, turn)
        assert call.is_in.wait(LONG_S)
        with forking(calls):
            assert not calls._turns
            assert turn.is_broken_off
        call.thread.join(LONG_S)
    assert patience_s == expected_s


def test_nobody_begins_a_call_while_somebody_forks(calls: _Calls) -> None:
    """He waits until the fork is over, also where two threads fork at once."""
    with forking(calls):
        other = threading.Thread(target=calls._before)
        other.start()
        other.join(LONG_S)
        call = Call(calls)
        assert not call.is_in.wait(0.05)
    calls._forking.clear()  # the other thread's fork
    calls._after()
    assert call.is_in.wait(LONG_S)
    call.told.set()
    call.thread.join(LONG_S)


def in_child(calls: _Calls) -> int:
    """Fork, and begin a call in the child: 0 if that could be done, 3 if gRPC cannot be used."""
    pid = os.fork()
    if not pid:
        try:
            with calls.inside(Turn(lambda: None)):
                os._exit(0)
        except DeliveryError:
            os._exit(3)
        finally:
            os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_uses_grpc_if_no_call_was_going_on(calls: _Calls) -> None:
    """A call that a fork has broken off is no hindrance, nor is a fork of which no hook is told."""
    assert in_child(calls) == 0
    calls.watch_forks()
    call = Call(calls)
    assert call.is_in.wait(LONG_S)
    assert in_child(calls) == 0
    call.thread.join(LONG_S)
    assert call.turn.is_broken_off


def test_a_child_leaves_grpc_alone_if_a_call_was_going_on(
    calls: _Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a fork from C, or where a call does not end although it is broken off."""
    call = Call(calls)
    assert call.is_in.wait(LONG_S)
    assert in_child(calls) == 3
    monkeypatch.setattr(_grpc_forks, "_ENDS_S", 0.05)
    call.turn.break_off = lambda: None
    calls.watch_forks()
    assert in_child(calls) == 3
    call.told.set()
    call.thread.join(LONG_S)
    assert in_child(calls) == 0


def test_a_fork_waits_for_nobody_who_keeps_the_lock(
    calls: _Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on after a moment."""
    monkeypatch.setattr(_grpc_forks, "_ENDS_S", 0.05)
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with calls._changed:
            held.set()
            over.wait(LONG_S)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(LONG_S)
    with forking(calls):
        assert calls._forking
    assert not calls._forking
    over.set()
    thread.join(LONG_S)
