"""What the demo shows at the end: the sums of each track, and one failed job in all five.

Our side of the sums is what ``fiveobs doctor`` says; the other side is what the receivers hold.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sized
from datetime import UTC, datetime
from typing import Any, NamedTuple

from _demo.journal import Ended, State
from _demo.receivers import Received
from _demo.worker import JOB

__all__ = ["Row", "Sums", "doctor", "find", "places", "settled", "sums", "typical_failure"]

TRACKS = ("events", "logs", "traces", "metrics", "errors")
_COLUMNS = ("accepted", "delivered", "pending", "dropped")

#: Per track, what ``fiveobs doctor --json`` says of it.
Sums = dict[str, dict[str, Any]]


class Row(NamedTuple):
    """One track: our four sums, what arrived, and whether both agree."""

    track: str
    accepted: int
    delivered: int
    pending: int
    dropped: int
    received: str
    is_right: bool


def doctor() -> Sums:
    """The sums of every journal under ``FIVEOBS_HOME``, read by ``fiveobs doctor``."""
    command = [sys.executable, "-m", "fiveobs", "doctor", "--no-probe", "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    tracks: Sums = json.loads(done.stdout)["tracks"]
    return tracks


def settled(timeout_s: float) -> bool:
    """Wait until nothing recorded so far is pending; what a dead worker left is adopted meanwhile.

    Processes that still live go on recording, a heartbeat each second, so that there may always be
    something newer on its way.
    """
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    deadline = time.monotonic() + timeout_s
    while any(_is_before(each["oldest_pending"], now) for each in doctor().values()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def _is_before(timestamp: str | None, other: str) -> bool:
    """Whether there is a first time, and it is before the other; both as in the journal."""
    return timestamp is not None and timestamp < other


def sums(
    before: Sums, state: State, lines: int, received: Received | None, *, is_killed: bool
) -> list[Row]:
    """Every track's sums since ``before``, beside what arrived."""
    after = doctor()
    rows = []
    for track in TRACKS:
        ours = [after[track][name] - before[track][name] for name in _COLUMNS]
        accepted, delivered, pending, dropped = ours
        adds_up = accepted == delivered + pending + dropped and after[track]["adds_up"]
        if track == "events":
            text, agrees = f"{lines:,} read back", lines == delivered
        elif not after[track]["configured"]:
            text, agrees = "not configured", accepted == 0
        elif received is None:
            text, agrees = "at your own destination", not pending
        else:
            text, agrees = _arrived(track, delivered, state, received, is_killed=is_killed)
            agrees = agrees and not pending and not dropped
        is_right = adds_up and agrees
        rows.append(Row(track, accepted, delivered, pending, dropped, text, is_right))
    return rows


def _arrived(
    track: str, delivered: int, state: State, received: Received, *, is_killed: bool
) -> tuple[str, bool]:
    """What the local receivers hold of a track, and whether it is what was delivered."""
    if track == "metrics":
        counted = int(sum(received.jobs_processed.values()))
        # The sums that a process sent right before it was killed may be sent once more.
        agrees = counted >= state.endings if is_killed else counted == state.endings
        return f"{counted:,} jobs counted of {state.endings:,}", agrees
    kept: dict[str, Sized] = {
        "logs": received.logs,
        "traces": received.spans,
        "errors": received.errors,
    }
    count = len(kept[track])
    noun = {"logs": "records", "traces": "spans", "errors": "errors"}[track]
    return f"{count:,} {noun}", count == delivered


def places(job: Ended, received: Received | None) -> dict[str, str]:
    """The trace id that each of the five tracks has for a job; empty where it has none."""
    found = dict.fromkeys(TRACKS, "") | {"events": job.trace_id}
    if received is None:
        return {"events": job.trace_id}
    with received.lock:
        for record in received.logs.values():
            if record.get("job_id") == job.job_id and record["event_type"] == "job.failed":
                found["logs"] = record["trace_id"]
        for name, trace_id, attributes in received.spans.values():
            if name == JOB and attributes.get("job.id") == job.job_id:
                found["traces"] = trace_id
        for event in received.errors.values():
            if job.job_id in event.get("tags", {}).values():
                found["errors"] = event["contexts"]["trace"]["trace_id"]
        if job.trace_id in received.exemplars:
            found["metrics"] = job.trace_id
    return found


def typical_failure(state: State, received: Received | None) -> Ended | None:
    """A failed job to look at.

    Preferably one that a metric's exemplar points to: a histogram keeps one for each bucket.
    """
    failed = state.failed
    return next((job for job in failed if all(places(job, received).values())), None) or next(
        iter(failed), None
    )


def find(job_id: str) -> str:
    """What ``fiveobs find`` prints about a job."""
    command = [sys.executable, "-m", "fiveobs", "find", job_id]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout
