"""What Sentry's own normalizer has to say about events: sentry-relay, which is there on Linux only.

Sentry takes every envelope and then runs this over it; what is malformed or unknown to it is taken
out, so a complaint is a defect of the sender's. What it shortens is none.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import mmap
import os
from typing import TYPE_CHECKING, Any

from tests.support.envelopes import parse_envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.support.envelopes import Envelope

__all__ = ["AVAILABLE", "complaints", "complaints_about", "complaints_in_journal"]

#: Whether there is a normalizer here; without it there are no complaints.
AVAILABLE = importlib.util.find_spec("sentry_relay") is not None
#: The kinds of item that it knows; sentry-relay has no function for check-ins.
_NORMALIZED = frozenset({"event", "transaction"})
_ENVELOPE_LINE = b'"event_type":"envelope"'


def complaints(event: dict[str, Any]) -> list[str]:
    """What is wrong with an event or a transaction; nothing if all is well."""
    if not AVAILABLE:
        return []
    from sentry_relay.processing import StoreNormalizer  # costs 0.1 s

    normalizer = StoreNormalizer(project_id=1, protocol_version="7", enable_trimming=True)
    try:
        found = normalizer.normalize_event(event)
    except Exception as exc:  # it refuses the whole event
        return [f"refused: {type(exc).__name__}: {exc}"]
    said = [json.dumps(each, sort_keys=True) for each in found.get("errors") or ()]
    return said + list(_remarks(found.get("_meta") or {}, ()))


def complaints_about(envelopes: Iterable[Envelope]) -> list[str]:
    """What is wrong with the events in envelopes, with the event's id."""
    return [
        f"event {item.payload.get('event_id')}: {each}"
        for envelope in envelopes
        for item in envelope.items
        if item.type in _NORMALIZED
        for each in complaints(item.payload)
    ]


def complaints_in_journal(folder: Path) -> list[str]:
    """What is wrong with the events in the envelopes of a journal's files; cheap if it has none."""
    if not AVAILABLE:
        return []
    found = []
    for path in folder.glob("*.log"):
        with contextlib.suppress(OSError):  # a test has made it unreadable
            found += complaints_about(_envelopes(path))
    return found


def _envelopes(path: Path) -> Iterator[Envelope]:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            at = content.find(_ENVELOPE_LINE)
            while at >= 0:
                end = content.find(b"\n", at)
                start = content.rfind(b"\n", 0, at) + 1
                envelope = _decoded(content[start:end]) if end >= 0 else None
                if envelope is not None:
                    yield envelope
                at = content.find(_ENVELOPE_LINE, end) if end >= 0 else -1


def _decoded(line: bytes) -> Envelope | None:
    """The envelope of one line; nothing if a test has damaged it."""
    try:
        record = json.loads(line)
        if record["event_type"] != "envelope":
            return None  # it only talks of one
        data = record["data"]
        if "envelope" in data:
            return parse_envelope(data["envelope"].encode())
        return parse_envelope(base64.b64decode(data["envelope_base64"]))
    except (ValueError, KeyError, TypeError):
        return None


def _remarks(meta: Any, path: tuple[str, ...]) -> Iterator[str]:
    """The ``err`` entries of ``_meta``, a tree with the event's shape."""
    if not isinstance(meta, dict):
        return
    for key, value in meta.items():
        if key == "" and isinstance(value, dict) and value.get("err"):
            yield f"{'.'.join(path)}: {json.dumps(value['err'])}"
        elif key != "":
            yield from _remarks(value, (*path, key))
