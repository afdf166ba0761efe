"""Real monitors for tests: the application over HTTP in this process, or ``fiveobs serve``."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from fiveobs.monitor.access import create_token
from fiveobs.monitor.api.app import create_app
from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.settings import load_settings
from fiveobs.monitor.store.engine import Store, sqlite_path
from fiveobs.monitor.tracker import Tracker
from tests.support import tracked_jobs
from tests.support.stores import open_sqlite
from tests.support.workers import until

__all__ = ["Monitor", "monitor", "serve", "served", "serving_app"]

_ROOT = Path(__file__).resolve().parents[2]
_LISTENS = re.compile(r"listens on (\S+)")


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """A monitor that runs."""

    url: str
    #: An admin's.
    token: str
    home: Path
    store: Store
    app: Any

    def ingest(self) -> None:
        """Take what the journals of its home hold."""
        problems: list[str] = []
        folder = self.home / "journal"
        ingester = Ingester(self.store, folder, report=lambda cause, text: problems.append(text))
        while ingester.step():
            pass
        assert problems == []

    def token_of(self, role: str, **scope: str) -> str:
        """Another token."""
        return create_token(self.store, name=role, role=role, **scope).token

    @property
    def environment(self) -> dict[str, str]:
        """What leads a client here."""
        return {"FIVEOBS_MONITOR_URL": self.url, "FIVEOBS_MONITOR_TOKEN": self.token}


@contextlib.contextmanager
def monitor(home: Path, *, port: int = 0, at_tracked_time: bool = False) -> Iterator[Monitor]:
    """Serve the store of a home; nothing is taken in by itself.

    Args:
        home: The ``FIVEOBS_HOME``.
        port: The port; 0 takes a free one.
        at_tracked_time: It thinks that it is the moment that `tracked_jobs` tells of.
    """
    settings = load_settings({}, home=str(home))
    path = sqlite_path(settings.store_url)
    assert path is not None
    store = open_sqlite(path)
    app = create_app(store, settings)
    if at_tracked_time:
        app.state.tracker = Tracker(store, now=tracked_jobs.now_s)
    token = create_token(store, name="test", role="admin").token
    try:
        with served(app, port) as url:
            yield Monitor(url=url, token=token, home=home, store=store, app=app)
    finally:
        store.close()


@contextlib.contextmanager
def served(app: Any, port: int = 0) -> Iterator[str]:
    """Serve an application over HTTP; where it listens."""
    with serving_app(app, port) as (host, taken):
        yield f"http://{host}:{taken}"


@contextlib.contextmanager
def serving_app(app: Any, port: int = 0, **options: Any) -> Iterator[tuple[str, int]]:
    """Serve an application; its address.

    Args:
        app: The application.
        port: The port; 0 takes a free one.
        options: Of uvicorn.
    """
    listening = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive(), what="the monitor's start")
        yield "127.0.0.1", listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()
        assert not thread.is_alive()


@contextlib.contextmanager
def serve(home: Path, *arguments: str) -> Iterator[str]:
    """Run ``fiveobs serve`` for a home and give its address; it must end well.

    Its first token is in the home, where a client on this machine finds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    log = home / "serve.log"
    command = [sys.executable, "-m", "fiveobs", "serve", "--port", "0", "--home", str(home)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=_ROOT,
            env={**os.environ, "FIVEOBS_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield until(lambda: _address(process, log), timeout_s=30, what="the monitor's start")
    finally:
        process.terminate()
        try:
            code = process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    assert code == 0, log.read_text(encoding="utf-8")


def _address(process: subprocess.Popen[bytes], log: Path) -> str | None:
    said = log.read_text(encoding="utf-8")
    assert process.poll() is None, said
    found = _LISTENS.search(said)
    return found[1] if found else None
