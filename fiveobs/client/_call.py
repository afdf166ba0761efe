"""One call: what is sent to a monitor, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from fiveobs.exceptions import BadInputError

__all__ = ["Call", "quoted_id"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """One request, and the type of its answer."""

    path: str
    #: A class of answers; ``str`` means that the answer is text.
    answer: Callable[..., T]
    method: str = "GET"
    #: What is ``None`` is not sent.
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, str | list[str]]:
        """The query as text; a list is repeated."""
        return {name: _text(value) for name, value in self.query.items() if value is not None}

    @property
    def content(self) -> dict[str, Any] | None:
        """The body without what was left out."""
        if self.body is None:
            return None
        return {name: _json(value) for name, value in self.body.items() if value is not None}


def quoted_id(text: str) -> str:
    """An id as a part of a path."""
    # Dots alone are steps in a path unless they are quoted, which `quote` does not do.
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def _text(value: Any) -> str | list[str]:
    if isinstance(value, list):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return _time(value) if isinstance(value, datetime) else str(value)


def _json(value: Any) -> Any:
    return _time(value) if isinstance(value, datetime) else value


def _time(value: datetime) -> str:
    if value.tzinfo is None:
        raise BadInputError(f"{value!r} has no time zone; use an aware datetime")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
