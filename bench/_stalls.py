"""Runs one case in this process and says what held up its jobs, as one JSON line.

The sibling of ``bench._measure`` for :mod:`bench.outage`. Of each job it takes, in the job's
thread: wall time; CPU time; and how long the thread was ready to run but had no processor
(``run_delay``, the second field of ``/proc/self/task/<tid>/schedstat``), which is the machine's
doing. What is left, ``wall - cpu - run_delay``, the thread was *blocked*: on a lock, the
interpreter's lock or a disk. That is the most that a library can have caused.

The holder of the interpreter's lock may itself have lost its processor meanwhile, to other
programs. So the run delays of the process's other threads are read, too: *ours* is what remains of
*blocked* when they are subtracted. A *stall* is *ours* and the CPU time together: what runs in the
job's thread, garbage collection included, holds the job up just as well. Counters are read outside
of the timed region, without letting go of the interpreter's lock, before every job and again after
those that took ``SUSPECT_US``. Without ``schedstat`` (macOS) run delays count as zero, so that
everything seems to be ours.
"""

from __future__ import annotations

import array
import ctypes
import gc
import importlib
import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench._case import Case, Plan  # noqa: E402 - the root must be on the path first
from bench._measure import MODULES, job_data, quantiles_us  # noqa: E402

__all__ = ["SUSPECT_US", "Stall"]

#: Only jobs that take longer are looked into.
SUSPECT_US = 200
#: Jobs between two looks for new threads.
_LOOK_EVERY = 64
_SCHEDSTAT_BYTES = 96


@dataclass(frozen=True, kw_only=True)
class Stall:
    """What one slow job waited for, in microseconds."""

    job: int
    wall_us: float
    cpu_us: float
    #: Ready to run, without a processor.
    run_delay_us: float
    #: Neither running nor ready.
    blocked_us: float
    #: Of that, what the other threads' own want of a processor does not explain.
    ours_us: float
    #: What we have cost the job, whose own body is empty: `ours_us` and `cpu_us`.
    stall_us: float
    #: Garbage collection inside the job; part of ``cpu_us``.
    gc_us: float


class _RunDelays:
    """Reads how long threads of this process have waited for a processor."""

    def __init__(self) -> None:
        # PyDLL keeps the interpreter's lock: letting go of it would invite the other threads.
        self._pread = ctypes.PyDLL(None).pread
        self._buffer = ctypes.create_string_buffer(_SCHEDSTAT_BYTES)
        self._me = threading.get_native_id()
        self._fds: dict[int, int] = {}
        self.look()

    def look(self) -> None:
        """Find new threads."""
        folder = Path("/proc/self/task")
        names = os.listdir(folder) if folder.exists() else []  # noqa: PTH208 - only the names
        for tid in map(int, names):
            if tid not in self._fds:
                try:
                    self._fds[tid] = os.open(folder / str(tid) / "schedstat", os.O_RDONLY)
                except OSError:
                    continue  # it has ended meanwhile

    def mine_ns(self) -> int:
        """This thread's."""
        return self._read(self._fds.get(self._me, -1))

    def others_ns(self) -> int:
        """The sum over all other threads."""
        return sum(self._read(fd) for tid, fd in self._fds.items() if tid != self._me)

    def _read(self, fd: int) -> int:
        if self._pread(fd, self._buffer, _SCHEDSTAT_BYTES, ctypes.c_long(0)) <= 0:
            return 0
        return int(self._buffer.value.split()[1])


class _Collections:
    """Sums the time of garbage collections in this thread."""

    def __init__(self) -> None:
        self.spent_ns = 0
        self.longest_ns = 0
        self._began_ns = 0
        self._me = threading.get_ident()
        gc.callbacks.append(self._called)

    def _called(self, phase: str, info: dict[str, int]) -> None:
        if threading.get_ident() != self._me:
            return
        if phase == "start":
            self._began_ns = time.perf_counter_ns()
            return
        spent_ns = time.perf_counter_ns() - self._began_ns
        self.spent_ns += spent_ns
        self.longest_ns = max(self.longest_ns, spent_ns)


def main() -> None:
    """Measure the case that the plan on standard input names."""
    plan = Plan(**json.loads(sys.stdin.readline()))
    case: Case = importlib.import_module(f"bench.baselines.{MODULES[plan.case]}").build(plan)
    gc.collect()  # what was imported is old by the time an application does its work
    collections = _Collections()
    walls_ns, stalls = _run(case, plan, collections)
    last_job_at_s = time.monotonic()
    case.shutdown()
    figures: dict[str, Any] = {
        **quantiles_us(walls_ns),
        "last_job_at_s": last_job_at_s,
        "longest_gc_us": collections.longest_ns / 1e3,
        "stalls": [asdict(stall) for stall in stalls],
        "expected": case.expected,
        "local_counts": case.local_counts(),
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


def _run(case: Case, plan: Plan, collections: _Collections) -> tuple[array.array[int], list[Stall]]:
    """Run the jobs, paced; wall times in ns, and what held up the slow ones."""
    clock, cpu_clock, job = time.perf_counter_ns, time.thread_time_ns, case.job
    pause_s, suspect_ns = plan.pace_us / 1e6, SUSPECT_US * 1000
    walls_ns = array.array("q", bytes(8 * plan.jobs))
    stalls: list[Stall] = []
    delays = _RunDelays()
    for index in range(plan.jobs):
        data = job_data(index)
        if index % _LOOK_EVERY == 0:
            delays.look()
        others_ns, mine_ns = delays.others_ns(), delays.mine_ns()
        gc_ns, cpu_ns = collections.spent_ns, cpu_clock()
        start_ns = clock()
        try:
            job(data)
        except ValueError:  # as the plan has it
            pass
        walls_ns[index] = wall_ns = clock() - start_ns
        if wall_ns >= suspect_ns:
            cpu_ns, mine_ns = cpu_clock() - cpu_ns, delays.mine_ns() - mine_ns
            others_ns, gc_ns = delays.others_ns() - others_ns, collections.spent_ns - gc_ns
            stalls.append(_stall(index, wall_ns, cpu_ns, mine_ns, others_ns, gc_ns))
        if pause_s:
            time.sleep(pause_s)
    return walls_ns, stalls


def _stall(
    index: int, wall_ns: int, cpu_ns: int, mine_ns: int, others_ns: int, gc_ns: int
) -> Stall:
    blocked_ns = max(0, wall_ns - cpu_ns - mine_ns)
    return Stall(
        job=index,
        wall_us=wall_ns / 1e3,
        cpu_us=cpu_ns / 1e3,
        run_delay_us=mine_ns / 1e3,
        blocked_us=blocked_ns / 1e3,
        ours_us=max(0, blocked_ns - others_ns) / 1e3,
        stall_us=(max(0, blocked_ns - others_ns) + cpu_ns) / 1e3,
        gc_us=gc_ns / 1e3,
    )


if __name__ == "__main__":
    main()
