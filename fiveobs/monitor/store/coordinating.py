"""The rows of entities: how they are read, and the only way in which one is changed.

Whoever changes an entity holds the row ``changes`` of ``positions`` until the commit (`Changes`).
So changes are in one order for the whole store, versions grow by one, and what compares before it
sets compares with what is committed: linearizable, on SQLite and PostgreSQL alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from fiveobs.monitor.store.reading import all_rows, columns_of
from fiveobs.monitor.store.schema import entities, jobs, positions, projects

__all__ = [
    "DOCUMENT",
    "JOB",
    "KINDS",
    "MACHINE",
    "SERVICE",
    "WORKER",
    "Changes",
    "DesiredJob",
    "EntityRow",
    "Place",
    "changed_after",
    "desired_jobs",
    "drop_over",
    "end_turn",
    "entities_of",
    "entity_of",
    "list_entities",
    "newest_changes",
    "open_entities",
    "open_jobs",
    "position",
    "project_keys",
    "see",
    "settle_tries",
    "take_turn",
    "try_again",
]

JOB, WORKER, MACHINE, SERVICE, DOCUMENT = "job", "worker", "machine", "service", "document"
#: In the order in which they are listed.
KINDS = (DOCUMENT, JOB, MACHINE, SERVICE, WORKER)
#: Entities that are looked for in one query.
_MOST_IN = 300


class Place(NamedTuple):
    """Which entity."""

    project_key: int
    kind: str
    entity_id: str


class EntityRow(NamedTuple):
    """An entity as it is stored; times in microseconds since 1970."""

    entity_key: int
    project_key: int
    kind: str
    entity_id: str
    version: int
    change_key: int
    changed_at_us: int
    health: str | None
    #: JSON text.
    observed: str | None
    desired: str | None
    desired_by: str | None
    desired_reason: str | None
    desired_at_us: int | None
    seen_at_us: int | None
    over_at_us: int | None
    tries: int
    tried_version: int
    next_try_at_us: int | None
    given_up: str | None

    @property
    def place(self) -> Place:
        """Which it is."""
        return Place(self.project_key, self.kind, self.entity_id)

    @property
    def is_removed(self) -> bool:
        """Whether it is what is left of a document that was removed."""
        return self.kind == DOCUMENT and self.over_at_us is not None


_ROWS = select(*columns_of(EntityRow, entities))


# --- reading -----------------------------------------------------------------------------------


def entity_of(connection: Connection, place: Place) -> EntityRow | None:
    """One entity; ``None`` if nothing is kept of it."""
    found = entities_of(connection, [place])
    return found.get(place)


def entities_of(connection: Connection, places: Collection[Place]) -> dict[Place, EntityRow]:
    """Those of some entities of which something is kept."""
    of_kind: dict[tuple[int, str], list[str]] = {}
    for place in places:
        of_kind.setdefault((place.project_key, place.kind), []).append(place.entity_id)
    found: list[EntityRow] = []
    # Not all three at once: SQLite would look through the whole table.
    for (project_key, kind), ids in of_kind.items():
        mine = _ROWS.where(entities.c.project_key == project_key, entities.c.kind == kind)
        for first in range(0, len(ids), _MOST_IN):
            some = entities.c.entity_id.in_(ids[first : first + _MOST_IN])
            found += all_rows(connection, EntityRow, mine.where(some))
    return {row.place: row for row in found}


def list_entities(
    connection: Connection,
    project_key: int,
    *,
    kind: str | None = None,
    health: str | None = None,
    after: tuple[str, str] | None = None,
    limit: int,
) -> list[EntityRow]:
    """Entities of a project, by kind and id; without what is left of removed documents.

    Args:
        connection: Where.
        project_key: Whose.
        kind: Only those of this kind.
        health: Only those that are so.
        after: Only those after this kind and id.
        limit: How many at most.
    """
    wanted = _ROWS.where(entities.c.project_key == project_key)
    wanted = wanted.where(or_(entities.c.kind != DOCUMENT, entities.c.over_at_us.is_(None)))
    for column, value in ((entities.c.kind, kind), (entities.c.health, health)):
        if value is not None:
            wanted = wanted.where(column == value)
    if after is not None and kind is not None:
        wanted = wanted.where(entities.c.entity_id > after[1])
    elif after is not None:
        order = tuple_(entities.c.kind, entities.c.entity_id)
        wanted = wanted.where(order > tuple_(*after))
    wanted = wanted.order_by(entities.c.kind, entities.c.entity_id).limit(limit)
    return all_rows(connection, EntityRow, wanted)


def changed_after(
    connection: Connection,
    project_key: int,
    after: int,
    *,
    up_to: int,
    kinds: Collection[str] = (),
    limit: int,
) -> list[EntityRow]:
    """Entities of a project whose latest change lies in a stretch, in the order of changes."""
    change = entities.c.change_key
    wanted = _ROWS.where(entities.c.project_key == project_key, change > after, change <= up_to)
    if kinds:
        wanted = wanted.where(entities.c.kind.in_(sorted(kinds)))
    return all_rows(connection, EntityRow, wanted.order_by(change).limit(limit))


def newest_changes(connection: Connection, after: int) -> dict[int, int]:
    """For each project with changes after a place, its newest one."""
    change = entities.c.change_key
    found = select(entities.c.project_key, change).where(change > after).order_by(change)
    return {int(key): int(newest) for key, newest in connection.execute(found)}


def open_entities(connection: Connection, kinds: Collection[str]) -> list[EntityRow]:
    """All of these kinds that are not over, of every project."""
    wanted = _ROWS.where(entities.c.kind.in_(sorted(kinds)), entities.c.over_at_us.is_(None))
    return all_rows(connection, EntityRow, wanted)


def open_jobs(connection: Connection, after_key: int, limit: int) -> list[tuple[int, int]]:
    """Jobs whose state is kept and that are not over: entity key and job key, in their order."""
    same = (jobs.c.project_key == entities.c.project_key) & (jobs.c.job_id == entities.c.entity_id)
    wanted = select(entities.c.entity_key, jobs.c.job_key).join(jobs, same)
    wanted = wanted.where(entities.c.kind == JOB, entities.c.over_at_us.is_(None))
    wanted = wanted.where(entities.c.entity_key > after_key)
    found = connection.execute(wanted.order_by(entities.c.entity_key).limit(limit))
    return [(int(entity_key), int(job_key)) for entity_key, job_key in found]


class DesiredJob(NamedTuple):
    """A job of which something is desired, and where it belongs."""

    row: EntityRow
    tenant_id: str
    project_id: str


def desired_jobs(connection: Connection, after_key: int, limit: int) -> list[DesiredJob]:
    """Jobs of every project of which something is desired, in the order of keys."""
    names = projects.c.tenant_id, projects.c.project_id
    wanted = _ROWS.add_columns(*names).join(
        projects, projects.c.project_key == entities.c.project_key
    )
    wanted = wanted.where(entities.c.kind == JOB, entities.c.desired.is_not(None))
    wanted = wanted.where(entities.c.entity_key > after_key).order_by(entities.c.entity_key)
    return [
        DesiredJob(EntityRow(*values[:-2]), *values[-2:])
        for values in connection.execute(wanted.limit(limit))
    ]


def project_keys(
    connection: Connection, named: Collection[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """The keys of projects, by tenant and project."""
    names = tuple_(projects.c.tenant_id, projects.c.project_id)
    wanted = select(projects.c.tenant_id, projects.c.project_id, projects.c.project_key)
    found = connection.execute(wanted.where(names.in_(sorted(named))))
    return {(tenant_id, project_id): int(key) for tenant_id, project_id, key in found}


def position(connection: Connection, name: str) -> int:
    """One of the numbers that belong to all entities."""
    wanted: Select[Any] = select(positions.c.value).where(positions.c.name == name)
    return int(connection.execute(wanted).scalar_one())


# --- writing -----------------------------------------------------------------------------------


def take_turn(connection: Connection, holder: str, now_us: int, until_us: int) -> bool:
    """Be the monitor that observes, until then; whether we are.

    Args:
        connection: A transaction that writes.
        holder: Who we are.
        now_us: A turn that ended before may be taken over.
        until_us: When ours ends, unless it is taken again.
    """
    free = or_(positions.c.holder == holder, positions.c.value < now_us)
    turn = update(positions).where(positions.c.name == "projector", free)
    return bool(connection.execute(turn.values(value=until_us, holder=holder)).rowcount)


def end_turn(connection: Connection, holder: str) -> None:
    """Leave it to the next monitor at once, if it is ours."""
    ours = (positions.c.name == "projector") & (positions.c.holder == holder)
    connection.execute(update(positions).where(ours).values(value=0))


class Changes:
    """Changes entities; whoever has opened it is the only one who does, until the commit.

    Args:
        connection: A transaction that writes; nothing was read in it.
        now_us: Microseconds since 1970.
    """

    def __init__(self, connection: Connection, now_us: int) -> None:
        lock = select(positions.c.value).where(positions.c.name == "changes").with_for_update()
        self._connection = connection
        self._now_us = now_us
        self._last = int(connection.execute(lock).scalar_one())

    def is_turn_of(self, holder: str) -> bool:
        """Whether this is the monitor that observes, still."""
        found = select(positions.c.holder).where(positions.c.name == "projector")
        return bool(self._connection.execute(found).scalar() == holder)

    def get(self, place: Place) -> EntityRow | None:
        """An entity as it is committed."""
        return self.get_all([place]).get(place)

    def get_all(self, places: Collection[Place]) -> dict[Place, EntityRow]:
        """Entities as they are committed."""
        return entities_of(self._connection, places)

    def put(self, place: Place, before: EntityRow | None, **values: Any) -> None:
        """Change an entity, or add it.

        Args:
            place: Which.
            before: As `get` gave it.
            values: Columns other than the key, the version and the change.
        """
        self._last += 1
        values |= {"change_key": self._last, "changed_at_us": self._now_us}
        if before is None:
            made = {**place._asdict(), "version": 1, **values}
            self._connection.execute(insert(entities).values(made))
        else:
            which = entities.c.entity_key == before.entity_key
            made = {"version": before.version + 1, **values}
            self._connection.execute(update(entities).where(which).values(made))

    def put_all(self, changed: Iterable[tuple[Place, EntityRow | None, Mapping[str, Any]]]) -> None:
        """Change many entities, or add them, as `put` does each; all with the same columns."""
        added, others = [], []
        for place, before, values in changed:
            self._last += 1
            made = {**values, "change_key": self._last, "changed_at_us": self._now_us}
            if before is None:
                added.append({**place._asdict(), "version": 1, **made})
            else:
                others.append({"of_key": before.entity_key, "version": before.version + 1, **made})
        if added:
            self._connection.execute(insert(entities), added)
        if others:
            names = others[0].keys() - {"of_key"}
            which = entities.c.entity_key == bindparam("of_key")
            changes = update(entities).where(which).values({n: bindparam(n) for n in names})
            self._connection.execute(changes, others)

    def note(self, before: EntityRow, **values: Any) -> None:
        """Write what is no change of what is observed or desired: no new version, no new change."""
        which = entities.c.entity_key == before.entity_key
        self._connection.execute(update(entities).where(which).values(**values))

    def close(self) -> None:
        """Store how many changes there are; before the commit."""
        self.move("changes", self._last)

    def move(self, name: str, value: int) -> None:
        """Set one of the numbers that belong to all entities."""
        which = positions.c.name == name
        self._connection.execute(update(positions).where(which).values(value=value))


def see(connection: Connection, seen: Mapping[Place, int]) -> None:
    """Write the last sign of life of entities, in microseconds since 1970; it is no change."""
    Changes(connection, 0)  # who changes several entities at once must not meet us half way
    which = (entities.c[name] == bindparam(f"of_{name}") for name in Place._fields)
    given = [
        {**{f"of_{name}": value for name, value in place._asdict().items()}, "at_us": at_us}
        for place, at_us in sorted(seen.items())
    ]
    if given:
        connection.execute(
            update(entities).where(*which).values(seen_at_us=bindparam("at_us")), given
        )


def settle_tries(connection: Connection, entity_keys: Sequence[int]) -> None:
    """Forget how often entities were asked: they have followed."""
    which = entities.c.entity_key.in_(entity_keys)
    connection.execute(update(entities).where(which).values(tries=0, next_try_at_us=None))


def try_again(connection: Connection, place: Place) -> None:
    """Have its present version be acted on once more: it could not be."""
    which = and_(*(entities.c[name] == value for name, value in place._asdict().items()))
    connection.execute(update(entities).where(which).values(tried_version=0))


def drop_over(connection: Connection, before_us: int, limit: int) -> int:
    """Drop what has been over for long; how many that were.

    A watch that has not seen their last change yet is told to begin anew: ``dropped`` says up to
    where that may be.

    Args:
        connection: A transaction that writes.
        before_us: Only what was over before then.
        limit: How many at most.
    """
    over = and_(entities.c.over_at_us.is_not(None), entities.c.over_at_us < before_us)
    oldest = select(entities.c.entity_key, entities.c.change_key).where(over)
    found = connection.execute(oldest.order_by(entities.c.over_at_us).limit(limit)).all()
    if found:
        changes = Changes(connection, before_us)
        keys = [row.entity_key for row in found]
        connection.execute(delete(entities).where(entities.c.entity_key.in_(keys), over))
        newest = max(row.change_key for row in found)
        changes.move("dropped", max(newest, position(connection, "dropped")))
    return len(found)
