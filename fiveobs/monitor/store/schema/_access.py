"""Who may call, and what was done."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, ForeignKey, Index, Table, UniqueConstraint

from fiveobs.monitor.store.columns import key, partial, text, time
from fiveobs.monitor.store.schema._base import metadata

__all__ = ["audit", "tokens"]

#: Who may call. The token itself is not kept, only its hash.
tokens = Table(
    "tokens",
    metadata,
    Column("token_key", key(), primary_key=True),
    text("token_id", nullable=False),
    text("hash", nullable=False),
    text("name", nullable=False),
    text("role", nullable=False),
    #: Empty: every tenant, every project.
    text("tenant_id"),
    text("project_id"),
    time("created_at_us", nullable=False),
    time("expires_at_us"),
    time("used_at_us"),
    time("revoked_at_us"),
    Column("is_first", Boolean, nullable=False, server_default="0"),
    UniqueConstraint("token_id"),
)

#: Who did what, when and why.
audit = Table(
    "audit",
    metadata,
    Column("audit_key", key(), primary_key=True),
    time("at_us", nullable=False),
    Column("project_key", ForeignKey("projects.project_key")),
    text("actor", nullable=False),
    text("action", nullable=False),
    text("target", nullable=False),
    text("reason"),
    text("outcome", nullable=False),
    Column("details", JSON),
    Index(None, "project_key", "at_us"),
    Index(None, "target"),
)
#: Requests of which nobody knows yet what became of them.
partial("ix_audit_requested", audit.c.outcome == "requested", audit.c.audit_key)
