"""What both clients do alike: what they send, and what they make of what comes back."""

from __future__ import annotations

from typing import Any, TypeVar, cast

try:
    import httpx
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        "fiveobs.client needs httpx: pip install 'fiveobs[client]'", name=exc.name
    ) from exc

from fiveobs.client import _problems
from fiveobs.client._call import Call
from fiveobs.client._exporting import LONGEST_WORK_S, Exporting
from fiveobs.client._following import LONGEST_SILENCE_S, Following
from fiveobs.client._place import Place
from fiveobs.client._reading import read
from fiveobs.exceptions import MonitorError, UnreachableError

__all__ = [
    "BaseExport",
    "BaseWatch",
    "broken_off",
    "check_export",
    "check_stream",
    "export",
    "httpx",
    "request",
    "settings",
    "shown",
    "stream",
    "to_answer",
    "unreachable",
]

T = TypeVar("T")


class BaseWatch:
    """What both kinds of watch can tell."""

    def __init__(self, state: Following[Any]) -> None:
        self._state = state

    @property
    def last_event_id(self) -> str:
        """The id of the last one that was given out, for ``after``; empty if none was."""
        return self._state.last_event_id

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come: the job that is watched has ended."""
        return self._state.is_over


class BaseExport:
    """What both kinds of export can tell."""

    def __init__(self, state: Exporting) -> None:
        self._state = state

    @property
    def rows(self) -> int | None:
        """How many rows have come so far; ``None`` of Parquet, which tells it at its end."""
        return self._state.rows

    @property
    def size_bytes(self) -> int:
        """How many bytes have come so far."""
        return self._state.size_bytes


def settings(place: Place) -> dict[str, Any]:
    """What httpx is made with."""
    return {
        "headers": place.headers,
        "timeout": place.timeout_s,
        # No proxy leads to a monitor on this machine, whatever the environment says.
        "trust_env": not place.is_local,
    }


def shown(client: object, place: Place) -> str:
    """A client in few words; never the token."""
    where = f"{place.tenant_id}/{place.project_id}"
    return f"<{type(client).__name__} of {where} at {place.url}>"


def request(place: Place, call: Call[Any]) -> dict[str, Any]:
    """What httpx is to send."""
    return {
        "method": call.method,
        "url": place.url_of(call.path),
        "params": call.parameters,
        "json": call.content,
        "headers": dict(call.headers),
    }


def stream(place: Place, state: Following[Any]) -> dict[str, Any]:
    """What httpx is to ask for as a stream."""
    return {
        "method": "GET",
        "url": place.url_of(state.path),
        "params": state.query,
        "headers": state.headers(),
        "timeout": httpx.Timeout(place.timeout_s, read=LONGEST_SILENCE_S),
    }


def export(place: Place, state: Exporting) -> dict[str, Any]:
    """What httpx is to ask for as a file."""
    return {
        **request(place, state.call),
        "timeout": httpx.Timeout(place.timeout_s, read=LONGEST_WORK_S),
    }


def check_export(place: Place, response: httpx.Response) -> None:
    """Raise what the monitor says instead of a file."""
    if not response.is_success:
        raise _refused(place, response)
    if "attachment" not in response.headers.get("content-disposition", ""):
        raise _problems.no_export(place.url)


def broken_off(place: Place, error: httpx.TransportError) -> UnreachableError:
    """An export came to no good end."""
    return _problems.broken_off(place.url, error)


def check_stream(place: Place, response: httpx.Response, state: Following[Any]) -> None:
    """Raise what the monitor says instead of a stream."""
    if not response.is_success:
        raise _refused(place, response)
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        raise _problems.not_json(place.url)
    state.connected()


def to_answer(place: Place, call: Call[T], response: httpx.Response) -> T:
    """What a call promises.

    Raises:
        MonitorError: The monitor refused, or it is none.
    """
    if not response.is_success:
        raise _refused(place, response)
    if call.answer in (str, type(None)):
        return cast("T", response.text or None)
    try:
        value = response.json()
    except ValueError as exc:
        raise _problems.not_json(place.url) from exc
    return read(call.answer, value)


def _refused(place: Place, response: httpx.Response) -> MonitorError:
    headers = response.headers
    return _problems.refused(
        place.url,
        response.status_code,
        headers.get("content-type", ""),
        response.content,
        headers.get("retry-after"),
    )


def unreachable(place: Place, error: httpx.TransportError) -> UnreachableError:
    """Nothing answered."""
    return _problems.unreachable(place.url, error, place.timeout_s)
