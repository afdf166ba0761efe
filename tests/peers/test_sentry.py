"""Errors and check-ins at Spotlight, and what Sentry's own normalizer says of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.harness.normalizer import complaints, complaints_about
from tests.peers.harness.program import HOST, until
from tests.peers.harness.received import WORKERS, run_program
from tests.peers.harness.spotlight import Spotlight
from tests.peers.harness.worker import Worker, spec_block
from tests.support import workers
from tests.support.programs import run_example
from tests.support.receivers import OtlpReceiver

pytestmark = pytest.mark.peer

KILLS = 2
#: What the worker hides where Sentry's SDK would look: see workers/failures.py.
PRIVATE = "of a customer"


def settings(spotlight: Spotlight, **more: str) -> dict[str, str]:
    """The specification's variables that lead to Spotlight, and nowhere else."""
    return {
        **spec_block(),
        "DISABLE_FLUENT_BIT_LOGGING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "",
        "SENTRY_DSN": spotlight.dsn,
        "SENTRY_SAMPLE_RATE": "0",
        "FIVEOBS_SHUTDOWN_TIMEOUT": "60s",
        **more,
    }


class Ran:
    """A worker that failed in every way: what it told, and what came of it."""

    def __init__(self, spotlight: Spotlight, home: Path) -> None:
        with OtlpReceiver() as self.otlp:
            variables = settings(
                spotlight,
                OTEL_EXPORTER_OTLP_ENDPOINT=self.otlp.endpoint,
                OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
                FIVEOBS_HOME=str(home),
            )
            self.told = run_program(WORKERS / "failures.py", **variables)
        self.shown = spotlight.shown()
        self.events = spotlight.events
        self.journal = workers.events(home)

    def of(self, name: str) -> list[dict[str, Any]]:
        """The Sentry events of the jobs of a name."""
        return [event for event in self.events if event["tags"]["job_name"] == name]

    def one(self, name: str) -> dict[str, Any]:
        """The Sentry event of the one job of a name."""
        (event,) = self.of(name)
        return event

    def ends(self, name: str) -> list[dict[str, Any]]:
        """The journal's ends of the jobs of a name that failed."""
        return [
            record
            for record in self.journal
            if record["event_type"] == "job.failed" and record["job_name"] == name
        ]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spotlight]:
    """Spotlight, started once for all tests, since that takes seconds."""
    with Spotlight(tmp_path_factory.mktemp("spotlight")) as spotlight:
        yield spotlight


@pytest.fixture(scope="module")
def ran(running: Spotlight, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The worker, run once for all tests."""
    running.clear()
    return Ran(running, tmp_path_factory.mktemp("failures"))


@pytest.fixture
def spotlight(running: Spotlight) -> Spotlight:
    """Spotlight, with nothing in it."""
    running.clear()
    return running


def exceptions(event: dict[str, Any]) -> list[tuple[str, str]]:
    """Types and values of an event's exceptions, the innermost first."""
    return [(each["type"], each["value"]) for each in event["exception"]["values"]]


# --- one event for each failed job ---------------------------------------------------------------


def test_each_failed_job_is_one_event(ran: Ran) -> None:
    """However it failed; a job that did not fail is none."""
    failed = [told for told in ran.told if told["name"] != "fine"]
    assert len(failed) == 13
    spans = {told["span_id"]: told["name"] for told in failed}
    assert {event["tags"]["span_id"]: event["tags"]["job_name"] for event in ran.events} == spans
    assert len({event["event_id"] for event in ran.events}) == len(ran.events) == len(failed)


def test_the_event_has_the_jobs_ids_wherever_sentry_looks(ran: Ran) -> None:
    """In its tags and its trace: those of the span, of the journal, and of the worker."""
    block = spec_block()
    ends = {record["span_id"]: record for record in ran.journal if "error" in record["data"]}
    spans = {span["span_id"]: span for span in ran.otlp.spans}
    for event in ran.events:
        tags, trace = event["tags"], event["contexts"]["trace"]
        end, span = ends[tags["span_id"]], spans[tags["span_id"]]
        assert trace["trace_id"] == tags["trace_id"] == end["trace_id"] == span["trace_id"]
        assert trace["span_id"] == tags["span_id"]
        assert tags["job_id"] == end["job_id"] == span["attributes"]["job.id"]
        assert event["contexts"]["job"]["id"] == tags["job_id"]
        assert end["data"]["sentry_event_id"] == event["event_id"]
        assert span["attributes"]["sentry.event_id"] == event["event_id"]
        assert tags["session_id"] == "session-7"
        assert tags["request_id"] == "request-9"
        assert tags["service"] == "thumbnails"
        assert tags["worker_id"] == block["WORKER_ID"]
        assert tags["machine_id"] == block["MACHINE_ID"]
        assert event["environment"] == block["SENTRY_ENVIRONMENT"]


def test_sentry_would_take_every_event_as_it_is(ran: Ran) -> None:
    """Its normalizer finds nothing that is malformed or unknown, however odd the failure."""
    assert {event["tags"]["job_name"]: complaints(event) for event in ran.events} == {
        event["tags"]["job_name"]: [] for event in ran.events
    }


def test_spotlight_shows_what_was_sent(ran: Ran) -> None:
    """It reads the envelopes as we do, in order."""
    shown = [(each["type"], each["event_id"], each["tags"]) for each in ran.shown]
    assert shown == [("event", each["event_id"], each["tags"]) for each in ran.events]


# --- what an event says --------------------------------------------------------------------------


def test_the_event_says_where_the_job_was(ran: Ran) -> None:
    """Exception, source lines, stage, progress, queue, and the job's log."""
    event = ran.one("plain")
    assert exceptions(event) == [("ValueError", "no such image")]
    frame = event["exception"]["values"][0]["stacktrace"]["frames"][-1]
    assert frame["function"] == "plain"
    assert frame["context_line"].strip() == 'raise ValueError("no such image")'
    job = event["contexts"]["job"]
    assert (job["stage"], job["progress_percent"], job["queue"]) == ("Scale", 50.0, "images")
    assert job["status"] == "failed"
    assert job["duration_s"] > 0
    (crumb,) = event["breadcrumbs"]["values"]
    assert (crumb["message"], crumb["category"]) == ("opened", "job")
    assert crumb["data"] == {"rows": [1, {"größe": None}], "ratio": 0.5}


def test_two_attempts_are_two_events(ran: Ran) -> None:
    """Of one job, each with its attempt, its span and its exception."""
    first, second = ran.of("attempts")
    assert [event["tags"]["job_id"] for event in (first, second)] == ["tried-twice"] * 2
    assert [event["tags"]["attempt"] for event in (first, second)] == ["1", "2"]
    assert exceptions(first) == [("ConnectionError", "attempt 1")]
    assert exceptions(second) == [("ConnectionError", "attempt 2")]
    assert first["event_id"] != second["event_id"]
    assert first["tags"]["span_id"] != second["tags"]["span_id"]
    assert [record["attempt"] for record in ran.ends("attempts")] == [1, 2]


@pytest.mark.parametrize(
    ("name", "chain"),
    [
        ("chained", [("KeyError", "'width'"), ("ValueError", "no width")]),
        (
            "in_handler",
            [
                ("ValueError", "invalid literal for int() with base 10: 'wide'"),
                ("LookupError", "nor is there another"),
            ],
        ),
    ],
)
def test_the_cause_comes_with_the_exception(
    ran: Ran, name: str, chain: list[tuple[str, str]]
) -> None:
    """Raised ``from`` another, or while another was handled: each with its stack."""
    event = ran.one(name)
    assert exceptions(event) == chain
    assert all(each["stacktrace"]["frames"] for each in event["exception"]["values"])


def test_an_exception_group_comes_with_its_parts(ran: Ran) -> None:
    """Nested as they were, so that Sentry can draw the tree."""
    values = ran.one("group")["exception"]["values"]
    by_id = {each["mechanism"]["exception_id"]: each for each in values}
    parents = {
        each["value"]: by_id[each["mechanism"]["parent_id"]]["value"]
        for each in values
        if "parent_id" in each["mechanism"]
    }
    assert parents == {
        "one": "two parts failed",
        "in the pool": "two parts failed",
        "[Errno 28] No space left on device": "in the pool",
    }


def test_huge_failures_arrive_cut_to_size(ran: Ran) -> None:
    """A message of a megabyte, a stack of a thousand frames: enough of them to know."""
    (message,) = ran.one("huge")["exception"]["values"]
    assert message["value"].startswith("größe \U0001f40c größe")
    assert len(json.dumps(ran.one("huge"))) < 200_000
    (recursion,) = ran.one("deep")["exception"]["values"]
    assert recursion["type"] == "RecursionError"
    frames = recursion["stacktrace"]["frames"]
    assert (frames[0]["function"], frames[-1]["function"]) == ("main", "descend")
    assert len(json.dumps(ran.one("deep"))) < 1_000_000


def test_text_that_is_none_arrives_readable(ran: Ran) -> None:
    """Surrogates, control characters, exceptions and classes that have no proper text."""
    ((_, broken),) = exceptions(ran.one("broken_text"))
    assert broken.startswith("a file name: \ufffd\ufffd, a nul: ")
    assert exceptions(ran.one("unprintable"))[0][0] == "UnprintableError"
    assert exceptions(ran.one("renamed"))[0][1] == "odd"
    assert exceptions(ran.one("asynchronous")) == [("TimeoutError", "no answer")]


def test_no_local_variable_leaves(ran: Ran) -> None:
    """Neither arguments, nor locals, nor what hangs on the exception."""
    event = ran.one("private")
    frames = [f for each in event["exception"]["values"] for f in each["stacktrace"]["frames"]]
    assert frames
    assert not any("vars" in frame for frame in frames)
    lines = [(f["pre_context"], f["context_line"], f["post_context"]) for f in frames]
    assert PRIVATE not in json.dumps(event).replace(json.dumps(lines), "")


# --- check-ins and transactions ------------------------------------------------------------------


def test_a_cron_job_checks_in_and_out(spotlight: Spotlight, fiveobs_home: Path) -> None:
    """examples/cron_job.py, once well and once not: status, duration, schedule, and the error.

    sentry-relay has no function for check-ins: nobody but this test judges them.
    """
    variables = settings(spotlight, FIVEOBS_HOME=str(fiveobs_home))
    run_example("cron_job.py", **variables)
    run_example("cron_job.py", "--fail", code=1, **variables)
    check_ins = [item.payload for item in spotlight.items if item.type == "check_in"]
    assert [each["status"] for each in check_ins] == ["in_progress", "ok", "in_progress", "error"]
    assert {each["monitor_slug"] for each in check_ins} == {"nightly-backup"}
    for began, ended in (check_ins[:2], check_ins[2:]):
        assert began["check_in_id"] == ended["check_in_id"]
        assert ended["duration"] > 0
    assert check_ins[0]["check_in_id"] != check_ins[2]["check_in_id"]
    for each in check_ins:
        config = each["monitor_config"]
        assert config["schedule"] == {"type": "crontab", "value": "15 2 * * *"}
        assert (config["timezone"], config["max_runtime"]) == ("UTC", 30)
    (event,) = spotlight.events
    (failed,) = workers.events(fiveobs_home, "job.failed")
    assert event["event_id"] == failed["data"]["sentry_event_id"]
    assert event["tags"]["job_name"] == "back-up"


def test_a_transaction_has_the_jobs_ids(spotlight: Spotlight, fiveobs_home: Path) -> None:
    """With a sample rate, which is for performance only; Sentry would take it as it is."""
    with Worker(fiveobs_home, settings(spotlight, SENTRY_SAMPLE_RATE="1")) as worker:
        worker.tell("succeed 3")
        worker.tell("fail 2")
    sent = [item.payload for item in spotlight.items if item.type == "transaction"]
    traces = {each["contexts"]["trace"]["span_id"]: each["contexts"]["trace"] for each in sent}
    jobs = [
        record
        for record in workers.events(fiveobs_home)
        if record["event_type"] in ("job.completed", "job.failed")
    ]
    assert len(jobs) == 5
    assert {span_id: trace["trace_id"] for span_id, trace in traces.items()} == {
        record["span_id"]: record["trace_id"] for record in jobs
    }
    assert Counter(trace["status"] for trace in traces.values()) == {"ok": 3, "internal_error": 2}
    assert len(spotlight.events) == 2
    assert complaints_about(spotlight.envelopes) == []


# --- outages -------------------------------------------------------------------------------------


def test_spotlight_killed_and_restarted_loses_nothing(tmp_path: Path, fiveobs_home: Path) -> None:
    """Again and again: each failed job's event is there, and counts once by its id."""
    spotlight = Spotlight(tmp_path / "spotlight")
    variables = settings(spotlight, FIVEOBS_FLUSH_INTERVAL="50ms")
    with spotlight, Worker(fiveobs_home, variables) as worker:
        for _ in range(KILLS):
            seen = spotlight.count
            worker.tell("fail 100")
            until(lambda: spotlight.count > seen + 5, what="events come")  # noqa: B023
            spotlight.kill()
            worker.tell("fail 20")
            spotlight.start()
        assert worker.tell("flush 80") is True
    received = Counter(event["event_id"] for event in spotlight.events)
    failed = [
        record["data"]["sentry_event_id"] for record in workers.events(fiveobs_home, "job.failed")
    ]
    assert len(set(failed)) == len(failed) == KILLS * 120
    assert set(failed) - set(received) == set()
    assert set(received) - set(failed) == set()
    assert received.total() - len(received) <= KILLS  # one envelope is sent at a time
    assert f"{HOST}:{spotlight.port}" in worker.errors
