"""Spotlight, Sentry's own receiver for local development."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.peers.harness.node import NodeProgram
from tests.peers.harness.program import HOST, answers
from tests.support.sentry import Envelope, Item, parse_envelope

__all__ = ["Spotlight"]


class Spotlight(NodeProgram):
    """Takes envelopes as Sentry would, and keeps them; it does not judge them."""

    name = "spotlight"
    #: It loads much, and a machine that runs tests is busy.
    start_timeout_s = 90.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._forgotten = 0

    def clear(self) -> None:
        """Forget what came in."""
        self._forgotten = len(self._lines())

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://{HOST}:{self.port}"

    @property
    def dsn(self) -> str:
        """The DSN to give to a client."""
        return f"http://public@{HOST}:{self.port}/1"

    def is_ready(self) -> bool:
        """Whether it says that it is well."""
        return answers(f"{self.url}/health")

    @property
    def envelopes(self) -> list[Envelope]:
        """Every envelope that came in, also before it was killed, in order."""
        lines = self._lines()[self._forgotten :]
        return [parse_envelope(base64.b64decode(line)) for line in lines]

    @property
    def items(self) -> list[Item]:
        """Every item of every envelope, in order."""
        return [item for envelope in self.envelopes for item in envelope.items]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The payloads of the items of type ``event``, in order."""
        return [item.payload for item in self.items if item.type == "event"]

    def shown(self, *, timeout_s: float = 20.0) -> list[dict[str, Any]]:
        """The payloads of what came in, as it shows them to its pages; not if it was killed.

        Args:
            timeout_s: How long to wait for each envelope.
        """
        wanted = len(self._lines())
        found: list[Any] = []
        with urllib.request.urlopen(f"{self.url}/stream", timeout=timeout_s) as stream:
            while len(found) < wanted:
                line = stream.readline()
                if line.startswith(b"data:") and line.strip() != b"data:":
                    found.append(json.loads(line.removeprefix(b"data:")))
        return [payload for _, items in found[self._forgotten :] for _, payload in items]
