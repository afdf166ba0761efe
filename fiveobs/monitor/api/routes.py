"""What routes an application has, and which role each needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import routing

from fiveobs.monitor.access import ROLES
from fiveobs.monitor.api.dependencies import Require

__all__ = ["methods_of_path", "query_names", "role_of", "routes_of"]


def routes_of(app: Any) -> Iterator[Any]:
    """Every route, also of routers that are included: each has a path, methods and dependant."""
    # Newer versions of FastAPI keep included routers as they are.
    contexts = getattr(routing, "iter_route_contexts", iter)
    yield from contexts(app.routes)


def role_of(route: Any) -> str | None:
    """The role that a route needs; ``None`` if it names none."""
    dependant = getattr(route, "dependant", None)
    found = list(_required(dependant)) if dependant is not None else []
    return max(found, key=ROLES.index) if found else None


def methods_of_path(app: Any, path: str) -> list[str]:
    """What can be done with a path, by whichever route."""
    return sorted(
        {
            method
            for route in routes_of(app)
            if getattr(route, "methods", None) and route.path_regex.match(path)
            for method in route.methods
        }
    )


def query_names(route: Any) -> list[str]:
    """The parameters of the query that a route takes, by their names in a request."""
    return list(dict.fromkeys(_asked(route.dependant)))


def _asked(dependant: Any) -> Iterator[str]:
    for each in dependant.query_params:
        yield each.alias
    for each in dependant.dependencies:
        yield from _asked(each)


def _required(dependant: Any) -> Iterator[str]:
    if isinstance(dependant.call, Require):
        yield dependant.call.role
    for each in dependant.dependencies:
        yield from _required(each)
