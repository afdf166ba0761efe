"""``fiveobs.testing``: what users' tests are given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

import fiveobs
from fiveobs import ConfigError, bus, current_job, observe_job
from fiveobs.testing import BrokenTrack, FakeClock, RecordingTrack, SlowTrack, capture


@observe_job("resize", service="thumbnails")
def resize(path: str) -> str:
    job = current_job()
    assert job is not None
    job.log.info("reading", path=path)
    with job.stage("scale"):
        job.count("pixels", 640)
    if path == "bad.png":
        raise ValueError("no image")
    return "ok"


def fail() -> None:
    with pytest.raises(ValueError, match="no image"):
        resize("bad.png")


# --- isolation ---


def test_a_capture_leaves_the_process_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Home, variables, settings and bus are those of before once the capture has ended."""
    monkeypatch.setenv("FIVEOBS_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("SENTRY_DSN", "https://key@sentry.invalid/1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.invalid:4318")
    monkeypatch.delenv("SENTRY_DSN")
    before, inboxes = dict(os.environ), bus.inboxes
    with capture() as captured:
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in os.environ
        assert os.environ["FIVEOBS_HOME"] == str(captured.home)
        bus.subscribe("job.*", print)
        resize("cat.png")
    assert dict(os.environ) == before
    assert bus.inboxes == inboxes
    assert not captured.home.exists()
    assert not (tmp_path / "own").exists()


def test_what_was_configured_before_is_back_afterwards(tmp_path: Path) -> None:
    """The settings of ``configure()`` hold again after a capture, with a pipeline of their own."""
    track = RecordingTrack()
    fiveobs.configure(tracks=[track], home=tmp_path / "own")
    try:
        with capture():
            resize("during.png")
        assert track.events_of("job.*") == []
        resize("after.png")
        assert len(track.events_of("job.*")) == 2
    finally:
        fiveobs.configure()
        fiveobs.shutdown()


def test_a_job_that_is_never_ended_does_not_outlive_the_capture() -> None:
    """What an open job left current, in fiveobs and OpenTelemetry, is taken back at the end."""
    with capture():
        observe_job("open").__enter__()
        assert current_job() is not None
    assert current_job() is None
    with capture() as captured:
        resize("cat.png")
        assert captured.job().span is not None
        assert captured.job().span["parent_span_id"] is None


def test_captures_do_not_nest() -> None:
    """A capture in a capture is refused, and the outer one goes on."""
    with capture() as captured:
        with pytest.raises(RuntimeError, match="another capture"), capture():
            pass
        resize("cat.png")
        assert captured.job().status == "completed"


def test_what_was_captured_can_be_read_afterwards() -> None:
    """Events, logs, spans, metrics, errors and sums outlive the capture."""
    with capture() as captured:
        fail()
    job = captured.job()
    assert job.status == "failed"
    assert captured.ids_agree() == {
        "job_id": job.job_id,
        "trace_id": job.trace_id,
        "span_id": job.span_id,
    }
    assert captured.metric("errors", {"error.type": "ValueError"}) == 1
    assert captured.accounting()["traces"].delivered == 2


def test_code_under_test_may_configure_and_shut_down() -> None:
    """``configure()`` and ``shutdown()`` of the code under test stay within the capture."""
    with capture() as captured:
        fiveobs.configure(service="own", traces_endpoint="http://collector.invalid:4318")
        fiveobs.get_logger("x").info("hello")
        resize("cat.png")
        fiveobs.shutdown()
        resize("dog.png")
        assert len(captured.jobs) == 2
        assert len(captured.spans) == 4
        assert captured.logs[0].service == "own"


def test_a_home_of_the_tests_own_is_kept(tmp_path: Path) -> None:
    """With ``home=`` the journal can be looked at afterwards."""
    with capture(home=tmp_path):
        resize("cat.png")
    [path] = (tmp_path / "journal").glob("*.log")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event_type"] for line in lines if line.get("job_name")] == [
        *("job.started", "log", "stage.started", "metric", "stage.completed", "job.completed")
    ]


def test_an_exception_in_the_test_goes_through() -> None:
    """What a test raises in a capture is raised, and the capture ends all the same."""
    with pytest.raises(AssertionError, match="the test's own"), capture():
        raise AssertionError("the test's own")
    with capture():
        pass


def test_importing_it_loads_no_third_party() -> None:
    """``import fiveobs.testing`` loads the standard library and orjson only."""
    program = (
        "import sys; before = set(sys.modules); import fiveobs.testing; "
        "names = {n.partition('.')[0] for n in set(sys.modules) - before}; "
        "print(*sorted(names - sys.stdlib_module_names - {'fiveobs', 'orjson'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


# --- settings ---


def test_settings_are_those_of_configure() -> None:
    """Any setting can be given; ``None`` switches a destination off."""
    with capture(service="s", sentry_dsn=None, traces_endpoint=None) as captured:
        fail()
        assert captured.errors == captured.spans == []
        assert captured.events[0].service == "s"
        assert set(captured.accounting()) == {"events", "logs", "metrics"}
        captured.ids_agree()


def test_a_bad_setting_is_refused() -> None:
    """A setting that cannot be used raises at the start of the capture."""
    with pytest.raises(ConfigError, match="trace_sample_ratio"), capture(trace_sample_ratio=2):
        pass


@pytest.mark.parametrize(
    "options", [{"broken": {"log"}}, {"refusing": {"events"}}, {"slow": {"events": 1.0}}]
)
def test_a_track_that_is_none_is_refused(options: dict[str, object]) -> None:
    """A misspelt track, or one that this cannot be done to, is named with those that can."""
    with pytest.raises(ValueError, match="logs, traces, metrics, errors"), capture(**options):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize("protocol", ["forward", "http", "stdout"])
def test_logs_are_captured_whatever_the_protocol(protocol: str) -> None:
    """What the logs track sends is the same by Forward, HTTP and on standard output."""
    with capture(fluent_bit_protocol=protocol) as captured:
        resize("cat.png")
        assert [(line.message, line.data["path"]) for line in captured.logs] == [
            ("reading", "cat.png")
        ]
        assert len(captured.log_records) == len(captured.events)


# --- what is captured ---


def test_spans_are_decoded_from_what_is_sent() -> None:
    """A span has hex ids, its parent's id, attributes and status."""
    with capture(sequential_ids=True) as captured:
        fail()
    stage, job = captured.spans
    assert (job["name"], job["trace_id"], job["span_id"]) == ("resize", f"{1:032x}", f"{1:016x}")
    assert (job["parent_span_id"], stage["parent_span_id"]) == (None, f"{1:016x}")
    assert job["status"] == {"code": "ERROR", "message": "no image"}
    assert job["attributes"]["job.id"] == "job-1"
    assert job["events"][0]["attributes"]["exception.type"] == "ValueError"
    assert job["resource"]["service.name"] == "tests"


def test_metrics_are_the_newest_points() -> None:
    """Metrics show each series once, with the sum of all that was measured."""
    with capture() as captured:
        resize("cat.png")
        assert captured.metric("pixels") == 640
        resize("dog.png")
        assert captured.metric("pixels") == 1280
        labels = {"service": "thumbnails", "name": "resize", "status": "success"}
        assert captured.metric("jobs.processed", labels) == 2
        assert captured.metric("job.duration", {"name": "resize"}) == 2
        assert captured.metric("jobs.processed", {"status": "failed"}) == 0
        [point] = captured.metrics["job.duration"]
        assert point["exemplars"][-1]["trace_id"] in {job.trace_id for job in captured.jobs}


def test_a_job_is_shown_by_every_track() -> None:
    """``job()`` gathers what the tracks have of one job."""
    with capture() as captured:
        resize("cat.png")
        fail()
    good, bad = captured.jobs
    assert good.event_types == [
        *("job.started", "log", "stage.started", "stage.completed", "job.completed")
    ]
    assert (good.name, good.service, good.error, good.errors) == ("resize", "thumbnails", None, [])
    assert [line.message for line in bad.logs] == ["reading"]
    assert [span["name"] for span in bad.spans] == ["scale", "resize"]
    assert bad.span is not None
    assert bad.error is not None
    assert bad.error["type"] == "ValueError"
    assert bad.errors[0]["exception"]["values"][0]["value"] == "no image"


def test_the_only_job_must_be_the_only_one() -> None:
    """Without an id ``job()`` wants exactly one job, and says which there are."""
    with capture(sequential_ids=True) as captured:
        with pytest.raises(AssertionError, match="there is: none"):
            captured.job()
        resize("cat.png")
        assert captured.job().job_id == "job-1"
        resize("dog.png")
        with pytest.raises(AssertionError, match=r"resize \(job-1\), resize \(job-2\)"):
            captured.job()
        with pytest.raises(AssertionError, match="not a job 'job-3'"):
            captured.job("job-3")


def test_running_and_announced_jobs_say_so() -> None:
    """A job that has not ended is running; one that was only announced is received."""
    with capture() as captured:
        fiveobs.announce_job("later", job_id="a")
        with observe_job("now", job_id="b"):
            assert captured.job("b").status == "running"
            assert captured.job("b").duration_s is None
        assert captured.job("a").status == "received"


FORK = """
import os
from fiveobs import get_logger, observe_job
from fiveobs.testing import capture

@observe_job("work")
def work(where):
    get_logger().info(where)

with capture() as captured:
    work("parent")
    assert captured.flush()
    pid = os.fork()
    if not pid:
        work("child")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    print([line.message for line in captured.events_of("log")])
    print([line.message for line in captured.logs])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_events_of_child_processes_are_there_too() -> None:
    """A forked child writes a journal of its own into the same home; what it sends stays there."""
    command = [sys.executable, "-c", FORK]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines() == ["['parent', 'child']", "['parent']"]


# --- agreement ---


def test_ids_that_differ_are_found() -> None:
    """A track that says something else about a job is named, with what it says."""
    with capture(sequential_ids=True) as captured:
        fail()
        assert captured.errors
        sender = captured._senders["errors"]
        sender.payloads = [each.replace(b"0" * 31 + b"1", b"f" * 32) for each in sender.payloads]
        with pytest.raises(AssertionError) as caught:
            captured.ids_agree()
    text = str(caught.value)
    assert text.startswith(f"job job-1 has trace {1:032x} and span {1:016x}, but\n  errors: event ")
    assert f"has trace {'f' * 32}" in text


@pytest.mark.parametrize(
    ("track", "fault"),
    [
        ("logs", "logs: job.started"),
        ("traces", "traces: no span"),
        ("errors", "errors: event"),
    ],
)
def test_a_job_that_a_track_has_not_sent_is_no_agreement(track: str, fault: str) -> None:
    """A job that is missing from a track fails the comparison, unless that track is left out."""
    with capture(broken={track}) as captured:
        fail()
        with pytest.raises(AssertionError, match=fault):
            captured.ids_agree()
        captured.ids_agree(tracks=["events", "metrics"])
        captured.repair(track)
        captured.ids_agree()


def test_a_span_that_is_not_sampled_is_not_missed() -> None:
    """A job whose trace was not kept agrees without a span."""
    with capture(trace_sample_ratio=0.0) as captured:
        resize("cat.png")
        assert captured.spans == []
        captured.ids_agree()


# --- waiting ---


def test_waiting_for_what_comes() -> None:
    """``wait_for`` gives the value once it is true, whatever thread brings it about."""
    with capture(slow={"logs": 0.05}) as captured:
        resize("cat.png")
        assert captured.wait_for(lambda c: c.logs)[0].message == "reading"


def test_waiting_in_vain_says_what_there_was() -> None:
    """After the deadline the message shows how much each track has sent."""
    with capture() as captured:
        resize("cat.png")
        with pytest.raises(TimeoutError, match=r"not so within 0\.05 s: <Captured \d+ events"):
            captured.wait_for(lambda c: c.events_of("job.failed"), timeout_s=0.05)


# --- clock and ids ---


def test_sequential_ids_make_events_exact() -> None:
    """Job, trace, span and event ids count from 1."""
    with capture(sequential_ids=True) as captured:
        resize("cat.png")
        resize("dog.png")
    first, second = captured.jobs
    assert (first.job_id, second.job_id) == ("job-1", "job-2")
    assert (second.trace_id, second.span_id) == (f"{2:032x}", f"{3:016x}")
    assert first.first.id == "test-2"


def test_a_fake_clock_makes_times_exact() -> None:
    """Timestamps and durations of jobs, stages and spans follow the clock."""
    clock = FakeClock(datetime(2030, 5, 17, 12, 0, tzinfo=UTC))
    with capture(clock=clock) as captured:
        with observe_job("long") as job:
            clock.advance(3600)
            with job.stage("load", total=10) as stage:
                stage.advance(5)
                clock.advance(10)
                assert stage.eta_s == 10
            job.progress(0.5)
        assert captured.clock.now == datetime(2030, 5, 17, 13, 0, 10, tzinfo=UTC)
    found = captured.job()
    assert found.duration_s == 3610
    assert found.first.timestamp == "2030-05-17T12:00:00.000000Z"
    assert captured.events_of("stage.completed")[0].data["duration_s"] == 10
    assert [span["duration_s"] for span in captured.spans] == [10, 3610]


def test_a_fake_clock_passes_the_pause_between_progress_events() -> None:
    """Progress with the same message is recorded again once the clock has gone on."""
    clock = FakeClock()
    with capture(clock=clock) as captured, observe_job("long") as job:
        for percent in (10, 20, 30):
            job.progress(percent / 100, "reading")
        clock.advance(1)
        job.progress(0.4, "reading")
        assert [e.data["percent"] for e in captured.events_of("job.progress")] == [10, 40]


def test_time_does_not_go_back() -> None:
    """A clock refuses a negative step, and a start without a time zone."""
    with pytest.raises(ValueError, match="does not go back"):
        FakeClock().advance(-1)
    with pytest.raises(ValueError, match="no time zone"):
        FakeClock(datetime(2030, 1, 1))  # noqa: DTZ001


def test_without_a_fake_clock_there_is_none_to_set() -> None:
    """``captured.clock`` says how to get one."""
    with capture() as captured, pytest.raises(RuntimeError, match="clock=FakeClock"):
        _ = captured.clock


# --- tracks ---


@contextmanager
def tracked(*tracks: RecordingTrack) -> Iterator[None]:
    with capture(tracks=tracks):
        resize("cat.png")
        yield


def test_a_recording_track_can_be_asked_by_type() -> None:
    """``events_of`` takes the patterns of the bus."""
    track = RecordingTrack()
    with tracked(track):
        assert [event.event_type for event in track.events_of("*.completed")] == [
            *("stage.completed", "job.completed")
        ]
    assert track.closed == 1


def test_a_broken_track_raises_what_it_is_given() -> None:
    """The exception is the given one each time, and the event is kept nevertheless."""
    track = BrokenTrack(raises=KeyError("x"))
    with tracked(track):
        assert track.events_of("job.completed")
        with pytest.raises(KeyError):
            track.on_event(track.events[0])


def test_a_slow_track_can_be_released() -> None:
    """After ``release`` a slow track has no delay."""
    track = SlowTrack(delay_s=60)
    track.release()
    with tracked(track):
        assert track.events_of("job.completed")
