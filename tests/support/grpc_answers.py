"""What something that is no sound gRPC server answers to a call, in frames of HTTP/2 (RFC 9113).

A gRPC server's own library answers correctly whatever one does, so these are written by hand. They
go out on the stream of the call that they answer.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from tests.support.proxy import Fault, Proxy

__all__ = ["ANSWERS", "grpc_answer"]

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _END_HEADERS = 1, 4
#: How long a client's preface is, and the head of a frame.
_PREFACE_BYTES, _HEAD_BYTES = 24, 9
_EMPTY_MESSAGE = bytes(5)


def _frame(kind: int, flags: int, payload: bytes = b"", *, stream: int = 1) -> bytes:
    length = struct.pack(">I", len(payload))[1:]
    return length + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _field(name: str, value: str) -> bytes:
    """A header field, neither compressed nor indexed (RFC 7541, section 6.2.2)."""
    return b"\x00" + b"".join(bytes((len(each),)) + each.encode() for each in (name, value))


def _head(status: int, kind: str = "application/grpc", *, end: bool = False) -> bytes:
    # 8 is the static table's entry with the name ":status".
    fields = b"\x08\x03" + str(status).encode() + _field("content-type", kind)
    return _frame(_HEADERS, _END_HEADERS | (_END_STREAM if end else 0), fields)


def _trailers(name: str, value: str) -> bytes:
    return _frame(_HEADERS, _END_HEADERS | _END_STREAM, _field(name, value))


#: Answers by what is wrong with them.
ANSWERS = {
    "no status in the trailers": _head(200)
    + _frame(_DATA, 0, _EMPTY_MESSAGE)
    + _trailers("a", "b"),
    "no status at all": _head(200, end=True),
    "no trailers": _head(200) + _frame(_DATA, _END_STREAM, _EMPTY_MESSAGE),
    "no message": _head(200) + _trailers("grpc-status", "0"),
    "half a message": _head(200)
    + _frame(_DATA, 0, b"\x00\x00\x00\x00\x20half")
    + _trailers("grpc-status", "0"),
    "another message": _head(200)
    + _frame(_DATA, 0, b"\x00\x00\x00\x00\x03\xff\xff\xff")
    + _trailers("grpc-status", "0"),
    "a web page": _head(200, "text/html") + _frame(_DATA, _END_STREAM, b"<html>Log in</html>"),
    "a redirect": _head(307, "text/html", end=True),
    "a bad request": _head(400, "text/html", end=True),
    "a server error": _head(500, "text/html", end=True),
    "a bad gateway": _head(502, "text/html", end=True),
    "a reset": _frame(_RST_STREAM, 0, struct.pack(">I", 2)),
    "a farewell": _frame(_GOAWAY, 0, bytes(8), stream=0),
}


def grpc_answer(frames: bytes) -> Fault:
    """A proxy's fault: answer every call with these frames."""

    def play(client: socket.socket, proxy: Proxy) -> None:
        client.sendall(_frame(_SETTINGS, 0, stream=0))
        with client.makefile("rb") as said:
            said.read(_PREFACE_BYTES)
            while len(head := said.read(_HEAD_BYTES)) == _HEAD_BYTES:
                said.read(int.from_bytes(head[:3], "big"))
                if head[3] == _HEADERS:
                    client.sendall(_on_stream(frames, head[5:]))
                    proxy.played()

    return play


def _on_stream(frames: bytes, stream: bytes) -> bytes:
    """The same frames, where they belong to a stream, on another one."""
    moved = b""
    while frames:
        end = _HEAD_BYTES + int.from_bytes(frames[:3], "big")
        moved += frames[:5] + (stream if any(frames[5:9]) else bytes(4)) + frames[9:end]
        frames = frames[end:]
    return moved
