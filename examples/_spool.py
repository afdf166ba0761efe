"""The queue between ``producer.py`` and ``consumer.py``: a directory, or Redis.

A message is one JSON file. ``put`` writes it under another name and renames it, so that nobody
sees half of it; ``take`` renames it away, which only one of many consumers can do. With
``REDIS_URL`` set and the ``redis`` package installed, a Redis list is used instead.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Queue", "default_folder", "open_queue"]

_KEY = "fiveobs-example"


class Queue(Protocol):
    """What both kinds of queue can do."""

    def put(self, message: dict[str, Any]) -> None:
        """Append a message."""

    def take(self) -> dict[str, Any] | None:
        """The oldest message, or ``None`` if there is none."""

    def size(self) -> int:
        """How many messages wait."""


class DirectoryQueue:
    """A queue of files in a folder, for any number of processes on one machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, message: dict[str, Any]) -> None:
        """Append a message."""
        name = f"{time.time_ns()}-{os.getpid()}"
        written = self._folder / f"{name}.tmp"
        written.write_text(json.dumps(message))
        written.rename(self._folder / f"{name}.json")

    def take(self) -> dict[str, Any] | None:
        """The oldest message, or ``None`` if there is none."""
        for path in sorted(self._folder.glob("*.json")):
            taken = path.with_suffix(f".{os.getpid()}")
            try:
                path.rename(taken)
            except FileNotFoundError:
                continue  # another consumer was faster
            message: dict[str, Any] = json.loads(taken.read_text())
            taken.unlink()
            return message
        return None

    def size(self) -> int:
        """How many messages wait."""
        return sum(1 for _ in self._folder.glob("*.json"))


class RedisQueue:
    """A queue in a Redis list, for any number of machines."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def put(self, message: dict[str, Any]) -> None:
        """Append a message."""
        self._client.lpush(_KEY, json.dumps(message))

    def take(self) -> dict[str, Any] | None:
        """The oldest message, or ``None`` if there is none."""
        found = self._client.rpop(_KEY)
        return None if found is None else json.loads(found)

    def size(self) -> int:
        """How many messages wait."""
        return int(self._client.llen(_KEY))


def default_folder() -> Path:
    """The same folder for the producer and the consumers of one user."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir()) / f"fiveobs-example-queue-{user}"


def open_queue(folder: Path) -> Queue:
    """The queue that the environment asks for; the folder's unless it names a Redis."""
    url = os.environ.get("REDIS_URL")
    if not url:
        return DirectoryQueue(folder)
    try:
        redis = importlib.import_module("redis")
    except ImportError:
        print("REDIS_URL is set, but the redis package is not installed: using a folder instead")
        return DirectoryQueue(folder)
    return RedisQueue(redis.Redis.from_url(url))
