"""One failed job has the same ids on all five tracks, as the receivers see it."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import workers
from tests.support.workers import Destinations

IN_ONE_PROCESS = (
    "function",
    "coroutine",
    "thread_pool",
    "generator",
    "async_generator",
    "context_manager",
    "async_context_manager",
    "nested",
    "announced",
)
ACROSS_PROCESSES = ("fork", "spawn", "program")


class Ran:
    """A worker that ran one shape: what it told, and what came of it."""

    def __init__(self, shape: str, protocol: str, home: Path) -> None:
        with Destinations(protocol=protocol) as self.there:
            settings = self.there.settings() | {"FIVEOBS_HOME": str(home)}
            self.told = workers.run("one_failed_job", shape, settings=settings)
        self.events = workers.events(home)
        #: The ids that the failed job saw, and those of the job around or before it.
        self.truth = self._told_by("failed")
        self.outer = self._told_by("outer")

    def _told_by(self, role: str) -> dict[str, Any]:
        return next((each for each in self.told if each["role"] == role), {})


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ran]:
    """Runs a shape, once for all tests."""

    @functools.cache
    def run(shape: str, protocol: str = "http") -> Ran:
        return Ran(shape, protocol, tmp_path_factory.mktemp(shape))

    return run


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("shape", IN_ONE_PROCESS + ACROSS_PROCESSES)
def test_the_ids_are_the_same_everywhere(
    shape: str, protocol: str, ran: Callable[..., Ran]
) -> None:
    """Whatever runs the job, its ids are those that the job itself saw, on every track."""
    run = ran(shape, protocol)
    truth = run.truth
    assert truth["session_id"] == "session-7"
    assert truth["request_id"] == "request-9"
    assert truth["attempt"] == 2
    common = ("job_id", "trace_id", "span_id", "session_id", "request_id", "attempt", "worker_id")
    expected = {name: truth[name] for name in common} | {"machine_id": socket.gethostname()}
    seen = _seen(run.there, run.events, truth)
    for track, ids in seen.items():
        assert ids == {name: expected[name] for name in ids}, track
    assert set(seen) == {"events", "logs", "traces", "metrics", "errors"}


@pytest.mark.parametrize("shape", ACROSS_PROCESSES)
def test_a_carrier_continues_the_job_in_another_process(
    shape: str, ran: Callable[..., Ran]
) -> None:
    """The second process has the first one's ids but its own worker, and a child span."""
    run = ran(shape)
    first, second = run.outer, run.truth
    for name in ("job_id", "trace_id", "session_id", "request_id", "attempt"):
        assert second[name] == first[name]
    assert second["worker_id"] != first["worker_id"]
    (child,) = [span for span in run.there.otlp.spans if span["span_id"] == second["span_id"]]
    assert child["parent_span_id"] == first["span_id"]
    assert child["kind"] == "CONSUMER"
    assert "parent_job_id" not in _failed(run.events, second)  # it is no parent of itself


@pytest.mark.parametrize("shape", ["nested", "thread_pool"])
def test_a_job_within_a_job_names_its_parent(shape: str, ran: Callable[..., Ran]) -> None:
    """The inner job has an id and a span of its own, and the outer one's as its parents."""
    run = ran(shape)
    outer, inner = run.outer, run.truth
    assert inner["job_id"] != outer["job_id"]
    (span,) = [span for span in run.there.otlp.spans if span["span_id"] == inner["span_id"]]
    assert span["parent_span_id"] == outer["span_id"]
    assert _failed(run.events, inner)["parent_job_id"] == outer["job_id"]


def test_an_announced_job_knows_how_long_it_waited(ran: Callable[..., Ran]) -> None:
    """The carrier of ``announce_job`` brings the queue and when the job was put there."""
    run = ran("announced")
    received, started = [event for event in run.events if event.get("job_id")][:2]
    assert (received["event_type"], started["event_type"]) == ("job.received", "job.started")
    assert started["job_id"] == received["job_id"]
    assert started["trace_id"] == received["trace_id"]
    assert started["data"]["queue"] == "images"
    assert 0 <= started["data"]["queue_wait_s"] < 10
    waits = [metric for metric in run.there.otlp.metrics if metric["name"] == "job.queue.wait"]
    assert [point["attributes"] for point in waits[-1]["points"]] == [{"queue": "images"}]


# --- what each track shows -----------------------------------------------------------------------


def _seen(
    there: Destinations, events: list[dict[str, Any]], truth: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """The failed job's ids by track; the receivers have everything, as the worker has ended."""
    return {
        "events": _of_record(_failed(events, truth)),
        "logs": _of_record(_failed([record for _, _, record in there.forward.records], truth)),
        "traces": _of_span(there, truth),
        "metrics": _of_exemplar(there, truth),
        "errors": _of_error(there, truth),
    }


def _failed(records: list[dict[str, Any]], truth: dict[str, Any]) -> dict[str, Any]:
    (found,) = [
        record
        for record in records
        if record["event_type"] == "job.failed" and record["span_id"] == truth["span_id"]
    ]
    return found


def _of_record(record: dict[str, Any]) -> dict[str, Any]:
    names = ("job_id", "trace_id", "span_id", "session_id", "request_id", "attempt")
    return {name: record[name] for name in (*names, "worker_id", "machine_id")}


def _of_span(there: Destinations, truth: dict[str, Any]) -> dict[str, Any]:
    (span,) = [span for span in there.otlp.spans if span["span_id"] == truth["span_id"]]
    attributes, resource = span["attributes"], span["resource"]
    assert span["status"]["code"] == "ERROR"
    assert resource["worker.id"] == attributes["worker.id"]
    return {
        "job_id": attributes["job.id"],
        "trace_id": span["trace_id"],
        "span_id": span["span_id"],
        "session_id": attributes["session.id"],
        "request_id": attributes["request.id"],
        "attempt": attributes["job.attempt"],
        "worker_id": attributes["worker.id"],
        "machine_id": resource["machine.id"],
    }


def _of_exemplar(there: Destinations, truth: dict[str, Any]) -> dict[str, Any]:
    exemplars = [
        {"trace_id": exemplar["trace_id"], "span_id": exemplar["span_id"]}
        for metric in there.otlp.metrics
        if metric["name"] == "job.duration"
        for point in metric["points"]
        if point["attributes"]["status"] == "failed"
        for exemplar in point["exemplars"]
        if exemplar["span_id"] == truth["span_id"]
    ]
    assert len(exemplars) == 1
    return exemplars[0]


def _of_error(there: Destinations, truth: dict[str, Any]) -> dict[str, Any]:
    (event,) = there.sentry.events
    tags, trace = event["tags"], event["contexts"]["trace"]
    assert trace["trace_id"] == tags["trace_id"]
    assert event["contexts"]["job"]["id"] == truth["job_id"]
    return {
        "job_id": tags["job_id"],
        "trace_id": trace["trace_id"],
        "span_id": trace["span_id"],
        "session_id": tags["session_id"],
        "request_id": tags["request_id"],
        "attempt": int(tags["attempt"]),
        "worker_id": tags["worker_id"],
        "machine_id": tags["machine_id"],
    }
