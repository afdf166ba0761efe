"""What an event of a timeline tells: under which names, and what is added to it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from fiveobs.monitor.tracking.described import OWN_NAMES
from tests.support.stories import JOB, PROJECT, Story


def told(story: Story, event_type: str, now_s: float = 1000) -> list[dict[str, Any]]:
    """The details of a job's events of one type."""
    timeline = story.tracker(now_s).timeline(PROJECT, JOB, "seconds", sub_events=True).timeline
    return [each.details for each in timeline if each.event_type == event_type]


def test_own_names_are_all_names_of_the_schema() -> None:
    """Whatever of two words an event of a job has is in camel case in a timeline."""
    text = files("fiveobs.journal").joinpath("schema.json").read_text(encoding="utf-8")
    found = set()
    for event_type, described in json.loads(text)["$defs"].items():
        if event_type.startswith(("job.", "stage.", "resource.", "state.", "service.", "workflow")):
            found |= {name for name in described["properties"] if "_" in name}
    assert found <= OWN_NAMES


def test_names_are_those_of_the_api(story: Story) -> None:
    """Of every event; what a job's code named stays as it is."""
    story.says(0, "job.started", queue_wait_s=1.5, user_name="u")
    story.says(1, "state.changed", entity="e", from_state=None, to_state="blocking")
    story.says(2, "resource.allocated", resource="r", resource_type="Dataset", my_own=1)
    story.says(3, "job.retrying", next_attempt=2, delay_s=4.0, reason="later")
    story.says(4, "job.milestone", milestone="half", my_own=1, duration_s=2)
    (started,) = told(story, "JobStarted")
    assert {"queueWaitSeconds", "user_name"} <= started.keys()
    (changed,) = told(story, "StateChanged")
    assert changed.keys() == {"entity", "fromState", "toState"}
    (allocated,) = told(story, "ResourceAllocated")
    assert allocated.keys() == {"resource", "resourceType", "my_own"}
    (retrying,) = told(story, "JobRetrying")
    assert retrying.keys() == {"nextAttempt", "delaySeconds", "reason"}
    (milestone,) = told(story, "Milestone")
    assert milestone.keys() == {"milestone", "my_own", "duration_s"}


@pytest.mark.parametrize(
    ("status", "word"), [("completed", "JobCompleted"), ("failed", "JobFailed")]
)
def test_an_end_says_how_long_it_took(story: Story, status: str, word: str) -> None:
    """As text and as a number; and the sizes of what went in and came out."""
    sizes = {"input_size_bytes": 2048, "output_size_bytes": 10}
    story.says(0, "job.started")
    story.says(135, f"job.{status}", status=status, duration_s=135.0, cpu_s=1.0, **sizes)
    (ended,) = told(story, word)
    assert ended["actualDuration"] == "2 minutes 15 seconds"
    assert ended["actualDurationSeconds"] == 135
    assert (ended["inputSize"], ended["inputSizeBytes"]) == ("2.0 KB", 2048)
    assert (ended["outputSize"], ended["outputSizeBytes"]) == ("10 bytes", 10)
    assert ended["cpuSeconds"] == 1


def test_what_is_expected_is_a_number_too(story: Story) -> None:
    """Beside "20-25 minutes" stand the seconds, of the job and of its stage."""
    for number in range(5):
        fields = {"job_id": f"past-{number}"}
        story.says(100.0 * number, "job.started", fields=fields)
        story.stage(100.0 * number, "Load", 1, 10, fields=fields)
        end = {"duration_s": 60.0, "status": "completed", "fields": fields}
        story.says(100.0 * number + 60, "job.completed", **end)
    story.says(600, "job.started")
    story.stage(600, "Load", 1, 10)
    (started,) = told(story, "JobStarted")
    assert started["estimatedDuration"] == "1 minute"
    assert started["estimatedDurationLowSeconds"] == 60
    assert started["estimatedDurationHighSeconds"] == 60
    (stage,) = told(story, "StageStarted")
    assert (stage["expectedDuration"], stage["expectedDurationHighSeconds"]) == ("10 seconds", 10)


def test_each_attempt_has_its_own_worker(story: Story) -> None:
    """An attempt is not said to have run where the last one runs."""
    other = {"worker_id": "o", "machine_id": "machine-2", "service": "s"}
    story.other_says(0, "worker.started", data={"resource": {}, "pid": 2, "cpu_count": 8}, **other)
    story.says(1, "job.started")
    story.says(2, "job.failed", status="failed", duration_s=1.0)
    again = {"job_id": JOB, "job_name": "n", "attempt": 2, "span_id": "cd" * 8}
    story.other_says(3, "job.started", **again, **other)
    timeline = story.tracker(4).timeline(PROJECT, JOB, "seconds", sub_events=False).timeline
    nodes = {
        each.attempt: each.details["resourcesAllocated"]["workerNode"]
        for each in timeline
        if each.event_type == "JobStarted"
    }
    assert nodes == {1: "m", 2: "machine-2"}


def test_a_stage_tells_what_it_found(story: Story) -> None:
    """Its attributes where they were said, and at its end what was measured under its name."""
    story.says(0, "job.started")
    known = {"stage": "Load", "index": 1, "unit": "records"}
    story.says(1, "stage.started", **known, attributes={"algorithm": "fast", "kinds": ["a", "b"]})
    metric = {"kind": "counter", "name": "Load.errorsFound", "value": 2, "unit": "", "labels": {}}
    story.says(2, "metric", **metric)
    figures = {"done": 10, "duration_s": 4.0, "rate_per_s": 2.5}
    story.says(5, "stage.completed", **known, **figures, attributes={"dataValidated": True})
    (started,) = told(story, "StageStarted")
    assert (started["algorithm"], started["kinds"]) == ("fast", ["a", "b"])
    (completed,) = told(story, "StageCompleted")
    assert (completed["errorsFound"], completed["dataValidated"]) == (2, True)
    assert completed["ratePerSecond"] == 2.5
    assert "attributes" not in completed


def test_progress_tells_what_is_done_if_somebody_said_so(story: Story) -> None:
    """A message that only repeats the figures is no operation."""
    story.says(0, "job.started")
    known = {"stage": "Load", "index": 1, "unit": "records"}
    for at_s, message, more in (
        (1, "Load: 3", {}),
        (2, "sorting rows", {}),
        (3, "Load: 3", {"operation": "sorting"}),
    ):
        data = {"done": 3, **known, **more}
        story.says(at_s, "stage.progress", **data, fields={"message": message})
    story.says(4, "job.progress", percent=40.0, fields={"message": "n: 40.0%"})
    story.says(5, "job.progress", percent=50.0, fields={"message": "half"})
    found = [each["currentOperation"] for each in told(story, "Progress")]
    assert found == [None, "sorting rows", "sorting", None, "half"]


def test_figures_beyond_all_bounds_are_no_failure(story: Story) -> None:
    """What cannot be subtracted is not known; what is no number is left out."""
    story.says(0, "job.started")
    story.says(1, "job.progress", done=-1e308, total=1e308, percent=1.0)
    story.says(2, "job.completed", status="completed", duration_s="long")
    (progress,) = told(story, "Progress")
    assert (progress["recordsProcessed"], progress["remainingRecords"]) == (-1e308, None)
    (completed,) = told(story, "JobCompleted")
    assert completed["actualDuration"] is None
