"""A worker whose jobs end as they should not; run as a program.

``python -m tests.support.dying ENDING [COUNT]`` starts COUNT jobs, one inside the other, says the
id of the innermost, waits for a line on standard input, and ends in the way that is named.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from fiveobs import observe_job

_MIB = 1024 * 1024
_LIMIT_BYTES = 1024 * _MIB
_QUIET_S = float(os.environ.get("DYING_QUIET_S", "60"))


def _malloc() -> Callable[[int], int | None]:
    malloc = ctypes.CDLL(None).malloc
    malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    return malloc  # type: ignore[no-any-return]


def kill() -> None:
    """As an operator or a supervisor does."""
    os.kill(os.getpid(), signal.SIGKILL)


def run_out_of_the_cgroup() -> None:
    """As a leak in a container does."""
    kept = []
    while True:
        kept.append(b"x" * _MIB)


def kill_after_child() -> None:
    """As a supervisor does that ends a worker whose child was killed for want of memory."""
    child = subprocess.run(
        [sys.executable, "-c", "x = []\nwhile True: x.append(b'x' * 1048576)"], check=False
    )
    if child.returncode == -signal.SIGKILL:
        os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    """As libraries do that think nobody else is there."""
    os._exit(7)


def run_out_in_c() -> None:
    """As C++ does: what cannot be had is not asked for twice."""
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))
    malloc = _malloc()
    while place := malloc(_MIB):
        ctypes.memset(place, 1, _MIB)
    os.abort()


def run_out_unchecked() -> None:
    """As C does that never looks whether it got what it asked for."""
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))
    malloc = _malloc()
    while True:
        ctypes.memset(malloc(_MIB) or 0, 1, _MIB)


def run_out_in_python() -> None:
    """As a program that gives up when memory does."""
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))
    kept = []
    try:
        while True:
            kept.append(b"x" * _MIB)
    except MemoryError:
        os._exit(1)


def block() -> None:
    """Keep the interpreter from everything else: no heartbeat either."""
    ctypes.PyDLL(None).usleep(int(_QUIET_S * 1e6))


def sleep() -> None:
    """Say nothing for long."""
    time.sleep(_QUIET_S)


ENDINGS: dict[str, Callable[[], None]] = {
    "kill": kill,
    "kill_after_child": kill_after_child,
    "run_out_of_the_cgroup": run_out_of_the_cgroup,
    "leave": leave,
    "run_out_in_c": run_out_in_c,
    "run_out_unchecked": run_out_unchecked,
    "run_out_in_python": run_out_in_python,
    "block": block,
    "sleep": sleep,
}


def main(ending: str, count: int) -> None:
    """Run the jobs, and end."""
    with contextlib.ExitStack() as stack:
        for number in range(count):
            job_id = f"{ending}-{os.getpid()}-{number}"
            stack.enter_context(observe_job("dying", service="faults", job_id=job_id))
        print(job_id, flush=True)  # the innermost one
        sys.stdin.readline()
        ENDINGS[ending]()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
