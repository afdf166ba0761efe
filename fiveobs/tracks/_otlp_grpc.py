"""OTLP over gRPC: one unary call per batch, on bytes, with a deadline.

Imported by :mod:`fiveobs.tracks._otlp` only, and only where gRPC is the protocol: loading grpcio
starts machinery that must not cross a fork (`_grpc_forks`). One thread uses a wire.
"""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from fiveobs.exceptions import DeliveryError
from fiveobs.tracks._deadline import Deadline
from fiveobs.tracks._grpc_forks import Turn, calls
from fiveobs.tracks._http import MAX_RETRY_AFTER_S, USER_AGENT, excerpt
from fiveobs.tracks._otlp import response_type

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from fiveobs.tracks._otlp import Signal

# gRPC loads this at its first channel; then, a fork could come in between.
importlib.import_module("grpc._channel")
calls.watch_forks()
#: Never used. With its last channel gRPC would shut itself down, and a child that is forked while
#: that goes on waits forever at its own first channel.
_KEPT = grpc.insecure_channel("ipv4:127.0.0.1:1")

__all__ = ["GrpcWire"]

Code = grpc.StatusCode

METHODS: Final = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
COMPRESSIONS: Final = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}
#: Codes after which the same batch is sent again: those that OTLP calls retryable ("OTLP/gRPC
#: Response"), and the two that say that the receiver failed and nothing of the batch. OTLP would
#: drop the batch for them; a receiver in trouble is no reason to lose what a job recorded.
RETRY_CODES: Final = frozenset(
    {
        Code.CANCELLED,
        Code.DEADLINE_EXCEEDED,
        Code.RESOURCE_EXHAUSTED,
        Code.ABORTED,
        Code.OUT_OF_RANGE,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
        Code.INTERNAL,
        Code.UNKNOWN,
    }
)
#: Codes after which another connection is made.
LEFT_CODES: Final = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})
#: Codes that a wrong setting causes, with what to look at: the data is kept.
SETTING_HINTS: Final = {
    Code.UNAUTHENTICATED: "check the credentials in the headers",
    Code.PERMISSION_DENIED: "check the credentials in the headers and what they permit",
    Code.UNIMPLEMENTED: "check that the endpoint is an OTLP one and takes this signal",
    Code.NOT_FOUND: "check the endpoint",
}
#: Broken transport, headers that never left, and answers of something that is no gRPC server (a
#: proxy, a login form), which gRPC reports under codes that otherwise mean a final refusal.
NOT_REFUSED_SIGNS: Final = (
    *("Stream removed", "RST_STREAM", "Invalid metadata"),
    *("No status received", "Received http2 header with status"),
)
#: What a peer that speaks something else leads to, and what that means, in gRPC's words.
PEER_SIGNS: Final = (
    ("http1.x server", "this looks like an HTTP port: use its gRPC port (4317) or http/protobuf"),
    (
        "Expected SETTINGS",
        "this looks like an HTTP port: use its gRPC port (4317) or http/protobuf",
    ),
    ("Invalid metadata", "check the headers: one has a character that is not allowed"),
    ("WRONG_VERSION_NUMBER", "this looks like a port without TLS: use http:// or insecure"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted: check the CA file"),
)
#: A batch beyond the size limit of the receiver or of a proxy; no waiting makes it smaller.
TOO_LARGE_SIGNS: Final = ("larger than max", "Received http2 header with status: 413")


class GrpcWire:
    """Calls one receiver's export method; see :class:`fiveobs.tracks._otlp.OtlpSender`."""

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
        self._target, self._insecure = _target(endpoint, insecure=insecure)
        self.where = f"the gRPC endpoint {self._target}"
        self._signal: Signal = signal
        self._compression = COMPRESSIONS[compression]
        self._metadata = tuple((name.lower(), value) for name, value in headers.items())
        self._certificates = (certificate, client_key, client_certificate)
        self._channel: grpc.Channel | None = None
        self._call: Any = None
        self._may_be_stale = True
        #: Whether the last call was answered.
        self._is_taking = True

    def send(self, body: bytes, timeout_s: float) -> Message:
        """Make one call; see :meth:`fiveobs.tracks._otlp.OtlpSender.send`."""
        deadline = Deadline(timeout_s)
        response = response_type(self._signal)()
        try:
            response.ParseFromString(self._export(body, deadline))
        except DecodeError as exc:
            message = f"{self.where} answered, but not in OTLP; check the endpoint"
            raise DeliveryError(message) from exc
        except TimeoutError as exc:
            message = f"{self.where} did not take the batch within {timeout_s:g} s"
            raise DeliveryError(message) from exc
        except (OSError, TypeError, ValueError) as exc:
            message = f"{self.where} cannot be called: {type(exc).__name__}"
            message += f" {exc}" if isinstance(exc, OSError) else "; check the headers"
            raise DeliveryError(message) from None  # the cause may show a header, a secret
        return response

    def close(self) -> None:
        """Drop the channel; a later send makes another. Does not block."""
        if self._channel is not None:
            with contextlib.suppress(DeliveryError), calls.inside(Turn(lambda: None)):
                self._break_off()
                self._channel = self._call = None

    def _break_off(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _export(self, body: bytes, deadline: Deadline) -> bytes:
        """Call once, and once more where the channel rather than the receiver may be at fault.

        A connection that the receiver has closed, or one met right after a fork, fails the first
        call at once; so a failure straight after a success, or at the very start, is tried again.
        """
        turn = Turn(self._break_off, is_worth_waiting=self._is_taking)
        self._is_taking = False
        try:
            return self._attempt(body, deadline, turn)
        except grpc.RpcError as exc:
            again = exc.code() is Code.UNAVAILABLE and self._may_be_stale and not _retry_s(exc)
            self._may_be_stale = False
            if not again:
                raise self._refusal(exc) from exc
        try:
            return self._attempt(body, deadline, turn)
        except grpc.RpcError as exc:
            raise self._refusal(exc) from exc

    def _attempt(self, body: bytes, deadline: Deadline, turn: Turn) -> bytes:
        """Call once; anew where a fork breaks that off."""
        while True:
            try:
                response = self._make(body, deadline, turn)
                break
            except (grpc.RpcError, ValueError) as exc:  # the latter is of a closed channel
                if not turn.is_broken_off:
                    if isinstance(exc, grpc.RpcError) and exc.code() in LEFT_CODES:
                        self.close()
                    raise
        self._may_be_stale = self._is_taking = True
        if response is None:  # gRPC's word for an answer without a message, or with half of one
            message = "no message"
            raise DecodeError(message)
        return response

    def _make(self, body: bytes, deadline: Deadline, turn: Turn) -> bytes | None:
        try:
            with calls.inside(turn):
                call = self._call or self._connect()
                response: bytes | None = call(
                    body, timeout=deadline.remaining_s(), metadata=self._metadata
                )
                return response
        finally:
            if turn.is_broken_off:  # also where it had been answered just then
                self.close()

    def _connect(self) -> Any:
        options = [
            ("grpc.primary_user_agent", USER_AGENT),
            # Without it a new channel would inherit a broken connection and its wait to reconnect.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
        ]
        if self._insecure:
            self._channel = grpc.insecure_channel(
                self._target, options=options, compression=self._compression
            )
        else:
            self._channel = grpc.secure_channel(
                self._target, self._credentials(), options=options, compression=self._compression
            )
        self._call = self._channel.unary_unary(METHODS[self._signal], None, None)
        return self._call

    def _credentials(self) -> grpc.ChannelCredentials:
        read = (Path(path).read_bytes() if path else None for path in self._certificates)
        roots, key, chain = read
        return grpc.ssl_channel_credentials(roots, key, chain)

    def _refusal(self, exc: Any) -> DeliveryError:
        code, details = exc.code(), exc.details() or ""
        known = (hint for sign, hint in PEER_SIGNS if sign.lower() in details.lower())
        hint = next(known, SETTING_HINTS.get(code, ""))
        parts = [f"{self.where} answered {code.name}", hint, excerpt(details.encode())]
        return DeliveryError(
            "; ".join(filter(None, parts)),
            retry_after_s=_retry_s(exc),
            permanent=_is_permanent(code, details),
        )


def _is_permanent(code: grpc.StatusCode, details: str) -> bool:
    if any(sign in details for sign in TOO_LARGE_SIGNS):
        return True
    if any(sign in details for sign in NOT_REFUSED_SIGNS):
        return False
    return code not in RETRY_CODES and code not in SETTING_HINTS


def _retry_s(exc: Any) -> float | None:
    """Return the seconds that a receiver's RetryInfo asks for, at most an hour."""
    for name, value in exc.trailing_metadata() or ():
        try:
            info = _retry_info(name, value)
        except (DecodeError, TypeError):
            continue
        if info is not None:
            wait_s: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
            return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)
    return None


def _retry_info(name: str, value: bytes) -> error_details_pb2.RetryInfo | None:
    info = error_details_pb2.RetryInfo()
    if name == "google.rpc.retryinfo-bin":
        info.ParseFromString(value)
        return info
    if name == "grpc-status-details-bin":
        for detail in status_pb2.Status.FromString(value).details:
            if detail.Unpack(info):
                return info
    return None


def _target(endpoint: str, *, insecure: bool) -> tuple[str, bool]:
    """Return what gRPC calls the target, and whether to speak to it without TLS."""
    parts = urlsplit(endpoint)
    if parts.scheme in {"http", "https"}:
        return parts.netloc.rpartition("@")[2], parts.scheme == "http"
    return endpoint, insecure
