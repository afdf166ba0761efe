"""Receivers in a process of their own, and a handle on them.

For benchmarks, whose figures the receivers' work must not enter, and for faults, where a receiver
must outlive the process under test.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ReceiverProcess"]

_ROOT = Path(__file__).resolve().parents[2]


class ReceiverProcess:
    """Starts ``tests.support.receivers`` and passes commands to it.

    Args:
        names: The receivers to serve; none means all.
        count_only: Store counts instead of contents.
        program: Another module that serves receivers, and its arguments; ``names`` are not passed.
    """

    def __init__(
        self, *names: str, count_only: bool = True, program: Sequence[object] = ()
    ) -> None:
        chosen = [f"--{name.replace('_', '-')}" for name in names] or ["--all"]
        options = ["--json", *chosen, *(["--count-only"] if count_only else [])]
        module_and_options = program or ("tests.support.receivers", *options)
        self._command = [sys.executable, "-m", *map(str, module_and_options)]
        self._process: subprocess.Popen[str] | None = None
        #: Per receiver: ``endpoint``, ``host``, ``port``, and ``dsn`` or ``grpc_endpoint``.
        self.addresses: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.addresses = self._answer()
        return self

    def __exit__(self, *exc_info: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.communicate()  # closes its standard input, which ends it
        process.wait(timeout=10.0)

    def kill(self) -> None:
        """End the process by SIGKILL; entering the context again starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def wait(self, timeout_s: float) -> int:
        """Wait until the process has ended by itself; its exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def command(self, **command: Any) -> dict[str, Any]:
        """Send one command and return its answer.

        Raises:
            RuntimeError: The command failed there, or the process is gone.
        """
        if self._process is None or self._process.stdin is None:
            msg = "the receivers are not running"
            raise RuntimeError(msg)
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def counts(self) -> dict[str, dict[str, Any]]:
        """What each receiver has counted."""
        return self.command(counts=True)

    def set_mode(self, mode: str, **settings: Any) -> None:
        """Set the mode of all receivers, or of the one named by ``receiver=``."""
        self.command(set_mode=mode, **settings)

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            msg = f"the receivers ended with {self._process.wait()}"
            raise RuntimeError(msg)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer
