"""What the tests of the commands that ask a monitor share: ``fiveobs serve``, jobs, a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fiveobs.client import Client, MonitorError
from tests.support.monitors import serve
from tests.support.workers import until

__all__ = ["Served", "command", "served", "step_job", "terminal"]

_ROOT = Path(__file__).resolve().parents[2]
_STEPS = _ROOT / "tests" / "support" / "steps.py"


@dataclass(frozen=True, kw_only=True)
class Served:
    """A home whose monitor runs in a process of its own."""

    url: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """What leads a command here; the token is in the home."""
        return {"FIVEOBS_MONITOR_URL": self.url, "FIVEOBS_HOME": str(self.home)}

    def client(self) -> Client:
        """A client of it."""
        token = (self.home / "monitor" / "token").read_text(encoding="ascii").strip()
        return Client(self.url, token)

    def wait_for(self, job_id: str, status: str) -> None:
        """Wait until a job has a status."""
        with self.client() as client:
            until(
                lambda: _status(client, job_id) == status, timeout_s=20, what=f"{job_id} {status}"
            )


def _status(client: Client, job_id: str) -> str | None:
    with contextlib.suppress(MonitorError):
        return client.progress(job_id).status
    return None


@contextlib.contextmanager
def served(home: Path) -> Iterator[Served]:
    """Run ``fiveobs serve`` with a job that has completed and one that has failed."""
    with serve(home) as url:
        found = Served(url=url, home=home)
        for job_id, last, status in (
            ("steps-completed", "end", "Completed"),
            ("steps-failed", "fail", "Failed"),
        ):
            with step_job(found, job_id) as process:
                process.communicate(f"advance\n{last}\n", timeout=30)
            found.wait_for(job_id, status)
        yield found


@contextlib.contextmanager
def step_job(found: Served, job_id: str) -> Iterator[subprocess.Popen[str]]:
    """A job in a process of its own, which goes on with each line that it is sent."""
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, str(_STEPS), job_id],
        env={**os.environ, **found.environment, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def command(found: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``fiveobs`` as a user does, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "fiveobs", *arguments],
        cwd=_ROOT,
        env={**os.environ, **found.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def terminal(found: Served, *arguments: str, typed: str = "", **variables: str) -> tuple[int, str]:
    """Run ``fiveobs`` in a terminal of 100 columns; its exit code and all that it showed.

    Args:
        found: Where the monitor is.
        arguments: Of the command.
        typed: What is typed before it asks.
        variables: Further ones of its environment.
    """
    near, far = pty.openpty()
    os.write(near, typed.encode())
    process = subprocess.Popen(
        [sys.executable, "-m", "fiveobs", *arguments],
        cwd=_ROOT,
        env={**os.environ, **found.environment, "TERM": "xterm", "COLUMNS": "100", **variables},
        stdin=far,
        stdout=far,
        stderr=far,
    )
    os.close(far)
    shown = b""
    with contextlib.suppress(OSError):  # that is how a terminal says that the other side is gone
        while data := os.read(near, 65_536):
            shown += data
    os.close(near)
    return process.wait(60), shown.decode("utf-8", "replace")
