"""Ports on the loopback for programs that a test starts.

A port is tried and then taken by somebody else, so two that look at the same time may find the same
one free. The workers of pytest-xdist therefore look in ranges of their own, and nobody is given a
port that this process has given out before. What is left, another program on the machine, the
harness meets by starting again: see ``Program.start``.

A port that a receiver leaves for a while and comes back to is held: the kernel would give it to
somebody's outgoing connection meanwhile.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import weakref

__all__ = ["HOST", "free_port", "hold", "is_free", "port_range"]

#: Below the range that outgoing connections are given, so that a port is free after a restart too.
_FIRST_PORT, _LAST_PORT = 12_000, 31_999
HOST = "127.0.0.1"
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
            if port not in _given and is_free(port):
                _given.add(port)
                return port


def hold(owner: object, port: int = 0) -> int:
    """Keep a port on the loopback from everybody else for as long as ``owner`` lives.

    Whoever listens on it needs ``SO_REUSEADDR``. While nobody does, connections are refused.

    Args:
        owner: What comes back to the port; when it is gone, the port is free.
        port: Which; 0 takes one that is free.

    Returns:
        The port.

    Raises:
        OSError: Somebody listens on it.
    """
    holder = socket.socket()
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOST, port))
        held: int = holder.getsockname()[1]
    except BaseException:
        holder.close()
        raise
    weakref.finalize(owner, os.close, holder.detach())
    return held


def port_range() -> range:
    """The ports of this process: a part of all if it is one of several workers of pytest-xdist."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(worker) if worker.isdigit() else 0
    size = (_LAST_PORT + 1 - _FIRST_PORT) // max(count, number + 1)
    first = _FIRST_PORT + number * size
    return range(first, first + size)


def is_free(port: int) -> bool:
    """Whether nobody has the port: listens on it, holds it, or has a connection from it."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
