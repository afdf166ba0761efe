"""Keeps a fork from happening while one of our threads loads a module.

A child forked at that moment would inherit a half-loaded module and a lock on it that nobody holds
any more, and would wait for it forever. So whoever forks waits until the loading is done: some
milliseconds, once. A fork from C runs no such hook: there the child's own lock at least is new.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

#: Longest that a fork waits, in seconds.
_LONGEST_WAIT_S = 5.0


class _Loading:
    """A context manager for what loads modules; may be nested."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._watches = False
        self._forking = False

    def __enter__(self) -> None:
        """Begin to load."""
        if self._pid != os.getpid():
            self._anew()
        self._lock.acquire()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Loaded."""
        self._lock.release()

    def watch_forks(self) -> None:
        """Have forks wait from now on; idempotent."""
        if self._watches or not hasattr(os, "register_at_fork"):
            return
        self._watches = True
        os.register_at_fork(
            before=self._before, after_in_parent=self._after, after_in_child=self._anew
        )

    def _before(self) -> None:
        self._forking = self._lock.acquire(timeout=_LONGEST_WAIT_S)

    def _after(self) -> None:
        if self._forking:
            self._forking = False
            self._lock.release()

    def _anew(self) -> None:
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._forking = False


loading = _Loading()
