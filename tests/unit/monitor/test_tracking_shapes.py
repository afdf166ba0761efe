"""The tracking API's answers have the published shapes, field for field."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from fiveobs.monitor.access import Caller
from fiveobs.monitor.api.dependencies import CALLER
from fiveobs.monitor.api.tracking import router
from fiveobs.monitor.tracker import Tracker
from tests.support import tracked_jobs
from tests.support.stores import open_sqlite
from tests.support.tracked_jobs import CURRENT

EXAMPLES = json.loads(
    (Path(__file__).parents[2] / "support" / "tracking_examples.json").read_text(encoding="utf-8")
)
VIEWER = Caller(token_id="t", name="tests", role="viewer", tenant_id=None, project_id=None)
BASE = "/api/default/default/execution"
QUERIES = {
    "logs": f"/job/{CURRENT}/logs?level=DEBUG",
    "progress": f"/job/{CURRENT}/progress",
    "timeline": f"/job/{CURRENT}/timeline",
    "metrics": f"/job/{CURRENT}/metrics?includeHistory=true",
    "batch": "/tracking/batch?includeMetrics=true",
    "dependencies": f"/job/{CURRENT}/dependencies",
}
#: What no worker measures: always null.
UNKNOWABLE = {
    "metrics.currentMetrics.resourceUtilization.disk.latency",
    "metrics.currentMetrics.resourceUtilization.network.connections",
}
#: What a job says about itself, under names of its own.
OWN = ("logs.logs[].details", "timeline.timeline[].details", "progress.stages[].metrics")


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("tracking")
    store = open_sqlite(home / "store.sqlite3")
    tracked_jobs.ingest(store, tracked_jobs.write(home))
    app = FastAPI()
    app.state.store = store
    app.state.tracker = Tracker(store, now=tracked_jobs.now_s)
    app.include_router(router)
    yield app
    store.close()


def ask(application: Any, path: str) -> httpx.Response:
    async def called(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, CALLER: VIEWER}, receive, send)

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app=called)
        async with httpx.AsyncClient(transport=transport, base_url="http://monitor") as client:
            return await client.get(BASE + path)

    return asyncio.run(asked())


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value by its path; the items of a list share one, because they share their fields."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")
    else:
        yield path, value


def kinds(values: Iterator[tuple[str, Any]]) -> dict[str, set[str]]:
    """The JSON types that are seen at each path."""
    names = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
    found: dict[str, set[str]] = {}
    for path, value in values:
        if not path.startswith(OWN):
            found.setdefault(path, set()).add(names[type(value)])
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_published_field_is_there(application: Any, name: str) -> None:
    """Each field of the published example is in the answer, with a value of the same type."""
    answer = ask(application, QUERIES[name])
    assert answer.status_code == 200
    got = kinds(leaves(answer.json(), name))
    for path, types in kinds(leaves(EXAMPLES[name], name)).items():
        assert path in got, path
        if path in UNKNOWABLE:
            assert got[path] == {"null"}, path
        else:
            assert got[path] & types, (path, got[path], types)
            assert got[path] <= types | {"null"}, (path, got[path], types)


@pytest.mark.parametrize(
    ("name", "event_type", "expected"),
    [
        ("timeline", "JobStarted", {"submittedBy", "priority", "estimatedDuration"}),
        ("timeline", "StageStarted", {"stageName", "expectedDuration", "recordCount"}),
        ("timeline", "StageCompleted", {"stageName", "actualDuration"}),
        ("timeline", "Progress", {"progress"}),
    ],
)
def test_details_have_the_published_names(
    application: Any, name: str, event_type: str, expected: set[str]
) -> None:
    """What an event of the timeline tells has the published names where it is known."""
    answer = ask(application, QUERIES[name]).json()
    events = [each for each in answer["timeline"] if each["eventType"] == event_type]
    assert events
    for each in events:
        assert expected <= each["details"].keys()


def test_every_human_string_has_its_number_beside_it(application: Any) -> None:
    """Beside "2.3 GB" and "15 minutes 33 seconds" stands the number, named with its unit."""
    pairs = {
        ("logs", "executionMetrics"): ("memoryUsage", "memoryUsageBytes"),
        ("progress", "overallProgress"): ("elapsedTime", "elapsedTimeSeconds"),
        ("progress", "resourceUsage"): ("processingRate", "processingRatePerSecond"),
        ("metrics", "benchmarks"): ("averageJobDuration", "averageJobDurationSeconds"),
        ("batch", "systemHealth"): ("estimatedCapacity", "estimatedCapacityJobs"),
    }
    for (name, part), (text, figure) in pairs.items():
        found = ask(application, QUERIES[name]).json()[part]
        assert isinstance(found[text], str)
        assert isinstance(found[figure], int | float)


def test_the_three_comparisons_add_to_a_hundred(application: Any) -> None:
    """Past runs are slower, similar or faster; the rank counts half of those just as long."""
    found = ask(application, QUERIES["metrics"]).json()["benchmarks"]
    assert sum(found["similarJobsComparison"].values()) == 100
    rank = found["currentPerformanceRankPercentile"]
    assert found["currentPerformanceRank"].startswith(str(round(rank)))


def test_stages_known_ahead_are_pending(application: Any) -> None:
    """A stage to come has no start, but a time at which it is expected to begin and to end."""
    stages = ask(application, QUERIES["progress"]).json()["stages"]
    assert [each["status"] for each in stages] == ["Completed", "Completed", "Running", "Pending"]
    assert stages[3].keys() == {
        *("stageName", "stageOrder", "status", "progress"),
        *("estimatedStartTime", "estimatedEndTime"),
    }
    assert stages[3]["estimatedStartTime"] == stages[2]["estimatedEndTime"]


def test_a_waiting_job_has_a_place(application: Any) -> None:
    """A queued job has its place in the queue and no start."""
    path = f"/tracking/batch?jobIds={tracked_jobs.DEPENDENT},nobody"
    answer = ask(application, path).json()
    (job,) = answer["jobs"]
    assert (job["status"], job["queuePosition"], "startTime" in job) == ("Queued", 2, False)
    assert answer["notFound"] == ["nobody"]
    assert answer["summary"]["queued"] == answer["jobCount"] == 1


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=Failed", [tracked_jobs.FAILED]),
        ("submittedBy=user123", [CURRENT]),
        ("submittedBy=user456&status=Running", []),
        ("status=Queued", [tracked_jobs.DEPENDENT, "first-in-queue"]),
        (f"jobIds={CURRENT},{tracked_jobs.FAILED}&status=Failed", [tracked_jobs.FAILED]),
    ],
)
def test_batch_filters(application: Any, query: str, expected: list[str]) -> None:
    """By id, status and user; without ids the newest come first."""
    answer = ask(application, f"/tracking/batch?{query}").json()
    assert [each["jobId"] for each in answer["jobs"]] == expected


def test_the_refresh_interval_is_a_header(application: Any) -> None:
    """Browsers ask again by themselves."""
    answer = ask(application, "/tracking/batch?refreshInterval=5")
    assert (answer.headers["refresh"], answer.json()["refreshInterval"]) == ("5", 5)


@pytest.mark.parametrize(
    ("level", "levels"),
    [
        ("DEBUG", {"DEBUG", "INFO", "WARN", "ERROR"}),
        ("INFO", {"INFO", "WARN", "ERROR"}),
        ("WARN", {"WARN", "ERROR"}),
        ("ERROR", {"ERROR"}),
    ],
)
def test_level_is_the_least_that_is_shown(application: Any, level: str, levels: set[str]) -> None:
    """Entries below it are counted and not shown."""
    answer = ask(application, f"/job/{CURRENT}/logs?level={level}").json()
    assert {each["level"] for each in answer["logs"]} == levels
    summary = answer["logsSummary"]
    parts = ("debugEntries", "infoEntries", "warnEntries", "errorEntries")
    assert summary["totalEntries"] == sum(summary[each] for each in parts) == 26


def test_logs_between_two_times(application: Any) -> None:
    """With ``fromTime`` the first entries from there on are shown, and only those counted."""
    everything = ask(application, f"/job/{CURRENT}/logs?level=DEBUG").json()["logs"]
    first, last = everything[5]["timestamp"], everything[15]["timestamp"]
    span = f"fromTime={first}&toTime={last}"
    answer = ask(application, f"/job/{CURRENT}/logs?level=DEBUG&{span}&limit=3").json()
    shown = [each["eventId"] for each in answer["logs"]]
    assert len(shown) == 3
    assert answer["logs"][0]["timestamp"] == first
    summary = answer["logsSummary"]
    between = [each for each in everything if first <= each["timestamp"] <= last]
    assert summary["totalEntries"] == len(between)
    assert summary["timeRange"] == {"startTime": first, "endTime": last}


def test_without_a_time_the_last_entries_are_shown(application: Any) -> None:
    """A short limit keeps the end, the oldest first."""
    everything = ask(application, f"/job/{CURRENT}/logs?level=DEBUG").json()["logs"]
    last = ask(application, f"/job/{CURRENT}/logs?level=DEBUG&limit=2").json()["logs"]
    assert len(last) == 2
    assert all(each in everything for each in last)
    assert last[0]["timestamp"] <= last[1]["timestamp"]


def test_raw_logs_are_lines_of_text(application: Any) -> None:
    """One line for each entry, plain text."""
    answer = ask(application, f"/job/{CURRENT}/logs?format=raw&level=WARN")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    warning, error = answer.text.splitlines()
    assert " WARN DataValidator [Process Discovery] Found 125 records" in warning
    assert error.endswith('Memory limit exceeded {"retry":true}')


@pytest.mark.parametrize(
    ("granularity", "progress"), [("seconds", 11), ("minutes", 5), ("major_events", 0)]
)
def test_granularity_thins_progress(application: Any, granularity: str, progress: int) -> None:
    """Progress is told once a second, once a minute, or not at all; the rest stays."""
    path = f"/job/{CURRENT}/timeline?granularity={granularity}"
    timeline = ask(application, path).json()["timeline"]
    words = [each["eventType"] for each in timeline]
    assert words.count("Progress") == progress
    assert words.count("StageStarted") == 3
    assert ("Warning" in words) == (granularity != "major_events")
    assert "Error" in words
    assert [each["timestamp"] for each in timeline] == sorted(
        each["timestamp"] for each in timeline
    )


def test_sub_events_are_log_lines(application: Any) -> None:
    """Lines below WARN are shown only if asked for."""
    path = f"/job/{CURRENT}/timeline?includeSubEvents="
    for asked, expected in (("false", False), ("true", True)):
        words = [each["eventType"] for each in ask(application, path + asked).json()["timeline"]]
        assert ("Log" in words) == expected


def test_only_the_metrics_asked_for(application: Any) -> None:
    """What was not asked for is left out; history is empty unless asked for."""
    path = f"/job/{CURRENT}/metrics?metrics=cpu,throughput"
    answer = ask(application, path).json()
    assert answer["currentMetrics"]["resourceUtilization"].keys() == {"cpu"}
    assert "processing" in answer["currentMetrics"]
    assert answer["historicalMetrics"] == []


@pytest.mark.parametrize(("interval", "count"), [("1m", 16), ("5m", 4), ("15m", 2)])
def test_the_interval_of_the_history(application: Any, interval: str, count: int) -> None:
    """Figures are means over intervals that begin at whole multiples."""
    path = f"/job/{CURRENT}/metrics?includeHistory=true&interval={interval}"
    assert len(ask(application, path).json()["historicalMetrics"]) == count


@pytest.mark.parametrize(
    "path",
    [
        "/job/nobody/logs",
        "/job/nobody/logs?format=raw",
        "/job/nobody/progress",
        "/job/nobody/timeline",
        "/job/nobody/metrics",
        "/job/nobody/dependencies",
        "/job/nobody%00/progress",
    ],
)
def test_an_unknown_job_is_not_found(application: Any, path: str) -> None:
    """The problem names the job."""
    answer = ask(application, path)
    assert answer.status_code == 404
    assert "nobody" in answer.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "logs?level=LOUD",
        "logs?limit=0",
        "logs?limit=10001",
        "logs?fromTime=yesterday",
        "logs?fromTime=2024-01-20T10:30:00",
        "logs?toTime=9999-12-31T23:59:60Z",
        "logs?format=xml",
        "timeline?granularity=hours",
        "metrics?interval=2m",
        "metrics?metrics=cpu,gpu",
        "metrics?metrics=",
        "metrics?metrics=,",
    ],
)
def test_a_wrong_parameter_is_refused(application: Any, query: str) -> None:
    """Nothing is guessed: 422."""
    assert ask(application, f"/job/{CURRENT}/{query}").status_code == 422


def test_the_document_has_the_published_parameters(application: Any) -> None:
    """OpenAPI shows the parameters and defaults of the published page."""
    document = application.openapi()
    logs = document["paths"]["/api/{tenantId}/{projectId}/execution/job/{jobId}/logs"]["get"]
    parameters = {each["name"]: each["schema"].get("default") for each in logs["parameters"]}
    assert parameters == {
        **dict.fromkeys(("tenantId", "projectId", "jobId", "fromTime", "toTime")),
        "level": "INFO",
        "limit": 1000,
        "format": "structured",
    }
