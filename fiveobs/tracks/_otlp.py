"""Sends serialized OTLP export requests over HTTP or gRPC.

Follows the OTLP specification (https://opentelemetry.io/docs/specs/otlp/) for partial success,
throttling and which refusals are final, except that a refusal which a wrong setting explains is
never final, so that it loses no data. gRPC is imported only where it is the protocol. One thread
uses a sender; it must not cross a fork.
"""

from __future__ import annotations

import gzip
import logging
import time
import zlib
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from fiveobs.exceptions import DeliveryError
from fiveobs.tracks._http import HttpPoster, excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message

    from fiveobs.tracks._http import HttpAnswer

__all__ = ["OtlpSender"]

Signal = Literal["traces", "metrics", "logs"]

#: How often a destination's complaint about part of a batch is logged, in seconds.
COMPLAINT_INTERVAL_S: Final = 60.0
#: Fast, and near enough to the best for protobuf.
COMPRESSION_LEVEL: Final = 5

_logger = logging.getLogger("fiveobs.internal")


class _Wire(Protocol):
    """One of the two ways to the destination."""

    where: str

    def send(self, body: bytes, timeout_s: float) -> Message: ...

    def close(self) -> None: ...


class OtlpSender:
    """Sends batches of one signal to one OTLP receiver.

    Args:
        signal: What the batches hold.
        endpoint: For HTTP the whole address, with its path (``http://host:4318/v1/traces``); for
            gRPC ``host:port``, with or without ``http://`` or ``https://``.
        protocol: How to speak to it.
        headers: Fields (metadata, in gRPC) to send with each batch.
        compression: How to compress a batch.
        insecure: Whether to speak without TLS to an endpoint that has no scheme.
        certificate: File of the CA certificates to trust; ``None`` for the usual ones.
        client_key: File of the key of ``client_certificate``.
        client_certificate: File of a certificate to show.

    Raises:
        DeliveryError: ``endpoint`` is no address.
    """

    def __init__(
        self,
        signal: Signal,
        endpoint: str,
        protocol: Literal["grpc", "http/protobuf"],
        *,
        headers: Mapping[str, str] | None = None,
        compression: Literal["none", "gzip", "deflate"] = "none",
        insecure: bool = False,
        certificate: str | None = None,
        client_key: str | None = None,
        client_certificate: str | None = None,
    ) -> None:
        self._signal: Signal = signal
        self._complained_at_s = -COMPLAINT_INTERVAL_S
        wire = _grpc_wire() if protocol == "grpc" else _HttpWire
        self._wire: _Wire = wire(
            signal,
            endpoint,
            headers=dict(headers or {}),
            compression=compression,
            insecure=insecure,
            certificate=certificate,
            client_key=client_key,
            client_certificate=client_certificate,
        )

    def send(self, body: bytes, timeout_s: float) -> int:
        """Send one serialized Export…ServiceRequest. Blocks for at most ``timeout_s``.

        Returns:
            How many of its spans, data points or log records were rejected for good.

        Raises:
            DeliveryError: The batch was not taken.
        """
        response: Any = self._wire.send(body, timeout_s)
        partial = response.partial_success
        rejected: int = max(0, getattr(partial, _REJECTED_FIELDS[self._signal]))
        if partial.error_message:
            self._complain(rejected, partial.error_message)
        return rejected

    def close(self) -> None:
        """Drop the connection; a later send opens another. Does not block."""
        self._wire.close()

    def _complain(self, rejected: int, message: str) -> None:
        now_s = time.monotonic()
        if now_s - self._complained_at_s >= COMPLAINT_INTERVAL_S:
            self._complained_at_s = now_s
            said = excerpt(message.encode())
            _logger.warning("%s rejected %d %s: %s", self._wire.where, rejected, self._signal, said)


class _HttpWire:
    """OTLP over HTTP with binary protobuf."""

    def __init__(
        self,
        signal: Signal,
        endpoint: str,
        *,
        headers: dict[str, str],
        compression: str,
        insecure: bool,
        certificate: str | None,
        client_key: str | None,
        client_certificate: str | None,
    ) -> None:
        if "://" not in endpoint:
            endpoint = f"{'http' if insecure else 'https'}://{endpoint}"
        self._compress, encoding = _COMPRESSIONS[compression]
        self._poster = HttpPoster(
            endpoint,
            headers | {"Content-Type": "application/x-protobuf"} | encoding,
            certificate=certificate,
            client_certificate=client_certificate,
            client_key=client_key,
        )
        self.where = self._poster.where
        self._signal: Signal = signal

    def send(self, body: bytes, timeout_s: float) -> Message:
        answer = self._poster.post(self._compress(body), {}, timeout_s)
        self._poster.check(answer)
        response = response_type(self._signal)()
        try:
            _read_answer(answer, response)
        except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError) as exc:
            said = excerpt(answer.body, 80)
            message = f"{self.where} answered {answer.status}, but not in OTLP; check the address"
            raise DeliveryError(f"{message}; it said: {said}") from exc
        return response

    def close(self) -> None:
        self._poster.close()


def _read_answer(answer: HttpAnswer, response: Message) -> None:
    """Read a success into ``response``; kinds of content that OTLP does not name count as empty.

    A web page is the exception: it comes from a proxy or a login form, which took nothing.
    """
    kind = answer.headers.get_content_type() if "Content-Type" in answer.headers else ""
    if kind in {"", "application/x-protobuf", "application/octet-stream"}:
        response.ParseFromString(answer.body)
    elif kind == "application/json" and answer.body.strip():
        json_format.Parse(answer.body, response, ignore_unknown_fields=True)
    elif kind == "text/html":
        message = "a web page"
        raise DecodeError(message)


def response_type(signal: Signal) -> type[Message]:
    """Return the class of the answer to an export of one signal, importing only that one."""
    if signal == "traces":
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

        return trace_service_pb2.ExportTraceServiceResponse
    if signal == "metrics":
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

        return metrics_service_pb2.ExportMetricsServiceResponse
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

    return logs_service_pb2.ExportLogsServiceResponse


def _grpc_wire() -> Callable[..., _Wire]:
    try:
        from fiveobs.tracks._otlp_grpc import GrpcWire
    except ImportError as exc:
        message = "OTLP over gRPC needs grpcio: pip install grpcio, or use http/protobuf"
        raise DeliveryError(message) from exc
    return GrpcWire


def _as_is(body: bytes) -> bytes:
    return body


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, COMPRESSION_LEVEL, mtime=0)


def _deflate(body: bytes) -> bytes:
    return zlib.compress(body, COMPRESSION_LEVEL)


_COMPRESSIONS: Final[dict[str, tuple[Callable[[bytes], bytes], dict[str, str]]]] = {
    "none": (_as_is, {}),
    "gzip": (_gzip, {"Content-Encoding": "gzip"}),
    "deflate": (_deflate, {"Content-Encoding": "deflate"}),
}
_REJECTED_FIELDS: Final[dict[Signal, str]] = {
    "traces": "rejected_spans",
    "metrics": "rejected_data_points",
    "logs": "rejected_log_records",
}
