"""What every test starts from: a home of its own, and no setting of the machine it runs on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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


@pytest.fixture(autouse=True)
def fiveobs_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the test a ``FIVEOBS_HOME`` of its own and clear every other setting."""
    for name in list(os.environ):
        if name.startswith(PREFIXES) or name in NAMES:
            monkeypatch.delenv(name)
    home = tmp_path / "fiveobs-home"
    monkeypatch.setenv("FIVEOBS_HOME", str(home))
    return home
