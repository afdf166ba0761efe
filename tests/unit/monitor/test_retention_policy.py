"""How long things are kept: what can be said, what is refused, and how batches are paced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fiveobs._parsers import UnusableError
from fiveobs.exceptions import ConfigError
from fiveobs.monitor.retention.pace import Pace
from fiveobs.monitor.retention.policy import DEFAULTS_S, PARTS, Policy, as_text, keep
from fiveobs.monitor.settings import VARIABLES, load_settings

DAY_S = 86_400.0
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("30d", 30 * DAY_S),
        ("36h", 1.5 * DAY_S),
        (" 12 W ", 84 * DAY_S),
        ("1y", 365 * DAY_S),
        ("100y", 36_500 * DAY_S),
        ("0", None),
        ("forever", None),
    ],
)
def test_what_can_be_said(said: str, seconds: float | None) -> None:
    """Hours, days, weeks and years; and what is said can be read back."""
    assert keep(said) == seconds
    assert keep(as_text(keep(said))) == seconds


@pytest.mark.parametrize(
    "said", ["", "30", "23h", "0d", "-1d", "101y", "1.5d", "never", "1d2h", "٣d"]
)
def test_what_cannot_be_said(said: str) -> None:
    """Less than a day, more than a hundred years, or no time at all."""
    with pytest.raises(UnusableError, match="forever"):
        keep(said)


def test_the_defaults_are_those_of_the_specification() -> None:
    """Days of logs, raw figures, aggregates, errors and events; failures are kept longer."""
    days = {name: seconds / DAY_S for name, seconds in DEFAULTS_S.items()}
    assert days == {
        "logs": 30,
        "error_logs": 90,
        "metrics": 30,
        "aggregates": 365,
        "errors": 90,
        "unresolved_errors": 365,
        "events": 180,
        "failed_events": 365,
    }
    assert load_settings({}).retention.until_us("logs", 0) == -30 * DAY_S * 1_000_000


def test_the_environment_says_it_for_the_monitor() -> None:
    """Each part has a variable; a value that cannot be used is named with it."""
    known = {each.name for each in VARIABLES}
    assert {part.variable for part in PARTS} <= known
    said = {"FIVEOBS_RETENTION_LOGS": "7d", "FIVEOBS_RETENTION_EVENTS": "forever"}
    policy = load_settings(said).retention
    assert (policy["logs"], policy["events"]) == (7 * DAY_S, None)
    assert policy.until_us("events", 5) is None
    with pytest.raises(ConfigError, match="FIVEOBS_RETENTION_ERRORS is 'soon': use a time"):
        load_settings({"FIVEOBS_RETENTION_ERRORS": "soon"})


def test_a_part_that_is_none_is_refused() -> None:
    """A slip in a name does not silently keep something for as long as the default says."""
    with pytest.raises(ValueError, match="'log' is no part: valid are logs, error_logs"):
        Policy({"log": 1.0})


def test_every_part_is_on_the_reference_page() -> None:
    """With its variable and its default."""
    text = (ROOT / "docs" / "reference" / "retention.md").read_text(encoding="utf-8")
    for part in PARTS:
        row = next(line for line in text.splitlines() if f"`{part.variable}`" in line)
        assert f"| {as_text(part.default_s)} |" in row


# --- pace ---


class Paced:
    """A pace with a clock of its own, and others that write for some of its looks."""

    def __init__(self, others: Iterator[int]) -> None:
        self.now_s = 0.0
        self.rests: list[float] = []
        self.pace = Pace(
            lambda: next(others, 0), batch_s=0.015, wait=self.wait, clock=lambda: self.now_s
        )

    def wait(self, seconds: float) -> bool:
        self.rests.append(seconds)
        self.now_s += seconds
        return False

    def batch(self, held_s: float) -> None:
        self.pace.let_pass()
        self.now_s += held_s
        self.pace.done()


def test_a_slow_batch_makes_the_next_one_smaller_and_a_quick_one_larger() -> None:
    """Halved when it held the lock for too long; grown step by step, within bounds."""
    paced = Paced(iter(()))
    paced.batch(0.001)
    assert paced.pace.rows == 220
    for _ in range(200):
        paced.batch(0.001)
    assert paced.pace.rows == 1_000
    paced.batch(0.1)
    assert paced.pace.rows == 500
    for _ in range(20):
        paced.batch(1.0)
    assert paced.pace.rows == 200


def test_the_rest_is_several_times_the_batch_and_longer_where_others_write() -> None:
    """Three times at least, ten at most, and never longer than a tenth of a second."""
    paced = Paced(iter(()))
    paced.batch(0.002)
    assert paced.rests == [pytest.approx(0.006)]
    busy = Paced(iter([1, 0] * 50))
    for _ in range(25):
        busy.batch(0.002)
    assert busy.rests[-1] == pytest.approx(0.02)
    busy.batch(5.0)
    assert busy.rests[-1] == pytest.approx(0.1)


def test_whoever_else_writes_goes_first_but_not_for_ever() -> None:
    """A batch waits until nobody else writes, for a second at most."""
    paced = Paced(iter([1, 1, 1, 1, 0]))
    paced.pace.let_pass()
    assert len(paced.rests) == 3
    never = Paced(iter([1] * 10_000))
    never.pace.let_pass()
    assert 0.9 < sum(never.rests) < 1.1


def test_who_is_told_to_stop_waits_no_longer() -> None:
    """Neither for others nor after the batch."""
    looks = iter([1] * 10_000)
    pace = Pace(lambda: next(looks), batch_s=0.015, wait=lambda _: True)
    pace.let_pass()
    assert pace.is_over
