"""Keeps forks and gRPC's calls apart.

gRPC prepares itself for a fork only if no thread is inside of it then. If one is, it leaves the
child with the parent's state, and the child's first call may abort the process. So whoever forks
waits until our calls have ended. A call that goes on for longer than a moment is broken off, and is
made anew after the fork. A fork from C runs no hook of Python's: if a call was going on then, gRPC
is not used in the child.

Source: gRPC, doc/fork_support.md and src/core/lib/iomgr/fork_posix.cc.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from fiveobs.exceptions import DeliveryError

__all__ = ["Turn", "calls"]

#: How long a fork waits for a call, in seconds. Each fork that breaks off the same call doubles it,
#: up to a limit: else many forks and a receiver that takes its time would keep it from being made.
#: A receiver that did not take the batch before is not waited for any longer.
_FIRST_PATIENCE_S, _MOST_PATIENCE_S = 0.005, 0.25
#: What a call that is broken off may take to end, and the longest that anybody holds the lock.
_ENDS_S = 1.0
#: After that a fork is over, whatever has become of who made it.
_FORKED_S = 5.0
_UNUSABLE = (
    "gRPC cannot be used in this process: C code forked it while a call was going on; use "
    "http/protobuf, or os.fork"
)


class Turn:
    """One batch's way to the receiver: a call, or several if forks break it off.

    Args:
        break_off: Ends the call from another thread, at once.
        is_worth_waiting: Whether the receiver takes batches, as far as is known.
    """

    def __init__(self, break_off: Callable[[], None], *, is_worth_waiting: bool = True) -> None:
        self.break_off = break_off
        self.is_broken_off = False
        #: How long a fork waits for it.
        self.patience_s = _FIRST_PATIENCE_S
        self._most_s = _MOST_PATIENCE_S if is_worth_waiting else _FIRST_PATIENCE_S

    def give_up(self) -> None:
        """Break the call off; the next fork that meets it is more patient."""
        self.is_broken_off = True
        self.patience_s = min(2 * self.patience_s, self._most_s)
        self.break_off()


class _Calls:
    """The calls of this process that are going on."""

    def __init__(self) -> None:
        self._is_usable = True
        self._watches = False
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._turns: set[Turn] = set()
        #: Threads that fork just now.
        self._forking: set[int] = set()

    @contextlib.contextmanager
    def inside(self, turn: Turn) -> Iterator[None]:
        """Be inside gRPC; waits while somebody forks.

        Raises:
            DeliveryError: gRPC cannot be used in this process.
        """
        if self._pid != os.getpid():  # forked from C
            self._renew()
        if not self._is_usable:
            raise DeliveryError(_UNUSABLE)
        changed, turns = self._changed, self._turns
        with changed:
            changed.wait_for(lambda: not self._forking, _FORKED_S)
            turn.is_broken_off = False
            turns.add(turn)
        try:
            yield
        finally:
            with changed:
                turns.discard(turn)
                changed.notify_all()

    def watch_forks(self) -> None:
        """Have forks wait from now on; idempotent."""
        if self._watches or not hasattr(os, "register_at_fork"):
            return
        self._watches = True
        os.register_at_fork(
            before=self._before, after_in_parent=self._after, after_in_child=self._renew
        )

    # --- around a fork ------------------------------------------------------------------------

    def _before(self) -> None:
        self._forking.add(threading.get_ident())
        if self._changed.acquire(timeout=_ENDS_S):
            try:
                self._wait_for_all()
            finally:
                self._changed.release()

    def _wait_for_all(self) -> None:
        began_s = time.monotonic()
        for turn in sorted(self._turns, key=lambda each: each.patience_s):
            left_s = turn.patience_s - (time.monotonic() - began_s)
            if not self._changed.wait_for(partial(self._is_over, turn), left_s):
                turn.give_up()
        self._changed.wait_for(lambda: not self._turns, _ENDS_S)

    def _is_over(self, turn: Turn) -> bool:
        return turn not in self._turns

    def _after(self) -> None:
        self._forking.discard(threading.get_ident())
        if self._changed.acquire(timeout=_ENDS_S):
            self._changed.notify_all()
            self._changed.release()

    def _renew(self) -> None:
        """Begin anew in a forked child."""
        self._is_usable = self._is_usable and not self._turns
        self._begin()


calls = _Calls()
