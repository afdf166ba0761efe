"""The receivers hold what real clients send, fail as told, and come back on the same port."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import socket
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import sentry_sdk
from fluent.sender import FluentSender
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcMetricExporter,
)
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult

from tests.support.certificates import make_certificate, server_context
from tests.support.process import ReceiverProcess
from tests.support.receivers import (
    HOST,
    AgentReceiver,
    FluentHttpReceiver,
    ForwardReceiver,
    OtlpReceiver,
    SentryReceiver,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPAN_EXPORTERS: dict[str, Callable[[OtlpReceiver], Any]] = {
    "http": lambda receiver: OTLPSpanExporter(f"{receiver.endpoint}/v1/traces", timeout=1),
    "grpc": lambda receiver: GrpcSpanExporter(receiver.grpc_endpoint, insecure=True, timeout=1),
}
METRIC_EXPORTERS: dict[str, Callable[[OtlpReceiver], Any]] = {
    "http": lambda receiver: OTLPMetricExporter(f"{receiver.endpoint}/v1/metrics"),
    "grpc": lambda receiver: GrpcMetricExporter(receiver.grpc_endpoint, insecure=True),
}


def send_span(exporter: Any) -> trace.SpanContext:
    """Send one failed span with a link and an event; return the linked context."""
    provider = TracerProvider(resource=Resource.create({"service.name": "bench"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    first = tracer.start_span("first")
    link = trace.Link(first.get_span_context())
    parent = trace.set_span_in_context(first)
    span = tracer.start_span("job", parent, kind=trace.SpanKind.CONSUMER, links=[link])
    span.set_attribute("job.id", "j1")
    span.add_event("halfway", {"percent": 50})
    span.set_status(trace.StatusCode.ERROR, "broke")
    span.end()
    provider.shutdown()
    return first.get_span_context()


def post(url: str, body: bytes, **headers: str) -> tuple[int, dict[str, str]]:
    """POST and return status and headers, also of a refusal."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=body, headers=named, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=5.0) as response:
            return response.status, dict(response.headers)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, dict(refusal.headers)


def connect(receiver: ForwardReceiver) -> socket.socket:
    """Open a connection whose reads give up after five seconds."""
    return socket.create_connection((HOST, receiver.port), timeout=5.0)


def send(connection: socket.socket, *message: Any) -> None:
    """Send one msgpack message."""
    connection.sendall(msgpack.packb(list(message)))


def receive(connection: socket.socket) -> Any:
    """Read one msgpack message, byte by byte so that the next one stays; ``None`` at the end."""
    unpacker = msgpack.Unpacker()
    while data := connection.recv(1):
        unpacker.feed(data)
        for message in unpacker:
            return message
    return None


def no_more(connection: socket.socket) -> bool:
    """Whether the connection stays open and silent for a moment."""
    connection.settimeout(0.05)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5.0)
    return False


@pytest.mark.parametrize("protocol", SPAN_EXPORTERS)
def test_otlp_spans(protocol: str) -> None:
    """A span sent by the SDK's exporter is held with ids, kind, status, link, event, resource."""
    with OtlpReceiver() as receiver:
        first = send_span(SPAN_EXPORTERS[protocol](receiver))
        receiver.wait_for(lambda r: len(r.spans) == 1)
        (span,) = receiver.spans
    assert (span["name"], span["kind"]) == ("job", "CONSUMER")
    assert span["parent_span_id"] == trace.format_span_id(first.span_id)
    assert span["trace_id"] == trace.format_trace_id(first.trace_id)
    assert span["attributes"] == {"job.id": "j1"}
    assert span["status"] == {"code": "ERROR", "message": "broke"}
    assert span["links"][0]["span_id"] == trace.format_span_id(first.span_id)
    assert span["events"][0]["attributes"] == {"percent": 50}
    assert span["flags"] & 0x100  # "whether the parent is remote is known"; the SDK sets that one
    assert span["end_ns"] >= span["start_ns"] > 0
    assert span["resource"]["service.name"] == "bench"


@pytest.mark.parametrize("protocol", METRIC_EXPORTERS)
def test_otlp_metrics(protocol: str) -> None:
    """Counters and histograms are held with points, buckets and exemplars, and added up."""
    with OtlpReceiver() as receiver:
        reader = PeriodicExportingMetricReader(METRIC_EXPORTERS[protocol](receiver))
        provider = MeterProvider(metric_readers=[reader])
        meter = provider.get_meter("test")
        tracer = TracerProvider().get_tracer("test")
        counter, histogram = meter.create_counter("jobs"), meter.create_histogram("took")
        with tracer.start_as_current_span("job") as span:
            counter.add(2, {"status": "ok"})
            histogram.record(0.3)
        counter.add(3, {"status": "bad"})
        provider.shutdown()
        receiver.wait_for(lambda r: r.metric_totals)
        metrics = {metric["name"]: metric for metric in receiver.metrics}
    assert receiver.metric_totals == {"jobs": 5, "took": 1}
    values = {point["attributes"]["status"]: point["value"] for point in metrics["jobs"]["points"]}
    assert values == {"ok": 2, "bad": 3}
    assert metrics["jobs"]["type"] == "sum"
    assert metrics["jobs"]["monotonic"]
    (point,) = metrics["took"]["points"]
    assert (point["count"], point["sum"], sum(point["buckets"])) == (1, 0.3, 1)
    trace_id = trace.format_trace_id(span.get_span_context().trace_id)
    assert point["exemplars"][0]["trace_id"] == trace_id


@pytest.mark.parametrize("protocol", SPAN_EXPORTERS)
@pytest.mark.parametrize("mode", ["error", "throttle", "blackhole"])
def test_otlp_failures_reach_the_exporter(protocol: str, mode: Any) -> None:
    """An exporter that is refused or never answered reports a failure, and nothing is stored."""
    with OtlpReceiver(mode=mode) as receiver:
        exporter = SPAN_EXPORTERS[protocol](receiver)
        span = TracerProvider().get_tracer("test").start_span("job")
        span.end()
        assert exporter.export([span]) is SpanExportResult.FAILURE
        exporter.shutdown()
        assert receiver.spans == []


@pytest.mark.parametrize("protocol", SPAN_EXPORTERS)
def test_restart_on_the_same_port(protocol: str) -> None:
    """A receiver that was stopped takes the same client's next export after it starts again."""
    with OtlpReceiver() as receiver:
        ports = (receiver.port, receiver.grpc_port)
        exporter = SPAN_EXPORTERS[protocol](receiver)
        span = TracerProvider().get_tracer("test").start_span("job")
        span.end()
        assert exporter.export([span]) is SpanExportResult.SUCCESS
        receiver.stop()
        assert exporter.export([span]) is SpanExportResult.FAILURE
        receiver.start()
        assert (receiver.port, receiver.grpc_port) == ports
        # gRPC backs off after a refused connection, so its first calls may still fail.
        results = (SPAN_EXPORTERS[protocol](receiver).export([span]) for _ in range(10))
        assert SpanExportResult.SUCCESS in results
        assert len(receiver.spans) == 2
        exporter.shutdown()


def test_forward_from_fluent_logger() -> None:
    """A record sent by fluent-logger is held with its tag and its time in nanoseconds."""
    with ForwardReceiver() as receiver:
        sender = FluentSender("jobs", HOST, receiver.port, nanosecond_precision=True)
        sender.emit_with_time("log", 1_700_000_000.25, {"message": "hello"})
        sender.emit_with_time("log", 1_700_000_000, {"message": "again"})
        receiver.wait_for(lambda r: len(r.records) == 2)
        sender.close()
    assert receiver.records == [
        ("jobs.log", 1_700_000_000_250_000_000, {"message": "hello"}),
        ("jobs.log", 1_700_000_000_000_000_000, {"message": "again"}),
    ]


PACKED = b"".join(msgpack.packb([1, {"n": n}]) for n in range(2))
FORWARD_MESSAGES: dict[str, tuple[Any, ...]] = {
    "message": ("t", 1, {"n": 0}, {"chunk": "c1"}),
    "forward": ("t", [[1, {"n": 0}], [1, {"n": 1}]], {"chunk": "c1"}),
    "packed": ("t", PACKED, {"chunk": "c1"}),
    "compressed": ("t", gzip.compress(PACKED), {"chunk": "c1", "compressed": "gzip"}),
}


@pytest.mark.parametrize("count_only", [False, True])
@pytest.mark.parametrize("kind", FORWARD_MESSAGES)
def test_forward_modes_are_acked(kind: str, count_only: bool) -> None:
    """Each of the protocol's four modes is taken apart, counted and acked by its chunk."""
    with ForwardReceiver(count_only=count_only) as receiver, connect(receiver) as connection:
        send(connection, *FORWARD_MESSAGES[kind])
        assert receive(connection) == {"ack": "c1"}
    expected = [("t", 1_000_000_000, {"n": n}) for n in range(1 if kind == "message" else 2)]
    assert receiver.counts["records"] == len(expected)
    assert receiver.records == ([] if count_only else expected)


def test_forward_half_ack() -> None:
    """In ``half_ack`` every record is stored and every second chunk stays without its ack."""
    with ForwardReceiver(mode="half_ack") as receiver, connect(receiver) as connection:
        for n in range(4):
            send(connection, "t", n, {"n": n}, {"chunk": f"c{n}"})
        receiver.wait_for(lambda r: len(r.records) == 4)
        acks = [receive(connection), receive(connection)]
        assert no_more(connection)
    assert acks == [{"ack": "c0"}, {"ack": "c2"}]


def test_forward_black_hole_answers_late() -> None:
    """A chunk sent into a black hole is acked once the mode is ``ok`` again."""
    with ForwardReceiver(mode="blackhole") as receiver, connect(receiver) as connection:
        send(connection, "t", 1, {}, {"chunk": "c1"})
        assert no_more(connection)
        assert receiver.records == []
        receiver.mode = "ok"
        assert receive(connection) == {"ack": "c1"}


def test_forward_error_closes() -> None:
    """In ``error`` the connection ends without an ack."""
    with ForwardReceiver(mode="error") as receiver, connect(receiver) as connection:
        send(connection, "t", 1, {}, {"chunk": "c1"})
        assert receive(connection) is None


def shake_hands(connection: socket.socket, key: str, salt: Any = "5a17") -> Any:
    """Answer the HELO with a PING for ``key`` and return the PONG, ``None`` when closed."""
    nonce = receive(connection)[1]["nonce"]
    raw_salt = salt if isinstance(salt, bytes) else salt.encode()
    digest = hashlib.sha512(raw_salt + b"client" + nonce + key.encode()).hexdigest()
    send(connection, "PING", "client", salt, digest, "", "")
    return receive(connection)


@pytest.mark.parametrize("salt", ["5a17", b"\x5a\x17"])
@pytest.mark.parametrize("key", ["secret", "wrong"])
def test_forward_shared_key(key: str, salt: Any) -> None:
    """The right key with a text salt is let in; anything else is closed without a word."""
    with ForwardReceiver(shared_key="secret") as receiver, connect(receiver) as connection:
        pong = shake_hands(connection, key, salt)
        if key == "wrong" or isinstance(salt, bytes):
            assert pong is None
            assert receiver.counts["bad_handshakes"] == 1
            return
        assert pong[:2] == ["PONG", True]
        send(connection, "t", 1, {"n": 1}, {"chunk": "c1"})
        assert receive(connection) == {"ack": "c1"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_forward_tls(tmp_path: Path) -> None:
    """With TLS a client that trusts the certificate is served."""
    certificate, key = make_certificate(tmp_path)
    client = ssl.create_default_context(cafile=str(certificate))
    with (
        ForwardReceiver(tls=server_context(certificate, key)) as receiver,
        connect(receiver) as plain,
        client.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        send(connection, "t", 1, {"n": 1}, {"chunk": "c1"})
        assert receive(connection) == {"ack": "c1"}


@pytest.mark.parametrize(
    ("body", "numbers"),
    [(b'{"n": 1}', [1]), (b'[{"n": 1}, {"n": 2}]', [1, 2]), (b'{"n": 1}\n{"n": 2}\n', [1, 2])],
)
@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_fluent_http(body: bytes, numbers: list[int], encoding: str) -> None:
    """An object, an array or lines of objects, gzipped or not, are held under the path's tag."""
    sent = gzip.compress(body) if encoding else body
    with FluentHttpReceiver() as receiver:
        headers = {"Content_Type": "application/json", "Content_Encoding": encoding}
        status, _ = post(f"{receiver.endpoint}/jobs.log", sent, **headers)
    assert status == 201
    assert [(tag, record["n"]) for tag, _, record in receiver.records] == [
        ("jobs.log", number) for number in numbers
    ]


def test_fluent_http_refuses_ndjson() -> None:
    """``application/x-ndjson`` is answered 400, as Fluent Bit does."""
    with FluentHttpReceiver() as receiver:
        status, _ = post(receiver.endpoint, b"{}", Content_Type="application/x-ndjson")
        assert (status, receiver.records) == (400, [])


def test_throttle_says_when() -> None:
    """In ``throttle`` the answer is 429 with ``Retry-After``."""
    with FluentHttpReceiver(mode="throttle", retry_after_s=7) as receiver:
        status, headers = post(receiver.endpoint, b"{}", Content_Type="application/json")
        assert (status, headers["Retry-After"]) == (429, "7")


def test_slow_ends_with_the_mode() -> None:
    """A slow receiver that becomes ``ok`` answers at once, and stop() does not wait either."""
    with FluentHttpReceiver(mode="slow", delay_s=600.0) as receiver:
        request = b"POST /t HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        with socket.create_connection((HOST, receiver.port), timeout=5.0) as connection:
            connection.sendall(request + b"{}")
            receiver.wait_for(lambda r: r.counts["connections"])
            receiver.mode = "ok"
            assert connection.recv(12) == b"HTTP/1.1 201"


def test_http_black_hole_drops_what_it_held() -> None:
    """What a black hole held over HTTP is not stored when the mode changes: it never arrived."""
    with FluentHttpReceiver(mode="blackhole") as receiver:
        request = b"POST /t HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        with socket.create_connection((HOST, receiver.port), timeout=5.0) as connection:
            connection.sendall(request + b"{}")
            receiver.wait_for(lambda r: r.counts["held"])
            receiver.mode = "ok"
            assert connection.recv(1) == b""
        assert receiver.records == []


def test_wait_for_tells_what_came() -> None:
    """A condition that does not come true raises with the counts so far."""
    with FluentHttpReceiver() as receiver:
        post(f"{receiver.endpoint}/t", b"{}", Content_Type="application/json")
        with pytest.raises(TimeoutError, match="'records': 1"):
            receiver.wait_for(lambda r: len(r.records) == 2, timeout_s=0.01)


def test_a_mode_that_is_not() -> None:
    """Setting a mode that does not exist raises and names those that do."""
    with pytest.raises(ValueError, match="blackhole"):
        FluentHttpReceiver().mode = "asleep"  # type: ignore[assignment]


def test_sentry_events() -> None:
    """An exception captured by the SDK is held as an event with its tags, and its envelope."""
    with SentryReceiver() as receiver:
        client = sentry_sdk.Client(dsn=receiver.dsn, default_integrations=False)
        with sentry_sdk.new_scope() as scope:
            scope.set_client(client)
            scope.set_tag("job_id", "j1")
            event_id = scope.capture_exception(ValueError("broke"))
        client.close(timeout=5.0)
        receiver.wait_for(lambda r: r.events)
    (event,) = receiver.events
    assert event["event_id"] == event_id
    assert event["tags"] == {"job_id": "j1"}
    assert event["exception"]["values"][0]["value"] == "broke"
    assert receiver.envelopes[0].project == "1"
    assert receiver.envelopes[0].headers["event_id"] == event_id
    assert receiver.counts["items.event"] == 1


def test_agent_counts_spans() -> None:
    """The trace agent counts the spans of both versions of the payload."""
    with AgentReceiver() as receiver:
        older = msgpack.packb([[{"name": "a"}, {"name": "b"}]])
        newer = msgpack.packb([["a"], [[[0] * 12]]])
        assert post(f"{receiver.endpoint}/v0.4/traces", older)[0] == 200
        assert post(f"{receiver.endpoint}/v0.5/traces", newer)[0] == 200
    assert (receiver.counts["traces"], receiver.counts["spans"]) == (2, 3)


def test_what_cannot_be_read_is_told() -> None:
    """Bytes that are not the protocol's end the connection and are told in ``problems``."""
    with ForwardReceiver() as receiver, connect(receiver) as connection:
        connection.sendall(b"\xc1")
        receiver.wait_for(lambda r: r.problems)
        assert receive(connection) is None


def test_process_of_its_own() -> None:
    """The receivers serve in another process, obey commands and count."""
    with ReceiverProcess() as receivers:
        url = receivers.addresses["fluent_http"]["endpoint"]
        body = json.dumps([{"n": 1}, {"n": 2}]).encode()
        assert post(url, body, Content_Type="application/json")[0] == 201
        assert receivers.counts()["fluent_http"]["records"] == 2
        receivers.set_mode("error", receiver="fluent_http", error_status=503)
        assert post(url, body, Content_Type="application/json")[0] == 503
        receivers.command(stop=True)
        with pytest.raises(urllib.error.URLError):
            post(url, body, Content_Type="application/json")
        receivers.command(start=True)
        receivers.set_mode("ok")
        receivers.command(clear=True)
        assert post(url, body, Content_Type="application/json")[0] == 201
        assert receivers.counts()["fluent_http"]["records"] == 2
        with pytest.raises(RuntimeError, match="no such command"):
            receivers.command(dance=True)
