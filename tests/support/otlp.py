"""An OTLP receiver: HTTP with protobuf bodies on one port, gRPC on a second."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, cast

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from tests.support._otlp_parse import logs_of, metrics_of, spans_of
from tests.support.base import HOST, Mode
from tests.support.ports import hold
from tests.support.web import Answer, HttpReceiver, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

__all__ = ["OtlpReceiver"]

_PROTOBUF = "application/x-protobuf"
_SIGNALS: dict[str, tuple[Any, Any]] = {
    "traces": (
        trace_service_pb2.ExportTraceServiceRequest,
        trace_service_pb2.ExportTraceServiceResponse,
    ),
    "metrics": (
        metrics_service_pb2.ExportMetricsServiceRequest,
        metrics_service_pb2.ExportMetricsServiceResponse,
    ),
    "logs": (
        logs_service_pb2.ExportLogsServiceRequest,
        logs_service_pb2.ExportLogsServiceResponse,
    ),
}
_GRPC_SERVICES = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}
#: The gRPC code that stands for an HTTP status in mode ``error``; others become ``UNKNOWN``.
_GRPC_CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 500: "INTERNAL", 503: "UNAVAILABLE"}
#: Calls held in ``blackhole`` each occupy a thread.
_GRPC_THREADS = 32


class OtlpReceiver(HttpReceiver):
    """Receives traces, metrics and logs.

    ``spans``, ``metrics`` and ``logs`` are lists of plain dicts, ids in hex, times in nanoseconds.
    ``metric_totals`` holds the newest total per metric name over all its series (sums: value,
    histograms: number of measurements; delta points are added up), also with ``count_only``.

    Args:
        with_grpc: Listen for gRPC too, on a second port.
        grpc_port: That port; 0 takes a free one, kept over restarts.
        rejects: Leave out a span for which this is true and say how many in ``partial_success``.
        options: As for every receiver.
    """

    name = "otlp"

    def __init__(
        self,
        *,
        with_grpc: bool = True,
        grpc_port: int = 0,
        rejects: Callable[[dict[str, Any]], bool] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.rejects = rejects
        self.with_grpc = with_grpc
        self.grpc_port = hold(self, grpc_port) if with_grpc else grpc_port
        self.spans: list[dict[str, Any]] = []
        self.metrics: list[dict[str, Any]] = []
        self.logs: list[dict[str, Any]] = []
        self.metric_totals: dict[str, float] = {}
        self._grpc_server: grpc.Server | None = None

    @property
    def grpc_endpoint(self) -> str:
        """Where to send by gRPC, as a URL."""
        return f"http://{HOST}:{self.grpc_port}"

    def describe(self) -> dict[str, Any]:
        """Where this receiver listens, for a caller in another process."""
        if not self.with_grpc:
            return super().describe()
        grpc_address = {"grpc_endpoint": self.grpc_endpoint, "grpc_port": self.grpc_port}
        return {**super().describe(), **grpc_address}

    def start(self) -> Self:
        """Listen on both ports."""
        super().start()
        if self.with_grpc and self._grpc_server is None:
            self._start_grpc()
        return self

    def stop(self) -> None:
        """Close both ports and every connection; idempotent."""
        super().stop()  # first, so that calls held in a black hole come back
        server, self._grpc_server = self._grpc_server, None
        if server is not None:
            server.stop(grace=None).wait(5.0)

    def _forget(self) -> None:
        super()._forget()
        self.spans.clear()
        self.metrics.clear()
        self.logs.clear()
        self.metric_totals.clear()

    # -- HTTP

    def _receive(self, request: Request) -> Answer:
        signal = request.path.partition("?")[0].removeprefix("/v1/")
        if request.method != "POST" or signal not in _SIGNALS:
            return Answer(status=404, body=b"{}")
        content_type = request.headers.get("content-type", "")
        if content_type != _PROTOBUF:
            return Answer(status=415, body=f"want {_PROTOBUF}, not {content_type}".encode())
        return Answer(body=self._store(signal, request.body), content_type=_PROTOBUF)

    # -- gRPC

    def _start_grpc(self) -> None:
        import grpc  # slow to load, and not every test wants it

        limit = ("grpc.max_receive_message_length", self.max_body_bytes or -1)
        server = grpc.server(ThreadPoolExecutor(_GRPC_THREADS), options=[limit])
        for signal, service in _GRPC_SERVICES.items():
            method = grpc.unary_unary_rpc_method_handler(self._grpc_method(signal))
            handler = grpc.method_handlers_generic_handler(service, {"Export": method})
            server.add_generic_rpc_handlers((handler,))
        server.add_insecure_port(f"{HOST}:{self.grpc_port}")
        server.start()
        self._grpc_server = server

    def _grpc_method(self, signal: str) -> Callable[[bytes, Any], bytes]:
        import grpc

        def export(body: bytes, context: Any) -> bytes:
            mode = self._grpc_delay(context)
            with self._storing():
                self.counts["grpc_calls"] += 1
                self._arrived(signal)
            if mode in ("error", "throttle"):
                self._refuse_grpc(context, throttle=mode == "throttle")
            if mode == "garbage":
                return b"\xff\xff<garbage"
            if self.poison and self.poison in body:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "poisoned")
            return self._store(signal, body)

        return export

    def _grpc_delay(self, context: Any) -> Mode:
        import grpc

        try:
            return self._delay()
        except ConnectionAbortedError:
            return cast("Mode", context.abort(grpc.StatusCode.UNAVAILABLE, "dropped"))

    def _refuse_grpc(self, context: Any, *, throttle: bool) -> None:
        import grpc
        from google.protobuf import any_pb2, duration_pb2
        from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

        if not throttle:
            name = _GRPC_CODES.get(self.error_status, "UNKNOWN")
            context.abort(getattr(grpc.StatusCode, name), "told to fail")
        retry = error_details_pb2.RetryInfo(
            retry_delay=duration_pb2.Duration(seconds=self.retry_after_s)
        )
        detail = any_pb2.Any()
        detail.Pack(retry)
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        status = status_pb2.Status(code=code.value[0], message="throttled", details=[detail])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, "throttled")

    # -- both

    def _store(self, signal: str, body: bytes) -> bytes:
        """Keep what is in a request; the answer to it."""
        message, answer = (kind() for kind in _SIGNALS[signal])
        try:
            message.ParseFromString(body)
        except Exception as exc:  # protobuf's DecodeError has no public base
            raise ValueError(str(exc)) from exc
        store = {"traces": self._spans, "metrics": self._metrics, "logs": self._logs}[signal]
        with self._storing():
            self.counts[f"{signal}.exports"] += 1
            store(message, answer)
        return bytes(answer.SerializeToString())

    def _spans(self, message: Any, answer: Any) -> None:
        count = sum(
            len(scope.spans) for each in message.resource_spans for scope in each.scope_spans
        )
        if not self.count_only:
            rejects = self.rejects or (lambda _: False)
            taken = [span for span in spans_of(message) if not rejects(span)]
            self.spans.extend(taken)
            if len(taken) < count:
                answer.partial_success.rejected_spans = count - len(taken)
                answer.partial_success.error_message = "told to reject"
            count = len(taken)
        self.counts["spans"] += count

    def _metrics(self, message: Any, _answer: Any) -> None:
        parsed = list(metrics_of(message))
        totals: dict[str, float] = {}
        for metric in parsed:
            self.counts["metric_points"] += len(metric["points"])
            total = sum(point.get("count", point.get("value", 0)) for point in metric["points"])
            before = self.metric_totals.get(metric["name"], 0)
            start = before if metric["temporality"] == "DELTA" else 0
            totals[metric["name"]] = totals.get(metric["name"], start) + total
        self.metric_totals.update(totals)
        if not self.count_only:
            self.metrics.extend(parsed)

    def _logs(self, message: Any, _answer: Any) -> None:
        parsed = list(logs_of(message))
        self.counts["log_records"] += len(parsed)
        if not self.count_only:
            self.logs.extend(parsed)
