"""What the analytics conclude, as tables of an export: the answers of the API, in rows.

A request without a name of jobs goes over every kind of the project, one after the other, so that
no more is held than the past of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import orjson
from sqlalchemy import select

from fiveobs.monitor.enhanced import analyses, findings, volume
from fiveobs.monitor.enhanced.analyses import ANALYSES, Analyses
from fiveobs.monitor.enhanced.executions import Workflow
from fiveobs.monitor.exporting.columns import Column, Kind, Row
from fiveobs.monitor.exporting.table import Table, Worked
from fiveobs.monitor.exporting.walking import KIND, PERIOD, Wanted
from fiveobs.monitor.exporting.work import KIND_NAME
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import kinds

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["RESULTS"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OF_WORKFLOW = (
    Column(name="workflow_id", kind="text", doc="the name of the jobs"),
    Column(name="service", kind="text", doc="the service they belong to"),
)
_WHEN = (
    "when the jobs were first heard of: without a beginning, the 30 days before its end; of each"
    " kind, the newest 100,000 of them"
)


# --- columns and values ------------------------------------------------------------------------

#: What a column is, by the type in the schema of the API.
_KINDS: Mapping[str, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "json",
}


def _columns_of(model: type[BaseModel], left_out: Iterable[str] = ()) -> tuple[Column, ...]:
    """The fields of an answer of the API, those of parts of it with the part's name before them."""
    schema = model.model_json_schema(mode="serialization")
    parts = schema.get("$defs", {})
    return tuple(
        each for each in _fields(schema, parts) if not each.name.startswith(tuple(left_out))
    )


def _fields(
    schema: Any, parts: Mapping[str, Any], prefix: str = "", told: str = ""
) -> Iterator[Column]:
    """Columns; of a part's field that says nothing of itself, what is told of the part."""
    for name, field in schema["properties"].items():
        known = next(each for each in field.get("anyOf", [field]) if each.get("type") != "null")
        doc = field.get("description", "")
        if "$ref" in known:
            part = parts[known["$ref"].rpartition("/")[2]]
            yield from _fields(part, parts, f"{prefix}{name}_", doc or part["description"])
            continue
        kind: Kind = "time" if known.get("format") == "date-time" else _KINDS[known["type"]]
        yield Column(name=f"{prefix}{name}", kind=kind, doc=" ".join((doc or told).split()))


def _row(columns: Iterable[Column], found: BaseModel) -> Row:
    values = dict(_flat(found.model_dump()))
    return tuple(_value(each.kind, values.get(each.name)) for each in columns)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}_")
        else:
            yield f"{prefix}{name}", value


def _value(kind: Kind, value: Any) -> Any:
    if value is None:
        return None
    if kind == "time":
        return (datetime.fromisoformat(value) - _EPOCH) // timedelta(microseconds=1)
    return orjson.dumps(value).decode() if kind == "json" else value


# --- rows --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Result:
    """Where the rows of a table come from."""

    #: Which of `ANALYSES`, and what it is answered with.
    analysis: str
    answer: type[BaseModel]
    #: The rows of an answer, and what one is.
    rows: Callable[[Any], Iterable[BaseModel]]
    row: type[BaseModel]
    _: KW_ONLY
    #: How fields begin that an export does not have.
    left_out: tuple[str, ...] = ()


def _rows(
    result: _Result, columns: tuple[Column, ...], store: Store, wanted: Wanted
) -> Iterator[list[Row]]:
    reading = Analyses(store)
    for workflow in _workflows(store, wanted):
        asked = analyses.Wanted(wanted.project_key, workflow, wanted.from_us, wanted.to_us)
        found = _concluded(reading, asked, result.analysis)
        if found is not None:
            answer = result.answer.model_validate(found)
            yield [(*workflow, *_row(columns, each)) for each in result.rows(answer)]


def _workflows(store: Store, wanted: Wanted) -> list[Workflow]:
    """The kinds of job that are meant, by name."""
    found = select(KIND_NAME, kinds.c.service).where(kinds.c.project_key == wanted.project_key)
    if wanted.kind_keys is not None:
        found = found.where(kinds.c.kind_key.in_(wanted.kind_keys))
    with store.reading() as connection:
        rows = connection.execute(found.distinct().order_by(KIND_NAME, kinds.c.service))
        return [Workflow(name, service) for name, service in rows]


def _concluded(reading: Analyses, wanted: analyses.Wanted, analysis: str) -> object | None:
    """What an analysis says; ``None`` where nothing ran."""
    from_us, to_us = reading.period(wanted)
    past = reading.past(wanted._replace(from_us=from_us, to_us=to_us), analysis)
    if analysis != "comparison":
        return None if past.is_empty else ANALYSES[analysis](past)
    from_us, to_us = analyses.time_before(from_us, to_us)
    before = reading.past(wanted._replace(from_us=from_us, to_us=to_us), analysis)
    return None if past.is_empty and before.is_empty else ANALYSES[analysis](past, before=before)


class _Compared(findings.Finding):
    """A figure of this period beside that of the one before."""

    step: str | None
    """Null for whole runs."""
    figure: Literal["duration", "queue_wait", "cpu", "memory", "failures"]
    """Seconds, bytes, or the share that failed."""
    before_runs: int
    after_runs: int
    before: findings.Quantity | None
    """The median, or the share."""
    after: findings.Quantity | None
    ratio: findings.Quantity | None = None
    """How many times as much; null for failures."""
    difference: findings.Quantity | None = None
    """By how much the share of failures is larger; null for all others."""
    low: findings.Quantity | None
    high: findings.Quantity | None
    """Between what that lies: 95 in 100."""
    p_value: findings.Quantity | None = None
    verdict: Literal["better", "worse", "alike"] | None
    reason: str


def _figures(found: volume.Comparison) -> Iterator[_Compared]:
    for step in (None, *found.steps):
        source: BaseModel = found if step is None else step
        for figure in ("duration", "queue_wait", "cpu", "memory", "failures"):
            values = getattr(source, figure, None)
            if values is not None:
                told = {"step": step.step if step else None, "figure": figure}
                yield _Compared.model_validate({**told, **values.model_dump()})


def _some(value: BaseModel | None) -> list[BaseModel]:
    return [] if value is None else [value]


# --- tables ------------------------------------------------------------------------------------


def _table(name: str, doc: str, result: _Result) -> Table:
    columns = _columns_of(result.row, result.left_out)
    return Table(
        name=name,
        doc=doc,
        period=_WHEN,
        columns=_OF_WORKFLOW + columns,
        walk=Worked(partial(_rows, result, columns), (PERIOD, KIND)),
    )


def _page(name: str) -> str:
    return f"See [{name.replace('-', ' ')}](analytics/{name}.md)."


_FAILURES = partial(_Result, "failure-analysis", findings.FailureAnalysis)
_ANOMALIES = partial(_Result, "anomalies", findings.Anomalies)

#: In the order of the documentation.
RESULTS: tuple[Table, ...] = (
    _table(
        "bottlenecks",
        f"A step of a kind of job: what it takes, and how that has grown. {_page('bottlenecks')}",
        _Result("bottlenecks", findings.Bottlenecks, lambda found: found.steps, findings.StepUse),
    ),
    _table(
        "trends",
        f"A figure of a kind of job, and how it changes over time. {_page('resource-trends')}",
        _Result(
            "resource-trends", findings.ResourceTrends, lambda found: found.trends, findings.Trend
        ),
    ),
    _table(
        "leaks",
        f"A kind of job whose workers leak memory. {_page('resource-trends')}",
        _Result(
            "resource-trends",
            findings.ResourceTrends,
            lambda found: _some(found.leak),
            findings.Leak,
        ),
    ),
    _table(
        "error_groups",
        f"Failures of a kind of job that are the same error. {_page('failure-analysis')}",
        _FAILURES(lambda found: found.groups, findings.ErrorGroup),
    ),
    _table(
        "failure_rates",
        "How often runs of one step, worker, machine, release or attempt fail."
        f" {_page('failure-analysis')}",
        _FAILURES(lambda found: found.rates, findings.FailureRate),
    ),
    _table(
        "suspects",
        "A release, machine or worker that fails more often than what no other suspect explains."
        f" {_page('failure-analysis')}",
        _FAILURES(lambda found: found.suspects, findings.Suspect),
    ),
    _table(
        "failure_onsets",
        f"A kind of job that has come to fail more often. {_page('failure-analysis')}",
        _FAILURES(lambda found: _some(found.onset), findings.FailureOnset),
    ),
    _table(
        "anomalies",
        "A run that took longer or used more than others, of each kind the 100 most unusual."
        f" {_page('anomalies')}",
        _ANOMALIES(lambda found: found.unusual_runs, findings.UnusualRun),
    ),
    _table(
        "quiet_periods",
        f"A time in which fewer runs began than usual. {_page('anomalies')}",
        _ANOMALIES(lambda found: found.quiet_periods, findings.QuietPeriod),
    ),
    _table(
        "slow_slots",
        "A time of the day or of the week, UTC, at which runs usually take longer."
        f" {_page('anomalies')}",
        _ANOMALIES(lambda found: found.slow_slots, findings.SlowSlot),
    ),
    _table(
        "predictions",
        "What is to be expected of the next run of a kind of job, and how good that was before."
        f" {_page('prediction')}",
        _Result(
            "predictive",
            volume.Prediction,
            lambda found: [found],
            volume.Prediction,
            left_out=("execution_id", "elapsed_s", "remaining_"),
        ),
    ),
    _table(
        "throughput",
        "A day of a kind of job: what came and ended. Of more than 1,000 days, the thousandth part"
        f" of the period. {_page('throughput')}",
        _Result("throughput", volume.Throughput, lambda found: found.buckets, volume.Bucket),
    ),
    _table(
        "capacity",
        f"How full a kind of job is, and how much more of it fits. {_page('capacity')}",
        _Result("capacity", volume.Capacity, lambda found: [found], volume.Capacity),
    ),
    _table(
        "comparison",
        "A figure of a kind of job in this period, beside the period of the same length before."
        f" {_page('comparison')}",
        _Result("comparison", volume.Comparison, _figures, _Compared),
    ),
)
