"""Sends one delivery over HTTP/1.1: to a checked address, within a deadline, following nothing.

Runs in threads of its own; blocks up to the deadline, and as long as the system's resolver does.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from fiveobs._version import __version__
from fiveobs.exceptions import BadInputError
from fiveobs.monitor.webhooks.guard import ForbiddenAddressError, Guard, Target, to_target
from fiveobs.monitor.webhooks.signing import signature

__all__ = ["Answer", "Line", "Message", "Sender", "authentication_headers"]

#: How long it may take to connect, and all of one delivery.
_CONNECT_S, _TOTAL_S = 5.0, 15.0
#: What is read of an answer, to be able to use the connection again. None of it is kept.
_MAX_ANSWER_BYTES = 16 * 1024
_LONGEST_RETRY_AFTER_S = 24 * 3600.0
_MEDIA_TYPE = "application/cloudevents+json; charset=utf-8"


class Message(NamedTuple):
    """What is to be sent."""

    webhook_id: str
    body: bytes
    #: Further headers.
    headers: Mapping[str, str] = MappingProxyType({})


class Answer(NamedTuple):
    """What became of one try."""

    #: The HTTP status; ``None`` if none came.
    status: int | None
    #: Why it was not taken, in words that hold no secret; empty if it was.
    error: str = ""
    #: Seconds after which the receiver wants the next try; ``None`` if it did not say.
    retry_after_s: float | None = None

    @property
    def is_taken(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300


def authentication_headers(authentication: Mapping[str, Any] | None) -> dict[str, str]:
    """The headers by which a receiver knows the sender."""
    if not authentication:
        return {}
    kind, token = authentication["type"], authentication.get("token", "")
    if kind == "bearer":
        return {"Authorization": f"Bearer {token}"}
    if kind == "basic":
        return {"Authorization": "Basic " + base64.b64encode(token.encode()).decode()}
    if kind == "apiKey":
        return {authentication.get("header") or "X-API-Key": token}
    return {}


class Sender:
    """Opens lines to receivers.

    Args:
        guard: Says which addresses may be reached.
        tls: How receivers' certificates are verified; ``None`` means by the system's authorities.
        connect_s: How long connecting may take, in seconds.
        total_s: How long one delivery may take, in seconds.
        now: Seconds since 1970.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        tls: ssl.SSLContext | None = None,
        connect_s: float = _CONNECT_S,
        total_s: float = _TOTAL_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.guard = guard
        self.tls = tls or ssl.create_default_context()
        self.connect_s = connect_s
        self.total_s = total_s
        self.now = now

    def line(self, url: str, secret: str, authentication: Mapping[str, Any] | None) -> Line:
        """A line to one receiver; nothing is opened before there is something to send."""
        return Line(self, url, secret, authentication_headers(authentication))


class Line:
    """A connection to one receiver, for a few deliveries one after the other.

    Args:
        sender: How to connect.
        url: The receiver.
        secret: Signs what is sent.
        headers: What the receiver knows the sender by.
    """

    def __init__(self, sender: Sender, url: str, secret: str, headers: Mapping[str, str]) -> None:
        self._sender = sender
        self._url = url
        self._secret = secret
        self._headers = headers
        self._connection: _Connection | None = None

    def send(self, message: Message) -> Answer:
        """Send one delivery and wait for the answer. Raises nothing that a receiver could cause."""
        try:
            return self._try(to_target(self._url), message)
        except (BadInputError, ForbiddenAddressError) as exc:
            return self._failed(str(exc))
        except TimeoutError:
            return self._failed(f"no answer within {self._sender.total_s:g} s")
        except OSError as exc:
            return self._failed(f"{type(exc).__name__}: {exc}"[:300])
        except (http.client.HTTPException, ValueError) as exc:
            # Its text may be what the receiver sent, which is nobody's business here.
            return self._failed(f"the answer is no HTTP: {type(exc).__name__}")

    def close(self) -> None:
        """Hang up; idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """Give up what is being sent, from another thread."""
        connection = self._connection
        sock = None if connection is None else connection.sock
        if isinstance(sock, _Timed):
            sock.abort()

    def _failed(self, reason: str) -> Answer:
        self.close()
        return Answer(None, reason)

    def _try(self, target: Target, message: Message) -> Answer:
        try:
            return self._exchange(target, message)
        except ConnectionError:
            if self._connection is None or not self._connection.is_used:
                raise
            # Kept open from the delivery before, and closed meanwhile: that says nothing.
            self.close()
            return self._exchange(target, message)

    def _exchange(self, target: Target, message: Message) -> Answer:
        deadline = _Deadline(self._sender.total_s)
        connection = self._connection
        if connection is None:
            connection = self._connection = _Connection(self._sender, target)
        connection.deadline = deadline
        connection.request("POST", target.path, message.body, self._all_headers(message))
        response = connection.getresponse()
        connection.is_used = True
        try:
            rest = response.read(_MAX_ANSWER_BYTES + 1)
        finally:
            response.close()
        if len(rest) > _MAX_ANSWER_BYTES or response.will_close:
            self.close()
        if 200 <= response.status < 300:
            return Answer(response.status)
        return self._refused(response)

    def _refused(self, response: http.client.HTTPResponse) -> Answer:
        error = f"HTTP {response.status}"
        if 300 <= response.status < 400:
            error += ": redirects are not followed"
        wanted = response.headers.get("Retry-After")
        return Answer(response.status, error, _retry_after_s(wanted, self._sender.now()))

    def _all_headers(self, message: Message) -> dict[str, str]:
        timestamp_s = int(self._sender.now())
        return {
            "User-Agent": f"fiveobs/{__version__}",
            "Content-Type": _MEDIA_TYPE,
            "Accept-Encoding": "identity",
            **self._headers,
            **message.headers,
            "webhook-id": message.webhook_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": signature(
                self._secret, message.webhook_id, timestamp_s, message.body
            ),
        }


def _retry_after_s(value: str | None, now: float) -> float | None:
    """Seconds from ``Retry-After``, which is a number or a date."""
    if not value:
        return None
    try:
        text = value.strip()
        is_number = text.isascii() and text.isdigit()
        found = float(text) if is_number else parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(found, 0.0), _LONGEST_RETRY_AFTER_S)


class _Deadline:
    """When one delivery must be over: whatever is read or written gets what is left.

    Args:
        total_s: From now, in seconds.
    """

    def __init__(self, total_s: float) -> None:
        self._at = time.monotonic() + total_s

    def left_s(self) -> float:
        """Seconds left.

        Raises:
            TimeoutError: None are.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Connection(http.client.HTTPConnection):
    """Connects to an address that was checked, under the name that was asked for."""

    auto_open = 1

    def __init__(self, sender: Sender, target: Target) -> None:
        super().__init__(target.host, target.port)
        # ``Host`` names the port unless it is the scheme's own.
        self.default_port = 443 if target.is_tls else 80
        self._sender = sender
        self._target = target
        self.deadline = _Deadline(sender.total_s)
        #: It has carried an answer.
        self.is_used = False

    def connect(self) -> None:
        """Resolve, check, and connect to the first address that answers."""
        addresses = self._sender.guard.addresses(self._target)
        self.deadline.left_s()
        failure: OSError | None = None
        for address in addresses:
            try:
                plain = self._dial(address)
            except OSError as exc:
                failure = exc
                continue
            self.sock = _Timed(self._secured(plain), self)
            return
        raise failure or OSError("no address")

    def _dial(self, address: str) -> socket.socket:
        timeout_s = min(self._sender.connect_s, self.deadline.left_s())
        plain = socket.create_connection((address, self._target.port), timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plain

    def _secured(self, plain: socket.socket) -> socket.socket:
        if not self._target.is_tls:
            return plain
        try:
            plain.settimeout(self.deadline.left_s())
            return self._sender.tls.wrap_socket(plain, server_hostname=self._target.host)
        except BaseException:
            plain.close()
            raise


class _Timed:
    """A socket each of whose operations gets what is left of the delivery's time.

    A timeout of the socket's own would begin anew with every byte that a receiver trickles.
    """

    def __init__(self, plain: socket.socket, connection: _Connection) -> None:
        self._plain = plain
        self._connection = connection
        self._reading: _Reading | None = None

    def sendall(self, data: Any) -> None:
        """Send all of it in time."""
        rest = memoryview(data)
        while rest:
            self._plain.settimeout(self._connection.deadline.left_s())
            rest = rest[self._plain.send(rest) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        """What an answer is read from."""
        self._reading = _Reading(self._plain, self._connection)
        return io.BufferedReader(self._reading)

    def close(self) -> None:
        """Close; idempotent. An answer that is being read is read on, as with a real socket."""
        if self._reading is None or self._reading.closed:
            self._plain.close()
        else:
            self._reading.is_last = True

    def abort(self) -> None:
        """End whatever is being done with it, from another thread."""
        with contextlib.suppress(OSError):
            # Not the method of an SSLSocket, which changes what the other thread is using.
            socket.socket.shutdown(self._plain, socket.SHUT_RDWR)


class _Reading(io.RawIOBase):
    """Reads from a socket within the delivery's time."""

    def __init__(self, plain: socket.socket, connection: _Connection) -> None:
        super().__init__()
        self._plain = plain
        self._connection = connection
        #: The socket is closed together with this.
        self.is_last = False

    def close(self) -> None:
        """Close; idempotent."""
        if not self.closed and self.is_last:
            self._plain.close()
        super().close()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As much as there is."""
        self._plain.settimeout(self._connection.deadline.left_s())
        return self._plain.recv_into(buffer)
