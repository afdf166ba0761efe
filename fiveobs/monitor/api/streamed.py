"""The stream-monitoring API: how jobs are doing, in the words and the envelope of Flink's users."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Path, Query, Request

from fiveobs._version import __version__
from fiveobs.monitor.api.control import Controls, asked_of
from fiveobs.monitor.api.dependencies import MOST_ID, ProjectScope, Scope, require
from fiveobs.monitor.api.problems import ProblemError, described
from fiveobs.monitor.api.routers import make_router
from fiveobs.monitor.api.tracking import tracker
from fiveobs.monitor.control import UnknownJobError
from fiveobs.monitor.streamed.answers import Place
from fiveobs.monitor.streamed.models import (
    Envelope,
    Exceptions,
    JobStatus,
    Overview,
    StatusAndMetrics,
)
from fiveobs.monitor.streamed.streams import Streams

__all__ = [
    "get_exceptions",
    "get_overview",
    "get_status",
    "get_status_and_metrics",
    "get_version",
    "router",
    "stop_streamed_job",
]

#: The published code of a job that is not there.
_NOT_FOUND = 4006
_JOB, _JOBS = "/job/{job_uuid:text}", "/jobs/{job_uuid:text}"
_DEFAULT_JOBS, _MOST_JOBS = 1_000, 10_000
_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: described(f"There is no such job that this token shows; `errorCode` is {_NOT_FOUND} then")
}
_STOP: dict[int | str, dict[str, Any]] = {
    **_UNKNOWN,
    409: described("The job's state does not allow it; `jobStatus` says which it is"),
}

router = make_router("Stream monitoring", "/api/{tenantId}/{projectId}/stream-monitoring")


def _streams(request: Request) -> Streams:
    return Streams(request.app.state.store, tracker(request))


_Streams: TypeAlias = Annotated[Streams, Depends(_streams)]
JobUuid: TypeAlias = Annotated[
    str, Path(min_length=1, max_length=MOST_ID, description="The job's id")
]


def _place(scope: ProjectScope) -> Place:
    return Place(scope.tenant_id, scope.project_id)


@contextmanager
def _there(job_uuid: str) -> Iterator[None]:
    """Say that there is no such job, where whoever was asked does not know it."""
    try:
        yield
    except (UnknownJobError, KeyError) as exc:
        detail = f"Job with that name is not found: {job_uuid!r}"
        raise ProblemError(
            404, detail, errorCode=_NOT_FOUND, response=None, messages=[detail]
        ) from exc


def _get(path: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A route with the published path, and with or without the slash at its end."""
    bare = path.removesuffix("/")
    other = f"{bare}/" if path == bare else bare

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        router.get(path, **options)(function)
        hidden = {**options, "include_in_schema": False}
        return router.get(other, **hidden)(function)

    return add


@_get(f"{_JOB}/status/", summary="Status of a job", responses=_UNKNOWN)
def get_status(*, scope: Scope, streams: _Streams, job_uuid: JobUuid) -> Envelope[JobStatus]:
    """The job's state, times and stages."""
    with _there(job_uuid):
        found = streams.status(scope.project_key, _place(scope), job_uuid)
    return Envelope(response=found, messages=[])


@_get(f"{_JOB}/statusAndMetrics/", summary="Status and metrics of a job", responses=_UNKNOWN)
def get_status_and_metrics(
    *, scope: Scope, streams: _Streams, job_uuid: JobUuid
) -> Envelope[StatusAndMetrics]:
    """The same, and the job's main figures as text."""
    with _there(job_uuid):
        found = streams.status_and_metrics(scope.project_key, _place(scope), job_uuid)
    return Envelope(response=found, messages=[])


@_get(
    f"{_JOB}/stop/",
    summary="Stop a job of a stream",
    responses=_STOP,
    dependencies=[Depends(require("operator"))],
)
def stop_streamed_job(
    *, scope: Scope, streams: _Streams, control: Controls, job_uuid: JobUuid
) -> Envelope[JobStatus]:
    """Ask the job to stop, by GET as published. It does so at its next checkpoint."""
    with _there(job_uuid):
        asked_of(scope, control, job_uuid, "stop")
        found = streams.status(scope.project_key, _place(scope), job_uuid)
    return Envelope(response=found, messages=["The job stops at its next checkpoint"])


@_get("/jobs/overview/", summary="All jobs in short")
def get_overview(
    *,
    scope: Scope,
    streams: _Streams,
    limit: Annotated[
        int, Query(ge=1, le=_MOST_JOBS, description="How many at most")
    ] = _DEFAULT_JOBS,
) -> Envelope[list[Overview]]:
    """The newest jobs of the project, the newest first."""
    jobs, has_more = streams.overview(scope.project_key, _place(scope), limit)
    more = [f"These are the newest {limit:,} jobs: there are more"] if has_more else []
    return Envelope(response=jobs, messages=more)


@_get(f"{_JOBS}/exceptions", summary="Exceptions of a job", responses=_UNKNOWN)
def get_exceptions(*, scope: Scope, streams: _Streams, job_uuid: JobUuid) -> Envelope[Exceptions]:
    """What the job failed of, and what else went wrong in its last attempt."""
    with _there(job_uuid):
        found = streams.exceptions(scope.project_key, job_uuid)
    return Envelope(response=found, messages=[])


@_get("/metainfo/getVersion/", summary="Version of the monitor")
def get_version(*, scope: Scope) -> Envelope[str]:
    """The version, as in Semantic Versioning."""
    return Envelope(response=__version__, messages=[])
