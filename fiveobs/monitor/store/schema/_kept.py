"""How long what is stored is kept, and what is left of figures when their rows have gone."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from fiveobs.monitor.store.columns import count, key, number, text, time
from fiveobs.monitor.store.schema._base import metadata

__all__ = ["aggregates", "keeps", "series", "trimmed"]

#: How long a tenant or a project keeps something, where that is not what the monitor is set to.
keeps = Table(
    "keeps",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    #: Empty: every project of the tenant that says nothing itself.
    Column("project_id", Text, primary_key=True),
    #: What is kept, as in ``retention.policy.PARTS``.
    Column("part", Text, primary_key=True),
    #: Seconds; empty: for ever.
    Column("keep_s", BigInteger),
)

#: Up to which job, in the order in which they ended, a part of the jobs of a kind has gone.
trimmed = Table(
    "trimmed",
    metadata,
    Column("kind_key", ForeignKey("kinds.kind_key"), primary_key=True, autoincrement=False),
    Column("status", Text, primary_key=True),
    Column("part", Text, primary_key=True),
    #: When that job ended; of one that is lost, when it was first heard of.
    time("until_us", nullable=False),
    Column("job_key", BigInteger, nullable=False),
)

#: What is aggregated: a figure of one sort of jobs or workers.
series = Table(
    "series",
    metadata,
    Column("series_key", key(), primary_key=True),
    Column("project_key", ForeignKey("projects.project_key"), nullable=False),
    text("metric", nullable=False),
    #: Whose figure it is, as sorted JSON text.
    text("labels", nullable=False),
    UniqueConstraint("project_key", "metric", "labels"),
)

#: What the values of a series were in an hour and in a day (UTC), of rows that have gone.
aggregates = Table(
    "aggregates",
    metadata,
    Column("series_key", ForeignKey("series.series_key"), primary_key=True, autoincrement=False),
    #: 3600 or 86400.
    Column("interval_s", Integer, primary_key=True, autoincrement=False),
    Column("start_us", BigInteger, primary_key=True, autoincrement=False),
    count("count"),
    *map(number, ("total", "minimum", "maximum")),
    #: JSON text: how many values there were by size, as in ``retention.folding``.
    text("histogram"),
)
