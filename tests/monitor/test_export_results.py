"""What the analytics conclude, exported from every store: the same as the API answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, insert

from fiveobs.monitor.access import create_token
from fiveobs.monitor.api.app import create_app
from fiveobs.monitor.exporting.formats import FORMATS, pieces
from fiveobs.monitor.exporting.results import RESULTS
from fiveobs.monitor.exporting.tables import TABLES
from fiveobs.monitor.exporting.walking import Wanted
from fiveobs.monitor.store import schema
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.tracking.human import US, as_time
from tests.support.asgi import ask
from tests.support.exports import READERS
from tests.support.past_runs import DAY_S, MONDAY_S, run_row, step_row

#: A Monday of the past: what is dated later than now is not known.
BEGIN_S = MONDAY_S - 52 * 7 * DAY_S
#: The kinds of job of the project, and how many runs there are in a day; the last one has none.
NAME = "etl, nightly"
SERVICES = {"lab": 120, "shop": 24, "idle": 0}
DAYS = 24
END_S = BEGIN_S + DAYS * DAY_S
#: What nobody else may read.
SECRET = "only-the-others-know"
FIGURES = ("duration", "queue_wait", "cpu", "memory", "failures")


class History:
    """Runs in which every analysis finds something, for the kinds of one project."""

    def __init__(self, store: Store, project_key: int, secret: str) -> None:
        self._store = store
        self._project_key = project_key
        self._secret = secret
        self._chance = np.random.default_rng(project_key)
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def write(self) -> None:
        project = {"project_id": f"p{self._project_key}", "tenant_id": "t", "created_at_us": 0}
        self._add("projects", project_key=self._project_key, **project)
        for place, (service, per_day) in enumerate(SERVICES.items()):
            self._kind(self._project_key * 10 + place, service, per_day)
        with self._store.writing() as connection:
            for name, rows in self._rows.items():
                connection.execute(insert(schema.metadata.tables[name]), rows)

    def _kind(self, kind_key: int, service: str, per_day: int) -> None:
        named = {"service": service, "job_name": NAME}
        self._add("kinds", kind_key=kind_key, project_key=self._project_key, **named)
        for day in range(DAYS if per_day else 0):
            worker_key = kind_key * 100 + day
            self._worker(worker_key, day)
            for number in range(per_day):
                # A day without runs.
                if not (day == 10 and service == "lab"):
                    self._run(kind_key, worker_key, day, number, per_day)

    def _worker(self, key: int, day: int) -> None:
        resource = json.dumps({"service.version": "2" if day >= 16 else "1"})
        known = {"resource": resource, "memory_limit_bytes": 10**9, "worker_id": f"w{key % 3}"}
        self._add("workers", worker_key=key, stem=f"s{key}", project_key=self._project_key, **known)

    def _run(self, kind_key: int, worker_key: int, day: int, number: int, per_day: int) -> None:
        key = worker_key * 1_000 + number
        at_s = BEGIN_S + (day + number / per_day) * DAY_S
        took_s = 60 * float(np.exp(self._chance.normal(0, 0.1)))
        # A slow hour, a run that is very slow, and a release that is slow and fails.
        took_s *= 4 if number * 24 // per_day == 8 else 1
        took_s *= 60 if (day, number) == (5, 3) else 1
        took_s *= 2 if day >= 16 else 1
        is_failed = day >= 16 and number % 3 == 0
        message = f"row {number} of {self._secret} is odd"
        error = {"error_type": "ValueError", "error_message": message} if is_failed else {}
        figures = {"duration_s": took_s, "cpu_s": took_s / 2}
        run = run_row(key, at_s, worker_key=worker_key, **figures, **error)._asdict()
        ended_us = run["started_at_us"] + round(took_s * US)
        status = run["status"]
        job = {"job_id": f"{self._secret[:4]}-{run.pop('job_id')}", "kind_key": kind_key}
        job |= {"status": status, "created_at_us": run["started_at_us"], "updated_at_us": 0}
        self._add("jobs", job_key=key, attempt=1, project_key=self._project_key, **job)
        self._add("attempts", **{**run, "ended_at_us": ended_us}, status_at_us=0)
        rss = {"memory_rss_bytes": 10**8 + 10**6 * number + int(self._chance.normal(0, 10**5))}
        self._add("stages", **step_row(key, "Load", at_s, **figures, **rss)._asdict())
        self._rows["stages"][-1]["stage_index"] = 1

    def _add(self, table: str, **row: Any) -> None:
        self._rows.setdefault(table, []).append(row)


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with two projects that have the same kinds of job."""
    History(store, 1, "ours").write()
    History(store, 2, SECRET).write()
    return store


class Project:
    """Asks for one project over HTTP."""

    def __init__(self, store: Store, project_key: int) -> None:
        self._app = create_app(store)
        self._scope = {"tenant_id": "t", "project_id": f"p{project_key}"}
        self._token = create_token(store, name="x", role="viewer", **self._scope).token

    def get(self, path: str) -> Any:
        found = ask(self._app, "GET", path, token=self._token)
        assert found.status == 200, found.body
        return found

    def exported(self, table: str, query: str = "") -> list[dict[str, Any]]:
        base = f"/api/t/{self._scope['project_id']}/execution/export/{table}"
        lines = self.get(f"{base}?format=jsonl{query}").body.split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def answered(self, analysis: str, service: str, query: str) -> Any:
        base = "/api/v1/enhanced-monitoring/analytics"
        name = NAME.replace(" ", "%20")
        return self.get(f"{base}/{analysis}/{name}?service={service}{query}").content["result"]


def at(seconds: float) -> str:
    return as_time(round(seconds * US)) or ""


def some(value: Any) -> list[Any]:
    return [] if value is None else [value]


def figures(found: Any) -> Iterator[dict[str, Any]]:
    """What a comparison says, a figure at a time."""
    for step in (None, *found["steps"]):
        for figure in FIGURES:
            values = (step or found).get(figure)
            if values is not None:
                yield {"step": step and step["step"], "figure": figure, **values}


#: For each table the analysis, and what of its answer the rows are.
WHERE: Mapping[str, Any] = {
    "bottlenecks": ("bottlenecks", lambda found: found["steps"]),
    "trends": ("resource-trends", lambda found: found["trends"]),
    "leaks": ("resource-trends", lambda found: some(found["leak"])),
    "error_groups": ("failure-analysis", lambda found: found["groups"]),
    "failure_rates": ("failure-analysis", lambda found: found["rates"]),
    "suspects": ("failure-analysis", lambda found: found["suspects"]),
    "failure_onsets": ("failure-analysis", lambda found: some(found["onset"])),
    "anomalies": ("anomalies", lambda found: found["unusual_runs"]),
    "quiet_periods": ("anomalies", lambda found: found["quiet_periods"]),
    "slow_slots": ("anomalies", lambda found: found["slow_slots"]),
    "predictions": ("predictive", some),
    "throughput": ("throughput", lambda found: found["buckets"]),
    "capacity": ("capacity", some),
    "comparison": ("comparison", figures),
}
#: Of a prediction: what is about a run that has begun.
LEFT_OUT = ("execution_id", "elapsed_s", "remaining")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """An answer's fields, those of its parts with the part's name before them; known ones only."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}_")
        elif value is not None and not f"{prefix}{name}".startswith(LEFT_OUT):
            is_time = name.endswith("_at")
            found[f"{prefix}{name}"] = datetime.fromisoformat(value) if is_time else value
    return found


def expected(project: Project, table: str, services: Iterable[str], query: str) -> list[Any]:
    analysis, rows = WHERE[table]
    return [
        {"workflow_id": NAME, "service": service, **flat(row)}
        for service in services
        for row in rows(project.answered(analysis, service, query))
    ]


def test_each_result_is_the_answer_of_the_api(filled: Store) -> None:
    """Field for field, of every kind of the project that had runs; and none is empty here."""
    assert list(WHERE) == [table.name for table in RESULTS]
    project = Project(filled, 1)
    # The later half, so that there is one before it to compare with.
    for begin_s in (BEGIN_S, BEGIN_S + DAYS / 2 * DAY_S):
        asked = f"&from={at(begin_s)}&to={at(END_S)}"
        exported = f"&fromTime={at(begin_s)}&toTime={at(END_S)}"
        for table in WHERE:
            found = [flat(row) for row in project.exported(table, exported)]
            assert found == expected(project, table, ("lab", "shop"), asked), table
            assert found or begin_s > BEGIN_S, table


def test_a_kind_can_be_asked_for_by_name_and_service(filled: Store) -> None:
    """As other tables can; of a kind without runs, or that there is not, there is nothing."""
    project = Project(filled, 1)
    until = f"&toTime={at(END_S)}"
    name = f"&jobName={NAME.replace(' ', '%20')}"
    for table in ("bottlenecks", "capacity"):
        whole = project.exported(table, until)
        assert {row["service"] for row in whole} == {"lab", "shop"}
        assert project.exported(table, f"{until}{name}") == whole
        of_shop = project.exported(table, f"{until}{name}&service=shop")
        assert of_shop == [row for row in whole if row["service"] == "shop"]
        for nothing in (f"{name}&service=idle", "&jobName=nothing"):
            assert project.exported(table, f"{until}{nothing}") == []


def test_without_a_beginning_it_is_of_thirty_days(filled: Store) -> None:
    """As the API has it, and so without an end, too."""
    project = Project(filled, 1)
    late_s = END_S + 10 * DAY_S
    (row,) = [
        row
        for row in project.exported("capacity", f"&toTime={at(late_s)}")
        if row["service"] == "lab"
    ]
    assert row["period_s"] == 30 * DAY_S
    assert flat(row) == expected(project, "capacity", ["lab"], f"&to={at(late_s)}")[0]
    assert (
        project.exported("capacity", "&fromTime=2030-01-01T00:00:00Z&toTime=2031-01-01T00:00:00Z")
        == []
    )


def test_nobody_else_s_results_are_in_it(filled: Store) -> None:
    """Both projects have the same kinds, workers and releases; what fails differs."""
    for project_key, is_there in ((1, False), (2, True)):
        project = Project(filled, project_key)
        seen = json.dumps([project.exported(table, f"&toTime={at(END_S)}") for table in WHERE])
        assert (SECRET in seen) == is_there


def test_every_result_reads_back_from_every_format(filled: Store) -> None:
    """CSV, JSON Lines and Parquet have the rows that were exported."""
    wanted = Wanted(project_key=1, to_us=round(END_S * US))
    for name in WHERE:
        table = TABLES[name]
        chunks = list(table.chunks(filled, wanted))
        rows = [row for chunk in chunks for row in chunk]
        as_json = [place for place, each in enumerate(table.columns) if each.kind == "json"]
        parsed = [
            tuple(json.loads(v) if place in as_json else v for place, v in enumerate(row))
            for row in rows
        ]
        for file_format, read in READERS.items():
            made = pieces(FORMATS[file_format](table.columns), chunks)
            found = read(b"".join(made), table.columns)
            assert found == (parsed if file_format == "jsonl" else rows), (name, file_format)


def test_kinds_are_read_one_at_a_time(filled: Store) -> None:
    """The runs of the next one are read when the rows of the one before have been taken."""
    reads: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "JOIN attempts" in statement:
            reads.append(statement)

    event.listen(filled.engine, "before_cursor_execute", note)
    try:
        chunks = TABLES["bottlenecks"].chunks(
            filled, Wanted(project_key=1, to_us=round(END_S * US))
        )
        # That of the service without runs comes first.
        next(chunks)
        assert len(reads) == 2
        next(chunks)
        assert len(reads) == 3
        assert list(chunks) == []
    finally:
        event.remove(filled.engine, "before_cursor_execute", note)
