"""Wakes a thread of ours that rests.

Not an ``Event``, whose lock would be held for ever if a signal handler woke the thread while its
own thread was doing so. Nor a ``SimpleQueue``: in CPython up to 3.12 its ``get`` may wait for ever
where the time it was given is over within microseconds.
"""

from __future__ import annotations

import contextlib
import threading


class Wake:
    """Set by anybody, waited for by one thread; whoever waits has used it up."""

    __slots__ = ("_unset",)

    def __init__(self) -> None:
        #: Held while it is not set.
        self._unset = threading.Lock()
        self._unset.acquire()

    def set(self) -> None:
        """Let the thread go on, or not rest the next time; once is enough, and never blocks."""
        if self._unset.locked():
            with contextlib.suppress(RuntimeError):  # set by somebody else just now
                self._unset.release()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Rest until it is set, and use that up.

        Args:
            timeout_s: Rest no longer than that, in seconds; ``None`` is for ever.

        Returns:
            Whether it was set.
        """
        if timeout_s is None:
            return self._unset.acquire()
        return self._unset.acquire(timeout=min(max(timeout_s, 0.0), threading.TIMEOUT_MAX))
