"""The Forward server of the Node package @fluent-org/logger: acknowledges, shared key, TLS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from tests.peers.harness.node import NodeProgram
from tests.support.certificates import make_certificate

__all__ = ["Certificates", "FluentServer"]

_NS_PER_S = 1_000_000_000


class Certificates(NamedTuple):
    """A certificate that is its own authority, and its key."""

    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Make them in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(*make_certificate(folder))


class FluentServer(NodeProgram):
    """Receives events over the Forward protocol and acknowledges chunks.

    Args:
        folder: Where it keeps what it receives.
        shared_key: The key that clients must know; ``None`` takes anybody.
        tls: Its certificate; ``None`` speaks plain TCP.
    """

    name = "fluent_server"

    def __init__(
        self,
        folder: Path,
        *,
        shared_key: str | None = None,
        tls: Certificates | None = None,
    ) -> None:
        super().__init__(folder)
        #: May be changed while the server does not run.
        self.shared_key = shared_key
        self._tls = tls
        self._starts = 0

    def settings(self) -> dict[str, Any]:
        """The shared key and the certificate."""
        if self._tls is None:
            return {"sharedKey": self.shared_key}
        files = {name: str(path) for name, path in self._tls._asdict().items()}
        return {"sharedKey": self.shared_key, **files}

    def command(self) -> list[str]:
        """As for every script; one more line in the log will say that it listens."""
        self._starts += 1
        return super().command()

    def is_ready(self) -> bool:
        """It has said so; a connection to try it would be one that it has to get rid of."""
        return self._log_path.read_bytes().count(b"listening\n") == self._starts

    @property
    def records(self) -> list[tuple[str, int, dict[str, Any]]]:
        """The tag, the time in nanoseconds and the record of every entry, in order."""
        return [_entry(json.loads(line)) for line in self._lines()]


def _entry(line: dict[str, Any]) -> tuple[str, int, dict[str, Any]]:
    at = line["at"]
    return line["tag"], int(at["seconds"] * _NS_PER_S) + at.get("ns", 0), line["record"]
