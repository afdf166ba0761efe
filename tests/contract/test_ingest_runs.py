"""Jobs that are run again under the same id and number, and jobs whose beginning was not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fiveobs.monitor.store.engine import Store
from tests.support.counting import instructions_of
from tests.support.ingesting import Taking, rows
from tests.support.journals import line, write_segment

JOB = "nightly"


def run(home: Path, day: int, *, fails: bool) -> None:
    """One run in a process of its own: two stages on the first day, one on the others."""
    span, at = f"{day:016x}", 100.0 * day
    fields: dict[str, Any] = {"job_id": JOB, "job_name": JOB, "span_id": span}
    measure = {"kind": "counter", "name": "rows", "value": day, "unit": "", "labels": {}}
    lines = [line(1, "job.started", after_s=at, **fields)]
    for index in (1, 2) if day == 1 else (1,):
        stage = {"stage": f"stage {index} of day {day}", "index": index}
        lines.append(line(2, "stage.started", after_s=at + index, **fields, data=stage))
    lines.append(line(4, "metric", after_s=at + 5, **fields, data=measure))
    end = "job.failed" if fails else "job.completed"
    lines.append(line(5, end, after_s=at + 9, **fields, data={"percent": 10.0 * day}))
    write_segment(home, f"host-{day}-{day}", 1, *lines)


def look(store: Store) -> None:
    """The job is as the third day's run left it."""
    assert rows(store, "jobs", "status", "attempt", "ended_at_us") == [
        ("failed", 1, rows(store, "attempts", "ended_at_us")[0])
    ]
    columns = ("span_id", "runs", "percent", "status")
    assert rows(store, "attempts", *columns) == [(f"{3:016x}", 3, 30.0, "failed")]
    assert rows(store, "stages", "stage") == ["stage 1 of day 3"]
    assert rows(store, "measures", "count", "total") == [(1, 3.0)]
    assert len(rows(store, "events")) == 10  # nothing of what was written is missing


def test_each_day_s_run_takes_the_place_of_the_one_before(store: Store, fiveobs_home: Path) -> None:
    """Taken in day by day, each time by a monitor that was just started."""
    for day in (1, 2, 3):
        run(fiveobs_home, day, fails=day == 3)
        Taking(store, fiveobs_home).all()
    look(store)


def test_the_days_may_be_read_in_any_order(store: Store, fiveobs_home: Path) -> None:
    """The last run stands, also where it was read first."""
    for day in (3, 1, 2):
        run(fiveobs_home, day, fails=day == 3)
        Taking(store, fiveobs_home).all()
    look(store)


def test_many_attempts_and_stages_cost_as_much_each_as_few(
    sqlite_store: Store, fiveobs_home: Path
) -> None:
    """Four times as many of one job are about four times the work, not sixteen times."""

    def work(count: int) -> int:
        lines = []
        for number in range(1, count + 1):
            fields: dict[str, Any] = {"job_id": f"job-{count}", "attempt": number}
            lines.append(line(number, "job.started", **fields))
            stage = {"stage": "s", "index": number}
            lines.append(line(number, "stage.started", **fields | {"attempt": 1}, data=stage))
        write_segment(fiveobs_home, f"host-{count}-1", 1, *lines)
        return instructions_of(Taking(sqlite_store, fiveobs_home).all)

    work(10)
    few, many = work(100), work(400)
    assert 0 < many < 5 * few
