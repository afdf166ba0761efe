"""OTLP protobuf messages as plain dicts: ids in hex, enums by name, times in nanoseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["logs_of", "metrics_of", "spans_of"]


def spans_of(message: Any) -> Iterator[dict[str, Any]]:
    """Every span of an ExportTraceServiceRequest."""
    for group in message.resource_spans:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_spans:
            for span in scoped.spans:
                yield {**_span(span), "resource": resource, "scope": scoped.scope.name}


def metrics_of(message: Any) -> Iterator[dict[str, Any]]:
    """Every metric of an ExportMetricsServiceRequest."""
    for group in message.resource_metrics:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_metrics:
            for metric in scoped.metrics:
                yield {**_metric(metric), "resource": resource, "scope": scoped.scope.name}


def logs_of(message: Any) -> Iterator[dict[str, Any]]:
    """Every record of an ExportLogsServiceRequest."""
    for group in message.resource_logs:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_logs:
            for record in scoped.log_records:
                yield {**_log(record), "resource": resource, "scope": scoped.scope.name}


def _span(span: Any) -> dict[str, Any]:
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex() or None,
        "trace_state": span.trace_state,
        "flags": span.flags,
        "name": span.name,
        "kind": trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        "start_ns": span.start_time_unix_nano,
        "end_ns": span.end_time_unix_nano,
        "attributes": _attributes(span.attributes),
        "status": {
            "code": trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
            "message": span.status.message,
        },
        "links": [_link(link) for link in span.links],
        "events": [_span_event(event) for event in span.events],
    }


def _link(link: Any) -> dict[str, Any]:
    return {
        "trace_id": link.trace_id.hex(),
        "span_id": link.span_id.hex(),
        "trace_state": link.trace_state,
        "flags": link.flags,
        "attributes": _attributes(link.attributes),
    }


def _span_event(event: Any) -> dict[str, Any]:
    return {
        "name": event.name,
        "time_ns": event.time_unix_nano,
        "attributes": _attributes(event.attributes),
    }


def _metric(metric: Any) -> dict[str, Any]:
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    temporality: Any = getattr(data, "aggregation_temporality", 0)
    return {
        "name": metric.name,
        "description": metric.description,
        "unit": metric.unit,
        "type": kind,
        "monotonic": getattr(data, "is_monotonic", None),
        "temporality": metrics_pb2.AggregationTemporality.Name(temporality).removeprefix(
            "AGGREGATION_TEMPORALITY_"
        ),
        "points": [_point(point, kind) for point in data.data_points],
    }


def _point(point: Any, kind: str) -> dict[str, Any]:
    parsed: dict[str, Any] = {
        "attributes": _attributes(point.attributes),
        "start_ns": point.start_time_unix_nano,
        "time_ns": point.time_unix_nano,
        "exemplars": [_exemplar(each) for each in getattr(point, "exemplars", ())],
    }
    if kind in ("gauge", "sum"):
        parsed["value"] = _number(point)
        return parsed
    parsed |= {"count": point.count, "sum": point.sum}
    if kind == "histogram":
        parsed |= {"bounds": list(point.explicit_bounds), "buckets": list(point.bucket_counts)}
    if kind != "summary":
        parsed |= {name: getattr(point, name) for name in ("min", "max") if point.HasField(name)}
    return parsed


def _exemplar(exemplar: Any) -> dict[str, Any]:
    return {
        "trace_id": exemplar.trace_id.hex(),
        "span_id": exemplar.span_id.hex(),
        "time_ns": exemplar.time_unix_nano,
        "value": _number(exemplar),
        "attributes": _attributes(exemplar.filtered_attributes),
    }


def _number(point: Any) -> float | int | None:
    which = point.WhichOneof("value")
    return None if which is None else getattr(point, which)


def _log(record: Any) -> dict[str, Any]:
    return {
        "time_ns": record.time_unix_nano,
        "observed_ns": record.observed_time_unix_nano,
        "severity": record.severity_text,
        "severity_number": record.severity_number,
        "body": _value(record.body),
        "attributes": _attributes(record.attributes),
        "trace_id": record.trace_id.hex(),
        "span_id": record.span_id.hex(),
    }


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    which = value.WhichOneof("value")
    if which is None:
        return None
    inner = getattr(value, which)
    if which == "array_value":
        return [_value(each) for each in inner.values]
    if which == "kvlist_value":
        return _attributes(inner.values)
    return inner
