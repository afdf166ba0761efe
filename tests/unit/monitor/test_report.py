"""Reports: the figures, their intervals, and how they are put together from the store."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from fiveobs.monitor.analytics.columns import PastRunRow, PastStepRow, Runs, Steps
from fiveobs.monitor.analytics.failures import analyse_failures
from fiveobs.monitor.report import making
from fiveobs.monitor.report.making import Asked, make_report
from fiveobs.monitor.report.models import ReportAnswer
from fiveobs.monitor.report.summaries import (
    changes_of,
    failures_of,
    figures_of,
    steps_of,
    trend_of,
)
from fiveobs.monitor.store.engine import Store
from tests.support import reported_jobs
from tests.support.ingesting import Taking
from tests.support.reported_jobs import BEGIN, END, HOSTILE, MIDDLE, SERVICE, STEADY

US = 1_000_000
STATUSES = ("completed", "failed", "lost", "stopped", "cancelled", "interrupted")


def run(number: int, status: str = "completed", took_s: float | None = 1.0, **more: Any) -> Any:
    fields = {
        "job_key": number,
        "job_id": f"j{number}",
        "attempt": 1,
        "status": status,
        "started_at_us": number * 60 * US,
        "ended_at_us": (number * 60 + 30) * US,
        "duration_s": took_s,
        **more,
    }
    return PastRunRow(**{name: fields.get(name) for name in PastRunRow._fields})


def runs(*statuses: str, took_s: float = 1.0) -> Runs:
    return Runs.of(run(number, status, took_s) for number, status in enumerate(statuses))


# --- figures -------------------------------------------------------------------------------------


def test_figures_are_those_of_the_runs() -> None:
    """Who was stopped neither failed nor succeeded; only completed runs have a duration."""
    found = figures_of(
        Runs.of(
            [
                *(run(number, took_s=number + 1.0, queue_wait_s=2.0) for number in range(8)),
                run(8, "failed", 500.0),
                run(9, "lost", None),
                run(10, "stopped", 900.0),
            ]
        )
    )
    assert (found.runs, found.completed, found.failed, found.ended_otherwise) == (11, 8, 2, 1)
    assert found.success_rate == 0.8
    assert (found.duration_median_seconds, found.duration_p90_seconds) == (4.5, 7.3)
    assert (found.queue_wait_median_seconds, found.queue_wait_p90_seconds) == (2, 2)


def test_no_runs_have_no_figures() -> None:
    """Counts are zero, what is worked out of them is not known."""
    found = figures_of(Runs.of([])).model_dump()
    counts = {"runs", "completed", "failed", "endedOtherwise"}
    assert {name for name, value in found.items() if value == 0} == counts
    assert all(value is None for name, value in found.items() if name not in counts)
    assert steps_of(Steps.of([], Runs.of([]))) == failures_of(Runs.of([]), Runs.of([])) == []
    assert changes_of(Runs.of([]), runs("completed")) == []


@given(completed=st.integers(0, 300), failed=st.integers(0, 300))
@settings(deadline=None)
def test_the_interval_of_a_rate_is_wilson_s(completed: int, failed: int) -> None:
    """As scipy works it out."""
    found = figures_of(runs(*["completed"] * completed, *["failed"] * failed))
    if completed + failed == 0:
        assert found.success_rate_low is found.success_rate_high is None
        return
    expected = binomtest(completed, completed + failed).proportion_ci(method="wilson")
    assert found.success_rate_low == pytest.approx(expected.low, abs=1e-4)
    assert found.success_rate_high == pytest.approx(expected.high, abs=1e-4)
    assert found.success_rate_low <= (found.success_rate or 0) <= found.success_rate_high


def test_the_parts_of_a_trend_have_every_run_once() -> None:
    """By when it began; parts without runs are there, too, and what began late is in the last."""
    found = trend_of(runs(*(["completed", "failed"] * 10)), 0.0, 300.0, 3)
    assert [(each.runs, each.failed) for each in found] == [(5, 2), (5, 3), (10, 5)]
    assert [each.from_time for each in found][1] == "1970-01-01T00:05:00Z"
    empty = trend_of(runs(), 0.0, 60.0, 2)
    assert [(each.runs, each.duration_median_seconds) for each in empty] == [(0, None)] * 2


def test_steps_are_sorted_by_the_time_that_they_took() -> None:
    """In all runs together; their shares add up to one."""
    past = Runs.of(run(number) for number in range(4))
    rows = [
        PastStepRow(number, 1, name, status, 0, took_s, *[None] * 6)
        for number in range(4)
        for name, status, took_s in (("a", "completed", 1.0), ("b", "failed", 3.0))
    ]
    first, second = steps_of(Steps.of(rows, past))
    assert (first.step_name, first.total_seconds, first.share, first.failed) == ("b", 12, 0.75, 4)
    assert (second.step_name, second.runs, second.share) == ("a", 4, 0.25)


def test_failures_are_grouped_by_what_error_they_are() -> None:
    """As the failure analysis groups them; the last message and job, and whether they are new."""
    rows = [
        run(0, "failed", error_type="A", error_message="row 1 of 7"),
        run(1, "failed", error_type="A", error_message="row 20 of 7"),
        run(2, "lost"),
        run(3, error_type="A"),  # one that was retried inside, and completed
    ]
    past = Runs.of(rows)
    first, second = failures_of(past, Runs.of(rows[:1]))
    assert (first.error_type, first.runs, first.share, first.is_new) == ("A", 2, 0.6667, False)
    assert (first.message, first.job_id, first.last_at) == (
        "row 20 of 7",
        "j1",
        "1970-01-01T00:01:00Z",
    )
    assert (second.error_type, second.is_new) == ("lost", True)
    groups = analyse_failures(past, Steps.of([], past)).groups
    assert [each.group_id for each in groups] == [first.group_id, second.group_id]


# --- changes -------------------------------------------------------------------------------------


def durations(values: Any) -> Runs:
    return Runs.of(run(number, took_s=float(value)) for number, value in enumerate(values))


def test_a_change_has_the_verdict_of_the_comparison_of_two_periods() -> None:
    """Of rates and of medians; a few runs prove nothing."""
    good, bad = runs(*["completed"] * 60), runs(*["completed"] * 40, *["failed"] * 20)
    (rate, _) = changes_of(bad, good)
    assert (rate.figure, rate.before, rate.now) == ("failureRate", 0, 0.3333)
    assert (rate.difference, rate.verdict) == (0.3333, "worse")
    assert rate.reason.startswith("+33.3 points (")
    (rate, _) = changes_of(good, bad)
    assert (rate.difference, rate.verdict) == (-0.3333, "better")
    (rate, _) = changes_of(runs("completed", "failed"), runs("completed", "completed"))
    assert (rate.verdict, rate.reason) == (
        None,
        "too few: 2 and 2 runs, at least 8 are needed",
    )
    chance = np.random.default_rng(1)
    before, slower = chance.lognormal(3, 0.3, 100), chance.lognormal(3.5, 0.3, 100)
    assert changes_of(durations(slower), durations(before))[1].verdict == "worse"
    assert changes_of(durations(slower[:4]), durations(before[:4]))[1].verdict is None


def test_chance_alone_is_seldom_called_a_change() -> None:
    """Of 400 pairs of periods that are alike, about one in twenty seem different."""
    chance = np.random.default_rng(7)
    pairs = [
        (chance.lognormal(2, 0.5, 60), chance.lognormal(2, 0.5, int(chance.integers(10, 90))))
        for _ in range(400)
    ]
    found = [changes_of(durations(now), durations(before))[1].verdict for now, before in pairs]
    assert len(found) - found.count("alike") < 35


# --- from the store ------------------------------------------------------------------------------


@pytest.fixture
def told(store: Store, tmp_path: Path) -> Store:
    """A store with two weeks of jobs."""
    reported_jobs.write(tmp_path)
    taking = Taking(store, tmp_path)
    taking.all()
    assert taking.reports == []
    return store


def report(store: Store, from_time: datetime, to_time: datetime, **more: Any) -> ReportAnswer:
    times = [round(each.timestamp() * US) for each in (from_time, to_time)]
    return make_report(store, Asked(1, "t", "p", *times, **more))


def test_a_report_has_every_run_of_the_period(told: Store) -> None:
    """In the sum, in each kind, and in the trends; the one before is what its own report says."""
    found = report(told, MIDDLE, END)
    assert (found.figures.runs, found.before.runs) == (120, 120)
    assert [(each.job_name, each.service) for each in found.kinds] == [
        (HOSTILE, SERVICE),
        (STEADY, SERVICE),
    ]
    assert sum(each.figures.runs for each in found.kinds) == 120
    for part in (found, *found.kinds):
        assert sum(point.runs for point in part.trend) == part.figures.runs
        assert sum(point.failed for point in part.trend) == part.figures.failed
    earlier = report(told, BEGIN, MIDDLE)
    assert found.before == earlier.figures
    assert [each.before for each in found.kinds] == [each.figures for each in earlier.kinds]
    assert (found.before_from_time, found.to_time) == (earlier.from_time, "2026-01-16T03:04:05Z")
    assert earlier.before.runs == 0


def test_what_went_worse_is_told(told: Store) -> None:
    """Of the kind that did, in the rate and the duration, with the error that is new."""
    worse, steady = report(told, MIDDLE, END).kinds
    assert [each.verdict for each in worse.changes] == ["worse", "worse", "alike"]
    assert [each.verdict for each in steady.changes] == ["alike"] * 3
    assert [step.step_name for step in worse.steps] == ["<i>Scale</i>", "Load"]
    assert {each.error_type: each.is_new for each in worse.failures} == {
        "ValueError": False,
        "<b>New</b>Error": True,
    }
    assert max(len(each.message) for each in worse.failures) <= 300


def test_a_report_of_one_kind_has_only_that(told: Store) -> None:
    """By name, and by service."""
    found = report(told, MIDDLE, END, job_name=STEADY, service=SERVICE)
    assert [each.job_name for each in found.kinds] == [STEADY]
    assert found.figures == found.kinds[0].figures
    assert report(told, MIDDLE, END, job_name=STEADY, service="other").figures.runs == 0
    after = report(told, END, END + (END - BEGIN))
    assert [each.figures.runs for each in after.kinds] == [0, 0]  # they ran in the one before
    assert report(told, END.replace(year=2027), END.replace(year=2028)).kinds == []


def test_what_is_too_much_is_said(told: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """More jobs of a kind than are looked at, more kinds than are listed."""
    assert not report(told, MIDDLE, END).runs_left_out
    monkeypatch.setattr(making, "_MOST_KINDS", 1)
    monkeypatch.setattr(making, "_MOST_JOBS", 60)
    found = report(told, MIDDLE, END)
    assert (len(found.kinds), found.kinds_left_out, found.figures.runs) == (1, 1, 120)
    assert not found.runs_left_out
    monkeypatch.setattr(making, "_MOST_JOBS", 59)
    found = report(told, MIDDLE, END)
    assert (found.runs_left_out, found.figures.runs) == (True, 118)


def test_the_parts_of_a_period_are_of_a_length_that_people_use() -> None:
    """At most forty of them, whatever the period."""
    chance = random.Random(3)
    for _ in range(200):
        length_us = int(10 ** chance.uniform(0, 15.2))
        trend = making._trend(Asked(1, "t", "p", 0, length_us))
        assert 1 <= trend.parts <= 40
        assert trend.parts * trend.step_s * US >= length_us
    week = making._trend(Asked(1, "t", "p", 0, 7 * 86_400 * US))
    assert (week.step_s, week.parts) == (6 * 3_600, 28)
