"""A TCP proxy that stands before a receiver and plays faults, whatever protocol goes through it.

What it does with a connection is a function that can be exchanged while it runs: :func:`relay` lets
everything through, or cuts it off after some bytes; :func:`silent` never answers, :func:`deaf`
never reads, :func:`say` answers with given bytes. Exchanging it drops every open connection, so a
client that hangs on the old fault meets the new one at its next attempt. ``stop`` makes the port
refuse connections; ``start`` listens on it again.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any, Self

from tests.support.base import HOST, Receiver

__all__ = ["Fault", "Proxy", "deaf", "relay", "say", "silent"]

#: Plays one connection; returning ends it.
Fault = Callable[[socket.socket, "Proxy"], None]

_READ_BYTES = 65_536
#: A close with this option sends a reset, as the kernel does for a process that was killed.
_RESET = struct.pack("ii", 1, 0)


class Proxy(Receiver):
    """Listens on a port of its own, before that of a receiver.

    ``counts["played"]`` tells how often a fault was met: bytes swallowed, cut off or answered.

    Args:
        target: The receiver's port on this machine.
        fault: What to do with connections; everything goes through at first.
        tls: A server-side context; the receiver behind gets plain TCP.
        window_bytes: What the kernel takes for a connection that is not read; zero is its default.
    """

    name = "proxy"

    def __init__(
        self,
        target: int,
        fault: Fault | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        window_bytes: int = 0,
    ) -> None:
        super().__init__(tls=tls)
        self.target = target
        self._window_bytes = window_bytes
        self._fault = fault or relay()

    def start(self) -> Self:
        """Listen. Connections get the window that the listener has."""
        super().start()
        if self._window_bytes and self._listener is not None:
            window = (socket.SOL_SOCKET, socket.SO_RCVBUF, self._window_bytes)
            self._listener.setsockopt(*window)
        return self

    def present(self, tls: ssl.SSLContext) -> None:
        """Show another certificate from now on."""
        self._tls = tls

    @property
    def fault(self) -> Fault:
        """What is done with connections."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        with self._changed:
            self._fault = fault
            self.counts["played"] = 0
            connections = list(self._connections)
        for each in connections:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes its thread, which closes it

    def played(self) -> None:
        """Note that a fault was met."""
        with self._storing():
            self.counts["played"] += 1

    @contextlib.contextmanager
    def upstream(self) -> Any:
        """A connection to the receiver, which ends with a change of fault as the client's does."""
        server = socket.create_connection((HOST, self.target), timeout=5.0)
        server.settimeout(None)
        with self._changed:
            self._connections.add(server)
        try:
            yield server
        finally:
            with self._changed:
                self._connections.discard(server)
            server.close()

    def _serve(self, connection: socket.socket) -> None:
        self._fault(connection, self)


def relay(
    *,
    request_bytes: int | None = None,
    answer_bytes: int | None = None,
    answer_pause_s: float = 0.0,
) -> Fault:
    """Let bytes through.

    Args:
        request_bytes: After so many bytes of a connection both sides are reset.
        answer_bytes: Likewise for what the receiver answers; zero lets no answer out.
        answer_pause_s: The answer goes out a byte at a time, with this much between.
    """

    def play(client: socket.socket, proxy: Proxy) -> None:
        with proxy.upstream() as server:
            left = {client: request_bytes, server: answer_bytes}
            while True:
                source = _readable(client, server)
                data = source.recv(_READ_BYTES)
                if not data:
                    return None
                other = server if source is client else client
                if source is server and answer_pause_s:
                    return _drip(client, data, answer_pause_s, proxy)
                limit = left[source]
                other.sendall(data[:limit])
                if limit is not None:
                    left[source] = limit = max(limit - len(data), 0)
                    if not limit:
                        proxy.played()
                        return _reset(client, server)

    return play


def silent(client: socket.socket, proxy: Proxy) -> None:
    """Read everything and never say a word."""
    while client.recv(_READ_BYTES):
        proxy.played()


def deaf(client: socket.socket, proxy: Proxy) -> None:
    """Never read: the client's kernel keeps what it wrote, and takes no more one day."""
    proxy.played()
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)  # a hang-up, the one thing to wait for without reading
    poll.poll()


def say(answer: bytes, *, after: bytes = b"") -> Fault:
    """Answer so, whatever comes, then hang up.

    Args:
        answer: The bytes.
        after: Wait until the client has said this; empty waits for its first bytes.
    """

    def play(client: socket.socket, proxy: Proxy) -> None:
        heard = b""
        while data := client.recv(_READ_BYTES):
            heard = (heard + data)[-_READ_BYTES:]
            if after in heard:
                break
        client.sendall(answer)
        proxy.played()
        client.shutdown(socket.SHUT_WR)  # a close with unread bytes would take the answer back
        while client.recv(_READ_BYTES):
            pass

    return play


def _readable(client: socket.socket, server: socket.socket) -> socket.socket:
    if isinstance(client, ssl.SSLSocket) and client.pending():
        return client
    ready, _, _ = select.select([client, server], [], [])
    return ready[0]  # type: ignore[no-any-return]


def _drip(client: socket.socket, data: bytes, pause_s: float, proxy: Proxy) -> None:
    for at in range(len(data)):
        client.sendall(data[at : at + 1])
        proxy.played()
        # The pause is the fault itself; a hang-up ends it.
        if select.select([client], [], [], pause_s)[0] and not client.recv(_READ_BYTES):
            return


def _reset(*connections: socket.socket) -> None:
    for each in connections:
        with contextlib.suppress(OSError):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
