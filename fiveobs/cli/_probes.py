"""Sends one real record to each track's destination and waits until it is acknowledged.

A probe is easy to tell from jobs: the log's ``event_type`` is ``probe``, the span is called
``fiveobs doctor``, the gauge ``fiveobs.probe``, and the Sentry event has level info and a group of
its own. Probes run at the same time, each on a thread, within one deadline.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit

import orjson

from fiveobs._ids import IdSource, rfc3339
from fiveobs._version import __version__
from fiveobs.exceptions import DeliveryError

if TYPE_CHECKING:
    from fiveobs._config import Config

__all__ = ["PROBED", "Probe", "destination", "probe_all"]

#: The tracks that have a destination.
PROBED = ("logs", "traces", "metrics", "errors")
#: A probe's own deadline is kept by its sender; this is for what no sender can interrupt.
_GRACE_S = 2.0
_PROBE_NAME = "fiveobs doctor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """How a destination answered."""

    is_taken: bool
    #: What went wrong; empty if nothing did.
    error: str = ""
    duration_s: float = 0.0


class _Sender(Protocol):
    def close(self) -> None: ...


def probe_all(config: Config, tracks: Iterable[str], timeout_s: float) -> dict[str, Probe]:
    """Probe the tracks. Blocks for little more than ``timeout_s``."""
    found: dict[str, Probe] = {}

    def run(track: str) -> None:
        found[track] = _probe(_PROBES[track], config, timeout_s)

    threads = [
        threading.Thread(target=run, args=(track,), daemon=True, name=f"probe-{track}")
        for track in tracks
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout_s + _GRACE_S
    for track, thread in zip(tracks, threads, strict=True):
        thread.join(max(0.0, deadline - time.monotonic()))
        unanswered = Probe(is_taken=False, error=f"no answer within {timeout_s:g} s")
        found.setdefault(track, unanswered)
    return dict(found)


def _probe(send: Callable[[Config, float], int], config: Config, timeout_s: float) -> Probe:
    started = time.monotonic()
    error = ""
    try:
        if send(config, timeout_s):
            error = "the destination answered, but rejected the record"
    except DeliveryError as exc:
        error = str(exc)
    except Exception as exc:
        error = f"{type(exc).__name__}: {exc}"
    return Probe(is_taken=not error, error=error, duration_s=time.monotonic() - started)


def destination(config: Config, track: str) -> str:
    """Where a track's records go, without credentials."""
    if track == "logs":
        if config.fluent_bit_protocol == "stdout":
            return "standard output"
        scheme = config.fluent_bit_protocol + ("s" if config.fluent_bit_tls else "")
        return f"{scheme}://{config.fluent_bit_host}:{config.fluent_bit_port}"
    if track == "errors":
        return _without_credentials(config.sentry_dsn or "")
    protocol = getattr(config, f"{track}_protocol")
    return f"{_without_credentials(getattr(config, f'{track}_endpoint') or '')} ({protocol})"


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


# --- logs ------------------------------------------------------------------------------------


def _probe_logs(config: Config, timeout_s: float) -> int:
    if config.fluent_bit_protocol == "stdout":
        return 0
    record = {
        "id": uuid.uuid4().hex,
        "timestamp": rfc3339(time.time_ns()),
        "event_type": "probe",
        "level": "info",
        "message": f"{_PROBE_NAME} probe",
        **_ids(config),
    }
    from fiveobs.tracks.logs import LogsDestination

    way = LogsDestination(config)  # what the workers use
    return _closing(way, lambda: way.ship([orjson.dumps(record)], timeout_s, {}))


# --- traces and metrics ----------------------------------------------------------------------


def _probe_traces(config: Config, timeout_s: float) -> int:
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
    from opentelemetry.proto.trace.v1 import trace_pb2

    ids, now_ns = IdSource(), time.time_ns()
    request = trace_service_pb2.ExportTraceServiceRequest()
    group = request.resource_spans.add()
    _describe(group.resource, config)
    scoped = group.scope_spans.add()
    scoped.scope.name, scoped.scope.version = "fiveobs", __version__
    scoped.spans.add(
        trace_id=bytes.fromhex(ids.trace_id()),
        span_id=bytes.fromhex(ids.span_id()),
        name=_PROBE_NAME,
        kind=trace_pb2.Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=now_ns - 1_000_000,
        end_time_unix_nano=now_ns,
        flags=1,
    )
    return _send_otlp("traces", request.SerializeToString(), config, timeout_s)


def _probe_metrics(config: Config, timeout_s: float) -> int:
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

    request = metrics_service_pb2.ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    _describe(group.resource, config)
    scoped = group.scope_metrics.add()
    scoped.scope.name, scoped.scope.version = "fiveobs", __version__
    metric = scoped.metrics.add(
        name="fiveobs.probe", description="Sent by fiveobs doctor", unit="1"
    )
    metric.gauge.data_points.add(as_int=1, time_unix_nano=time.time_ns())
    return _send_otlp("metrics", request.SerializeToString(), config, timeout_s)


def _send_otlp(
    signal: Literal["traces", "metrics"], body: bytes, config: Config, timeout_s: float
) -> int:
    from fiveobs.tracks._otlp_settings import otlp_sender

    sender = otlp_sender(signal, config)
    return _closing(sender, lambda: sender.send(body, timeout_s))


def _describe(resource: Any, config: Config) -> None:
    attributes = {
        **config.resource_attributes,
        "service.name": config.service,
        "machine.id": config.machine_id,
    }
    for key, value in attributes.items():
        resource.attributes.add(key=key).value.string_value = value


# --- errors ----------------------------------------------------------------------------------


def _probe_errors(config: Config, timeout_s: float) -> int:
    from sentry_sdk.envelope import Envelope

    from fiveobs.tracks._envelope import EnvelopeSender

    event_id = uuid.uuid4().hex
    event = {
        "event_id": event_id,
        "timestamp": rfc3339(time.time_ns()),
        "level": "info",
        "platform": "python",
        "logger": "fiveobs.doctor",
        "message": f"{_PROBE_NAME} probe",
        "fingerprint": [_PROBE_NAME],
        "environment": config.sentry_environment or "production",
        "release": config.sentry_release,
        "server_name": config.machine_id,
        "tags": _ids(config),
    }
    headers = {"event_id": event_id, "sent_at": event["timestamp"]}
    envelope = Envelope(headers=headers)
    envelope.add_event({key: value for key, value in event.items() if value})  # type: ignore[arg-type]
    sender = EnvelopeSender(config.sentry_dsn or "")
    return _closing(sender, lambda: sender.send(envelope.serialize(), timeout_s))


# --- all -------------------------------------------------------------------------------------


def _ids(config: Config) -> dict[str, str]:
    ids = {"service": config.service, "machine_id": config.machine_id}
    return ids | ({"worker_id": config.worker_id} if config.worker_id else {})


def _closing(sender: _Sender, send: Callable[[], int]) -> int:
    try:
        return send()
    finally:
        sender.close()


_PROBES: dict[str, Callable[[Config, float], int]] = {
    "logs": _probe_logs,
    "traces": _probe_traces,
    "metrics": _probe_metrics,
    "errors": _probe_errors,
}
