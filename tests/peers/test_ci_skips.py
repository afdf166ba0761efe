"""What CI makes of tests that cannot run: a run that left something out must not be green."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.peers.harness import normalizer
from tests.support.programs import ROOT

#: Tests that need programs, and what is missing where no program is to be found.
WITHOUT = {
    "tests/peers/test_compose.py::test_an_empty_env_file_is_enough": "compose's loader",
    "tests/peers/test_fluent_server.py::test_the_ids_of_a_job_arrive_with_it": "Node.js",
    "tests/peers/test_prometheus.py::test_nothing_else_is_wrong": "",
    "tests/peers/test_redis.py::test_several_consumers_do_each_job_once": "redis",
    "tests/peers/test_sampling.py::test_no_trace_is_kept_in_part[by-the-worker]": "Collector",
    "tests/faults/test_worker_disk.py::test_a_journal_made_read_only_loses_nothing": "chattr",
    "tests/faults/test_worker_disk.py::test_a_file_system_that_fails_is_outlived": "unshare",
    "tests/faults/test_worker_time.py"
    "::test_a_reused_pid_at_the_same_moment_overwrites_nothing": "unshare",
    "tests/faults/test_receivers_names.py"
    "::test_a_hanging_name_service_delays_neither_jobs_nor_the_end[grpc]": "unshare",
}


def run_without_programs(folder: Path, ci: str, *tests: str) -> tuple[int, dict[str, ET.Element]]:
    """Run tests where no program is on the path or in the cache; exit code, and each outcome."""
    nothing, report = folder / "nothing", folder / "report.xml"
    nothing.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", f"--junitxml={report}", *tests],
        cwd=ROOT,
        env={**os.environ, "CI": ci, "PATH": str(nothing), "FIVEOBS_TEST_CACHE": str(nothing)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    cases = ET.parse(report).getroot().iter("testcase")
    return done.returncode, {case.get("name", ""): case[0] for case in cases if len(case)}


def test_in_ci_an_absent_program_is_a_failure(tmp_path: Path) -> None:
    """Without any program each test that needs one fails, and says what is not there."""
    code, outcomes = run_without_programs(tmp_path, "true", *WITHOUT)
    assert code == 1
    assert outcomes.keys() == {test.rpartition("::")[2] for test in WITHOUT}
    for test, missing in WITHOUT.items():
        outcome = outcomes[test.rpartition("::")[2]]
        assert outcome.tag in ("failure", "error"), test
        assert missing in (outcome.text or ""), outcome.text


def test_elsewhere_an_absent_program_is_a_skip(tmp_path: Path) -> None:
    """A developer without Redis and mkfs.ext4 is told, and has no failure."""
    code, outcomes = run_without_programs(tmp_path, "", *WITHOUT)
    assert code == 0
    assert {outcome.tag for outcome in outcomes.values()} == {"skipped"}
    assert outcomes.keys() == {test.rpartition("::")[2] for test in WITHOUT}


def test_in_ci_a_failure_says_what_is_not_proven(tmp_path: Path) -> None:
    """A test that the machine cannot run is a failure with the fact that it would have shown."""
    name = "test_a_file_system_that_fails_is_outlived"
    _, outcomes = run_without_programs(
        tmp_path, "true", f"tests/faults/test_worker_disk.py::{name}"
    )
    assert "Not proven: An ext4 that turns read-only on an error" in (outcomes[name].text or "")


@pytest.mark.parametrize(("ci", "outcome"), [("true", "Failed"), ("", "Skipped")])
def test_without_sentrys_normalizer_nothing_passes_for_valid(
    ci: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is absent a test that asks it fails in CI and is skipped elsewhere."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("tests.support.normalizer.AVAILABLE", False)
    for ask in (normalizer.complaints, normalizer.complaints_about):
        with pytest.raises(BaseException, match="sentry-relay is not here") as raised:
            ask({})  # type: ignore[operator]  # either takes what is empty
        assert type(raised.value).__name__ == outcome
