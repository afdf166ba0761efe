"""Retention: how long things are kept, and aggregates of what has gone.

Revision: 0004, after 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "keeps",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("keep_s", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "project_id", "part", name=op.f("pk_keeps")),
    )
    op.create_table(
        "series",
        sa.Column(
            "series_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "project_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_key"], ["projects.project_key"], name=op.f("fk_series_project_key")
        ),
        sa.PrimaryKeyConstraint("series_key", name=op.f("pk_series")),
        sa.UniqueConstraint(
            "project_key", "metric", "labels", name=op.f("uq_series_project_key_metric_labels")
        ),
    )
    op.create_table(
        "aggregates",
        sa.Column(
            "series_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("interval_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total", sa.Float(precision=53), nullable=True),
        sa.Column("minimum", sa.Float(precision=53), nullable=True),
        sa.Column("maximum", sa.Float(precision=53), nullable=True),
        sa.Column("histogram", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["series_key"], ["series.series_key"], name=op.f("fk_aggregates_series_key")
        ),
        sa.PrimaryKeyConstraint("series_key", "interval_s", "start_us", name=op.f("pk_aggregates")),
    )
    op.create_table(
        "trimmed",
        sa.Column(
            "kind_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.Column("job_key", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["kind_key"], ["kinds.kind_key"], name=op.f("fk_trimmed_kind_key")),
        sa.PrimaryKeyConstraint("kind_key", "status", "part", name=op.f("pk_trimmed")),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(
            "ix_events_of_workers",
            ["project_key", "at_us"],
            unique=False,
            sqlite_where=sa.text("job_key IS NULL"),
            postgresql_where=sa.text("job_key IS NULL"),
        )


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_events_of_workers",
            sqlite_where=sa.text("job_key IS NULL"),
            postgresql_where=sa.text("job_key IS NULL"),
        )

    op.drop_table("trimmed")
    op.drop_table("aggregates")
    op.drop_table("series")
    op.drop_table("keeps")
