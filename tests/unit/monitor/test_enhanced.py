"""The enhanced-monitoring API: executions, steps and logs, page by page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import event

from fiveobs.monitor.enhanced.executions import Lists, Steps, Workflow
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.executions import Executions
from tests.support.asgi import Answer, ask
from tests.support.ingesting import Taking, rows
from tests.support.journals import line, write_segment
from tests.support.monitors import Monitor, monitor

BASE = "/api/v1/enhanced-monitoring"
RUNS = 25
#: Fields that the specification names.
NAMED = {
    "workflow-executions": {
        *("execution_time", "step_count", "success_count", "failure_count", "retry_count"),
        *("memory_usage", "cpu_usage"),
    },
    "step-executions": {
        *("execution_time", "retry_count", "memory_usage", "cpu_usage", "io_operations"),
        "network_requests",
    },
}


def written(home: Path) -> None:
    """Runs of one kind in two services, of which every fifth fails; and one of another kind."""
    resource = {"service.name": "a"}
    lines = [line(1, "worker.started", data={"pid": 7, "resource": resource})]

    def say(at: float, event_type: str, job_id: str, data: Any = None, **more: Any) -> None:
        fields = {"job_id": job_id, "job_name": "etl", "service": "a", **more}
        lines.append(line(len(lines) + 1, event_type, after_s=at, **fields, data=data or {}))

    for number in range(RUNS):
        at, job_id = 100.0 * number, f"run-{number}"
        more = {"service": "b" if number % 2 else "a", "attempt": 1 + number % 3}
        say(at, "job.started", job_id, {"stages": ["Load", "Report"]}, **more)
        say(at + 1, "stage.started", job_id, {"stage": "Load", "index": 1}, **more)
        figures = {"duration_s": 8.0, "cpu_s": 2.0, "memory_rss_bytes": 1000 + number}
        figures |= {"io_read_bytes": 7, "network_receive_bytes": 70, "done": 500}
        loaded = {"stage": "Load", "index": 1, **figures}
        say(at + 9, "stage.completed", job_id, loaded, **more)
        for name, value in (("network_requests", 5), ("Load.network_requests", 3)):
            count = {"kind": "counter", "name": name, "value": value, "unit": "", "labels": {}}
            say(at + 9, "metric", job_id, count, **more)
        say(at + 5, "log", job_id, {"rows": 17}, level="warning", message="odd rows", **more)
        error = {"type": "ValueError", "message": "no"}
        if number % 5 == 0:
            say(at + 9, "stage.started", job_id, {"stage": "Report", "index": 2}, **more)
            failed = {"stage": "Report", "index": 2, "duration_s": 1.0, "error": error}
            say(at + 10, "stage.failed", job_id, failed, level="error", **more)
            data = {"duration_s": 10.0 + number, "cpu_s": 4.0, "error": error}
            say(at + 10, "job.failed", job_id, data, level="error", **more)
        else:
            data = {"duration_s": 10.0 + number % 7, "cpu_s": 4.0}
            say(at + 10, "job.completed", job_id, data, **more)
    say(0, "job.started", "a/b", job_name="other")
    write_segment(home, "host-7-1", 1, *lines)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    home = tmp_path_factory.mktemp("enhanced")
    written(home)
    with monitor(home) as found:
        found.ingest()
        yield found


def asked(running: Monitor, path: str, token: str | None = None) -> Answer:
    return ask(running.app, "GET", f"{BASE}/{path}", token=token or running.token)


def items(running: Monitor, path: str) -> list[Any]:
    found = asked(running, path)
    assert found.status == 200, found.body
    return list(found.content["items"])


def paged(running: Monitor, path: str, limit: int) -> list[Any]:
    """Everything, page by page."""
    found: list[Any] = []
    cursor, mark = "", "&" if "?" in path else "?"
    for _ in range(500):
        page = asked(running, f"{path}{mark}limit={limit}{cursor}").content
        found += page["items"]
        assert len(page["items"]) <= limit
        if page["next"] is None:
            return found
        cursor = f"&cursor={quote(page['next'])}"
    raise AssertionError("there is no end of it")


#: What the published page says can be asked, its examples with the ids of these runs.
PUBLISHED = (
    "enhanced-metrics/workflow-executions?workflow_id=etl",
    "enhanced-metrics/step-executions",
    *(
        f"analytics/{name}/etl"
        for name in ("bottlenecks", "resource-trends", "failure-analysis", "predictive")
    ),
    "logs/run-1",
)


@pytest.mark.parametrize("path", PUBLISHED)
def test_what_is_published_is_answered(running: Monitor, path: str) -> None:
    """With an object that has something in it."""
    found = asked(running, path)
    assert found.status == 200, found.body
    assert isinstance(found.content, dict)
    assert found.content


def test_an_entry_of_a_log_has_what_is_published(running: Monitor) -> None:
    """A level, of which there are four, and metadata."""
    found = items(running, "logs/run-1")
    assert {each["level"] for each in found} <= {"DEBUG", "INFO", "WARNING", "ERROR"}
    assert {"rows": 17} in [each["metadata"] for each in found]
    warned = items(running, "logs/run-1?log_level=WARNING")
    assert [each["message"] for each in warned] == ["odd rows"]


# --- executions --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NAMED)
def test_every_field_that_is_named_is_there(running: Monitor, path: str) -> None:
    """In each item of the list."""
    found = items(running, f"enhanced-metrics/{path}")
    assert found
    assert all(NAMED[path] <= each.keys() for each in found)


def test_an_execution_has_its_figures(running: Monitor) -> None:
    """Times, counts of steps and of attempts, what its steps used, what it has counted itself."""
    (found,) = [
        each
        for each in items(running, "enhanced-metrics/workflow-executions?workflow_id=etl")
        if each["execution_id"] == "run-5"
    ]
    assert (found["workflow_id"], found["service"], found["status"]) == ("etl", "b", "Failed")
    assert (found["execution_time"], found["retry_count"]) == (15, 2)
    counts = (found["step_count"], found["success_count"], found["failure_count"])
    assert counts == (2, 1, 1)
    assert (found["memory_usage"], found["cpu_time"], found["cpu_usage"]) == (1005, 4, 26.7)
    assert (found["io_read_bytes"], found["io_write_bytes"]) == (7, None)
    assert (found["network_receive_bytes"], found["network_requests"]) == (70, 5)
    assert (found["io_operations"], found["error_type"]) == (None, "ValueError")
    (other,) = items(running, "enhanced-metrics/workflow-executions?workflow_id=other")
    assert (other["execution_id"], other["completed_at"]) == ("a/b", None)


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "execution_time", "-execution_time"])
@pytest.mark.parametrize("limit", [1, 7, 100])
def test_pages_have_everything_once_and_in_order(running: Monitor, sort: str, limit: int) -> None:
    """Whatever their size; also where many have the same value."""
    path = f"enhanced-metrics/workflow-executions?workflow_id=etl&sort={sort}"
    found = paged(running, path, limit)
    assert len({each["execution_id"] for each in found}) == len(found) == RUNS
    values = [each[sort.removeprefix("-")] for each in found]
    assert values == sorted(values, reverse=sort.startswith("-"))


def test_filters_are_all_met(running: Monitor) -> None:
    """Workflow, service, status and time, together."""
    path = "enhanced-metrics/workflow-executions?workflow_id=etl&status=Failed"
    assert {each["execution_id"] for each in paged(running, path, 2)} == {
        f"run-{number}" for number in range(0, RUNS, 5)
    }
    only_b = paged(running, f"{path}&service=b", 2)
    assert [each["execution_id"] for each in only_b] == ["run-15", "run-5"]
    since = quote(only_b[0]["created_at"])
    assert len(paged(running, f"{path}&created_after={since}", 2)) == 2
    assert len(paged(running, f"{path}&created_before={since}", 2)) == 4
    assert items(running, "enhanced-metrics/workflow-executions?workflow_id=nothing") == []


# --- steps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_steps_come_with_their_executions(running: Monitor, limit: int) -> None:
    """Those of one together, in their order, also over the end of a page."""
    found = paged(running, "enhanced-metrics/step-executions?workflow_id=etl", limit)
    expected = [
        f"run-{number}#{order}"
        for number in reversed(range(RUNS))
        for order in ((1, 2) if number % 5 == 0 else (1,))
    ]
    assert [each["step_id"] for each in found] == expected


def test_a_step_has_its_figures(running: Monitor) -> None:
    """Of the job's own counts, those under its name."""
    path = "enhanced-metrics/step-executions?execution_id=run-5"
    load, report = items(running, path)
    assert (load["step_name"], load["execution_time"], load["cpu_usage"]) == ("Load", 8, 25)
    assert (load["records_processed"], load["network_requests"]) == (500, 3)
    assert (load["memory_usage"], load["io_read_bytes"], load["retry_count"]) == (1005, 7, 2)
    assert (report["status"], report["error_type"]) == ("Failed", "ValueError")
    assert items(running, f"{path}&workflow_id=other") == []
    assert items(running, f"{path}&status=Failed") == [report]
    assert items(running, "enhanced-metrics/step-executions?execution_id=nothing") == []


def test_few_steps_are_found_among_many(running: Monitor) -> None:
    """By name or by status."""
    path = "enhanced-metrics/step-executions?workflow_id=etl&status=Failed"
    assert len(paged(running, path, 2)) == RUNS // 5
    named = paged(running, "enhanced-metrics/step-executions?step_name=Report", 2)
    assert {each["step_name"] for each in named} == {"Report"}
    assert len(named) == RUNS // 5


# --- logs --------------------------------------------------------------------------------------


def test_the_log_of_an_execution_is_paged(running: Monitor) -> None:
    """Each entry once, in the order in which it came, with what it said as metadata."""
    found = paged(running, "logs/run-5", 3)
    assert found == items(running, "logs/run-5")
    assert len({each["log_id"] for each in found}) == len(found) == 7
    odd = next(each for each in found if each["event_type"] == "log")
    assert (odd["level"], odd["message"], odd["metadata"]) == ("WARNING", "odd rows", {"rows": 17})
    assert odd["step_name"] == "Load"
    levels = [each["level"] for each in paged(running, "logs/run-5?log_level=WARNING", 1)]
    assert levels == ["WARNING", "ERROR", "ERROR"]
    assert len(items(running, f"logs/{quote('a/b', safe='')}")) == 1
    assert asked(running, "logs/nothing").status == 404


# --- what cannot be asked ----------------------------------------------------------------------


@pytest.mark.parametrize("cursor", ["x", "e30", "W10", "WyJsb2ciLDFd", "é", "bnVsbA", "A" * 200])
def test_a_cursor_of_elsewhere_is_refused(running: Monitor, cursor: str) -> None:
    """It names the parameter; so does one of the same list in another order."""
    for path in ("workflow-executions", "step-executions"):
        found = asked(running, f"enhanced-metrics/{path}?cursor={quote(cursor)}")
        assert (found.status, found.content["errors"][0]["name"]) == (422, "cursor")
    page = asked(running, "enhanced-metrics/workflow-executions?limit=1").content
    other = f"enhanced-metrics/workflow-executions?sort=created_at&cursor={page['next']}"
    assert asked(running, other).status == 422


def test_what_makes_no_sense_is_refused(running: Monitor) -> None:
    """A service of no workflow, and a time that ends before it begins."""
    path = "enhanced-metrics/workflow-executions"
    assert asked(running, f"{path}?service=a").content["errors"][0]["name"] == "service"
    times = "created_after=2026-01-02T00:00:00Z&created_before=2026-01-01T00:00:00Z"
    assert asked(running, f"{path}?{times}").content["errors"][0]["name"] == "created_after"


def test_the_project_is_the_tokens_or_the_one_that_is_asked_for(running: Monitor) -> None:
    """What is not the caller's answers as what is not there."""
    path = "enhanced-metrics/workflow-executions"
    mine = running.token_of("viewer", tenant_id="default", project_id="default")
    assert asked(running, path, mine).status == 200
    other = running.token_of("viewer", tenant_id="acme")
    assert asked(running, path, other).status == 404
    theirs = asked(running, f"{path}?tenantId=default", other)
    nobodys = asked(running, f"{path}?tenantId=nobody", other)
    assert theirs.status == nobodys.status == 404
    assert theirs.body.replace(b"'default' of", b"") != b""
    assert theirs.content["detail"].replace("'default'", "'nobody'") == nobodys.content[
        "detail"
    ].replace("'default'", "'nobody'")
    assert asked(running, f"{path}?tenantId=default&projectId=default", mine).status == 200


# --- stores ------------------------------------------------------------------------------------


def test_every_store_pages_alike_and_from_an_index(store: Store, fiveobs_home: Path) -> None:
    """No page of SQLite's sorts more than it shows, or reads a table from end to end."""
    written(fiveobs_home)
    Taking(store, fiveobs_home).all()
    lists, key = Lists(store), rows(store, "projects", "project_key")[0]
    asked_for: list[tuple[str, Any]] = []
    event.listen(
        store.engine,
        "before_cursor_execute",
        lambda _c, _u, text, values, *_: asked_for.append((text, values)),
    )
    for sort in ("created_at", "execution_time"):
        for is_descending in (True, False):
            for status in (None, "failed"):
                wanted = Executions(key, status=status, sort=sort, is_descending=is_descending)
                workflow, mark, found = Workflow("etl", None), None, []
                for _ in range(RUNS):
                    page, mark = lists.workflows(wanted, workflow, mark, 4)
                    found += [each.execution_id for each in page]
                    if mark is None:
                        break
                expected = RUNS if status is None else RUNS // 5
                assert len(set(found)) == len(found) == expected
    steps, following = lists.steps(Executions(key), None, Steps(step_name="Report"), None, 3)
    assert ([each.step_order for each in steps], following is None) == ([2, 2, 2], False)
    if store.is_sqlite:
        with store.reading() as connection:
            for text, values in asked_for:
                if text.startswith("SELECT"):
                    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all()
                    scans = [row[3] for row in plan if row[3].startswith("SCAN jobs")]
                    assert scans == [], text
    assert json.loads(steps[0].model_dump_json())["step_name"] == "Report"
