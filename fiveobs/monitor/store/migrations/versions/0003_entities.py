"""The state that parts of a system agree on.

Revision: 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "entities",
        sa.Column(
            "entity_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "project_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("change_key", sa.BigInteger(), nullable=False),
        sa.Column("changed_at_us", sa.BigInteger(), nullable=False),
        sa.Column("health", sa.Text(), nullable=True),
        sa.Column("observed", sa.Text(), nullable=True),
        sa.Column("desired", sa.Text(), nullable=True),
        sa.Column("desired_by", sa.Text(), nullable=True),
        sa.Column("desired_reason", sa.Text(), nullable=True),
        sa.Column("desired_at_us", sa.BigInteger(), nullable=True),
        sa.Column("seen_at_us", sa.BigInteger(), nullable=True),
        sa.Column("over_at_us", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tried_version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_try_at_us", sa.BigInteger(), nullable=True),
        sa.Column("given_up", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_key"], ["projects.project_key"], name=op.f("fk_entities_project_key")
        ),
        sa.PrimaryKeyConstraint("entity_key", name=op.f("pk_entities")),
        sa.UniqueConstraint(
            "project_key", "kind", "entity_id", name=op.f("uq_entities_project_key_kind_entity_id")
        ),
    )
    with op.batch_alter_table("entities", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_entities_project_key_change_key"),
            ["project_key", "change_key"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_entities_change_key"), ["change_key"], unique=True)
        batch_op.create_index(
            batch_op.f("ix_entities_project_key_health_kind_entity_id"),
            ["project_key", "health", "kind", "entity_id"],
            unique=False,
        )
        batch_op.create_index(
            "ix_entities_over",
            ["over_at_us"],
            unique=False,
            sqlite_where=sa.text("over_at_us IS NOT NULL"),
            postgresql_where=sa.text("over_at_us IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_entities_open",
            ["kind", "entity_key"],
            unique=False,
            sqlite_where=sa.text("over_at_us IS NULL"),
            postgresql_where=sa.text("over_at_us IS NULL"),
        )
        batch_op.create_index(
            "ix_entities_desired",
            ["kind", "entity_key"],
            unique=False,
            sqlite_where=sa.text("desired IS NOT NULL"),
            postgresql_where=sa.text("desired IS NOT NULL"),
        )

    op.create_table(
        "positions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_positions")),
    )
    op.bulk_insert(
        sa.table("positions", sa.column("name"), sa.column("value")),
        [{"name": name, "value": 0} for name in ("changes", "dropped", "projector")],
    )
    # What happened before is not told again.
    op.execute(
        "INSERT INTO positions (name, value) SELECT 'events', value FROM sequences"
        " WHERE name = 'events'"
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("positions")
    op.drop_table("entities")
