"""Ask a monitor about jobs: a typed client for ``fiveobs serve``, blocking and for ``asyncio``.

Needs ``pip install 'fiveobs[client]'``. The classes of the answers are in `fiveobs.client.answers`.

Example:
    >>> from fiveobs.client import Client
    >>> with Client() as client:
    ...     for event in client.watch("42"):
    ...         print(event.event_type, event.message)
"""

from __future__ import annotations

from fiveobs.client._async import AsyncClient, AsyncExport, AsyncStateWatch, AsyncWatch
from fiveobs.client._reading import Answer
from fiveobs.client._sync import Client, Export, StateWatch, Watch
from fiveobs.exceptions import (
    AnswerError,
    BadInputError,
    BadRequestError,
    ConfigError,
    ConflictError,
    FiveobsError,
    ForbiddenError,
    GoneError,
    MonitorError,
    NotFoundError,
    ProblemError,
    ServerError,
    TooManyError,
    UnauthorizedError,
    UnreachableError,
    VersionError,
)

__all__ = [
    "Answer",
    "AnswerError",
    "AsyncClient",
    "AsyncExport",
    "AsyncStateWatch",
    "AsyncWatch",
    "BadInputError",
    "BadRequestError",
    "Client",
    "ConfigError",
    "ConflictError",
    "Export",
    "FiveobsError",
    "ForbiddenError",
    "GoneError",
    "MonitorError",
    "NotFoundError",
    "ProblemError",
    "ServerError",
    "StateWatch",
    "TooManyError",
    "UnauthorizedError",
    "UnreachableError",
    "VersionError",
    "Watch",
]
