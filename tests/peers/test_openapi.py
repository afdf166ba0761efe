"""The API is what its OpenAPI document says: schemathesis asks it whatever the document allows.

``FIVEOBS_SCHEMATHESIS_SECONDS`` is how long each run generates requests, 30 by default.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tracked_jobs
from tests.support.serving import Serving, serving
from tests.support.workers import until

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SECONDS = int(os.environ.get("FIVEOBS_SCHEMATHESIS_SECONDS", "30"))
BASE = "/api/default/default/execution"
#: Requests that reach a job which is there, beside those with ids that are made up.
KNOWN = f"""
[parameters]
"path.tenantId" = "default"
"path.projectId" = "default"
"path.jobId" = "{tracked_jobs.CURRENT}"
"""
#: Whether a webhook's address may be called is not for a schema to say: it is asked of DNS.
ADDRESSES = """
[[operations]]
include-path-regex = "/subscribe$"
checks.positive_data_acceptance.expected-statuses = [201, 401, 403, 404, 409, 422, 429]
"""
#: Streams have no end; tests/unit/monitor has what is to be said of them.
STREAMS = "/events$"


def check(monitor: Serving, folder: Path, config: str) -> None:
    """Run all checks of schemathesis on every route; none may fail."""
    file = folder / "schemathesis.toml"
    file.write_text(config + ADDRESSES)
    program = str(Path(sys.executable).with_name("schemathesis"))
    done = subprocess.run(
        [
            *(program, "--config-file", str(file), "run", f"{monitor.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {monitor.token}"),
            *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"),
            *("--max-time", str(SECONDS), "--request-timeout", "20", "--seed", "4"),
            *("--exclude-path-regex", STREAMS, "--continue-on-failure", "--no-color"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS + 300,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert "Traceback" not in monitor.said


@pytest.mark.parametrize("config", ["", KNOWN], ids=["made-up ids", "a job that is there"])
def test_the_api_is_what_its_document_says(fiveobs_home: Path, tmp_path: Path, config: str) -> None:
    """No request that schemathesis makes has an answer that the document does not allow."""
    tracked_jobs.write(fiveobs_home)
    with serving(FIVEOBS_MONITOR_FAILURES_PER_MINUTE="1000000") as monitor:
        path = f"{BASE}/job/{tracked_jobs.CURRENT}/progress"
        until(lambda: monitor.get(path).status_code == 200, what="the jobs", timeout_s=30.0)
        check(monitor, tmp_path, config)
        assert monitor.stop() == 0
