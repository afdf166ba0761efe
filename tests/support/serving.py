"""``fiveobs serve`` as a real process, and what it says when it starts."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx

from tests.support.workers import until

__all__ = ["Serving", "serving"]

_START_S, _END_S = 30.0, 20.0


class Serving:
    """A monitor's process.

    Args:
        process: It, with its output in a pipe.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        #: All that it has printed so far.
        self.said = ""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        # As it is written: what it says in one piece is there as a whole, or not at all.
        while piece := os.read(self.process.stdout.fileno(), 65_536):
            self.said += piece.decode(errors="replace")

    def wait(self) -> None:
        """Until it answers, or has ended."""
        until(
            lambda: "journals" in self.said or self.process.poll() is not None,
            timeout_s=_START_S,
            what="the monitor's start",
        )
        assert self.process.poll() is None, self.said

    @property
    def url(self) -> str:
        """Where it listens."""
        return str(re.search(r"listens on (\S+)", self.said)[1])  # type: ignore[index]

    @property
    def token(self) -> str | None:
        """The first token, if it has made one."""
        found = re.search(r"token +(fiveobs_\S+)", self.said)
        return found[1] if found else None

    def get(self, path: str, token: str | None = None) -> httpx.Response:
        """Ask it."""
        given = token or self.token
        headers = {"Authorization": f"Bearer {given}"} if given else {}
        return httpx.get(self.url + path, headers=headers, timeout=10.0)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=_END_S)


@contextlib.contextmanager
def serving(*arguments: str, ready: bool = True, **variables: str) -> Iterator[Serving]:
    """Run it for as long as the block does.

    Args:
        arguments: After ``fiveobs serve``.
        ready: Wait until it answers.
        variables: More of the environment.
    """
    command = [sys.executable, "-m", "fiveobs", "serve", "--port", "0", *arguments]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, env={**os.environ, **variables}, **options) as process:
        found = Serving(process)
        try:
            if ready:
                found.wait()
            yield found
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
