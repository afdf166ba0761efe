"""Redis on a port of its own, which keeps nothing on disk."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import ClassVar

from tests.peers.harness.program import HOST, Program, absent, free_port

__all__ = ["Redis"]


class Redis(Program):
    """A ``redis-server`` without persistence: what it held is gone when it was stopped.

    Args:
        folder: Where its output goes.
    """

    name: ClassVar[str] = "redis-server"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it is, as clients want it; another database's number may be appended."""
        return f"redis://{HOST}:{self.port}/"

    def command(self) -> list[str]:
        """The command line."""
        program = shutil.which("redis-server")
        if program is None:
            absent("redis-server", "apt-get install redis-server")
        options = {
            "bind": HOST,
            "port": str(self.port),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
        }
        return [
            str(program),
            *(part for key, value in options.items() for part in (f"--{key}", value)),
        ]

    def is_ready(self) -> bool:
        """Whether it answers a PING."""
        try:
            with socket.create_connection((HOST, self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
