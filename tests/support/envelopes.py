"""Sentry's envelopes, taken apart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Envelope", "Item", "parse_envelope"]

_BINARY_TYPES = frozenset({"attachment", "replay_recording", "replay_video"})


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item of an envelope; ``payload`` is parsed JSON, or bytes where it is not JSON."""

    type: str
    headers: dict[str, Any]
    payload: Any


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """One envelope and the project it was sent to."""

    project: str
    headers: dict[str, Any]
    items: tuple[Item, ...]


def parse_envelope(body: bytes, *, project: str = "") -> Envelope:
    """Take an envelope apart.

    Source: https://develop.sentry.dev/sdk/data-model/envelopes/

    Raises:
        ValueError: The bytes are not an envelope.
    """
    header_line, _, rest = body.partition(b"\n")
    items = []
    while rest.strip():
        item, rest = _next_item(rest.lstrip(b"\n"))
        items.append(item)
    return Envelope(project=project, headers=json.loads(header_line), items=tuple(items))


def _next_item(rest: bytes) -> tuple[Item, bytes]:
    header_line, _, rest = rest.partition(b"\n")
    headers = json.loads(header_line)
    length = headers.get("length")
    if length is None:
        raw, _, rest = rest.partition(b"\n")
    elif len(rest) < length:
        msg = f"an item of {length} bytes has {len(rest)}"
        raise ValueError(msg)
    else:
        raw, rest = rest[:length], rest[length:]
    payload = raw if headers["type"] in _BINARY_TYPES else json.loads(raw)
    return Item(type=headers["type"], headers=headers, payload=payload), rest
