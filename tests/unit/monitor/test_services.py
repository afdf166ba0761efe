"""What runs beside the API: started, watched, started again, ended in time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fiveobs.monitor.access import Access, create_token, list_tokens
from fiveobs.monitor.figures import Figures
from fiveobs.monitor.services import Services, TokenUse
from fiveobs.monitor.store.engine import Store
from tests.support.stores import open_sqlite
from tests.support.workers import until

RESTARTS = "fiveobs_monitor_restarts_total"


@pytest.fixture
def store(tmp_path: Path):
    opened = open_sqlite(tmp_path / "store.sqlite3")
    yield opened
    opened.close()


class Patient:
    """Runs until it is told to stop."""

    name = "patient"

    def __init__(self, order: list[str] | None = None, name: str = "patient") -> None:
        self.name = name
        self.order = [] if order is None else order

    def run(self, stop: threading.Event) -> None:
        self.order.append(f"{self.name} started")
        stop.wait()


class Fragile:
    """Fails a few times, then runs."""

    name = "fragile"

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.runs = 0

    def run(self, stop: threading.Event) -> None:
        self.runs += 1
        if self.runs <= self.failures:
            raise RuntimeError("it broke")
        stop.wait()


class Deaf:
    """Does not stop when it is told to."""

    name = "deaf"

    def __init__(self) -> None:
        self.release = threading.Event()

    def run(self, stop: threading.Event) -> None:
        self.release.wait()


def services(store: Store, *those: object) -> Services:
    return Services(those, access=Access(store), figures=Figures())


def test_a_service_that_fails_is_started_again_and_reported(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and logged, and runs in the end."""
    fragile = Fragile(failures=1)
    found = services(store, fragile)
    found.start()
    until(lambda: fragile.runs == 2, what="the second start")
    until(lambda: found.checks() == {"fragile": "ok"}, what="the service")
    assert found.figures.value(RESTARTS, service="fragile") == 1
    assert "it broke" in caplog.text
    assert found.stop(5.0) == []


def test_a_service_that_does_not_run_is_told_by_the_checks(store: Store) -> None:
    """Between a failure and the next start it is said not to run; figures say so too."""
    found = services(store, fragile := Fragile(failures=1_000_000))
    found.start()
    until(lambda: fragile.runs == 1, what="the first start")
    until(lambda: found.checks() == {"fragile": "it does not run"}, what="the check")
    assert 'fiveobs_monitor_service_up{service="fragile"} 0' in found.figures.as_text()
    assert found.stop(5.0) == []


def test_one_that_does_not_stop_is_named_and_does_not_hold_up_the_end(store: Store) -> None:
    """The deadline is one for all of them."""
    deaf = Deaf()
    found = services(store, Patient(), deaf, Patient(name="other"))
    found.start()
    until(lambda: all(each == "ok" for each in found.checks().values()), what="the services")
    assert found.stop(0.2) == ["deaf"]
    deaf.release.set()
    assert found.stop(5.0) == []


def test_stopping_what_never_started_does_nothing(store: Store) -> None:
    """Also twice."""
    found = services(store, Patient())
    assert found.stop(1.0) == []
    assert found.stop(1.0) == []


def test_the_last_use_of_tokens_is_written_at_the_end(store: Store) -> None:
    """A stop writes what the last minute has seen."""
    access = Access(store)
    made = create_token(store, name="x", role="viewer")
    access.find(made.token)
    found = Services([TokenUse(access)], access=access, figures=Figures())
    found.start()
    assert found.stop(5.0) == []
    assert list_tokens(store)[0].used_at_us is not None
