"""Small receivers for the demo: OTLP and Sentry over HTTP on one port, Forward on another.

They stand in for a collector, a Sentry server and Fluent Bit where none is configured: they
acknowledge what comes in and keep its ids, each once, however often it is sent. Not for use outside
the demo: they check no credentials and keep everything in memory.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgpack
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["Received", "Receivers"]

HOST = "127.0.0.1"


class Received:
    """What has come in, by id: a repeated delivery changes nothing."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        #: Log record id to its journal fields; and when it came (s since 1970).
        self.logs: dict[str, dict[str, Any]] = {}
        self.log_times: dict[str, float] = {}
        #: Span id to name, trace id and attributes.
        self.spans: dict[str, tuple[str, str, dict[str, Any]]] = {}
        #: Series of ``jobs.processed`` to its newest value; a series is a process and its labels.
        self.jobs_processed: dict[tuple[Any, ...], float] = {}
        #: Trace ids that the exemplars of ``job.duration`` point to.
        self.exemplars: set[str] = set()
        #: Names of all metrics.
        self.metrics: set[str] = set()
        #: Sentry event id to the event.
        self.errors: dict[str, dict[str, Any]] = {}

    def take_logs(self, records: list[dict[str, Any]]) -> None:
        """Take in log records."""
        with self.lock:
            for record in records:
                self.logs[record["id"]] = record
                self.log_times.setdefault(record["id"], time.time())

    def take_traces(self, body: bytes) -> None:
        """Take in an OTLP export of spans."""
        message = ExportTraceServiceRequest.FromString(body)
        with self.lock:
            for resource in message.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        attributes = _plain(span.attributes)
                        kept = (span.name, span.trace_id.hex(), attributes)
                        self.spans[span.span_id.hex()] = kept

    def take_metrics(self, body: bytes) -> None:
        """Take in an OTLP export of metrics."""
        message = ExportMetricsServiceRequest.FromString(body)
        with self.lock:
            for resource in message.resource_metrics:
                instance = _plain(resource.resource.attributes).get("service.instance.id")
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        self._take_metric(instance, metric)

    def _take_metric(self, instance: Any, metric: Any) -> None:
        self.metrics.add(metric.name)
        if metric.name == "jobs.processed":
            for point in metric.sum.data_points:
                labels = sorted(_plain(point.attributes).items())
                series = (instance, point.start_time_unix_nano, *labels)
                self.jobs_processed[series] = point.as_double or point.as_int
        if metric.name == "job.duration":
            for point in metric.histogram.data_points:
                self.exemplars |= {each.trace_id.hex() for each in point.exemplars}

    def take_envelope(self, body: bytes) -> None:
        """Take in a Sentry envelope; only its error events are kept."""
        _header, _, rest = body.partition(b"\n")
        while rest.strip():
            head, _, rest = rest.lstrip(b"\n").partition(b"\n")
            item = json.loads(head)
            end = item.get("length", rest.find(b"\n") if b"\n" in rest else len(rest))
            payload, rest = rest[:end], rest[end:]
            if item["type"] == "event":
                event = json.loads(payload)
                with self.lock:
                    self.errors[event["event_id"]] = event


def _plain(attributes: Any) -> dict[str, Any]:
    """OTLP attributes as a dict; only what is simple is kept."""
    kinds = ("string_value", "int_value", "double_value", "bool_value")
    values = ((each.key, each.value, each.value.WhichOneof("value")) for each in attributes)
    return {key: getattr(value, kind) for key, value, kind in values if kind in kinds}


class _Http(BaseHTTPRequestHandler):
    """OTLP/HTTP and Sentry's envelope endpoint."""

    protocol_version = "HTTP/1.1"
    received: Received

    def handle(self) -> None:
        """Answer until the other side closes, or is killed."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_POST(self) -> None:
        """Take one export or envelope."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        status, answer, kind = 200, b"", "application/x-protobuf"
        if self.path == "/v1/traces":
            self.received.take_traces(body)
        elif self.path == "/v1/metrics":
            self.received.take_metrics(body)
        elif self.path.startswith("/api/"):
            self.received.take_envelope(body)
            answer, kind = b"{}", "application/json"
        else:
            status = 404
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing: the demo's output is on the screen."""


class _Forward(socketserver.BaseRequestHandler):
    """The Forward protocol in its packed form, with acknowledgements."""

    received: Received

    def handle(self) -> None:
        """Take messages until the other side closes."""
        unpacker = msgpack.Unpacker(raw=False, ext_hook=lambda _code, data: data)
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(65_536):
                unpacker.feed(data)
                for _tag, packed, option in unpacker:
                    self._take(packed, option)

    def _take(self, packed: bytes, option: dict[str, Any]) -> None:
        if option.get("compressed") == "gzip":
            packed = gzip.decompress(packed)
        entries = msgpack.Unpacker(raw=False, ext_hook=lambda _code, data: data)
        entries.feed(packed)
        self.received.take_logs([record for _time, record in entries])
        if "chunk" in option:
            self.request.sendall(msgpack.packb({"ack": option["chunk"]}))


class _ForwardServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class Receivers:
    """Both servers, on free ports of this machine; a context manager."""

    def __init__(self) -> None:
        self.received = Received()
        bound = {"received": self.received}
        self._http = ThreadingHTTPServer((HOST, 0), type("Http", (_Http,), bound))
        self._forward = _ForwardServer((HOST, 0), type("Forward", (_Forward,), bound))
        self._servers: tuple[socketserver.BaseServer, ...] = (self._http, self._forward)

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead fiveobs here: exactly what one sets for real destinations."""
        web = f"{HOST}:{self._http.server_address[1]}"
        return {
            "FLUENT_BIT_HOST": HOST,
            "FLUENT_BIT_PORT": str(self._forward.server_address[1]),
            "FLUENT_BIT_PROTOCOL": "forward",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{web}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "SENTRY_DSN": f"http://demo@{web}/1",
        }
