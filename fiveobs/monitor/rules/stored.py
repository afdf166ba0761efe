"""Rules, firings and expectations in the store: made, found, changed, tried again.

Each function works within the transaction of its caller.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Select, delete, func, insert, select, update

from fiveobs.monitor.live.events import newest_key
from fiveobs.monitor.store import auditing
from fiveobs.monitor.store.schema import expectations, firings, rules, sightings
from fiveobs.monitor.webhooks.signing import new_secret

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

__all__ = [
    "DEAD",
    "DONE",
    "LATE",
    "LIMITED",
    "LOOP",
    "PENDING",
    "RETRIED",
    "STATUSES",
    "ExpectationRow",
    "FiringRow",
    "RuleRow",
    "change",
    "count",
    "create",
    "find",
    "find_named",
    "firing_counts",
    "listed",
    "listed_expectations",
    "listed_firings",
    "note",
    "remove",
    "retry",
    "rows_where",
    "set_enabled",
]

PENDING, DONE, DEAD, LOOP, LIMITED, LATE = "pending", "done", "dead", "loop", "limited", "late"
STATUSES = (PENDING, DONE, DEAD, LOOP, LIMITED, LATE)
#: What can be tried again.
RETRIED = (DEAD, LIMITED)


class RuleRow(NamedTuple):
    """A rule as it is stored; times in microseconds since 1970."""

    rule_key: int
    rule_id: str
    project_key: int
    name: str
    is_enabled: bool
    revision: int
    #: As it was written, but for its name and whether it is enabled.
    definition: dict[str, Any]
    secret: str
    created_by: str | None
    created_at_us: int
    updated_at_us: int
    #: It is for events after this one.
    after_key: int

    def __repr__(self) -> str:
        """Which one; never its secrets."""
        return f"<RuleRow {self.rule_id} {self.name!r}>"

    @property
    def written(self) -> dict[str, Any]:
        """As YAML and JSON have it."""
        enabled = {} if self.is_enabled else {"enabled": False}
        return {"name": self.name, **self.definition, **enabled}


class FiringRow(NamedTuple):
    """One action of a rule, done or to be done because of one event."""

    firing_key: int
    firing_id: str
    rule_key: int
    project_key: int
    event_key: int
    cause_at_us: int
    expectation_key: int | None
    action_index: int
    action: str
    status: str
    tries: int
    created_at_us: int
    next_try_at_us: int | None
    ended_at_us: int | None
    last_error: str | None
    chain: list[str]
    job_id: str | None


class ExpectationRow(NamedTuple):
    """What must follow an event, and until when."""

    expectation_key: int
    rule_key: int
    project_key: int
    event_key: int
    correlation: str
    from_us: int
    deadline_us: int
    status: str
    met_event_key: int | None
    met_at_us: int | None
    ended_at_us: int | None
    chain: list[str]


_RULES: Select[Any] = select(*(rules.c[name] for name in RuleRow._fields))
_FIRINGS: Select[Any] = select(*(firings.c[name] for name in FiringRow._fields))
_EXPECTATIONS: Select[Any] = select(*(expectations.c[name] for name in ExpectationRow._fields))


# --- rules -------------------------------------------------------------------------------------


def create(
    connection: Connection,
    *,
    project_key: int,
    name: str,
    is_enabled: bool,
    definition: Mapping[str, Any],
    created_by: str,
    now_us: int,
) -> RuleRow:
    """Add a rule for what happens from now on; its name must be free."""
    values = {
        "rule_id": f"rule-{uuid.uuid4()}",
        "project_key": project_key,
        "name": name,
        "is_enabled": is_enabled,
        "revision": 1,
        "definition": dict(definition),
        "secret": new_secret(),
        "created_by": created_by,
        "created_at_us": now_us,
        "updated_at_us": now_us,
        "after_key": newest_key(connection),
    }
    done = connection.execute(insert(rules).values(values))
    return _by_key(connection, int(done.inserted_primary_key[0]))  # type: ignore[index]


def change(
    connection: Connection,
    row: RuleRow,
    *,
    name: str,
    is_enabled: bool,
    definition: Mapping[str, Any],
    now_us: int,
) -> RuleRow:
    """Replace a rule; what was to be done because of it is done as it says now.

    It is for what was not looked at yet, unless it was disabled: then for what happens from now on.
    Nothing is awaited any more: what it awaits may be another thing.
    """
    connection.execute(
        update(rules)
        .where(rules.c.rule_key == row.rule_key)
        .values(
            name=name,
            is_enabled=is_enabled,
            definition=dict(definition),
            revision=row.revision + 1,
            updated_at_us=now_us,
            after_key=row.after_key if row.is_enabled else newest_key(connection),
        )
    )
    _await_nothing(connection, row.rule_key, now_us)
    return _by_key(connection, row.rule_key)


def set_enabled(connection: Connection, row: RuleRow, *, is_enabled: bool, now_us: int) -> RuleRow:
    """Have a rule act from now on, or not any more; what was awaited is not any more."""
    values = {"is_enabled": is_enabled, "revision": row.revision + 1, "updated_at_us": now_us}
    values["after_key"] = newest_key(connection)
    connection.execute(update(rules).where(rules.c.rule_key == row.rule_key).values(values))
    _await_nothing(connection, row.rule_key, now_us)
    return _by_key(connection, row.rule_key)


def _await_nothing(connection: Connection, rule_key: int, now_us: int) -> None:
    connection.execute(delete(sightings).where(sightings.c.rule_key == rule_key))
    connection.execute(
        update(expectations)
        .where(expectations.c.rule_key == rule_key, expectations.c.status == "open")
        .values(status="cancelled", ended_at_us=now_us)
    )


def remove(connection: Connection, rule_key: int) -> None:
    """Forget a rule, with what it was to do; what it did is in the journal."""
    for table in (sightings, expectations, firings, rules):
        connection.execute(delete(table).where(table.c.rule_key == rule_key))


def find(connection: Connection, project_key: int, rule_id: str) -> RuleRow | None:
    """A project's rule by its id."""
    return _first(connection, rules.c.rule_id == rule_id, rules.c.project_key == project_key)


def find_named(connection: Connection, project_key: int, name: str) -> RuleRow | None:
    """A project's rule by its name."""
    return _first(connection, rules.c.name == name, rules.c.project_key == project_key)


def _by_key(connection: Connection, rule_key: int) -> RuleRow:
    found = _first(connection, rules.c.rule_key == rule_key)
    assert found is not None  # noqa: S101 - it was just written
    return found


def _first(connection: Connection, *wanted: ColumnElement[bool]) -> RuleRow | None:
    row = connection.execute(_RULES.where(*wanted)).first()
    return None if row is None else RuleRow(*row)


def rows_where(connection: Connection, *wanted: ColumnElement[bool]) -> list[RuleRow]:
    """Rules, the oldest first."""
    found = _RULES.where(*wanted).order_by(rules.c.rule_key)
    return [RuleRow(*row) for row in connection.execute(found)]


def listed(connection: Connection, project_key: int) -> list[RuleRow]:
    """A project's rules, by name."""
    found = _RULES.where(rules.c.project_key == project_key).order_by(rules.c.name)
    return [RuleRow(*row) for row in connection.execute(found)]


def count(connection: Connection, project_key: int) -> int:
    """How many rules a project has."""
    wanted = select(func.count()).select_from(rules).filter_by(project_key=project_key)
    return int(connection.execute(wanted).scalar_one())


def note(
    connection: Connection,
    row: RuleRow,
    action: str,
    *,
    actor: str,
    now_us: int,
    **details: Any,
) -> None:
    """Say in the audit trail what was done to a rule."""
    auditing.note(
        connection,
        at_us=now_us,
        project_key=row.project_key,
        actor=actor,
        action=f"rule.{action}",
        target=row.rule_id,
        outcome="done",
        details={"name": row.name, "revision": row.revision, **details},
    )


# --- firings -----------------------------------------------------------------------------------


def listed_firings(
    connection: Connection,
    *wanted: ColumnElement[bool],
    before: int | None = None,
    limit: int,
) -> list[FiringRow]:
    """Firings, the newest first; those before one by its key."""
    found = _FIRINGS.where(*wanted)
    if before is not None:
        found = found.where(firings.c.firing_key < before)
    newest = found.order_by(firings.c.firing_key.desc()).limit(limit)
    return [FiringRow(*row) for row in connection.execute(newest)]


def firing_counts(connection: Connection, rule_key: int) -> dict[str, int]:
    """How many firings are in which status."""
    wanted = (
        select(firings.c.status, func.count())
        .where(firings.c.rule_key == rule_key)
        .group_by(firings.c.status)
    )
    found = {status: int(total) for status, total in connection.execute(wanted)}
    return {status: found.get(status, 0) for status in STATUSES}


def retry(
    connection: Connection,
    rule_key: int,
    *,
    firing_ids: Collection[str] | None,
    now_us: int,
) -> int:
    """Do again what was given up, under the same keys; how many that are.

    Args:
        connection: A transaction.
        rule_key: Whose.
        firing_ids: Only these; ``None`` is all.
        now_us: The time.
    """
    wanted = (
        update(firings)
        .where(firings.c.rule_key == rule_key, firings.c.status.in_(RETRIED))
        .values(status=PENDING, tries=0, next_try_at_us=now_us, ended_at_us=None, told_at_us=None)
    )
    if firing_ids is not None:
        wanted = wanted.where(firings.c.firing_id.in_(firing_ids))
    return connection.execute(wanted).rowcount


def listed_expectations(
    connection: Connection,
    rule_key: int,
    *,
    status: str | None,
    before: int | None = None,
    limit: int,
) -> list[ExpectationRow]:
    """What a rule awaits and awaited, the newest first."""
    found = _EXPECTATIONS.where(expectations.c.rule_key == rule_key)
    if status is not None:
        found = found.where(expectations.c.status == status)
    if before is not None:
        found = found.where(expectations.c.expectation_key < before)
    newest = found.order_by(expectations.c.expectation_key.desc()).limit(limit)
    return [ExpectationRow(*row) for row in connection.execute(newest)]
