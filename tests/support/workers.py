"""Runs worker programs as real processes and reads what they left in their home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.support.receivers import ForwardReceiver, OtlpReceiver, Receiver, SentryReceiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PROGRAMS", "Destinations", "events", "run", "start", "until"]

#: Where the worker programs are.
PROGRAMS = Path(__file__).resolve().parents[1] / "acceptance" / "workers"
_ROOT = Path(__file__).resolve().parents[2]
#: A worker that takes longer hangs.
_TIMEOUT_S = 30.0


class Destinations:
    """One receiver for each track that leaves the machine, and the settings that lead there.

    Args:
        protocol: How OTLP travels: ``http`` or ``grpc``.
        mode: How the receivers behave at first.
    """

    def __init__(self, *, protocol: str = "http", mode: Any = "ok") -> None:
        self._protocol = protocol
        self._stack = ExitStack()
        self.otlp = OtlpReceiver(with_grpc=protocol == "grpc", mode=mode)
        self.forward = ForwardReceiver(mode=mode)
        self.sentry = SentryReceiver(mode=mode)

    @property
    def all(self) -> tuple[Receiver, ...]:
        """Every receiver."""
        return self.otlp, self.forward, self.sentry

    def __enter__(self) -> Self:
        for receiver in self.all:
            self._stack.enter_context(receiver)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def set_mode(self, mode: Any) -> None:
        """Have every receiver behave so."""
        for receiver in self.all:
            receiver.mode = mode

    def settings(self) -> dict[str, str]:
        """The variables that send all tracks here."""
        is_grpc = self._protocol == "grpc"
        return {
            "FLUENT_BIT_HOST": self.forward.host,
            "FLUENT_BIT_PORT": str(self.forward.port),
            "OTEL_EXPORTER_OTLP_ENDPOINT": (
                self.otlp.grpc_endpoint if is_grpc else self.otlp.endpoint
            ),
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if is_grpc else "http/protobuf",
            "SENTRY_DSN": self.sentry.dsn,
        }


def start(
    program: str, *args: object, settings: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start a worker program (a file name without ``.py``) with the present environment."""
    command = [sys.executable, str(PROGRAMS / f"{program}.py"), *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), **(settings or {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(command, env=environment, **options)


def run(
    program: str,
    *args: object,
    settings: dict[str, str] | None = None,
    timeout_s: float = _TIMEOUT_S,
    code: int = 0,
) -> list[dict[str, Any]]:
    """Run a worker program to its end and return the JSON lines that it printed.

    Raises:
        AssertionError: It ended with another exit code, or wrote to its standard error.
        subprocess.TimeoutExpired: It did not end.
    """
    with start(program, *args, settings=settings) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            _, err = process.communicate()
            raise AssertionError(f"{program} did not end within {timeout_s} s:\n{err}") from None
    assert process.returncode == code, f"{program} ended with {process.returncode}:\n{err}"
    return [json.loads(line) for line in out.splitlines()]


def events(home: Path, event_type: str | None = None) -> list[dict[str, Any]]:
    """The journal's whole lines, of one type if given; each must be valid JSON."""
    return [
        record
        for record in _records(home)
        if event_type is None or record["event_type"] == event_type
    ]


def _records(home: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((home / "journal").glob("*.log")):
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:  # its process has deleted it meanwhile
            continue
        yield from (json.loads(line) for line in lines if line.endswith(b"\n"))


def until(true: Callable[[], Any], *, timeout_s: float = 30.0, what: str = "it") -> Any:
    """Wait until ``true()`` is so and return its value.

    Raises:
        TimeoutError: It was not so within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := true()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not so within {timeout_s} s")
        time.sleep(0.01)
    return value
