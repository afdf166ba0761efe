"""What a job used: by its stages, by its worker's heartbeats, or by what it said at its end."""

from __future__ import annotations

from typing import Any

from tests.support.stories import JOB, PROJECT, Story


def beat(story: Story, at_s: float, **figures: Any) -> None:
    known = {"active_jobs": 1, "jobs": [{"job_id": JOB}], "cpu_s": 0.0}
    story.worker_says(at_s, "worker.heartbeat", data={**known, **figures})


def test_the_network_is_that_of_the_stages(story: Story) -> None:
    """Received and sent while they ran, in each of them and together."""
    story.says(0, "job.started")
    moved = {"network_receive_bytes": 3 * 1024**2, "network_transmit_bytes": 1024**2}
    at_s = story.stage(0, "Load", 1, 10, **moved)
    tracker = story.tracker(story.stage(at_s, "Send", 2, 10, **moved))
    progress = tracker.progress(PROJECT, JOB)
    assert progress.resource_usage.network_io == "8.0 MB"
    assert progress.resource_usage.network_io_bytes == 8 * 1024**2
    assert progress.stages[0].metrics is not None
    assert progress.stages[0].metrics["networkReceiveBytes"] == 3 * 1024**2
    network = tracker.metrics(PROJECT, JOB).current_metrics.resource_utilization.network
    assert network is not None
    assert (network.bytes_in, network.bytes_out) == ("6.0 MB", "2.0 MB")


def test_without_stages_the_network_is_what_heartbeats_counted(story: Story) -> None:
    """The difference between two of them; one alone says nothing, and neither those before it."""
    beat(story, 0, network_receive_bytes=100, network_transmit_bytes=100, io_operations=0)
    story.says(1, "job.started")
    beat(story, 5, network_receive_bytes=1000, network_transmit_bytes=500, io_operations=10)
    assert story.tracker(6).progress(PROJECT, JOB).resource_usage.network_io_bytes is None
    beat(story, 10, network_receive_bytes=1700, network_transmit_bytes=600, io_operations=60)
    tracker = story.tracker(11)
    assert tracker.progress(PROJECT, JOB).resource_usage.network_io_bytes == 800
    found = tracker.metrics(PROJECT, JOB).current_metrics.resource_utilization
    assert found.network is not None
    assert (found.network.bytes_in_bytes, found.network.bytes_out_bytes) == (700, 100)
    assert found.disk is not None
    assert found.disk.iops == 10


def test_attributes_of_a_stage_are_among_its_metrics(story: Story) -> None:
    """Beside what is measured, which they cannot replace."""
    story.says(0, "job.started")
    story.stage(0, "Load", 1, 10, attributes={"dataValidated": True, "throughput": "none"})
    (stage,) = story.tracker(10).progress(PROJECT, JOB).stages
    assert stage.metrics is not None
    assert stage.metrics["dataValidated"] is True
    assert stage.metrics["throughput"] == "1 records/second"


def test_a_measure_does_not_replace_a_figure(story: Story) -> None:
    """What a job measures as ``<stage>.throughput`` does not take the place of the text."""
    story.says(0, "job.started")
    story.stage(0, "Load", 1, 10)
    data = {"kind": "gauge", "name": "Load.throughput", "value": 7, "unit": "", "labels": {}}
    story.says(5, "metric", **data)
    (stage,) = story.tracker(10).progress(PROJECT, JOB).stages
    assert stage.metrics is not None
    assert stage.metrics["throughput"] == "1 records/second"


def test_a_short_job_has_what_it_said_itself(story: Story) -> None:
    """Over before a heartbeat: CPU over its time and CPUs, memory of its last stage."""
    story.says(0, "job.started")
    story.stage(0, "Load", 1, 10, takes_s=1.0, memory_rss_bytes=5 * 1024**2)
    story.says(2, "job.completed", status="completed", duration_s=2.0, cpu_s=1.0)
    usage = story.tracker(3).progress(PROJECT, JOB).resource_usage
    assert (usage.cpu_usage, usage.memory_usage) == (25, "5.0 MB")


def test_activity_is_what_somebody_said(story: Story) -> None:
    """Not that it goes on; and nothing of a stage that is over."""
    story.says(0, "job.started")
    story.says(1, "log", fields={"message": "before"})
    known = {"stage": "Load", "index": 1, "unit": "records"}
    story.says(2, "stage.started", **known, fields={"message": "Load started"})
    story.says(3, "stage.progress", done=1, **known, fields={"message": "Load: 1"})
    first = story.tracker(3).progress(PROJECT, JOB).current_activity
    assert first is not None
    assert first.operation == "Load: 1"
    story.says(4, "log", fields={"message": "reading"}, operation="Reading", component="Disk")
    story.says(5, "stage.progress", done=2, **known, fields={"message": "Load: 2"})
    then = story.tracker(5).progress(PROJECT, JOB).current_activity
    assert then is not None
    assert (then.operation, then.component) == ("Reading", "Disk")
