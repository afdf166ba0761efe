"""What wakes our threads: it is never lost, and a rest ends when it is over."""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import Any

import pytest

from fiveobs._wake import Wake

#: Far more than anything here takes.
SOON_S = 20.0


def in_thread(run: Any) -> bool:
    """Whether it ends."""
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SOON_S)
    return not thread.is_alive()


def test_what_was_set_before_is_not_lost() -> None:
    """Once, however often it was set."""
    wake = Wake()
    wake.set()
    wake.set()
    assert wake.wait()
    assert not wake.wait(0.0)


def test_a_rest_ends_when_it_is_over() -> None:
    """Also one that is over before it has begun, which is where a queue's can go on for ever."""
    wake = Wake()

    def rest() -> None:
        for timeout_s in (0.0, -1.0, 1e-9, 1e-6, 2e-6, 5e-6, 1e-4):
            for _ in range(3_000 if timeout_s < 1e-4 else 30):
                wake.set()
                assert wake.wait()
                assert not wake.wait(timeout_s)

    assert in_thread(rest)


def test_any_number_is_a_timeout() -> None:
    """One that no clock reaches is as good as none."""
    wake = Wake()
    wake.set()
    assert wake.wait(1e300)


def test_every_set_is_seen() -> None:
    """Two threads that take turns, each waking the other, never both rest."""
    here, there = Wake(), Wake()

    def play(mine: Wake, theirs: Wake) -> None:
        for _ in range(5_000):
            assert mine.wait(SOON_S)
            theirs.set()

    players = [
        threading.Thread(target=play, args=each, daemon=True)
        for each in ((here, there), (there, here))
    ]
    for player in players:
        player.start()
    here.set()
    for player in players:
        player.join(SOON_S)
    assert not any(player.is_alive() for player in players)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no timers that signal")
def test_a_signal_handler_may_set_it_at_any_time() -> None:
    """Also while its own thread is doing so, or rests."""
    wake, rang = Wake(), []

    def ring(*_: object) -> None:
        rang.append(1)
        wake.set()

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        deadline = time.monotonic() + SOON_S
        while len(rang) < 500 and time.monotonic() < deadline:
            wake.set()
            assert wake.wait(SOON_S)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(rang) >= 500
