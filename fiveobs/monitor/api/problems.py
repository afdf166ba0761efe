"""Every error as a problem of RFC 9457 (``application/problem+json``), and how to raise one.

``HTTPException(404, "there is no job …")`` is enough for most; `invalid` is for a parameter that
only the route itself can judge. Our own failures are answered by `fiveobs.monitor.api.guarding`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from fiveobs._report import report
from fiveobs.monitor.api.routes import methods_of_path

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import HTTPConnection
    from starlette.types import Receive, Scope, Send

__all__ = [
    "MEDIA_TYPE",
    "MOST_ERRORS",
    "RESPONSES",
    "SCHEMA",
    "ProblemError",
    "described",
    "install",
    "invalid",
    "problem",
    "sentence",
    "shown",
    "unknown_parameters",
    "unreachable",
]

MEDIA_TYPE = "application/problem+json"
#: Seconds after which a store that cannot be reached is worth another try.
_STORE_RETRY_S = 5
_SHOWN_CHARS = 200
#: Longer numbers are shown as text: not every reader of JSON takes them.
_MOST_DIGITS = 15
#: Parts of names whose values are not repeated.
_SECRET = ("token", "secret", "password", "authorization", "credential", "key")
MOST_ERRORS = 50

#: What a problem looks like, for the OpenAPI document.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "A problem as in RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "default": "about:blank"},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What is wrong, and what would be valid."},
        "instance": {"type": "string", "description": "Under which id the monitor logged it."},
        "errors": {
            "type": "array",
            "description": "What is wrong with the request, one entry for each parameter.",
            "items": {
                "type": "object",
                "required": ["in", "name", "detail"],
                "properties": {
                    "in": {
                        "type": "string",
                        "enum": ["path", "query", "header", "cookie", "body"],
                    },
                    "name": {"type": "string", "description": "Which; a path of names in a body."},
                    "value": {"description": "What was sent; left out where there was none."},
                    "detail": {"type": "string", "description": "What would be valid."},
                },
            },
        },
    },
}


def described(meaning: str, **headers: str) -> dict[str, Any]:
    """A problem that a route can answer with, for the OpenAPI document.

    Args:
        meaning: What it means.
        headers: By name, with ``_`` for ``-``, what each header of the answer says.
    """
    schema = {"$ref": "#/components/schemas/Problem"}
    found: dict[str, Any] = {"description": meaning, "content": {MEDIA_TYPE: {"schema": schema}}}
    if headers:
        found["headers"] = {
            name.replace("_", "-"): {
                "description": says,
                "schema": {"type": "integer" if name == "Retry_After" else "string"},
            }
            for name, says in headers.items()
        }
    return found


#: The answers that every route can give beside its own.
RESPONSES: dict[int | str, dict[str, Any]] = {
    401: described("No token, or one that is not good", WWW_Authenticate="`Bearer`, and why"),
    403: described("The token's role does not allow this"),
    404: described("There is no such thing that this token shows"),
    422: described("A parameter or the body cannot be used"),
    429: described(
        "Too many tokens that are not good came from this address",
        Retry_After="Seconds until one is looked at again",
    ),
    503: described(
        "The store cannot be reached, or something else is too busy",
        Retry_After="Seconds after which another try is worth it, where that is known",
    ),
    "4XX": described("The request itself cannot be answered: too long, too large, too slow"),
    "5XX": described("The monitor has failed"),
}


class ProblemError(HTTPException):
    """An error with members beside those that every problem has.

    Args:
        status: The HTTP status.
        detail: What is wrong and what would be valid, in a sentence.
        headers: Of the answer.
        members: Further members of the problem.
    """

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(status, detail, dict(headers) if headers else None)
        self.members = members


def invalid(where: str, name: str, value: object, valid: str) -> ProblemError:
    """A parameter cannot be used.

    Args:
        where: ``path``, ``query``, ``header`` or ``body``.
        name: Which parameter.
        value: What was sent.
        valid: What would be valid, as the end of the sentence "valid is …".
    """
    told = shown(name, value)
    error = {"in": where, "name": name, "value": told, "detail": valid}
    return ProblemError(422, f"{name}: {told!r} cannot be used: {valid}", errors=[error])


def unknown_parameters(names: Sequence[str], known: Sequence[str]) -> ProblemError:
    """Parameters of the query that a route does not have: they may be slips.

    Args:
        names: What was sent.
        known: What the route has.
    """
    valid_are = f"valid are {', '.join(known)}" if known else "this has none"
    detail = f"there is no such parameter: {valid_are}"
    errors = [{"in": "query", "name": name, "detail": detail} for name in names[:MOST_ERRORS]]
    return ProblemError(422, "; ".join(map(sentence, errors[:5])), errors=errors)


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """A problem as an answer."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **members,
    }
    body = orjson.dumps(content, default=str, option=orjson.OPT_NON_STR_KEYS)
    return Response(body, status, dict(headers) if headers else None, MEDIA_TYPE)


def unreachable(error: Exception) -> Response:
    """The store cannot be reached; the cause, which may name it, goes to the log alone."""
    report("store", f"{type(error).__name__}: {error}")
    headers = {"Retry-After": str(_STORE_RETRY_S)}
    return problem(503, "the store cannot be reached just now: try again", headers)


def install(app: FastAPI) -> None:
    """Have what routes raise answered as a problem; what FastAPI does is for `refusing`."""
    app.router.default = _not_found
    app.add_exception_handler(HTTPException, _refused)
    for kind in (OperationalError, InterfaceError, PoolTimeoutError):
        app.add_exception_handler(kind, _unreachable)


async def _not_found(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Of a WebSocket, too, which the framework would close without a word."""
    raise HTTPException(HTTPStatus.NOT_FOUND)


async def _refused(connection: HTTPConnection, error: Any) -> Response:
    if error.status_code in (204, 304):
        return Response(status_code=error.status_code, headers=error.headers)
    detail, headers = str(error.detail), dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework names the methods of the first route with this path only.
        headers["Allow"] = ", ".join(methods_of_path(connection.app, connection.url.path))
    if detail == HTTPStatus(error.status_code).phrase:
        detail = _more_than_the_title(connection, headers)
    return problem(error.status_code, detail, headers, **getattr(error, "members", {}))


def _more_than_the_title(connection: HTTPConnection, headers: Mapping[str, str]) -> str:
    """What to say where the framework only has the status to say."""
    path = str(shown("path", connection.url.path))
    if "Allow" in headers:
        method = connection.scope.get("method")
        return f"{method} cannot be used on {path!r}: valid are {headers['Allow']}"
    return f"there is no {path!r}: /docs has all paths"


async def _unreachable(_request: HTTPConnection, error: Exception) -> Response:
    return unreachable(error)


def sentence(error: Mapping[str, Any]) -> str:
    """One of the errors of a problem, for its detail."""
    value = f" {error['value']!r} cannot be used:" if "value" in error else ""
    return f"{error['name']}:{value} {error['detail']}"


def shown(name: str, value: object) -> object:
    """A value as far as it can be repeated: short, and no secret."""
    if any(part in name.lower() for part in _SECRET):
        return "***"
    if isinstance(value, Mapping):  # of its values any may be secret
        return f"an object with {', '.join(map(str, value)) or 'nothing'}"[:_SHOWN_CHARS]
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool | float):
        return value
    text = (value if isinstance(value, str) else repr(value)).encode("utf-8", "replace").decode()
    if isinstance(value, int) and len(text) <= _MOST_DIGITS:
        return value
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
