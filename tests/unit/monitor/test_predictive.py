"""The analytics of volume over HTTP: predictions, throughput, capacity and comparisons."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import event

from fiveobs.monitor.enhanced.analyses import ANALYSES, WITHOUT_STEPS, Analyses, Wanted
from fiveobs.monitor.enhanced.executions import Workflow
from fiveobs.monitor.enhanced.volume import Prediction
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import projects
from tests.support.asgi import Answer, ask
from tests.support.ingesting import Taking
from tests.support.journals import START_NS, line, write_segment
from tests.support.monitors import Monitor, monitor

BASE = "/api/v1/enhanced-monitoring/analytics"
NAME = "load/orders 1"
RUNS = 40
START_S = START_NS // 10**9
#: All of it, as a query; the made-up runs begin at 03:04:05.
TIME = "from=2026-01-02T03:00:00Z&to=2026-01-02T05:00:00Z"
ANSWERS = ("predictive", "throughput", "capacity", "comparison")


def written(home: Path) -> None:
    """Runs of one kind in two releases, of which the later is slower; one runs and one waits."""
    for release, seconds in (("1.0", 10.0), ("2.0", 20.0)):
        resource = {"service.name": "shop", "service.version": release}
        lines = [line(1, "worker.started", data={"pid": 7, "resource": resource})]
        later_s = 0.0 if release == "1.0" else 60.0 * RUNS

        def say(
            at: float, event_type: str, job_id: str, data: Any, into: list[bytes] = lines
        ) -> None:
            level = "error" if event_type == "job.failed" else "info"
            span_id = f"{zlib.crc32(job_id.encode()):016x}"  # tells that the worker ran it
            fields = {"job_id": job_id, "job_name": NAME, "service": "shop", "level": level}
            if event_type != "job.received":
                fields["span_id"] = span_id
            into.append(line(len(into) + 1, event_type, after_s=at, **fields, data=data))

        for number in range(RUNS):
            job_id, at = f"{release}-{number}", later_s + 60.0 * number
            took_s = seconds + number % 5
            say(at, "job.received", job_id, {"queue": "q"})
            say(at + 5, "job.started", job_id, {"queue_wait_s": 5.0, "input_size_bytes": 1_000})
            figures = {"stage": "Load", "index": 1, "duration_s": took_s, "memory_rss_bytes": 10}
            say(at + 5, "stage.started", job_id, {"stage": "Load", "index": 1})
            say(at + 5 + took_s, "stage.completed", job_id, figures)
            ending = "failed" if number % 10 == 9 else "completed"
            error = {"error": {"type": "E", "message": "no"}} if ending == "failed" else {}
            say(at + 5 + took_s, f"job.{ending}", job_id, {"duration_s": took_s, **error})
        if release == "2.0":
            say(4_900.0, "job.started", "running", {"input_size_bytes": 1_000})
            say(4_900.0, "job.received", "waiting", {"queue": "q"})
        write_segment(home, f"host-7-{release[0]}", 1, *lines)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    home = tmp_path_factory.mktemp("predictive")
    written(home)
    with monitor(home) as found:
        found.ingest()
        yield found


def asked(running: Monitor, answer: str, query: str = TIME, name: str = NAME) -> Answer:
    url = f"{BASE}/{answer}/{quote(name, safe='')}?{query}"
    return ask(running.app, "GET", url, token=running.token)


def analysis(running: Monitor, answer: str, query: str = TIME) -> Any:
    found = asked(running, answer, query)
    assert found.status == 200, found.body
    return found.content


def content(running: Monitor, answer: str, query: str = TIME) -> Any:
    return analysis(running, answer, query)["result"]


# --- what each says ----------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_says_which_runs_it_rests_on(running: Monitor, answer: str) -> None:
    """How many, of which workflow and period, and when the first and the last began."""
    found = analysis(running, answer)
    assert {name: value for name, value in found.items() if name != "result"} == {
        "workflow_id": NAME,
        "service": None,
        "from_at": "2026-01-02T03:00:00Z",
        "to_at": "2026-01-02T05:00:00Z",
        "run_count": 2 * RUNS,
        "first_run_at": "2026-01-02T03:04:10Z",
        "last_run_at": "2026-01-02T04:23:10Z",
    }


def test_the_next_run_is_predicted(running: Monitor) -> None:
    """As the newest release has it, with how good that was before, beside what is simple."""
    found = content(running, "predictive")
    assert 19.999 <= found["duration"]["low_s"] <= found["duration"]["usual_s"] <= 24.001
    assert found["remaining"] == found["duration"]
    assert 0 < found["failure_probability"] < 0.5
    assert (found["completed_runs"], found["failed_runs"]) == (72, 8)
    assert found["calibration"]["runs"] > 60
    assert set(found["simple"]) == {"mean", "last", "spread"}
    assert found["during"]["runs"] > 0


def test_a_run_that_runs_is_predicted_by_how_long_it_has(running: Monitor) -> None:
    """It has run longer than all others by now, so only its elapsed time is known."""
    found = content(running, "predictive", f"{TIME}&execution_id=running")
    assert found["execution_id"] == "running"
    assert found["elapsed_s"] > 1_000
    assert (found["duration"], found["remaining"]) == (None, None)
    waiting = content(running, "predictive", f"{TIME}&execution_id=waiting")
    assert waiting["elapsed_s"] == 0
    assert waiting["duration"]["usual_s"] > 0


def test_a_clock_of_its_own_tells_how_long_a_run_has_run(store: Store, tmp_path: Path) -> None:
    """Three seconds after it began, what is left is three seconds less than the whole."""
    written(tmp_path)
    Taking(store, tmp_path).all()
    with store.reading() as connection:
        key = connection.execute(projects.select()).first()
    assert key is not None
    analyses = Analyses(store, now=lambda: START_S + 4_903.0)
    wanted = Wanted(key.project_key, Workflow(NAME, None), from_us=START_S * 10**6)
    coming = analyses.coming(wanted, "running", None)
    past = analyses.past(wanted, "predictive")
    found = Prediction.model_validate(ANALYSES["predictive"](past, coming=coming))
    assert found.elapsed_s == pytest.approx(3)
    assert found.duration is not None
    assert found.remaining is not None
    assert found.remaining.usual_s == pytest.approx(found.duration.usual_s - 3)


def test_throughput_counts_what_came_and_ended(running: Monitor) -> None:
    """In the buckets that were asked for; the two that are not over have come, too."""
    found = content(running, "throughput", f"{TIME}&bucket_s=3600")
    assert [each["from_at"] for each in found["buckets"]] == [
        "2026-01-02T03:00:00Z",
        "2026-01-02T04:00:00Z",
    ]
    assert (found["arrived"], found["ended"]) == (2 * RUNS + 2, 2 * RUNS)
    assert found["waits"] == {"runs": 2 * RUNS, "usual_s": 5, "p90_s": 5, "p99_s": 5}
    assert found["success"]["value"] == pytest.approx(0.9)
    assert sum(each["failed"] for each in found["buckets"]) == 8


def test_capacity_says_how_much_more_fits(running: Monitor) -> None:
    """One place was seen to be used; with two of them twice as much would fit."""
    found = content(running, "capacity")
    assert (found["places"], found["are_places_seen"]) == (1, True)
    assert found["utilisation"] == pytest.approx(82 * 17.0 / 7_200, rel=0.01)
    two = content(running, "capacity", f"{TIME}&places=2&target=0.5")
    assert (two["places"], two["are_places_seen"], two["target"]) == (2, False, 0.5)
    assert two["utilisation"] == pytest.approx(found["utilisation"] / 2, rel=1e-5)
    assert two["more_per_hour"] > 0


def test_two_releases_are_compared(running: Monitor) -> None:
    """The second takes longer, whole and by step, and fails as often."""
    query = f"{TIME}&before_release=1.0&after_release=2.0"
    found = content(running, "comparison", query)
    assert [found[side]["run_count"] for side in ("before", "after")] == [RUNS, RUNS]
    assert found["duration"]["verdict"] == found["verdict"] == "worse"
    assert found["duration"]["ratio"] == pytest.approx(11 / 6, rel=0.1)
    assert found["failures"]["verdict"] == "alike"
    assert [each["step"] for each in found["steps"]] == ["Load"]


def test_two_periods_are_compared(running: Monitor) -> None:
    """The one that was asked for and the one before it, or one that is named."""
    after = "from=2026-01-02T03:44:05Z&to=2026-01-02T04:24:05Z"
    found = content(running, "comparison", after)
    assert found["before"]["from_at"] == "2026-01-02T03:04:05Z"
    assert [found[side]["run_count"] for side in ("before", "after")] == [RUNS, RUNS]
    assert found["verdict"] == "worse"
    named = f"{after}&before_from=2026-01-02T03:10:00Z&before_to=2026-01-02T03:20:00Z"
    assert content(running, "comparison", named)["before"]["run_count"] == 10


def test_steps_are_read_for_those_that_look_at_them(running: Monitor) -> None:
    """No analysis of runs alone asks the store for stages; all others do."""
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(running.store.engine, "before_cursor_execute", note)
    try:
        for name in ANALYSES:
            statements.clear()
            analysis(running, name)
            has_read = any("FROM stages" in each or "JOIN stages" in each for each in statements)
            assert has_read == (name not in WITHOUT_STEPS), name
    finally:
        event.remove(running.store.engine, "before_cursor_execute", note)


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_unknown_workflow_is_not_there(running: Monitor, answer: str) -> None:
    """Nor one of another service, nor one whose name no text can be."""
    found = asked(running, answer, name="nothing")
    assert found.status == 404
    assert "there is no workflow 'nothing'" in found.content["detail"]
    assert asked(running, answer, name="nothing\0").status == 404
    assert asked(running, answer, f"{TIME}&service=other").status == 404
    assert asked(running, answer, f"{TIME}&service=shop").status == 200


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_time_without_runs_is_answered(running: Monitor, answer: str) -> None:
    """With nothing known; also at the end of all times."""
    for query in (
        "from=2020-01-01T00:00:00Z&to=2020-02-01T00:00:00Z",
        "to=0001-01-02T00:00:00Z",
        "from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z&service=shop",
    ):
        assert asked(running, answer, query).status == 200


@pytest.mark.parametrize(
    ("answer", "query", "word"),
    [
        ("predictive", "from=2026-01-03T00:00:00Z&to=2026-01-02T00:00:00Z", "from"),
        ("capacity", "from=9000-01-01T00:00:00Z", "from"),
        ("predictive", "input_size_bytes=-1", "input_size_bytes"),
        ("throughput", "bucket_s=0", "bucket_s"),
        ("capacity", "places=0", "places"),
        ("capacity", "target=1", "target"),
        ("comparison", "before_release=1.0", "before_release"),
        ("comparison", "after_release=1.0", "after_release"),
        ("comparison", f"{TIME}&before_from=2026-01-03T00:00:00Z", "before_from"),
        ("capacity", "place=1", "place"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    running: Monitor, answer: str, query: str, word: str
) -> None:
    """With the name of what is wrong."""
    found = asked(running, answer, query)
    assert found.status == 422
    assert word in found.body.decode()


@pytest.mark.parametrize("job_id", ["nothing", "a%00b"])
def test_an_unknown_execution_is_not_there(running: Monitor, job_id: str) -> None:
    """With the words of all that is not there."""
    assert asked(running, "predictive", f"{TIME}&execution_id={job_id}").status == 404
