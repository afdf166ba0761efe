"""A Fluent Forward server (protocol v1): all four modes of carrying events, acks, shared key, TLS.

Source: https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import io
import secrets
import struct
from typing import TYPE_CHECKING, Any

import msgpack

from tests.support.base import HOST, Mode, Receiver

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator

__all__ = ["ForwardReceiver"]

_EVENT_TIME = 0  # the extension type of a time with nanoseconds
_NS_PER_S = 1_000_000_000
_READ_BYTES = 65_536
#: A client that has not answered the handshake by then never will.
_HANDSHAKE_TIMEOUT_S = 5.0


class ForwardReceiver(Receiver):
    """Receives events over the Forward protocol.

    ``records`` holds ``(tag, time_ns, record)``; ``chunks`` the ids acked or to be acked, in order.

    Args:
        shared_key: Ask for the handshake with this key; ``None`` takes anybody.
        reject_silently: Close without a word on a wrong key, as Fluent Bit does; false answers
            with the specification's negative PONG first.
        options: As for every receiver.
    """

    name = "forward"

    def __init__(
        self, *, shared_key: str | None = None, reject_silently: bool = True, **options: Any
    ) -> None:
        super().__init__(**options)
        self.shared_key = shared_key
        self.reject_silently = reject_silently
        self.records: list[tuple[str, int, dict[str, Any]]] = []
        self.chunks: list[str] = []

    @property
    def host(self) -> str:
        """The address that this receiver listens on."""
        return HOST

    @property
    def endpoint(self) -> str:
        """Where to send, as ``host:port``."""
        return f"{HOST}:{self.port}"

    def _forget(self) -> None:
        self.records.clear()
        self.chunks.clear()

    def _serve(self, connection: socket.socket) -> None:
        unpacker = _unpacker()
        messages = _messages(connection, unpacker)
        if self.shared_key is not None:
            connection.settimeout(_HANDSHAKE_TIMEOUT_S)
            if not self._handshake(connection, messages):
                return
            connection.settimeout(None)
        for message in messages:
            mode = self._delay(resume=True)
            if mode in ("error", "throttle"):
                return
            self._take(connection, message, mode)

    def _take(self, connection: socket.socket, message: Any, mode: Mode) -> None:
        tag, entries, option = _parsed(message, count_only=self.count_only)
        chunk = option.get("chunk")
        with self._storing():
            self.counts["messages"] += 1
            if isinstance(entries, int):
                self.counts["records"] += entries
            else:
                self.counts["records"] += len(entries)
                self.records.extend((tag, time_ns, record) for time_ns, record in entries)
            if chunk is not None:
                self.counts["chunks"] += 1
                self.chunks.append(chunk)
            unlucky = mode == "half_ack" and self.counts["chunks"] % 2 == 0
        if mode == "garbage":
            connection.sendall(b"\xc1\x00garbage")
        elif chunk is not None and not unlucky:
            acked = f"not {chunk}" if mode == "wrong_ack" else chunk
            connection.sendall(msgpack.packb({"ack": acked}))

    def _handshake(self, connection: socket.socket, messages: Iterator[Any]) -> bool:
        """Say HELO, check the PING, say PONG; false when the client may not go on."""
        nonce = secrets.token_bytes(16)
        hello = {"nonce": nonce, "auth": b"", "keepalive": True}
        connection.sendall(msgpack.packb(["HELO", hello]))
        ping: Any = next(messages, None)
        if not _is_ping(ping):
            self._count("bad_handshakes")
            return False
        _, hostname, salt, digest, *_ = ping
        good = hmac.compare_digest(digest, self._digest(salt, hostname, nonce))
        self._count("handshakes" if good else "bad_handshakes")
        if good or not self.reject_silently:
            answer = self._digest(salt, "receiver", nonce) if good else ""
            reason = "" if good else "shared key mismatch"
            connection.sendall(msgpack.packb(["PONG", good, reason, "receiver", answer]))
        return good

    def _digest(self, salt: str, hostname: str, nonce: bytes) -> str:
        parts = (salt.encode(), hostname.encode(), nonce, (self.shared_key or "").encode())
        return hashlib.sha512(b"".join(parts)).hexdigest()

    def _count(self, what: str) -> None:
        with self._storing():
            self.counts[what] += 1


def _is_ping(message: Any) -> bool:
    """Whether this is a PING that Fluent Bit takes: it refuses a salt that is not a string."""
    return (
        isinstance(message, list)
        and len(message) == 6
        and message[0] == "PING"
        and all(isinstance(part, str) for part in message[1:4])
    )


def _messages(connection: socket.socket, unpacker: Any) -> Iterator[Any]:
    while data := connection.recv(_READ_BYTES):
        unpacker.feed(data)
        yield from unpacker


def _unpacker(stream: Any = None) -> Any:
    return msgpack.Unpacker(
        stream,
        raw=False,
        strict_map_key=False,
        unicode_errors="surrogateescape",
        ext_hook=_ext,
        max_buffer_size=256 * 1024 * 1024,
    )


def _ext(code: int, data: bytes) -> Any:
    if code != _EVENT_TIME:
        return msgpack.ExtType(code, data)
    seconds, nanoseconds = struct.unpack(">II", data)
    return _EventTime(seconds * _NS_PER_S + nanoseconds)


class _EventTime(int):
    """A time in nanoseconds; a plain ``int`` on the wire is seconds."""


def _parsed(message: Any, *, count_only: bool) -> tuple[str, Any, dict[str, Any]]:
    """Return the tag, the entries (or their number) and the options of any of the four modes."""
    tag, second, *rest = message
    if isinstance(second, list):  # Forward
        option = rest[0] if rest else {}
        return tag, len(second) if count_only else _entries(second), option or {}
    if isinstance(second, (bytes, str)):  # PackedForward, CompressedPackedForward
        option = (rest[0] if rest else None) or {}
        packed = second.encode(errors="surrogateescape") if isinstance(second, str) else second
        if option.get("compressed") == "gzip":
            packed = gzip.decompress(packed)
        unpacked = _unpacker(io.BytesIO(packed))
        if count_only:
            return tag, sum(1 for _ in unpacked), option
        return tag, _entries(unpacked), option
    record, *options = rest  # Message
    option = (options[0] if options else None) or {}
    return tag, 1 if count_only else _entries([(second, record)]), option


def _entries(pairs: Iterable[Any]) -> list[tuple[int, dict[str, Any]]]:
    return [(_time_ns(time), record) for time, record in pairs]


def _time_ns(time: Any) -> int:
    return int(time) if isinstance(time, _EventTime) else int(time * _NS_PER_S)
