"""The checker itself: it finds every record that is removed, invented or counted twice."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conservation import Did, Held, check
from tests.faults.worker_runs import Worker, held_by
from tests.support.workers import Destinations

JOBS = 10


@dataclass
class Case:
    """What the three witnesses have, to be falsified."""

    home: Path
    held: Held
    did: Did

    def check(self, **options: Any) -> Any:
        return check(self.home, self.held, self.did, **options)

    def edit(self, change: Callable[[list[bytes]], None]) -> None:
        """Change the lines of the one segment."""
        (path,) = (self.home / "journal").glob("*.log")
        lines = path.read_bytes().splitlines(keepends=True)
        change(lines)
        path.write_bytes(b"".join(lines))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """What a worker and its receivers have after ten jobs, two of which failed."""
    home = tmp_path_factory.mktemp("home")
    with Destinations() as there:
        with Worker(there.settings() | {"FIVEOBS_HOME": str(home)}) as worker:
            worker.ask("jobs", JOBS)
            assert worker.end() == 0
        yield Case(home, held_by(there), Did.of(worker.told))


@pytest.fixture
def case(real: Case, tmp_path: Path) -> Case:
    home = tmp_path / "home"
    shutil.copytree(real.home, home)
    return Case(home, copy.deepcopy(real.held), copy.deepcopy(real.did))


def _metric(held: Held, name: str) -> list[dict[str, Any]]:
    return [metric for metric in held.metrics if metric["name"] == name]


def _without(name: str) -> Callable[[Case], None]:
    """The receiver has never heard of a metric."""

    def change(case: Case) -> None:
        assert _metric(case.held, name)
        case.held.metrics = [each for each in case.held.metrics if each["name"] != name]

    return change


def _changed(name: str, by: float) -> Callable[[Case], None]:
    """The receiver's newest totals of a metric differ."""

    def change(case: Case) -> None:
        for metric in _metric(case.held, name):
            for point in metric["points"]:
                point["value" if "value" in point else "count"] += by

    return change


def _twice(name: str) -> Callable[[Case], None]:
    """A metric was summed by two processes."""

    def change(case: Case) -> None:
        for metric in copy.deepcopy(_metric(case.held, name)):
            metric["resource"] = {"service.instance.id": "another"}
            case.held.metrics.append(metric)

    return change


def _at(lines: list[bytes], kind: str) -> int:
    return next(n for n, text in enumerate(lines) if json.loads(text)["event_type"] == kind)


def _line_removed(kind: str) -> Callable[[Case], None]:
    return lambda case: case.edit(lambda lines: lines.__delitem__(_at(lines, kind)))


def _line_twice(kind: str) -> Callable[[Case], None]:
    return lambda case: case.edit(lambda lines: lines.append(lines[_at(lines, kind)]))


def _never_sampled(case: Case) -> None:
    """No span of a job that went well is in the journal, or anywhere."""
    kept = set()

    def change(lines: list[bytes]) -> None:
        for number, text in enumerate(lines):
            record = json.loads(text)
            if record["event_type"] == "job.completed":
                lines[number] = text.replace(b',"sampled":true', b"", 1)
            elif record.get("sampled"):
                kept.add(record["span_id"])

    case.edit(change)
    case.held.spans = [each for each in case.held.spans if each["span_id"] in kept]


FALSE: dict[str, Callable[[Case], Any]] = {
    "a log line did not arrive": lambda case: case.held.records.pop(),
    "a log line was invented": lambda case: case.held.records.append({"id": "another"}),
    "a span did not arrive": lambda case: case.held.spans.pop(),
    "a span was invented": lambda case: case.held.spans.append({"span_id": "another"}),
    "an envelope did not arrive": lambda case: case.held.envelopes.pop(),
    "an envelope was invented": lambda case: case.held.envelopes.append("another"),
    "jobs were never counted": _without("jobs.processed"),
    "durations were never counted": _without("job.duration"),
    "own measurements were never counted": _without("records"),
    "errors were never counted": _without("errors"),
    "a job was not counted": _changed("jobs.processed", -1),
    "a duration was not counted": _changed("job.duration", -1),
    "a measurement was not counted": _changed("records", -3),
    "an error was not counted": _changed("errors", -1),
    "a job was counted that was none": _changed("jobs.processed", 1),
    "a measurement was invented": _changed("records", 1),
    "an error was invented": _changed("errors", 1),
    "jobs were counted twice": _twice("jobs.processed"),
    "durations were counted twice": _twice("job.duration"),
    "measurements were counted twice": _twice("records"),
    "errors were counted twice": _twice("errors"),
    "a log line is not in the journal": _line_removed("log"),
    "a job's end is not in the journal": _line_removed("job.completed"),
    "a measurement is not in the journal": _line_removed("metric"),
    "an envelope is not in the journal": _line_removed("envelope"),
    "a beginning is not in the journal": _line_removed("job.started"),
    "a log line is in the journal twice": _line_twice("log"),
    "a job's end is in the journal twice": _line_twice("job.failed"),
    "a measurement is in the journal twice": _line_twice("metric"),
    "an envelope is in the journal twice": _line_twice("envelope"),
    "no span was recorded": _never_sampled,
    "a job left no trace at all": lambda case: case.did.jobs.update(another="completed"),
    "a job ended otherwise": lambda case: case.did.jobs.update(
        dict.fromkeys(case.did.ended("failed"), "completed")
    ),
    "a line was said and not recorded": lambda case: setattr(case.did, "lines", JOBS * 2 + 1),
    "a measurement was said and not recorded": lambda case: setattr(case.did, "counted", 31),
}


def test_the_truth_is_believed(case: Case) -> None:
    """What a worker and its receivers really have passes."""
    sums = case.check()
    assert sums["metrics"].held == sums["traces"].held == JOBS
    assert sums["errors"].held == JOBS // 5


@pytest.mark.parametrize("what", FALSE)
def test_what_is_false_is_found(what: str, case: Case) -> None:
    """Each change of what one witness has is seen."""
    FALSE[what](case)
    with pytest.raises(AssertionError):
        case.check()


#: What a kill excuses: more in the journal than was said, and measurements that count twice.
EXCUSED = {
    "jobs were counted twice",
    "durations were counted twice",
    "measurements were counted twice",
    "errors were counted twice",
    "a job was counted that was none",
    "a measurement was invented",
    "an error was invented",
}


@pytest.mark.parametrize("what", sorted(FALSE.keys() - EXCUSED))
def test_a_kill_excuses_nothing_else(what: str, case: Case) -> None:
    """What is lost or invented is found among the traces of a killed worker, too."""
    FALSE[what](case)
    with pytest.raises(AssertionError):
        case.check(was_killed=True)


def test_a_kill_excuses_no_third_count(case: Case) -> None:
    """One that was killed may have sent sums that its successor sends again, and no more."""
    _twice("jobs.processed")(case)
    _twice("job.duration")(case)
    case.check(was_killed=True)
    _changed("jobs.processed", 1)(case)
    with pytest.raises(AssertionError):
        case.check(was_killed=True)
    case.check(was_killed=2)


def test_repeats_are_counted_and_no_fault(case: Case) -> None:
    """Delivery is at least once: what came again is told apart by its id."""
    case.held.records += case.held.records[:3]
    case.held.spans += case.held.spans[:2]
    case.held.envelopes += case.held.envelopes[:1]
    sums = case.check()
    assert [sums[track].repeats for track in ("logs", "traces", "errors")] == [3, 2, 1]
