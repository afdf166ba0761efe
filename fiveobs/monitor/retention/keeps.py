"""What tenants and projects say of how long things are kept, in the store; and who has said so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from sqlalchemy import delete, insert, select

from fiveobs.monitor.retention.policy import PARTS, Keep, Policy, as_text
from fiveobs.monitor.store import auditing
from fiveobs.monitor.store.schema import keeps, projects

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["ACTION", "Effective", "Project", "change", "effective", "projects_of"]

#: The action in the audit trail.
ACTION = "retention.set"
Who: TypeAlias = Literal["project", "tenant", "monitor"]
#: In the place of a project: every one of the tenant.
_ALL = ""


class Project(NamedTuple):
    """A project and how long what is of it is kept."""

    project_key: int
    tenant_id: str
    project_id: str
    policy: Policy


class Effective(NamedTuple):
    """How long a part is kept, and who says so."""

    part: str
    keep_s: Keep
    said_by: Who


def projects_of(connection: Connection, policy: Policy) -> list[Project]:
    """Every project with what is in force for it.

    Args:
        connection: Where.
        policy: What is in force where nobody says anything.
    """
    said: dict[tuple[str, str], dict[str, Keep]] = {}
    columns = (keeps.c.tenant_id, keeps.c.project_id, keeps.c.part, keeps.c.keep_s)
    for tenant_id, project_id, part, keep_s in connection.execute(select(*columns)):
        said.setdefault((tenant_id, project_id), {})[part] = keep_s
    found = select(projects.c.project_key, projects.c.tenant_id, projects.c.project_id)
    return [
        Project(
            key,
            tenant_id,
            project_id,
            policy.with_(said.get((tenant_id, _ALL), {})).with_(
                said.get((tenant_id, project_id), {})
            ),
        )
        for key, tenant_id, project_id in connection.execute(found.order_by(projects.c.project_key))
    ]


def effective(
    connection: Connection, policy: Policy, tenant_id: str, project_id: str
) -> list[Effective]:
    """What is in force for a project, in the order of `PARTS`."""
    found: dict[str, tuple[Keep, Who]] = {
        part.name: (policy[part.name], "monitor") for part in PARTS
    }
    places: tuple[tuple[Who, str], ...] = (("tenant", _ALL), ("project", project_id))
    for who, place in places:
        wanted = select(keeps.c.part, keeps.c.keep_s).filter_by(
            tenant_id=tenant_id, project_id=place
        )
        found |= {part: (keep_s, who) for part, keep_s in connection.execute(wanted)}
    return [Effective(name, *found[name]) for name in found]


def change(
    connection: Connection,
    tenant_id: str,
    project_id: str | None,
    said: Mapping[str, Keep | str],
    *,
    project_key: int,
    actor: str,
    now_us: int,
) -> None:
    """Say how long parts are kept, and note who did.

    Args:
        connection: A transaction that writes.
        tenant_id: Whose.
        project_id: Of which project; ``None``: of all that say nothing themselves.
        said: By part: seconds, ``None`` for ever, or ``default`` for what is said elsewhere.
        project_key: In whose audit trail it is noted.
        actor: Who says so.
        now_us: Microseconds since 1970.
    """
    place = {"tenant_id": tenant_id, "project_id": project_id or _ALL}
    for part, keep_s in said.items():
        connection.execute(delete(keeps).filter_by(**place, part=part))
        if not isinstance(keep_s, str):
            connection.execute(insert(keeps).values(**place, part=part, keep_s=keep_s))
    auditing.note(
        connection,
        at_us=now_us,
        project_key=project_key,
        actor=actor,
        action=ACTION,
        target=tenant_id if project_id is None else f"{tenant_id}/{project_id}",
        outcome="done",
        details={
            part: keep_s if isinstance(keep_s, str) else as_text(keep_s)
            for part, keep_s in said.items()
        },
    )
