"""The one way into the audit trail: who did what, to what, why, and what came of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert

from fiveobs.monitor.store.schema import audit

__all__ = ["note"]


def note(
    connection: Connection,
    *,
    at_us: int,
    project_key: int,
    actor: str,
    action: str,
    target: str,
    outcome: str,
    reason: str | None = None,
    details: dict[str, Any] | None = None,
) -> int:
    """Add a row; its key.

    Args:
        connection: A transaction that writes.
        at_us: When, in microseconds since 1970.
        project_key: Whose project it is about.
        actor: Who did it: a token's name, or the monitor.
        action: What, such as ``job.stop``.
        target: To which job or subscription.
        outcome: What came of it.
        reason: Why, if it was said.
        details: What else is worth knowing; kept as JSON.
    """
    values = {
        "at_us": at_us,
        "project_key": project_key,
        "actor": actor,
        "action": action,
        "target": target,
        "reason": reason,
        "outcome": outcome,
        "details": details,
    }
    done = connection.execute(insert(audit).values(values))
    return int(done.inserted_primary_key[0])  # type: ignore[index]
