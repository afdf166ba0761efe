"""What a request may ask for, where one parameter's type cannot say: names, times, addresses."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, WithJsonSchema
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI reads the annotation

from fiveobs.exceptions import BadInputError
from fiveobs.monitor.api.problems import invalid, unknown_parameters
from fiveobs.monitor.api.routes import query_names
from fiveobs.monitor.tracking.human import as_time
from fiveobs.monitor.webhooks.guard import Guard, to_target

__all__ = ["Moment", "check_url", "in_order", "known_query"]

_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _to_us(value: object) -> int:
    """RFC 3339 to microseconds since 1970.

    Raises:
        ValueError: It is none, or has no time zone.
    """
    text = value.replace(" ", "+") if isinstance(value, str) and value.count("T") else value
    if not isinstance(text, str) or not _RFC3339.fullmatch(text):
        raise ValueError("not a time as in RFC 3339, for example 2024-01-20T10:30:00Z")
    try:
        return (datetime.fromisoformat(text.upper()) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError) as exc:
        raise ValueError(f"not a time that there is: {exc}") from exc


#: In a request RFC 3339, here microseconds since 1970.
Moment: TypeAlias = Annotated[
    int, BeforeValidator(_to_us), WithJsonSchema({"type": "string", "format": "date-time"})
]


def in_order(
    where: str,
    from_us: int | None,
    to_us: int | None,
    names: tuple[str, str] = ("fromTime", "toTime"),
) -> None:
    """Refuse two times that have nothing between them.

    Args:
        where: ``query`` or ``body``.
        from_us: The first, in microseconds since 1970; ``None`` is the beginning.
        to_us: The last; ``None`` is the end.
        names: What they are called.

    Raises:
        ProblemError: The first comes after the last: 422.
    """
    if from_us is not None and to_us is not None and from_us > to_us:
        valid = f"valid are times up to {names[1]}, which is {as_time(to_us)}"
        raise invalid(where, names[0], as_time(from_us), valid)


def known_query(connection: HTTPConnection) -> None:
    """Refuse parameters of the query that the route does not have.

    Raises:
        ProblemError: There are some: 422.
    """
    known = query_names(connection.scope["route"])
    unknown = [name for name in connection.query_params if name not in known]
    if unknown:
        raise unknown_parameters(unknown, known)


def check_url(guard: Guard, url: str, name: str = "webhookUrl") -> None:
    """Refuse a webhook's URL that can be seen to be wrong; names are resolved to send something.

    Args:
        guard: Says which addresses may be reached.
        url: The URL.
        name: What it is called in the request.

    Raises:
        ProblemError: It is: 422.
    """
    try:
        target = to_target(url)
    except BadInputError as exc:
        shown = "***" if "@" in url else url
        raise invalid("body", name, shown, str(exc).removeprefix("webhookUrl: ")) from exc
    host = target.host.rstrip(".")
    is_literal = ":" in host or host.replace(".", "").isdecimal()
    is_local = host == "localhost" or host.endswith(".localhost")
    literal = "127.0.0.1" if is_local else host
    if (is_literal or is_local) and not guard.may_reach(literal):
        raise invalid(
            "body",
            name,
            url,
            "webhooks may not reach that address; FIVEOBS_WEBHOOK_ALLOWED_NETWORKS says which "
            "private ones they may",
        )
