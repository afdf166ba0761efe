"""The calls about what is kept, and about figures of what has gone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from fiveobs.client._call import Call
from fiveobs.client.answers import HistoryAnswer, RetentionAnswer

__all__ = ["history", "retention", "set_retention"]


def retention() -> Call[RetentionAnswer]:
    """How long everything is kept, and who says so."""
    return Call(path="retention", answer=RetentionAnswer)


def set_retention(
    keep: Mapping[str, str | None], *, applies_to: str = "project"
) -> Call[RetentionAnswer]:
    """Say how long something is kept; what is not named stays as it is.

    Args:
        keep: By part, such as ``logs``, ``failedEvents``: ``30d``, ``12w``, ``1y`` or ``forever``;
            ``None`` means what the tenant or the monitor says.
        applies_to: ``project``, or ``tenant`` for all of its projects that say nothing themselves.
    """
    body = {"appliesTo": applies_to, "keep": dict(keep)}
    return Call(method="PUT", path="retention", answer=RetentionAnswer, body=body)


def history(
    metric: str = "job.duration_s",
    *,
    interval: str = "1d",
    service: str | None = None,
    job_name: str | None = None,
    from_time: datetime | None = None,
    to_time: datetime | None = None,
    limit: int = 168,
) -> Call[HistoryAnswer]:
    """Figures of what has expired, by hour or by day.

    Args:
        metric: ``job.duration_s``, ``measure``, ``worker.cpu_percent``,
            ``worker.memory_rss_bytes``, ``worker.memory_used_bytes`` or ``worker.active_jobs``.
        interval: ``1h`` or ``1d``.
        service: Only of this service.
        job_name: Only of jobs of this name.
        from_time: Only what begins then or later; aware.
        to_time: And up to then; aware.
        limit: Of each series at most so many, the last ones.
    """
    query = {
        "metric": metric,
        "interval": interval,
        "service": service,
        "jobName": job_name,
        "fromTime": from_time,
        "toTime": to_time,
        "limit": limit,
    }
    return Call(path="history", answer=HistoryAnswer, query=query)
