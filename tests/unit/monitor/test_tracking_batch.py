"""Many jobs at once, the workers around them, and jobs that others report."""

from __future__ import annotations

from fiveobs.monitor.tracker import Batch, LogFilter
from tests.support.stories import JOB, PROJECT, Story

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


def test_every_job_that_has_begun_has_figures(story: Story) -> None:
    """With ``includeMetrics`` also those that have ended, whichever way."""
    for status in ("completed", "failed"):
        fields = {"job_id": status}
        story.says(0, "job.started", fields=fields)
        beat = {"active_jobs": 1, "jobs": [], "cpu_s": 0.0, "memory_rss_bytes": 1024}
        story.worker_says(1, "worker.heartbeat", data=beat)
        story.stage(0, "Load", 1, 20, fields=fields)
        story.says(20, f"job.{status}", status=status, duration_s=20.0, fields=fields)
    story.says(30, "job.received", fields={"job_id": "waiting"})
    tracker = story.tracker(40)
    found = {each.job_id: each for each in tracker.batch(PROJECT, EVERY, include_metrics=True).jobs}
    for status in ("completed", "failed"):
        usage = found[status].resource_usage
        assert usage is not None
        assert (usage.memory_bytes, usage.processing_rate) == (1024, "2 records/second")
    assert found["waiting"].resource_usage is None
    assert all(each.resource_usage is None for each in tracker.batch(PROJECT, EVERY).jobs)


def test_between_stages_no_stage_is_current(story: Story) -> None:
    """In the logs as in the batch."""
    story.says(0, "job.started")
    story.stage(0, "Load", 1, 20)
    tracker = story.tracker(15)
    logs = tracker.logs(PROJECT, JOB, LogFilter(10, None, None, 10))
    assert logs.execution_metrics.current_stage is None
    assert tracker.batch(PROJECT, EVERY).jobs[0].current_stage is None


def test_a_run_is_compared_with_others(story: Story) -> None:
    """Its own run is no past of it, and four others are too few to say anything."""
    for number in range(6):
        fields = {"job_id": f"past-{number}"}
        story.says(100.0 * number, "job.started", fields=fields)
        takes_s = 10.0 if number < 5 else 20.0
        story.stage(100.0 * number, "Load", 1, 100, takes_s=takes_s, fields=fields)
        end = {"duration_s": takes_s, "status": "completed", "fields": fields}
        story.says(100.0 * number + takes_s, "job.completed", **end)
        if number == 4:
            early = story.tracker(600).metrics(PROJECT, "past-4").benchmarks
            assert (early.runs, early.average_job_duration, early.average_throughput) == (
                *(4, None),
                None,
            )
    found = story.tracker(600).metrics(PROJECT, "past-5")
    assert found.benchmarks.average_job_duration_seconds == 10
    assert found.benchmarks.current_performance_rank_percentile == 0
    assert found.current_metrics.stages.stage_efficiency == 50
    assert found.current_metrics.processing is not None
    assert found.current_metrics.processing.processing_efficiency == 50
