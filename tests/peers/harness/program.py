"""A real program in a process of its own, on loopback ports that nobody else takes."""

from __future__ import annotations

import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, Self, TypeVar

import pytest

from tests.support.ci import in_ci
from tests.support.ports import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CACHE", "HOST", "Program", "absent", "answers", "fetch", "free_port", "until"]

T = TypeVar("T")
#: What is built or installed for the tests once and kept: outside the checkout.
CACHE = Path(os.environ.get("FIVEOBS_TEST_CACHE") or Path.home() / ".cache" / "fiveobs")
#: What programs say when another one listens on their port.
_TAKEN = re.compile("address already in use|EADDRINUSE|address in use", re.IGNORECASE)
#: How much of a program's output goes into a failure's message.
_TAIL_CHARS = 4_000


def absent(program: str, remedy: str) -> None:
    """Skip the test because a program is not there; in CI (``CI=true``) fail it.

    Args:
        program: What is missing.
        remedy: The command that gets it.
    """
    message = f"{program} is not here: {remedy}"
    if in_ci():
        pytest.fail(message)
    pytest.skip(message)


def fetch(url: str, *, accept: str = "*/*", timeout_s: float = 5.0) -> str:
    """GET the address and return its text.

    Raises:
        OSError: There is no answer, or one that is no success.
    """
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        return str(answer.read().decode("utf-8", "replace"))


def answers(url: str) -> bool:
    """Whether a GET of the address succeeds."""
    try:
        fetch(url, timeout_s=1.0)
    except (OSError, ValueError):
        return False
    return True


def until(true: Callable[[], T], *, timeout_s: float = 30.0, what: str = "it") -> T:
    """Wait until ``true()`` is so and return its value.

    Raises:
        TimeoutError: It was not so within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := true()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not so within {timeout_s} s; last: {value!r}")
        time.sleep(0.02)
    return value


class Program:
    """One program; subclasses say what to run and when it is ready.

    A program that was stopped or killed can be started again: ports and files stay the same.

    Args:
        folder: Where it keeps its files; its output goes to ``<name>.log`` there.
    """

    name: ClassVar[str]
    start_timeout_s: ClassVar[float] = 30.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log_path = folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    # -- what a subclass says

    def command(self) -> list[str]:
        """The command line. Calls `absent` if the program is not installed."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Variables to set for it."""
        return {}

    def is_ready(self) -> bool:
        """Whether it takes what is sent to it."""
        raise NotImplementedError

    # -- what a test uses

    def start(self) -> Self:
        """Start it and wait until it is ready; again, if it says that its port is taken."""
        command = self.command()
        self.folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self.start_timeout_s
        while not self._comes_up(command, deadline):
            time.sleep(0.1)
        return self

    def stop(self, *, timeout_s: float = 20.0) -> None:
        """Ask it to end, by SIGTERM to its process id, and wait; idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(
                f"{self.name} did not end within {timeout_s} s:\n{self.output}"
            ) from None

    def kill(self) -> None:
        """End it at once, by SIGKILL to its process id; idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    @property
    def output(self) -> str:
        """The end of what it printed."""
        text = self._log_path.read_text(errors="replace") if self._log_path.exists() else ""
        return text[-_TAIL_CHARS:]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _comes_up(self, command: list[str], deadline: float) -> bool:
        """Whether it is ready; false if its port was taken and there is time to try again."""
        with self._log_path.open("ab") as log:
            before = log.tell()
            self._process = process = self._spawn(command, log)
        while True:
            is_ready, code = self.is_ready(), process.poll()
            if code is not None:  # and what seemed ready was somebody else
                self._process = None
                said = self._log_path.read_bytes()[before:].decode(errors="replace")
                if _TAKEN.search(said) and time.monotonic() < deadline:
                    return False
                raise AssertionError(f"{self.name} ended with {code}:\n{self.output}")
            if is_ready:
                return True
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self.name} was not ready in time:\n{self.output}")
            time.sleep(0.02)

    def _spawn(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, **self.environment()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
