"""Sockets that give up at one moment, however slowly the other side behaves.

A socket timeout bounds one operation, so a peer that sends a byte a second can hold a caller for
as long as it likes. Here a :class:`Deadline` bounds the whole exchange: before each operation the
socket's timeout is set to what is left. Names are looked up on a helper thread, because the
system's resolver cannot be interrupted. One thread uses a sender and its sockets; nothing here may
cross a fork.
"""

from __future__ import annotations

import codecs
import os
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from fiveobs._loading import loading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["Deadline", "DeadlineSocket", "Resolver", "connect", "start_tls", "tls_context"]

# ``getaddrinfo`` loads this codec at its first call; then, a fork could come in between.
codecs.lookup("idna")

#: What ``socket.getaddrinfo`` returns, one tuple per address.
Addresses = list[tuple[Any, ...]]

#: Variables that name a CA bundle for other Python HTTP clients, so that one setting serves all.
CA_BUNDLE_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Deadline:
    """The moment at which an exchange ends, taken or not.

    Args:
        timeout_s: Seconds from now.
    """

    __slots__ = ("_ends_at_s",)

    def __init__(self, timeout_s: float) -> None:
        self._ends_at_s = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        """Return the seconds that are left, always more than zero.

        Raises:
            TimeoutError: The moment has passed.
        """
        remaining_s = self._ends_at_s - time.monotonic()
        if remaining_s <= 0:
            message = "timed out"
            raise TimeoutError(message)
        return remaining_s


class DeadlineSocket(socket.socket):
    """A socket whose every operation ends at the deadline that is set on it."""

    #: When the exchange in hand ends; ``None`` leaves the socket's own timeout alone.
    deadline: Deadline | None = None

    def _arm(self) -> None:
        if self.deadline is not None:
            self.settimeout(self.deadline.remaining_s())

    def recv(self, bufsize: int = 1024, flags: int = 0) -> bytes:
        """Receive up to ``bufsize`` bytes before the deadline."""
        self._arm()
        return super().recv(bufsize, flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive into ``buffer`` before the deadline; ``None`` bytes means all of it."""
        self._arm()
        return super().recv_into(buffer, nbytes or memoryview(buffer).nbytes, flags)

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Send some of ``data`` before the deadline."""
        self._arm()
        return super().send(data, flags)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Send all of ``data`` before the deadline."""
        self._arm()
        super().sendall(data, flags)


class DeadlineTlsSocket(DeadlineSocket, ssl.SSLSocket):
    """The same over TLS; made by ``SSLContext.wrap_socket`` only."""


class Resolver:
    """Looks one host up without outstaying a deadline.

    A lookup that hangs goes on in the background, and the next call waits for that one instead of
    starting another, so an outage of the name service costs one thread, not one per attempt.

    Args:
        host: A name or an address, IPv4 or IPv6.
        port: The TCP port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._pending: _Lookup | None = None

    def addresses(self, deadline: Deadline) -> Addresses:
        """Return the addresses to try, in order.

        Raises:
            OSError: The name is not known.
            TimeoutError: The name service did not answer in time.
        """
        lookup = self._pending or _Lookup(self._host, self._port)
        self._pending = lookup
        if not lookup.done.wait(deadline.remaining_s()):
            message = f"the name {self._host} was not resolved in time"
            raise TimeoutError(message)
        self._pending = None
        if lookup.error is not None:
            raise lookup.error
        return lookup.addresses


class _Lookup:
    """One call of the system's resolver, on a thread of its own unless the host is a number."""

    def __init__(self, host: str, port: int) -> None:
        self.done = threading.Event()
        self.addresses: Addresses = []
        self.error: OSError | None = None
        self._where = (host, port)
        if self._is_numeric():
            return
        try:
            threading.Thread(target=self._run, name="fiveobs-resolve", daemon=True).start()
        except RuntimeError:  # the interpreter is shutting down and starts no more threads
            self._run()

    def _is_numeric(self) -> bool:
        try:
            self.addresses = socket.getaddrinfo(
                *self._where, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        except (OSError, UnicodeError):
            return False
        self.done.set()
        return True

    def _run(self) -> None:
        try:
            self.addresses = socket.getaddrinfo(*self._where, type=socket.SOCK_STREAM)
        except OSError as exc:
            self.error = exc
        except UnicodeError as exc:
            self.error = OSError(f"{self._where[0]!r} is not a host name: {exc}")
        finally:
            self.done.set()


def connect(addresses: Sequence[tuple[Any, ...]], deadline: Deadline) -> DeadlineSocket:
    """Open a TCP connection to the first address that answers.

    The time left is shared among the addresses left, so that one that swallows packets (a broken
    IPv6 route, as a rule) does not use up the time of the next.

    Raises:
        OSError: None answered; the last one's reason.
    """
    error = OSError("the host has no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = DeadlineSocket(family, kind, protocol)
        try:
            sock.settimeout(deadline.remaining_s() / (len(addresses) - index))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as exc:
            sock.close()
            error = exc
        else:
            sock.deadline = deadline
            return sock
    raise error


def start_tls(
    sock: DeadlineSocket, context: ssl.SSLContext, host: str, deadline: Deadline
) -> DeadlineSocket:
    """Shake hands over an open connection and return the socket to use from then on.

    Raises:
        OSError: The handshake failed or did not end in time; the connection is closed.
    """
    try:
        # CPython holds the whole handshake, not each of its reads, to this timeout.
        sock.settimeout(deadline.remaining_s())
        tls = cast("DeadlineTlsSocket", context.wrap_socket(sock, server_hostname=host))
    except OSError:
        sock.close()
        raise
    tls.deadline = deadline
    return tls


def tls_context(
    *,
    verify: bool = True,
    ca: str | None = None,
    client_certificate: str | None = None,
    client_key: str | None = None,
) -> ssl.SSLContext:
    """Return a client's TLS settings whose sockets keep deadlines.

    Args:
        verify: Whether the server must prove who it is.
        ca: A file or folder of CA certificates to trust instead of the usual ones. ``None``: what
            ``REQUESTS_CA_BUNDLE`` or ``CURL_CA_BUNDLE`` names, else the system's together with
            certifi's where it is installed (slim containers have none of their own).
        client_certificate: A certificate to show, in PEM.
        client_key: Its key; ``None`` if it is in the same file.

    Raises:
        OSError: A file cannot be read or holds no certificate; the message names the files.
    """
    ca = ca or next(filter(None, map(os.environ.get, CA_BUNDLE_VARIABLES)), None)
    try:
        context = _trusting(ca)
        if client_certificate is not None:
            context.load_cert_chain(client_certificate, client_key)
    except OSError as exc:
        files = ", ".join(filter(None, (ca, client_certificate, client_key)))
        message = f"the TLS files cannot be used ({files}): {exc}"
        raise OSError(message) from exc
    context.sslsocket_class = DeadlineTlsSocket
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _trusting(ca: str | None) -> ssl.SSLContext:
    if ca is not None:
        folder = Path(ca).is_dir()
        return ssl.create_default_context(
            cafile=None if folder else ca, capath=ca if folder else None
        )
    context = ssl.create_default_context()
    try:
        with loading:
            import certifi
    except ImportError:
        return context
    context.load_verify_locations(cafile=certifi.where())
    return context
