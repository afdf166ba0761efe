"""How routers are made: what all of their routes have, so that applications can share the routes.

An application that included routers would make each of their routes anew, as FastAPI does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Depends

from fiveobs.monitor.api import problems
from fiveobs.monitor.api.asked import known_query
from fiveobs.monitor.api.dependencies import require

__all__ = ["EXECUTION", "make_open_router", "make_router"]

#: Where most routes are.
EXECUTION = "/api/{tenantId}/{projectId}/execution"


def make_router(
    tag: str,
    prefix: str = EXECUTION,
    *,
    role: str | None = "viewer",
    needs: Sequence[Callable[..., Any]] = (),
) -> APIRouter:
    """Make a router whose routes refuse what they do not know in a query.

    Args:
        tag: Under which heading the OpenAPI document has its routes.
        prefix: How their paths begin.
        role: What they all need; ``None`` where each says it itself.
        needs: Further dependencies of all.
    """
    roles: list[Any] = [] if role is None else [require(role)]
    dependencies = [Depends(each) for each in (*roles, known_query, *needs)]
    return make_open_router(prefix=prefix, tags=[tag], dependencies=dependencies)


def make_open_router(**options: Any) -> APIRouter:
    """Make a router whose routes need no role and take whatever a query has.

    Args:
        options: FastAPI's.
    """
    return APIRouter(
        responses=problems.RESPONSES,
        # The function's name: short, and the same as long as nobody renames it.
        generate_unique_id_function=lambda route: route.name,
        **options,
    )
