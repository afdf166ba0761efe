"""The analytics of the enhanced-monitoring API: what the past runs of a workflow show.

Each route is one analysis of `ANALYSES` and the model that it is answered with.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request

from fiveobs.monitor.api import asked
from fiveobs.monitor.api.dependencies import MOST_ID, TokensScope, require
from fiveobs.monitor.enhanced.analyses import ANALYSES, Analyses, Past, Wanted
from fiveobs.monitor.enhanced.executions import Workflow
from fiveobs.monitor.enhanced.findings import (
    Analysis,
    Anomalies,
    Bottlenecks,
    FailureAnalysis,
    Finding,
    ResourceTrends,
)
from fiveobs.monitor.tracking.human import US

__all__ = [
    "get_anomalies",
    "get_bottlenecks",
    "get_failure_analysis",
    "get_resource_trends",
    "router",
]

F = TypeVar("F", bound=Finding)

router = APIRouter(
    prefix="/api/v1/enhanced-monitoring/analytics",
    tags=["Enhanced monitoring"],
    dependencies=[Depends(require("viewer")), Depends(asked.known_query)],
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
        asked.in_order("query", from_us, to_us, ("from", "to"))
        self._analyses = Analyses(request.app.state.store)
        self._wanted = Wanted(scope.project_key, Workflow(workflow_id, service), from_us, to_us)

    def answer(self, name: str, model: type[F]) -> Analysis[F]:
        """An analysis of these runs, in the words of the API.

        Raises:
            HTTPException: 404, there is no such workflow.
        """
        workflow_id, service = self._wanted.workflow
        from_us, to_us = self._analyses.period(self._wanted)
        past = self._past(self._wanted._replace(from_us=from_us, to_us=to_us))
        begun = past.runs.started_at_s
        given: dict[str, Any] = {
            "workflow_id": workflow_id,
            "service": service,
            "from_at": from_us / US,
            "to_at": to_us / US,
            "run_count": len(past.runs),
            "first_run_at": float(begun[0]) if len(begun) else None,
            "last_run_at": float(begun[-1]) if len(begun) else None,
            "result": model.model_validate(ANALYSES[name](past)),
        }
        return Analysis[model].model_validate(given)  # type: ignore[valid-type]

    def _past(self, wanted: Wanted) -> Past:
        try:
            return self._analyses.past(wanted)
        except KeyError as exc:
            detail = f"there is no workflow {wanted.workflow.workflow_id!r} in this project"
            raise HTTPException(404, detail) from exc


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
