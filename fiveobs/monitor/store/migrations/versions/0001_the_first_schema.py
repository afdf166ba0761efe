"""The first schema.

Revision: 0001, after None.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: Tables whose keys we give out.
SEQUENCES = ("batches", "errors", "events", "jobs", "kinds", "projects", "unreadable", "workers")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "events",
        sa.Column(
            "event_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("project_key", sa.BigInteger(), nullable=False),
        sa.Column("job_key", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("worker_key", sa.BigInteger(), nullable=True),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("span_id", sa.Text(), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_key", name=op.f("pk_events")),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(
            "ix_events_job_key",
            ["job_key", "event_key"],
            unique=False,
            sqlite_where=sa.text("job_key IS NOT NULL"),
            postgresql_where=sa.text("job_key IS NOT NULL"),
        )

    op.create_table(
        "projects",
        sa.Column(
            "project_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_key", name=op.f("pk_projects")),
        sa.UniqueConstraint(
            "tenant_id", "project_id", name=op.f("uq_projects_tenant_id_project_id")
        ),
    )
    op.create_table(
        "sequences",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sequences")),
    )
    op.create_table(
        "tokens",
        sa.Column(
            "token_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=True),
        sa.Column("project_id", sa.Text(), nullable=True),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_us", sa.BigInteger(), nullable=True),
        sa.Column("used_at_us", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at_us", sa.BigInteger(), nullable=True),
        sa.Column("is_first", sa.Boolean(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("token_key", name=op.f("pk_tokens")),
        sa.UniqueConstraint("token_id", name=op.f("uq_tokens_token_id")),
    )
    op.create_table(
        "audit",
        sa.Column(
            "audit_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column(
            "project_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_key"], ["projects.project_key"], name=op.f("fk_audit_project_key")
        ),
        sa.PrimaryKeyConstraint("audit_key", name=op.f("pk_audit")),
    )
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_audit_project_key_at_us"), ["project_key", "at_us"], unique=False
        )
        batch_op.create_index(
            "ix_audit_requested",
            ["audit_key"],
            unique=False,
            sqlite_where=sa.text("outcome = 'requested'"),
            postgresql_where=sa.text("outcome = 'requested'"),
        )
        batch_op.create_index(batch_op.f("ix_audit_target"), ["target"], unique=False)

    op.create_table(
        "kinds",
        sa.Column("kind_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("job_name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_key"], ["projects.project_key"], name=op.f("fk_kinds_project_key")
        ),
        sa.PrimaryKeyConstraint("kind_key", name=op.f("pk_kinds")),
        sa.UniqueConstraint(
            "project_key", "service", "job_name", name=op.f("uq_kinds_project_key_service_job_name")
        ),
    )
    op.create_table(
        "workers",
        sa.Column(
            "worker_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("stem", sa.Text(), nullable=False),
        sa.Column(
            "project_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("worker_id", sa.Text(), nullable=True),
        sa.Column("machine_id", sa.Text(), nullable=True),
        sa.Column("service", sa.Text(), nullable=True),
        sa.Column("pid", sa.BigInteger(), nullable=True),
        sa.Column("cpu_count", sa.Float(precision=53), nullable=True),
        sa.Column("resource", sa.Text(), nullable=True),
        sa.Column("segment", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lines", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unreadable_lines", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("started_at_us", sa.BigInteger(), nullable=True),
        sa.Column("heartbeat_at_us", sa.BigInteger(), nullable=True),
        sa.Column("stopped_at_us", sa.BigInteger(), nullable=True),
        sa.Column("latest_at_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("active_jobs", sa.BigInteger(), nullable=True),
        sa.Column("cpu_s", sa.Float(precision=53), nullable=True),
        sa.Column("cpu_percent", sa.Float(precision=53), nullable=True),
        sa.Column("memory_rss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_used_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_limit_bytes", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_key"], ["projects.project_key"], name=op.f("fk_workers_project_key")
        ),
        sa.PrimaryKeyConstraint("worker_key", name=op.f("pk_workers")),
        sa.UniqueConstraint("stem", name=op.f("uq_workers_stem")),
    )
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_workers_project_key_heartbeat_at_us"),
            ["project_key", "heartbeat_at_us"],
            unique=False,
        )

    op.create_table(
        "jobs",
        sa.Column("job_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "project_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("kind_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("parent_job_id", sa.Text(), nullable=True),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("submitted_by", sa.Text(), nullable=True),
        sa.Column("priority", sa.Text(), nullable=True),
        sa.Column("queue", sa.Text(), nullable=True),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("started_at_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("duration_s", sa.Float(precision=53), nullable=True),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["kind_key"], ["kinds.kind_key"], name=op.f("fk_jobs_kind_key")),
        sa.ForeignKeyConstraint(
            ["project_key"], ["projects.project_key"], name=op.f("fk_jobs_project_key")
        ),
        sa.PrimaryKeyConstraint("job_key", name=op.f("pk_jobs")),
        sa.UniqueConstraint("project_key", "job_id", name=op.f("uq_jobs_project_key_job_id")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_jobs_kind_key_created_at_us"),
            ["kind_key", "created_at_us"],
            unique=False,
        )
        batch_op.create_index(
            "ix_jobs_kind_key_duration_s",
            ["kind_key", "duration_s", "job_key"],
            unique=False,
            sqlite_where=sa.text("duration_s IS NOT NULL"),
            postgresql_where=sa.text("duration_s IS NOT NULL"),
        )
        batch_op.create_index(
            batch_op.f("ix_jobs_kind_key_status_created_at_us"),
            ["kind_key", "status", "created_at_us"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_jobs_kind_key_status_ended_at_us"),
            ["kind_key", "status", "ended_at_us"],
            unique=False,
        )
        batch_op.create_index(
            "ix_jobs_parent_job_id",
            ["project_key", "parent_job_id"],
            unique=False,
            sqlite_where=sa.text("parent_job_id IS NOT NULL"),
            postgresql_where=sa.text("parent_job_id IS NOT NULL"),
        )
        batch_op.create_index(
            batch_op.f("ix_jobs_project_key_created_at_us"),
            ["project_key", "created_at_us"],
            unique=False,
        )
        batch_op.create_index(
            "ix_jobs_project_key_duration_s",
            ["project_key", "duration_s", "job_key"],
            unique=False,
            sqlite_where=sa.text("duration_s IS NOT NULL"),
            postgresql_where=sa.text("duration_s IS NOT NULL"),
        )
        batch_op.create_index(
            batch_op.f("ix_jobs_project_key_status_created_at_us"),
            ["project_key", "status", "created_at_us"],
            unique=False,
        )
        batch_op.create_index(
            "ix_jobs_queue",
            ["project_key", "queue", "created_at_us", "job_key"],
            unique=False,
            sqlite_where=sa.text("status = 'received'"),
            postgresql_where=sa.text("status = 'received'"),
        )
        batch_op.create_index(
            "ix_jobs_request_id",
            ["project_key", "request_id"],
            unique=False,
            sqlite_where=sa.text("request_id IS NOT NULL"),
            postgresql_where=sa.text("request_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_jobs_session_id",
            ["project_key", "session_id"],
            unique=False,
            sqlite_where=sa.text("session_id IS NOT NULL"),
            postgresql_where=sa.text("session_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_jobs_submitted_by",
            ["project_key", "submitted_by", "status", "created_at_us"],
            unique=False,
            sqlite_where=sa.text("submitted_by IS NOT NULL"),
            postgresql_where=sa.text("submitted_by IS NOT NULL"),
        )

    op.create_table(
        "samples",
        sa.Column(
            "worker_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("at_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("active_jobs", sa.BigInteger(), nullable=True),
        sa.Column("cpu_s", sa.Float(precision=53), nullable=True),
        sa.Column("cpu_percent", sa.Float(precision=53), nullable=True),
        sa.Column("memory_rss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_used_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_limit_bytes", sa.BigInteger(), nullable=True),
        sa.Column("io_operations", sa.BigInteger(), nullable=True),
        sa.Column("network_receive_bytes", sa.BigInteger(), nullable=True),
        sa.Column("network_transmit_bytes", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["worker_key"], ["workers.worker_key"], name=op.f("fk_samples_worker_key")
        ),
        sa.PrimaryKeyConstraint("worker_key", "at_us", name=op.f("pk_samples")),
    )
    op.create_table(
        "unreadable",
        sa.Column(
            "unreadable_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "worker_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("found_at_us", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("line", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["worker_key"], ["workers.worker_key"], name=op.f("fk_unreadable_worker_key")
        ),
        sa.PrimaryKeyConstraint("unreadable_key", name=op.f("pk_unreadable")),
    )
    op.create_table(
        "attempts",
        sa.Column(
            "job_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_at_us", sa.BigInteger(), nullable=False),
        sa.Column(
            "worker_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("span_id", sa.Text(), nullable=True),
        sa.Column("runs", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("received_at_us", sa.BigInteger(), nullable=True),
        sa.Column("started_at_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("progress_at_us", sa.BigInteger(), nullable=True),
        sa.Column("running_at_us", sa.BigInteger(), nullable=True),
        sa.Column("paused_at_us", sa.BigInteger(), nullable=True),
        sa.Column("lost_at_us", sa.BigInteger(), nullable=True),
        sa.Column("alive_at_us", sa.BigInteger(), nullable=True),
        sa.Column("percent_at_us", sa.BigInteger(), nullable=True),
        sa.Column("queue_wait_s", sa.Float(precision=53), nullable=True),
        sa.Column("percent", sa.Float(precision=53), nullable=True),
        sa.Column("done", sa.Float(precision=53), nullable=True),
        sa.Column("total", sa.Float(precision=53), nullable=True),
        sa.Column("eta_s", sa.Float(precision=53), nullable=True),
        sa.Column("activity", sa.Text(), nullable=True),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("duration_s", sa.Float(precision=53), nullable=True),
        sa.Column("cpu_s", sa.Float(precision=53), nullable=True),
        sa.Column("input_size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("output_size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("debug_entries", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("info_entries", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("warning_entries", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error_entries", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("planned_stages", sa.Text(), nullable=True),
        sa.Column("attributes", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("sentry_event_id", sa.Text(), nullable=True),
        sa.Column("lost_cause", sa.Text(), nullable=True),
        sa.Column("lost_details", sa.Text(), nullable=True),
        sa.Column("retry_reason", sa.Text(), nullable=True),
        sa.Column("retry_delay_s", sa.Float(precision=53), nullable=True),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], name=op.f("fk_attempts_job_key")),
        sa.ForeignKeyConstraint(
            ["worker_key"], ["workers.worker_key"], name=op.f("fk_attempts_worker_key")
        ),
        sa.PrimaryKeyConstraint("job_key", "attempt", name=op.f("pk_attempts")),
    )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_attempts_trace_id"), ["trace_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_attempts_worker_key_status"), ["worker_key", "status"], unique=False
        )

    op.create_table(
        "conditions",
        sa.Column(
            "job_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_at_us", sa.BigInteger(), nullable=False),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], name=op.f("fk_conditions_job_key")),
        sa.PrimaryKeyConstraint("job_key", "condition", name=op.f("pk_conditions")),
    )
    op.create_table(
        "dependencies",
        sa.Column(
            "job_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("needs_job_id", sa.Text(), nullable=False),
        sa.Column(
            "project_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("declared_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_key"], ["jobs.job_key"], name=op.f("fk_dependencies_job_key")
        ),
        sa.ForeignKeyConstraint(
            ["project_key"], ["projects.project_key"], name=op.f("fk_dependencies_project_key")
        ),
        sa.PrimaryKeyConstraint("job_key", "needs_job_id", name=op.f("pk_dependencies")),
    )
    with op.batch_alter_table("dependencies", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_dependencies_project_key_needs_job_id"),
            ["project_key", "needs_job_id"],
            unique=False,
        )

    op.create_table(
        "errors",
        sa.Column(
            "error_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "project_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("job_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("error_type", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("stacktrace", sa.Text(), nullable=True),
        sa.Column("sentry_event_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], name=op.f("fk_errors_job_key")),
        sa.ForeignKeyConstraint(
            ["project_key"], ["projects.project_key"], name=op.f("fk_errors_project_key")
        ),
        sa.PrimaryKeyConstraint("error_key", name=op.f("pk_errors")),
    )
    with op.batch_alter_table("errors", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_errors_job_key"), ["job_key"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_errors_project_key_at_us"), ["project_key", "at_us"], unique=False
        )

    op.create_table(
        "measures",
        sa.Column(
            "job_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total", sa.Float(precision=53), nullable=True),
        sa.Column("minimum", sa.Float(precision=53), nullable=True),
        sa.Column("maximum", sa.Float(precision=53), nullable=True),
        sa.Column("last", sa.Float(precision=53), nullable=True),
        sa.Column("last_at_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], name=op.f("fk_measures_job_key")),
        sa.PrimaryKeyConstraint("job_key", "attempt", "name", "labels", name=op.f("pk_measures")),
    )
    op.create_table(
        "resources",
        sa.Column(
            "job_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("amount", sa.Float(precision=53), nullable=True),
        sa.Column("unit", sa.Text(), nullable=True),
        sa.Column("allocated_at_us", sa.BigInteger(), nullable=True),
        sa.Column("released_at_us", sa.BigInteger(), nullable=True),
        sa.Column("details", sa.Text(), nullable=True),
        sa.Column("said_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], name=op.f("fk_resources_job_key")),
        sa.PrimaryKeyConstraint("job_key", "resource", name=op.f("pk_resources")),
    )
    op.create_table(
        "stages",
        sa.Column(
            "job_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stage_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("span_id", sa.Text(), nullable=True),
        sa.Column("started_at_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=True),
        sa.Column("done", sa.Float(precision=53), nullable=True),
        sa.Column("total", sa.Float(precision=53), nullable=True),
        sa.Column("percent", sa.Float(precision=53), nullable=True),
        sa.Column("rate_per_s", sa.Float(precision=53), nullable=True),
        sa.Column("eta_s", sa.Float(precision=53), nullable=True),
        sa.Column("duration_s", sa.Float(precision=53), nullable=True),
        sa.Column("cpu_s", sa.Float(precision=53), nullable=True),
        sa.Column("memory_rss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_growth_bytes", sa.BigInteger(), nullable=True),
        sa.Column("io_read_bytes", sa.BigInteger(), nullable=True),
        sa.Column("io_write_bytes", sa.BigInteger(), nullable=True),
        sa.Column("network_receive_bytes", sa.BigInteger(), nullable=True),
        sa.Column("network_transmit_bytes", sa.BigInteger(), nullable=True),
        sa.Column("attributes", sa.Text(), nullable=True),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_key"], ["jobs.job_key"], name=op.f("fk_stages_job_key")),
        sa.PrimaryKeyConstraint("job_key", "attempt", "stage_index", name=op.f("pk_stages")),
    )
    op.create_table(
        "subscriptions",
        sa.Column(
            "subscription_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column(
            "project_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("job_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("filters", sa.JSON(), nullable=False),
        sa.Column("authentication", sa.JSON(), nullable=True),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("token_id", sa.Text(), nullable=True),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_us", sa.BigInteger(), nullable=True),
        sa.Column("event_key", sa.BigInteger(), nullable=False),
        sa.Column("ended_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_key"], ["jobs.job_key"], name=op.f("fk_subscriptions_job_key")
        ),
        sa.ForeignKeyConstraint(
            ["project_key"], ["projects.project_key"], name=op.f("fk_subscriptions_project_key")
        ),
        sa.PrimaryKeyConstraint("subscription_key", name=op.f("pk_subscriptions")),
        sa.UniqueConstraint("subscription_id", name=op.f("uq_subscriptions_subscription_id")),
    )
    with op.batch_alter_table("subscriptions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_subscriptions_job_key"), ["job_key"], unique=False)
        batch_op.create_index(batch_op.f("ix_subscriptions_status"), ["status"], unique=False)

    op.create_table(
        "deliveries",
        sa.Column(
            "delivery_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "subscription_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("event_key", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("next_try_at_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["subscription_key"],
            ["subscriptions.subscription_key"],
            name=op.f("fk_deliveries_subscription_key"),
        ),
        sa.PrimaryKeyConstraint("delivery_key", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "subscription_key", "event_key", name=op.f("uq_deliveries_subscription_key_event_key")
        ),
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index(
            "ix_deliveries_pending",
            ["subscription_key", "event_key"],
            unique=False,
            sqlite_where=sa.text("status = 'pending'"),
            postgresql_where=sa.text("status = 'pending'"),
        )
        batch_op.create_index(
            batch_op.f("ix_deliveries_status_next_try_at_us"),
            ["status", "next_try_at_us"],
            unique=False,
        )

    op.create_table(
        "told",
        sa.Column(
            "subscription_key",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("job_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stage_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("percent", sa.Float(precision=53), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscription_key"],
            ["subscriptions.subscription_key"],
            name=op.f("fk_told_subscription_key"),
        ),
        sa.PrimaryKeyConstraint("subscription_key", "job_key", "stage_index", name=op.f("pk_told")),
    )
    op.bulk_insert(
        sa.table("sequences", sa.column("name"), sa.column("value")),
        [{"name": name, "value": 0} for name in SEQUENCES],
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("told")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_deliveries_status_next_try_at_us"))
        batch_op.drop_index(
            "ix_deliveries_pending",
            sqlite_where=sa.text("status = 'pending'"),
            postgresql_where=sa.text("status = 'pending'"),
        )

    op.drop_table("deliveries")
    with op.batch_alter_table("subscriptions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_subscriptions_status"))
        batch_op.drop_index(batch_op.f("ix_subscriptions_job_key"))

    op.drop_table("subscriptions")
    op.drop_table("stages")
    op.drop_table("resources")
    op.drop_table("measures")
    with op.batch_alter_table("errors", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_errors_project_key_at_us"))
        batch_op.drop_index(batch_op.f("ix_errors_job_key"))

    op.drop_table("errors")
    with op.batch_alter_table("dependencies", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_dependencies_project_key_needs_job_id"))

    op.drop_table("dependencies")
    op.drop_table("conditions")
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_attempts_worker_key_status"))
        batch_op.drop_index(batch_op.f("ix_attempts_trace_id"))

    op.drop_table("attempts")
    op.drop_table("unreadable")
    op.drop_table("samples")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_jobs_submitted_by",
            sqlite_where=sa.text("submitted_by IS NOT NULL"),
            postgresql_where=sa.text("submitted_by IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_jobs_session_id",
            sqlite_where=sa.text("session_id IS NOT NULL"),
            postgresql_where=sa.text("session_id IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_jobs_request_id",
            sqlite_where=sa.text("request_id IS NOT NULL"),
            postgresql_where=sa.text("request_id IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_jobs_queue",
            sqlite_where=sa.text("status = 'received'"),
            postgresql_where=sa.text("status = 'received'"),
        )
        batch_op.drop_index(batch_op.f("ix_jobs_project_key_status_created_at_us"))
        batch_op.drop_index(
            "ix_jobs_project_key_duration_s",
            sqlite_where=sa.text("duration_s IS NOT NULL"),
            postgresql_where=sa.text("duration_s IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_jobs_project_key_created_at_us"))
        batch_op.drop_index(
            "ix_jobs_parent_job_id",
            sqlite_where=sa.text("parent_job_id IS NOT NULL"),
            postgresql_where=sa.text("parent_job_id IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_jobs_kind_key_status_ended_at_us"))
        batch_op.drop_index(batch_op.f("ix_jobs_kind_key_status_created_at_us"))
        batch_op.drop_index(
            "ix_jobs_kind_key_duration_s",
            sqlite_where=sa.text("duration_s IS NOT NULL"),
            postgresql_where=sa.text("duration_s IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_jobs_kind_key_created_at_us"))

    op.drop_table("jobs")
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_workers_project_key_heartbeat_at_us"))

    op.drop_table("workers")
    op.drop_table("kinds")
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_target"))
        batch_op.drop_index(
            "ix_audit_requested",
            sqlite_where=sa.text("outcome = 'requested'"),
            postgresql_where=sa.text("outcome = 'requested'"),
        )
        batch_op.drop_index(batch_op.f("ix_audit_project_key_at_us"))

    op.drop_table("audit")
    op.drop_table("tokens")
    op.drop_table("sequences")
    op.drop_table("projects")
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_events_job_key",
            sqlite_where=sa.text("job_key IS NOT NULL"),
            postgresql_where=sa.text("job_key IS NOT NULL"),
        )

    op.drop_table("events")
