"""Sets what is desired of an entity, or the value of a document: compared, then set, and audited.

Reads and writes the store; may be used by several threads and monitors at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from fiveobs.monitor.coordination.desiring import NOTHING_DESIRED
from fiveobs.monitor.store import auditing, coordinating
from fiveobs.monitor.store.coordinating import DOCUMENT, JOB, Changes, EntityRow, Place
from fiveobs.monitor.store.engine import Store

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["CompletedError", "Expected", "Setter", "States", "UnknownEntityError", "VersionError"]

_US = 1_000_000


class UnknownEntityError(LookupError):
    """Nothing is kept of it."""


class VersionError(Exception):
    """It has another version than was expected.

    Args:
        version: Which it has.
    """

    def __init__(self, version: int) -> None:
        super().__init__(f"it has version {version}")
        self.version = version


class CompletedError(Exception):
    """The job has completed: nothing can be desired of it."""


class Setter(NamedTuple):
    """Who sets something, and why."""

    name: str
    token_id: str
    reason: str = ""


class Expected(NamedTuple):
    """What must be true of an entity, or nothing is changed."""

    #: Its version; ``None`` is any.
    version: int | None = None
    #: It must not be there.
    is_new: bool = False


class States:
    """Reads and sets.

    Args:
        store: Where entities are.
        now: Seconds since 1970.
    """

    def __init__(self, store: Store, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    def get(self, place: Place) -> EntityRow:
        """One entity.

        Raises:
            UnknownEntityError: Nothing is kept of it.
        """
        with self._store.reading() as connection:
            found = coordinating.entity_of(connection, place)
        if found is None or found.is_removed:
            raise UnknownEntityError
        return found

    def list(
        self,
        project_key: int,
        kind: str | None,
        health: str | None,
        after: tuple[str, str] | None,
        limit: int,
    ) -> list[EntityRow]:
        """Entities of a project, by kind and id; arguments as of `coordinating.list_entities`."""
        with self._store.reading() as connection:
            return coordinating.list_entities(
                connection, project_key, kind=kind, health=health, after=after, limit=limit
            )

    def set(
        self, who: Setter, place: Place, value: Mapping[str, Any] | None, expected: Expected
    ) -> EntityRow:
        """Set what is desired, or a document's value, if all is as expected; how it is then.

        Args:
            who: Who sets it.
            place: Of what.
            value: JSON; ``None`` desires nothing any more, or removes the document.
            expected: What must be true before.

        Raises:
            UnknownEntityError: Nothing is kept of it; only documents can be made.
            VersionError: It is not as expected.
            CompletedError: It is a job that has completed.
            TypeError: The value is no JSON that can be stored.
        """
        text = None if value is None else orjson.dumps(value).decode()
        now_us = round(self._now() * _US)
        with self._store.writing() as connection:
            changes = Changes(connection, now_us)
            before = changes.get(place)
            _compare(place, before, expected)
            changes.put(place, before, **_values(who, place, text, now_us))
            changes.close()
            after = changes.get_all([place])[place]
            self._note(connection, who, after, value)
        return after

    def _note(
        self, connection: Connection, who: Setter, after: EntityRow, value: Mapping[str, Any] | None
    ) -> None:
        details: dict[str, Any] = {"kind": after.kind, "version": after.version}
        if after.kind != DOCUMENT:  # whose content is its users'
            details["desired"] = value
        if who.token_id:
            details["tokenId"] = who.token_id
        auditing.note(
            connection,
            at_us=after.changed_at_us,
            project_key=after.project_key,
            actor=who.name,
            action="state.set" if value is not None else "state.removed",
            target=after.entity_id,
            outcome="done",
            reason=who.reason or None,
            details=details,
        )


def _compare(place: Place, before: EntityRow | None, expected: Expected) -> None:
    """Refuse what is not as expected."""
    is_there = before is not None and not before.is_removed
    if expected.is_new:
        if is_there and before is not None:
            raise VersionError(before.version)
        if place.kind != DOCUMENT:
            raise UnknownEntityError
        return
    if before is None or not is_there:
        raise UnknownEntityError
    if expected.version is not None and expected.version != before.version:
        raise VersionError(before.version)
    if before.kind == JOB and orjson.loads(before.observed or "{}").get("status") == "completed":
        raise CompletedError


def _values(who: Setter, place: Place, text: str | None, now_us: int) -> dict[str, Any]:
    """The columns of what somebody sets."""
    found: dict[str, Any] = {**NOTHING_DESIRED}
    if place.kind == DOCUMENT:
        found["over_at_us"] = now_us if text is None else None
    said = {"desired": text, "desired_by": who.name, "desired_reason": who.reason or None}
    return found | said | {"desired_at_us": now_us}
