"""How a line is written: without letting go of the interpreter, where that is safe.

``os.write`` gives up the interpreter lock for a call that takes a microsecond. Each time, the
threads that wait for the lock are woken, find it taken again and go back to sleep; while shippers
are at work that costs more than the write (measured: 100 µs of CPU a job, and a job's p99 is ten
times as long). So on a local Linux file system the C library's ``write`` is called with the lock
held. Should the disk ever take long, the lock is given up for a while: other threads must not wait
for it. On a network file system, and elsewhere than Linux, ``os.write`` is always used.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

#: File systems on which a write ends in memory.
_LOCAL = frozenset(("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "overlay", "zfs"))
#: A write that takes this long is a disk in trouble, in nanoseconds.
_LONG_NS = 20_000_000
#: How long ``os.write`` is used then, in nanoseconds.
_CAUTION_NS = 60_000_000_000

#: Writes bytes to a descriptor and returns how many, or raises ``OSError``.
Write = Callable[[int, bytes], int]


def write_for(folder: Path) -> Write:
    """The way to write to a file in ``folder``, which exists."""
    if sys.platform != "linux" or _file_system(folder) not in _LOCAL:
        return os.write
    try:
        return _holding_write(ctypes.PyDLL(None).write)
    except (OSError, AttributeError):  # a C library without ``write``, or none at all
        return os.write


def _holding_write(c_write: Callable[[int, bytes, int], int]) -> Write:
    """``write`` with the interpreter lock held, while the disk is quick."""
    careful_until_ns = 0

    def write(fd: int, data: bytes) -> int:
        nonlocal careful_until_ns
        started_ns = perf_counter_ns()
        if started_ns < careful_until_ns:
            return os.write(fd, data)
        written = c_write(fd, data, len(data))
        if perf_counter_ns() - started_ns > _LONG_NS:
            careful_until_ns = started_ns + _CAUTION_NS
        if written < 0:
            return os.write(fd, data)  # raises what is the matter, or was only interrupted
        return written

    return write


@functools.cache
def _file_system(folder: Path) -> str:
    """The type of the file system that holds ``folder``; empty if it cannot be told."""
    try:
        device = os.stat(folder).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split()
            if fields[2] == wanted:
                return fields[fields.index("-") + 1]
    except (OSError, ValueError, IndexError):
        pass
    return ""
