"""The demo's monitor: ``fiveobs serve`` in a process of its own, asked through the client.

It takes in what the workers write while they work, into a store in the demo's home.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from fiveobs.client import Client

__all__ = ["Monitor"]

#: How long it may take to start, to take in what is left, and to end; in seconds.
START_S, CATCH_UP_S, STOP_S = 30.0, 30.0, 15.0
#: Jobs asked for at once.
_AT_ONCE = 100
_ENDED = frozenset({"Completed", "Failed", "Stopped", "Cancelled", "Interrupted"})
_LISTENS = re.compile(r"listens on (\S+)")
_NEEDED = ("fastapi", "httpx", "sqlalchemy", "uvicorn")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
#: Another monitor's settings are not this one's.
_NOT_OURS = ("FIVEOBS_MONITOR_", "FIVEOBS_STORE_URL", "FIVEOBS_TENANT_ID", "FIVEOBS_PROJECT_ID")


class Monitor:
    """Runs until it is closed; a context manager.

    Args:
        home: The ``FIVEOBS_HOME``; its output goes to ``monitor.log`` there.
    """

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._log_path = home / "monitor.log"
        self._home = home
        # What it says at its first start is an admin's token: for this user alone.
        self._log_path.unlink(missing_ok=True)
        self._log: IO[bytes] = os.fdopen(os.open(self._log_path, _NEW, 0o600), "wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fiveobs", "serve", "--port", "0", "--home", str(home)],
            env={k: v for k, v in os.environ.items() if not k.startswith(_NOT_OURS)},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        #: Where it answers.
        self.url = ""

    @staticmethod
    def is_installed() -> bool:
        """Whether ``fiveobs[monitor]`` is there."""
        return all(importlib.util.find_spec(name) for name in _NEEDED)

    def __enter__(self) -> Self:
        try:
            self.url = self._find_url()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> int:
        """End it; its exit code. May be called again."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            code = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._log.close()
        return code

    def _find_url(self) -> str:
        """Wait for the line that says where it listens."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            found = _LISTENS.search(self._log_path.read_text(encoding="utf-8", errors="replace"))
            if found:
                return found[1]
            time.sleep(0.05)
        said = self._log_path.read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"the monitor has not started:\n{said}")

    def client(self) -> Client:
        """Asks it, with the token in the home, whatever the environment says of another monitor."""
        from fiveobs.client import Client

        token = (self._home / "monitor" / "token").read_text(encoding="ascii").strip()
        return Client(self.url, token)

    def wait_for(self, job_ids: Collection[str]) -> Counter[str]:
        """Wait until all these jobs have ended for the monitor, too; how many in which status."""
        deadline = time.monotonic() + CATCH_UP_S
        counts: Counter[str] = Counter()
        ids = sorted(job_ids)
        with self.client() as client:
            for first in range(0, len(ids), _AT_ONCE):
                some = ids[first : first + _AT_ONCE]
                while True:
                    statuses = Counter(job.status for job in client.jobs(some).jobs)
                    ended = sum(statuses[status] for status in _ENDED)
                    if ended == len(some) or time.monotonic() > deadline:
                        break
                    time.sleep(0.1)
                counts += statuses
        return counts

    def progress(self, job_id: str) -> dict[str, Any]:
        """What the tracking API answers about a job."""
        with self.client() as client:
            return dict(client.progress(job_id).raw)
