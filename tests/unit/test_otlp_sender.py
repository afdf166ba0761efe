from __future__ import annotations

import contextlib
import gzip
import logging
import os
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from fiveobs.exceptions import DeliveryError
from fiveobs.tracks._otlp import OtlpSender
from tests.support.ports import hold
from tests.support.sender_peers import (
    SOON_S,
    Peer,
    Timer,
    answers,
    black_hole,
    make_certificate,
    response,
    say,
    trickle,
)

Code = grpc.StatusCode


def a_batch(spans=2):
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(spans):
        scope.spans.add(name=f"job {number}")
    return request.SerializeToString()


def partial(signal, rejected, message=""):
    if signal == "traces":
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = rejected
    elif signal == "metrics":
        answer = ExportMetricsServiceResponse()
        answer.partial_success.rejected_data_points = rejected
    else:
        answer = ExportLogsServiceResponse()
        answer.partial_success.rejected_log_records = rejected
    answer.partial_success.error_message = message
    return answer.SerializeToString()


def protobuf(body=b"", status="200 OK"):
    return response(status, body, Content_Type="application/x-protobuf")


class GrpcPeer(grpc.GenericRpcHandler):
    """Answers every method on bytes; ``answer(request, context)`` returns the response's bytes."""

    def __init__(self, answer=lambda _, __: b"", *, port=0, credentials=None) -> None:
        self.answer = answer
        self.seen: list = []
        self.pool = ThreadPoolExecutor(4)
        self.stopped = threading.Event()
        # Without so_reuseport=0 two servers share the port, and a restart proves nothing.
        self.server = grpc.server(self.pool, handlers=[self], options=[("grpc.so_reuseport", 0)])
        self.port = hold(self, port)
        address = f"127.0.0.1:{self.port}"
        if credentials is None:
            self.server.add_insecure_port(address)
        else:
            self.server.add_secure_port(address, credentials)
        self.server.start()

    def service(self, details):
        def call(request, context):
            self.seen.append((details.method, dict(details.invocation_metadata), request))
            return self.answer(request, context)

        return grpc.unary_unary_rpc_method_handler(call)

    def close(self):
        self.stopped.set()
        self.server.stop(0).wait(5)
        self.pool.shutdown()


def status(code, details="because", trailing=()):
    def answer(_, context):
        context.set_trailing_metadata(trailing)
        context.abort(code, details)

    return answer


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def start():
    """Start peers and make senders; end them all after the test."""
    with contextlib.ExitStack() as stack:

        def start_peer(play, **options):
            peer = Peer(play, **options)
            stack.callback(peer.close)
            return peer

        def start_grpc(*args, **options):
            peer = GrpcPeer(*args, **options)
            stack.callback(peer.close)
            return peer

        def make(endpoint, protocol, signal="traces", **options):
            sender = OtlpSender(signal, endpoint, protocol, **options)
            return stack.enter_context(contextlib.closing(sender))

        def over_http(port, signal="traces", **options):
            return make(f"http://127.0.0.1:{port}/v1/{signal}", "http/protobuf", signal, **options)

        def over_grpc(port, signal="traces", **options):
            return make(f"http://127.0.0.1:{port}", "grpc", signal, **options)

        start_peer.grpc, start_peer.make = start_grpc, make
        start_peer.over_http, start_peer.over_grpc = over_http, over_grpc
        yield start_peer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


def refused(sender, timeout_s=5.0):
    with pytest.raises(DeliveryError) as caught:
        sender.send(a_batch(), timeout_s)
    return caught.value


@pytest.mark.parametrize(
    ("compression", "undo"),
    [("none", bytes), ("gzip", gzip.decompress), ("deflate", zlib.decompress)],
)
def test_a_batch_arrives_over_http(start, compression, undo):
    """The bytes, the headers and the compression asked for arrive over one connection."""
    peer = start(answers(protobuf()))
    sender = start.over_http(peer.port, headers={"X-Key": "k"}, compression=compression)
    assert sender.send(a_batch(), 5) == 0
    assert sender.send(a_batch(), 5) == 0
    request = peer.seen[0]
    assert request.line == "POST /v1/traces HTTP/1.1"
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["user-agent"].startswith("fiveobs/")
    assert request.headers["x-key"] == "k"
    assert undo(request.body) == a_batch()
    assert peer.connections == 1


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
@pytest.mark.parametrize(
    ("signal", "service"),
    [("traces", "trace.v1.Trace"), ("metrics", "metrics.v1.Metrics"), ("logs", "logs.v1.Logs")],
)
def test_a_batch_arrives_over_grpc(start, signal, service, compression):
    """The bytes reach the signal's own method with the headers as metadata."""
    peer = start.grpc()
    sender = start.over_grpc(peer.port, signal, headers={"X-Key": "k"}, compression=compression)
    assert sender.send(a_batch(), 5) == 0
    method, metadata, body = peer.seen[0]
    assert method == f"/opentelemetry.proto.collector.{service}Service/Export"
    assert metadata["x-key"] == "k"
    assert metadata["user-agent"].startswith("fiveobs/")
    assert body == a_batch()


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_partial_success_is_counted_and_reported_once_a_minute(start, signal, caplog):
    """What the receiver rejected is returned each time, and its reason logged once a minute."""
    body = partial(signal, 3, "label\ntoo long")
    over_http = start.over_http(start(answers(protobuf(body))).port, signal)
    over_grpc = start.over_grpc(start.grpc(lambda _, __: body).port, signal)
    with caplog.at_level(logging.WARNING, "fiveobs.internal"):
        for sender in (over_http, over_grpc):
            assert [sender.send(a_batch(), 5) for _ in range(3)] == [3, 3, 3]
    assert [record.name for record in caplog.records] == ["fiveobs.internal"] * 2
    assert all(f"rejected 3 {signal}: label too long" in line for line in caplog.messages)


def test_a_hostile_count_is_not_negative(start):
    """A negative count of rejected spans counts as none."""
    peer = start(answers(protobuf(partial("traces", -7))))
    assert start.over_http(peer.port).send(a_batch(), 5) == 0


def test_answers_in_json_or_without_a_body_count(start):
    """Receivers that answer with JSON, text or nothing are believed; they took the batch."""
    body = b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"x"},"new":1}'
    replies = [response("200 OK", body, Content_Type="application/json; charset=utf-8")]
    replies += [response("202 Accepted"), response("200 OK", b"ok", Content_Type="text/plain")]
    sender = start.over_http(start(answers(*replies)).port)
    assert [sender.send(a_batch(), 5) for _ in range(3)] == [2, 0, 0]


@pytest.mark.parametrize(
    "reply",
    [
        response("200 OK", b"<html>Log in</html>", Content_Type="text/html"),
        protobuf(b"\xff\xff\xff\xff"),
        response("200 OK", b"{broken", Content_Type="application/json"),
        response("200 OK", b"\0\xff<garbage", Content_Type="application/octet-stream"),
        response("200 OK", b"\xff{", Content_Type="application/json"),
    ],
)
def test_a_success_that_is_not_otlp_is_not_believed(start, reply):
    """A login page or garbage under 200 keeps the batch and points at the address."""
    error = refused(start.over_http(start(answers(reply)).port))
    assert "not in OTLP; check the address" in str(error)
    assert not error.permanent


def test_garbage_over_grpc_is_not_believed(start):
    """A gRPC answer that is no OTLP keeps the batch."""
    error = refused(start.over_grpc(start.grpc(lambda _, __: b"\xff\xff\xff").port))
    assert "not in OTLP" in str(error)
    assert not error.permanent


@pytest.mark.parametrize(
    ("code", "permanent"), [("400", True), ("413", True), ("401", False), ("404", False)]
)
def test_http_refusals_are_told_apart(start, code, permanent):
    """A bad batch is final, a wrong setting is not; the receiver's own words are shown."""
    said = Status(code=3, message="bad span id").SerializeToString()
    error = refused(start.over_http(start(answers(protobuf(said, f"{code} X"))).port))
    assert error.permanent is permanent
    assert "bad span id" in str(error)


def test_http_throttling_is_honoured(start):
    """Retry-After reaches the shipper."""
    peer = start(answers(response("503 Service Unavailable", Retry_After="11")))
    assert refused(start.over_http(peer.port)).retry_after_s == 11


RETRYABLE = [
    Code.CANCELLED,
    Code.DEADLINE_EXCEEDED,
    Code.RESOURCE_EXHAUSTED,
    Code.ABORTED,
    Code.OUT_OF_RANGE,
    Code.UNAVAILABLE,
    Code.DATA_LOSS,
    Code.INTERNAL,
    Code.UNKNOWN,
]
SETTINGS = [Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED, Code.NOT_FOUND]
FINAL = [Code.INVALID_ARGUMENT, Code.ALREADY_EXISTS, Code.FAILED_PRECONDITION]


@pytest.mark.parametrize("code", [*RETRYABLE, *SETTINGS, *FINAL])
def test_grpc_codes_are_told_apart(start, code):
    """Final are only codes that blame the batch; wrong settings say what to check."""
    error = refused(start.over_grpc(start.grpc(status(code)).port))
    assert error.permanent is (code in FINAL)
    assert code.name in str(error)
    assert "because" in str(error)
    assert ("check" in str(error)) is (code in SETTINGS)


def test_a_batch_beyond_grpcs_limit_is_final(start):
    """A message too large for the receiver is not retried for ever."""
    peer = start.grpc(status(Code.RESOURCE_EXHAUSTED, "received message larger than max (9 vs. 4)"))
    assert refused(start.over_grpc(peer.port)).permanent


def retry_info(delay):
    info = RetryInfo()
    info.retry_delay.CopyFrom(delay)
    return info


def test_grpc_throttling_is_honoured(start):
    """RetryInfo, standard or bare, reaches the shipper, and is not answered with a retry."""
    info = retry_info(Duration(seconds=2, nanos=500_000_000))
    detail = AnyMessage()
    detail.Pack(info)
    details = Status(code=14, details=[detail]).SerializeToString()
    for trailing in (
        ("grpc-status-details-bin", details),
        ("google.rpc.retryinfo-bin", info.SerializeToString()),
    ):
        peer = start.grpc(status(Code.UNAVAILABLE, trailing=(trailing,)))
        error = refused(start.over_grpc(peer.port))
        assert error.retry_after_s == 2.5
        assert len(peer.seen) == 1


def test_garbled_grpc_throttling_is_ignored(start):
    """RetryInfo that cannot be read changes nothing, and one without end is an hour."""
    peer = start.grpc(status(Code.ABORTED, trailing=(("grpc-status-details-bin", b"\xff\xff"),)))
    assert refused(start.over_grpc(peer.port)).retry_after_s is None
    forever = retry_info(Duration(seconds=10**11)).SerializeToString()
    peer = start.grpc(status(Code.ABORTED, trailing=(("google.rpc.retryinfo-bin", forever),)))
    assert refused(start.over_grpc(peer.port)).retry_after_s == 3600


def slow_grpc(_, context):
    done = threading.Event()
    context.add_callback(done.set)
    done.wait(10)
    return b""


def test_silence_ends_at_the_deadline(start):
    """A peer that accepts and never answers ends at the deadline over either protocol."""
    hole, slow = start(black_hole), start.grpc(slow_grpc)
    dripping = start(trickle(b"HTTP/1.1 200 OK\r\nA: b"))
    senders = [start.over_grpc(hole.port), start.over_grpc(slow.port), start.over_http(hole.port)]
    for sender in [*senders, start.over_http(dripping.port)]:
        with Timer() as timer:
            assert not refused(sender, 0.3).permanent
        assert 0.25 < timer.elapsed_s < SOON_S
        with Timer() as timer:
            sender.close()
        assert timer.elapsed_s < SOON_S


def test_nobody_listening_is_not_final(start):
    """A refused connection keeps the batch over either protocol."""
    peer = start(black_hole)
    peer.close()
    assert not refused(start.over_grpc(peer.port)).permanent
    assert not refused(start.over_http(peer.port)).permanent


def test_a_restarted_receiver_is_found_again(start):
    """After an outage the very next send reconnects, without waiting out a backoff."""
    peer = start.grpc()
    sender = start.over_grpc(peer.port)
    sender.send(a_batch(), 5)
    peer.close()
    for _ in range(3):
        refused(sender)
    again = start.grpc(port=peer.port)
    assert sender.send(a_batch(), 5) == 0
    again.close()
    start.grpc(port=peer.port)
    assert sender.send(a_batch(), 5) == 0, "a restart between two sends cost a batch"


def test_the_first_failure_is_tried_again_at_once_but_no_other(start):
    """One UNAVAILABLE at the start, as after a fork, is retried; an outage is not hammered."""
    failing = status(Code.UNAVAILABLE)
    peer = start.grpc()
    peer.answer = lambda request, context: b"" if len(peer.seen) == 2 else failing(request, context)
    sender = start.over_grpc(peer.port)
    assert sender.send(a_batch(), 5) == 0
    refused(sender)
    assert len(peer.seen) == 4
    refused(sender)
    assert len(peer.seen) == 5


def test_protocols_mixed_up_are_named(start):
    """GRPC to an HTTP port and the reverse say what it looks like, and lose nothing."""
    http_port = start(say(response("400 Bad Request"))).port
    grpc_port = start.grpc().port
    for sender, hint in (
        (start.over_grpc(http_port), "looks like an HTTP port"),
        (start.over_http(grpc_port), "looks like a gRPC port"),
        (start.make(f"https://127.0.0.1:{grpc_port}", "grpc"), "looks like a port without TLS"),
    ):
        error = refused(sender)
        assert hint in str(error)
        assert not error.permanent


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_header_that_cannot_be_sent_is_not_shown_and_not_final(start, protocol):
    """A line break in a configured secret keeps the batch and the secret."""
    endpoint = f"http://127.0.0.1:{start.grpc().port}/"
    error = refused(start.make(endpoint, protocol, headers={"authorization": "hush\nx"}))
    assert not error.permanent
    assert "header" in str(error)
    assert "hush" not in str(error)


def test_tls_with_its_authority_works(start, certificate):
    """Both protocols deliver over TLS with the right CA file, and without it say so."""
    credentials = grpc.ssl_server_credentials(
        [(Path(certificate.key).read_bytes(), Path(certificate.cert).read_bytes())]
    )
    grpc_port = start.grpc(credentials=credentials).port
    http_port = start(answers(protobuf()), tls=certificate.server_context()).port
    for port, protocol in ((grpc_port, "grpc"), (http_port, "http/protobuf")):
        for endpoint in (f"https://localhost:{port}/", f"localhost:{port}"):
            target = endpoint.rstrip("/") if protocol == "grpc" else endpoint
            sender = start.make(target, protocol, certificate=certificate.cert)
            assert sender.send(a_batch(), 5) == 0
        stranger = refused(start.make(f"https://localhost:{port}", protocol))
        assert "check the CA file" in str(stranger)
        missing = refused(start.make(f"https://localhost:{port}", protocol, certificate="/no.pem"))
        assert "/no.pem" in str(missing)
        assert not stranger.permanent
        assert not missing.permanent


def test_a_client_shows_its_certificate(start, certificate):
    """A receiver that asks for a client's certificate gets it."""
    context = certificate.server_context()
    context.load_verify_locations(certificate.cert)
    context.verify_mode = 2  # CERT_REQUIRED
    peer = start(answers(protobuf()), tls=context)
    options = {"certificate": certificate.cert, "client_key": certificate.key}
    endpoint = f"https://127.0.0.1:{peer.port}/"
    sender = start.make(endpoint, "http/protobuf", client_certificate=certificate.cert, **options)
    assert sender.send(a_batch(), 5) == 0
    assert refused(start.make(endpoint, "http/protobuf", certificate=certificate.cert))


def test_an_endpoint_without_a_scheme_follows_insecure(start):
    """``insecure`` decides about TLS where the endpoint has no scheme."""
    http_port, grpc_port = start(answers(protobuf())).port, start.grpc().port
    for port, protocol in ((grpc_port, "grpc"), (http_port, "http/protobuf")):
        endpoint = f"127.0.0.1:{port}"
        assert start.make(endpoint, protocol, insecure=True).send(a_batch(), 5) == 0


def test_http_does_not_load_grpc():
    """Where HTTP is the protocol, grpcio is never imported."""
    code = (
        "import sys; from fiveobs.tracks._otlp import OtlpSender;"
        "OtlpSender('traces', 'http://127.0.0.1:1/', 'http/protobuf'); print('grpc' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout.strip() == "False"
