"""A job whose worker was killed is reported on all five tracks, as their receivers see it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.faults.dying_workers import Worker
from tests.support import workers
from tests.support.serving import serving
from tests.support.workers import Destinations, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how they ended")
#: What the issue asks for, in seconds, and what a receiver may take on a busy machine.
WITHIN_S, ARRIVES_S = 10.0, 20.0
OF_JOB = "/api/default/default/execution/job"


class Loss(NamedTuple):
    """A job that was lost, and where it was reported."""

    there: Destinations
    #: What the job's worker said of its beginning.
    started: dict[str, Any]
    #: The ``job.lost`` event.
    event: dict[str, Any]


@pytest.fixture(scope="module")
def loss(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loss]:
    """Kill a worker that sends nothing itself, beside a monitor that sends to all receivers."""
    home = tmp_path_factory.mktemp("tracks")
    with Destinations() as there:
        settings = {**there.settings(), "METRICS_COLLECTION_INTERVAL": "1s"}
        with serving(FIVEOBS_HOME=str(home), **settings) as monitor:
            worker = Worker(home, "kill")
            try:
                (started,) = until(lambda: workers.events(home, "job.started"))
                progress = f"{OF_JOB}/{started['job_id']}/progress"
                # What dies in the first moment of its life may have gone before it is seen.
                until(lambda: monitor.get(progress).is_success, timeout_s=ARRIVES_S)
                worker.go()
                found = until(
                    lambda: workers.events(home, "job.lost"), timeout_s=WITHIN_S, what="a report"
                )
                yield Loss(there, started, found[0])
            finally:
                worker.end()
            assert monitor.stop() == 0
    assert len(workers.events(home, "job.lost")) == 1


def test_the_event(loss: Loss) -> None:
    """It names the job, its worker, and the cause."""
    for name in ("job_id", "trace_id", "job_name", "service", "attempt"):
        assert loss.event[name] == loss.started[name], name
    data = loss.event["data"]
    assert (data["cause"], data["signal"]) == ("killed by signal", "SIGKILL")
    assert data["lost_worker_id"] == loss.started["worker_id"]
    assert loss.event["level"] == "error"


def test_the_log_line(loss: Loss) -> None:
    """The same record, where logs go."""

    def arrived() -> list[dict[str, Any]]:
        records = [record for _, _, record in loss.there.forward.records]
        return [each for each in records if each["event_type"] == "job.lost"]

    (record,) = until(arrived, timeout_s=ARRIVES_S, what="a log line")
    for name in ("id", "job_id", "trace_id", "level", "message"):
        assert record[name] == loss.event[name], name


def test_the_span(loss: Loss) -> None:
    """An ended one in the job's trace, below the job's own, which was never sent."""

    def arrived() -> list[dict[str, Any]]:
        return [span for span in loss.there.otlp.spans if span["name"] == "dying lost"]

    (span,) = until(arrived, timeout_s=ARRIVES_S, what="a span")
    assert span["trace_id"] == loss.started["trace_id"]
    assert span["parent_span_id"] == loss.started["span_id"]
    assert span["span_id"] == loss.event["span_id"]
    assert span["status"]["code"] == "ERROR"
    assert span["end_ns"] >= span["start_ns"] > 0
    assert span["attributes"]["job.id"] == loss.started["job_id"]


def test_the_count(loss: Loss) -> None:
    """One more job with the status ``lost``, under the service and name of the job."""

    def arrived() -> list[dict[str, Any]]:
        return [
            point
            for metric in loss.there.otlp.metrics
            if metric["name"] == "jobs.processed"
            for point in metric["points"]
            if point["attributes"]["status"] == "lost"
        ]

    point = until(arrived, timeout_s=ARRIVES_S, what="a count")[-1]
    assert point["value"] == 1
    attributes = point["attributes"]
    assert (attributes["service"], attributes["name"]) == ("faults", "dying")


def test_the_error(loss: Loss) -> None:
    """An event in Sentry with the job's ids and cause, whose id the event has."""
    (event,) = until(lambda: loss.there.sentry.events, timeout_s=ARRIVES_S, what="an error")
    assert event["event_id"] == loss.event["data"]["sentry_event_id"]
    (error,) = event["exception"]["values"]
    assert (error["type"], event["level"]) == ("JobLost", "error")
    assert event["tags"]["job_id"] == loss.started["job_id"]
    assert event["contexts"]["trace"]["trace_id"] == loss.started["trace_id"]
    assert event["contexts"]["job"]["cause"] == "killed by signal"
