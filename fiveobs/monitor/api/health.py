"""How the monitor itself is: ``/healthz``, ``/readyz`` and ``/metrics``.

The first two answer anybody, in words without figures, because what asks (a load balancer, an
orchestrator) has no token. The figures of ``/metrics`` are about all tenants together: they are
given without a token to this machine only, and else to tokens that are good for every tenant.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from fiveobs.monitor.access import Caller
from fiveobs.monitor.api.access import is_local
from fiveobs.monitor.api.dependencies import CALLER, store
from fiveobs.monitor.api.routers import make_open_router
from fiveobs.monitor.figures import CONTENT_TYPE, Figures
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.watching import check_store

__all__ = ["Health", "Readiness", "get_figures", "get_health", "get_readiness", "router"]

router = make_open_router(tags=["Monitor"])


class Health(BaseModel):
    """That the monitor lives."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether the monitor can answer, and what keeps it from it."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str] = Field(
        description="By what was looked at: `ok`, or what is wrong.",
        examples=[{"store": "ok", "ingest": "ok"}],
    )


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Is the monitor alive?")
async def get_health() -> Health:
    """Answers as long as the process does; says nothing of the store."""
    return Health()


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    summary="Can the monitor answer?",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Not now"}},
)
def get_readiness(request: Request, the_store: Annotated[Store, Depends(store)]) -> Response:
    """Whether the store is reachable and migrated, and taking events in is not far behind."""
    checks = {"store": check_store(the_store)}
    services = request.app.state.services
    if services is not None:
        checks |= services.checks()
    is_ready = all(found == "ok" for found in checks.values())
    content = {"status": "ready" if is_ready else "not ready", "checks": checks}
    return JSONResponse(content, 200 if is_ready else 503)


def _may_see_figures(request: Request) -> None:
    """Let this machine pass, and tokens that are good for every tenant.

    Raises:
        HTTPException: 401 or 403.
    """
    found: Caller | None = request.scope.get(CALLER)
    if found is None and not is_local(request.scope):
        challenge = {"WWW-Authenticate": 'Bearer realm="fiveobs"'}
        raise HTTPException(401, "a bearer token is needed from another machine", challenge)
    if found is not None and not found.sees(None, None):
        raise HTTPException(
            403, "the token is good for one tenant: the figures are about all of them"
        )


_FIGURES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus text",
        "content": {
            "text/plain": {
                "schema": {"type": "string"},
                "example": "fiveobs_monitor_events_total 1250\n",
            }
        },
    }
}


@router.get(
    "/metrics",
    summary="The monitor's own figures",
    response_class=Response,
    responses=_FIGURES,
    dependencies=[Depends(_may_see_figures)],
)
def get_figures(request: Request) -> Response:
    """Counters, gauges and histograms in the text format of Prometheus."""
    figures: Figures = request.app.state.figures
    return Response(figures.as_text(), headers={"Content-Type": CONTENT_TYPE})
