"""The one way into the audit trail: who did what, to what, why, and what came of it.

Where several monitors share a store, the trail also settles which of them reports what it has
concluded (`claim`): whose row it is, reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, or_, select, update

from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import audit, sequences

__all__ = [
    "MONITOR",
    "AuditRow",
    "Claim",
    "audit_rows",
    "claim",
    "claim_of",
    "note",
    "renew",
    "take_turn",
]

#: Who concludes.
MONITOR = "monitor"


def note(
    connection: Connection,
    *,
    at_us: int,
    project_key: int | None,
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
        project_key: Whose project it is about; ``None`` if it is about more than one.
        actor: Who did it: a token's name, the monitor, or who worked on the store itself.
        action: What, such as ``job.stop``.
        target: To which job, subscription or token.
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


class AuditRow(NamedTuple):
    """One row of the audit trail."""

    audit_key: int
    at_us: int
    actor: str
    action: str
    target: str
    reason: str | None
    outcome: str
    details: Mapping[str, Any] | None


def audit_rows(
    store: Store,
    project_key: int,
    *,
    with_general: bool = False,
    before_key: int | None = None,
    target: str | None = None,
    limit: int,
) -> list[AuditRow]:
    """The audit trail of a project, the newest first.

    Args:
        store: Where it is.
        project_key: Whose.
        with_general: Also what is about no single project: tokens that are good for more.
        before_key: Only what was done before this row.
        target: Only what was done to this job, subscription or token.
        limit: How many rows at most.
    """
    wanted = audit.c.project_key == project_key
    if with_general:
        wanted = or_(wanted, audit.c.project_key.is_(None))
    found = select(*(audit.c[name] for name in AuditRow._fields)).where(wanted)
    if before_key is not None:
        found = found.where(audit.c.audit_key < before_key)
    if target is not None:
        found = found.where(audit.c.target == target)
    found = found.order_by(audit.c.audit_key.desc()).limit(limit)
    with store.reading() as connection:
        return [AuditRow(*row) for row in connection.execute(found)]


class Claim(NamedTuple):
    """Who reports something: the row that says so."""

    audit_key: int
    at_us: int
    outcome: str
    details: Mapping[str, Any]


def take_turn(connection: Connection) -> None:
    """Wait for other monitors: two must not both find that nobody has a claim."""
    if connection.dialect.name != "sqlite":  # which has one writer anyway
        connection.execute(select(sequences.c.value).filter_by(name="jobs").with_for_update())


def claim_of(
    connection: Connection, project_key: int, action: str, target: str, what: Mapping[str, Any]
) -> Claim | None:
    """Who reports this; ``None`` if nobody does.

    Args:
        connection: A transaction.
        project_key: Whose project it is about.
        action: Such as ``job.lost``.
        target: Which job.
        what: What else makes it this very report, as `claim` was given it.
    """
    found = (
        select(audit.c.audit_key, audit.c.at_us, audit.c.outcome, audit.c.details)
        .where(audit.c.target == target, audit.c.action == action)
        .where(audit.c.project_key == project_key)
        .order_by(audit.c.audit_key)
    )
    for key, at_us, outcome, details in connection.execute(found):
        if what.items() <= details.items():
            return Claim(key, at_us, outcome, details)
    return None


def claim(
    connection: Connection,
    at_us: int,
    project_key: int,
    action: str,
    target: str,
    what: Mapping[str, Any],
    *,
    outcome: str,
    reason: str,
) -> int:
    """Take a report upon us, in a turn of ours; the key of the row. As `claim_of` has it."""
    return note(
        connection,
        at_us=at_us,
        project_key=project_key,
        actor=MONITOR,
        action=action,
        target=target,
        outcome=outcome,
        reason=reason,
        details=dict(what),
    )


def renew(connection: Connection, before: Claim, at_us: int, details: Mapping[str, Any]) -> None:
    """Take over a report that does not come; ``details`` change what its row says."""
    values = {"at_us": at_us, "details": {**before.details, **details}}
    connection.execute(update(audit).where(audit.c.audit_key == before.audit_key).values(values))
