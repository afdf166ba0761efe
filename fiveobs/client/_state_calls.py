"""The calls about states: of jobs, workers, machines and services, and documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fiveobs.client._call import Call, quoted_id
from fiveobs.client.answers import StateAnswer, StatePage
from fiveobs.exceptions import BadInputError

__all__ = ["remove_state", "set_state", "state", "states"]

_KINDS = ("document", "job", "machine", "service", "worker")


def states(
    kind: str | None = None,
    *,
    health: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Call[StatePage]:
    """What is observed and desired of everything, and documents; by kind and id.

    Args:
        kind: Only ``job``, ``worker``, ``machine``, ``service`` or ``document``.
        health: Only those that are so: ``ok``, ``stuck``, ``silent`` …
        limit: At most so many.
        cursor: ``next`` of an earlier answer, to go on.
    """
    query = {"kind": kind, "health": health, "limit": limit, "cursor": cursor}
    return Call(path="state", answer=StatePage, query=query)


def state(kind: str, entity_id: str) -> Call[StateAnswer]:
    """What is observed and desired of one job, worker, machine or service, or a document."""
    return Call(path=_path(kind, entity_id), answer=StateAnswer)


def set_state(
    kind: str,
    entity_id: str,
    value: Mapping[str, Any],
    *,
    version: int | None = None,
    is_new: bool = False,
    reason: str = "",
) -> Call[StateAnswer]:
    """Set what is desired, or a document, if it has the version that is known; else `VersionError`.

    Args:
        kind: ``job``, ``worker``, ``machine``, ``service`` or ``document``.
        entity_id: Its id, or the name of the document.
        value: Of a job ``{"status": "paused"}``, ``running`` or ``stopped``; of a document its
            content; of the others whatever those who follow it understand.
        version: The version that it must have; ``None`` is any.
        is_new: It must not be there; documents only.
        reason: Why, for the audit trail.
    """
    if is_new and version is not None:
        raise BadInputError(f"version: {version} with is_new: use one, what is new has no version")
    headers = {"If-None-Match": "*"} if is_new else {"If-Match": _tag(version)}
    body = {"value": dict(value), "reason": reason}
    path = _path(kind, entity_id)
    return Call(method="PUT", path=path, answer=StateAnswer, body=body, headers=headers)


def remove_state(kind: str, entity_id: str, *, version: int | None = None) -> Call[StateAnswer]:
    """Remove a document, or desire nothing any more, if it has that version (``None``: any)."""
    headers = {"If-Match": _tag(version)}
    path = _path(kind, entity_id)
    return Call(method="DELETE", path=path, answer=StateAnswer, headers=headers)


def _tag(version: int | None) -> str:
    if version is None:
        return "*"
    if type(version) is not int or version < 1:
        raise BadInputError(f"version: {version!r} is none; use the version of a state, 1 or more")
    return f'"{version}"'


def _path(kind: str, entity_id: str) -> str:
    """The path of one state, below the project's.

    Raises:
        BadInputError: There can be none.
    """
    if kind not in _KINDS:
        raise BadInputError(f"kind: {kind!r} is none; use {', '.join(_KINDS)}")
    if not entity_id:
        raise BadInputError(f"{entity_id!r} is no id; use that of one {kind}")
    return f"state/{kind}/{quoted_id(entity_id)}"
