"""What a monitor keeps on its machine: that it alone serves a store, its address, its first token.

Whoever can read these files can also read the journals and the store beside them, and make tokens
with ``fiveobs token create``: they give nobody more than they have.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from fiveobs.exceptions import ConfigError
from fiveobs.journal.locks import StemLock, holder_pid
from fiveobs.monitor.settings import MonitorSettings
from fiveobs.monitor.store.engine import sqlite_path

__all__ = ["announced", "served_alone", "write_private"]


@contextlib.contextmanager
def served_alone(store_url: str) -> Iterator[None]:
    """Be the only monitor of a file of SQLite's; PostgreSQL is for several.

    Two would send every webhook twice, and each would think that the other's jobs are its own.

    Raises:
        ConfigError: Another one serves it.
    """
    store = sqlite_path(store_url)
    if store is None:
        yield
        return
    path = store.with_name(f"{store.name}.lock")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = StemLock(path)
    if not lock.acquire(create=True):
        raise ConfigError(_why_not(store, path))
    try:
        yield
    finally:
        lock.release(remove=True)


def _why_not(store: Path, path: Path) -> str:
    pid = None
    with contextlib.suppress(OSError):
        pid = holder_pid(path)
    if pid is None:
        return f"the store {store} cannot be kept from other monitors: {path} cannot be locked"
    who = f"process {pid}" if pid else "another machine's or container's"
    return (
        f"the store {store} is served by another monitor ({who}, which holds {path}): stop that"
        " one, give this one another --store-url or --home, or use PostgreSQL, which several share"
    )


@contextlib.contextmanager
def announced(settings: MonitorSettings, url: str) -> Iterator[None]:
    """Have ``fiveobs jobs`` on this machine find the monitor of this home, while it runs."""
    if not settings.is_homes_store:
        yield
        return
    write_private(settings.url_file, url)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            settings.url_file.unlink()


def write_private(path: Path, text: str) -> None:
    """Write a line where only this user can read it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()  # another's rights must not stay on it
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)
