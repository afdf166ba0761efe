"""The smallest servers that the senders' unit tests need: real sockets, one thread a connection."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from tests.support.ports import hold

Play = Callable[[socket.socket, "Peer"], None]


class Peer:
    """Listens on a port and plays one function per connection, until closed."""

    def __init__(self, play: Play, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._play = play
        self._tls = tls
        #: Nobody else gets it between this one and one that is started again in its place.
        self.port = hold(self, port)
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        #: Whatever the played function wants to show to the test.
        self.seen: list = []
        self.connections = 0
        self.stopped = threading.Event()
        self._start(self._accept)

    def _start(self, target, *args) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self.stopped.is_set():
                conn, _ = self._listener.accept()
                self.connections += 1
                self._open.append(conn)
                self._start(self._serve, conn)

    def _serve(self, conn: socket.socket) -> None:
        try:
            if self._tls is not None:
                conn = self._tls.wrap_socket(conn, server_side=True)
                self._open.append(conn)
            self._play(conn, self)
        except (OSError, ValueError):
            pass  # the sender went away, or the test is over
        finally:
            hang_up(conn)

    def close(self) -> None:
        self.stopped.set()
        hang_up(self._listener)
        for conn in list(self._open):
            hang_up(conn)
        for thread in self._threads:
            thread.join(5)


def hang_up(sock: socket.socket) -> None:
    """Close a socket so that a thread blocked on it wakes."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def black_hole(_: socket.socket, peer: Peer) -> None:
    """Accept and never say a word."""
    peer.stopped.wait(30)


def say(data: bytes) -> Play:
    """Say ``data`` whatever comes, and hang up once the sender has."""

    def play(conn: socket.socket, _: Peer) -> None:
        conn.recv(65536)
        conn.sendall(data)
        conn.shutdown(socket.SHUT_WR)  # a close with unread data would reset what we said
        while conn.recv(65536):
            pass

    return play


def trickle(data: bytes, interval_s: float = 0.02) -> Play:
    """Say ``data`` a byte at a time, and its last byte over and over."""

    def play(conn: socket.socket, peer: Peer) -> None:
        position = 0
        while not peer.stopped.wait(interval_s):
            conn.sendall(data[position : position + 1] or data[-1:])
            position += 1

    return play


class Request(NamedTuple):
    line: str
    headers: dict[str, str]
    body: bytes


def requests_on(conn: socket.socket) -> Iterator[Request]:
    """Yield the HTTP requests that come over a connection."""
    with conn.makefile("rb") as stream:
        while line := stream.readline():
            headers = {}
            while (field := stream.readline().strip()) != b"":
                name, _, value = field.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            body = stream.read(int(headers.get("content-length", "0")))
            yield Request(line.decode().strip(), headers, body)


def response(status: str, body: bytes = b"", **headers: str) -> bytes:
    """Return an HTTP response; ``Retry_After="1"`` becomes ``Retry-After: 1``."""
    fields = {"Content-Length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()]
    return f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode() + body


def answers(*replies: bytes) -> Play:
    """Answer each request with the next reply, the last one for ever; keep what was asked."""

    def play(conn: socket.socket, peer: Peer) -> None:
        for request in requests_on(conn):
            peer.seen.append(request)
            conn.sendall(replies[min(len(peer.seen), len(replies)) - 1])

    return play


#: In seconds: far more than the deadlines of senders here, however busy the machine is, and far
#: less than it takes those peers that never end.
SOON_S = 5.0


class Timer:
    """Measures how long a block took, in seconds."""

    elapsed_s = 0.0

    def __enter__(self) -> Self:
        self._started_s = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.elapsed_s = time.monotonic() - self._started_s


class Certificate(NamedTuple):
    """A certificate for 127.0.0.1 and localhost, its own authority, and its key."""

    cert: str
    key: str

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context


def make_certificate(folder: Path) -> Certificate:
    """Make a certificate with the openssl command; skip the test where there is none."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command is not installed")
    made = Certificate(str(folder / "cert.pem"), str(folder / "key.pem"))
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", names]
    command += ["-keyout", made.key, "-out", made.cert]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return made
