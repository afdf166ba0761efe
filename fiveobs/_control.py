"""How a running job is asked to stop, pause or go on: a small file in ``FIVEOBS_HOME/control``.

The monitor writes it; ``Job.checkpoint()`` reads it. A file works across processes and containers
that share the folder, and survives a restart of either side.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Action = Literal["stop", "pause", "resume"]

_ACTIONS = ("stop", "pause", "resume")


def request(home: Path, job_id: str, action: Action, *, by: str = "") -> None:
    """Ask a job for something; the latest request stands.

    Args:
        home: ``FIVEOBS_HOME`` of the worker.
        job_id: Which job.
        action: What it should do at its next checkpoint.
        by: Who asks, for the event.

    Raises:
        OSError: The folder cannot be written.
    """
    import json

    path = _path(home, job_id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
    temporary.write_text(json.dumps({"job_id": job_id, "action": action, "by": by}))
    temporary.replace(path)


def requested(home: Path, job_id: str) -> Action | None:
    """What was last asked of the job; ``None`` if nothing was."""
    import json

    try:
        content = json.loads(_path(home, job_id).read_bytes())
    except (OSError, ValueError):
        return None
    action = content.get("action") if isinstance(content, dict) else None
    return action if action in _ACTIONS else None


def clear(home: Path, job_id: str) -> None:
    """Forget what was asked: the job has ended."""
    with contextlib.suppress(OSError):
        _path(home, job_id).unlink()


def _path(home: Path, job_id: str) -> Path:
    import hashlib

    name = hashlib.sha256(job_id.encode("utf-8", "replace")).hexdigest()[:32]
    return home / "control" / f"{name}.json"
