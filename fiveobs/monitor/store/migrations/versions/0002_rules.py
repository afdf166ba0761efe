"""Rules: what shall be done on which events, what was, and what is awaited.

Revision: 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "rule_progress",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("event_key", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rule_progress")),
    )
    op.create_table(
        "rules",
        sa.Column("rule_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("rule_id", sa.Text(), nullable=False),
        sa.Column(
            "project_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.Column("after_key", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_key"], ["projects.project_key"], name=op.f("fk_rules_project_key")
        ),
        sa.PrimaryKeyConstraint("rule_key", name=op.f("pk_rules")),
        sa.UniqueConstraint("project_key", "name", name=op.f("uq_rules_project_key_name")),
        sa.UniqueConstraint("rule_id", name=op.f("uq_rules_rule_id")),
    )
    op.create_table(
        "expectations",
        sa.Column(
            "expectation_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("rule_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_key", sa.BigInteger(), nullable=False),
        sa.Column("event_key", sa.BigInteger(), nullable=False),
        sa.Column("correlation", sa.Text(), nullable=False),
        sa.Column("from_us", sa.BigInteger(), nullable=False),
        sa.Column("deadline_us", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("met_event_key", sa.BigInteger(), nullable=True),
        sa.Column("met_at_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("chain", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rule_key"], ["rules.rule_key"], name=op.f("fk_expectations_rule_key")
        ),
        sa.PrimaryKeyConstraint("expectation_key", name=op.f("pk_expectations")),
        sa.UniqueConstraint(
            "rule_key", "event_key", name=op.f("uq_expectations_rule_key_event_key")
        ),
    )
    with op.batch_alter_table("expectations", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_expectations_ended_at_us"), ["ended_at_us"], unique=False
        )
        batch_op.create_index(
            "ix_expectations_open",
            ["deadline_us"],
            unique=False,
            sqlite_where=sa.text("status = 'open'"),
            postgresql_where=sa.text("status = 'open'"),
        )
        batch_op.create_index(
            batch_op.f("ix_expectations_rule_key_correlation_deadline_us"),
            ["rule_key", "correlation", "deadline_us"],
            unique=False,
        )

    op.create_table(
        "firings",
        sa.Column(
            "firing_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("firing_id", sa.Text(), nullable=False),
        sa.Column("rule_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_key", sa.BigInteger(), nullable=False),
        sa.Column("event_key", sa.BigInteger(), nullable=False),
        sa.Column("cause_at_us", sa.BigInteger(), nullable=False),
        sa.Column("expectation_key", sa.BigInteger(), nullable=True),
        sa.Column("action_index", sa.Integer(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("next_try_at_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("chain", sa.JSON(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=True),
        sa.Column("told_at_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["rule_key"], ["rules.rule_key"], name=op.f("fk_firings_rule_key")),
        sa.PrimaryKeyConstraint("firing_key", name=op.f("pk_firings")),
        sa.UniqueConstraint("firing_id", name=op.f("uq_firings_firing_id")),
    )
    with op.batch_alter_table("firings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_firings_ended_at_us"), ["ended_at_us"], unique=False)
        batch_op.create_index(
            "ix_firings_job_id",
            ["project_key", "job_id"],
            unique=False,
            sqlite_where=sa.text("job_id IS NOT NULL"),
            postgresql_where=sa.text("job_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_firings_pending",
            ["next_try_at_us"],
            unique=False,
            sqlite_where=sa.text("status = 'pending'"),
            postgresql_where=sa.text("status = 'pending'"),
        )
        batch_op.create_index(
            batch_op.f("ix_firings_rule_key_cause_at_us"), ["rule_key", "cause_at_us"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_firings_rule_key_firing_key"), ["rule_key", "firing_key"], unique=False
        )
        batch_op.create_index(
            "ix_firings_untold",
            ["firing_key"],
            unique=False,
            sqlite_where=sa.text("told_at_us IS NULL AND ended_at_us IS NOT NULL"),
            postgresql_where=sa.text("told_at_us IS NULL AND ended_at_us IS NOT NULL"),
        )

    op.create_table(
        "sightings",
        sa.Column(
            "rule_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("event_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("correlation", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("seen_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rule_key"], ["rules.rule_key"], name=op.f("fk_sightings_rule_key")
        ),
        sa.PrimaryKeyConstraint("rule_key", "event_key", name=op.f("pk_sightings")),
    )
    with op.batch_alter_table("sightings", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_sightings_rule_key_correlation_at_us"),
            ["rule_key", "correlation", "at_us"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_sightings_seen_at_us"), ["seen_at_us"], unique=False)
    place = sa.table("rule_progress", sa.column("name"), sa.column("event_key"))
    op.bulk_insert(place, [{"name": "events", "event_key": 0}])


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("sightings", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sightings_seen_at_us"))
        batch_op.drop_index(batch_op.f("ix_sightings_rule_key_correlation_at_us"))

    op.drop_table("sightings")
    with op.batch_alter_table("firings", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_firings_untold",
            sqlite_where=sa.text("told_at_us IS NULL AND ended_at_us IS NOT NULL"),
            postgresql_where=sa.text("told_at_us IS NULL AND ended_at_us IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_firings_rule_key_firing_key"))
        batch_op.drop_index(batch_op.f("ix_firings_rule_key_cause_at_us"))
        batch_op.drop_index(
            "ix_firings_pending",
            sqlite_where=sa.text("status = 'pending'"),
            postgresql_where=sa.text("status = 'pending'"),
        )
        batch_op.drop_index(
            "ix_firings_job_id",
            sqlite_where=sa.text("job_id IS NOT NULL"),
            postgresql_where=sa.text("job_id IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_firings_ended_at_us"))

    op.drop_table("firings")
    with op.batch_alter_table("expectations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_expectations_rule_key_correlation_deadline_us"))
        batch_op.drop_index(
            "ix_expectations_open",
            sqlite_where=sa.text("status = 'open'"),
            postgresql_where=sa.text("status = 'open'"),
        )
        batch_op.drop_index(batch_op.f("ix_expectations_ended_at_us"))

    op.drop_table("expectations")
    op.drop_table("rules")
    op.drop_table("rule_progress")
