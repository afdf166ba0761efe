"""What is desired of a job: what may be asked for, how long that holds, and how it is stored.

`note_asked` has whatever is asked of jobs by stop, pause and resume be what is desired, so that
both ways of asking agree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from fiveobs.monitor.store.coordinating import JOB, Changes, EntityRow, Place

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "ACTIONS",
    "FIRST_PAUSE_S",
    "NOTHING_DESIRED",
    "STATUSES",
    "desired_status",
    "is_done",
    "note_asked",
]

_US = 1_000_000
#: What may be desired of a job, and what is asked of it for that.
ACTIONS: Mapping[str, str] = {"running": "resume", "paused": "pause", "stopped": "stop"}
STATUSES: Mapping[str, str] = {action: status for status, action in ACTIONS.items()}
#: A job that was asked has this long to follow before it is asked again, the first time.
FIRST_PAUSE_S = 1.0
#: Ends that are as good as a stop. Others come of the worker's end, not of the job's.
_STOPPED = ("stopped", "failed", "cancelled")
#: The columns where nothing is desired.
NOTHING_DESIRED: Mapping[str, Any] = {
    **dict.fromkeys(("desired", "desired_by", "desired_reason", "desired_at_us")),
    "tries": 0,
    "next_try_at_us": None,
    "given_up": None,
}


def desired_status(row: EntityRow) -> str | None:
    """The status that somebody wants a job to have."""
    if row.desired is None:
        return None
    found: str | None = orjson.loads(row.desired).get("status")
    return found


def is_done(row: EntityRow, status: str) -> bool:
    """Whether nothing is desired of a job any more, now that it has this status.

    A job that has completed needs nothing. Who asked it to stop, once, wanted this run to end; who
    wants it stopped (``PUT``) wants that of later runs under its id, too.
    """
    if row.kind != JOB or row.desired is None:
        return False
    return status == "completed" or (
        status in _STOPPED and bool(orjson.loads(row.desired).get("once"))
    )


def note_asked(
    connection: Connection,
    project_key: int,
    action: str,
    job_ids: Collection[str],
    *,
    by: str,
    reason: str,
    now_us: int,
) -> None:
    """Have what was asked of jobs be what is desired of them.

    They were asked in the version that comes of it, so nobody asks them once more in that one.

    Args:
        connection: A transaction that writes.
        project_key: Whose they are.
        action: ``stop``, ``pause`` or ``resume``.
        job_ids: Which.
        by: Who asked.
        reason: Why.
        now_us: Microseconds since 1970.
    """
    changes, status = Changes(connection, now_us), STATUSES[action]
    desired = {"status": status, "once": True} if action == "stop" else {"status": status}
    text = orjson.dumps(desired).decode()
    places = [Place(project_key, JOB, job_id) for job_id in job_ids]
    rows = changes.get_all(places)
    said = {"desired": text, "desired_by": by, "desired_reason": reason or None}
    times = {"desired_at_us": now_us, "next_try_at_us": now_us + round(FIRST_PAUSE_S * _US)}
    values = {**NOTHING_DESIRED, **said, **times}
    changes.put_all(
        (place, row, {**values, "tried_version": 1 if row is None else row.version + 1})
        for place in places
        if (row := rows.get(place)) is None or desired_status(row) != status
    )
    changes.close()
