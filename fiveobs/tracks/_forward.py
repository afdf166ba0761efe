"""Sends batches of log records over the Fluent Forward protocol and waits for the acknowledgement.

Speaks to Fluent Bit's and Fluentd's ``forward`` input as the Forward Protocol Specification v1 has
it (https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1): PackedForward with
``chunk``, so that the receiver says when it holds the batch; TLS; the shared-key handshake, with a
user's name and password where the receiver asks for them. fluent-logger lacks all of these and an
end to waiting; its connection handling is used. One thread uses a sender; it must
not cross a fork.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import socket
import ssl
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgpack
from fluent.sender import FluentSender

from fiveobs._yielding import Turns
from fiveobs.exceptions import DeliveryError
from fiveobs.tracks._deadline import (
    Deadline,
    DeadlineSocket,
    Resolver,
    connect,
    start_tls,
    tls_context,
)
from fiveobs.tracks._http import tls_reason

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ForwardSender"]

#: The largest message accepted from the receiver; an acknowledgement has some 40 bytes.
MAX_MESSAGE_BYTES: Final = 64 * 1024
#: How much of the text form of a record that has no other is kept, in characters.
MAX_REPR_CHARS: Final = 16 * 1024
#: How a local socket is written, as in fluent-logger.
UNIX_PREFIX: Final = "unix://"
#: How answers in HTTP and TLS begin; msgpack would take their first byte for a small number.
FOREIGN: Final = (b"HTTP/", b"\x15\x03")
#: Begins a packed ``[EventTime, record]``: an array of two, an extension of eight bytes of type 0.
ENTRY_HEAD: Final = struct.Struct(">BBBII")
#: The last moment that EventTime can hold: seconds are 32 bits there.
MAX_UNIX_NS: Final = 2**32 * 10**9 - 1


class ForwardSender(FluentSender):  # type: ignore[misc]
    """Sends batches to one ``forward`` input and counts a batch as taken when it is acknowledged.

    Args:
        host: Name or address of the receiver, IPv4 or IPv6, or ``unix:///path/to/socket``.
        port: Its port (24224, as a rule); unused with ``unix://``.
        tag: The tag that the records get.
        shared_key: The key that both sides know; ``None`` if the receiver has none.
        username: A user that the receiver knows, where it asks for one.
        password: That user's password.
        tls: Whether to speak TLS.
        tls_verify: Whether the receiver must prove who it is.
        tls_ca: File or folder of the CA certificates to trust; ``None`` for the usual ones.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tag: str,
        *,
        shared_key: str | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        tls_verify: bool = True,
        tls_ca: str | None = None,
    ) -> None:
        super().__init__(tag, host=host.strip("[]"), port=port)
        self.socket: Any = None
        self.where = host if host.startswith(UNIX_PREFIX) else f"{host}:{port}"
        self._shared_key = shared_key
        self._user = (username or "", password or "")
        self._tls = tls
        self._tls_verify = tls_verify
        self._tls_ca = tls_ca
        self._context: ssl.SSLContext | None = None
        self._resolver = Resolver(self.host, port)
        self._deadline = Deadline(self.timeout)
        self._packer = msgpack.Packer(default=repr, unicode_errors="backslashreplace")
        self._messages = _Messages(self.where)
        self._keepalive = True

    def send(self, records: Iterable[tuple[int, Mapping[str, object]]], timeout_s: float) -> int:
        """Send one batch and wait until it is acknowledged. Blocks for at most ``timeout_s``.

        Args:
            records: Pairs of the time in nanoseconds since 1970 (UTC) and the record. Of an
                iterator, one record is held at a time: hundreds would outlive young collections
                of garbage, and bring about full ones.
            timeout_s: Seconds for connecting, the handshake, writing and the acknowledgement.

        Returns:
            How many records have no form that the protocol can carry; they were left out.

        Raises:
            DeliveryError: The batch was not acknowledged. The receiver may hold it all the same,
                so sending it again can repeat records; receivers drop repeats by their id.
        """
        entries: list[bytes] = []
        turns, unfit = Turns(), 0
        for at_ns, record in records:
            turns.give_way()
            entry = _entry(self._packer, at_ns, record)
            if entry is None:
                unfit += 1
            else:
                entries.append(entry)
        if entries:
            self._deadline = Deadline(timeout_s)
            self._deliver(entries, timeout_s)
        return unfit

    def close(self) -> None:
        """Drop the connection; a later send opens another. Does not block."""
        self._close()

    def _deliver(self, entries: list[bytes], timeout_s: float) -> None:
        chunk = base64.b64encode(os.urandom(16)).decode()
        option = {"chunk": chunk, "size": len(entries)}
        message: bytes = msgpack.packb([self.tag, b"".join(entries), option])
        try:
            self._exchange(message, chunk)
        except OSError as exc:
            self._close()
            raise DeliveryError(f"{self.where} {_reason(exc, timeout_s)}") from exc
        except Exception:
            self._close()
            raise
        if not self._keepalive:
            self._close()

    def _exchange(self, message: bytes, chunk: str) -> None:
        reused = self.socket is not None
        try:
            return self._attempt(message, chunk)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            # A receiver closes a connection that idled too long just as we write to it.
            self._close()
            if not reused:
                raise
        return self._attempt(message, chunk)

    def _attempt(self, message: bytes, chunk: str) -> None:
        self._send_data(message)
        answer = self._messages.receive(self.socket)
        acknowledged = answer.get(b"ack") if isinstance(answer, dict) else None
        if acknowledged != chunk.encode() or self._messages.pending():
            raise DeliveryError(f"{self.where} {_wrong_answer(answer, self._messages.first)}")

    def _send_data(self, bytes_: bytes) -> None:
        """Write the bytes, over a new connection if there is none."""
        self._reconnect()
        self.socket.deadline = self._deadline
        self.socket.sendall(bytes_)

    def _reconnect(self) -> None:
        """Connect and shake hands if there is no connection."""
        if self.socket is not None:
            return
        self._messages = _Messages(self.where)
        self.socket = self._open()
        if self._shared_key is not None:
            self._shake_hands(self._shared_key)

    def _open(self) -> DeadlineSocket:
        if self.host.startswith(UNIX_PREFIX):
            return _connect_unix(self.host.removeprefix(UNIX_PREFIX), self._deadline)
        sock = connect(self._resolver.addresses(self._deadline), self._deadline)
        if not self._tls:
            return sock
        try:
            if self._context is None:
                self._context = tls_context(verify=self._tls_verify, ca=self._tls_ca)
            return start_tls(sock, self._context, self.host, self._deadline)
        except Exception:
            sock.close()
            raise

    def _shake_hands(self, shared_key: str) -> None:
        """Prove to the receiver that we know the shared key, and have it prove the same."""
        nonce, auth = self._read_helo()
        # Hexadecimal text: Fluent Bit refuses a binary salt, other receivers mangle one.
        salt = secrets.token_hex(16)
        us = socket.gethostname()
        user = self._user if auth else ("", "")
        password = _digest(auth, user[0], user[1]) if auth else ""
        key = _digest(salt, us, nonce, shared_key)
        self.socket.sendall(msgpack.packb(["PING", us, salt, key, user[0], password]))
        try:
            pong = self._messages.receive(self.socket)
        except ConnectionError as exc:
            message = f"{self.where} closed the connection during the handshake: check shared key"
            raise DeliveryError(f"{message}, user name and password") from exc
        self._check_pong(pong, salt, nonce, shared_key)

    def _read_helo(self) -> tuple[bytes, bytes]:
        """Return the receiver's nonce and its salt for passwords (empty: it asks for no user)."""
        try:
            helo = self._messages.receive(self.socket)
        except TimeoutError as exc:
            message = f"{self.where} began no handshake: does it have a shared key?"
            raise DeliveryError(message) from exc
        if not (_is_message(helo, b"HELO", 2) and isinstance(helo[1], dict)):
            raise DeliveryError(f"{self.where} {_wrong_answer(helo, self._messages.first)}")
        options = helo[1]
        self._keepalive = options.get(b"keepalive", True) is not False
        return _as_bytes(options.get(b"nonce")), _as_bytes(options.get(b"auth"))

    def _check_pong(self, pong: Any, salt: str, nonce: bytes, shared_key: str) -> None:
        if not _is_message(pong, b"PONG", 5):
            raise DeliveryError(f"{self.where} {_wrong_answer(pong, self._messages.first)}")
        _, accepted, reason, server, digest = pong[:5]
        if accepted is not True:
            said = _as_bytes(reason).decode("utf-8", "replace")[:200]
            message = f"{self.where} refused us: {said}; check shared key, user name and password"
            raise DeliveryError(message)
        expected = _digest(salt, _as_bytes(server), nonce, shared_key)
        if not hmac.compare_digest(expected.encode(), _as_bytes(digest)):
            message = f"{self.where} does not know the shared key itself: check shared key and host"
            raise DeliveryError(message)


class _Messages:
    """The msgpack values that come over one connection, within a bound of memory."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._unpacker = msgpack.Unpacker(
            raw=True, strict_map_key=False, max_buffer_size=MAX_MESSAGE_BYTES
        )
        self._received_bytes = 0
        self._used_bytes = 0
        #: How the last message began, to recognise another protocol by.
        self.first = b""

    def receive(self, sock: DeadlineSocket) -> Any:
        """Return the next value.

        Raises:
            ConnectionError: The peer closed the connection first.
            DeliveryError: What came is no msgpack, or too much of it.
            TimeoutError: It did not come in time.
        """
        self.first = b""
        while True:
            try:
                value = self._unpacker.unpack()
            except msgpack.OutOfData:
                self._feed(sock)
            except Exception as exc:  # every kind of garbage has an exception of its own
                raise DeliveryError(f"{self._where} {_garbage(self.first)}") from exc
            else:
                self._used_bytes = self._unpacker.tell()
                return value

    def pending(self) -> bool:
        """Tell whether more came than was asked for, so that the two sides are out of step."""
        return self._received_bytes > self._used_bytes

    def _feed(self, sock: DeadlineSocket) -> None:
        data = sock.recv(4096)
        if not data:
            message = "closed the connection"
            raise ConnectionResetError(message)
        self.first = self.first or data[:64]
        self._received_bytes += len(data)
        try:
            self._unpacker.feed(data)
        except msgpack.BufferFull as exc:
            raise DeliveryError(f"{self._where} {_garbage(self.first)}") from exc


def _entry(packer: msgpack.Packer, at_ns: int, record: Mapping[str, object]) -> bytes | None:
    """Pack the time and one record; ``None`` if there is no way to."""
    head = ENTRY_HEAD.pack(0x92, 0xD7, 0, *divmod(min(max(at_ns, 0), MAX_UNIX_NS), 10**9))
    for form in (_as_is, _portable, _as_text):
        try:
            packed: bytes = packer.pack(form(record))
        except Exception:  # noqa: S112 - a record can defeat msgpack in many ways; try the next form
            continue
        return head + packed
    return None


def _as_is(record: Mapping[str, object]) -> Mapping[str, object]:
    return record if type(record) is dict else dict(record)


def _portable(value: Any) -> Any:
    """Return a value with the integers that msgpack cannot hold turned into text."""
    if isinstance(value, Mapping):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return repr(value)
    return value


def _as_text(record: Mapping[str, object]) -> dict[str, str]:
    return {"record": repr(record)[:MAX_REPR_CHARS]}


def _connect_unix(path: str, deadline: Deadline) -> DeadlineSocket:
    sock = DeadlineSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.deadline = deadline
    try:
        sock.settimeout(deadline.remaining_s())
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def _digest(*parts: str | bytes) -> str:
    joined = b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    return hashlib.sha512(joined).hexdigest()


def _as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _is_message(value: object, kind: bytes, length: int) -> bool:
    return isinstance(value, list) and len(value) >= length and value[0] == kind


def _wrong_answer(answer: object, first: bytes) -> str:
    if _is_message(answer, b"HELO", 1):
        return "asks for a shared key and none is set; check the shared key"
    if first.startswith(FOREIGN):
        return _garbage(first)
    return "did not acknowledge this batch but sent something else"


def _garbage(first: bytes) -> str:
    if first.startswith(b"HTTP/"):
        return "answered in HTTP; this looks like the port of an http input, not a forward one"
    if first.startswith(b"\x15\x03"):
        return "answered in TLS; this looks like a port that wants TLS"
    return f"answered with something that is not the Forward protocol: {first[:16]!r}"


def _reason(exc: OSError, timeout_s: float) -> str:
    """Say what kept a batch from being taken, and what to look at where that is known."""
    if isinstance(exc, TimeoutError):
        return f"did not acknowledge the batch within {timeout_s:g} s: {exc}"
    if isinstance(exc, ssl.SSLError):
        return tls_reason(exc)
    if isinstance(exc, socket.gaierror):
        return f"could not be resolved; check the host's name: {exc}"
    if isinstance(exc, ConnectionError):
        return f"could not be reached or closed the connection without a word: {exc}"
    return f"could not be spoken to: {type(exc).__name__}: {exc}"
