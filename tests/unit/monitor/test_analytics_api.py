"""The routes that answer what past runs show."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from fiveobs.monitor.enhanced.analyses import ANALYSES
from tests.support.asgi import Answer, ask
from tests.support.journals import line, write_segment
from tests.support.monitors import Monitor, monitor
from tests.support.workers import until

BASE = "/api/v1/enhanced-monitoring/analytics"
NAMES = ("bottlenecks", "resource-trends", "failure-analysis", "anomalies")
RUNS, SINCE = 120, 80
PERIOD = "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z"


def written(home: Path) -> None:
    """Runs of one kind, of which from one on a step takes longer and the release fails."""
    for life in range(3):
        resource = {"service.name": "a", "service.version": f"1.{life}"}
        started = {"pid": 7, "resource": resource}
        lines = [line(1, "worker.started", worker_id="w", machine_id="m", data=started)]
        for number in range(life * RUNS // 3, (life + 1) * RUNS // 3):
            lines += run(number, len(lines))
        write_segment(home, f"host-{life}-1", 1, *lines)


def run(number: int, first: int) -> list[bytes]:
    at = 3_600.0 * number
    fields: dict[str, Any] = {
        "job_id": f"run-{number}",
        "job_name": "etl/x",
        "service": "ab"[number % 2],
        "worker_id": "w",
        "span_id": f"{number + 1:016x}",
    }
    load = {"stage": "Load", "index": 1}
    took_s = (30 if number >= SINCE else 10) + number % 7
    figures = {"duration_s": took_s, "cpu_s": 2.0, "memory_rss_bytes": 10**8 + number}
    is_failed = number >= SINCE and number % 2 == 0
    ended = {"duration_s": took_s + 1.0, "cpu_s": 2.0}
    if is_failed:
        ended |= {"error": {"type": "ValueError", "message": f"row {number} is odd"}}
    said: list[tuple[float, str, dict[str, Any]]] = [
        (0, "job.started", {}),
        (1, "stage.started", load),
        (1 + took_s, "stage.completed", load | figures),
        (2 + took_s, "job.failed" if is_failed else "job.completed", ended),
    ]
    return [
        line(first + place + 1, event, after_s=at + after, **fields, data=data)
        for place, (after, event, data) in enumerate(said)
    ]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    home = tmp_path_factory.mktemp("analytics")
    written(home)
    with monitor(home) as found:
        found.ingest()
        yield found


def asked(running: Monitor, name: str, query: str = PERIOD, workflow: str = "etl%2Fx") -> Answer:
    return ask(running.app, "GET", f"{BASE}/{name}/{workflow}?{query}", token=running.token)


def analysis(running: Monitor, name: str, query: str = PERIOD) -> Any:
    found = asked(running, name, query)
    assert found.status == 200, found.body
    return found.content


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_says_which_runs_it_rests_on(running: Monitor, name: str) -> None:
    """How many, of which workflow and period, and when the first and the last began."""
    found = analysis(running, name)
    assert (found["workflow_id"], found["service"], found["run_count"]) == ("etl/x", None, RUNS)
    assert (found["from_at"], found["to_at"]) == ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")
    assert found["first_run_at"] == "2026-01-02T03:04:05Z"
    assert found["last_run_at"] == "2026-01-07T02:04:05Z"


def test_the_step_that_became_slow_is_named(running: Monitor) -> None:
    """Since when, and how many times as slow."""
    (step,) = analysis(running, "bottlenecks")["result"]["steps"]
    assert (step["step"], step["count"], step["is_dominant"]) == ("Load", RUNS, True)
    assert step["reasons"] == ["duration"]
    assert step["duration"]["began_at"].startswith("2026-01-05T11:04:06")
    assert step["duration"]["ratio"] == pytest.approx(33 / 13, rel=0.05)


def test_the_release_that_fails_is_named(running: Monitor) -> None:
    """With the errors in one group, and when it began."""
    found = analysis(running, "failure-analysis")["result"]
    assert (found["run_count"], found["failed_count"]) == (RUNS, 20)
    (group,) = found["groups"]
    assert (group["fingerprint"], group["count"]) == ("ValueError: row <number> is odd", 20)
    assert group["job_ids"][0] == "run-118"
    (suspect,) = found["suspects"]
    assert (suspect["dimension"], suspect["value"], suspect["share"]) == ("release", "1.2", 0.5)
    assert found["onset"]["release"] == "1.2"


def test_trends_are_told_and_nothing_leaks(running: Monitor) -> None:
    """Of the figures that are known."""
    found = analysis(running, "resource-trends")["result"]
    assert {each["figure"] for each in found["trends"]} == {"duration_s", "cpu_s", "memory_bytes"}
    assert found["leak"] is None


def test_what_is_as_usual_is_no_anomaly(running: Monitor) -> None:
    """A run an hour, each about as long as others; and weeks without a run are usual by then."""
    found = analysis(running, "anomalies", PERIOD.replace("2026-02-01", "2026-01-07"))["result"]
    assert found == {"unusual_count": 0, "unusual_runs": [], "quiet_periods": [], "slow_slots": []}
    assert analysis(running, "anomalies")["result"]["quiet_periods"] == []


def test_runs_can_be_of_one_service_and_of_a_part_of_the_time(running: Monitor) -> None:
    """Half of them are of each; from a moment on, and before another."""
    assert analysis(running, "bottlenecks", f"{PERIOD}&service=a")["run_count"] == RUNS // 2
    part = "from=2026-01-02T04:04:05Z&to=2026-01-02T07:04:05Z"
    assert analysis(running, "bottlenecks", part)["run_count"] == 3


@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_ran_nothing_is_said(running: Monitor, name: str) -> None:
    """Without a period the last 30 days count, in which these runs are not."""
    found = analysis(running, name, "")
    assert (found["run_count"], found["first_run_at"], found["last_run_at"]) == (0, None, None)
    assert not any(found["result"].values())


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_workflow_is_not_there(running: Monitor, name: str) -> None:
    """Nor one of another service, nor one whose name no store could have."""
    for workflow, query in (("nothing", ""), ("etl%2Fx", "service=c"), ("a%00b", "")):
        found = asked(running, name, query, workflow)
        assert found.status == 404
        assert "there is no workflow" in found.content["detail"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("from=yesterday", "RFC 3339"),
        ("days=7", "days"),
        ("service=", "service"),
    ],
)
def test_what_cannot_be_asked_is_refused(running: Monitor, query: str, said: str) -> None:
    """With the name of what is wrong."""
    found = asked(running, "bottlenecks", query)
    assert found.status == 422
    assert said in found.body.decode()


def test_nobody_asks_without_a_token(running: Monitor) -> None:
    """As everywhere."""
    assert ask(running.app, "GET", f"{BASE}/bottlenecks/etl%2Fx").status == 401


def test_few_analyses_are_made_at_once_and_others_wait(
    running: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes a core and much memory; who waits for a turn holds up nobody else."""
    going: list[int] = []
    most, lock, may_end = [0], threading.Lock(), threading.Event()
    bottlenecks = ANALYSES["bottlenecks"]

    def slow(past: Any, **options: Any) -> Any:
        with lock:
            going.append(1)
            most[0] = max(most[0], len(going))
        assert may_end.wait(60)
        with lock:
            going.pop()
        return bottlenecks(past, **options)

    monkeypatch.setitem(ANALYSES, "bottlenecks", slow)
    url = f"{running.url}{BASE}/bottlenecks/etl%2Fx?{PERIOD}"
    headers = {"Authorization": f"Bearer {running.token}"}
    with ThreadPoolExecutor(50) as pool:
        answers = [pool.submit(requests.get, url, headers=headers, timeout=60) for _ in range(50)]
        until(lambda: len(going) == 2, what="two analyses")
        assert requests.get(f"{running.url}/readyz", timeout=30).status_code == 200
        may_end.set()
        assert {each.result().status_code for each in answers} == {200}
    assert most == [2]
