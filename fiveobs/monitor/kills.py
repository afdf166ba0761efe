"""What the kernel says of the processes that it kills for want of memory.

Three sources, the best first. Its log names each process that it kills; who may read it depends on
the system. Each memory cgroup counts the kills in it and below, so that another process of the same
cgroup may have been the one. The machine counts all of its kills. Used by one
thread at a time.

Source: cgroups(7); Linux's Documentation: admin-guide/cgroup-v2.rst, ``memory.events``;
cgroup-v1/memory.rst, ``memory.oom_control``; ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from collections.abc import Callable
from pathlib import Path

__all__ = ["KernelLog", "Kills", "counters"]

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
#: How long back a count of kills is compared with, in seconds.
_WINDOW_S = 5.0
#: After lines were lost, so long the log is not taken to tell everything, in seconds.
_GAP_S = 10.0
#: The inode of the pid namespace in which the kernel's log counts.
_FIRST_NAMESPACE = 4026531836
_KILLED_LINE = re.compile(r"[Kk]illed process (\d+)")


def counters(pid: int, *, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> list[Path]:
    """Files that count kills: those of the process's cgroup, then of those above it.

    Args:
        pid: Which process.
        proc: Where procfs is.
        cgroups: Where cgroups are.

    Returns:
        Empty if it is in no memory cgroup that we see.
    """
    found: list[Path] = []
    with contextlib.suppress(OSError, ValueError):
        for line in (proc / str(pid) / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                roots, name = [cgroups, cgroups / "unified"], "memory.events"
            elif "memory" in controllers.split(","):
                roots, name = [cgroups / "memory"], "memory.oom_control"
            else:
                continue
            for root in roots:
                own = root / path.lstrip("/")
                found += [f / name for f in (own, *own.parents) if f == root or root in f.parents]
    return [path for path in found if path.exists()]


class Kills:
    """Counts of kills as they were a moment ago.

    Args:
        clock: Monotonic seconds.
        proc: Where procfs is.
    """

    def __init__(self, clock: Callable[[], float], *, proc: Path = _PROC) -> None:
        self._clock = clock
        #: Counts the kills of the whole machine.
        self.machine = proc / "vmstat"
        self._counts: dict[Path, deque[tuple[float, int]]] = {}

    def count(self, path: Path) -> None:
        """Note the present count of a file; at most once in half a second."""
        counts = self._counts.setdefault(path, deque())
        now = self._clock()
        if counts and now - counts[-1][0] < _WINDOW_S / 10:
            return
        found = _oom_kills(path)
        if found is not None:
            counts.append((now, found))
        while len(counts) > 1 and counts[1][0] < now - _WINDOW_S:
            counts.popleft()

    def since(self, path: Path) -> int | None:
        """How many there were lately; ``None`` if the file does not say."""
        counts, now = self._counts.get(path), _oom_kills(path)
        return None if not counts or now is None else max(0, now - counts[0][1])


def _oom_kills(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None


class KernelLog:
    """What the kernel says from now on of processes that it kills.

    Args:
        fd: A descriptor that does not block, read and closed by us; -1 where we may not read it.
        clock: Monotonic seconds.
    """

    def __init__(self, fd: int, clock: Callable[[], float]) -> None:
        self._fd = fd
        self._clock = clock
        self._named: deque[int] = deque(maxlen=1000)
        self._gap_at_s = -_GAP_S

    @classmethod
    def open(cls, clock: Callable[[], float]) -> KernelLog:
        """The log of this machine, if we may read it and see processes by the ids that it names."""
        fd = -1
        with contextlib.suppress(OSError):
            if (_PROC / "self/ns/pid").stat().st_ino == _FIRST_NAMESPACE:
                fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                os.lseek(fd, 0, os.SEEK_END)
        return cls(fd, clock)

    def read(self) -> None:
        """Take in what it has said since; often enough that nothing is overwritten before."""
        while self._fd >= 0:
            try:
                line = os.read(self._fd, 8192).decode("utf-8", "replace")
            except BlockingIOError:
                return
            except BrokenPipeError:  # lines were overwritten before they were read
                self._gap_at_s = self._clock()
                continue
            except OSError:
                self.close()
                return
            if not line:
                return
            self._named.extend(int(found) for found in _KILLED_LINE.findall(line))

    def names(self, pid: int) -> bool | None:
        """Whether it has named this process; ``None`` if it was not, and the log may lack lines."""
        self.read()
        if pid in self._named:
            return True
        is_whole = self._fd >= 0 and self._clock() - self._gap_at_s >= _GAP_S
        return False if is_whole else None

    def forget(self, pid: int) -> None:
        """Another process has this id now."""
        while pid in self._named:
            self._named.remove(pid)

    def close(self) -> None:
        """Let go of it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
