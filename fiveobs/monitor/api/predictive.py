"""The enhanced-monitoring API: what to expect of a workflow, and how much of it there is."""

from __future__ import annotations

import time
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request

from fiveobs.monitor.api.asked import Moment, in_order, known_query
from fiveobs.monitor.api.dependencies import MOST_ID, TokensScope, require
from fiveobs.monitor.api.problems import invalid
from fiveobs.monitor.enhanced.executions import Workflow
from fiveobs.monitor.enhanced.predicting import Asked, Compared, Predicting, Span
from fiveobs.monitor.enhanced.predictive import (
    CapacityAnswer,
    ComparisonAnswer,
    PredictionAnswer,
    ThroughputAnswer,
)
from fiveobs.monitor.tracking.human import US

__all__ = [
    "compare_runs",
    "get_capacity",
    "get_throughput",
    "predict_run",
    "router",
]

_DEFAULT_US = 30 * 86_400 * US
#: The earliest moment that can be written: the year 1.
_FIRST_US = -62_135_596_800 * US
_MOST_SIZE = 2**63 - 1
_DAY_S = 86_400.0

router = APIRouter(
    prefix="/api/v1/enhanced-monitoring/analytics",
    tags=["Enhanced monitoring"],
    dependencies=[Depends(require("viewer")), Depends(known_query)],
)


def _predicting(request: Request) -> Predicting:
    return Predicting(request.app.state.store)


_Predicting: TypeAlias = Annotated[Predicting, Depends(_predicting)]
_NO_NUL = r"^[^\x00]*$"
_WorkflowId: TypeAlias = Annotated[
    str, Path(min_length=1, max_length=MOST_ID, description="The name of its jobs")
]
_Service: TypeAlias = Annotated[
    str | None,
    Query(min_length=1, max_length=MOST_ID, pattern=_NO_NUL, description="Only of this service"),
]
_From: TypeAlias = Annotated[
    Moment | None,
    Query(
        alias="from",
        description="Only jobs first heard of from then on; 30 days before `to` if left out",
    ),
]
_To: TypeAlias = Annotated[
    Moment | None, Query(alias="to", description="Only those before then; now if left out")
]
_Release: TypeAlias = Annotated[
    str | None,
    Query(min_length=1, max_length=MOST_ID, description="Only runs of this `service.version`"),
]


def _asked(
    scope: TokensScope,
    workflow_id: _WorkflowId,
    service: _Service = None,
    from_us: _From = None,
    to_us: _To = None,
) -> Asked:
    """What every route here asks for."""
    if "\0" in workflow_id:  # PostgreSQL refuses it in a text; no name has one
        raise HTTPException(404, f"there is no workflow {workflow_id!r} in this project")
    span = _span(from_us, to_us)
    return Asked(scope.project_key, Workflow(workflow_id, service), span)


def _span(from_us: int | None, to_us: int | None) -> Span:
    until_us = round(time.time() * US) if to_us is None else to_us
    since_us = max(until_us - _DEFAULT_US, _FIRST_US) if from_us is None else from_us
    in_order("query", since_us, until_us, ("from", "to"))
    return Span(since_us, until_us)


_Asked: TypeAlias = Annotated[Asked, Depends(_asked)]


def _not_found(exc: KeyError) -> HTTPException:
    return HTTPException(404, str(exc.args[0]))


@router.get("/predictive/{workflow_id:text}", summary="Predict a run of a workflow")
def predict_run(
    *,
    asked: _Asked,
    predicting: _Predicting,
    execution_id: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=MOST_ID,
            description="A job of the workflow that waits or runs; the next one if left out",
        ),
    ] = None,
    input_size_bytes: Annotated[
        int | None,
        Query(ge=0, le=_MOST_SIZE, description="Of the input, if the job does not say it"),
    ] = None,
) -> PredictionAnswer:
    """How long it takes, and whether it fails, with how good such predictions were until now."""
    try:
        return predicting.prediction(asked, execution_id, input_size_bytes)
    except KeyError as exc:
        raise _not_found(exc) from exc


@router.get("/throughput/{workflow_id:text}", summary="Count the runs of a workflow")
def get_throughput(
    *,
    asked: _Asked,
    predicting: _Predicting,
    bucket_s: Annotated[
        float, Query(ge=1, le=366 * _DAY_S, description="How long a part of the period is")
    ] = _DAY_S,
) -> ThroughputAnswer:
    """What came and ended in each part of the period, waits in the queue, and who succeeded."""
    try:
        return predicting.throughput(asked, bucket_s)
    except KeyError as exc:
        raise _not_found(exc) from exc


@router.get("/capacity/{workflow_id:text}", summary="Say how much more of a workflow fits")
def get_capacity(
    *,
    asked: _Asked,
    predicting: _Predicting,
    places: Annotated[
        int | None,
        Query(
            ge=1,
            le=1_000_000,
            description="Runs that can be under way at once; the most that were if left out",
        ),
    ] = None,
    target: Annotated[
        float, Query(ge=0.01, le=0.99, description="The utilisation up to which more fits")
    ] = 0.8,
) -> CapacityAnswer:
    """From what arrives, how long it takes and how many places there are."""
    try:
        return predicting.capacity(asked, places, target)
    except KeyError as exc:
        raise _not_found(exc) from exc


@router.get("/comparison/{workflow_id:text}", summary="Compare two times or releases of a workflow")
def compare_runs(
    *,
    asked: _Asked,
    predicting: _Predicting,
    before_from: Annotated[
        Moment | None,
        Query(description="The first side begins then; as long before its end as the other side"),
    ] = None,
    before_to: Annotated[
        Moment | None, Query(description="The first side ends then; at `from` if left out")
    ] = None,
    before_release: _Release = None,
    after_release: _Release = None,
) -> ComparisonAnswer:
    """The time from `from` to `to` beside one before it; or two releases, in the same time.

    With releases both sides are of the time from `from` to `to`, unless the first has its own.
    """
    after = Compared(asked.span, after_release)
    if (before_release is None) != (after_release is None):
        name, value = (
            ("before_release", before_release)
            if after_release is None
            else ("after_release", after_release)
        )
        raise invalid("query", name, value, "valid are both releases, or none")
    before = Compared(_before(asked.span, before_from, before_to, before_release), before_release)
    try:
        return predicting.comparison(asked, before, after)
    except KeyError as exc:
        raise _not_found(exc) from exc


def _before(span: Span, from_us: int | None, to_us: int | None, release: str | None) -> Span:
    """The time of the first side."""
    if from_us is None and to_us is None and release is not None:
        return span
    until_us = span.from_us if to_us is None else to_us
    since_us = from_us
    if since_us is None:
        since_us = max(until_us - (span.to_us - span.from_us), _FIRST_US)
    in_order("query", since_us, until_us, ("before_from", "before_to"))
    return Span(since_us, until_us)
