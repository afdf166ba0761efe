"""Run by Alembic: applies migrations on the connection that `configuration` was given."""

from __future__ import annotations

from alembic import context

from fiveobs.monitor.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter a table in place; Alembic then copies it.
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
