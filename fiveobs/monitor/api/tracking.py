"""Routes of the tracking API: what a job does, did and will do, and many jobs at once.

Reads only; runs in threads, because the store's drivers block.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from fastapi import Depends, HTTPException, Query, Request, Response

from fiveobs.monitor.api.asked import Moment, in_order
from fiveobs.monitor.api.dependencies import JOB, JobId, Scope
from fiveobs.monitor.api.problems import invalid
from fiveobs.monitor.api.routers import make_router
from fiveobs.monitor.tracker import Batch, LogFilter, Tracker
from fiveobs.monitor.tracking.logs import LEVELS
from fiveobs.monitor.tracking.metrics import METRICS
from fiveobs.monitor.tracking.models import (
    BatchAnswer,
    DependenciesAnswer,
    LogsAnswer,
    MetricsAnswer,
    ProgressAnswer,
    TimelineAnswer,
)
from fiveobs.monitor.tracking.timeline import Granularity

__all__ = [
    "get_batch",
    "get_dependencies",
    "get_logs",
    "get_metrics",
    "get_progress",
    "get_timeline",
    "router",
    "tracker",
]

#: Jobs that can be named in one request, and that are answered where none is.
MOST_JOBS, DEFAULT_JOBS = 1_000, 100
_INTERVALS_S = {"1m": 60, "5m": 300, "15m": 900}
#: For the document: what `_wanted` takes, and says more clearly.
_METRICS_PATTERN = "^({0})(,({0}))*$".format("|".join(METRICS))

router = make_router("Tracking")


def tracker(request: Request) -> Tracker:
    """The one that makes the answers of this application."""
    state = request.app.state
    found: Tracker | None = getattr(state, "tracker", None)
    if found is None:
        found = state.tracker = Tracker(state.store)
    return found


def _comma_separated(value: object) -> list[str]:
    return [part for part in (each.strip() for each in str(value).split(",")) if part]


Answers: TypeAlias = Annotated[Tracker, Depends(tracker)]
Level: TypeAlias = Literal["DEBUG", "INFO", "WARN", "ERROR"]
Status: TypeAlias = Literal[
    "Running",
    "Queued",
    "Completed",
    "Failed",
    "Paused",
    "Stopped",
    "Cancelled",
    "Interrupted",
    "Lost",
]


def _unknown(job_id: str) -> HTTPException:
    return HTTPException(404, f"there is no job {job_id!r} in this project")


_RAW_EXAMPLE = (
    "2024-01-20T10:30:15Z INFO DataLoader [Initialization] Starting data load "
    '{"datasetSize":"45.7 MB"}\n'
)


_LOGS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/plain": {"schema": {"type": "string"}, "example": _RAW_EXAMPLE}},
    }
}
_BATCH: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "Refresh": {
                "description": "Seconds: what `refreshInterval` said",
                "schema": {"type": "integer", "minimum": 1, "maximum": 3_600},
            }
        }
    }
}


@router.get(
    f"{JOB}/logs",
    summary="Get job execution logs",
    response_model=LogsAnswer,
    responses=_LOGS,
)
def get_logs(
    *,
    scope: Scope,
    answers: Answers,
    job_id: JobId,
    level: Annotated[Level, Query(description="The least level that is shown")] = "INFO",
    from_time: Annotated[
        Moment | None, Query(alias="fromTime", description="Get logs from this timestamp")
    ] = None,
    to_time: Annotated[
        Moment | None, Query(alias="toTime", description="Get logs until this timestamp")
    ] = None,
    limit: Annotated[
        int,
        Query(
            ge=1,
            le=10_000,
            description="Maximum number of entries: with fromTime the first ones from there on, "
            "without it the last ones; always the oldest first",
        ),
    ] = 1_000,
    log_format: Annotated[
        Literal["structured", "raw"],
        Query(alias="format", description="JSON, or one line of text for each entry"),
    ] = "structured",
) -> Any:
    """Every event and log line of the job: progress, warnings, errors and figures included."""
    in_order("query", from_time, to_time)
    wanted = LogFilter(LEVELS[level], from_time, to_time, limit)
    try:
        if log_format == "raw":
            text = answers.raw_logs(scope.project_key, job_id, wanted)
            return Response(text, media_type="text/plain; charset=utf-8")
        return answers.logs(scope.project_key, job_id, wanted)
    except KeyError as exc:
        raise _unknown(job_id) from exc


@router.get(
    f"{JOB}/progress",
    summary="Track job progress",
)
def get_progress(*, scope: Scope, answers: Answers, job_id: JobId) -> ProgressAnswer:
    """How far the job is, stage by stage, and when it is expected to end."""
    try:
        return answers.progress(scope.project_key, job_id)
    except KeyError as exc:
        raise _unknown(job_id) from exc


@router.get(
    f"{JOB}/timeline",
    summary="Get job execution timeline",
)
def get_timeline(
    *,
    scope: Scope,
    answers: Answers,
    job_id: JobId,
    include_sub_events: Annotated[
        bool, Query(alias="includeSubEvents", description="Log lines below WARN too")
    ] = False,
    granularity: Annotated[
        Granularity,
        Query(description="Progress once a second, once a minute, or not at all"),
    ] = "minutes",
) -> TimelineAnswer:
    """What happened to the job, in order, and what is expected to."""
    try:
        return answers.timeline(
            scope.project_key, job_id, granularity, sub_events=include_sub_events
        )
    except KeyError as exc:
        raise _unknown(job_id) from exc


@router.get(
    f"{JOB}/metrics",
    summary="Get job performance metrics",
)
def get_metrics(
    *,
    scope: Scope,
    answers: Answers,
    job_id: JobId,
    interval: Annotated[
        Literal["1m", "5m", "15m"], Query(description="Interval of the historical metrics")
    ] = "5m",
    metrics: Annotated[
        str | None,
        Query(
            description=f"Comma-separated, of: {', '.join(METRICS)}; all if left out",
            json_schema_extra={"pattern": _METRICS_PATTERN},
        ),
    ] = None,
    include_history: Annotated[
        bool, Query(alias="includeHistory", description="Include historical metrics")
    ] = False,
) -> MetricsAnswer:
    """What the job uses, how fast it works, and how that compares with past runs."""
    try:
        return answers.metrics(
            scope.project_key,
            job_id,
            wanted=_wanted(metrics),
            interval_s=_INTERVALS_S[interval],
            include_history=include_history,
        )
    except KeyError as exc:
        raise _unknown(job_id) from exc


def _wanted(metrics: str | None) -> tuple[str, ...]:
    if metrics is None:
        return METRICS
    wanted = tuple(_comma_separated(metrics))
    wrong = [each for each in wanted if each not in METRICS]
    if wrong or not wanted:
        raise invalid(
            "query", "metrics", (wrong or [metrics])[0], f"valid are {', '.join(METRICS)}"
        )
    return wanted


@router.get(
    f"{JOB}/dependencies",
    summary="Get job dependencies",
)
def get_dependencies(*, scope: Scope, answers: Answers, job_id: JobId) -> DependenciesAnswer:
    """Jobs and resources that the job needs, jobs that need it, and what keeps it waiting."""
    try:
        return answers.dependencies(scope.project_key, job_id)
    except KeyError as exc:
        raise _unknown(job_id) from exc


@router.get("/tracking/batch", summary="Track multiple jobs", responses=_BATCH)
def get_batch(
    *,
    scope: Scope,
    answers: Answers,
    response: Response,
    job_ids: Annotated[
        list[str] | None,
        Query(
            alias="jobIds",
            max_length=MOST_JOBS,
            description="Given once: comma-separated. Repeated: each is one id, commas included. "
            "The newest jobs if left out",
        ),
    ] = None,
    status: Annotated[Status | None, Query(description="Only jobs in this status")] = None,
    submitted_by: Annotated[
        str | None, Query(alias="submittedBy", description="Only jobs of this user")
    ] = None,
    include_metrics: Annotated[
        bool, Query(alias="includeMetrics", description="What running jobs use")
    ] = False,
    refresh_interval: Annotated[
        int | None,
        Query(
            alias="refreshInterval",
            ge=1,
            le=3_600,
            description="Seconds; answered as a Refresh header, which browsers follow",
        ),
    ] = None,
    limit: Annotated[
        int, Query(ge=1, le=MOST_JOBS, description="How many jobs, where jobIds names none")
    ] = DEFAULT_JOBS,
) -> BatchAnswer:
    """Many jobs in short, and how busy the project's workers are."""
    if refresh_interval is not None:
        response.headers["Refresh"] = str(refresh_interval)
    wanted = Batch(_ids(job_ids), status, submitted_by, limit)
    return answers.batch(
        scope.project_key,
        wanted,
        include_metrics=include_metrics,
        refresh_interval_s=refresh_interval,
    )


def _ids(given: list[str] | None) -> list[str] | None:
    if given is None:
        return None
    found = _comma_separated(given[0]) if len(given) == 1 else list(filter(None, given))
    if not found:
        raise invalid("query", "jobIds", given[0], "it names no job: leave it out to mean any")
    if len(found) > MOST_JOBS:
        raise invalid("query", "jobIds", found, f"valid are 1 to {MOST_JOBS} ids in one request")
    return found
