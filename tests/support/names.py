"""A name service that hangs for as long as it is told to, and then knows every name.

A program asks it when it runs in a mount namespace of its own, where ``/etc/resolv.conf`` names it
(Linux, as root); :meth:`NameServer.within` is the command that starts one there.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import struct
import subprocess
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NameServer", "can_hang_names"]

_PORT = 53
_ADDRESS_TYPE = 1
_MOUNT = 'mount --bind "$0" /etc/resolv.conf && mount --bind "$1" /etc/nsswitch.conf && shift'


def can_hang_names() -> bool:
    """Whether programs can be given another name service here."""
    if not hasattr(os, "geteuid") or os.geteuid() or shutil.which("unshare") is None:
        return False
    made = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True)
    return made.returncode == 0


class NameServer:
    """Answers 127.0.0.1 to every question, once it answers; on a loopback address of its own.

    Args:
        folder: Where to write the files that lead to it.
    """

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._settings = folder / "resolv.conf", folder / "nsswitch.conf"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._changed = threading.Condition()
        #: Questions that came, by name.
        self.asked: set[str] = set()
        self.answers = False

    def __enter__(self) -> Self:
        address = f"127.53.{secrets.randbelow(254) + 1}.{secrets.randbelow(254) + 1}"
        self._socket.bind((address, _PORT))
        resolver, switch = self._settings
        resolver.write_text(f"nameserver {address}\n")
        switch.write_text("hosts: files dns\n")
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        address = self._socket.getsockname()
        self._socket.sendto(b"", address)  # wakes the thread
        self._thread.join(5)
        self._socket.close()

    def within(self) -> tuple[str, ...]:
        """The beginning of a command that runs the rest of it where we are the name service."""
        return ("unshare", "-m", "sh", "-c", f'{_MOUNT}; exec "$@"', *map(str, self._settings))

    def wait_until_asked(self, *names: str, timeout_s: float) -> None:
        """Wait until each of the names was asked for."""
        with self._changed:
            met = self._changed.wait_for(lambda: self.asked.issuperset(names), timeout_s)
            assert met, f"asked for {self.asked} only"

    def _serve(self) -> None:
        while True:
            query, asker = self._socket.recvfrom(4096)
            if not query:
                return
            name, end = _name(query)
            with self._changed:
                self.asked.add(name)
                self._changed.notify_all()
            if self.answers:
                self._socket.sendto(_answer(query, end), asker)


def _name(query: bytes) -> tuple[str, int]:
    """The name in a question, and where the question ends."""
    at, labels = 12, []
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), at + 5


def _answer(query: bytes, end: int) -> bytes:
    """127.0.0.1, or nothing to a question for another kind of record (RFC 1035)."""
    kind, _ = struct.unpack(">HH", query[end - 4 : end])
    count = int(kind == _ADDRESS_TYPE)
    head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, count, 0, 0)
    record = struct.pack(">HHHIH", 0xC00C, kind, 1, 1, 4) + socket.inet_aton("127.0.0.1")
    return head + query[12:end] + record * count
