"""Reads back what the tracks send: OTLP requests, Sentry envelopes, log batches, journal files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fiveobs.journal.records import NOT_EVENTS
from fiveobs.journal.segments import segment_files

_STATUS_CODES = ("UNSET", "OK", "ERROR")


def spans_in(body: bytes) -> Iterator[dict[str, Any]]:
    """The spans of a serialized ``ExportTraceServiceRequest``."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield {**_span(span), "scope": scope.scope.name, "resource": resource}


def _span(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex() or None,
        "kind": type(span).SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        "start_ns": span.start_time_unix_nano,
        "end_ns": span.end_time_unix_nano,
        "duration_s": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        "attributes": _attributes(span.attributes),
        "status": {"code": _STATUS_CODES[span.status.code], "message": span.status.message},
        "events": [
            {
                "name": event.name,
                "time_ns": event.time_unix_nano,
                "attributes": _attributes(event.attributes),
            }
            for event in span.events
        ],
        "links": [
            {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()} for link in span.links
        ],
    }


def points_in(body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and point of a serialized ``ExportMetricsServiceRequest``."""
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

    request = metrics_service_pb2.ExportMetricsServiceRequest.FromString(body)
    for group in request.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                kind = str(metric.WhichOneof("data"))
                for point in getattr(metric, kind).data_points:
                    yield metric.name, {"kind": kind, "unit": metric.unit, **_point(point, kind)}


def _point(point: Any, kind: str) -> dict[str, Any]:
    exemplars = [_exemplar(each) for each in point.exemplars]
    found: dict[str, Any] = {"attributes": _attributes(point.attributes), "exemplars": exemplars}
    if kind != "histogram":
        return {**found, "value": getattr(point, point.WhichOneof("value"))}
    return {
        **found,
        "count": point.count,
        "sum": point.sum,
        "min": point.min,
        "max": point.max,
        "bounds": list(point.explicit_bounds),
        "buckets": list(point.bucket_counts),
    }


def _exemplar(exemplar: Any) -> dict[str, Any]:
    return {
        "trace_id": exemplar.trace_id.hex(),
        "span_id": exemplar.span_id.hex(),
        "value": getattr(exemplar, exemplar.WhichOneof("value")),
    }


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    which = value.WhichOneof("value")
    if which == "array_value":
        return [_value(each) for each in value.array_value.values]
    if which == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, which) if which else None


def envelope_items_in(envelope: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Type and content of the JSON items of a serialized Sentry envelope."""
    from sentry_sdk.envelope import Envelope

    for item in Envelope.deserialize(envelope).items:
        try:
            content = json.loads(item.get_bytes())
        except ValueError:  # an attachment
            continue
        yield str(item.type), content


def log_records_in(payload: Any) -> Iterator[dict[str, Any]]:
    """The records of a log batch: Forward's (time, record) pairs, or HTTP's JSON lines."""
    for each in payload:
        yield json.loads(each) if isinstance(each, bytes) else dict(each[1])


def journal_lines(folder: Path) -> Iterator[bytes]:
    """The lines of all journals in the folder, stem by stem."""
    for _, _, path in segment_files(folder):
        yield from path.read_bytes().split(b"\n")


def is_event(record: Any) -> bool:
    """Whether a line's object is an event, and no part of another track on its way out."""
    kind = record.get("event_type", "") if isinstance(record, dict) else ""
    return bool(kind) and kind.encode() not in NOT_EVENTS
