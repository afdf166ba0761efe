"""What is recorded of a firing: ``workflow.triggered``, with the job's ids, rule and cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from fiveobs.monitor.rules.acting import Work
from fiveobs.monitor.rules.stored import DEAD, DONE, LATE, FiringRow
from fiveobs.monitor.store.schema import projects

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["of_project", "told"]

#: What the event's line says of its job, and the record about it says, too.
_OF_JOB = (
    *("service", "job_id", "job_name", "attempt", "trace_id", "span_id"),
    *("parent_job_id", "session_id", "request_id"),
)
_LEVELS = {DONE: "info", LATE: "info", DEAD: "error"}
_SAYS = {
    "done": "{action} done",
    "dead": "{action} given up",
    "loop": "refused",
    "limited": "{action} left out",
    "late": "came late",
}


def of_project(
    connection: Connection, project_key: int, record: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of a record about an event: its project, and its job if it has one."""
    names = (projects.c.tenant_id, projects.c.project_id)
    row = connection.execute(select(*names).where(projects.c.project_key == project_key)).one()
    found = {"tenant_id": row.tenant_id, "project_id": row.project_id}
    kept = _OF_JOB if "job_id" in record else _OF_JOB[:1]
    return {**{name: record[name] for name in kept if record.get(name)}, **found}


def told(work: Work, row: FiringRow, status: str, reason: str) -> tuple[str, str, dict[str, Any]]:
    """Level, message and data of what is recorded when an action has ended."""
    says = _SAYS[status].format(action=row.action)
    message = f"rule {work.rule.name}: {says}" + (f": {reason}" if reason else "")
    data: dict[str, Any] = {
        "workflow": work.rule.name,
        "rule_id": work.rule_id,
        "firing_id": row.firing_id,
        "action": row.action,
        "outcome": status,
        "tries": row.tries,
        "cause": work.cause,
    }
    if reason:
        data["reason"] = reason
    if row.action == "launch" and row.job_id:
        data["started_job_id"] = row.job_id
    return _LEVELS.get(status, "warning"), message, data
