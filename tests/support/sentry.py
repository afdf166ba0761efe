"""A Sentry ingest endpoint: takes envelopes and takes them apart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.support.base import HOST, Mode
from tests.support.web import Answer, HttpReceiver, Request

__all__ = ["Envelope", "Item", "SentryReceiver", "parse_envelope"]

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


class SentryReceiver(HttpReceiver):
    """Receives ``POST /api/<project>/envelope/``.

    ``envelopes`` holds them whole, ``items`` every item of each, ``events`` the payloads of the
    items of type ``event``.
    """

    name = "sentry"

    def __init__(self, *, public_key: str = "public", project: str = "1", **options: Any) -> None:
        super().__init__(**options)
        self.public_key = public_key
        self.project = project
        self.envelopes: list[Envelope] = []

    @property
    def dsn(self) -> str:
        """The DSN to give to a client."""
        scheme = self.endpoint.partition(":")[0]
        return f"{scheme}://{self.public_key}@{HOST}:{self.port}/{self.project}"

    @property
    def items(self) -> list[Item]:
        """Every item of every envelope, in order."""
        return [item for envelope in list(self.envelopes) for item in envelope.items]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The payloads of the items of type ``event``, in order."""
        return [item.payload for item in self.items if item.type == "event"]

    def describe(self) -> dict[str, Any]:
        """Where this receiver listens, for a caller in another process."""
        return {**super().describe(), "dsn": self.dsn}

    def _forget(self) -> None:
        super()._forget()
        self.envelopes.clear()

    def _receive(self, request: Request) -> Answer:
        parts = request.path.partition("?")[0].strip("/").split("/")
        if (
            request.method != "POST"
            or len(parts) != 3
            or (parts[0], parts[2])
            != (
                "api",
                "envelope",
            )
        ):
            return Answer(status=404, body=b"{}")
        envelope = parse_envelope(request.body, project=parts[1])
        with self._storing():
            self.counts["envelopes"] += 1
            for item in envelope.items:
                self.counts["items"] += 1
                self.counts[f"items.{item.type}"] += 1
            if not self.count_only:
                self.envelopes.append(envelope)
        return Answer(body=json.dumps({"id": envelope.headers.get("event_id")}).encode())

    def _refusal(self, mode: Mode) -> Answer | None:
        refusal = super()._refusal(mode)
        if refusal is not None and mode == "throttle":
            refusal.headers["X-Sentry-Rate-Limits"] = f"{self.retry_after_s}::organization"
        return refusal


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
