"""What this process and its machine use: CPU, memory, disk and network.

Inside a container the memory limit is the cgroup's, not the host's. Figures that the system does
not give are ``None``. Sources: psutil; the kernel's cgroup v2 (``memory.max``, ``memory.current``)
and v1 (``memory.limit_in_bytes``, ``memory.usage_in_bytes``) files.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from pathlib import Path
from typing import NamedTuple

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_STATM, _IO, _NETWORK = "/proc/self/statm", "/proc/self/io", "/proc/self/net/dev"
#: The kernel gives a page at a time, some 30 interfaces.
_READ_BYTES = 16_384
#: Counters whose difference is told of a stage.
_MOVED = ("io_read_bytes", "io_write_bytes", "network_receive_bytes", "network_transmit_bytes")
#: The last resident memory that could be read, in bytes.
_last_rss_bytes = 0


class Usage(NamedTuple):
    """What the process has used so far."""

    cpu_s: float
    rss_bytes: int
    io_read_bytes: int | None
    io_write_bytes: int | None
    #: Reads and writes that it has asked the system for.
    io_operations: int | None = None
    #: Of all interfaces of the process's network namespace, the loopback included, since that is
    #: there: the system does not count them by process.
    network_receive_bytes: int | None = None
    network_transmit_bytes: int | None = None


class MemoryLimit(NamedTuple):
    """The memory that the process and its neighbours in the container share."""

    used_bytes: int
    limit_bytes: int


@functools.cache
def _process_of(pid: int) -> psutil.Process:
    return psutil.Process(pid)


def process() -> psutil.Process:
    """This process; a fork's child gets its own."""
    return _process_of(os.getpid())


def identity() -> dict[str, str]:
    """Which process of which machine this is, however ids repeat, as a resource attribute.

    ``fiveobs.process`` is the id of the system's present run (the same in all its containers), the
    number of the process's pid namespace, and the tick of its start: who sees the process id can
    tell whether it is still this process. Empty where there is no ``/proc``.

    Source: proc(5), ``/proc/sys/kernel/random/boot_id``, field 22 of ``/proc/self/stat``.
    """
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return {}
    return {"fiveobs.process": f"{boot_id}/{namespace}/{started}"}


def usage() -> Usage:
    """What this process has used; about 40 µs."""
    global _last_rss_bytes
    # What cannot be read now (no descriptor is left, say) must not cost a sign of life or a stage.
    rss_bytes = _rss_bytes()
    if rss_bytes is not None:
        _last_rss_bytes = rss_bytes
    return Usage(time.process_time(), _last_rss_bytes, *_io(), *_network())


def _rss_bytes(path: str | Path = _STATM) -> int | None:
    """Resident memory.

    Source: proc(5), ``/proc/self/statm``: the second number, in pages. Read here, because psutil
    takes three times as long; so are the two below.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(_content(path).split(None, 2)[1]) * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(psutil.Error, OSError):
        return int(process().memory_info().rss)
    return None


def _io(path: str | Path = _IO) -> tuple[int, int, int] | tuple[None, None, None]:
    """Bytes that it had disks read and write, and how often it has asked to read or write.

    Source: proc(5), ``/proc/self/io``; it may not be read by who has changed its user.
    """
    with contextlib.suppress(OSError, ValueError, KeyError):
        words = _content(path).split()
        said = dict(zip(words[::2], map(int, words[1::2]), strict=True))
        operations = said[b"syscr:"] + said[b"syscw:"]
        return said[b"read_bytes:"], said[b"write_bytes:"], operations
    with contextlib.suppress(psutil.Error, OSError):
        me = process()
        if hasattr(me, "io_counters"):
            counters = me.io_counters()
            operations = counters.read_count + counters.write_count
            return counters.read_bytes, counters.write_bytes, operations
    return None, None, None


def _network(path: str | Path = _NETWORK) -> tuple[int, int] | tuple[None, None]:
    """Bytes received and sent since the network namespace is there.

    Source: the kernel's ``/proc/net/dev``: two lines of headings, then for each interface its name,
    a colon and 16 counters, of which the 1st and the 9th are bytes. Read here, because psutil takes
    three times as long.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        received = sent = 0
        for line in _content(path).splitlines()[2:]:
            counters = line[line.rfind(b":") + 1 :].split(None, 9)
            received += int(counters[0])
            sent += int(counters[8])
        return received, sent
    with contextlib.suppress(psutil.Error, OSError):
        total = psutil.net_io_counters(nowrap=False)
        if total is not None:
            return total.bytes_recv, total.bytes_sent
    return None, None


def _content(path: str | Path) -> bytes:
    """What a file of the kernel's has; ``Path.read_bytes`` takes twice as long."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        parts = iter(lambda: os.read(file, _READ_BYTES), b"")
        return b"".join(parts)
    finally:
        os.close(file)


def usage_between(before: Usage, after: Usage) -> dict[str, float | int]:
    """What was used between two looks, as event data."""
    data: dict[str, float | int] = {
        "cpu_s": round(after.cpu_s - before.cpu_s, 6),
        "memory_rss_bytes": after.rss_bytes,
        "memory_growth_bytes": after.rss_bytes - before.rss_bytes,
    }
    for name in _MOVED:
        was, now = getattr(before, name), getattr(after, name)
        if was is not None and now is not None:
            data[name] = now - was
    return data


def memory_limit(root: Path = _CGROUP) -> MemoryLimit:
    """The container's limit and use, or the machine's where there is no limit below its memory.

    cgroup v2 says "no limit" with the word ``max``, v1 with a number near 2^63. Zeros where the
    system does not say.
    """
    try:
        memory = psutil.virtual_memory()
    except (psutil.Error, OSError):
        return MemoryLimit(0, 0)
    for folder, used, limit in _cgroup_files(root):
        limit_bytes = _read_bytes(folder / limit)
        used_bytes = _read_bytes(folder / used)
        if limit_bytes is not None and used_bytes is not None and limit_bytes < memory.total:
            return MemoryLimit(used_bytes, limit_bytes)
    return MemoryLimit(memory.total - memory.available, memory.total)


def cpu_count(root: Path = _CGROUP) -> float | None:
    """CPUs that the process may use: those it is bound to, or less where its container has less."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quotas = [_quota(folder) for folder in [*_own_groups(root), root]]
    return min((float(each) for each in (bound, *quotas) if each), default=None)


def _quota(folder: Path) -> float | None:
    """CPUs by cgroup v2's ``cpu.max``: microseconds of CPU time in each period, or ``max``."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _cgroup_files(root: Path) -> list[tuple[Path, str, str]]:
    """Where limits may be, the nearest group first."""
    found = [(folder, "memory.current", "memory.max") for folder in [*_own_groups(root), root]]
    v1 = root / "memory"
    return [*found, (v1, "memory.usage_in_bytes", "memory.limit_in_bytes")]


def _own_groups(root: Path) -> list[Path]:
    """The process's cgroup v2 and its parents below the root."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                path = root / line.removeprefix("0::/")
                return [each for each in (path, *path.parents) if root in each.parents]
    return []


def _read_bytes(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
