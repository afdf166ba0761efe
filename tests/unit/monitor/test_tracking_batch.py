"""Many jobs at once, the workers around them, and jobs that others report."""

from __future__ import annotations

from fiveobs.monitor.tracker import Batch
from tests.support.stories import JOB, PROJECT, Story, story

__all__ = ["story"]

EVERY = Batch(None, None, None, 100)


def test_the_monitor_is_no_worker(story: Story) -> None:
    """Its own journal has a worker's first line, but no jobs."""
    beat = {"active_jobs": 0, "jobs": [], "cpu_s": 0.0}
    fields = {"service": "fiveobs-monitor", "worker_id": "m", "data": {"resource": {}, "pid": 2}}
    story.other_says(0, "worker.started", **fields)
    story.other_says(5, "worker.heartbeat", **{**fields, "data": beat})
    story.worker_says(5, "worker.heartbeat", data=beat)
    assert story.tracker(6).batch(PROJECT, EVERY).system_health.live_workers == 1


def test_a_reported_job_has_no_figures_of_the_reporter(story: Story) -> None:
    """A connector tells of jobs that run elsewhere: nothing is known of their process."""
    nobody = {"fields": {"span_id": None, "job_name": None}}
    story.says(0, "job.started", **nobody)
    beat = {"active_jobs": 0, "jobs": [], "cpu_s": 1.0, "memory_rss_bytes": 1_000_000}
    story.worker_says(5, "worker.heartbeat", data=beat)
    tracker = story.tracker(6)
    usage = tracker.progress(PROJECT, JOB).resource_usage
    assert (usage.memory_usage, usage.cpu_usage) == (None, None)
    assert tracker.dependencies(PROJECT, JOB).dependencies.resource_dependencies == []
    started = tracker.timeline(PROJECT, JOB, "minutes", sub_events=False).timeline[0]
    assert started.details["resourcesAllocated"]["workerNode"] is None


def test_a_job_without_a_name_has_that_of_its_service(story: Story) -> None:
    """In every answer."""
    story.says(0, "job.started", fields={"job_name": None})
    tracker = story.tracker(1)
    assert tracker.progress(PROJECT, JOB).job_name == "s"
    assert tracker.batch(PROJECT, EVERY).jobs[0].job_name == "s"


def test_a_waiting_job_follows_what_runs(story: Story) -> None:
    """It begins when the one that runs is expected to end, whenever that is asked."""
    for number in range(5):
        fields = {"job_id": f"past-{number}"}
        story.says(100.0 * number, "job.started", queue="q", fields=fields)
        story.says(
            *(100.0 * number + 60, "job.completed"),
            duration_s=60.0,
            status="completed",
            fields=fields,
        )
    story.says(1000, "job.started", queue="q", fields={"job_id": "running"})
    story.says(1001, "job.received", queue="q")
    for now_s in (1010, 1030):
        found = story.tracker(now_s).progress(PROJECT, JOB).overall_progress
        assert found.queue_position == 1
        assert found.estimated_start_time == "2026-01-02T03:21:45Z"  # 1,060 s after the beginning
