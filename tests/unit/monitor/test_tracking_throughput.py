"""How much work is done and how quickly, and how many errors there were."""

from __future__ import annotations

import json
from typing import Any

from fiveobs.monitor.store.rows import EventRow
from fiveobs.monitor.tracking.throughput import Step, rate_by_interval, rates, steps
from tests.support.stories import JOB, PROJECT, Story

US = 1_000_000


def progress(at_s: float, done: float, event_type: str = "stage.progress") -> EventRow:
    data = {"stage": "a", "index": 1, "unit": "records"}
    if event_type != "stage.started":
        data["done"] = done  # type: ignore[assignment]
    known = {"event_type": event_type, "at_us": round(at_s * US), "data": json.dumps(data)}
    return EventRow(**{**dict.fromkeys(EventRow._fields), "attempt": 1, **known})  # type: ignore[arg-type]


def test_units_do_not_add_up(story: Story) -> None:
    """Ten million bytes and ten records are ten records; while it runs and when it has ended."""
    story.says(0, "job.started")
    at_s = story.stage(0, "Fetch", 1, 10_000_000, unit="bytes")
    at_s = story.stage(at_s, "Load", 2, 10)
    running = story.tracker(at_s + 1).progress(PROJECT, JOB).resource_usage
    story.says(at_s + 1, "job.completed", duration_s=at_s + 1, status="completed")
    tracker = story.tracker(at_s + 2)
    ended = tracker.progress(PROJECT, JOB).resource_usage
    assert running.processing_rate == ended.processing_rate == "1 records/second"
    processing = tracker.metrics(PROJECT, JOB).current_metrics.processing
    assert processing is not None
    assert (processing.records_per_second, processing.records_processed) == (1, 10)


def test_past_runs_are_compared_by_what_they_counted(story: Story) -> None:
    """The average of past runs is that of the same unit, worked out as the job's own is."""
    for number in range(6):
        fields = {"job_id": f"past-{number}"}
        at_s = 100.0 * number
        story.says(at_s, "job.started", fields=fields)
        end_s = story.stage(at_s, "Fetch", 1, 10_000_000, unit="bytes", fields=fields)
        end_s = story.stage(end_s, "Load", 2, 40, fields=fields)
        story.says(end_s, "job.completed", duration_s=25.0, status="completed", fields=fields)
    story.says(1000, "job.started")
    story.stage(1000, "Load", 1, 10)
    found = story.tracker(1011).metrics(PROJECT, JOB)
    assert found.benchmarks.average_throughput == "4 records/second"
    processing = found.current_metrics.processing
    assert processing is not None
    assert processing.processing_efficiency == 25


def test_what_the_job_counts_itself_is_shown(story: Story) -> None:
    """``job.progress(done=, total=)`` is enough where no stage counts."""
    story.says(0, "job.started")
    story.says(5, "job.progress", done=50, total=200, percent=25.0, duration_s=5.0)
    tracker = story.tracker(6)
    processing = tracker.metrics(PROJECT, JOB).current_metrics.processing
    assert processing is not None
    assert (processing.records_processed, processing.total_records) == (50, 200)
    assert processing.records_per_second == 10
    assert tracker.progress(PROJECT, JOB).resource_usage.processing_rate == "10 records/second"
    (interval,) = tracker.metrics(PROJECT, JOB, include_history=True).historical_metrics
    assert interval.records_per_second == 10


def test_a_step_begins_where_the_stage_began() -> None:
    """The first progress has the stage's beginning before it, with nothing done."""
    events = [progress(0, 0, "stage.started"), progress(2, 20), progress(2.01, 20)]
    assert list(steps(events, "records")) == [
        Step("a", 0, 2 * US, 20),
        Step("a", 2 * US, 2_010_000, 0),
    ]
    assert list(steps(events, "bytes")) == []


def test_a_rate_over_next_to_no_time_is_no_trend() -> None:
    """The end of a stage right after its last progress does not count as a standstill."""
    found = [Step("a", 0, 2 * US, 20), Step("a", 2 * US, 2_010_000, 0), Step("b", 0, US, 5)]
    assert rates(found, "a") == [10]


def test_an_interval_weighs_by_time() -> None:
    """Ten seconds at 1 and one second at 100 make 110 in eleven, not a mean of two rates."""
    found = [Step("a", 0, 10 * US, 10), Step("a", 10 * US, 11 * US, 100)]
    assert rate_by_interval(found, 60 * US, 0) == {0: 10}


def test_a_step_over_several_intervals_is_in_each() -> None:
    """Who says something every two minutes has a rate in every minute."""
    found = [Step("a", 30 * US, 150 * US, 120)]
    assert rate_by_interval(found, 60 * US, 0) == {0: 1, 1: 1, 2: 1}
    assert rate_by_interval(found, 60 * US, 120 * US) == {2: 1}


def failure(kind: str, **known: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "message": "no"}, "duration_s": 1.0, **known}


def test_one_exception_is_one_error(story: Story) -> None:
    """It leaves two stages and the job; before, another one was caught and tried again."""
    story.says(0, "job.started")
    story.stage(0, "Load", 1, 100, takes_s=1.0)
    outer = {"stage": "outer", "index": 2, "unit": "records", "done": 0, "rate_per_s": 0.0}
    tries = [{**outer, "stage": "try", "index": index} for index in (3, 4)]
    story.says(2, "stage.started", **outer)
    for number, each in enumerate(tries):
        story.says(3 + 2 * number, "stage.started", **each)
        story.says(4 + 2 * number, "stage.failed", **{**each, **failure("ValueError")})
    story.says(6.1, "stage.failed", **{**outer, **failure("ValueError")})
    story.says(6.2, "job.failed", **failure("ValueError", status="failed"))
    tracker = story.tracker(7)
    assert tracker.progress(PROJECT, JOB).quality_metrics.errors_encountered == 2
    processing = tracker.metrics(PROJECT, JOB).current_metrics.processing
    assert processing is not None
    assert processing.error_rate == 0.02


def test_errors_are_those_of_the_last_attempt(story: Story) -> None:
    """What an attempt before did wrong is none of its own."""
    story.says(0, "job.started")
    story.says(1, "job.failed", **failure("ValueError", status="failed"))
    second = {"attempt": 2}
    story.says(2, "job.started", fields=second)
    story.says(3, "log", fields={"level": "warning", **second})
    found = story.tracker(4).progress(PROJECT, JOB).quality_metrics
    assert (found.errors_encountered, found.warnings_generated) == (0, 1)
