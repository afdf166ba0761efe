"""Spans of the application and its libraries, where the provider is ours."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

import fiveobs
from fiveobs import observe_job
from fiveobs.testing import Captured, capture
from fiveobs.tracks import _library_spans

tracer = trace.get_tracer("app.db")


@pytest.fixture
def captured() -> Iterator[Captured]:
    with capture() as found:
        yield found


def by_name(captured: Captured) -> dict[str, Any]:
    return {span["name"]: span for span in captured.spans}


def test_a_span_in_a_job_is_its_child(captured: Captured) -> None:
    """With the job's ids as attributes, under the library's scope."""
    with observe_job("job", session_id="s") as job, tracer.start_as_current_span("query"):
        pass
    span = by_name(captured)["query"]
    assert (span["trace_id"], span["parent_span_id"]) == (job.trace_id, job.span_id)
    assert span["scope"] == "app.db"
    attributes = span["attributes"]
    assert (attributes["job.id"], attributes["session.id"]) == (job.job_id, "s")


def test_everything_said_on_a_span_arrives(captured: Captured) -> None:
    """Kind, attributes, events, links, status and times."""
    other = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))
    with observe_job("job"):
        span = tracer.start_span(
            "query",
            kind=SpanKind.CLIENT,
            attributes={"db": "x", "rows": [1, 2], "ratio": 0.5, "ok": True},
            links=[Link(other)],
            start_time=1_767_323_045_000_000_000,
        )
        span.add_event("sent", {"bytes": 5}, timestamp=1_767_323_045_000_000_001)
        span.set_status(Status(StatusCode.ERROR, "timed out"))
        span.end(1_767_323_045_000_000_007)
    found = by_name(captured)["query"]
    assert found["kind"] == "CLIENT"
    said = {"db": "x", "rows": [1, 2], "ratio": 0.5, "ok": True}
    assert said.items() <= found["attributes"].items()
    assert found["events"] == [
        {"name": "sent", "time_ns": 1_767_323_045_000_000_001, "attributes": {"bytes": 5}}
    ]
    assert found["links"] == [{"trace_id": f"{1:032x}", "span_id": f"{2:016x}"}]
    assert found["status"] == {"code": "ERROR", "message": "timed out"}
    assert found["end_ns"] - found["start_ns"] == 7


def test_a_job_in_an_applications_span_is_its_child(captured: Captured) -> None:
    """The application's trace goes on in the job, and comes back after it."""
    with tracer.start_as_current_span("request") as outer:
        with observe_job("job") as job:
            pass
        assert trace.get_current_span() is outer
    context = outer.get_span_context()
    assert job.trace_id == f"{context.trace_id:032x}"
    assert job.parent_span_id == f"{context.span_id:016x}"
    assert by_name(captured).keys() == {"request", "job"}


def test_spans_outside_jobs_are_sampled_by_their_trace() -> None:
    """A share of the traces; children go with their parent."""
    with capture(trace_sample_ratio=0.5) as captured:
        for _ in range(200):
            with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner"):
                pass
        spans = captured.spans
        assert 50 <= len(spans) / 2 <= 150
        assert len({span["trace_id"] for span in spans}) * 2 == len(spans)


def test_a_failed_job_keeps_the_span_around_it_out() -> None:
    """What was not sampled outside jobs is not recorded; what is in the job is."""
    with capture(trace_sample_ratio=0.0) as captured:
        with (
            tracer.start_as_current_span("outside"),
            pytest.raises(ValueError),
            observe_job("job"),
        ):
            with tracer.start_as_current_span("inside"):
                pass
            raise ValueError
        assert by_name(captured).keys() == {"inside", "job"}


def test_a_span_that_outlives_an_undecided_job_is_forgotten_with_it() -> None:
    """And sent if the job was kept."""
    with capture(trace_sample_ratio=0.0) as captured:
        for fails in (False, True):
            try:
                with observe_job("job"):
                    span = tracer.start_span(f"late {fails}")
                    if fails:
                        raise ValueError
            except ValueError:
                pass
            span.end()
        assert by_name(captured).keys() == {"job", "late True"}


def test_a_root_span_in_a_job_is_of_another_trace(captured: Captured) -> None:
    """If the application asks for one; it still knows the job."""
    with observe_job("job") as job:
        tracer.start_span("root", context=Context()).end()
    span = by_name(captured)["root"]
    assert span["trace_id"] != job.trace_id
    assert span["attributes"]["job.id"] == job.job_id


def test_seeding_random_does_not_repeat_span_ids(captured: Captured) -> None:
    """The provider's ids come from our own source."""
    for _ in range(2):
        random.seed(1)
        tracer.start_span("seeded").end()
    first, second = captured.spans
    assert first["trace_id"] != second["trace_id"]
    assert first["span_id"] != second["span_id"]


def test_spans_find_the_present_pipeline() -> None:
    """The provider is set once, and serves each pipeline after another; none, once all ended."""
    for number in range(2):
        with capture() as captured:
            with observe_job("begin"):
                pass
            tracer.start_span(str(number)).end()
            assert str(number) in by_name(captured)
            fiveobs.shutdown()
            tracer.start_span("after shutdown").end()
            assert "after shutdown" not in by_name(captured)
    assert _library_spans.is_ours(trace.get_tracer_provider())


def test_secrets_on_library_spans_are_redacted(captured: Captured) -> None:
    """In attributes, events and status."""
    with observe_job("job"):
        span = tracer.start_span("query", attributes={"db.password": "hunter2hunter2"})
        span.record_exception(ValueError("password=hunter2hunter2"))
        span.set_status(StatusCode.ERROR, "password=hunter2hunter2")
        span.end()
    assert "hunter2" not in repr(captured.spans)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_spans_of_a_forked_child_are_sent_by_it() -> None:
    """Before its first job too, with ids of its own."""
    with capture() as captured:
        with observe_job("parent"):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    tracer.start_span("in child", context=Context()).end()
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        lines = b"".join(path.read_bytes() for path in (captured.home / "journal").glob("*.log"))
    assert lines.count(b'"name":"in child"') == 1
