"""How a running job is asked to stop, pause or go on: a small file in ``FIVEOBS_HOME/control``.

The monitor writes it; ``Job.checkpoint()`` reads it. A file works across processes and containers
that share the folder, and survives a restart of either side.

A request is for one attempt at a job of one project, and for one run of it where that is known (its
span): ids of jobs repeat between projects, and what was asked of one attempt is not meant for the
next.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

Action = Literal["stop", "pause", "resume"]

_ACTIONS = ("stop", "pause", "resume")
_FOLDER = "control"
_STANDING = "standing"
#: Where jobs belong whose process names no tenant and no project.
_DEFAULT = "default"


class Run(NamedTuple):
    """Which run of a job is meant; what is ``None`` is any."""

    job_id: str
    tenant_id: str = _DEFAULT
    project_id: str = _DEFAULT
    attempt: int | None = None
    #: The span of the run.
    span_id: str | None = None


class Request(NamedTuple):
    """What was last asked of a job."""

    action: Action
    run: Run
    #: Who asks, and why; for the job's events.
    by: str = ""
    reason: str = ""
    #: What else the asking side wants to know again.
    notes: Mapping[str, Any] = {}

    @property
    def is_standing(self) -> bool:
        """Whether it is for later runs, too: until the job has completed, or it is taken back."""
        return bool(self.notes.get(_STANDING))


def run_of(resource: Mapping[str, Any], job_id: str, attempt: int, span_id: str) -> Run:
    """A run in a process with these resource attributes, which name its tenant and project."""
    return Run(
        job_id,
        str(resource.get("fiveobs.tenant.id") or _DEFAULT),
        str(resource.get("fiveobs.project.id") or _DEFAULT),
        attempt,
        span_id or None,
    )


def request(
    home: Path,
    run: Run | str,
    action: Action,
    *,
    by: str = "",
    reason: str = "",
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Ask a job for something; the latest request stands.

    Args:
        home: ``FIVEOBS_HOME`` of the worker.
        run: Which job, and which run of it; an id alone means any run of the default project's.
        action: What it should do at its next checkpoint.
        by: Who asks, for the event.
        reason: Why, for the event.
        notes: Kept with the request, for `pending`.

    Raises:
        OSError: The folder cannot be written.
    """
    import json

    run = Run(run) if isinstance(run, str) else run
    path = _path(home, run)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
    content = {**run._asdict(), "action": action, "by": by, "reason": reason}
    content["notes"] = dict(notes or {})
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def requested(home: Path, run: Run | str) -> Request | None:
    """What was last asked of this run of the job; ``None`` if nothing was."""
    run = Run(run) if isinstance(run, str) else run
    found = _read(_path(home, run))
    if found is None or found.run[:3] != run[:3]:
        return None
    meant = found.run
    for asked, present in ((meant.attempt, run.attempt), (meant.span_id, run.span_id)):
        if asked is not None and present is not None and asked != present:
            return None
    return found


def stand(home: Path, run: Run, action: Action, *, by: str = "", reason: str = "") -> None:
    """Ask any run of a job for something, those to come included, until it has completed.

    Raises:
        OSError: The folder cannot be written.
    """
    any_run = run._replace(attempt=None, span_id=None)
    request(home, any_run, action, by=by, reason=reason, notes={_STANDING: True})


def clear(home: Path, run: Run | str, *, is_completed: bool = True) -> None:
    """Forget what was asked of this run: it has ended.

    Args:
        home: ``FIVEOBS_HOME`` of the worker.
        run: Which.
        is_completed: Also what stands: there is nothing left to do in another run.
    """
    run = Run(run) if isinstance(run, str) else run
    asked = requested(home, run)
    if asked is not None and (is_completed or not asked.is_standing):
        with contextlib.suppress(OSError):
            _path(home, run).unlink()


def pending(home: Path) -> Iterator[Request]:
    """Every request that lies there."""
    try:
        names = [each.name for each in os.scandir(home / _FOLDER) if each.name.endswith(".json")]
    except OSError:
        return
    for name in names:
        found = _read(home / _FOLDER / name)
        if found is not None:
            yield found


def _read(path: Path) -> Request | None:
    import json

    try:
        content = json.loads(path.read_bytes())
        action, notes = content["action"], content.get("notes")
        run = Run(*(content[name] for name in Run._fields))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if action not in _ACTIONS:
        return None
    by, reason = str(content.get("by", "")), str(content.get("reason", ""))
    return Request(action, run, by, reason, notes if isinstance(notes, dict) else {})


def _path(home: Path, run: Run) -> Path:
    import hashlib

    text = f"{run.tenant_id}\0{run.project_id}\0{run.job_id}"
    name = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]
    return home / _FOLDER / f"{name}.json"
