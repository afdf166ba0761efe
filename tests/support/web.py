"""Receivers that speak HTTP: their shared base, Fluent Bit's HTTP input and a trace agent."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import msgpack

from tests.support.base import Mode, Receiver

if TYPE_CHECKING:
    import socket

__all__ = ["AgentReceiver", "Answer", "FluentHttpReceiver", "HttpReceiver", "Request"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request as it came in; ``body`` is decompressed, header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    #: Bytes of the body on the wire.
    wire_bytes: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What to answer to a request."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class HttpReceiver(Receiver):
    """Receives HTTP requests; a subclass says in ``_receive`` what they mean.

    ``requests`` holds those that were stored, in order; ``arrivals`` when each came, also of those
    that were refused, as ``(monotonic time, path)``.

    Args:
        poison: Refuse a body that has this in it, with 400; empty refuses none.
        max_body_bytes: Refuse a longer body, with 413; zero takes any.
        options: As for every receiver.
    """

    def __init__(self, *, poison: bytes = b"", max_body_bytes: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.poison = poison
        self.max_body_bytes = max_body_bytes
        self.requests: list[Request] = []
        self.arrivals: list[tuple[float, str]] = []

    def _receive(self, request: Request) -> Answer:
        """Store a request and return the answer. A ``ValueError`` answers 400."""
        raise NotImplementedError

    def _forget(self) -> None:
        self.requests.clear()
        self.arrivals.clear()

    def _serve(self, connection: socket.socket) -> None:
        _Handler(connection, self)

    def _answer(self, request: Request) -> Answer:
        mode = self._delay()
        with self._storing():
            self.counts["requests"] += 1
            self.counts["request_bytes"] += request.wire_bytes
            self._arrived(request.path)
        refusal = self._refusal(mode) or self._turn_away(request)
        if refusal is not None:
            return refusal
        try:
            answer = self._receive(request)
        except ValueError as exc:
            self.counts["bad_requests"] += 1
            return Answer(status=400, body=str(exc).encode(), content_type="text/plain")
        if not self.count_only:
            with self._storing():
                self.requests.append(request)
        return answer

    def _refusal(self, mode: Mode) -> Answer | None:
        """The answer that a mode gives whatever was asked; ``None`` when it is to be stored."""
        if mode == "error":
            return Answer(status=self.error_status, body=b"{}")
        if mode == "throttle":
            return Answer(status=429, body=b"{}", headers={"Retry-After": str(self.retry_after_s)})
        if mode == "garbage":
            return Answer(body=b"\x00\xff<garbage", content_type="application/octet-stream")
        return None

    def _arrived(self, path: str) -> None:
        """Note the time; called with the condition held."""
        if not self.count_only:
            self.arrivals.append((time.monotonic(), path))

    def _turn_away(self, request: Request) -> Answer | None:
        """Refuse for good what is poisoned or too large."""
        if 0 < self.max_body_bytes < len(request.body):
            return Answer(status=413, body=b"{}")
        if self.poison and self.poison in request.body:
            return Answer(status=400, body=b"{}")
        return None


class FluentHttpReceiver(HttpReceiver):
    """Fluent Bit's HTTP input: JSON objects by POST, the tag in the path, 201.

    ``records`` holds ``(tag, arrival time in ns, record)``. As Fluent Bit does, it takes one
    object, an array or newline-delimited objects as ``application/json``, and refuses
    ``application/x-ndjson``.
    """

    name = "fluent_http"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.records: list[tuple[str, int, dict[str, Any]]] = []

    def _forget(self) -> None:
        super()._forget()
        self.records.clear()

    def _receive(self, request: Request) -> Answer:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip()
        if request.method != "POST" or content_type != "application/json":
            msg = f"want POST of application/json, not {request.method} of {content_type!r}"
            raise ValueError(msg)
        records = _json_records(request.body)
        tag = request.path.partition("?")[0].strip("/")
        now_ns = time.time_ns()
        with self._storing():
            self.counts["records"] += len(records)
            if not self.count_only:
                self.records.extend((tag, now_ns, record) for record in records)
        return Answer(status=201)


class AgentReceiver(HttpReceiver):
    """A trace agent as ddtrace's writer knows it: ``/v0.4/traces`` and ``/v0.5/traces``.

    It counts ``traces`` and ``spans`` and stores nothing.
    """

    name = "agent"

    def _receive(self, request: Request) -> Answer:
        path = request.path.partition("?")[0]
        if path == "/info":
            return Answer(body=b'{"endpoints": ["/v0.4/traces", "/v0.5/traces"]}')
        if path not in ("/v0.4/traces", "/v0.5/traces"):
            return Answer(status=404, body=b"{}")
        payload = msgpack.unpackb(request.body, raw=True, strict_map_key=False)
        traces = payload[1] if path.startswith("/v0.5") else payload
        with self._storing():
            self.counts["traces"] += len(traces)
            self.counts["spans"] += sum(map(len, traces))
        return Answer(body=b'{"rate_by_service": {}}')


class _Handler(BaseHTTPRequestHandler):
    """The standard library's HTTP/1.1 parsing, one object per connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one segment per answer

    def __init__(self, connection: socket.socket, receiver: HttpReceiver) -> None:
        self._receiver = receiver
        super().__init__(connection, connection.getpeername(), None)  # type: ignore[arg-type]

    def _exchange(self) -> None:
        wire = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            method=self.command,
            path=self.path,
            headers=headers,
            body=_decompressed(wire, headers.get("content-encoding", "")),
            wire_bytes=len(wire),
        )
        answer = self._receiver._answer(request)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = _exchange  # noqa: N815 - the names http.server looks for

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        chunks = []
        while size_bytes := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size_bytes))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep quiet: tests read the stored requests."""


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "deflate":
        return zlib.decompress(body)
    return body


def _json_records(body: bytes) -> list[dict[str, Any]]:
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = [json.loads(line) for line in body.splitlines() if line.strip()]
    records = parsed if isinstance(parsed, list) else [parsed]
    if not all(isinstance(record, dict) for record in records):
        msg = "want JSON objects"
        raise ValueError(msg)
    return records
