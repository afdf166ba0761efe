"""A worker process that does what a test tells it, under the specification's environment block."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

from tests.peers.harness.collector import CONFIG_FOLDER, Collector
from tests.peers.harness.program import HOST

__all__ = ["Worker", "spec_block", "to_collector"]

_ROOT = CONFIG_FOLDER.parent
_PROGRAM = _ROOT / "tests" / "peers" / "workers" / "told.py"
#: What a program needs of this process's environment.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")


def spec_block() -> dict[str, str]:
    """The specification's variables as ``.env.example`` has them: its part up to production."""
    text = (CONFIG_FOLDER / ".env.example").read_text(encoding="utf-8")
    block = text.partition("# --- production")[0]
    lines = (line for line in block.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def to_collector(collector: Collector, *, protocol: str = "http") -> dict[str, str]:
    """The block with this Collector in it; errors, which it does not take, are sent nowhere."""
    endpoint = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    return spec_block() | {
        "FLUENT_BIT_HOST": HOST,
        "FLUENT_BIT_PORT": str(collector.forward_port),
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "METRICS_COLLECTION_INTERVAL": "1s",
        "SENTRY_DSN": "",
        # For a busy machine: what is tested is what arrives, not how soon.
        "FIVEOBS_SHUTDOWN_TIMEOUT": "60s",
    }


class Worker:
    """``workers/told.py``, with its home in a folder and nothing but these settings.

    Args:
        home: Its ``FIVEOBS_HOME``.
        settings: Its environment beside what any program needs.
    """

    def __init__(self, home: Path, settings: dict[str, str]) -> None:
        self.home = home
        self._environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self._environment |= {"PYTHONPATH": str(_ROOT), "FIVEOBS_HOME": str(home), **settings}
        self._errors_path = home.parent / f"{home.name}.stderr"
        self._answers: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> Self:
        with self._errors_path.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(_PROGRAM)],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, exc_type: object, *exc_info: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            if exc_type is None:
                self.end()
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._process.stdin.close()
            self._process.stdout.close()

    @property
    def errors(self) -> str:
        """What it wrote to its standard error."""
        return self._errors_path.read_text(encoding="utf-8")

    def tell(self, command: str, *, timeout_s: float = 90.0) -> Any:
        """Have it do something, and return what came of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        try:
            return json.loads(self._answers.get(timeout=timeout_s))
        except (queue.Empty, ValueError):
            raise AssertionError(f"no answer to {command!r}:\n{self.errors}") from None

    def end(self, *, timeout_s: float = 90.0) -> None:
        """Let it end, which sends what is left, and check that it ended well; idempotent."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(timeout_s)
        assert code == 0, f"the worker ended with {code}:\n{self.errors}"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")  # it has ended: wake who waits for an answer
