"""Workers that die when they are told to (`tests.support.dying`)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Worker"]

_ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """A worker that dies when told to."""

    def __init__(
        self,
        home: Path,
        ending: str,
        count: int = 1,
        *,
        prefix: Sequence[str] = (),
        **environment: str,
    ) -> None:
        command = [*prefix, sys.executable, "-m", "tests.support.dying", ending, str(count)]
        self.process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env={**os.environ, "FIVEOBS_HOME": str(home), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        #: Asks for the exit status at once, as a supervisor does.
        self._reaping = threading.Thread(target=self.process.wait, daemon=True)
        self._reaping.start()
        assert self.process.stdout is not None
        #: The innermost job.
        self.job_id = self.process.stdout.readline().strip()

    def go(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("\n")
            self.process.stdin.flush()

    def end(self) -> None:
        """Be sure that nothing is left of it."""
        self.process.kill()
        self._reaping.join(20)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
