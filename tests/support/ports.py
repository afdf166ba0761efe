"""Ports on the loopback for programs that a test starts.

A port is tried and then taken by somebody else, so two that look at the same time may find the same
one free. The workers of pytest-xdist therefore look in ranges of their own, and nobody is given a
port that this process has given out before. What is left, another program on the machine, the
harness meets by starting again: see ``Program.start``.
"""

from __future__ import annotations

import os
import random
import socket
import threading

__all__ = ["free_port", "port_range"]

#: Below the range that outgoing connections are given, so that a port is free after a restart too.
_FIRST_PORT, _LAST_PORT = 12_000, 31_999
_dice = random.SystemRandom()
_given: set[int] = set()
_lock = threading.Lock()


def free_port() -> int:
    """A port on the loopback that nothing listens on, and that was not given out before."""
    ports = port_range()
    with _lock:
        if len(_given) > len(ports) // 2:
            _given.clear()  # whoever had the first of them is long gone
        while True:
            port = _dice.choice(ports)
            if port not in _given and _is_free(port):
                _given.add(port)
                return port


def port_range() -> range:
    """The ports of this process: a part of all if it is one of several workers of pytest-xdist."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(worker) if worker.isdigit() else 0
    size = (_LAST_PORT + 1 - _FIRST_PORT) // max(count, number + 1)
    first = _FIRST_PORT + number * size
    return range(first, first + size)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
