"""Makes exceptions from what a monitor answers, and from what happens on the way there."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from fiveobs.exceptions import (
    AnswerError,
    BadRequestError,
    ConflictError,
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

__all__ = ["broken_off", "no_export", "not_json", "refused", "unreachable"]

_KINDS: dict[int, type[ProblemError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    412: VersionError,
    429: TooManyError,
}
#: What to do about it.
_ADVICE = {
    401: "set FIVEOBS_MONITOR_TOKEN to a token that 'fiveobs token' has made",
    403: "use a token that may do this: 'fiveobs token' makes them",
}
_PROBLEM_TYPE = "application/problem+json"
#: Named so often in one message.
_MOST_ERRORS = 3


def unreachable(url: str, error: Exception, timeout_s: float) -> UnreachableError:
    """Nothing answered."""
    kind = type(error).__name__
    if kind.endswith("Timeout"):
        return UnreachableError(f"the monitor at {url} did not answer within {timeout_s:g} s")
    reason = str(error) or kind
    return UnreachableError(
        f"no monitor answers at {url} ({reason}): start one with 'fiveobs serve', or say"
        " where it is with FIVEOBS_MONITOR_URL"
    )


def broken_off(url: str, error: Exception) -> UnreachableError:
    """What has come of an export is not all."""
    reason = str(error) or type(error).__name__
    return UnreachableError(
        f"the monitor at {url} broke the export off ({reason}): what has come is not whole;"
        " its log says why"
    )


def refused(
    url: str, status: int, content_type: str, content: bytes, retry_after: str | None
) -> MonitorError:
    """Any answer that is no success."""
    problem = _problem(content_type, content)
    if problem is None and status < 500:
        return AnswerError(f"what answers at {url} is no monitor: {_phrase(status)}")
    problem = problem or {"type": "about:blank", "title": _phrase(status), "status": status}
    kind = _KINDS.get(status, ServerError if status >= 500 else BadRequestError)
    retry_after_s = float(retry_after) if retry_after and retry_after.isdecimal() else None
    message = _message(status, problem, retry_after_s)
    return kind(message, status=status, problem=problem, retry_after_s=retry_after_s)


def not_json(url: str) -> AnswerError:
    """A success that is not what a monitor says."""
    return AnswerError(f"what answers at {url} is no monitor: its answer is no JSON")


def no_export(url: str) -> AnswerError:
    """A success that is no file."""
    return AnswerError(f"what answers at {url} is no monitor: its answer is no export")


def _problem(content_type: str, content: bytes) -> dict[str, Any] | None:
    if content_type.partition(";")[0].strip().lower() != _PROBLEM_TYPE:
        return None
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _message(status: int, problem: dict[str, Any], retry_after_s: float | None) -> str:
    text = str(problem.get("detail") or problem.get("title") or _phrase(status))
    wrong = problem.get("errors")
    if isinstance(wrong, list):
        new = [_wrong(each) for each in wrong if not _is_told(each, text)]
        text = ": ".join((text, "; ".join(new[:_MOST_ERRORS]))) if new else text
    if retry_after_s is not None:
        text += f"; try again in {retry_after_s:g} s"
    if advice := _ADVICE.get(status):
        text += f": {advice}"
    return text


def _is_told(error: Any, text: str) -> bool:
    """Whether a text already says what is wrong."""
    return isinstance(error, dict) and str(error.get("detail")) in text


def _wrong(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)
    value = f" is {error['value']!r}" if "value" in error else ""
    return f"{error.get('name')}{value}: {error.get('detail')}"


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
