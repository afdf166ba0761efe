"""Turns journal lines that carry a span into one OTLP export request.

What spans of the same kind of job have in common (name, kind, constant attributes) is encoded once
and kept, because encoding is most of what a span costs. Protobuf allows the parts of a message to
be laid end to end, so a span is its own part followed by the common one.

Source: opentelemetry-proto, ``trace/v1/trace.proto``; the protobuf encoding guide for joining.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from fiveobs._version import __version__
from fiveobs._yielding import Turns

#: Tags of the fields that are joined by hand: field number and wire type 2 (length-delimited).
_REQUEST_RESOURCE_SPANS = b"\x0a"  # field 1
_RESOURCE_SCOPE_SPANS = b"\x12"  # field 2
_SCOPE_SPANS = b"\x12"  # field 2
_SAMPLED_FLAG = 1
#: What OTLP's integers can hold; more becomes text.
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_NOTHING: Mapping[str, Any] = {}
#: Ids that differ from job to job: in the shared part they would make it one of a kind.
_OWN_IDS = (("job_id", "job.id"), ("session_id", "session.id"), ("request_id", "request.id"))
#: Fields of event data that differ from job to job, and the attributes they become.
DATA_ATTRIBUTES = (
    ("stage", "job.stage"),
    ("input_size_bytes", "job.input_size"),
    ("output_size_bytes", "job.output_size"),
    ("sentry_event_id", "sentry.event_id"),
)

#: The attributes that come from elsewhere in a line; OTLP wants each key once.
_RECORD_KEYS = (
    *(("job_id", "job.id"), ("job_name", "job.name"), ("job_name", "job.service")),
    *(("attempt", "job.attempt"), ("worker_id", "worker.id")),
    *(("session_id", "session.id"), ("request_id", "request.id")),
)
_DATA_KEYS = (
    *DATA_ATTRIBUTES,
    *(("status", "job.status"), ("queue", "messaging.destination.name"), ("error", "error.type")),
)


class SpanEncoder:
    """Encodes batches.

    Args:
        own_resource: The resource of spans whose lines do not say which process made them.
    """

    def __init__(self, own_resource: Mapping[str, Any]) -> None:
        self._own_resource = own_resource

    def encode(self, lines: Iterable[bytes], origin: Mapping[str, Any]) -> tuple[bytes, int]:
        """A serialized ``ExportTraceServiceRequest``, and the number of unusable lines."""
        scopes: dict[str, list[bytes]] = {}
        unusable = 0
        turns = Turns()
        for line in lines:
            turns.give_way()
            try:
                record = orjson.loads(line)
                span = record["span"]
                encoded = encode_span(record, span)
            except (ValueError, TypeError, KeyError, AttributeError):
                unusable += 1
                continue
            scopes.setdefault(span.get("scope") or "fiveobs", []).append(encoded)
        return _request(scopes, origin or self._own_resource), unusable


def _request(scopes: Mapping[str, list[bytes]], resource: Mapping[str, Any]) -> bytes:
    message = ResourceSpans(resource=Resource(attributes=key_values(resource)))
    parts = [message.SerializeToString()]
    parts += [delimited(_RESOURCE_SCOPE_SPANS, _scope(*item)) for item in scopes.items()]
    return delimited(_REQUEST_RESOURCE_SPANS, b"".join(parts))


def _scope(name: str, spans: list[bytes]) -> bytes:
    version = __version__ if name == "fiveobs" else ""
    scope = ScopeSpans(scope=InstrumentationScope(name=name, version=version))
    return scope.SerializeToString() + b"".join(delimited(_SCOPE_SPANS, span) for span in spans)


def delimited(tag: bytes, content: bytes) -> bytes:
    """A length-delimited field: tag, length as a varint, content."""
    length = len(content)
    varint = bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    varint.append(length)
    return tag + bytes(varint) + content


def encode_span(record: Mapping[str, Any], span: Mapping[str, Any]) -> bytes:
    """A serialized ``Span``.

    Args:
        record: The journal line's object.
        span: Its ``span``.
    """
    message = Span(
        trace_id=bytes.fromhex(record["trace_id"]),
        span_id=bytes.fromhex(record["span_id"]),
        start_time_unix_nano=span["start_ns"],
        end_time_unix_nano=max(span["end_ns"], span["start_ns"]),
        flags=_SAMPLED_FLAG,
    )
    if "parent_span_id" in span:
        message.parent_span_id = bytes.fromhex(span["parent_span_id"])
    for field, key in _OWN_IDS:
        if record.get(field) is not None:
            _set(message.attributes.add(), key, record[field])
    data = record.get("data") or _NOTHING
    for field, key in DATA_ATTRIBUTES:
        if field in data:
            _set(message.attributes.add(), key, data[field])
    said = {**(data.get("attributes") or _NOTHING), **(span.get("attributes") or _NOTHING)}
    if said:
        taken = {key for field, key in _RECORD_KEYS if field in record}
        taken |= {key for field, key in _DATA_KEYS if field in data}
        message.attributes.extend(key_values({k: v for k, v in said.items() if k not in taken}))
    if "error" in data:
        _add_error(message, data["error"])
    if len(span) > 2:
        _add_said(message, span)
    return message.SerializeToString() + _common(
        span.get("name") or record.get("job_name", ""),
        span.get("kind", Span.SPAN_KIND_INTERNAL),
        record.get("job_name"),
        record.get("service"),
        record.get("attempt"),
        record.get("worker_id"),
        data.get("status"),
        data.get("queue"),
    )


@functools.lru_cache(maxsize=256)
def _common(
    name: str,
    kind: Span.SpanKind.ValueType,
    job_name: str | None,
    service: str | None,
    attempt: int | None,
    worker_id: str | None,
    status: str | None,
    queue: str | None,
) -> bytes:
    """The part that many spans share."""
    attributes = {
        "job.name": job_name,
        "job.service": service if job_name else None,
        "job.attempt": attempt,
        "worker.id": worker_id,
        "job.status": status,
        "messaging.destination.name": queue,
    }
    return Span(name=name, kind=kind, attributes=key_values(attributes)).SerializeToString()


def _add_error(message: Span, error: Mapping[str, Any]) -> None:
    _set(message.attributes.add(), "error.type", error["type"])
    message.status.code = Status.STATUS_CODE_ERROR
    message.status.message = error.get("message", "")
    event = message.events.add(name="exception", time_unix_nano=message.end_time_unix_nano)
    for key in ("type", "message", "stacktrace"):
        if key in error:
            _set(event.attributes.add(), f"exception.{key}", error[key])


def _add_said(message: Span, span: Mapping[str, Any]) -> None:
    """What the application said about the span through the OpenTelemetry API."""
    for said in span.get("events", ()):
        event = message.events.add(name=said["name"], time_unix_nano=said["time_ns"])
        event.attributes.extend(key_values(said.get("attributes", {})))
    for trace_id, span_id in span.get("links", ()):
        message.links.add(trace_id=bytes.fromhex(trace_id), span_id=bytes.fromhex(span_id))
    status = span.get("status")
    if status and not message.status.code:
        message.status.code = status["code"]
        message.status.message = status["message"]


def key_values(attributes: Mapping[str, Any]) -> list[KeyValue]:
    """Attributes as OTLP has them; ``None`` is left out."""
    pairs = []
    for key, value in attributes.items():
        if value is not None:
            pairs.append(KeyValue(key=key))
            _set(pairs[-1], key, value)
    return pairs


def _set(pair: KeyValue, key: str, value: Any) -> None:
    pair.key = key
    if type(value) is str:
        pair.value.string_value = value
    else:
        _set_value(pair.value, value)


def _set_value(target: AnyValue, value: Any) -> None:
    """Set one value; ``None`` in a container is a value that is not set."""
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        if _INT_MIN <= value <= _INT_MAX:
            target.int_value = value
        else:
            target.string_value = str(value)
    elif isinstance(value, float):
        target.double_value = value
    elif value is not None:
        _set_container(target, value)


def _set_container(target: AnyValue, value: Any) -> None:
    if isinstance(value, Mapping):
        target.kvlist_value.SetInParent()
        for key, item in value.items():
            _set_value(target.kvlist_value.values.add(key=key).value, item)
    elif isinstance(value, list | tuple):
        target.array_value.SetInParent()
        for item in value:
            _set_value(target.array_value.values.add(), item)
    else:
        raise TypeError(f"{type(value).__name__} is no JSON value")
