"""Watches the workers' processes of this machine, so that how they end is known.

Who owns a journal is told by the lock on it, as the kernel knows it: the process id that holds it,
if it is the one in the journal's name. For each such process a pidfd is held, which becomes
readable when the process ends and gives its exit status though it is no child of ours (Linux 6.15;
before, the status is in ``/proc`` until the parent has asked for it). Whatever the system does not
have or not tell is left out.

A process must be found before it ends, be it a moment after it began. So this is done by a thread
of its own, which waits for no store; what it knows may be asked by others.

Source: pidfd_open(2); linux/pidfd.h, ``PIDFD_GET_INFO``; inotify(7); proc(5).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fiveobs.journal.locks import holder_pid
from fiveobs.journal.segments import LOCK_SUFFIX
from fiveobs.monitor.evidence import Exit, Limits, Memory, Use, reached
from fiveobs.monitor.kills import KernelLog, Kills, counters

__all__ = ["HERTZ", "Death", "Processes", "exit_of_zombie", "is_running", "own_identity"]

_PROC = Path("/proc")
_GET_INFO = 3 << 30 | 64 << 16 | 0xFF << 8 | 11
_INFO = "QQ11Ii"
_INFO_EXIT = 1 << 3
#: A process may have begun this much after its journal by the clocks that tell, in seconds.
_CLOCKS_S = 3.0
#: How often what the processes use is noted, in seconds.
_LOOK_S = 0.5
#: How long an exit status is waited for: the parent has to ask for it first.
_STATUS_WAIT_S = 2.0
#: A lock that was not its owner's is looked at again after so many seconds.
_AGAIN_S = 2.0
#: A file is there for a moment before it is locked, in seconds.
_YOUNG_S = 0.1
#: How long back what a process used is kept: so many looks.
_KEPT_USES = 20
_MOST_DEATHS = 10_000
#: Ticks of a second, in which the kernel says when a process began.
HERTZ = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Death(NamedTuple):
    """The end of a process."""

    pid: int
    #: Monotonic seconds.
    at_s: float
    exit: Exit | None
    memory: Memory


class _Stat(NamedTuple):
    """What ``/proc/PID/stat`` says."""

    state: str
    threads: int
    started_ticks: int
    #: As ``waitpid`` has it; ``None`` if we may not know.
    status: int | None


class _Watch:
    """A process that lives, or has just ended."""

    def __init__(self, stem: str, pid: int, fd: int) -> None:
        self.stem = stem
        self.pid = pid
        self.fd = fd
        self.uses: deque[Use] = deque(maxlen=_KEPT_USES)
        self.limits = Limits()
        self.counters = counters(pid)
        #: When it ended, if its exit status is still waited for.
        self.ended_at_s = 0.0


class Processes:
    """The processes that own the journals of a folder, as far as they run on this machine.

    Nothing is known of any unless `run` runs. All else may be called from any thread.

    Args:
        folder: The journal folder.
        clock: Monotonic seconds.
    """

    name = "processes"

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        #: Held for all but waiting.
        self._lock = threading.Lock()
        self._watched: dict[str, _Watch] = {}
        self._deaths: dict[str, Death] = {}
        self._look_again_at: dict[str, float] = {}
        #: When a lock was first seen that is not its owner's.
        self._first_at: dict[str, float] = {}
        #: When the folder was last changed, as far as is known.
        self._changed_ns = -1
        #: There is a lock file that is not locked yet.
        self._is_expecting = False
        self._poll = select.poll() if hasattr(select, "poll") else None
        self._most = _most_files()
        self._kills = Kills(clock)
        self._log = KernelLog(-1, clock)
        self._is_able = self._poll is not None and hasattr(os, "pidfd_open")
        self._arrivals = _Arrivals(folder)

    # --- what is known -----------------------------------------------------------------------

    def is_alive(self, stem: str) -> bool:
        """Whether the journal's process is watched and has not ended; ``False`` may be both."""
        with self._lock:
            watch = self._watched.get(stem)
            return watch is not None and not watch.ended_at_s

    def is_ending(self, stem: str) -> bool:
        """Whether it has ended and its exit status is still waited for."""
        with self._lock:
            watch = self._watched.get(stem)
            return watch is not None and watch.ended_at_s > 0

    def death(self, stem: str) -> Death | None:
        """How the journal's process ended, if that was seen."""
        with self._lock:
            return self._deaths.get(stem)

    def is_named(self, pid: int) -> bool | None:
        """Whether the kernel's log says that it killed this process for want of memory.

        ``None`` if the log cannot be read.
        """
        with self._lock:
            return self._log.names(pid)

    def forget(self, stem: str) -> None:
        """Its death is dealt with."""
        with self._lock:
            self._deaths.pop(stem, None)

    # --- looking -----------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Watch until told to stop."""
        look_at_s = 0.0
        self._log = KernelLog.open(self._clock)
        try:
            while not stop.is_set():
                with self._lock:
                    if self._clock() >= look_at_s:
                        look_at_s = self._clock() + _LOOK_S
                        self._look()
                    else:
                        self._glance()
                ended = self._wait(self._pause_s)
                with self._lock:
                    self._note(ended)
        finally:
            with self._lock:
                self._close()

    @property
    def _pause_s(self) -> float:
        """How often to look: closely where limits are set, because they are reached quickly."""
        if self._is_expecting:
            return 0.005
        return 0.05 if any(each.limits.are_set for each in self._watched.values()) else 0.1

    def _look(self) -> None:
        """Find new processes, and see what those that are known use."""
        if not self._is_able:
            return
        if self._arrivals.open() and self._poll is not None:
            self._poll.register(self._arrivals.fd, select.POLLIN)
        self._log.read()
        self._kills.count(self._kills.machine)
        with contextlib.suppress(OSError):
            self._find()
        for watch in self._watched.values():
            self._sample(watch)

    def _glance(self) -> None:
        """Find new processes if there may be any, and see what those with limits use; cheap."""
        if not self._is_able:
            return
        with contextlib.suppress(OSError):
            changed_ns = self._folder.stat().st_mtime_ns
            if changed_ns != self._changed_ns or self._is_expecting:
                self._changed_ns = changed_ns
                self._find()
        for watch in self._watched.values():
            if watch.limits.are_set:
                self._sample(watch)

    def _wait(self, timeout_s: float) -> set[int]:
        """Until a process ends or a file is made, or so many seconds; whose descriptors tell so."""
        if self._poll is None:
            time.sleep(timeout_s)
            return set()
        return {fd for fd, _ in self._poll.poll(timeout_s * 1000)}

    def _note(self, ended: set[int]) -> None:
        """See how the processes ended."""
        if self._arrivals.fd in ended:
            self._arrivals.drain()
            self._changed_ns = -1
        for watch in list(self._watched.values()):
            if watch.fd in ended and self._poll is not None:
                self._poll.unregister(watch.fd)
                watch.ended_at_s = self._clock()
            if watch.ended_at_s:
                self._end(watch)

    def _close(self) -> None:
        """Let go of everything."""
        for watch in self._watched.values():
            os.close(watch.fd)
        self._watched.clear()
        self._poll = select.poll() if self._is_able else None
        self._arrivals.close()
        self._arrivals = _Arrivals(self._folder)
        self._log.close()

    # --- one process -------------------------------------------------------------------------

    def _find(self) -> None:
        now = self._clock()
        with os.scandir(self._folder) as entries:
            names = [each.name for each in entries if each.name.endswith(LOCK_SUFFIX)]
        stems = {name.removesuffix(LOCK_SUFFIX) for name in names}
        self._is_expecting = False
        self._look_again_at = {s: t for s, t in self._look_again_at.items() if s in stems}
        self._first_at = {s: t for s, t in self._first_at.items() if s in stems}
        for stem in stems - self._watched.keys() - self._deaths.keys():
            if now < self._look_again_at.get(stem, 0.0) or self._open(stem):
                continue
            first_at = self._first_at.setdefault(stem, now)
            is_young = now - first_at < _YOUNG_S
            self._is_expecting |= is_young
            self._look_again_at[stem] = now + (0.0 if is_young else _AGAIN_S)

    def _open(self, stem: str) -> bool:
        """Hold on to the process that owns a journal; whether that was done."""
        path = self._folder / f"{stem}{LOCK_SUFFIX}"
        if len(self._watched) >= self._most or self._poll is None:
            return False
        try:
            pid = holder_pid(path)
            if not pid or pid == os.getpid() or not _owns(pid, stem):
                return False
            fd = os.pidfd_open(pid)
            if holder_pid(path) != pid:  # another process by the same id
                os.close(fd)
                return False
        except OSError:
            return False
        self._log.forget(pid)
        self._watched[stem] = watch = _Watch(stem, pid, fd)
        self._poll.register(fd, select.POLLIN)
        self._sample(watch)
        return True

    def _sample(self, watch: _Watch) -> None:
        if watch.ended_at_s:
            return
        for path in watch.counters:
            self._kills.count(path)
        with contextlib.suppress(OSError, ValueError, KeyError):
            watch.limits = _limits(watch.pid)
            watch.uses.append(_use(watch.pid, self._clock()))

    def _end(self, watch: _Watch) -> None:
        found, is_final = _exit(watch)
        if not is_final and self._clock() - watch.ended_at_s < _STATUS_WAIT_S:
            return
        kills = (self._kills.since(path) for path in watch.counters)
        memory = Memory(
            # Of its own cgroup, or of the nearest one above that is still there.
            oom_kills=next((each for each in kills if each is not None), None),
            machine_kills=self._kills.since(self._kills.machine),
            is_named=self._log.names(watch.pid),
            limit_reached=reached(watch.limits, watch.uses, watch.ended_at_s),
        )
        while len(self._deaths) >= _MOST_DEATHS:  # of journals that are in no store
            del self._deaths[next(iter(self._deaths))]
        self._deaths[watch.stem] = Death(watch.pid, watch.ended_at_s, found, memory)
        del self._watched[watch.stem]
        os.close(watch.fd)


def _exit(watch: _Watch) -> tuple[Exit | None, bool]:
    """How it ended, and whether there is nothing more to come."""
    stat = _stat(watch.pid)
    if stat is not None and stat.state in "ZX":
        if stat.status is not None:
            return Exit.of_status(stat.status), True
        return None, False
    try:
        import fcntl

        asked = bytearray(struct.pack("QQ", _INFO_EXIT, 0) + bytes(struct.calcsize(_INFO) - 16))
        fcntl.ioctl(watch.fd, _GET_INFO, asked)
    except OSError:  # a kernel that keeps no status
        return None, True
    mask, *_, status = struct.unpack(_INFO, asked)
    return (Exit.of_status(status), True) if mask & _INFO_EXIT else (None, False)


class _Arrivals:
    """Tells at once that a file was made in a folder; without inotify (Linux) it never does."""

    _CREATE, _MOVED_TO = 0x100, 0x80

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.fd = -1
        self._is_there = sys.platform == "linux"

    def open(self) -> bool:
        """Begin, if that has not been done and the folder is there; whether it was done now."""
        if self.fd >= 0 or not self._is_there or not self._folder.exists():
            return False
        self._is_there = False
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            name, events = os.fsencode(self._folder), self._CREATE | self._MOVED_TO
            if fd >= 0 and libc.inotify_add_watch(fd, name, events) >= 0:
                self.fd = fd
                return True
            if fd >= 0:
                os.close(fd)
        return False

    def drain(self) -> None:
        """Forget what it has told."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.fd, 65_536):
                pass

    def close(self) -> None:
        """Let go of it."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _most_files() -> int:
    """How many pidfds we may hold: a quarter of the files that we may open."""
    try:
        import resource
    except ImportError:
        return 0
    return int(resource.getrlimit(resource.RLIMIT_NOFILE)[0]) // 4


# --- /proc -------------------------------------------------------------------------------------


def own_identity() -> tuple[str, str]:
    """The system's present run and our pid namespace, as ``fiveobs.process`` names them."""
    try:
        boot_id = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return boot_id, str((_PROC / "self/ns/pid").stat().st_ino)
    except OSError:
        return "", ""


def is_running(pid: int, started_ticks: int) -> bool:
    """Whether the process that has this id and began at this tick still runs."""
    stat = _stat(pid)
    if stat is None or stat.started_ticks != started_ticks:
        return False
    # A first thread that has ended is shown as Z while others go on.
    return stat.state not in "ZX" or stat.threads > 1


def exit_of_zombie(pid: int, started_ticks: int) -> Exit | None:
    """How it ended, if its parent has not asked yet."""
    stat = _stat(pid)
    if stat is None or stat.started_ticks != started_ticks or stat.status is None:
        return None
    return Exit.of_status(stat.status) if stat.state == "Z" else None


def _stat(pid: int) -> _Stat | None:
    folder = _PROC / str(pid)
    try:
        parts = (folder / "stat").read_text().rpartition(")")[2].split()
        may_know = os.geteuid() in (0, folder.stat().st_uid)
        return _Stat(parts[0], int(parts[17]), int(parts[19]), int(parts[49]) if may_know else None)
    except (OSError, ValueError, IndexError):
        return None


def _owns(pid: int, stem: str) -> bool:
    """Whether the process is the one in a journal's name, and not another by its id."""
    *_, own_pid, started_us = stem.rsplit("-", 2)
    stat = _stat(pid)
    if stat is None or _inner_pid(pid) != own_pid or not started_us.isdecimal():
        return False
    began_s = _boot_s() + stat.started_ticks / HERTZ
    return began_s <= int(started_us) / 1e6 + _CLOCKS_S


def _inner_pid(pid: int) -> str:
    """Its id in its own namespace."""
    for line in _lines(pid, "status"):
        if line.startswith("NSpid:"):
            return line.split()[-1]
    return str(pid)


def _boot_s() -> float:
    """When the system began, in seconds since 1970: now, as the clock may have been set since."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _lines(pid: int, name: str) -> Iterator[str]:
    yield from (_PROC / str(pid) / name).read_text().splitlines()


def _use(pid: int, now: float) -> Use:
    found = {}
    for line in _lines(pid, "status"):
        name, _, rest = line.partition(":")
        if name.startswith("Vm"):
            found[name] = int(rest.split()[0]) * 1024
    return Use(now, found["VmSize"], found["VmPeak"], found["VmData"], found["VmRSS"])


def _limits(pid: int) -> Limits:
    found: dict[str, int | None] = {}
    for line in _lines(pid, "limits"):
        for name in ("Max address space", "Max data size"):
            if line.startswith(name):
                soft = line.removeprefix(name).split()[0]
                found[name] = int(soft) if soft.isdecimal() else None
    return Limits(found.get("Max address space"), found.get("Max data size"))
