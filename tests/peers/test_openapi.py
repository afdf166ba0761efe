"""The API is what its OpenAPI document says: schemathesis asks it whatever the document allows.

All of its checks run, on a store with the jobs of several tenants. What it is not asked: streams,
which have no end, and the test of a webhook, which would call whatever address was made up;
tests/monitor/test_fuzzing.py asks those, and judges tokens, roles and tenants.

``FIVEOBS_SCHEMATHESIS_SECONDS`` is how long each run generates requests, 40 by default.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.monitors import served
from tests.support.tenants import Holder, Tenants, job_ids, names, tenants

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SECONDS = int(os.environ.get("FIVEOBS_SCHEMATHESIS_SECONDS", "40"))
PLACE = ("a", "p")
#: What no schema can say, so that what fits the schema may be refused.
MORE_THAN_A_SCHEMA = {
    "/subscribe$": "whether an address may be called",
    "/(logs|replay|history)$": "which of two times is the first",
    "/report$": "which of two times is the first, and that a service has a name",
    "/export/": "which table is chosen from by what",
    "/enhanced-monitoring/": "what a cursor of this very list is",
    "/state$": "what a cursor of this list is",
    "/state/": "what may be desired of a job, and which two headers do not go together",
    "/rules": "what fields, patterns, placeholders and URLs there are",
    "/batch$": "that something is left of a list when it is taken apart",
}
NOT_ASKED = "(/events|/test|/watch)$"
#: Said here: ``--checks all`` would win over what is said of single operations.
_ALL_CHECKS = "[checks]\nenabled = true\n"
#: How schemathesis counts routes.
WORDS = ("Tested", "Selected")
EXPECTED = [200, 201, 202, 204, 401, 403, 404, 409, 412, 422, 428, 429]


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Tenants]:
    made = tenants(tmp_path)
    yield made
    made.store.close()


def known(found: Tenants) -> str:
    """Requests that reach what is there, beside those with ids that are made up."""
    ids = {
        "path.tenantId": PLACE[0],
        "path.projectId": PLACE[1],
        "query.tenantId": PLACE[0],
        "query.projectId": PLACE[1],
        "path.subscriptionId": found.subscription_ids[PLACE][0],
        "path.workflow_id": names(*PLACE)[1],
        "path.ruleId": found.rule_ids[PLACE][0],
        **dict.fromkeys(("path.jobId", "path.job_uuid", "path.execution_id"), job_ids(*PLACE)[0]),
        "path.kind": "job",
        "path.entityId": job_ids(*PLACE)[0],
    }
    lines = (f"{json.dumps(name)} = {json.dumps(value)}" for name, value in ids.items())
    return "\n".join(["[parameters]", *lines, *_ITS_OWN, ""])


#: The id of a rule is this one, whichever was made before: it may have been deleted.
_ITS_OWN = (
    *("[[operations]]", 'include-path-regex = "/rules/"'),
    "checks.ensure_resource_availability.enabled = false",
)


def exceptions() -> str:
    """Where a 422 is an answer to what fits the schema."""
    return "".join(
        f"[[operations]]\ninclude-path-regex = {json.dumps(path)}\n"
        f"checks.positive_data_acceptance.expected-statuses = {EXPECTED}\n"
        for path in MORE_THAN_A_SCHEMA
    )


def run(url: str, holder: Holder, folder: Path, config: str) -> str:
    """Run all checks of schemathesis on every route; none may fail. What it printed."""
    file = folder / "schemathesis.toml"
    file.write_text(_ALL_CHECKS + config + exceptions())
    program = str(Path(sys.executable).with_name("schemathesis"))
    done = subprocess.run(
        [
            *(program, "--config-file", str(file), "run", f"{url}/openapi.json"),
            *("--header", f"Authorization: Bearer {holder.token}"),
            *("--phases", "examples,coverage,fuzzing,stateful"),
            *("--max-time", str(SECONDS), "--request-timeout", "20", "--seed", "4"),
            *("--exclude-path-regex", NOT_ASKED, "--continue-on-failure", "--no-color"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS + 300,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    return done.stdout


@pytest.mark.parametrize("is_known", [False, True], ids=["made-up ids", "what is there"])
def test_the_api_is_what_its_document_says(
    found: Tenants, tmp_path: Path, is_known: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """No request that schemathesis makes has an answer that the document does not allow."""
    (admin,) = [each for each in found.holders if each.name == "admin of a/None"]
    with served(found.app) as url, caplog.at_level(logging.ERROR, "fiveobs.internal"):
        said = run(url, admin, tmp_path, known(found) if is_known else "")
    assert caplog.records == []
    figures = found.app.state.figures.as_text()
    assert 'status="5' not in figures
    assert 'status="202"' in figures or not is_known
    asked, selected = (int(re.search(rf"{word}: +(\d+)", said)[1]) for word in WORDS)  # type: ignore[index]
    assert asked == selected > 20
    sys.stdout.write(f"\n{re.findall(r'[0-9]+ generated.*', said)}\n")
