"""What routes ask for: who calls, what they may do, the project of the path, and the store.

The caller is known before any route is reached (`fiveobs.monitor.api.access`). A route says what
role it needs by ``Depends(require("operator"))``; a path with ``{tenantId}`` and ``{projectId}``
asks for ``scope: Annotated[ProjectScope, Depends(project)]``. What is not the caller's answers as
what is not there: 404, with the same words.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import Depends, HTTPException, Path, Query
from sqlalchemy import select
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI reads the annotations

from fiveobs.monitor.access import ROLES, Caller
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import projects

__all__ = [
    "CALLER",
    "DEFAULT",
    "JOB",
    "MOST_ID",
    "CurrentCaller",
    "JobId",
    "ProjectScope",
    "Require",
    "Scope",
    "TheStore",
    "TokensScope",
    "analysis_turn",
    "caller",
    "project",
    "project_of_token",
    "require",
    "store",
]

#: Where the ASGI scope has the `Caller`.
CALLER = "fiveobs.caller"
#: Longest tenant, project or job, in characters.
MOST_ID = 256
#: The tenant and the project of those who name none.
DEFAULT = "default"


class _TextConvertor(Convertor[str]):
    """A part of a path that may hold anything, ``/`` and line breaks included.

    A server decodes ``%2F`` before a route is looked for, so that an id with a ``/`` in it looks
    like several parts. What follows the id in a route is fixed, and the last of it counts: of
    ``job/a/progress/progress`` the id is ``a/progress``.
    """

    regex = r"(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _TextConvertor())
#: How the path of every route of one job begins.
JOB = "/job/{jobId:text}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectScope:
    """A project that the caller may see."""

    project_key: int
    tenant_id: str
    project_id: str
    caller: Caller


def store(connection: HTTPConnection) -> Store:
    """The store that the application answers from."""
    found: Store = connection.app.state.store
    return found


def caller(connection: HTTPConnection) -> Caller:
    """Who asks."""
    found: Caller | None = connection.scope.get(CALLER)
    if found is None:
        raise HTTPException(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
    return found


class Require:
    """A dependency that lets callers of a role pass; use `require`.

    Args:
        role: The least role.
    """

    def __init__(self, role: str) -> None:
        if role not in ROLES:
            raise ValueError(f"role: {role!r} is none: valid are {', '.join(ROLES)}")
        self.role = role

    def __call__(self, connection: HTTPConnection) -> Caller:
        """The caller, if they may.

        Raises:
            HTTPException: 401 without a caller, 404 for a project that is not theirs, 403 for a
                role that is not enough.
        """
        found = caller(connection)
        path = connection.path_params
        if "tenantId" in path and not found.sees(path["tenantId"], path.get("projectId")):
            raise _unknown(path["tenantId"], path.get("projectId"))
        if not found.may(self.role):
            raise HTTPException(
                403, f"the token's role is {found.role}: this needs the role {self.role}"
            )
        return found


def require(role: str) -> Require:
    """A dependency that lets callers pass whose role is this or above, and gives the `Caller`.

    Args:
        role: ``viewer``, ``operator`` or ``admin``.
    """
    return Require(role)


def project(
    connection: HTTPConnection,
    tenant_id: Annotated[
        str,
        Path(
            alias="tenantId",
            min_length=1,
            max_length=MOST_ID,
            description="The tenant identifier",
        ),
    ],
    project_id: Annotated[
        str,
        Path(
            alias="projectId",
            min_length=1,
            max_length=MOST_ID,
            description="The project identifier",
        ),
    ],
) -> ProjectScope:
    """The project of the path. Blocks for one small query.

    Raises:
        HTTPException: 404 if there is none, or it is not the caller's: nobody can tell which.
    """
    return _scope(connection, tenant_id, project_id)


def project_of_token(
    connection: HTTPConnection,
    tenant_id: Annotated[
        str | None,
        Query(
            alias="tenantId",
            min_length=1,
            max_length=MOST_ID,
            description="The tenant; the token's if left out, or else `default`",
        ),
    ] = None,
    project_id: Annotated[
        str | None,
        Query(
            alias="projectId",
            min_length=1,
            max_length=MOST_ID,
            description="The project; the token's if left out, or else `default`",
        ),
    ] = None,
) -> ProjectScope:
    """The project of the query or of the token, for paths that name none; as `project`."""
    found = caller(connection)
    return _scope(
        connection,
        tenant_id or found.tenant_id or DEFAULT,
        project_id or found.project_id or DEFAULT,
    )


def _scope(connection: HTTPConnection, tenant_id: str, project_id: str) -> ProjectScope:
    found = caller(connection)
    if not found.sees(tenant_id, project_id) or "\0" in tenant_id + project_id:
        raise _unknown(tenant_id, project_id)
    wanted = select(projects.c.project_key).filter_by(tenant_id=tenant_id, project_id=project_id)
    with store(connection).reading() as reading:
        key = reading.execute(wanted).scalar()
    if key is None:
        raise _unknown(tenant_id, project_id)
    return ProjectScope(project_key=key, tenant_id=tenant_id, project_id=project_id, caller=found)


def _unknown(tenant_id: str, project_id: str | None) -> HTTPException:
    return HTTPException(404, f"there is no project {project_id!r} of tenant {tenant_id!r}")


JobId: TypeAlias = Annotated[
    str,
    Path(
        alias="jobId",
        min_length=1,
        max_length=MOST_ID,
        description="The job identifier; whatever it holds beside letters and digits is "
        "percent-encoded, also a /",
    ),
]
CurrentCaller: TypeAlias = Annotated[Caller, Depends(caller)]
TheStore: TypeAlias = Annotated[Store, Depends(store)]
Scope: TypeAlias = Annotated[ProjectScope, Depends(project)]
TokensScope: TypeAlias = Annotated[ProjectScope, Depends(project_of_token)]


async def analysis_turn(connection: HTTPConnection) -> AsyncIterator[None]:
    """Wait until few enough others analyse, before a thread is taken that others need."""
    async with connection.app.state.analysis_turns:
        yield
