"""What a worker's death is concluded from: how its process ended, and what memory it had.

Pure: what the system says is read in `processes`. The causes, from what is certain to what is not:

* The exit status (the kernel keeps it for whoever holds the process's pidfd; before that it is in
  ``/proc`` until the parent has asked for it) tells a signal from an exit for certain.
* SIGKILL is the kernel's answer to a full cgroup or machine, too: then its log names the process.
  Only where the log cannot be read, ``oom_kill`` counters that have moved are taken for it, or else
  memory that had grown to its limit; never for certain, because the counters count other processes,
  too: a child of the worker, say, for whose loss somebody ended the worker.
* A process that nobody saw end was killed rather than that it exited, unless it had said
  ``worker.stopped``: every exit says so, be it the end of the program, ``sys.exit``, an exception
  or SIGTERM, but for ``os._exit``. It is never certain, and the signal is not known.
* A process that may have no more memory by ``RLIMIT_AS`` or ``RLIMIT_DATA`` ends by itself: with
  SIGABRT or SIGSEGV where C code does not check, with an exit where Python code gives up. Then its
  address space had reached the limit, or it said ``MemoryError`` before.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = [
    "EXITED",
    "HOST_GONE",
    "KILLED",
    "OUT_OF_MEMORY",
    "Conclusion",
    "Exit",
    "Limits",
    "Memory",
    "Use",
    "conclude",
    "reached",
    "unseen",
]

KILLED, OUT_OF_MEMORY = "killed by signal", "out of memory"
HOST_GONE, EXITED = "host gone", "exited"
#: Share of a limit from which on the next allocation is what it refuses.
_FULL = 0.95
#: Share of a limit below which growth is not taken to have reached it.
_FAR = 0.25
_CORE_DUMPED = 0x80
_MIB = 1024 * 1024
_GONE = "the process is gone; nobody saw how it ended"
_NAMED = "the kernel's log names it"
_SILENT = "it did not say worker.stopped, as it does on every exit but os._exit"


class Exit(NamedTuple):
    """How a process ended: by a signal, or with an exit code."""

    signal: int | None = None
    exit_code: int | None = None
    has_core: bool = False

    @classmethod
    def of_status(cls, status: int) -> Exit:
        """From a status as ``waitpid`` gives it."""
        number = status & 0x7F
        if number:
            return cls(signal=number, has_core=bool(status & _CORE_DUMPED))
        return cls(exit_code=status >> 8 & 0xFF)

    @property
    def signal_name(self) -> str:
        """For example ``SIGKILL``; empty for an exit."""
        if self.signal is None:
            return ""
        try:
            return signal.Signals(self.signal).name
        except ValueError:  # a real-time signal
            return f"signal {self.signal}"


class Limits(NamedTuple):
    """The most that a process may have (``setrlimit``), in bytes; ``None`` is no limit."""

    address_space_bytes: int | None = None
    data_bytes: int | None = None

    @property
    def are_set(self) -> bool:
        """Whether there is any."""
        return self != (None, None)


class Use(NamedTuple):
    """What a process had at a moment."""

    #: Monotonic seconds.
    at_s: float
    address_space_bytes: int
    #: The most that it ever was.
    peak_bytes: int
    data_bytes: int
    rss_bytes: int


class Memory(NamedTuple):
    """What is known of memory around a death."""

    #: Processes that the kernel killed in the process's cgroup just then, and on the whole machine;
    #: ``None`` if it does not say.
    oom_kills: int | None = None
    machine_kills: int | None = None
    #: Whether the kernel's log names the process; ``None`` if it cannot be read.
    is_named: bool | None = None
    #: In words, how the process had reached a limit of its own.
    limit_reached: str = ""
    #: In words, how the container or machine had become full.
    was_full: str = ""
    #: Whether the job's last error was a ``MemoryError``.
    said_so: bool = False


class Conclusion(NamedTuple):
    """Why a job is lost."""

    cause: str
    is_certain: bool
    evidence: tuple[str, ...]
    exit: Exit | None = None

    def data(self) -> dict[str, Any]:
        """As it stands in a ``job.lost`` event."""
        found: dict[str, Any] = {"cause": self.cause, "is_certain": self.is_certain}
        found["evidence"] = list(self.evidence)
        if self.exit is not None and self.exit.signal is not None:
            found["signal"] = self.exit.signal_name
        elif self.exit is not None:
            found["exit_code"] = self.exit.exit_code
        return found


def conclude(ended: Exit | None, memory: Memory, *, has_stopped: bool = False) -> Conclusion:
    """Why a process that is gone took its jobs with it.

    Args:
        ended: How it ended; ``None`` if nobody could tell.
        memory: What is known of its memory.
        has_stopped: Whether it said ``worker.stopped``.
    """
    if ended is None:
        return unseen(memory, _GONE, has_stopped=has_stopped)
    if ended.signal == signal.SIGKILL:
        return _killed(ended, memory)
    own = _own_limit(memory)
    if ended.signal is not None:
        core = ", and left a core dump" if ended.has_core else ""
        how = f"the process was ended by {ended.signal_name}{core}"
        cause = OUT_OF_MEMORY if own else KILLED
        return Conclusion(cause, not own, (how, *own), ended)
    how = f"the process exited with {ended.exit_code} and did not say how its jobs ended"
    if own and ended.exit_code:
        return Conclusion(OUT_OF_MEMORY, False, (how, *own), ended)
    return Conclusion(EXITED, True, (how,), ended)


def _own_limit(memory: Memory) -> tuple[str, ...]:
    said = "its last error was a MemoryError" if memory.said_so else ""
    return tuple(filter(None, (memory.limit_reached, said)))


def _killed(ended: Exit, memory: Memory) -> Conclusion:
    how = "the process was ended by SIGKILL"
    if memory.is_named:
        return Conclusion(OUT_OF_MEMORY, True, (how, _NAMED), ended)
    if memory.is_named is not None:
        return Conclusion(KILLED, True, (how, "the kernel's log does not name it"), ended)
    is_counted = (memory.oom_kills, memory.machine_kills) != (None, None)
    suggested = _kills_just_then(memory) or ("" if is_counted else memory.was_full)
    if suggested:
        return Conclusion(OUT_OF_MEMORY, False, (how, suggested), ended)
    return Conclusion(KILLED, is_counted, (how,), ended)


def _kills_just_then(memory: Memory) -> str:
    """That the kernel has killed, in words; the cgroup is asked first, then the machine."""
    if memory.oom_kills is not None:
        count, where = memory.oom_kills, "in its cgroup"
    else:
        count, where = memory.machine_kills or 0, "on its machine"
    if not count:
        return ""
    return f"the kernel killed {count} {where} for want of memory just then; which is not known"


def unseen(memory: Memory, how: str, *, has_stopped: bool) -> Conclusion:
    """Why a process is gone that nobody saw end.

    Args:
        memory: What is known of its memory.
        how: How it is known that it is gone, in words.
        has_stopped: Whether it said ``worker.stopped``.
    """
    if memory.is_named:
        return Conclusion(OUT_OF_MEMORY, True, (how, _NAMED))
    suggested = () if memory.is_named is not None else (memory.was_full,)
    suggested = tuple(filter(None, (*suggested, *_own_limit(memory))))
    if suggested:
        return Conclusion(OUT_OF_MEMORY, False, (how, *suggested))
    if has_stopped:
        return Conclusion(EXITED, False, (how, "it had said worker.stopped"))
    return Conclusion(KILLED, False, (how, _SILENT))


def reached(limits: Limits, uses: Sequence[Use], ended_at_s: float) -> str:
    """How a process had come to the limits set for it, in words; empty if it had not.

    Args:
        limits: The limits.
        uses: What it had, the oldest first.
        ended_at_s: When it ended, on the same clock.
    """
    if not uses:
        return ""
    last, before = uses[-1], uses[max(0, len(uses) - 3)]
    passed_s = last.at_s - before.at_s
    for limit, name, what, now, then, most in (
        (
            *(limits.address_space_bytes, "RLIMIT_AS", "address space"),
            *(last.address_space_bytes, before.address_space_bytes, last.peak_bytes),
        ),
        (
            *(limits.data_bytes, "RLIMIT_DATA", "data"),
            *(last.data_bytes, before.data_bytes, last.data_bytes),
        ),
    ):
        if limit is None:
            continue
        if most >= _FULL * limit:
            return f"its {what} was {most / _MIB:.0f} MiB of {limit / _MIB:.0f} MiB ({name})"
        rate = (now - then) / passed_s if passed_s > 0 else 0.0
        if rate > 0 and now > _FAR * limit and now + rate * (ended_at_s - last.at_s) >= limit:
            grown = f"{now / _MIB:.0f} MiB and {rate / _MIB:.0f} MiB more each second"
            return f"its {what} was {grown}, of {limit / _MIB:.0f} MiB ({name})"
    return ""
