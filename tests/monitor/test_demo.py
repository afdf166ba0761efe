"""The demo with few files: it checks itself, and its exit code is the answer."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

from tests.support.programs import run_example
from tests.support.receivers import SentryReceiver

ROOT = Path(__file__).resolve().parents[2]


def trace_ids(output: str) -> list[str]:
    """The trace ids of the failed job, one a track."""
    return re.findall(r"^  \w+ +trace ([0-9a-f]{32}) ", output, re.MULTILINE)


def test_everything_adds_up(fiveobs_home: Path) -> None:
    """Five tracks deliver everything, with one trace id; the monitor has it, and ends with it."""
    output = run_example("demo.py", "--files", "24", "--plain")
    assert "DOES NOT AGREE" not in output
    assert "24 jobs counted of 24" in output
    ids = trace_ids(output)
    assert len(ids) == 5
    assert len(set(ids)) == 1
    assert "job.failed" in output
    assert "The monitor took all of it in" in output
    assert answer_of_the_monitor(output)["status"] == "Failed"
    address = re.search(r"the monitor listens on http://127\.0\.0\.1:(\d+)", output)
    assert address is not None
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", int(address[1]))) != 0
    assert (fiveobs_home / "monitor" / "store.sqlite3").exists()


def test_anothers_settings_do_not_matter(fiveobs_home: Path) -> None:
    """A token of another monitor and a tenant: it asks its own, of that tenant; its log is private.

    What it says to look at next can be called as it is printed.
    """
    settings = {"FIVEOBS_MONITOR_TOKEN": "fiveobs_0_other", "FIVEOBS_TENANT_ID": "acme"}
    output = run_example("demo.py", "--files", "12", "--plain", **settings)
    assert "GET /api/acme/default/execution/job/" in output
    assert stat.S_IMODE((fiveobs_home / "monitor.log").stat().st_mode) == 0o600
    command = re.search(r"^  (.*) doctor --no-probe  ", output, re.MULTILINE)
    assert command is not None
    called = f"{command[1]} --version"
    done = subprocess.run(called, shell=True, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, (called, done.stderr)


def answer_of_the_monitor(output: str) -> dict[str, Any]:
    """What the tracking API said about the job that failed."""
    job_id = re.search(r"One job that failed, (\S+) ", output)
    assert job_id is not None
    _, line, rest = output.partition(
        f"GET /api/default/default/execution/job/{job_id[1]}/progress\n"
    )
    assert line
    answer: dict[str, Any] = json.JSONDecoder().raw_decode(rest)[0]
    assert answer["jobId"] == job_id[1]
    return answer


def test_uses_what_is_configured(fiveobs_home: Path) -> None:
    """With a destination in the environment the demo sends there, and starts none of its own."""
    with SentryReceiver() as sentry:
        output = run_example("demo.py", "--files", "12", "--plain", SENTRY_DSN=sentry.dsn)
        assert sentry.events
    assert "the destinations you configured" in output
    assert output.count("not configured") == 3
    assert str(fiveobs_home) in output
