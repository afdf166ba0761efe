"""The errors track: one Sentry event for each failed job, check-ins, transactions, no hooks."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.transport import Transport

import fiveobs
from fiveobs import ContextThreadPoolExecutor, observe_job
from fiveobs.testing import Captured, FakeClock, capture
from tests.support.normalizer import complaints
from tests.support.sentry import SentryReceiver

DSN = "https://public@fiveobs.invalid/1"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def captured() -> Iterator[Captured]:
    with capture(clock=FakeClock()) as found:
        yield found


def fail(error: BaseException | None = None, name: str = "job", **options: Any) -> None:
    error = error or ValueError("bad row")
    with pytest.raises(type(error)), observe_job(name, **options):
        raise error


def sent(captured: Captured, kind: str) -> list[dict[str, Any]]:
    return [content for found, content in captured.envelope_items if found == kind]


# --- what an event says ---


def test_a_failed_job_makes_one_event_with_all_its_ids(captured: Captured) -> None:
    """Tags, trace, exception; and its id is in the journal and on the span."""
    fail(session_id="s", request_id="r", service="thumbnails", attempt=2)
    job = captured.job()
    (event,) = captured.errors
    assert event["tags"] == {
        "job_id": job.job_id,
        "job_name": "job",
        "service": "thumbnails",
        "trace_id": job.trace_id,
        "span_id": job.span_id,
        "session_id": "s",
        "request_id": "r",
        "worker_id": "test-worker",
        "machine_id": "test-machine",
        "attempt": "2",
    }
    assert event["contexts"]["trace"]["trace_id"] == job.trace_id
    assert event["contexts"]["trace"]["span_id"] == job.span_id
    exception = event["exception"]["values"][-1]
    assert (exception["type"], exception["value"]) == ("ValueError", "bad row")
    assert exception["stacktrace"]["frames"][-1]["function"] == "fail"
    assert exception["mechanism"] == {"type": "fiveobs", "handled": False}
    assert job.last is not None
    assert job.span is not None
    assert job.last.data["sentry_event_id"] == event["event_id"]
    assert job.span["attributes"]["sentry.event_id"] == event["event_id"]


def test_an_event_says_how_far_the_job_was(captured: Captured) -> None:
    """Stage, progress, timing, queue, and what was attached to it."""
    with pytest.raises(ValueError), observe_job("job", queue="q", attributes={"a": 1}) as job:
        job.progress(0.5, "rendering")
        captured.clock.advance(3)
        with job.stage("Loading"):
            raise ValueError
    assert captured.errors[0]["contexts"]["job"] == {
        "id": job.job_id,
        "name": "job",
        "service": "tests",
        "attempt": 1,
        "status": "failed",
        "stage": "Loading",
        "progress_percent": 50.0,
        "progress_message": "rendering",
        "duration_s": 3.0,
        "queue": "q",
        "attributes": {"a": 1},
    }


def test_the_jobs_log_is_in_the_breadcrumbs(captured: Captured) -> None:
    """In order, with levels as Sentry has them; other jobs' lines are not."""
    with pytest.raises(ValueError), observe_job("job") as job:
        job.log.info("one", rows=5)
        with observe_job("inner") as inner:
            inner.log.info("not mine")
        job.log.critical("two")
        raise ValueError
    crumbs = captured.errors[0]["breadcrumbs"]["values"]
    assert [(each["message"], each["level"], each["data"]) for each in crumbs] == [
        ("one", "info", {"rows": 5}),
        ("two", "fatal", {}),
    ]


def test_breadcrumbs_have_a_bound(captured: Captured) -> None:
    """The last fifty lines."""
    with pytest.raises(ValueError), observe_job("job") as job:
        for number in range(80):
            job.log.info(str(number))
        raise ValueError
    messages = [each["message"] for each in captured.errors[0]["breadcrumbs"]["values"]]
    assert messages == [str(number) for number in range(30, 80)]


def test_secrets_are_redacted(captured: Captured) -> None:
    """In messages, variables, attributes, log lines and what the application adds."""
    password = "hunter2hunter2"
    with pytest.raises(ValueError), observe_job("job", attributes={"password": password}) as job:
        job.progress(0.1, f"password={password}")
        job.log.info("password=hunter2hunter2", api_key=password)
        sentry_sdk.add_breadcrumb(message=f"password={password}")
        with sentry_sdk.new_scope() as scope:
            scope.set_extra("token", password)
            sentry_sdk.capture_message(f"password={password}")
        raise ValueError(f"password={password}")
    assert len(captured.errors) == 2
    assert password not in repr([{**e, "exception": _without_source(e)} for e in captured.errors])


def _without_source(event: dict[str, Any]) -> Any:
    """The exceptions without lines of source, which show what stands in this file."""
    found = event.get("exception", {}).get("values", [])
    for exception in found:
        for frame in exception["stacktrace"]["frames"]:
            for part in ("pre_context", "context_line", "post_context"):
                frame.pop(part, None)
    return found


# --- how many events there are ---


def test_arguments_do_not_leave_as_local_variables(captured: Captured) -> None:
    """Frames have their source lines and no variables, among which are a job's arguments."""

    @observe_job("job")
    def work(order: str) -> None:
        raise ValueError("bad row")

    with pytest.raises(ValueError, match="bad row"):
        work("of a customer")
    (event,) = captured.errors
    frames = event["exception"]["values"][-1]["stacktrace"]["frames"]
    assert frames[-1]["context_line"].strip().startswith("raise ValueError")
    assert not any("vars" in frame for frame in frames)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), SystemExit(1), None])
def test_a_job_that_did_not_fail_makes_no_event(
    captured: Captured, error: BaseException | None
) -> None:
    """Whether it completed, was interrupted or cancelled."""
    if error is None:
        with observe_job("job"):
            pass
    else:
        fail(error)
    assert captured.envelope_items == []


def test_an_exception_is_sent_once_however_many_jobs_it_ends(captured: Captured) -> None:
    """The enclosing jobs point to the same event; its job is the innermost."""
    error = ValueError("deep")
    with pytest.raises(ValueError), observe_job("outer"), observe_job("middle"):
        fail(error, "inner")
        raise error
    (event,) = captured.errors
    assert event["tags"]["job_name"] == "inner"
    ends = captured.events_of("job.failed")
    assert [each.job_name for each in ends] == ["inner", "middle", "outer"]
    assert {each.data["sentry_event_id"] for each in ends} == {event["event_id"]}


def test_one_exception_object_in_two_jobs_is_two_failures(captured: Captured) -> None:
    """A constant that is raised again and again ends each job for itself."""
    error = ValueError("constant")
    for number in range(3):
        fail(error, f"job {number}")
    with observe_job("outer"):
        fail(error, "one")
        fail(error, "two")
    names = [event["tags"]["job_name"] for event in captured.errors]
    assert names == ["job 0", "job 1", "job 2", "one", "two"]
    assert len({event["event_id"] for event in captured.errors}) == 5


def test_another_exception_on_the_way_out_is_another_event(captured: Captured) -> None:
    """The enclosing job failed for a reason of its own."""
    with pytest.raises(RuntimeError), observe_job("outer"):
        try:
            fail(ValueError("inner"), "inner")
            raise ValueError
        except ValueError as exc:
            raise RuntimeError("outer") from exc
    assert [event["tags"]["job_name"] for event in captured.errors] == ["inner", "outer"]


@dataclass(frozen=True)
class FrozenError(Exception):
    """Takes no attributes."""

    reason: str


class SlottedError(Exception):
    """Has an attribute hook that raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [(FrozenError, ["x"]), (SlottedError, ["x"]), (OSError, [2, "no"]), (StopIteration, [])],
)
def test_exceptions_of_any_kind_are_sent_once(
    captured: Captured, kind: type[Exception], arguments: list[Any]
) -> None:
    """Also those that cannot be marked by assignment."""
    error = kind(*arguments)
    with pytest.raises(type(error)), observe_job("outer"):
        fail(error, "inner")
        raise error
    assert len(captured.errors) == 1
    assert len(captured.events_of("job.failed")) == 2


def test_an_exception_that_was_sent_still_pickles(captured: Captured) -> None:
    """It may travel back from a pool to the job that waits there, and is not sent again."""
    error = ValueError("in the pool")
    with pytest.raises(ValueError), observe_job("outer"):
        fail(error, "inner")
        raise pickle.loads(pickle.dumps(error))
    assert len(captured.errors) == 1


def test_an_error_sent_by_the_application_is_the_jobs_event(captured: Captured) -> None:
    """It captures and raises: one event, which the job points to."""
    with pytest.raises(ValueError), observe_job("job"):
        try:
            raise ValueError("twice")
        except ValueError as exc:
            event_id = sentry_sdk.capture_exception(exc)
            raise
    (event,) = captured.errors
    (failed,) = captured.events_of("job.failed")
    assert event["event_id"] == failed.data["sentry_event_id"] == event_id


def test_events_of_the_application_in_a_job_carry_its_ids(captured: Captured) -> None:
    """Messages and handled errors; outside jobs they are as they were."""
    with observe_job("job") as job:
        sentry_sdk.capture_message("in the job")
    sentry_sdk.capture_message("outside")
    inside, outside = captured.errors
    assert inside["tags"]["job_id"] == job.job_id
    assert inside["contexts"]["trace"]["trace_id"] == job.trace_id
    assert "job" not in outside.get("contexts", {})
    assert "job_id" not in outside.get("tags", {})


# --- threads and tasks ---


def test_the_event_is_of_the_job_that_failed_wherever_it_ends(captured: Captured) -> None:
    """In another thread, in overlapping blocks, and in many threads at once."""
    moved = observe_job("moved")
    moved.__enter__()
    error = ValueError("moved")
    thread = threading.Thread(target=lambda: moved.__exit__(ValueError, error, None))
    thread.start()
    thread.join()
    first, second = observe_job("first"), observe_job("second")
    first.__enter__(), second.__enter__()
    first.__exit__(ValueError, ValueError("first"), None)
    second.__exit__(None, None, None)
    with ContextThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: fail(ValueError(str(n)), f"pool {n}"), range(8)))
    failed = {
        each.job_id: each.data["sentry_event_id"] for each in captured.events_of("job.failed")
    }
    assert {event["tags"]["job_id"]: event["event_id"] for event in captured.errors} == failed
    assert len(failed) == 10


# --- transactions ---


def test_a_share_of_the_jobs_are_transactions() -> None:
    """With the job's ids; none with a rate of zero, which is the default."""
    with capture(sentry_sample_rate=0.5) as captured:
        for _ in range(200):
            with observe_job("job"):
                pass
        assert 50 <= len(sent(captured, "transaction")) <= 150
    with capture() as captured:
        with observe_job("job"):
            pass
        assert sent(captured, "transaction") == []


def test_a_transaction_is_the_jobs_span() -> None:
    """Name, trace, status; the application's Sentry spans are in it."""
    with capture(sentry_sample_rate=1.0, sentry_profiles_sample_rate=1.0) as captured:
        with observe_job("outer"):
            with sentry_sdk.start_span(op="db", name="query password=hunter2hunter2"):
                pass
            fail(name="inner")
        inner, outer = sent(captured, "transaction")
        jobs = {job.name: job for job in captured.jobs}
    for transaction, status in ((inner, "internal_error"), (outer, "ok")):
        job, trace = jobs[transaction["transaction"]], transaction["contexts"]["trace"]
        assert (trace["trace_id"], trace["span_id"]) == (job.trace_id, job.span_id)
        assert trace["status"] == status
        assert transaction["tags"]["job_id"] == job.job_id
    assert [span["op"] for span in outer["spans"]] == ["db"]
    assert "hunter2" not in repr(outer["spans"])


def test_tasks_do_not_take_each_others_transaction() -> None:
    """Interleaved jobs on one event loop; after them no transaction is current."""

    async def work(name: str, turn: asyncio.Event, other: asyncio.Event) -> None:
        async with observe_job(name):
            other.set()
            await turn.wait()
            with sentry_sdk.start_span(op="op", name=name):
                pass

    async def main() -> None:
        one, two = asyncio.Event(), asyncio.Event()
        await asyncio.gather(work("a", one, two), work("b", two, one))
        assert sentry_sdk.get_current_span() is None

    with capture(sentry_sample_rate=1.0) as captured:
        asyncio.run(main())
        spans = {t["transaction"]: t["spans"] for t in sent(captured, "transaction")}
    assert {name: [span["description"] for span in each] for name, each in spans.items()} == {
        "a": ["a"],
        "b": ["b"],
    }


# --- check-ins ---


@pytest.mark.parametrize("fails", [False, True])
def test_a_monitored_job_checks_in_and_out(captured: Captured, *, fails: bool) -> None:
    """Under the same id, with how it ended and how long it took."""
    with observe_job("around"):
        if fails:
            fail(monitor="nightly")
        else:
            with observe_job("job", monitor="nightly"):
                captured.clock.advance(90)
    first, second = sent(captured, "check_in")
    assert (first["monitor_slug"], first["status"]) == ("nightly", "in_progress")
    assert (second["monitor_slug"], second["status"]) == ("nightly", "error" if fails else "ok")
    assert first["check_in_id"] == second["check_in_id"]
    assert second["duration"] == (0 if fails else 90)
    assert "monitor_config" not in second


def test_a_monitors_configuration_is_sent(captured: Captured) -> None:
    """The slug out of it, the rest as Sentry takes it; the mapping is left as it is."""
    schedule = {"type": "crontab", "value": "0 3 * * *"}
    monitor = {"slug": "nightly", "schedule": schedule, "timezone": "UTC"}
    with observe_job("job", monitor=monitor):
        pass
    for check_in in sent(captured, "check_in"):
        assert check_in["monitor_slug"] == "nightly"
        assert check_in["monitor_config"] == {"schedule": schedule, "timezone": "UTC"}
    assert monitor["slug"] == "nightly"


def test_overlapping_runs_of_one_monitor_have_their_own_check_ins(captured: Captured) -> None:
    """Each its own id."""
    with observe_job("job", monitor="m"), observe_job("job", monitor="m"):
        pass
    ids = [each["check_in_id"] for each in sent(captured, "check_in")]
    assert ids[0] == ids[3] != ids[1] == ids[2]


# --- the application's client ---


class KeepingTransport(Transport):
    """Keeps what the application's client sends."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.events += [item.payload.json for item in envelope.items if item.payload.json]


@pytest.fixture
def init() -> Iterator[Any]:
    """Sets up a client as the application would; returns what it sends."""

    def start(**options: Any) -> list[dict[str, Any]]:
        settings = {"default_integrations": False, "transport": KeepingTransport, **options}
        sentry_sdk.init(DSN, **settings)
        transport = sentry_sdk.get_client().transport
        assert isinstance(transport, KeepingTransport)
        return transport.events

    yield start
    sentry_sdk.get_global_scope().set_client(None)


def test_the_applications_client_gets_the_whole_event(init: Any) -> None:
    """Ids, context, breadcrumbs, redacted as ours; and it is not ended with us."""
    events = init()
    client = sentry_sdk.get_client()
    with capture() as captured:
        with (
            pytest.raises(ValueError),
            observe_job("job", attributes={"password": "hunter2hunter2"}) as job,
        ):
            job.log.info("said", token="hunter2hunter2")
            raise ValueError("bad")
        assert captured.errors == []
        (failed,) = captured.events_of("job.failed")
        fiveobs.shutdown()
    (event,) = events
    assert event["event_id"] == failed.data["sentry_event_id"]
    assert event["tags"]["job_id"] == job.job_id
    assert event["breadcrumbs"]["values"][-1]["message"] == "said"
    assert "hunter2" not in repr((event["contexts"], event["breadcrumbs"]["values"][-1]))
    assert sentry_sdk.get_client() is client
    assert client.is_active()


def test_a_client_set_up_after_our_start_takes_over(init: Any) -> None:
    """From then on the events are its events."""
    with capture() as captured:
        fail(name="before")
        events = init()
        fail(name="after")
        assert [event["tags"]["job_name"] for event in captured.errors] == ["before"]
        assert [event["tags"]["job_name"] for event in events] == ["after"]
        ends = captured.events_of("job.failed")
        assert ends[1].data["sentry_event_id"] == events[0]["event_id"]
        fiveobs.shutdown()
        assert sentry_sdk.get_client().is_active()


def test_the_sdks_own_deduplication_does_not_hide_a_job(init: Any) -> None:
    """An application's client drops the same exception object in a row; two jobs are two."""
    events = init(integrations=[DedupeIntegration()])
    error = ValueError("constant")
    with capture():
        fail(error, "one")
        fail(error, "two")
    assert [event["tags"]["job_name"] for event in events] == ["one", "two"]


@pytest.mark.parametrize("answer", [None, RuntimeError("hook")])
def test_an_event_that_the_application_drops_is_not_referred_to(init: Any, answer: Any) -> None:
    """``before_send`` returns nothing or raises: the job ends as it would, with no event id."""

    def before_send(event: Any, hint: Any) -> Any:
        if answer is not None:
            raise answer
        return answer

    events = init(before_send=before_send)
    with capture() as captured:
        fail()
        assert captured.job().status == "failed"
        assert "sentry_event_id" not in captured.events_of("job.failed")[0].data
    assert events == []


# --- what is left alone ---


def test_no_hook_is_replaced() -> None:
    """Neither by our client nor by an error: excepthooks, logging, HTTP, threads, subprocesses."""
    program = """
import asyncio, http.client, logging, subprocess, sys, threading
def state():
    return (sys.excepthook, sys.unraisablehook, threading.excepthook, threading.Thread.start,
            threading.Thread.run, http.client.HTTPConnection.putrequest,
            http.client.HTTPConnection.getresponse, subprocess.Popen.__init__,
            logging.Logger.callHandlers, logging.getLoggerClass(), logging.getLogRecordFactory(),
            logging.root.handlers[:], asyncio.BaseEventLoop.create_task)
before = state()
from fiveobs import observe_job, shutdown
from opentelemetry import propagate
propagator = propagate.get_global_textmap()
try:
    with observe_job("job", monitor="m"):
        raise ValueError
except ValueError:
    pass
import sentry_sdk
assert sentry_sdk.get_client().is_active()
assert state() == before
assert propagate.get_global_textmap() is propagator
assert not [each.name for each in threading.enumerate() if "sentry" in each.name.lower()]
shutdown(0.1)
assert state() == before
assert not sentry_sdk.get_client().is_active()
"""
    _run(program, SENTRY_DSN="http://public@127.0.0.1:9/1", SENTRY_SAMPLE_RATE="1.0")


def test_without_a_dsn_sentry_is_not_loaded() -> None:
    """A failed job needs none of it."""
    _run(
        "import sys\n"
        "from fiveobs import observe_job\n"
        "try:\n"
        "    with observe_job('job'):\n"
        "        raise ValueError\n"
        "except ValueError:\n"
        "    pass\n"
        "assert 'sentry_sdk' not in sys.modules\n"
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_sends_its_own_errors() -> None:
    """From its journal, also those that the application captures before the child's first job."""
    program = """
import os, sentry_sdk
from fiveobs import observe_job
with observe_job("parent"):
    pass
pid = os.fork()
if pid == 0:
    sentry_sdk.capture_message("in the child")
    try:
        with observe_job("child"):
            raise ValueError
    except ValueError:
        pass
    import fiveobs
    os._exit(0 if fiveobs.flush(10) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    with SentryReceiver() as receiver:
        _run(program, SENTRY_DSN=receiver.dsn)
        assert len(receiver.events) == 2
        message, error = receiver.events
    assert message["message"] == "in the child"
    assert error["tags"]["job_name"] == "child"


def test_the_first_event_is_rehearsed_once_and_nobody_sees_that() -> None:
    """What the first failed job would wait for is done before it, and sent nowhere."""
    program = """
import fiveobs
from fiveobs.tracks import _sentry
from sentry_sdk.scope import add_global_event_processor
seen, made, take = [], [], _sentry.JournalTransport.capture_envelope
add_global_event_processor(lambda event, hint: seen.append(event) or event)
_sentry.JournalTransport.capture_envelope = lambda *given: made.append(given) or take(*given)
for _ in range(2):
    fiveobs.configure(service="s")
    assert len(made) == 1, made
try:
    with fiveobs.observe_job("job"):
        raise ValueError
except ValueError:
    pass
assert len(seen) == 1, seen
assert len(made) == 2, made
assert fiveobs.flush(10)
"""
    with SentryReceiver() as receiver:
        _run(program, SENTRY_DSN=receiver.dsn)
        (event,) = receiver.events
    assert event["tags"]["job_name"] == "job"


def _run(program: str, **settings: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), **settings},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


# --- what Sentry makes of it ---


def test_sentrys_own_normalizer_has_nothing_to_say(captured: Captured) -> None:
    """No field of an event is unknown or malformed."""
    with pytest.raises(ValueError), observe_job("job", queue="q", session_id="s") as job:
        job.log.warning("größe", rows=[1, {"a": None}], ratio=0.5)
        job.progress(0.3, "rendering")
        with job.stage("Loading"):
            sentry_sdk.capture_message("said")
            raise ValueError("bad row")
    assert len(captured.errors) == 2
    assert [each for event in captured.errors for each in complaints(event)] == []


def test_this_process_is_as_it_was() -> None:
    """After all of the above no hook of this process has been replaced by us."""
    assert "fiveobs" not in sys.excepthook.__module__
    assert logging.Logger.callHandlers.__module__ == "logging"
    assert http.client.HTTPConnection.putrequest.__module__ == "http.client"
