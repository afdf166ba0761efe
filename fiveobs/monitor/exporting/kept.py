"""The tables of the state of everything, and of figures whose rows have gone."""

from __future__ import annotations

from fiveobs.monitor.exporting.columns import Columns, named_by
from fiveobs.monitor.exporting.table import Table
from fiveobs.monitor.exporting.walking import ByKey, ByParent, keys_of
from fiveobs.monitor.store.schema import aggregates, entities, series

__all__ = ["AGGREGATES", "STATES"]

_entity = Columns(entities)
STATES = Table(
    name="states",
    doc="What is observed and desired of a job, worker, machine or service; or a document.",
    walk=ByKey(
        entities.c.entity_key,
        where=lambda wanted: [entities.c.project_key == wanted.project_key],
    ),
    columns=(
        _entity.text("kind", "`job`, `worker`, `machine`, `service` or `document`"),
        _entity.text("entity_id", "its id"),
        _entity.integer("version", "one more with each change"),
        _entity.time("changed_at", "when it changed last"),
        _entity.text("health", "how it is, in a word"),
        _entity.json("observed", "what the monitor sees"),
        _entity.json("desired", "what somebody wants it to be, or a document's content"),
        _entity.text("desired_by", "who: a token's name"),
        _entity.text("desired_reason", "why"),
        _entity.time("desired_at", "since when"),
        _entity.time("seen_at", "its last sign of life"),
        _entity.time("over_at", "when it ended, or was removed"),
        _entity.integer("tries", "how often it was asked to follow"),
        _entity.time("next_try_at", "not again before then"),
        _entity.text("given_up", "why it is not asked any more"),
    ),
)

_aggregate = Columns(aggregates)
_SERIES = ByKey(
    series.c.series_key, where=lambda wanted: [series.c.project_key == wanted.project_key]
)
AGGREGATES = Table(
    name="aggregates",
    doc="What the values of a figure were in an hour or in a day (UTC), of rows that retention has"
    " taken.",
    walk=ByParent(
        keys_of(_SERIES),
        aggregates.c.series_key,
        aggregates.c.interval_s,
        aggregates.c.start_us,
    ),
    columns=(
        _aggregate.text(
            "metric", "which figure", named_by(aggregates.c.series_key, series, series.c.metric)
        ),
        _aggregate.text(
            "labels",
            "whose, as JSON",
            named_by(aggregates.c.series_key, series, series.c.labels),
        ),
        _aggregate.integer("interval_s", "3600 or 86400 seconds"),
        _aggregate.time("start", "when that time began"),
        _aggregate.integer("count", "how many values there were"),
        _aggregate.number("total", "their sum"),
        _aggregate.number("minimum", "the least of them"),
        _aggregate.number("maximum", "the largest"),
        _aggregate.json("histogram", "how many there were by size"),
    ),
)
