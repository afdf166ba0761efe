"""Spans as OTLP: what is said is what a receiver reads."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from fiveobs.tracks._span_encoding import SpanEncoder, key_values
from tests.support._otlp_parse import spans_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
START = 1_767_323_045_000_000_000
text = st.text(st.characters(codec="utf-8"))
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
attributes = st.dictionaries(text.map(lambda key: f"app.{key}"), values, max_size=6)


def line(span: dict[str, Any] | None = None, **fields: Any) -> bytes:
    record = {
        "id": "a-1",
        "event_type": "job.completed",
        "service": "thumbnails",
        "job_name": "resize",
        "job_id": "7",
        "trace_id": TRACE,
        "span_id": SPAN,
        "attempt": 1,
        "worker_id": "w",
        "data": {"status": "completed"},
        **fields,
        "span": {"start_ns": START, "end_ns": START + 5, **(span or {})},
    }
    return orjson.dumps(record)


def encode(*lines: bytes, origin: dict[str, Any] | None = None) -> tuple[list[dict[str, Any]], int]:
    body, unusable = SpanEncoder({"service.name": "own"}).encode(lines, origin or {})
    return list(spans_of(ExportTraceServiceRequest.FromString(body))), unusable


def one(span: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    (found,), unusable = encode(line(span, **fields))
    assert unusable == 0
    return found


def without_none(said: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in said.items() if value is not None}


# --- whole spans ---


def test_a_jobs_span_has_its_ids_times_and_attributes() -> None:
    """As the design's table of attributes has them."""
    span = one(
        {"parent_span_id": "00f067aa0ba902b8", "kind": 5},
        session_id="s",
        request_id="r",
        attempt=2,
        data={
            "status": "completed",
            "queue": "images",
            "stage": "Loading",
            "input_size_bytes": 10,
            "output_size_bytes": 20,
            "sentry_event_id": "e",
            "attributes": {"customer": "c"},
        },
    )
    assert (span["trace_id"], span["span_id"]) == (TRACE, SPAN)
    assert span["parent_span_id"] == "00f067aa0ba902b8"
    assert (span["name"], span["kind"], span["flags"]) == ("resize", "CONSUMER", 1)
    assert (span["start_ns"], span["end_ns"]) == (START, START + 5)
    assert span["status"] == {"code": "UNSET", "message": ""}
    assert span["attributes"] == {
        "job.id": "7",
        "job.name": "resize",
        "job.service": "thumbnails",
        "job.attempt": 2,
        "job.status": "completed",
        "job.stage": "Loading",
        "job.input_size": 10,
        "job.output_size": 20,
        "worker.id": "w",
        "session.id": "s",
        "request.id": "r",
        "messaging.destination.name": "images",
        "sentry.event_id": "e",
        "customer": "c",
    }
    assert (span["resource"], span["scope"]) == ({"service.name": "own"}, "fiveobs")


def test_a_failed_jobs_span_has_status_and_exception() -> None:
    """The status is an error, and an exception event says all of it, at the end."""
    error = {"type": "ValueError", "message": "bad row", "stacktrace": "Traceback"}
    span = one(data={"status": "failed", "error": error})
    assert span["status"] == {"code": "ERROR", "message": "bad row"}
    assert span["attributes"]["error.type"] == "ValueError"
    assert span["events"] == [
        {
            "name": "exception",
            "time_ns": START + 5,
            "attributes": {f"exception.{key}": value for key, value in error.items()},
        }
    ]


def test_what_the_application_said_is_there() -> None:
    """Name, events, links and status."""
    span = one(
        {
            "name": "renamed",
            "events": [{"name": "e", "time_ns": START + 1, "attributes": {"a": 1}}],
            "links": [[TRACE, SPAN]],
            "status": {"code": 1, "message": ""},
        }
    )
    assert (span["name"], span["status"]["code"]) == ("renamed", "OK")
    assert span["events"] == [{"name": "e", "time_ns": START + 1, "attributes": {"a": 1}}]
    assert [(link["trace_id"], link["span_id"]) for link in span["links"]] == [(TRACE, SPAN)]


def test_a_failure_wins_over_what_was_said() -> None:
    """An application cannot declare a job fine that raised."""
    error = {"type": "ValueError", "message": "bad row"}
    span = one({"status": {"code": 1, "message": ""}}, data={"error": error})
    assert span["status"]["code"] == "ERROR"


def test_a_clock_that_went_back_makes_no_negative_span() -> None:
    """The end is not before the start."""
    span = one({"end_ns": START - 100})
    assert span["end_ns"] == span["start_ns"]


def test_spans_are_grouped_by_scope_under_their_process() -> None:
    """A dead process's lines keep its resource."""
    own, library = line(), line({"scope": "requests", "name": "GET"})
    spans, _ = encode(own, library, own, origin={"service.name": "dead"})
    assert sorted(span["scope"] for span in spans) == ["fiveobs", "fiveobs", "requests"]
    assert all(span["resource"] == {"service.name": "dead"} for span in spans)


# --- attributes ---


@given(attributes, attributes)
def test_attributes_read_back_as_they_were_said(said: dict[str, Any], data: dict[str, Any]) -> None:
    """Any nesting, any script; on the job and on its span."""
    span = one({"attributes": said}, data={"attributes": data})
    ours = {"job.id", "job.name", "job.service", "job.attempt", "worker.id"}
    found = {key: value for key, value in span["attributes"].items() if key not in ours}
    assert found == without_none({**data, **said})


@given(attributes)
def test_event_attributes_read_back_as_they_were_said(said: dict[str, Any]) -> None:
    """As on the span."""
    span = one({"events": [{"name": "e", "time_ns": 1, "attributes": said}]})
    assert span["events"][0]["attributes"] == without_none(said)


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, -(2**63) - 1, 10**30])
def test_an_integer_beyond_64_bit_is_text(number: int) -> None:
    """It does not cost the span."""
    pairs = key_values({"n": number, "list": [number], "nested": {"n": number}})
    assert pairs[0].value.string_value == str(number)
    assert pairs[1].value.array_value.values[0].string_value == str(number)
    assert pairs[2].value.kvlist_value.values[0].value.string_value == str(number)


def test_the_largest_integer_of_json_does_not_cost_the_span() -> None:
    """What lies in the journal as an unsigned number arrives as text."""
    span = one({"attributes": {"n": 2**64 - 1, "m": 2**63 - 1}})
    assert (span["attributes"]["n"], span["attributes"]["m"]) == (str(2**64 - 1), 2**63 - 1)


def test_each_key_is_there_once() -> None:
    """OTLP asks for it: ours stand, the span's own wins over the job's."""
    body, _ = SpanEncoder({}).encode(
        [
            line(
                {"attributes": {"job.id": "fake", "a": 2, "job.status": "fake"}},
                data={"status": "completed", "attributes": {"a": 1, "job.name": "fake"}},
            )
        ],
        {},
    )
    span = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0]
    keys = [pair.key for pair in span.attributes]
    assert len(keys) == len(set(keys))
    found = {pair.key: pair.value for pair in span.attributes}
    assert found["job.id"].string_value == "7"
    assert found["job.name"].string_value == "resize"
    assert found["a"].int_value == 2


def test_a_librarys_own_keys_stay() -> None:
    """Keys that we set on jobs only are a library's to set on its spans."""
    said = {"error.type": "500", "messaging.destination.name": "topic"}
    span = one({"scope": "kafka", "name": "send", "attributes": said}, data={})
    assert said.items() <= span["attributes"].items()


# --- what cannot be used ---


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"span": null}',
        line(trace_id="xyz"),
        line({"start_ns": "soon"}),
        line({"start_ns": -1}),
        line({"links": [["a"]]}),
        line({"attributes": 7}),
        line(data={"attributes": [1]}),
        line(data={"error": {}}),
        line(data={"status": ["no", "text"]}),
    ],
)
def test_a_bad_line_costs_itself_only(bad: bytes) -> None:
    """It is counted, and the others of the batch are sent."""
    spans, unusable = encode(line(), bad, line())
    assert (len(spans), unusable) == (2, 1)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_no_bytes_raise(lines: list[bytes]) -> None:
    """A journal may hold anything after a crash."""
    spans, unusable = encode(*lines, line())
    assert (len(spans), unusable) == (1, len(lines))


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_383, 16_384, 300_000])
def test_lengths_of_any_size_are_right(size: int) -> None:
    """The parts are laid together by hand, so their lengths must hold."""
    assert one({"attributes": {"a": "x" * size}})["attributes"]["a"] == "x" * size
