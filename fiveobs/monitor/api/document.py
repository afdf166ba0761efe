"""The OpenAPI document: what FastAPI makes of the routes, and what it cannot say of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.responses import Response

from fiveobs.monitor.api import examples, problems
from fiveobs.monitor.api.access import OPEN_PATHS
from fiveobs.monitor.api.routes import role_of, routes_of

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["WEBSOCKETS", "Document", "describe", "of_route", "operations"]

Document: TypeAlias = dict[str, Any]

#: Where the document has the WebSockets, by path: OpenAPI itself knows none.
WEBSOCKETS = "x-fiveobs-websockets"
_DESCRIPTION = """\
Answers for every job: what it does, did and will do. Every request needs a bearer token
(`fiveobs token create`), save for health; what a token does not show is answered as not there.
Errors are problem details (RFC 9457). Times are RFC 3339, UTC.
"""
_TAGS = [
    {"name": "Tracking", "description": "What jobs do, did and will do."},
    {
        "name": "Stream monitoring",
        "description": "Jobs in the words of Flink: its states, milliseconds, and every answer in "
        "`response` with `messages` beside it.",
    },
    {
        "name": "Enhanced monitoring",
        "description": "Lists of jobs and of stages with their figures, a page at a time, and "
        "what past runs show.",
    },
    {
        "name": "Export and report",
        "description": "Tables as files, and how the jobs of a period went.",
    },
    {"name": "Live events", "description": "Events as they happen, over SSE and WebSocket."},
    {"name": "Subscriptions", "description": "Events sent to you: webhooks."},
    {"name": "Rules", "description": "What shall be done on which events."},
    {"name": "Control", "description": "Stop, pause and resume jobs."},
    {
        "name": "State",
        "description": "What is observed and desired of jobs, workers, machines and services, and "
        "documents that applications share: each with a version.",
    },
    {
        "name": "Retention",
        "description": "How long everything is kept, and figures of what has gone.",
    },
    {"name": "Monitor", "description": "How the monitor itself is."},
]
_SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of `fiveobs token create`.",
    }
}
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    101: {
        "description": "The WebSocket: each message is an event as a CloudEvents 1.0 object, in "
        "the subprotocol `cloudevents.json`"
    }
}
#: Answers of one WebSocket only.
_REFUSED: dict[str, dict[int | str, dict[str, Any]]] = {
    "socket_of_subscription": {
        409: problems.described("The subscription is not active, or not of type websocket")
    }
}
#: Answers of most routes that these cannot give: they take no parameters and need no role.
_IMPOSSIBLE = {
    "/healthz": ("403", "404", "422"),
    "/readyz": ("403", "404", "422"),
    "/metrics": ("404", "422"),
}
#: FastAPI turns a warning of pydantic's off meanwhile, and for all threads: two that do so at once
#: leave each other's filters behind.
_ALONE = threading.Lock()
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def describe(app: FastAPI) -> Document:
    """The document; made once, which takes a while."""
    if app.openapi_schema is None:
        document = _made(app, list(app.routes), tags=_tags(app))
        document["servers"] = [{"url": "/"}]
        document[WEBSOCKETS] = _websockets(app)
        components = document.setdefault("components", {})
        components.setdefault("schemas", {})["Problem"] = problems.SCHEMA
        components["securitySchemes"] = _SECURITY
        document["security"] = [{"bearer": []}]
        _say_roles(app, document)
        for _path, _method, operation in operations(document):
            _simplify(operation)
            examples.add(operation)
        app.openapi_schema = _with_whole_bounds(document)
    return app.openapi_schema


def of_route(route: Any, method: str | None) -> tuple[Document, Document]:
    """The document of one route alone, which is quickly made, and its operation.

    Args:
        route: The route.
        method: In capitals; ``None`` for a WebSocket.
    """
    with _ALONE:
        found = _as_request(route, None) if method is None else route
        made = get_openapi(title="fiveobs", version="", routes=[found])
    document = _with_whole_bounds(made)
    operation = document["paths"].get(route.path_format, {}).get((method or "get").lower(), {})
    _simplify(operation)
    return document, operation


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation of all that there is; a WebSocket's method is ``websocket``."""
    for path, found in document["paths"].items():
        for method, operation in found.items():
            yield path, method, operation
    for path, operation in document[WEBSOCKETS].items():
        yield path, "websocket", operation


def _made(app: FastAPI, routes: list[Any], **more: Any) -> Document:
    with _ALONE:
        return get_openapi(
            title=app.title,
            version=app.version,
            summary="Five tracks of observability for background jobs",
            description=_DESCRIPTION,
            routes=routes,
            **more,
        )


def _tags(app: FastAPI) -> list[dict[str, Any]]:
    used = {str(tag) for route in routes_of(app) for tag in getattr(route, "tags", None) or ()}
    return [tag for tag in _TAGS if tag["name"] in used]


def _websockets(app: FastAPI) -> dict[str, dict[str, Any]]:
    """The operation of each WebSocket, by path, as that of a request would be."""
    tags = {
        route.endpoint.__module__: route.tags
        for route in routes_of(app)
        if getattr(route, "tags", None)
    }
    with _ALONE:
        routes = [
            _as_request(route, tags.get(route.endpoint.__module__))
            for route in routes_of(app)
            if isinstance(getattr(route, "original_route", route), APIWebSocketRoute)
        ]
    found = {path: each["get"] for path, each in _made(app, routes)["paths"].items()}
    for route in routes:
        operation = found[route.path_format]
        operation["responses"].pop("200", None)
        if role := role_of(route):
            operation["x-fiveobs-role"] = role
    return found


def _as_request(route: Any, tags: list[Any] | None) -> APIRoute:
    return APIRoute(
        route.path,
        route.endpoint,
        dependencies=route.dependencies,
        methods=["GET"],
        operation_id=route.name,
        response_class=Response,
        responses={**problems.RESPONSES, **_ACCEPTED, **_REFUSED.get(route.name, {})},
        summary=(route.endpoint.__doc__ or route.name).partition("\n")[0].rstrip("."),
        tags=tags,
    )


def _say_roles(app: FastAPI, document: Document) -> None:
    """Say of each operation who may use it."""
    for route in routes_of(app):
        found = document["paths"].get(getattr(route, "path_format", None), {})
        for method in getattr(route, "methods", None) or ():
            operation = found.get(method.lower())
            if operation is None:
                continue
            if route.path in OPEN_PATHS:
                operation["security"] = [{}, {"bearer": []}]
                for status in _IMPOSSIBLE.get(route.path, ()):
                    operation["responses"].pop(status, None)
            elif role := role_of(route):
                operation["x-fiveobs-role"] = role


def _simplify(operation: dict[str, Any]) -> None:
    """Answers in order, and a parameter that may be left out is left out and never null."""
    operation["responses"] = dict(sorted(operation.get("responses", {}).items()))
    for each in operation.get("parameters", ()):
        kinds = [kind for kind in each["schema"].get("anyOf", ()) if kind.get("type") != "null"]
        if len(kinds) == 1:
            del each["schema"]["anyOf"]
            each["schema"] |= kinds[0]


def _with_whole_bounds(value: Any) -> Any:
    """FastAPI makes floating-point numbers of all bounds: 60.0 is written as 60 again."""
    if isinstance(value, list):
        return [_with_whole_bounds(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: int(each)
        if name in _BOUNDS and isinstance(each, float) and each.is_integer()
        else _with_whole_bounds(each)
        for name, each in value.items()
    }
