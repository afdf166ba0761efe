"""Many jobs at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fiveobs.monitor.tracking.estimates import estimate
from fiveobs.monitor.tracking.human import as_time, number, rate, size
from fiveobs.monitor.tracking.logs import completion_us, estimate_model
from fiveobs.monitor.tracking.models.base import ResourceBrief
from fiveobs.monitor.tracking.models.batch import (
    BatchAnswer,
    BatchJob,
    BatchSummary,
    SystemHealth,
)
from fiveobs.monitor.tracking.queueing import QueueEstimate
from fiveobs.monitor.tracking.tracked import STATUS_WORDS, Tracked

__all__ = ["batch_answer"]


def batch_answer(
    jobs: Sequence[Tracked],
    queued: Mapping[int, QueueEstimate],
    health: SystemHealth,
    *,
    now_us: int,
    not_found: list[str],
    include_metrics: bool,
    refresh_interval_s: int | None,
) -> BatchAnswer:
    """Many jobs.

    Args:
        jobs: In the order of the answer.
        queued: The places of those that wait, by key of the job.
        health: How busy the workers are.
        now_us: When.
        not_found: Ids that were asked for in vain.
        include_metrics: Whether to say what jobs that have begun use.
        refresh_interval_s: When the caller means to ask again.
    """
    counts = Counter(STATUS_WORDS.get(each.job.status, "").lower() for each in jobs)
    return BatchAnswer(
        tracking_time=as_time(now_us) or "",
        job_count=len(jobs),
        summary=BatchSummary(**{name: counts[name] for name in BatchSummary.model_fields}),
        jobs=[_job(each, queued.get(each.job.job_key), include_metrics) for each in jobs],
        system_health=health,
        not_found=not_found or None,
        refresh_interval=refresh_interval_s,
    )


def _job(tracked: Tracked, queued: QueueEstimate | None, include_metrics: bool) -> BatchJob:
    job, left, current = tracked.job, estimate(tracked), tracked.current
    completion = queued.completion_us if queued is not None else completion_us(tracked, left)
    return BatchJob(
        job_id=job.job_id,
        job_name=job.job_name,
        status=tracked.status,
        progress=number(tracked.percent, 1),
        queue_position=queued.position if queued is not None else None,
        start_time=as_time(job.started_at_us),
        end_time=as_time(job.ended_at_us),
        estimated_start_time=as_time(queued.start_us) if queued is not None else None,
        estimated_completion=as_time(completion),
        estimate=queued.estimate if queued is not None else estimate_model(left),
        current_stage=current.stage if current is not None else None,
        submitted_by=job.submitted_by,
        priority=job.priority,
        resource_usage=_usage(tracked) if include_metrics and job.started_at_us else None,
    )


def _usage(tracked: Tracked) -> ResourceBrief:
    return ResourceBrief(
        cpu=number(tracked.cpu_usage, 1),
        memory=size(tracked.memory_bytes),
        memory_bytes=tracked.memory_bytes,
        processing_rate=rate(tracked.rate_per_s, tracked.unit),
        processing_rate_per_second=number(tracked.rate_per_s),
    )
