"""What grows over time, and what leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fiveobs.monitor.analytics.columns import Origin
from fiveobs.monitor.analytics.leaks import LEAST_LIFE, Leak
from fiveobs.monitor.analytics.trends import FEWEST, ResourceTrends, Trend, find_trends
from tests.support.past_runs import DAY_S, HOUR_S, past, run_row, steady, step_row

MB = 1_000_000


def trend_of(found: ResourceTrends, figure: str) -> Trend:
    (trend,) = [each for each in found.trends if each.figure == figure]
    return trend


def trends_of(count: int = 480, every_s: float = HOUR_S, **grows: float) -> ResourceTrends:
    """Runs whose figures grow by a share from the first to the last."""
    at, took = steady(count, every_s=every_s)
    rows, steps = [], []
    for key in range(count):
        times = {name: 1 + share * key / count for name, share in grows.items()}
        changes = {
            "duration_s": took[key] * times.get("duration_s", 1),
            "cpu_s": took[key] / 2 * times.get("cpu_s", 1),
            "queue_wait_s": took[key] * times.get("queue_wait_s", 1),
        }
        rows.append(run_row(key, at[key], worker_key=key, **changes))
        memory = int(MB * took[key] * times.get("memory_bytes", 1))
        steps.append(step_row(key, at_s=at[key], memory_rss_bytes=memory))
    return find_trends(*past(rows, steps))


FIGURES = ("duration_s", "cpu_s", "memory_bytes", "queue_wait_s")


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_that_grows_is_rising_and_no_other(figure: str) -> None:
    """By so much a day, give or take; and one that shrinks is falling."""
    found = trends_of(**{figure: 1.0})
    assert {each.figure: each.direction for each in found.trends} == {
        name: "rising" if name == figure else "steady" for name in FIGURES
    }
    trend, usual = trend_of(found, figure), 60 * MB if figure == "memory_bytes" else 60
    per_day = (usual / 2 if figure == "cpu_s" else usual) / 20
    assert trend.low_per_day <= trend.slope_per_day <= trend.high_per_day
    assert trend.slope_per_day == pytest.approx(per_day, rel=0.2)
    assert trend_of(trends_of(**{figure: -0.6}), figure).direction == "falling"


def test_a_few_absurd_runs_make_no_trend() -> None:
    """One in twenty of the later ones took a thousand times as long."""
    at, took = steady(480)
    took[240::20] *= 1_000
    rows = [run_row(key, at[key], duration_s=took[key]) for key in range(480)]
    assert trend_of(find_trends(*past(rows)), "duration_s").direction == "steady"


def test_what_grows_within_hours_may_be_the_time_of_the_day() -> None:
    """Over less than three days nothing rises, however sure that is."""
    trend = trend_of(trends_of(480, every_s=530, duration_s=3.0), "duration_s")
    assert trend.p_value < 1e-3
    assert trend.direction == "steady"


def test_a_trend_takes_so_many_runs() -> None:
    """Below 50 there is none at all; of what is never known neither."""
    assert len(trends_of(FEWEST - 1).trends) == 0
    assert len(trends_of(FEWEST).trends) == 4
    at, _ = steady(FEWEST)
    rows = [run_row(key, at[key], cpu_s=None) for key in range(FEWEST)]
    assert [each.figure for each in find_trends(*past(rows)).trends] == [
        "duration_s",
        "queue_wait_s",
    ]


def test_a_figure_that_is_always_zero_is_steady() -> None:
    """Its change as a share of nothing is not known."""
    at, _ = steady(480)
    rows = [run_row(key, at[key], queue_wait_s=0.0) for key in range(480)]
    trend = trend_of(find_trends(*past(rows)), "queue_wait_s")
    assert (trend.change, trend.direction, trend.p_value) == (None, "steady", 1)


# --- leaks -------------------------------------------------------------------------------------


def lives(level: Any, *, count: int = 6, runs: int = 100, key: int | None = None) -> Any:
    """Processes, one after the other, whose memory in run ``number`` is ``level(number)`` MB."""
    chance, rows, steps = np.random.default_rng(1), [], []
    for number in range(count * runs):
        at = 1_799_625_600 + number * 600.0
        process = number // runs if key is None else key
        rows.append(run_row(number, at, worker_key=process))
        for place, name in enumerate(("Load", "Report")):
            mb = level(number % runs) + 30 * place + abs(chance.normal(0, 2))
            if chance.random() < 0.9:
                steps.append(step_row(number, name, at + place, memory_rss_bytes=int(mb * MB)))
    return past(rows, steps)


def test_memory_that_grows_in_every_life_is_a_leak() -> None:
    """So much a run and an hour, and when the last process has what it may have."""
    runs, steps = lives(lambda number: 200 + number)
    leak = find_trends(runs, steps, {5: 1_000 * MB}).leak
    assert leak is not None
    assert leak.growth_per_run_bytes == pytest.approx(MB, rel=0.05)
    assert leak.low_per_run_bytes <= leak.growth_per_run_bytes <= leak.high_per_run_bytes
    assert leak.growth_per_hour_bytes == pytest.approx(6 * MB, rel=0.05)
    assert (leak.release, leak.lives, leak.rising_lives) == ("", 6, 6)
    assert leak.usual_life_runs == pytest.approx(100, abs=3)  # of a few, no memory is known
    assert leak.limit_bytes == 1_000 * MB
    assert leak.limit_reached_at_s is not None
    left_h = (1_000 * MB - leak.memory_bytes) / leak.growth_per_hour_bytes
    assert leak.limit_reached_at_s == pytest.approx(runs.started_at_s[-1] + left_h * HOUR_S)


def leak_of(level: Any, **more: Any) -> Leak | None:
    return find_trends(*lives(level, **more)).leak


def test_without_a_limit_nobody_knows_when_it_is_reached() -> None:
    """The leak is told all the same."""
    leak = leak_of(lambda number: 200 + number)
    assert leak is not None
    assert (leak.limit_bytes, leak.limit_reached_at_s) == (None, None)


@pytest.mark.parametrize(
    ("what", "level"),
    [
        ("is flat", lambda number: 200),
        ("fills its caches and stays", lambda number: 200 + 100 * (1 - np.exp(-number / 10))),
        ("shrinks", lambda number: 400 - number),
        ("grows by a little", lambda number: 200 + number / 20),
    ],
)
def test_memory_that_does_not_go_on_growing_is_none(what: str, level: Any) -> None:
    """Caches fill in the first half of a life; a twentieth over a life is not worth a word."""
    assert leak_of(level) is None, what


def test_a_process_that_begins_anew_is_told_by_how_little_it_has() -> None:
    """Six lives under one key, as where nobody says which process it was."""
    for key in (1, None):
        leak = leak_of(lambda number: 200 + 2 * number, key=key)
        assert leak is not None
        assert leak.lives == 6
        assert leak.growth_per_run_bytes == pytest.approx(2 * MB, rel=0.05)


def test_short_lives_say_nothing() -> None:
    """Below 50 runs in a process there is no telling growth from a start."""
    assert leak_of(lambda number: 200 + 20 * number, runs=LEAST_LIFE - 1) is None
    assert leak_of(lambda number: 200 + 20 * number, runs=LEAST_LIFE) is not None


def test_a_leak_that_came_with_a_release_is_told_of_that() -> None:
    """Four lives of the old one are flat, two of the new one grow."""
    rows, steps = [], []
    for number in range(600):
        process, at = number // 100, 1_799_625_600 + number * 600.0
        rows.append(run_row(number, at, worker_key=process))
        mb = 200 + (number % 100 if process >= 4 else -(number % 100) / 100)
        steps.append(step_row(number, at_s=at, memory_rss_bytes=int(mb * MB)))
    origins = {key: Origin("w", "m", "2.0" if key >= 4 else "1.0") for key in range(6)}
    leak = find_trends(*past(rows, steps, origins)).leak
    assert leak is not None
    assert (leak.release, leak.lives) == ("2.0", 2)
    assert find_trends(*past(rows, steps)).leak is None


def test_one_process_that_grows_among_many_that_do_not_is_no_leak() -> None:
    """It has met something: a leak is in the code, and so in most lives."""
    rows, steps = [], []
    for number in range(600):
        process, at = number // 100, 1_799_625_600 + number * 600.0
        rows.append(run_row(number, at, worker_key=process))
        mb = 200 + (number % 100 if process == 3 else -(number % 100) / 100)
        steps.append(step_row(number, at_s=at, memory_rss_bytes=int(mb * MB)))
    assert find_trends(*past(rows, steps)).leak is None


def test_days_are_long_enough_for_these_tests() -> None:
    """The made-up lives span more than the three days that a trend takes."""
    runs, _ = lives(lambda number: 200)
    assert runs.started_at_s[-1] - runs.started_at_s[0] > 3 * DAY_S
