"""Keys of what many rows refer to by name: projects and kinds of jobs. Each is looked up once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from sqlalchemy import Connection, Table, insert, select

from fiveobs.monitor.ingest.lines import without_nul
from fiveobs.monitor.ingest.values import cut
from fiveobs.monitor.ingest.writing import Keys
from fiveobs.monitor.store import schema

__all__ = ["DEFAULT_PROJECT", "DEFAULT_TENANT", "Names", "tenancy"]

#: Where jobs belong whose worker names no tenant and no project.
DEFAULT_TENANT, DEFAULT_PROJECT = "default", "default"


class Names:
    """The keys of projects and kinds; what is not there is added in the open transaction."""

    def __init__(self) -> None:
        self._projects: dict[tuple[str, str], int] = {}
        self._kinds: dict[tuple[int, str, str], int] = {}
        self._connection: Connection
        self._keys: Keys
        self._now_us: Callable[[], int]

    def open(self, connection: Connection, keys: Keys, now_us: Callable[[], int]) -> None:
        """Use this transaction from now on."""
        self._connection, self._keys, self._now_us = connection, keys, now_us

    def forget(self) -> None:
        """Know nothing: what was added may have been rolled back."""
        self._projects.clear()
        self._kinds.clear()

    def project(self, tenant_id: str, project_id: str) -> int:
        """The key of a project."""
        key = self._projects.get((tenant_id, project_id))
        if key is None:
            names = {"tenant_id": tenant_id, "project_id": project_id}
            key = self._key(schema.projects, names, created_at_us=self._now_us())
            self._projects[tenant_id, project_id] = key
        return key

    def kind(self, project_key: int, service: str, job_name: str) -> int:
        """The key of a kind of job."""
        key = self._kinds.get((project_key, service, job_name))
        if key is None:
            names = {"project_key": project_key, "service": service, "job_name": job_name}
            key = self._kinds[project_key, service, job_name] = self._key(schema.kinds, names)
        return key

    def _key(self, table: Table, names: dict[str, Any], **others: Any) -> int:
        column = next(iter(table.primary_key.columns))
        found = self._connection.execute(select(column).filter_by(**names)).scalar()
        if found is None:
            found = self._keys.next(table.name)
            values = {column.name: found, **names, **others}
            self._connection.execute(insert(table).values(values))
        return int(found)


def tenancy(line: bytes) -> tuple[str, str]:
    """Tenant and project that a worker's record names; the default ones if that is damage."""
    try:
        record = orjson.loads(without_nul(line))
        resource = record["data"].get("resource") or {}
        tenant_id = resource.get("fiveobs.tenant.id") or record.get("tenant_id")
        project_id = resource.get("fiveobs.project.id") or record.get("project_id")
    except (ValueError, KeyError, TypeError, AttributeError):
        return DEFAULT_TENANT, DEFAULT_PROJECT
    return cut(tenant_id) or DEFAULT_TENANT, cut(project_id) or DEFAULT_PROJECT
