"""What FastAPI finds wrong with a request, as a problem that says what would be valid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.concurrency import run_in_threadpool

from fiveobs.monitor.api.document import Document, of_route
from fiveobs.monitor.api.problems import MOST_ERRORS, problem, sentence, shown
from fiveobs.monitor.api.valid import schema_of, valid

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import HTTPConnection
    from starlette.responses import Response

__all__ = ["install"]

#: Kinds of errors whose message was written for whoever asks.
_OURS = frozenset({"value_error", "assertion_error", "missing_here"})


def install(app: FastAPI) -> None:
    """Have every request that cannot be used answered as a problem."""
    app.add_exception_handler(RequestValidationError, _wrong)
    app.add_exception_handler(WebSocketRequestValidationError, _wrong)


async def _wrong(connection: HTTPConnection, error: Any) -> Response:
    # In a thread: the first time it takes a while, and streams must not wait for it.
    found = await run_in_threadpool(_errors, connection, error.errors()[:MOST_ERRORS])
    return problem(422, "; ".join(map(sentence, found[:5])), errors=found)


def _errors(connection: HTTPConnection, errors: Sequence[Any]) -> list[dict[str, Any]]:
    document, operation = _described(connection)
    return [_error(document, operation, each) for each in errors]


def _described(connection: HTTPConnection) -> tuple[Document, Document]:
    """What the OpenAPI document says of the route, kept for the next time."""
    route, state = connection.scope["route"], connection.app.state
    key = (route.path_format, connection.scope.get("method"))
    kept: dict[Any, tuple[Document, Document]] | None = getattr(state, "described", None)
    if kept is None:
        kept = state.described = {}
    if key not in kept:
        kept[key] = of_route(route, key[1])
    return kept[key]


def _error(
    document: Mapping[str, Any], operation: Mapping[str, Any], found: Mapping[str, Any]
) -> dict[str, Any]:
    """One error of pydantic's in our words."""
    where, *path = loc = found["loc"] or ("body",)
    name = ".".join(map(str, path)) or "body"
    if found["type"] == "json_invalid":
        reason = found.get("ctx", {}).get("error", "")
        return {"in": "body", "name": "body", "detail": f"valid is JSON: {reason}".rstrip(": ")}
    if found["type"] == "extra_forbidden":
        detail = _no_such_field(schema_of(document, operation, loc[:-1]))
    else:
        schema = schema_of(document, operation, loc)
        detail = _detail(found, valid(document, schema) if schema else "")
    error = {"in": where, "name": name, "detail": detail}
    if not found["type"].startswith("missing"):
        error["value"] = shown(name, found.get("input"))
    return error


def _no_such_field(parent: Mapping[str, Any] | None) -> str:
    names = ", ".join((parent or {}).get("properties", ()))
    return f"there is no such field: valid are {names}" if names else "there is no such field"


def _detail(found: Mapping[str, Any], would_be_valid: str) -> str:
    """What is wrong, and what would be valid: a validator of ours has said so itself."""
    kind = found["type"]
    if kind in _OURS or not would_be_valid:
        return _plain(found["msg"])
    return f"it is missing: {would_be_valid}" if kind == "missing" else would_be_valid


def _plain(message: str) -> str:
    for beginning in ("Value error, ", "Assertion failed, "):
        message = message.removeprefix(beginning)
    return message[:1].lower() + message[1:]
