"""Carries a job's ids between processes, in W3C headers.

Writes ``traceparent`` and ``baggage`` (and passes ``tracestate`` on); reads them from whatever a
queue or a web framework hands over. What is malformed, too large or not on the list is left out:
a hostile carrier can neither raise nor add labels of its own.

Sources: W3C Trace Context (level 1), W3C Baggage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from fiveobs._ids import MAX_NAME_LENGTH, clean_id, clean_text
from fiveobs._report import report

#: Lower case only. Version 00 ends after the flags; later ones may go on after a dash.
_TRACEPARENT = re.compile(
    r"(?:00(?=.{53}$)|(?!00|ff)[0-9a-f]{2})"
    r"-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
#: A member of tracestate, and how many there may be.
_STATE = re.compile(
    r"(?:[a-z0-9][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
)
_MAX_STATES = 32
_PREFIX = "fiveobs."
#: Longest header that is read, in characters: what W3C Baggage asks everyone to pass on.
_MAX_HEADER_LENGTH = 8192
_MAX_TRACESTATE_LENGTH = 512
#: Most headers that are looked at.
_MAX_HEADERS = 1000
#: Most values of one header that are looked at, and the longest name of one.
_MAX_VALUES = 64
_MAX_NAME_BYTES = 64
_HEADERS = frozenset(("traceparent", "tracestate", "baggage"))


class Link(NamedTuple):
    """What a carrier said; ``None`` for what it did not say."""

    trace_id: str | None = None
    #: The sender's span.
    span_id: str | None = None
    sampled: bool = False
    tracestate: str = ""
    job_id: str | None = None
    #: The job on whose account it is started, where that one runs elsewhere.
    parent_job_id: str | None = None
    session_id: str | None = None
    request_id: str | None = None
    attempt: int | None = None
    queue: str | None = None
    #: When the job was announced, nanoseconds since 1970.
    queued_at_ns: int | None = None
    #: A span id that is only there because a traceparent needs one: no span has it.
    placeholder: str | None = None

    @property
    def parent_span_id(self) -> str | None:
        """The span to be a child of; a job announced outside any span begins its trace itself."""
        return None if self.span_id == self.placeholder else self.span_id


def write_carrier(link: Link) -> dict[str, str]:
    """The headers to send; absent ids are left out."""
    from urllib.parse import quote

    headers = {}
    if link.trace_id and link.span_id:
        headers["traceparent"] = f"00-{link.trace_id}-{link.span_id}-{link.sampled:02x}"
        if link.tracestate:
            headers["tracestate"] = link.tracestate
    members = {
        "job_id": link.job_id,
        "parent_job_id": link.parent_job_id,
        "session_id": link.session_id,
        "request_id": link.request_id,
        "attempt": link.attempt,
        "queue": link.queue,
        "queued_at_ns": link.queued_at_ns,
        "placeholder": link.placeholder,
    }
    baggage = [
        f"{_PREFIX}{key}={quote(str(value), safe='')}"
        for key, value in members.items()
        if value is not None
    ]
    if baggage:
        headers["baggage"] = ",".join(baggage)
    return headers


def read_carrier(carrier: object) -> Link:
    """Read what ``write_carrier`` wrote, from a mapping or pairs. Never raises.

    Names may be of any case, names and values ``str`` or ``bytes`` (as Kafka and ASGI have them).
    """
    try:
        headers = _headers(carrier)
        link = _read_traceparent(headers.get("traceparent", ""))
        if link.trace_id:
            link = link._replace(tracestate=_read_tracestate(headers.get("tracestate", "")))
        return _read_baggage(link, headers.get("baggage", ""))
    except Exception as exc:
        report("carrier", f"cannot be read and is ignored: {type(exc).__name__}: {exc}")
        return Link()


def _headers(carrier: object) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for pair in islice(_pairs(carrier), _MAX_HEADERS):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            continue
        name = _name(pair[0])
        if name in _HEADERS:
            # Some frameworks keep a list for each header, others repeat it.
            values = pair[1] if isinstance(pair[1], list | tuple) else (pair[1],)
            texts = [_text(value, _MAX_HEADER_LENGTH) for value in values[:_MAX_VALUES]]
            found.setdefault(name, []).extend(text for text in texts if text)
    # As RFC 9110 joins them; two different traceparents make one that is malformed, as W3C asks.
    return {name: ",".join(dict.fromkeys(texts)) for name, texts in found.items()}


def _pairs(carrier: object) -> Iterable[object]:
    """The carrier's headers: of a mapping, of whatever else has ``items()``, or pairs."""
    if carrier is None:
        return ()
    items = getattr(carrier, "items", None)
    if callable(items):
        pairs: Iterable[object] = items()
        return pairs
    if isinstance(carrier, Iterable) and not isinstance(carrier, str | bytes):
        return carrier
    report("carrier", f"a {type(carrier).__name__} is no carrier: pass a mapping of headers")
    return ()


def _name(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        value = bytes(value[:_MAX_NAME_BYTES]).decode("latin-1")
    return value.strip().lower() if type(value) is str and len(value) <= _MAX_NAME_BYTES else ""


def _text(value: object, limit: int) -> str:
    """The value as text; empty if it is none or too long."""
    if isinstance(value, bytes | bytearray | memoryview):
        value = bytes(value[: limit + 1]).decode("latin-1")
    if not isinstance(value, str):
        return ""
    if len(value) > limit:
        report("carrier", f"a header of more than {limit} characters is ignored")
        return ""
    return value.strip()


def _read_traceparent(header: str) -> Link:
    match = _TRACEPARENT.fullmatch(header)
    if match is None:
        if header:
            report("carrier", f"traceparent {header[:60]!r} is malformed: a new trace is begun")
        return Link()
    return Link(match[1], match[2], sampled=bool(int(match[3], 16) & 1))


def _read_tracestate(header: str) -> str:
    """The header to pass on; empty if it is not as W3C wants it."""
    members = [member for each in header.split(",") if (member := each.strip(" \t"))]
    valid = len(members) <= _MAX_STATES and all(map(_STATE.fullmatch, members))
    state = ",".join(members)
    return state if valid and len(state) <= _MAX_TRACESTATE_LENGTH else ""


def _read_baggage(link: Link, header: str) -> Link:
    from urllib.parse import unquote

    found: dict[str, str] = {}
    for member in header.split(","):
        key, _, value = member.partition(";")[0].partition("=")
        key = key.strip()
        if key.startswith(_PREFIX):
            found[key.removeprefix(_PREFIX)] = unquote(value.strip())
    return link._replace(
        job_id=clean_id(found.get("job_id", "")),
        parent_job_id=clean_id(found.get("parent_job_id", "")),
        session_id=clean_id(found.get("session_id", "")),
        request_id=clean_id(found.get("request_id", "")),
        attempt=_number(found.get("attempt"), 1, 1_000_000),
        queue=clean_text(found.get("queue", ""), MAX_NAME_LENGTH) or None,
        queued_at_ns=_number(found.get("queued_at_ns"), 1, 1 << 62),
        placeholder=clean_id(found.get("placeholder", "")),
    )


def _number(text: str | None, low: int, high: int) -> int | None:
    if not text or len(text) > 20 or not text.isdecimal() or not text.isascii():
        return None
    value = int(text)
    return value if low <= value <= high else None
