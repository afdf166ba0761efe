"""SIGTERM: open jobs end as ``interrupted`` and everything is flushed before the process ends.

Only the default action, which ends the process on the spot, is replaced, and it is carried out
afterwards. A handler of the application's own is left as it is: it decides whether jobs finish
(a warm shutdown) or end (``SystemExit`` ends them as ``interrupted`` by itself), and a handler
that is installed later may chain to ours.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from fiveobs._report import report


def install(interrupt: Callable[[], bool]) -> None:
    """Call ``interrupt`` on SIGTERM, where that would end the process. Main thread only.

    Args:
        interrupt: Does what is to be done before the end; ``False`` if it sends the signal again
            later, because something must be finished first.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return

    def on_sigterm(signum: int, frame: FrameType | None) -> None:
        if interrupt():
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    try:
        signal.signal(signal.SIGTERM, on_sigterm)
    except (ValueError, OSError) as exc:  # not in the main interpreter
        report("sigterm", f"cannot be watched: {exc}")
