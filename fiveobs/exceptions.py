"""Every exception that fiveobs defines.

::

    FiveobsError
    ├── ConfigError      a setting that cannot be used; configure() and the command line raise it
    ├── DeliveryError    a destination did not take a batch; never leaves a shipper
    ├── BadInputError    an argument that cannot be used; only the command line shows it
    └── MonitorError     a monitor did not do what it was asked; fiveobs.client raises these
        ├── UnreachableError     nothing answers at its address, or not in time
        ├── AnswerError          what answers is no monitor, or one of another version
        └── ProblemError         it said why, as RFC 9457 problem details
            ├── BadRequestError      400, 413, 422: a value that it does not take
            ├── UnauthorizedError    401: no token, or one that is not known
            ├── ForbiddenError       403: the token's role or project does not allow it
            ├── NotFoundError        404: there is no such job, project or subscription
            ├── ConflictError        409: it cannot be done in this state
            ├── GoneError            410: what changed after that place is not all there any more
            ├── VersionError         412: it has another version; ``version`` says which
            ├── TooManyError         429: too often; ``retry_after_s`` says when again
            └── ServerError          5xx: the monitor's own failure
    JobStopped           someone asked this job to stop; raised by Job.checkpoint()

``JobStopped`` derives from ``BaseException`` so that a job's own ``except Exception`` does not
turn a requested stop into an ordinary failure, for the reason ``asyncio.CancelledError`` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "AnswerError",
    "BadInputError",
    "BadRequestError",
    "ConfigError",
    "ConflictError",
    "DeliveryError",
    "FiveobsError",
    "ForbiddenError",
    "GoneError",
    "JobStopped",
    "MonitorError",
    "NotFoundError",
    "ProblemError",
    "ServerError",
    "TooManyError",
    "UnauthorizedError",
    "UnreachableError",
    "VersionError",
]


class FiveobsError(Exception):
    """The base of every error of ours; catching it catches nothing that is not ours."""


class ConfigError(FiveobsError):
    """A setting has a value that cannot be used.

    The message names the setting, the value (masked if it is a secret) and what would be valid.
    """


class BadInputError(FiveobsError):
    """An argument cannot be used; the message names it and says what would be valid."""


class DeliveryError(FiveobsError):
    """A destination did not take a batch.

    Args:
        message: What went wrong and what to look at, in one line.
        retry_after_s: How long the destination asked us to wait, in seconds; ``None`` if it did
            not say.
        permanent: ``True`` when the destination refused this batch for good, so sending it again
            cannot help: the batch is dropped and counted.
    """

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, permanent: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.permanent = permanent


class MonitorError(FiveobsError):
    """A monitor did not do what it was asked; the message says what to do about it."""


class UnreachableError(MonitorError):
    """Nothing answers at the monitor's address, or not in time."""


class AnswerError(MonitorError):
    """What answers is no monitor, or one of a version whose answers are not understood."""


class ProblemError(MonitorError):
    """The monitor refused, and said why.

    Args:
        message: The problem and what to do about it, in one line.
        status: The HTTP status.
        problem: The RFC 9457 problem details as they came: ``type``, ``title``, ``detail`` and
            whatever else belongs to the problem.
        retry_after_s: How long the monitor asked to wait, in seconds; ``None`` if it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        problem: Mapping[str, Any],
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem
        self.retry_after_s = retry_after_s


class BadRequestError(ProblemError):
    """A value that the monitor does not take (400, 413, 422); ``problem["errors"]`` names each."""


class UnauthorizedError(ProblemError):
    """No token was given, or one that the monitor does not know (401)."""


class ForbiddenError(ProblemError):
    """The token is known, but its role or its project does not allow this (403)."""


class NotFoundError(ProblemError):
    """There is no such job, project or subscription, or none that the token may see (404)."""


class ConflictError(ProblemError):
    """It cannot be done in the present state, such as stopping a job that has ended (409)."""


class GoneError(ProblemError):
    """What changed after that place is not all there any more: begin anew, without one (410)."""


class VersionError(ProblemError):
    """It has another version than was expected (412): read it, and try again."""

    @property
    def version(self) -> int | None:
        """The version that it has."""
        found = self.problem.get("version")
        return found if isinstance(found, int) else None


class TooManyError(ProblemError):
    """Asked too often (429)."""


class ServerError(ProblemError):
    """The monitor's own failure (5xx); its log says more."""


class JobStopped(BaseException):
    """Someone asked this job to stop; it ends as ``stopped``."""
