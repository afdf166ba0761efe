"""ConnectorLogger: which event each call makes, and whose."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import fiveobs
from fiveobs import connector as module
from fiveobs.connector import ConnectorLogger
from fiveobs.types import JobEvent

LIFECYCLE = (
    "job_received",
    "job_started",
    "job_progress",
    "job_completed",
    "job_failed",
    "job_retrying",
    "job_cancelled",
)


class RecordingRuntime:
    """Stands for the runtime and keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.settings: dict[str, Any] = {"connector_logging": True}
        self.is_broken = False

    def setting(self, name: str) -> Any:
        return self.settings.get(name)

    def emit(
        self, event_type: str, message: str, data: Any = None, *, level: str = "info", fields: Any
    ) -> None:
        if self.is_broken:
            raise RuntimeError("broken")
        self.events.append(
            {
                "event_type": event_type,
                "message": message,
                "level": level,
                "data": data,
                "fields": fields,
            }
        )

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1]


class Hostile:
    """Cannot be looked at."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __bool__ = __eq__ = __format__ = __str__  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> RecordingRuntime:
    fake = RecordingRuntime()
    monkeypatch.setattr(module, "_runtime", fake)
    return fake


def test_the_flow_of_the_specification(runtime: RecordingRuntime) -> None:
    """The calls of the integration example make the events of a job's life, with its id."""
    log = ConnectorLogger("comfyui").with_job_context("job-12345")
    log.job_received(job_id="job-12345", input_size_bytes=17, queue="gpu")
    log.job_started(job_id="job-12345")
    log.job_progress(percent=40)
    log.job_milestone("half way", step=3)
    log.job_completed(job_id="job-12345", duration_s=1.5, output_size_bytes=99)
    assert [(one["event_type"], one["message"], one["data"]) for one in runtime.events] == [
        ("job.received", "job received", {"input_size_bytes": 17, "queue": "gpu"}),
        ("job.started", "job started", {}),
        ("job.progress", "job 40%", {"percent": 40}),
        ("job.milestone", "half way", {"milestone": "half way", "step": 3}),
        ("job.completed", "job completed", {"duration_s": 1.5, "output_size_bytes": 99}),
    ]
    assert all(
        one["fields"] == {"service": "comfyui", "job_id": "job-12345"} for one in runtime.events
    )
    assert {one["level"] for one in runtime.events} == {"info"}


def test_a_failure_has_type_and_message(runtime: RecordingRuntime) -> None:
    """An exception and a text both become ``data.error``, and the event's level is error."""
    log = ConnectorLogger("comfyui")
    log.job_failed(error=ValueError("bad\nsecond line"), duration_s=2.0)
    assert runtime.last["data"] == {
        "error": {"type": "ValueError", "message": "bad\nsecond line"},
        "duration_s": 2.0,
    }
    assert runtime.last["message"] == "job failed: ValueError: bad"
    assert runtime.last["level"] == "error"
    log.job_failed(error="out of memory")
    assert runtime.last["data"]["error"] == {"type": "Error", "message": "out of memory"}
    log.job_failed(error=pickle.PicklingError("x"))
    assert runtime.last["data"]["error"]["type"] == "_pickle.PicklingError"
    log.job_failed()
    assert (runtime.last["message"], runtime.last["data"]) == ("job failed", {})


def test_retries_and_cancellations_are_warnings(runtime: RecordingRuntime) -> None:
    """What is not as wished and not an error has the level warning."""
    log = ConnectorLogger("comfyui").with_job_context("j", attempt=2)
    log.job_retrying(error=TimeoutError(), delay_s=5)
    assert runtime.last["message"] == "job retrying: TimeoutError"
    assert runtime.last["data"]["delay_s"] == 5
    assert runtime.last["fields"]["attempt"] == 2
    log.job_cancelled(reason="user asked")
    assert runtime.last["message"] == "job cancelled: user asked"
    assert [one["level"] for one in runtime.events] == ["warning"] * 2


def test_the_system_around_the_job(runtime: RecordingRuntime) -> None:
    """Resources, health, workflows and states have events of their own."""
    log = ConnectorLogger("comfyui")
    log.resource_allocated("gpu-0", amount=8, unit="GiB", node="n1")
    log.resource_released("gpu-0")
    log.service_health_changed("degraded", previous="healthy", reason="slow disk")
    log.service_health_changed("healthy")
    log.workflow_triggered("notify", to="ops")
    log.state_changed("machine-3", "idle", "busy", zone="a")
    log.state_changed("machine-3", None, "idle")
    assert [
        (one["event_type"], one["message"], one["level"], one["data"]) for one in runtime.events
    ] == [
        (
            "resource.allocated",
            "gpu-0 allocated",
            "info",
            {"amount": 8, "unit": "GiB", "node": "n1", "resource": "gpu-0"},
        ),
        ("resource.released", "gpu-0 released", "info", {"resource": "gpu-0"}),
        (
            "service.health_changed",
            "comfyui is degraded",
            "warning",
            {"previous": "healthy", "reason": "slow disk", "status": "degraded"},
        ),
        ("service.health_changed", "comfyui is healthy", "info", {"status": "healthy"}),
        (
            "workflow.triggered",
            "workflow notify triggered",
            "info",
            {"to": "ops", "workflow": "notify"},
        ),
        (
            "state.changed",
            "machine-3: idle -> busy",
            "info",
            {"from_state": "idle", "zone": "a", "entity": "machine-3", "to_state": "busy"},
        ),
        ("state.changed", "machine-3: idle", "info", {"entity": "machine-3", "to_state": "idle"}),
    ]


def test_lines_of_text_have_levels(runtime: RecordingRuntime) -> None:
    """Each level has its method; an unknown level counts as info."""
    log = ConnectorLogger("comfyui")
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)("text", level="mine", message="too", self="even")
        assert (runtime.last["event_type"], runtime.last["level"]) == ("log", level)
        assert runtime.last["data"] == {"level": "mine", "message": "too", "self": "even"}
    for given, known in (("WARN", "warning"), ("critical", "critical"), ("loud", "info")):
        log.log(given, "text")
        assert runtime.last["level"] == known


def test_a_context_adds_to_the_one_before(runtime: RecordingRuntime) -> None:
    """Ids and fields are inherited, attempts are not; the first logger stays as it was."""
    first = ConnectorLogger("comfyui", session_id="s", request_id="r")
    second = first.with_job_context("a", attempt=3, batch=7)
    third = second.with_job_context("b", session_id="t", color="red")
    third.job_started(batch=8)
    assert runtime.last["fields"] == {
        "service": "comfyui",
        "job_id": "b",
        "session_id": "t",
        "request_id": "r",
    }
    assert runtime.last["data"] == {"batch": 8, "color": "red"}
    second.job_started(job_id="other")
    assert "attempt" not in runtime.last["fields"]
    second.job_started()
    assert (runtime.last["fields"]["attempt"], runtime.last["data"]) == (3, {"batch": 7})
    third.with_job_context(None).job_started()
    assert "job_id" not in runtime.last["fields"]
    first.job_started()
    assert runtime.last["fields"] == {"service": "comfyui", "session_id": "s", "request_id": "r"}


def test_a_connector_cannot_be_changed() -> None:
    """Attributes are fixed, and a copy through pickle says the same."""
    log = ConnectorLogger("comfyui", session_id="s").with_job_context("a", batch=7)
    with pytest.raises(AttributeError):
        log._fields = {}
    with pytest.raises(AttributeError):
        del log._fields
    copied = pickle.loads(pickle.dumps(log))
    assert repr(copied) == repr(log)
    assert copied._bound == {"batch": 7}
    assert repr(log) == "<ConnectorLogger service='comfyui', session_id='s', job_id='a'>"


@pytest.mark.parametrize(
    ("service", "expected"),
    [("", None), (None, None), ("  ", None), (7, "7"), ("a\nb", "a_b"), (Hostile(), None)],
    ids=lambda value: type(value).__name__,
)
def test_a_bad_service_name_is_made_safe(
    service: Any, expected: str | None, runtime: RecordingRuntime
) -> None:
    """What is no name is left out, so that the job's own service is taken; the rest is cleaned."""
    ConnectorLogger(service).job_started()
    assert runtime.last["fields"].get("service") == expected


def test_nothing_happens_when_switched_off(runtime: RecordingRuntime) -> None:
    """With ``CONNECTOR_LOGGING_ENABLED=false`` no call makes an event."""
    runtime.settings["connector_logging"] = False
    log = ConnectorLogger("comfyui").with_job_context("a")
    for name in LIFECYCLE:
        getattr(log, name)()
    log.error("text")
    assert runtime.events == []


def test_no_call_raises(runtime: RecordingRuntime) -> None:
    """Hostile values and a broken runtime do not reach the caller."""
    bad: Any = Hostile()
    log = ConnectorLogger(bad, session_id=bad).with_job_context(bad, attempt=bad, extra=bad)
    for runtime.is_broken in (False, True):
        for name in LIFECYCLE:
            getattr(log, name)(job_id=bad, other=bad)
        log.job_progress(percent=bad, message=bad)
        log.job_failed(error=bad, duration_s=bad)
        log.job_cancelled(reason=bad)
        log.job_milestone(bad)
        log.resource_allocated(bad, amount=bad, unit=bad)
        log.service_health_changed(bad, previous=bad)
        log.workflow_triggered(bad)
        log.state_changed(bad, bad, bad)
        log.log(bad, bad)
    assert len(runtime.events) == len(LIFECYCLE) + 9


def test_any_keyword_may_be_data(runtime: RecordingRuntime) -> None:
    """The names of positional arguments are free for data."""
    log = ConnectorLogger("comfyui")
    log.job_milestone("m", name="ignored", event_type="x", level="y", data=1, fields=2)
    assert runtime.last["data"] == {
        "milestone": "m",
        "name": "ignored",
        "event_type": "x",
        "level": "y",
        "data": 1,
        "fields": 2,
    }
    log.workflow_triggered("w", self=1)
    assert runtime.last["data"] == {"self": 1, "workflow": "w"}


def test_events_reach_journal_and_bus(fiveobs_home: Path) -> None:
    """With the real runtime, a call becomes a journal line and an event on the bus, redacted."""
    seen: list[JobEvent] = []
    subscription = fiveobs.bus.subscribe("job.failed", seen.append)
    fiveobs.configure(home=fiveobs_home)
    try:
        with fiveobs.observe_job("resize", service="thumbnails") as job:
            ConnectorLogger("").job_failed(error="password=hunter2")
            ConnectorLogger("comfyui").with_job_context("other").job_failed(error="x")
    finally:
        fiveobs.shutdown(10.0)
        subscription.cancel()
    lines = [
        json.loads(line)
        for path in (fiveobs_home / "journal").glob("*.log")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    own, other = (line for line in lines if line["event_type"] == "job.failed")
    assert (own["job_id"], own["service"]) == (job.job_id, "thumbnails")
    assert (other["job_id"], other["service"]) == ("other", "comfyui")
    assert "trace_id" not in other
    assert "hunter2" not in str(lines)
    assert [event.id for event in seen] == [own["id"], other["id"]]


def test_the_kind_of_job_may_be_named(runtime: RecordingRuntime) -> None:
    """Where it is received and where it has begun; without a name nothing is said of it."""
    connector = ConnectorLogger("comfyui").with_job_context("job-1")
    for say in (connector.job_received, connector.job_started):
        say(job_name="upscale")
        assert runtime.last["fields"]["job_name"] == "upscale"
        assert "job_name" not in runtime.last["data"]
        say()
        assert "job_name" not in runtime.last["fields"]
