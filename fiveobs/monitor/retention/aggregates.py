"""Aggregates in the store: written in the transaction in which their rows go, and read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import orjson
from sqlalchemy import bindparam, insert, select

from fiveobs.monitor.ingest.writing import dialect
from fiveobs.monitor.retention.folding import Aggregate, Folds, Series
from fiveobs.monitor.store.schema import aggregates, series

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Bucket", "Known", "buckets_of", "series_of", "write"]

_VALUES = (
    aggregates.c.count,
    aggregates.c.total,
    aggregates.c.minimum,
    aggregates.c.maximum,
    aggregates.c.histogram,
)
_OF_SERIES = (
    aggregates.c.series_key == bindparam("series_key"),
    aggregates.c.interval_s == bindparam("interval_s"),
)
_KNOWN = select(aggregates.c.start_us, *_VALUES).where(
    *_OF_SERIES, aggregates.c.start_us.between(bindparam("from_us"), bindparam("to_us"))
)
_WRITE = """
INSERT INTO aggregates (series_key, interval_s, start_us, count, total, minimum, maximum, histogram)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (series_key, interval_s, start_us) DO UPDATE SET
  count = excluded.count, total = excluded.total, minimum = excluded.minimum,
  maximum = excluded.maximum, histogram = excluded.histogram
"""


def write(connection: Connection, folds: Folds, keys: dict[Series, int]) -> None:
    """Add values to what is stored.

    Args:
        connection: The transaction in which their rows are deleted; no other folds meanwhile.
        folds: What they were.
        keys: Those of series that are known from transactions before; more are added.
    """
    for each in folds.found.keys() - keys.keys():
        keys[each] = _key_of(connection, each)
    rows = [
        (keys[each], interval_s, start_us, *what.row)
        for each, by_interval in folds.found.items()
        for interval_s, buckets in by_interval.items()
        for start_us, what in _added(connection, keys[each], interval_s, buckets)
    ]
    if rows:
        connection.exec_driver_sql(dialect(_WRITE, connection.dialect.name), rows)


def _added(
    connection: Connection, series_key: int, interval_s: int, buckets: Mapping[int, Aggregate]
) -> Iterable[tuple[int, Aggregate]]:
    """What the values are together with those that are stored."""
    given = {"series_key": series_key, "interval_s": interval_s}
    given |= {"from_us": min(buckets), "to_us": max(buckets)}
    for start_us, *before in connection.execute(_KNOWN, given):
        if start_us in buckets:
            buckets[start_us].add(Aggregate.from_row(*before))
    return buckets.items()


def _key_of(connection: Connection, what: Series) -> int:
    found = connection.execute(select(series.c.series_key).filter_by(**what._asdict())).scalar()
    if found is None:
        made = connection.execute(insert(series).values(**what._asdict()))
        found = made.inserted_primary_key[0]  # type: ignore[index]
    return int(found)


class Known(NamedTuple):
    """A series that there is."""

    series_key: int
    labels: dict[str, str]


def series_of(
    connection: Connection,
    project_key: int,
    metric: str,
    wanted: Mapping[str, str],
    *,
    limit: int,
) -> list[Known]:
    """The series of a metric that have these labels, and any others, in the order of all labels."""
    found = select(series.c.series_key, series.c.labels).filter_by(
        project_key=project_key, metric=metric
    )
    rows = connection.execute(found.order_by(series.c.labels)).all()
    known = (Known(key, orjson.loads(text)) for key, text in rows)
    return list(islice((each for each in known if wanted.items() <= each.labels.items()), limit))


class Bucket(NamedTuple):
    """What the values of a series were in an hour or a day."""

    start_us: int
    what: Aggregate


def buckets_of(
    connection: Connection,
    series_key: int,
    interval_s: int,
    from_us: int,
    to_us: int,
    limit: int,
) -> list[Bucket]:
    """The last aggregates of a series within a span of time, the oldest first."""
    given = {"series_key": series_key, "interval_s": interval_s}
    found = _KNOWN.order_by(aggregates.c.start_us.desc()).limit(limit)
    rows = connection.execute(found, {**given, "from_us": from_us, "to_us": to_us}).all()
    return [Bucket(start_us, Aggregate.from_row(*values)) for start_us, *values in reversed(rows)]
