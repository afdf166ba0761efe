"""A worker that records every type of journal line there is; run as a program.

Prints nothing. Its destinations are set by the caller's environment; whether they answer does not
matter, because everything stands in the journal first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from pathlib import Path

from opentelemetry import trace

from fiveobs import (
    ConnectorLogger,
    Job,
    JobEvent,
    JobStopped,
    LogHandler,
    announce_job,
    bus,
    configure,
    current_job,
    get_logger,
    observe_job,
    shutdown,
)
from fiveobs._control import Action, request

#: How long anything here may take, in seconds.
_DEADLINE_S = 20.0
HOME = Path(os.environ["FIVEOBS_HOME"])


class _Seen:
    """Which types of event have been handed out on the bus."""

    def __init__(self) -> None:
        self._types: set[str] = set()
        self._changed = threading.Condition()

    def note(self, event: JobEvent) -> None:
        with self._changed:
            self._types.add(event.event_type)
            self._changed.notify_all()

    def wait(self, event_type: str, timeout_s: float = _DEADLINE_S) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: event_type in self._types, timeout_s)


def ask(job: Job, action: Action) -> None:
    """Ask as a monitor does."""
    request(HOME, job.job_id, action)


@observe_job(
    "resize-image",
    service="thumbnails",
    carrier=lambda _path, headers: headers,
    stages=("Load", "Scale"),
    attributes={"customer": "acme"},
    depends_on=["job-0"],
    capture_args=True,
)
def resize(path: str, headers: dict[str, str]) -> dict[str, str]:
    """Completes, having said all that a job can say."""
    job = current_job()
    assert job is not None
    job.progress()
    job.progress(0.25, "loading")
    job.progress(done=1, total=2, message="half")
    job.milestone("Loaded", width=640, name="free")
    job.log.warning("odd size", width=641)
    job.count("pixels", 100, unit="{pixel}", format="png")
    job.gauge("quality", 0.8)
    job.record("ratio", 1.5)
    job.set(format="png")
    job.result(width=64)
    job.retrying("flaky", delay_s=2)
    with observe_job("child"), trace.get_tracer("app").start_as_current_span("query") as span:
        span.set_attribute("rows", 3)
        span.add_event("fetched", {"bytes": 12})
    return {"path": path}


def stages(seen: _Seen) -> None:
    """A stage that completes, with progress, and one that fails."""
    with observe_job("staged") as job:
        load = job.stage("Load", total=1e9)
        load.set(format="png")
        with load as stage:
            stage.set(quality=3)
            while not seen.wait("stage.progress", 0.05):
                stage.advance(5)
        with contextlib.suppress(KeyError), job.stage("Scale") as stage:
            stage.set(size=64)
            raise KeyError("size")


def endings() -> None:
    """One job for each way of ending badly."""
    for error in (
        ValueError("no image: password=hunter2"),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        SystemExit(3),
    ):
        with contextlib.suppress(type(error)), observe_job("ending", queue="thumbs") as job:
            current = trace.get_current_span()
            current.set_attribute("password", "hunter2")
            current.add_event("about to end", {"step": 1})
            job.progress(0.5, "half way")
            raise error


def controlled() -> None:
    """A job that is paused and goes on, and one that is stopped."""
    resumed = bus.subscribe("job.paused", lambda event: request(HOME, event.job_id, "resume"))
    with observe_job("paused") as job:
        ask(job, "pause")
        job.checkpoint()
    resumed.cancel()
    with contextlib.suppress(JobStopped), observe_job("stopped") as job:
        ask(job, "stop")
        job.checkpoint()


def connector() -> None:
    """Everything that a ConnectorLogger can say, about a job and about none."""
    for logger in (
        ConnectorLogger("comfyui").with_job_context("job-12345", attempt=2, node="n1"),
        ConnectorLogger("comfyui", session_id="s", request_id="r"),
    ):
        logger.job_received(input_size_bytes=3, queue="gpu")
        logger.job_started()
        logger.job_progress(percent=40, message="sampling")
        logger.job_milestone("half way", step=3)
        logger.job_retrying(error="busy", delay_s=1.5)
        logger.job_completed(duration_s=1.5, output_size_bytes=7)
        logger.job_failed(error=ValueError("bad"), duration_s=1.5)
        logger.job_cancelled(reason="by its owner")
        logger.resource_allocated("gpu-0", amount=24e9, unit="bytes")
        logger.resource_released("gpu-0")
        logger.service_health_changed("degraded", previous="healthy", reason="slow")
        logger.workflow_triggered("notify", channel="mail")
        logger.state_changed("machine-3", None, "ready")
        logger.state_changed("machine-3", "ready", "busy")
        logger.info("a line", key=1)


def logs() -> None:
    """Lines that belong to no job, and those of ``logging``."""
    get_logger("app").error("no job here", count=1)
    handler = LogHandler()
    log = logging.getLogger("app.sub")
    log.addHandler(handler)
    try:
        Path("/does/not/exist").read_bytes()
    except OSError:
        log.exception("cannot read", extra={"path": "/x"})
    log.removeHandler(handler)


def main() -> None:
    """Record everything, then end."""
    configure(heartbeat_interval_s=0.1)
    seen = _Seen()
    bus.subscribe("*", seen.note)
    resize(
        "a.png",
        announce_job(
            "resize-image",
            service="thumbnails",
            queue="thumbs",
            session_id="s1",
            request_id="r1",
            attempt=2,
            attributes={"customer": "acme"},
            input_size_bytes=5,
            depends_on={"job-0": "makes the image"},
        ),
    )
    stages(seen)
    endings()
    controlled()
    connector()
    logs()
    with observe_job("alive"):
        seen.wait("worker.heartbeat")
    shutdown(0.1)


if __name__ == "__main__":
    main()
