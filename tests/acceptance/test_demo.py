"""The demo with few files: it checks itself, and its exit code is the answer."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.support.programs import run_example
from tests.support.receivers import SentryReceiver


def trace_ids(output: str) -> list[str]:
    """The trace ids of the failed job, one a track."""
    return re.findall(r"^  \w+ +trace ([0-9a-f]{32}) ", output, re.MULTILINE)


def test_everything_adds_up() -> None:
    """Five tracks deliver all they accepted, and a failed job has one trace id in all of them."""
    output = run_example("demo.py", "--files", "24", "--plain")
    assert "DOES NOT AGREE" not in output
    assert "24 jobs counted of 24" in output
    ids = trace_ids(output)
    assert len(ids) == 5
    assert len(set(ids)) == 1
    assert "job.failed" in output


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_worker_loses_nothing() -> None:
    """What a worker had recorded when it was killed arrives; its job is tried again."""
    output = run_example("demo.py", "--files", "60", "--plain", "--kill")
    assert "was killed while it worked on" in output
    match = re.search(r"recorded ([\d,]+) events before it was killed; ([\d,]+) have", output)
    assert match is not None, output
    assert match[1] == match[2]


def test_uses_what_is_configured(fiveobs_home: Path) -> None:
    """With a destination in the environment the demo sends there, and starts none of its own."""
    with SentryReceiver() as sentry:
        output = run_example("demo.py", "--files", "12", "--plain", SENTRY_DSN=sentry.dsn)
        assert sentry.events
    assert "the destinations you configured" in output
    assert output.count("not configured") == 3
    assert str(fiveobs_home) in output
