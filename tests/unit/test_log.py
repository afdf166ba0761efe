"""Log lines: from jobs, from loggers outside them, from ``logging`` and from structlog."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fiveobs import LogHandler, add_job_context, get_logger, observe_job
from fiveobs.testing import Captured, RecordingTrack, capture


@pytest.fixture
def captured() -> Iterator[Captured]:
    with capture(log_level="debug") as found:
        yield found


@pytest.fixture
def app() -> Iterator[logging.Logger]:
    """An application's logger that hands everything to us."""
    logger, handler = logging.getLogger("app.images"), LogHandler()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def the_line(captured: Captured) -> Any:
    (line,) = captured.logs
    return line


# --- our own loggers ---


def test_a_jobs_line_has_its_ids(captured: Captured) -> None:
    """And what else was said, and the stage that is open."""
    with observe_job("job", service="thumbnails", session_id="s") as job, job.stage("Loading"):
        job.log.warning("missing timestamps", affected=125)
    line = the_line(captured)
    assert (line.level, line.message, line.service) == (
        *("warning", "missing timestamps"),
        "thumbnails",
    )
    assert (line.job_id, line.trace_id, line.span_id) == (job.job_id, job.trace_id, job.span_id)
    assert line.session_id == "s"
    assert dict(line.data) == {"affected": 125, "stage": "Loading"}


def test_a_logger_takes_the_job_that_runs(captured: Captured) -> None:
    """Outside jobs its lines have the process's ids only."""
    log = get_logger("app")
    log.info("outside")
    with observe_job("job") as job:
        log.info("inside")
    outside, inside = captured.logs
    assert outside.job_id is outside.trace_id is None
    assert (outside.service, outside.worker_id) == ("tests", "test-worker")
    assert inside.job_id == job.job_id
    assert inside.data["logger"] == "app"


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_each_level_has_its_method(captured: Captured, level: str) -> None:
    """And an event of that level."""
    getattr(get_logger(), level)("said")
    assert the_line(captured).level == level


@pytest.mark.parametrize(
    ("given", "kept"), [("warn", "warning"), ("fatal", "critical"), ("loud", "info"), ("", "info")]
)
def test_other_levels_become_known_ones(captured: Captured, given: str, kept: str) -> None:
    """A line's level is always one that the schema knows."""
    get_logger().log(given, "said", {})
    assert the_line(captured).level == kept


def test_lines_below_the_level_are_left_out() -> None:
    """``log_level`` says from where on; events are not lines and are kept."""
    with capture(log_level="warning") as captured:
        with observe_job("job") as job:
            for level in ("debug", "info", "warning", "error", "warn", "loud"):
                job.log.log(level, level, {})
        assert [line.message for line in captured.logs] == ["warning", "error", "warn"]
        assert [event.event_type for event in captured.events_of("job.*")] == [
            *("job.started", "job.completed"),
        ]


def test_an_exception_line_has_type_message_and_stack(captured: Captured) -> None:
    """Outside an ``except`` block it is a plain error line."""
    log = get_logger()
    try:
        raise LookupError("no such image")
    except LookupError:
        log.exception("gave up")
    log.exception("nothing")  # noqa: LOG004 - what is shown
    first, second = captured.logs
    assert first.level == second.level == "error"
    assert first.data["error"]["type"] == "LookupError"
    assert first.data["error"]["message"] == "no such image"
    assert "raise LookupError" in first.data["error"]["stacktrace"]
    assert "error" not in second.data


def test_secrets_do_not_get_into_lines(captured: Captured) -> None:
    """Neither by name nor by shape."""
    get_logger().info("login with password=hunter2hunter2", token="abc", user="ann")
    line = the_line(captured)
    assert "hunter2" not in line.message
    assert line.data["token"] != "abc"
    assert line.data["user"] == "ann"


# --- logging ---


def test_a_record_of_logging_gets_the_jobs_ids(captured: Captured, app: logging.Logger) -> None:
    """Message, level, logger and what ``extra`` added."""
    with observe_job("job") as job:
        app.warning("%d of %d", 3, 4, extra={"image": "cat.png"})
    line = the_line(captured)
    assert (line.message, line.level, line.job_id) == ("3 of 4", "warning", job.job_id)
    assert dict(line.data) == {"image": "cat.png", "logger": "app.images"}


def test_exc_info_becomes_the_error(captured: Captured, app: logging.Logger) -> None:
    """With ``exception`` and with an exception given; an empty one is none."""
    try:
        raise KeyError("a")
    except KeyError as exc:
        app.exception("one")
        error = exc
    app.error("two", exc_info=error)
    app.error("three", exc_info=True)
    one, two, three = captured.logs
    assert one.data["error"]["type"] == two.data["error"]["type"] == "KeyError"
    assert "error" not in three.data


@pytest.mark.parametrize(
    ("number", "level"),
    [(5, "debug"), (10, "debug"), (25, "info"), (30, "warning"), (45, "error"), (99, "critical")],
)
def test_numbers_become_the_level_below(
    captured: Captured, app: logging.Logger, number: int, level: str
) -> None:
    """Levels of the application's own are mapped to ours."""
    app.setLevel(1)
    app.log(number, "said")
    assert the_line(captured).level == level


def handle(message: object, *args: object) -> None:
    """As logging does, without the handlers of pytest, which raise."""
    record = logging.LogRecord("app.images", 30, __file__, 1, message, args, None)
    LogHandler().handle(record)


def test_a_message_that_cannot_be_formatted_is_kept_as_it_is(captured: Captured) -> None:
    """With its arguments beside it; the mistake is reported."""
    handle("%d apples", "no number")
    line = the_line(captured)
    assert line.message == "%d apples"
    assert line.data["args"] == ["no number"]
    assert any("app.images" in problem for problem in captured.problems)


def test_our_own_loggers_do_not_come_back(captured: Captured) -> None:
    """Nor those of what ships for us, or a failing delivery would log about its log lines."""
    handler = LogHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        for name in ("fiveobs.internal", "opentelemetry.sdk", "urllib3.pool", "sentry_sdk.errors"):
            logging.getLogger(name).error("internal")
        logging.getLogger("grpc_service").error("the application's")
    finally:
        root.removeHandler(handler)
    assert [line.message for line in captured.logs] == ["the application's"]


def test_what_we_report_waits_for_no_line_that_is_being_taken(
    captured: Captured, app: logging.Logger
) -> None:
    """A report may be made with the journal's lock held, for which that line may be waiting."""
    reported, is_in_time = threading.Event(), []

    class Slow:
        def __str__(self) -> str:  # called in the handler
            reporter.start()
            is_in_time.append(reported.wait(10))
            return "done"

    def report_something() -> None:
        app.getChild("other").warning("of another thread")
        reported.set()

    reporter = threading.Thread(target=report_something)
    app.propagate = False  # pytest's handlers would ask for the text, too
    try:
        app.warning("%s", Slow())
    finally:
        app.propagate = True
    reporter.join(10)
    assert is_in_time == [True]
    assert sorted(line.message for line in captured.logs) == ["done", "of another thread"]


def test_a_track_that_logs_is_not_logged_about(app: logging.Logger) -> None:
    """A user's track may use ``logging`` though its lines come back to it as events."""

    class Chatty(RecordingTrack):
        def on_event(self, event: Any) -> None:
            super().on_event(event)
            app.info("saw %s", event.event_type)

    track = Chatty("chatty")
    with capture(tracks=[track]) as captured:
        track.events.clear()
        app.info("once")
        assert [line.message for line in captured.logs if line.message == "once"] == ["once"]
        assert [event.message for event in track.events_of("log")] == ["once"]
        assert captured.failures()["chatty"] == 0


def test_hostile_extras_do_not_raise(captured: Captured, app: logging.Logger) -> None:
    """What cannot be shown is masked."""

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("hostile")

        __repr__ = __str__

    app.info("said", extra={"bad": Hostile()})
    handle(Hostile())
    assert captured.logs[0].message == "said"


# --- structlog ---


def test_structlog_lines_get_the_ids(captured: Captured) -> None:
    """The processor adds what is not there; with no job it adds the process's ids."""
    structlog = pytest.importorskip("structlog")
    entries: list[Any] = []

    class Sink:
        def info(self, *args: Any, **kwargs: Any) -> None:
            """Nothing to write."""

    def keep(logger: Any, method: str, event: Any) -> str:
        entries.append(event)
        return ""

    log = structlog.wrap_logger(Sink(), processors=[add_job_context, keep])
    with observe_job("job") as job:
        log.info("inside", worker_id="mine")
    log.info("outside")
    inside, outside = entries
    assert (inside["job_id"], inside["trace_id"]) == (job.job_id, job.trace_id)
    assert inside["worker_id"] == "mine"
    assert outside == {"event": "outside", "worker_id": "test-worker", "machine_id": "test-machine"}


def test_the_processor_passes_the_line_on_whatever_happens() -> None:
    """Also where nothing is observed."""
    with capture(enabled=False):
        event = {"event": "said"}
        assert add_job_context(None, "info", event) is event
        assert event == {"event": "said"}
