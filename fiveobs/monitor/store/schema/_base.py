"""What every other table refers to."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, UniqueConstraint

from fiveobs.monitor.store.columns import key, text, time

__all__ = ["metadata", "projects", "sequences"]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: The last key that was given out, by table. Holding a row is the right to take events in.
sequences = Table(
    "sequences",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

#: Who may see what: every row that a caller can reach belongs to one project of one tenant.
projects = Table(
    "projects",
    metadata,
    Column("project_key", key(), primary_key=True),
    text("tenant_id", nullable=False),
    text("project_id", nullable=False),
    time("created_at_us", nullable=False),
    UniqueConstraint("tenant_id", "project_id"),
)
