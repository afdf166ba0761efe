"""Lets a job's thread in while a thread of ours works.

CPython takes its lock away from a thread that goes on computing only after
``sys.getswitchinterval()``, 5 ms, and that is how long a job would wait for us. The interval is the
application's to set, so our threads let go by themselves, after half a millisecond of work. They
then sleep for a moment, because ``sleep(0)`` takes the lock back before the waiter has woken up.
"""

from __future__ import annotations

from time import perf_counter_ns, sleep

#: How long a thread of ours computes at a stretch, in nanoseconds.
_STRETCH_NS = 500_000
#: The shortest sleep there is; on Linux it takes some 60 µs, about as long as to wake a thread.
_MOMENT_S = 1e-6


class Turns:
    """Takes turns with the other threads in a loop of one thread; begins with a whole stretch."""

    __slots__ = ("_until_ns",)

    def __init__(self) -> None:
        self._until_ns = perf_counter_ns() + _STRETCH_NS

    def give_way(self) -> None:
        """Let others in if the stretch is over; costs a tenth of a microsecond if it is not."""
        if perf_counter_ns() >= self._until_ns:
            give_way()
            self._until_ns = perf_counter_ns() + _STRETCH_NS


def give_way() -> None:
    """Let others in now."""
    sleep(_MOMENT_S)
