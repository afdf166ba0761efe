"""A Sentry ingest endpoint: takes envelopes and takes them apart."""

from __future__ import annotations

import json
from typing import Any

from tests.support.base import HOST, Mode
from tests.support.envelopes import Envelope, Item, parse_envelope
from tests.support.normalizer import complaints_about
from tests.support.web import Answer, HttpReceiver, Request

__all__ = ["Envelope", "Item", "SentryReceiver", "parse_envelope"]


class SentryReceiver(HttpReceiver):
    """Receives ``POST /api/<project>/envelope/``.

    ``envelopes`` holds them whole, ``items`` every item of each, ``events`` the payloads of the
    items of type ``event``. Each must be one that Sentry takes as it is: a receiver that has been
    sent another fails when it is stopped.
    """

    name = "sentry"

    def __init__(self, *, public_key: str = "public", project: str = "1", **options: Any) -> None:
        super().__init__(**options)
        self.public_key = public_key
        self.project = project
        self.envelopes: list[Envelope] = []
        self._unjudged: list[Envelope] = []

    def stop(self) -> None:
        """Stop, and judge what came in since the start.

        Raises:
            AssertionError: Sentry's own normalizer finds fault with an event.
        """
        super().stop()
        self._judge()

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        super().stop()
        if kind is None:  # what has already failed says more
            self._judge()

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
                self._unjudged.append(envelope)
        return Answer(body=json.dumps({"id": envelope.headers.get("event_id")}).encode())

    def _judge(self) -> None:
        unjudged, self._unjudged = self._unjudged, []
        found = complaints_about(unjudged)
        if found:
            raise AssertionError("\n".join(["Sentry would complain:", *found]))

    def _refusal(self, mode: Mode) -> Answer | None:
        refusal = super()._refusal(mode)
        if refusal is not None and mode == "throttle":
            refusal.headers["X-Sentry-Rate-Limits"] = f"{self.retry_after_s}::organization"
        return refusal
