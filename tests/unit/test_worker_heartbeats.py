"""What a worker's heartbeats say of the jobs that run in it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from fiveobs import _runtime, configure, observe_job, shutdown


def beat() -> dict[str, Any]:
    """Have the process's pipeline make one now, and return it."""
    pipeline = _runtime.get()
    assert pipeline is not None
    pipeline._heartbeat()
    lines = [
        line
        for path in sorted((pipeline.config.home / "journal").glob("*.log"))
        for line in path.read_bytes().splitlines()
    ]
    found: dict[str, Any] = json.loads(lines[-1])
    assert found["event_type"] == "worker.heartbeat"
    return found


def test_a_heartbeat_names_the_run_of_each_job() -> None:
    """Its attempt and its span, so that it is known even if its beginning is not read."""
    configure(heartbeat_interval_s=3600)
    with observe_job("nightly", service="reports", job_id="n", attempt=3) as job:
        (listed,) = beat()["data"]["jobs"]
    shutdown(1.0)
    assert listed.pop("duration_s") >= 0
    assert listed == {
        "job_id": "n",
        "job_name": "nightly",
        "service": "reports",
        "attempt": 3,
        "span_id": job.span_id,
    }


def test_every_active_job_is_listed_in_turn() -> None:
    """A heartbeat lists a hundred; of 250 each is listed within three of them."""
    configure(heartbeat_interval_s=3600)
    with contextlib.ExitStack() as stack:
        made = {stack.enter_context(observe_job("many")).job_id for _ in range(250)}
        beats = [beat()["data"] for _ in range(3)]
    shutdown(1.0)
    assert {each["active_jobs"] for each in beats} == {250}
    assert [len(each["jobs"]) for each in beats] == [100, 100, 100]
    assert {job["job_id"] for each in beats for job in each["jobs"]} == made


def test_every_line_says_whose_it_is_if_not_the_default_one_s(fiveobs_home: Path) -> None:
    """Whichever file of the journal a monitor finds first."""
    configure(tenant_id="acme", project_id="web", heartbeat_interval_s=3600)
    with observe_job("work") as job:
        job.log.info("hello")
        job.count("rows")
    shutdown(1.0)
    lines = [
        json.loads(line)
        for path in (fiveobs_home / "journal").glob("*.log")
        for line in path.read_bytes().splitlines()
    ]
    assert len(lines) >= 5
    assert {(each["tenant_id"], each["project_id"]) for each in lines} == {("acme", "web")}
