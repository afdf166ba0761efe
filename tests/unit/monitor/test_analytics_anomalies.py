"""Runs, hours and silences that are unusual."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fiveobs.monitor.analytics.anomalies import FEWEST, Anomalies, find_anomalies
from fiveobs.monitor.analytics.quiet import quiet_periods
from fiveobs.monitor.analytics.seasons import calendar, slow_slots
from tests.support.past_runs import DAY_S, HOUR_S, MONDAY_S, past, run_row, steady, step_row

WEEKS = 4


def anomalies_of(count: int, every_s: float = HOUR_S, **values: dict[int, float]) -> Anomalies:
    """Runs of which some have another figure: a factor for each run, by figure."""
    at, took = steady(count, every_s=every_s)
    rows, steps = [], []
    for key in range(count):
        times = {name: factors.get(key, 1.0) for name, factors in values.items()}
        changes = {
            "duration_s": took[key] * times.get("duration_s", 1),
            "cpu_s": took[key] / 2 * times.get("cpu_s", 1),
        }
        rows.append(run_row(key, at[key], **changes))
        memory = int(1e6 * took[key] * times.get("memory_bytes", 1))
        steps.append(step_row(key, at_s=at[key], memory_rss_bytes=memory))
    return find_anomalies(*past(rows, steps), now_s=float(at[-1]))


# --- unusual runs ------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", ["duration_s", "cpu_s", "memory_bytes"])
def test_a_run_that_takes_much_more_is_unusual(figure: str) -> None:
    """It and no other: how much more than what, and than how many."""
    found = anomalies_of(500, **{figure: {123: 20.0}})
    (run,) = found.unusual_runs
    assert (run.job_id, run.figure, found.unusual_count) == ("job-123", figure, 1)
    assert run.ratio == pytest.approx(run.value / run.usual)
    assert run.ratio == pytest.approx(20, rel=0.7)
    assert (run.compared_with, run.count) == ("all", 500)


def test_a_run_is_compared_with_those_of_the_same_time_if_there_are_enough() -> None:
    """First of the hour of the week, then of the day."""
    ten_weeks = anomalies_of(7 * 24 * 31, duration_s={500: 20.0})
    assert ten_weeks.unusual_runs[0].compared_with == "hour of week"
    assert ten_weeks.unusual_runs[0].count == 31
    assert (
        anomalies_of(24 * 31, duration_s={500: 20.0}).unusual_runs[0].compared_with == "hour of day"
    )


def test_what_is_usual_at_that_time_is_not_unusual() -> None:
    """At 03:00 all runs take five times as long: none of them stands out."""
    every_night = {key: 5.0 for key in range(24 * 40) if key % 24 == 3}
    assert anomalies_of(24 * 40, duration_s=every_night).unusual_runs == ()


def test_a_run_that_did_not_complete_is_not_judged() -> None:
    """How long it took says when it was stopped."""
    at, took = steady(200)
    rows = [run_row(key, at[key], duration_s=took[key]) for key in range(199)]
    rows.append(run_row(199, at[199], duration_s=1e6, status="stopped"))
    assert find_anomalies(*past(rows), now_s=float(at[-1])).unusual_runs == ()


def test_equal_runs_make_no_small_difference_unusual() -> None:
    """Where all took 60 s, 63 s is nothing, and 130 s is."""
    at, _ = steady(100)
    rows = [
        run_row(key, at[key], duration_s={50: 63.0, 60: 130.0}.get(key, 60.0)) for key in range(100)
    ]
    found = find_anomalies(*past(rows), now_s=float(at[-1]))
    assert [each.job_id for each in found.unusual_runs] == ["job-60"]


def test_too_few_runs_know_nothing_unusual() -> None:
    """Below 30 nothing is said."""
    assert anomalies_of(FEWEST - 1, duration_s={5: 100.0}).unusual_runs == ()
    assert len(anomalies_of(FEWEST, duration_s={5: 100.0}).unusual_runs) == 1


def test_many_unusual_runs_are_counted_and_the_worst_are_shown() -> None:
    """A hundred of them."""
    found = anomalies_of(2_000, duration_s={key: 100.0 + key for key in range(0, 2_000, 10)})
    assert found.unusual_count == 200
    assert len(found.unusual_runs) == 100
    scores = [each.score for each in found.unusual_runs]
    assert scores == sorted(scores, reverse=True)


# --- slow slots --------------------------------------------------------------------------------


def slots_of(is_slow: Any, *, weeks: int = WEEKS, times: float = 2.0) -> list[tuple[Any, Any]]:
    """Four runs an hour, of which those that a function of day and hour names take longer."""
    every_s = HOUR_S / 4
    at, took = steady(int(weeks * 7 * DAY_S / every_s), every_s=every_s)
    rows = []
    for key, at_s in enumerate(at):
        day, hour = divmod(int((at_s - MONDAY_S) // HOUR_S), 24)
        seconds = took[key] * (times if is_slow(day, hour) else 1)
        rows.append(run_row(key, at_s, duration_s=seconds))
    return [(each.weekday, each.hour) for each in slow_slots(past(rows)[0])]


def test_a_slow_hour_of_the_day_is_named_once() -> None:
    """And not once for each weekday."""
    assert slots_of(lambda _day, hour: hour == 3) == [(None, 3)]


def test_a_slow_hour_of_the_week_is_named() -> None:
    """Thursdays at 9, which the other days' 9 o'clock does not show."""
    assert slots_of(lambda day, hour: (day % 7, hour) == (3, 9)) == [(3, 9)]


def test_a_slow_weekday_is_named_without_its_hours() -> None:
    """All of Sunday."""
    assert slots_of(lambda day, _hour: day % 7 == 6) == [(6, None)]


def test_one_bad_day_makes_no_slow_slot() -> None:
    """Once is not usually: one Monday morning took ten times as long."""
    assert slots_of(lambda day, hour: day == 7 and 8 <= hour < 12, times=10) == []


def test_the_cycle_of_a_day_is_no_slow_slot() -> None:
    """What rises and falls slowly over the day has no hour that stands out."""
    every_s = HOUR_S / 4
    at, took = steady(int(28 * DAY_S / every_s), every_s=every_s)
    took = took * np.exp(0.3 * np.cos(2 * np.pi * at / DAY_S))
    rows = [run_row(key, at[key], duration_s=took[key]) for key in range(len(at))]
    assert slow_slots(past(rows)[0]) == ()


def test_a_week_is_too_short_for_hours_of_the_week() -> None:
    """It takes three days of a slot."""
    assert slots_of(lambda day, hour: (day % 7, hour) == (3, 9), weeks=2) == []


def test_a_slow_slot_has_its_figures() -> None:
    """What it takes and what is usual around it, of how many runs and days."""
    every_s = HOUR_S / 4
    at, took = steady(int(14 * DAY_S / every_s), every_s=every_s)
    took[calendar(at).hour == 3] *= 2
    rows = [run_row(key, at[key], duration_s=took[key]) for key in range(len(at))]
    (slot,) = slow_slots(past(rows)[0])
    assert (slot.count, slot.days) == (14 * 4, 14)
    assert slot.median_s == pytest.approx(120, rel=0.15)
    assert slot.usual_s == pytest.approx(60, rel=0.15)
    assert slot.ratio == pytest.approx(slot.median_s / slot.usual_s)


def test_a_calendar_begins_on_monday_and_at_midnight_utc() -> None:
    """2027-01-11 was a Monday; 1970 began on a Thursday, and before it were times, too."""
    at = calendar(np.array([MONDAY_S, MONDAY_S + 6 * DAY_S + 23.5 * HOUR_S, 0.0, -1.0]))
    assert at.weekday.tolist() == [0, 6, 3, 2]
    assert at.hour.tolist() == [0, 23, 0, 23]


# --- quiet periods -----------------------------------------------------------------------------


def arrivals(per_hour: float, *, days: int = 28, seed: int = 1, weekend: float = 0.3) -> Any:
    """A Poisson process with a cycle of the day, and few at weekends."""
    chance, hours = np.random.default_rng(seed), np.arange(days * 24)
    rate = per_hour * (1 + 0.6 * np.cos(2 * np.pi * (hours % 24 - 14) / 24))
    counts = chance.poisson(np.where((hours // 24) % 7 >= 5, weekend, 1) * rate)
    return MONDAY_S + np.repeat(hours, counts) * HOUR_S + chance.uniform(0, HOUR_S, counts.sum())


def test_hours_without_the_usual_runs_are_quiet() -> None:
    """From when to when, how few, and how many there usually are."""
    at, gap_s = arrivals(60), MONDAY_S + 22 * DAY_S + 10 * HOUR_S
    at = at[(at < gap_s) | (at >= gap_s + 3 * HOUR_S)]
    (quiet,) = quiet_periods(at, now_s=MONDAY_S + 28 * DAY_S)
    assert (quiet.begins_at_s, quiet.ends_at_s, quiet.count) == (gap_s, gap_s + 3 * HOUR_S, 0)
    assert quiet.usual > 100


def test_nights_and_weekends_are_as_quiet_as_ever() -> None:
    """In 20 histories nothing is said of them."""
    for seed in range(20):
        at = arrivals(60, seed=seed)
        assert quiet_periods(at, now_s=MONDAY_S + 28 * DAY_S) == ()


def test_few_runs_are_looked_at_in_longer_parts() -> None:
    """With two an hour a day of silence is seen, and an hour of it is not."""
    at, end_s = arrivals(2, weekend=1), MONDAY_S + 28 * DAY_S
    day_s = MONDAY_S + 20 * DAY_S
    (quiet,) = quiet_periods(at[(at < day_s) | (at >= day_s + DAY_S)], now_s=end_s)
    assert quiet.begins_at_s <= day_s + 6 * HOUR_S
    assert quiet.ends_at_s >= day_s + 18 * HOUR_S
    hour_s = day_s + 14 * HOUR_S
    assert quiet_periods(at[(at < hour_s) | (at >= hour_s + HOUR_S)], now_s=end_s) == ()


def test_the_time_since_the_last_run_counts() -> None:
    """Jobs that stopped coming are what one wants to hear of; the hour that runs is left out."""
    at = arrivals(60)
    last_s = MONDAY_S + 25 * DAY_S + 12 * HOUR_S
    (quiet,) = quiet_periods(at[at < last_s], now_s=last_s + 5.5 * HOUR_S)
    assert (quiet.begins_at_s, quiet.ends_at_s) == (last_s, last_s + 5 * HOUR_S)


def test_too_little_history_knows_no_silence() -> None:
    """Four days of a sort are needed; of nothing, nothing is said."""
    for days, is_known in ((3, False), (4, True)):
        at, end_s = arrivals(60, days=days), MONDAY_S + days * DAY_S
        found = quiet_periods(at[at < end_s - 12 * HOUR_S], now_s=end_s)
        assert bool(found) == is_known
    assert quiet_periods(np.empty(0), now_s=0) == ()
    assert quiet_periods(np.array([MONDAY_S * 1.0]), now_s=MONDAY_S - 1) == ()
