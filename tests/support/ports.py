"""Ports on the loopback for programs that a test starts."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]

#: Below the range that outgoing connections are given, so that a port is free after a restart too.
_FIRST_PORT, _LAST_PORT = 12_000, 31_999
_dice = random.SystemRandom()


def free_port() -> int:
    """A port on the loopback that nothing listens on."""
    while True:
        port = _dice.randint(_FIRST_PORT, _LAST_PORT)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
