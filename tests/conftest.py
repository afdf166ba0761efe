"""What every test starts from: a home of its own, and no setting of the machine it runs on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ci import fail_if_skipped
from tests.support.normalizer import complaints_in_journal
from tests.support.stores import (  # noqa: F401 - fixtures of all tests
    postgresql,
    postgresql_template,
    sqlite_store,
    store,
    store_url,
)

#: Variables that would change what a test sees, by how their names begin.
PREFIXES = ("FIVEOBS_", "FLUENT_BIT_", "OTEL_", "SENTRY_", "CONNECTOR_")
#: And those without such a beginning.
NAMES = (
    "BAGGAGE",
    "DISABLE_FLUENT_BIT_LOGGING",
    "MACHINE_ID",
    "METRICS_COLLECTION_INTERVAL",
    "TRACEPARENT",
    "TRACESTATE",
    "WORKER_ID",
)


def pytest_configure() -> None:
    """Have processes that tests start listen to Ctrl-C, whoever runs the tests in the background.

    Shells let what they run there ignore it, and every process hands that on to those it starts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have a skip of what must run in CI be a failure there."""
    report = yield
    fail_if_skipped(item, report)
    return report


@pytest.fixture(autouse=True)
def fiveobs_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Give the test a ``FIVEOBS_HOME`` of its own and clear every other setting, also afterwards.

    What a test has configured would have the jobs of the next one be recorded in its home.
    """
    for name in list(os.environ):
        if name.startswith(PREFIXES) or name in NAMES:
            monkeypatch.delenv(name)
    home = tmp_path / "fiveobs-home"
    monkeypatch.setenv("FIVEOBS_HOME", str(home))
    yield home
    runtime = sys.modules.get("fiveobs._runtime")
    if runtime is not None:
        runtime.shutdown(1.0)
        runtime._overrides, runtime._retry_at = {}, 0.0


@pytest.fixture(autouse=True)
def envelopes_are_valid(fiveobs_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail the test if Sentry would complain of an event in its journal, or in a capture's."""
    found: list[str] = []
    captured = sys.modules.get("fiveobs.testing._captured")
    if captured is not None:  # a capture's journal goes when the capture ends
        keep = captured.Captured.keep

        def keep_and_judge(self: Any) -> None:
            keep(self)
            found.extend(complaints_in_journal(self.home / "journal"))

        monkeypatch.setattr(captured.Captured, "keep", keep_and_judge)
    yield
    found += complaints_in_journal(fiveobs_home / "journal")
    assert not found, "\n".join(["Sentry would complain:", *found])
