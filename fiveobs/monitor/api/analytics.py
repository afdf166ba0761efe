"""The analytics of the enhanced-monitoring API: what the past runs of a workflow show.

Each route is one analysis of `ANALYSES` and the model that it is answered with.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, TypeVar

from fastapi import Depends, HTTPException, Path, Query, Request

from fiveobs.monitor.analytics.capacity import TARGET
from fiveobs.monitor.api import asked
from fiveobs.monitor.api.dependencies import MOST_ID, TokensScope, analysis_turn
from fiveobs.monitor.api.problems import invalid
from fiveobs.monitor.api.routers import make_router
from fiveobs.monitor.enhanced.analyses import ANALYSES, DAY_S, Analyses, Past, Wanted, time_before
from fiveobs.monitor.enhanced.executions import Workflow
from fiveobs.monitor.enhanced.findings import (
    Analysis,
    Anomalies,
    Bottlenecks,
    FailureAnalysis,
    Finding,
    ResourceTrends,
)
from fiveobs.monitor.enhanced.volume import Capacity, Comparison, Prediction, Throughput

__all__ = [
    "compare_runs",
    "get_anomalies",
    "get_bottlenecks",
    "get_capacity",
    "get_failure_analysis",
    "get_resource_trends",
    "get_throughput",
    "predict_run",
    "router",
]

_MOST_SIZE = 2**63 - 1

F = TypeVar("F", bound=Finding)

router = make_router(
    "Enhanced monitoring", "/api/v1/enhanced-monitoring/analytics", needs=[analysis_turn]
)


class _Asked:
    """The workflow and the period that a request is about."""

    def __init__(
        self,
        request: Request,
        scope: TokensScope,
        workflow_id: Annotated[
            str, Path(min_length=1, max_length=MOST_ID, description="The name of the jobs")
        ],
        service: Annotated[
            str | None,
            Query(
                min_length=1,
                max_length=MOST_ID,
                pattern=r"^[^\x00]*$",
                description="Only jobs of this service; of all that have jobs of that name if "
                "left out",
            ),
        ] = None,
        from_us: Annotated[
            asked.Moment | None,
            Query(
                alias="from",
                description="Jobs first heard of from then on; 30 days before the end if left out",
            ),
        ] = None,
        to_us: Annotated[
            asked.Moment | None,
            Query(alias="to", description="Jobs first heard of before then; now if left out"),
        ] = None,
    ) -> None:
        self._analyses = Analyses(request.app.state.store)
        wanted = Wanted(scope.project_key, Workflow(workflow_id, service), from_us, to_us)
        self.from_us, self.to_us = self._analyses.period(wanted)
        asked.in_order("query", self.from_us, self.to_us, ("from", "to"))
        self._wanted = wanted._replace(from_us=self.from_us, to_us=self.to_us)

    def past(self, name: str, **changes: Any) -> Past:
        """What an analysis takes of these runs, or of those of another time or release.

        Raises:
            HTTPException: 404, there is no such workflow.
        """
        try:
            return self._analyses.past(self._wanted._replace(**changes), name)
        except KeyError as exc:
            raise _not_found(exc) from exc

    def answer(
        self, name: str, model: type[F], *, release: str | None = None, **options: Any
    ) -> Analysis[F]:
        """An analysis of these runs, in the words of the API.

        Args:
            name: Which of `ANALYSES`.
            model: What it is answered with.
            release: Only runs of this one.
            options: What the analysis takes beside the past.

        Raises:
            HTTPException: 404, there is no such workflow.
        """
        workflow_id, service = self._wanted.workflow
        past = self.past(name, release=release)
        begun = past.runs.started_at_s
        given: dict[str, Any] = {
            "workflow_id": workflow_id,
            "service": service,
            "from_at": past.from_s,
            "to_at": past.to_s,
            "run_count": len(begun),
            "first_run_at": float(begun[0]) if len(begun) else None,
            "last_run_at": float(begun[-1]) if len(begun) else None,
            "result": model.model_validate(ANALYSES[name](past, **options)),
        }
        return Analysis[model].model_validate(given)  # type: ignore[valid-type]

    def prediction(
        self, execution_id: str | None, input_size_bytes: int | None
    ) -> Analysis[Prediction]:
        """A prediction of a job of the workflow, or of the next one.

        Raises:
            HTTPException: 404, there is no such workflow, or no such job of it.
        """
        try:
            coming = self._analyses.coming(self._wanted, execution_id, input_size_bytes)
        except KeyError as exc:
            raise _not_found(exc) from exc
        return self.answer("predictive", Prediction, coming=coming, execution_id=execution_id)


def _not_found(exc: KeyError) -> HTTPException:
    return HTTPException(404, str(exc.args[0]))


_AskedFor: TypeAlias = Annotated[_Asked, Depends(_Asked)]


@router.get("/bottlenecks/{workflow_id:text}", summary="Find the steps that take time")
def get_bottlenecks(request: _AskedFor) -> Analysis[Bottlenecks]:
    """What steps take, and which have come to take longer, more CPU or more memory than before."""
    return request.answer("bottlenecks", Bottlenecks)


@router.get("/resource-trends/{workflow_id:text}", summary="Find what grows")
def get_resource_trends(request: _AskedFor) -> Analysis[ResourceTrends]:
    """How duration, CPU, memory and waiting change over time, and whether workers leak memory."""
    return request.answer("resource-trends", ResourceTrends)


@router.get("/failure-analysis/{workflow_id:text}", summary="Find what fails, and why")
def get_failure_analysis(request: _AskedFor) -> Analysis[FailureAnalysis]:
    """Errors in groups, rates of failure, and what those that fail have in common."""
    return request.answer("failure-analysis", FailureAnalysis)


@router.get("/anomalies/{workflow_id:text}", summary="Find what is unusual")
def get_anomalies(request: _AskedFor) -> Analysis[Anomalies]:
    """Runs that took or used more than usual, times without the usual runs, and slow hours."""
    return request.answer("anomalies", Anomalies)


@router.get("/predictive/{workflow_id:text}", summary="Predict a run of a workflow")
def predict_run(
    *,
    request: _AskedFor,
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
) -> Analysis[Prediction]:
    """How long it takes, and whether it fails, with how good such predictions were until now."""
    return request.prediction(execution_id, input_size_bytes)


@router.get("/throughput/{workflow_id:text}", summary="Count the runs of a workflow")
def get_throughput(
    *,
    request: _AskedFor,
    bucket_s: Annotated[
        float, Query(ge=1, le=366 * DAY_S, description="How long a part of the period is")
    ] = DAY_S,
) -> Analysis[Throughput]:
    """What came and ended in each part of the period, waits in the queue, and who succeeded."""
    return request.answer("throughput", Throughput, bucket_s=bucket_s)


@router.get("/capacity/{workflow_id:text}", summary="Say how much more of a workflow fits")
def get_capacity(
    *,
    request: _AskedFor,
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
    ] = TARGET,
) -> Analysis[Capacity]:
    """From what arrives, how long it takes and how many places there are."""
    return request.answer("capacity", Capacity, places=places, target=target)


_Release: TypeAlias = Annotated[
    str | None,
    Query(min_length=1, max_length=MOST_ID, description="Only runs of this `service.version`"),
]


@router.get("/comparison/{workflow_id:text}", summary="Compare two times or releases of a workflow")
def compare_runs(
    *,
    request: _AskedFor,
    before_from: Annotated[
        asked.Moment | None,
        Query(description="The first side begins then; as long before its end as the other side"),
    ] = None,
    before_to: Annotated[
        asked.Moment | None, Query(description="The first side ends then; at `from` if left out")
    ] = None,
    before_release: _Release = None,
    after_release: _Release = None,
) -> Analysis[Comparison]:
    """The time from `from` to `to` beside one before it; or two releases, in the same time.

    With releases both sides are of the time from `from` to `to`, unless the first has its own.
    """
    releases = {"before_release": before_release, "after_release": after_release}
    given = {name: value for name, value in releases.items() if value is not None}
    if len(given) == 1:
        ((name, value),) = given.items()
        raise invalid("query", name, value, "valid are both releases, or none")
    from_us, to_us = request.from_us, request.to_us
    if before_from is not None or before_to is not None or not given:
        from_us, to_us = _first_side(from_us, to_us, before_from, before_to)
    before = request.past("comparison", from_us=from_us, to_us=to_us, release=before_release)
    return request.answer("comparison", Comparison, release=after_release, before=before)


def _first_side(
    from_us: int, to_us: int, before_from: int | None, before_to: int | None
) -> tuple[int, int]:
    """The time of the first side, by that of the second and what is said of the first."""
    end_us = from_us if before_to is None else before_to
    begin_us = before_from
    if begin_us is None:
        begin_us, _ = time_before(end_us, end_us + to_us - from_us)
    asked.in_order("query", begin_us, end_us, ("before_from", "before_to"))
    return begin_us, end_us
