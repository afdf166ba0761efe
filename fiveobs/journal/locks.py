"""Who owns a stem: a record lock that the kernel gives back however the owner ends.

POSIX record locks are not inherited by a fork, so a child never keeps a dead parent's journal
from being adopted. They do not conflict within one process, and closing any descriptor of the
file gives them back, so a process must not even open its own: ``StemLock`` knows those it holds.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import threading
from pathlib import Path

from fiveobs.journal.segments import OPEN_FLAGS

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: Linux's ``struct flock`` for `fcntl`: type, whence, start, length, process id.
_FLOCK = "hhqqi0q"
#: How often an owner tries: another process may just be looking whether the file is locked.
_ATTEMPTS = 20

#: What a file is to the system, whatever path leads to it: device and inode.
_Identity = tuple[int, int]
#: Files locked by this process, by pid: a fork's child holds none of its parent's.
_held: dict[int, set[_Identity]] = {}
#: Guards the above, by pid: a child must not wait for a lock that its parent's thread held.
_guards: dict[int, threading.RLock] = {}


class StemLock:
    """A lock on one stem's ``.lock`` file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._identity: _Identity = (0, 0)

    def acquire(self, *, create: bool) -> bool:
        """Take the lock without waiting.

        Returns:
            ``False`` if another process (or this one) holds it, or the file cannot be opened.
        """
        with _guard():
            return any(self._try(create=create) for _ in range(_ATTEMPTS if create else 1))

    def _try(self, *, create: bool) -> bool:
        if _is_held_here(self.path):
            return False  # and not opened either: closing it again would give the lock back
        try:
            fd = os.open(self.path, os.O_RDWR | OPEN_FLAGS | (os.O_CREAT if create else 0), 0o600)
        except OSError:
            return False
        if _lock(fd) and _is_at(fd, self.path):
            self._fd, self._identity = fd, _identity(os.fstat(fd))
            _held.setdefault(os.getpid(), set()).add(self._identity)
            return True
        os.close(fd)
        return False

    def is_intact(self) -> bool:
        """Whether we hold the lock, and others find it where it should be."""
        return self._fd >= 0 and _is_at(self._fd, self.path)

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back, and remove the file if the stem is finished; idempotent."""
        with _guard():
            fd, self._fd = self._fd, -1
            if fd < 0:
                return
            with contextlib.suppress(OSError):
                if remove and _is_at(fd, self.path):
                    self.path.unlink()
            with contextlib.suppress(OSError):
                os.close(fd)
            _held.get(os.getpid(), set()).discard(self._identity)

    def abandon(self) -> None:
        """In a forked child: close the descriptor; the parent's lock is not touched by that."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def is_held_elsewhere(self) -> bool:
        """Whether a living process, this one included, owns the stem."""
        if _is_held_here(self.path):
            return True
        if not self.acquire(create=False):
            return self.path.exists()
        self.release()
        return False


def holder_pid(path: Path) -> int | None:
    """Which process holds a stem's lock, without taking it for a moment. Linux only.

    Returns:
        Its id as seen from here; 0 for one that cannot be seen from here (on another machine, or
        in a container beside ours); ``None`` if nobody holds it or there is no such file.

    Raises:
        OSError: The file system does not tell.
    """
    with _guard():
        if _is_held_here(path):
            return os.getpid()
        try:
            fd = os.open(path, os.O_RDONLY | OPEN_FLAGS)
        except FileNotFoundError:
            return None
        try:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
        finally:
            os.close(fd)
    return None if kind == fcntl.F_UNLCK else max(pid, 0)


def is_held(path: Path) -> bool:
    """Whether somebody holds a stem's lock; where nobody can tell, a lock that is there is held."""
    if sys.platform != "linux":
        return StemLock(path).is_held_elsewhere()
    try:
        return holder_pid(path) is not None
    except OSError:
        return path.exists()


def _guard() -> threading.RLock:
    return _guards.setdefault(os.getpid(), threading.RLock())


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _is_held_here(path: Path) -> bool:
    try:
        return _identity(os.stat(path)) in _held.get(os.getpid(), ())
    except OSError:
        return False


def _is_at(fd: int, path: Path) -> bool:
    """Whether the locked file is still the one at ``path``: it may have been removed meanwhile."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False


def _lock(fd: int) -> bool:
    """Lock the file's first byte; ``False`` if somebody else has it or locks do not work here."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
