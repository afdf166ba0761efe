"""The pytest plugin, as a user's test suite meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]

JOB = """
from fiveobs import observe_job

@observe_job("greet")
def greet(name):
    return f"hello {name}"
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project that tests ``work.greet``."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(work=JOB)
    return pytester


def run(suite: pytest.Pytester, test: str, *args: str) -> pytest.RunResult:
    suite.makepyfile(test_it=test)
    return suite.runpytest_subprocess(
        "-p", "fiveobs.pytest_plugin", "--strict-markers", "-W", "error", *args
    )


def test_the_fixture_captures_what_a_test_runs(suite: pytest.Pytester) -> None:
    """A test that takes ``fiveobs_capture`` sees its jobs, and only its own."""
    result = run(
        suite,
        """
        import pytest
        from work import greet

        @pytest.mark.parametrize("name", ["ann", "bob"])
        def test_greet(fiveobs_capture, name):
            assert greet(name) == f"hello {name}"
            assert fiveobs_capture.job().status == "completed"
            fiveobs_capture.ids_agree()
        """,
    )
    result.assert_outcomes(passed=2)


def test_the_marker_sets_options(suite: pytest.Pytester) -> None:
    """Options come from the markers of module, class and test; the nearest one wins."""
    result = run(
        suite,
        """
        import pytest
        from work import greet

        pytestmark = pytest.mark.fiveobs(sequential_ids=True, service="module")

        def test_module(fiveobs_capture):
            greet("ann")
            assert fiveobs_capture.job("job-1").service == "module"

        @pytest.mark.fiveobs(service="test", broken={"logs"})
        def test_nearer(fiveobs_capture):
            greet("ann")
            assert fiveobs_capture.job("job-1").service == "test"
            assert fiveobs_capture.logs == []
        """,
    )
    result.assert_outcomes(passed=2)


def test_a_bad_option_fails_the_test_that_has_it(suite: pytest.Pytester) -> None:
    """A misspelt setting or a positional argument is an error that says what is wrong."""
    result = run(
        suite,
        """
        import pytest

        @pytest.mark.fiveobs(sevice="x")
        def test_misspelt(fiveobs_capture): ...

        @pytest.mark.fiveobs("x")
        def test_positional(fiveobs_capture): ...
        """,
    )
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*no setting 'sevice': did you mean service*"])
    result.stdout.fnmatch_lines(["*the marker fiveobs takes keywords only*"])


def test_the_plugin_costs_nothing_until_it_is_used(suite: pytest.Pytester) -> None:
    """A suite without the fixture loads no library of ours and starts no thread."""
    result = run(
        suite,
        """
        import sys, threading

        def test_nothing():
            assert "fiveobs.pytest_plugin" in sys.modules
            for name in ("fiveobs.testing", "orjson", "opentelemetry", "sentry_sdk", "psutil"):
                assert name not in sys.modules
            assert threading.active_count() == 1
        """,
    )
    result.assert_outcomes(passed=1)


def test_nothing_is_left_behind(suite: pytest.Pytester) -> None:
    """After the fixture no thread of ours runs, and home and environment are gone."""
    result = run(
        suite,
        """
        import os, threading
        from pathlib import Path
        from work import greet

        homes = []
        before = os.environ.get("FIVEOBS_HOME")

        def test_use(fiveobs_capture):
            greet("ann")
            homes.append(fiveobs_capture.home)

        def test_after():
            assert not homes[0].exists()
            assert os.environ.get("FIVEOBS_HOME") == before
            for thread in threading.enumerate():
                if thread.name.startswith("fiveobs"):
                    thread.join(5)
                    assert not thread.is_alive(), thread
        """,
    )
    result.assert_outcomes(passed=2)


def test_it_is_an_entry_point() -> None:
    """Wherever fiveobs is installed, pytest finds the plugin by itself."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points.pytest11]\nfiveobs = "fiveobs.pytest_plugin"\n' in text
