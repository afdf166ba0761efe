"""The stream-monitoring API: published shapes, states, stages, figures, exceptions and errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from fiveobs._version import __version__
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.streamed.answers import MOST_CHARS, STATES, Place
from fiveobs.monitor.streamed.streams import Streams
from fiveobs.monitor.tracker import Tracker
from fiveobs.monitor.tracking.tracked import STATUS_WORDS
from tests.support.asgi import Answer, ask
from tests.support.ingesting import Taking, rows
from tests.support.journals import line, write_segment
from tests.support.monitors import Monitor, monitor

BASE = "/api/default/default/stream-monitoring"
ROOT = Path(__file__).parents[3]
SUPPORT = ROOT / "tests" / "support"
#: The published examples, word for word.
PUBLISHED = json.loads((SUPPORT / "stream_examples.json").read_text(encoding="utf-8"))
DONE, RUNNING, FAILED, LOST, WAITING, RETRIED = (
    *("Albert_tests7", "a/b", "failed", "lost", "waiting", "retried"),
)
LONG = "x" * (MOST_CHARS + 500)
#: States of jobs that Flink has (JobStatus in flink-runtime).
FLINKS = {
    *("INITIALIZING", "CREATED", "RUNNING", "FAILING", "FAILED", "CANCELLING", "CANCELED"),
    *("FINISHED", "RESTARTING", "SUSPENDED", "RECONCILING"),
}


def written(home: Path) -> None:
    """One job of each kind."""
    lines = [line(1, "worker.started", data={"pid": 7})]

    def say(after_s: float, event_type: str, job_id: str, data: Any = None, **more: Any) -> None:
        fields = {"job_id": job_id, "job_name": "tests", "span_id": "00000000000000a1", **more}
        seq = len(lines) + 1
        lines.append(line(seq, event_type, after_s=after_s, **fields, data=data or {}))

    stages = {"stages": ["Load", "Report", "Send"]}
    say(0, "job.started", DONE, stages)
    say(1, "stage.started", DONE, {"stage": "Load", "index": 1, "total": 9197})
    ended = {"duration_s": 20.5, "io_read_bytes": 4096, "io_write_bytes": 512}
    loaded = {"stage": "Load", "index": 1, "done": 9197, "percent": 100, **ended}
    say(21.5, "stage.completed", DONE, loaded)
    say(21.5, "stage.started", DONE, {"stage": "Report", "index": 2})
    say(22, "stage.completed", DONE, {"stage": "Report", "index": 2, "done": 7.5})
    gauge = {"kind": "gauge", "name": "depth", "value": 2.25, "unit": "", "labels": {}}
    say(22, "metric", DONE, gauge)
    say(22.372, "job.completed", DONE, {"duration_s": 22.372})
    say(30, "job.started", RUNNING, stages)
    say(31, "stage.started", RUNNING, {"stage": "Load", "index": 1})
    say(40, "job.started", FAILED)
    for number, text in enumerate((f"{LONG}first", "short")):
        error = {"type": "ValueError", "message": "no", "stacktrace": text}
        failed = {"stage": "Load", "index": number + 1, "error": error}
        say(41 + number, "stage.failed", FAILED, failed, level="error")
    error = {"type": "ValueError", "message": "no", "stacktrace": f"{LONG}ValueError: no\n"}
    failed = {"duration_s": 3.0, "error": error}
    say(43.25, "job.failed", FAILED, failed, level="error")
    say(50, "job.started", LOST)
    say(52, "job.lost", LOST, {"cause": "killed by signal"}, level="error")
    say(60, "job.received", WAITING, {"queue": "q"})
    say(70, "job.started", RETRIED)
    say(71, "job.failed", RETRIED, {"duration_s": 1.0, "error": error}, level="error")
    say(72, "job.started", RETRIED, attempt=2, span_id="00000000000000a2")
    say(74, "job.completed", RETRIED, {"duration_s": 2.0}, attempt=2, span_id="00000000000000a2")
    write_segment(home, "host-7-1", 1, *lines)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    home = tmp_path_factory.mktemp("streamed")
    written(home)
    with monitor(home) as found:
        found.ingest()
        yield found


def asked(running: Monitor, path: str, token: str | None = None) -> Answer:
    return ask(running.app, "GET", f"{BASE}/{path}", token=token or running.token)


def response(running: Monitor, path: str) -> Any:
    found = asked(running, path)
    assert found.status == 200, found.body
    assert found.content["messages"] == []
    return found.content["response"]


def assert_shaped(published: Any, answered: Any, where: str) -> None:
    """Every published key is there, with a value of the published type."""
    assert type(answered) is type(published), where
    if isinstance(published, dict):
        for name, value in published.items():
            assert name in answered, f"{where}.{name}"
            assert_shaped(value, answered[name], f"{where}.{name}")


# --- shapes ------------------------------------------------------------------------------------


def test_answers_have_the_published_shape(running: Monitor) -> None:
    """Key by key and type by type; with the slash at the end as published, and without."""
    paths = {"status": "status", "status_and_metrics": "statusAndMetrics"}
    for name, path in paths.items():
        for slash in ("/", ""):
            found = asked(running, f"job/{DONE}/{path}{slash}")
            assert_shaped(PUBLISHED[name], found.content, name)
    exceptions = response(running, f"jobs/{FAILED}/exceptions")
    shape = {"root-exception": "", "timestamp": 0, "truncated": False}
    assert_shaped(shape, exceptions, "exceptions")
    assert response(running, "metainfo/getVersion/") == __version__


def test_a_job_that_has_ended(running: Monitor) -> None:
    """The published figures of the published job, in milliseconds."""
    found = response(running, f"job/{DONE}/status/")
    assert (found["name"], found["state"], found["duration"]) == (DONE, "FINISHED", 22372)
    assert found["start-time"] == running_time_ms(0)
    load, report, send = found["vertices"]
    assert (load["name"], load["status"], load["duration"]) == ("Load", "FINISHED", 20500)
    assert load["start-time"] == running_time_ms(1)
    assert load["end-time"] == running_time_ms(21.5)
    assert load["metrics"] == {"read-bytes": 4096, "write-bytes": 512, "read-records": 9197}
    assert (report["duration"], report["metrics"]["read-records"]) == (500, 7.5)
    assert (send["status"], send["start-time"], send["duration"]) == ("CANCELED", None, 0)
    assert len({each["id"] for each in found["vertices"]}) == 3


def running_time_ms(after_s: float) -> int:
    """When something was written, in milliseconds since 1970."""
    moment = datetime.fromisoformat(json.loads(line(1, "log", after_s=after_s))["timestamp"])
    return round(moment.timestamp() * 1_000)


def test_metrics_are_text(running: Monitor) -> None:
    """What came in is counted by the first stage, what was processed by the last one."""
    found = response(running, f"job/{DONE}/statusAndMetrics/")
    assert found["details"] == response(running, f"job/{DONE}/status/")
    assert found["metrics"] == {
        "numRecordsRead": "9197",
        "numRecordsProcessed": "7.5",
        "currentEventTs": str(running_time_ms(22)),
        "depth": "2.25",
    }
    waiting = response(running, f"job/{WAITING}/statusAndMetrics/")
    assert set(waiting["metrics"].values()) == {"0"}


def test_every_status_has_a_state_that_flink_has() -> None:
    """Nothing that reads Flink's states meets one that it does not know."""
    assert set(STATES) == set(STATUS_WORDS)
    assert set(STATES.values()) <= FLINKS


def test_the_documented_table_is_the_one_that_is_used() -> None:
    """One row for each status of ours."""
    text = (ROOT / "docs/reference/stream-monitoring.md").read_text(encoding="utf-8")
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| ") and "`" in row]
    told = {ours.strip("| "): flinks[0].strip("`") for ours, *flinks in rows if len(flinks) == 2}
    assert {name: told[name] for name in told if name in STATES} == STATES


def test_the_overview_has_the_newest_first(running: Monitor) -> None:
    """Every job, in short; a limit says that there are more."""
    found = response(running, "jobs/overview/")
    states = {each["name"]: each["state"] for each in found}
    assert next(iter(states)) == RETRIED
    assert states[WAITING] == "CREATED"
    assert states[LOST] == states[FAILED] == "FAILED"
    assert len({each["jid"] for each in found}) == len(found) == 6
    waiting = next(each for each in found if each["name"] == WAITING)
    assert (waiting["start-time"], waiting["duration"]) == (None, 0)
    some = asked(running, "jobs/overview/?limit=2").content
    assert [each["name"] for each in some["response"]] == list(states)[:2]
    assert "there are more" in some["messages"][0]
    assert asked(running, "jobs/overview/?limit=6").content["messages"] == []


# --- exceptions --------------------------------------------------------------------------------


def test_a_long_stack_trace_is_cut_at_its_beginning(running: Monitor) -> None:
    """Its end says what went wrong; the flag says that there was more."""
    found = response(running, f"jobs/{FAILED}/exceptions")
    assert found["root-exception"].endswith("xValueError: no\n")
    assert len(found["root-exception"]) == MOST_CHARS
    assert (found["truncated"], found["timestamp"]) == (True, running_time_ms(43.25))
    rest = found["all-exceptions"]
    assert [each["task"] for each in rest] == [None, "Load", "Load"]
    assert [each["truncated"] for each in rest] == [True, False, True]
    assert rest[1]["exception"] == "short"


def test_what_is_not_fatal_is_no_root_exception(running: Monitor) -> None:
    """A job that went on, that was retried, or that has not failed has none."""
    for job_id in (DONE, RUNNING, RETRIED):
        found = response(running, f"jobs/{quote(job_id, safe='')}/exceptions")
        assert found == {
            "root-exception": None,
            "timestamp": None,
            "truncated": False,
            "all-exceptions": [],
        }


def test_a_lost_job_says_why(running: Monitor) -> None:
    """It left no stack trace."""
    found = response(running, f"jobs/{LOST}/exceptions")
    assert found["root-exception"] == "JobLost: killed by signal"
    assert found["truncated"] is False


# --- stopping ----------------------------------------------------------------------------------


def test_a_job_that_was_asked_to_stop_is_cancelling(running: Monitor) -> None:
    """By whoever asked; who may only look is refused, and so is stopping what has ended."""
    path = f"job/{quote(RUNNING, safe='')}/stop/"
    assert asked(running, path, running.token_of("viewer")).status == 403
    assert response(running, path.replace("stop", "status"))["state"] == "RUNNING"
    found = asked(running, path)
    assert (found.status, found.content["response"]["state"]) == (200, "CANCELLING")
    assert found.content["messages"] == ["The job stops at its next checkpoint"]
    overview = {each["name"]: each["state"] for each in response(running, "jobs/overview/")}
    assert overview[RUNNING] == "CANCELLING"
    refused = asked(running, f"job/{DONE}/stop/")
    assert (refused.status, refused.content["jobStatus"]) == (409, "Completed")


@pytest.mark.parametrize(
    "path", ["job/{}/status/", "job/{}/statusAndMetrics/", "job/{}/stop/", "jobs/{}/exceptions"]
)
@pytest.mark.parametrize("job_id", ["nothing", "a\0b", "ü"])
def test_an_unknown_job_is_error_4006(running: Monitor, path: str, job_id: str) -> None:
    """The published code, beside a problem as everywhere else."""
    found = asked(running, path.format(quote(job_id)))
    assert found.status == 404
    assert found.content["errorCode"] == 4006
    assert found.content["response"] is None
    assert found.content["messages"] == [found.content["detail"]]
    assert "Job with that name is not found" in found.content["detail"]


def test_a_hash_tells_projects_apart() -> None:
    """The same id in another project is another job."""
    assert Place("a", "b").hash_of("c") != Place("a", "bc").hash_of("")
    assert Place("a", "b").hash_of("c") == Place("a", "b").hash_of("c")


def test_every_store_answers_alike(store: Store, fiveobs_home: Path) -> None:
    """The same from SQLite and from PostgreSQL."""
    written(fiveobs_home)
    Taking(store, fiveobs_home).all()
    streams, place = Streams(store, Tracker(store)), Place("default", "default")
    key = rows(store, "projects", "project_key")[0]
    found = streams.status_and_metrics(key, place, DONE)
    assert (found.details.state, found.metrics["depth"]) == ("FINISHED", "2.25")
    assert streams.exceptions(key, FAILED).truncated
    newest, has_more = streams.overview(key, place, 2)
    assert ([each.name for each in newest], has_more) == ([RETRIED, WAITING], True)
