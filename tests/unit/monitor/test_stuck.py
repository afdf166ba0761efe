"""Jobs that are alive and make no progress for longer than usual are warned of, each once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fiveobs.monitor.store.auditing import audit_rows
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.stuck import StuckJobs
from fiveobs.testing import Captured, capture
from fiveobs.types import JobEvent
from tests.support.ingesting import Taking
from tests.support.journals import START_NS, line, write_segment

STEM = "host-7-1767323045000000"
#: When the job begins that is looked at, in seconds after the beginning of the made-up time.
BEGIN_S = 10_000.0
#: Past runs say how far they are so often, in seconds.
USUAL_S = 30.0


class House:
    """A store, a worker's journal that is written by hand, and a clock that stands still."""

    def __init__(self, store: Store, captured: Captured) -> None:
        self.store = store
        self._captured = captured
        self._lines: list[bytes] = []
        self._count = 0
        self.at_s = 0.0

    def say(
        self, job_id: str, at_s: float, event_type: str, job_name: str = "crawl", **data: Any
    ) -> None:
        self._count += 1
        fields = {"job_id": job_id, "job_name": job_name, "attempt": 1, "data": data}
        fields["span_id"] = "ab" * 8
        self._lines.append(line(self._count, event_type, after_s=at_s, **fields))

    def past(self, gaps_s: tuple[float, ...] = (USUAL_S,) * 4, runs: int = 5) -> None:
        """Completed runs that said how far they are after these pauses, and logged in between."""
        for number in range(runs):
            at_s, job_id = number * 1_000.0, f"past-{number}"
            self.say(job_id, at_s, "job.started")
            for step, gap_s in enumerate(gaps_s, 1):
                self.say(job_id, at_s + gap_s / 2, "log")
                at_s += gap_s
                self.say(job_id, at_s, "job.progress", percent=100.0 * step / len(gaps_s))
            self.say(job_id, at_s, "job.completed", status="completed", duration_s=1.0)

    def monitor(self) -> StuckJobs:
        return StuckJobs(
            self.store, self._captured.home / "journal", clock=lambda: self.at_s, now=self.now
        )

    def now(self) -> float:
        return START_NS / 1e9 + self.at_s

    def look(self, *monitors: StuckJobs, at_s: float) -> None:
        """Take in what was written, and have the monitors look at a moment."""
        if self._lines:
            write_segment(self._captured.home, STEM, 1, *self._lines)
            self._lines.clear()
        self._take_in()
        self.at_s = at_s
        for monitor in monitors:
            monitor.step()
        self._take_in()

    def _take_in(self) -> None:
        # One that begins anew looks at every file at once.
        taking = Taking(self.store, self._captured.home)
        taking.all()
        assert taking.reports == []

    def warnings(self) -> list[JobEvent]:
        """What was recorded of jobs that stand still, or no longer do."""
        found = self._captured.events_of("state.changed")
        return [each for each in found if "from_state" in each.data]

    def changes(self) -> list[tuple[str, str, str]]:
        return [
            (str(each.job_id), each.data["from_state"], each.data["to_state"])
            for each in self.warnings()
        ]

    def outcomes(self) -> list[str]:
        rows = audit_rows(self.store, 1, limit=99)
        return [row.outcome for row in rows if row.action == "job.stuck"]


@pytest.fixture
def house(store: Store) -> Iterator[House]:
    with capture() as captured:
        yield House(store, captured)


STUCK = ("now", "moving", "stuck")
GOES_ON = ("now", "stuck", "moving")


def test_a_job_that_only_logs_is_stuck(house: House) -> None:
    """A log line every ten seconds is no progress; how long it has stood still is said."""
    house.past()
    house.say("now", BEGIN_S, "job.started")
    house.say("now", BEGIN_S + 30, "job.progress", percent=10.0)
    for number in range(360):
        house.say("now", BEGIN_S + 30 + 10 * number, "log")
    monitor = house.monitor()
    house.look(monitor, at_s=BEGIN_S + 30 + 80)
    assert (house.changes(), monitor.count) == ([], 0)
    house.look(monitor, at_s=BEGIN_S + 30 + 3_600)
    (warning,) = house.warnings()
    assert house.changes() == [STUCK]
    assert (warning.data["still_s"], warning.data["usual_s"]) == (3_600.0, 30.0)
    assert warning.data["entity"] == "progress"
    assert monitor.count == 1
    house.look(monitor, at_s=BEGIN_S + 30 + 3_700)
    assert house.changes() == [STUCK]


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("job.progress", {"percent": 10.0}),
        ("stage.progress", {"stage": "Read", "index": 1, "done": 5, "percent": 10.0}),
        ("state.changed", {"entity": "order", "to_state": "packed"}),
        ("state.changed", {"entity": "progress", "to_state": "stuck"}),
    ],
)
def test_what_is_no_progress(house: House, event_type: str, data: dict[str, Any]) -> None:
    """The same figure again, or a change of something else, also if the job calls it that."""
    house.past()
    house.say("now", BEGIN_S, "job.started")
    house.say("now", BEGIN_S, "stage.started", stage="Read", index=1)
    monitor = house.monitor()
    for number in range(60):
        house.say("now", BEGIN_S + 10 * number, event_type, **data)
        if number % 10 == 9:
            house.look(monitor, at_s=BEGIN_S + 10 * number)
    assert house.changes() == [STUCK]


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("job.progress", {"percent": 11.0}),
        ("job.progress", {"done": 3}),
        ("stage.progress", {"stage": "Read", "index": 1, "done": 6}),
        ("stage.completed", {"stage": "Read", "index": 1, "done": 6}),
        ("stage.started", {"stage": "Write", "index": 2}),
        ("job.milestone", {}),
    ],
)
def test_what_is_progress(house: House, event_type: str, data: dict[str, Any]) -> None:
    """A job that was stuck goes on with it, which is said once, and in the trail."""
    house.past()
    house.say("now", BEGIN_S, "job.started")
    house.say("now", BEGIN_S, "stage.started", stage="Read", index=1)
    house.say("now", BEGIN_S, "job.progress", percent=10.0)
    monitor = house.monitor()
    house.look(monitor, at_s=BEGIN_S + 100)
    assert (house.changes(), house.outcomes()) == ([STUCK], ["warned"])
    house.say("now", BEGIN_S + 101, event_type, **data)
    house.look(monitor, at_s=BEGIN_S + 111)
    house.look(monitor, at_s=BEGIN_S + 150)
    assert (house.changes(), house.outcomes()) == ([STUCK, GOES_ON], ["goes on"])
    assert monitor.count == 0
    house.look(monitor, at_s=BEGIN_S + 300)
    assert house.changes() == [STUCK, GOES_ON, STUCK]


def test_many_jobs_do_not_hide_a_stuck_one(house: House) -> None:
    """However many stand still before it, of kinds that have no past runs."""
    house.past()
    for number in range(1_001):
        house.say(f"other-{number}", BEGIN_S, "job.started", job_name="other")
    house.say("now", BEGIN_S, "job.started")
    house.look(house.monitor(), at_s=BEGIN_S + 3_600)
    assert house.changes() == [STUCK]


def test_two_monitors_warn_once(house: House) -> None:
    """Both know that it is stuck; one says so, and one says that it goes on."""
    house.past()
    house.say("now", BEGIN_S, "job.started")
    monitors = [house.monitor(), house.monitor()]
    house.look(*monitors, at_s=BEGIN_S + 100)
    assert house.changes() == [STUCK]
    assert [each.count for each in monitors] == [1, 1]
    house.look(*monitors, at_s=BEGIN_S + 1_000)
    house.say("now", BEGIN_S + 1_001, "job.progress", percent=50.0)
    house.look(*monitors, at_s=BEGIN_S + 1_020)
    assert house.changes() == [STUCK, GOES_ON]


def test_a_monitor_that_begins_anew_knows_what_was_warned_of(house: House) -> None:
    """It does not warn again, and says that the job goes on, also if that was in between."""
    house.past()
    house.say("now", BEGIN_S, "job.started")
    house.look(house.monitor(), at_s=BEGIN_S + 100)
    house.look(house.monitor(), at_s=BEGIN_S + 300)
    assert house.changes() == [STUCK]
    house.say("now", BEGIN_S + 301, "job.progress", percent=50.0)
    house.look(house.monitor(), at_s=BEGIN_S + 320)
    assert house.changes() == [STUCK, GOES_ON]


def test_a_warning_that_was_claimed_and_not_made_is_made(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A monitor that dies in between leaves a row behind; after a minute another one warns."""
    house.past()
    house.say("now", BEGIN_S, "job.started")
    with monkeypatch.context() as dying:
        dying.setattr("fiveobs.monitor.stuck.record_change", lambda *_: None)
        house.look(house.monitor(), at_s=BEGIN_S + 100)
    with house.store.writing() as connection:  # as a monitor sees it that has never heard of it
        connection.exec_driver_sql("UPDATE audit SET outcome = 'lapsed'")
    later = house.monitor()
    house.look(later, at_s=BEGIN_S + 130)
    assert house.changes() == []
    other = house.monitor()
    house.look(other, at_s=BEGIN_S + 170)
    assert house.changes() == [STUCK]


@pytest.mark.parametrize(
    ("gaps_s", "runs"),
    [((USUAL_S,), 4), ((USUAL_S, 200.0, USUAL_S), 5)],
    ids=["too few runs", "a long gap is usual"],
)
def test_what_is_usual_is_no_warning(house: House, gaps_s: tuple[float, ...], runs: int) -> None:
    """Nor is there one where nobody knows what is usual."""
    house.past(gaps_s, runs)
    house.say("now", BEGIN_S, "job.started")
    house.look(house.monitor(), at_s=BEGIN_S + 590)
    assert house.changes() == []


def test_time_that_a_run_was_paused_is_not_usual(house: House) -> None:
    """Somebody had asked it to wait."""
    for number in range(5):
        job_id, at_s = f"past-{number}", number * 1_000.0
        for after_s, event_type in ((0, "started"), (10, "paused"), (900, "resumed")):
            house.say(job_id, at_s + after_s, f"job.{event_type}")
        house.say(job_id, at_s + 910, "job.completed", status="completed")
    house.say("now", BEGIN_S, "job.started")
    house.say("paused", BEGIN_S, "job.started")
    house.say("paused", BEGIN_S + 1, "job.paused")
    house.look(house.monitor(), at_s=BEGIN_S + 100)
    assert house.changes() == [STUCK]


def test_time_between_two_runs_under_one_id_is_not_usual(house: House) -> None:
    """A job that is called the same each night does not stand still all day."""
    for number in range(5):
        for night in range(2):
            at_s = number * 100.0 + night * 5_000.0
            house.say(f"nightly-{number}", at_s, "job.started")
            house.say(f"nightly-{number}", at_s + 30, "job.completed", status="completed")
    house.say("now", BEGIN_S, "job.started")
    house.look(house.monitor(), at_s=BEGIN_S + 100)
    assert house.changes() == [STUCK]


def test_a_stuck_job_that_ends_is_forgotten(house: House) -> None:
    """Its end says what there is to say; the trail notes it."""
    house.past()
    house.say("now", BEGIN_S, "job.started")
    monitor = house.monitor()
    house.look(monitor, at_s=BEGIN_S + 100)
    house.say("now", BEGIN_S + 101, "job.failed", status="failed")
    house.look(monitor, at_s=BEGIN_S + 120)
    assert (house.changes(), house.outcomes(), monitor.count) == ([STUCK], ["ended"], 0)
