"""Routes of what is kept and for how long, and of the figures that outlive their rows."""

from __future__ import annotations

import time
from typing import Annotated, Literal, TypeAlias

from fastapi import Depends, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from fiveobs.monitor.api.asked import Moment, in_order
from fiveobs.monitor.api.dependencies import MOST_ID, Scope, TheStore, require
from fiveobs.monitor.api.routers import make_router
from fiveobs.monitor.retention import aggregates, keeps
from fiveobs.monitor.retention.aggregates import Bucket
from fiveobs.monitor.retention.folding import DAY_S, HOUR_S
from fiveobs.monitor.retention.keeps import Effective
from fiveobs.monitor.retention.policy import PARTS, Keep, Policy, as_text, keep
from fiveobs.monitor.tracking.human import US, Number, as_time, number
from fiveobs.monitor.tracking.models.base import Model, Time

__all__ = [
    "HistoryAnswer",
    "HistoryBucket",
    "HistorySeries",
    "KeepRequest",
    "KeptPart",
    "RetentionAnswer",
    "RetentionRequest",
    "get_history",
    "get_retention",
    "router",
    "set_retention",
]

#: A week of hours; a year of days and some.
_DEFAULT, _MOST, _MOST_SERIES = 168, 400, 100
#: Ends of time, for whoever names none.
_FIRST_US, _LAST_US = -(2**62), 2**62
_DOCS = {part.name: part for part in PARTS}

router = make_router("Retention", role=None)

# --- how long ----------------------------------------------------------------------------------

KeepText: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^(forever|[1-9][0-9]{0,2}[dw]|[1-9][0-9]?y)$")
]


class _Request(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )


class KeepRequest(_Request):
    """How long: `30d`, `12w`, `1y` or `forever`; null means what is said elsewhere."""

    logs: KeepText | None = None
    error_logs: KeepText | None = None
    metrics: KeepText | None = None
    aggregates: KeepText | None = None
    errors: KeepText | None = None
    unresolved_errors: KeepText | None = None
    events: KeepText | None = None
    failed_events: KeepText | None = None


class RetentionRequest(_Request):
    """What is kept how long; what is not named stays as it is."""

    applies_to: Literal["project", "tenant"] = "project"
    """The project of the path, or every project of its tenant that says nothing itself."""
    keep: KeepRequest


class KeptPart(Model):
    """How long something is kept."""

    part: str
    keep: str
    """As it is said, such as `30d`."""
    keep_seconds: Number | None
    """Null: for ever."""
    said_by: Literal["project", "tenant", "monitor"]
    """The project, its tenant, or the settings of the monitor."""
    variable: str
    """The setting of the monitor that says so where nobody else does."""
    what: str


class RetentionAnswer(Model):
    """How long everything of a project is kept."""

    parts: list[KeptPart]


def _policy(request: Request) -> Policy:
    """What the monitor is set to."""
    found: Policy = request.app.state.settings.retention
    return found


Default: TypeAlias = Annotated[Policy, Depends(_policy)]


@router.get(
    "/retention", summary="How long everything is kept", dependencies=[Depends(require("admin"))]
)
def get_retention(*, scope: Scope, store: TheStore, default: Default) -> RetentionAnswer:
    """What is in force for the project, and who says so."""
    with store.reading() as connection:
        found = keeps.effective(connection, default, scope.tenant_id, scope.project_id)
    return RetentionAnswer(parts=[_part(each) for each in found])


@router.put(
    "/retention",
    summary="Say how long something is kept",
    dependencies=[Depends(require("admin"))],
)
def set_retention(
    *, scope: Scope, store: TheStore, default: Default, body: RetentionRequest
) -> RetentionAnswer:
    """Applies from the next pass on, which is within the hour; it is noted in the audit trail."""
    is_tenants = body.applies_to == "tenant"
    if is_tenants and not scope.caller.sees(scope.tenant_id, None):
        raise HTTPException(403, "the token is good for one project: appliesTo may be project only")
    said: dict[str, Keep | str] = {
        part: "default" if value is None else keep(value)
        for part, value in body.keep.model_dump(exclude_unset=True).items()
    }
    with store.writing() as connection:
        if said:
            keeps.change(
                connection,
                scope.tenant_id,
                None if is_tenants else scope.project_id,
                said,
                project_key=scope.project_key,
                actor=scope.caller.name,
                now_us=round(time.time() * US),
            )
        found = keeps.effective(connection, default, scope.tenant_id, scope.project_id)
    return RetentionAnswer(parts=[_part(each) for each in found])


def _part(found: Effective) -> KeptPart:
    part = _DOCS[found.part]
    return KeptPart(
        part=part.name,
        keep=as_text(found.keep_s),
        keep_seconds=number(found.keep_s),
        said_by=found.said_by,
        variable=part.variable,
        what=part.doc,
    )


# --- what is left ------------------------------------------------------------------------------

Metric: TypeAlias = Literal[
    "job.duration_s",
    "measure",
    "worker.active_jobs",
    "worker.cpu_percent",
    "worker.memory_rss_bytes",
    "worker.memory_used_bytes",
]
Label: TypeAlias = Annotated[
    str | None, Query(min_length=1, max_length=MOST_ID, pattern=r"^[^\x00]*$")
]
_INTERVALS_S = {"1h": HOUR_S, "1d": DAY_S}


class HistoryBucket(Model):
    """What the values of an hour or a day (UTC) were."""

    start_time: Time
    count: int
    sum: Number | None
    mean: Number | None
    minimum: Number | None
    maximum: Number | None
    p50: Number | None
    """Percentiles are at most 5% off; null for measures, of which only sums are known."""
    p95: Number | None
    p99: Number | None


class HistorySeries(Model):
    """The values of one sort of jobs or workers."""

    labels: dict[str, str]
    """Whose they are: service, job_name and status, or service and machine."""
    buckets: list[HistoryBucket]


class HistoryAnswer(Model):
    """Figures by hour or by day, of rows that have expired."""

    metric: str
    interval: str
    series: list[HistorySeries] = Field(max_length=_MOST_SERIES)
    """The first hundred, in the order of their labels."""


@router.get(
    "/history",
    summary="Figures of what has expired, by hour and by day",
    dependencies=[Depends(require("viewer"))],
)
def get_history(
    *,
    scope: Scope,
    store: TheStore,
    metric: Annotated[Metric, Query(description="Which figure")] = "job.duration_s",
    interval: Annotated[Literal["1h", "1d"], Query(description="An hour, or a day (UTC)")] = "1d",
    service: Label = None,
    job_name: Annotated[Label, Query(alias="jobName")] = None,
    from_time: Annotated[
        Moment | None, Query(alias="fromTime", description="Only what begins then or later")
    ] = None,
    to_time: Annotated[
        Moment | None, Query(alias="toTime", description="Only what begins up to then")
    ] = None,
    limit: Annotated[
        int, Query(ge=1, le=_MOST, description="Of each series at most so many, the last ones")
    ] = _DEFAULT,
) -> HistoryAnswer:
    """What is kept when rows go: how long jobs took, what they measured, what workers used.

    A job, a measure and a heartbeat are counted here once they are no longer in the store itself:
    what is younger than the retention says is answered by the other routes.
    """
    in_order("query", from_time, to_time)
    wanted = {"service": service, "job_name": job_name}
    labels = {name: value for name, value in wanted.items() if value is not None}
    span = (
        _FIRST_US if from_time is None else from_time,
        _LAST_US if to_time is None else to_time,
    )
    with store.reading() as connection:
        known = aggregates.series_of(
            connection, scope.project_key, metric, labels, limit=_MOST_SERIES
        )
        found = [
            HistorySeries(
                labels=each.labels,
                buckets=[
                    _bucket(bucket)
                    for bucket in aggregates.buckets_of(
                        connection, each.series_key, _INTERVALS_S[interval], *span, limit
                    )
                ],
            )
            for each in known
        ]
    return HistoryAnswer(metric=metric, interval=interval, series=found)


def _bucket(found: Bucket) -> HistoryBucket:
    what = found.what
    return HistoryBucket(
        start_time=as_time(found.start_us) or "",
        count=what.count,
        sum=number(what.total, 3),
        mean=number(what.mean, 3),
        minimum=number(what.minimum, 3),
        maximum=number(what.maximum, 3),
        p50=number(what.percentile(0.5), 3),
        p95=number(what.percentile(0.95), 3),
        p99=number(what.percentile(0.99), 3),
    )
