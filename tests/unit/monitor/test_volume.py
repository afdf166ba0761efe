"""Throughput, capacity and comparisons of runs, against formulas and known cases."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiveobs.monitor.analytics.capacity import Capacity, capacity, erlang_c, wait_s
from fiveobs.monitor.analytics.columns import PastStepRow, Runs, Steps
from fiveobs.monitor.analytics.comparison import Side, compare, failure_difference, ratio
from fiveobs.monitor.analytics.throughput import MOST_BUCKETS, success_rate, throughput
from tests.support.past_runs import START_S, runs_of

HOUR_S = 3_600.0
NONE = runs_of([])
ENDINGS = ("completed", "failed", "lost", "stopped")


def dumped(found: Any) -> str:
    """As JSON, which has no word for NaN."""
    return json.dumps(dataclasses.asdict(found), allow_nan=False)


def side(runs: Runs, steps: list[PastStepRow] | None = None) -> Side:
    return Side(runs=runs, steps=Steps.of(steps or [], runs))


# --- throughput --------------------------------------------------------------------------------


def test_runs_are_counted_where_they_came_and_where_they_ended() -> None:
    """A run of an hour that waited for one counts in the buckets of its coming and of its end."""
    runs = runs_of([HOUR_S], waits_s=[HOUR_S])
    found = throughput(runs, START_S - HOUR_S, START_S + 2 * HOUR_S, HOUR_S)
    assert [each.arrived for each in found.buckets] == [1, 0, 0]
    assert [each.completed for each in found.buckets] == [0, 0, 1]
    assert [each.waits is not None for each in found.buckets] == [False, True, False]
    assert (found.arrived, found.ended) == (1, 1)
    assert found.arrived_per_hour == pytest.approx(1 / 3)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.1, 1e5), st.sampled_from(ENDINGS), st.none() | st.floats(0, 1e4))
    ),
    st.floats(1, 1e5),
)
def test_the_buckets_sum_to_the_whole(
    made: list[tuple[float, str, float | None]], bucket_s: float
) -> None:
    """Whatever the runs: what is counted in parts is what is counted in all."""
    runs = runs_of(
        [each[0] for each in made], status=[each[1] for each in made], waits_s=[e[2] for e in made]
    )
    to_s = START_S + 2e5
    found = throughput(runs, START_S, to_s, bucket_s)
    assert sum(each.arrived for each in found.buckets) == found.arrived
    ends = [each.completed + each.failed + each.other for each in found.buckets]
    assert sum(ends) == found.ended
    assert found.ended == int((runs.ended_at_s < to_s).sum())
    assert len(found.buckets) <= MOST_BUCKETS + 1
    dumped(found)


def test_those_that_are_not_over_have_come_too() -> None:
    """They count as arrived and not as ended."""
    open_s = np.array([START_S + 1.0, START_S + 2.0, START_S - 1.0])
    found = throughput(runs_of([1.0]), START_S, START_S + 10, 10, open_s)
    assert (found.arrived, found.ended) == (3, 1)


def test_waits_that_grow_are_said_to_grow() -> None:
    """From bucket to bucket, by their medians; with too few buckets nothing is said."""
    waits: list[float | None] = [10.0 + place for place in range(100)]
    runs = runs_of([1.0] * 100, apart_s=60, waits_s=waits)
    assert throughput(runs, START_S, START_S + 6_000, 600).waits_trend == 1
    assert throughput(runs, START_S, START_S + 6_000, 3_000).waits_trend is None


def test_no_runs_and_no_time_give_no_rates() -> None:
    """An empty period is answered all the same."""
    found = throughput(NONE, START_S, START_S, 60)
    assert (found.buckets, found.arrived_per_hour, found.success, found.waits) == ((),) + (
        None,
    ) * 3


@given(st.integers(0, 500), st.integers(0, 500))
def test_wilsons_interval_holds_the_share(completed: int, failed: int) -> None:
    """It lies within 0 and 1, and is there whenever there are runs."""
    found = success_rate(completed, failed)
    if not completed + failed:
        assert found is None
        return
    assert found is not None
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_wilsons_interval_is_the_published_one() -> None:
    """81 of 263: 0.2553 to 0.3662 (Newcombe, Statist. Med. 17 (1998) 857, table I)."""
    found = success_rate(81, 263 - 81)
    assert found is not None
    assert (found.low, found.high) == (
        pytest.approx(0.2553, abs=5e-5),
        pytest.approx(0.3662, abs=5e-5),
    )


# --- capacity ----------------------------------------------------------------------------------


def poisson(rate_per_s: float, mean_s: float, count: int, places: int) -> tuple[Runs, float]:
    """Runs through a queue with so many places; and the end of the time in which they came."""
    random = np.random.default_rng(11)
    arrived = np.cumsum(random.exponential(1 / rate_per_s, count))
    took = random.exponential(mean_s, count)
    free, rows, waits = [0.0] * places, [], []
    for at_s, took_s in zip(arrived.tolist(), took.tolist(), strict=True):
        place = min(range(places), key=free.__getitem__)
        began_s = max(at_s, free[place])
        free[place] = began_s + took_s
        rows.append((began_s, took_s))
        waits.append(began_s - at_s)
    made = runs_of([each[1] for each in rows], waits_s=waits)
    began = START_S + np.array([each[0] for each in rows])
    ended = START_S + np.array([each[0] + each[1] for each in rows])
    found = dataclasses.replace(made, started_at_s=began, ended_at_s=ended)
    return found, START_S + float(arrived[-1])


@pytest.mark.parametrize(
    ("load", "places", "published"),
    [(1.0, 2, 1 / 3), (2.0, 3, 4 / 9), (0.5, 1, 0.5), (5.0, 5, 1.0)],
)
def test_erlangs_formula_is_the_published_one(load: float, places: int, published: float) -> None:
    """The share that waits; all do from a load of all places on."""
    assert erlang_c(load, places) == pytest.approx(published)


def test_one_place_waits_as_m_m_1_does() -> None:
    """`u/(1-u)·S`; and without end from a load of 1 on."""
    assert wait_s(0.8, 1, 10.0, 1.0) == pytest.approx(40.0)
    assert wait_s(0.8, 1, 10.0, 0.5) == pytest.approx(20.0)
    assert wait_s(1.0, 1, 10.0, 1.0) is None
    assert erlang_c(900.0, 1_000) < 0.01


def test_a_simulated_queue_is_as_the_formula_says() -> None:
    """Three places, 70 in 100 of them busy: utilisation, waits and what more fits."""
    runs, end_s = poisson(0.21, 10.0, 20_000, 3)
    found = capacity(runs, START_S, end_s, places=3)
    assert found.utilisation == pytest.approx(0.7, abs=0.03)
    assert found.busy == pytest.approx(2.1, abs=0.1)
    assert found.expected_wait_s == pytest.approx(found.mean_wait_s, rel=0.2)
    assert found.more_per_hour == pytest.approx((0.8 - 0.7) * 3 / 10 * HOUR_S, rel=0.4)
    assert (found.most_busy, found.is_queue_growing) == (3, False)
    seen = capacity(runs, START_S, end_s)
    assert (seen.places, seen.are_places_seen) == (3, True)


def test_a_queue_that_grows_is_seen() -> None:
    """What comes and is not over makes the difference."""
    runs = runs_of([10.0] * 100, apart_s=10)
    open_s = START_S + np.arange(100) * 10.0
    found = capacity(runs, START_S, START_S + 1_000, places=1, open_arrived_s=open_s)
    assert found.is_queue_growing is True
    assert found.queue_growth_per_hour == pytest.approx(360, rel=0.02)
    assert found.utilisation == pytest.approx(2.0)
    assert found.expected_wait_s is None
    assert (found.more_per_hour or 0) < 0


@pytest.mark.parametrize("count", [0, 1, 19])
def test_nothing_is_concluded_from_few_runs(count: int) -> None:
    """With fewer than twenty there is no utilisation, and nothing that follows from it."""
    found = capacity(runs_of([1.0] * count), START_S, START_S + 100)
    assert isinstance(found, Capacity)
    concluded = (found.utilisation, found.more_per_hour, found.expected_wait_s)
    assert concluded == (None, None, None)
    dumped(found)


# --- comparison --------------------------------------------------------------------------------


def test_a_ratio_is_found_with_its_interval() -> None:
    """A second side that takes half as long again is worse, by that much."""
    random = np.random.default_rng(1)
    before, after = np.exp(random.normal(3, 0.4, 300)), 1.5 * np.exp(random.normal(3, 0.4, 300))
    found = ratio(before, after, 0.001)
    assert found.ratio == pytest.approx(1.5, rel=0.1)
    assert (found.low or 0) < 1.5 < (found.high or 0)
    assert (found.p_value or 1) < 1e-6
    assert found.verdict == "worse"
    assert ratio(after, before, 0.001).verdict == "better"


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Nineteen in twenty times, of 400 pairs of sides that are in truth alike."""
    random = np.random.default_rng(5)
    inside = 0
    for _ in range(400):
        found = ratio(np.exp(random.normal(0, 1, 20)), np.exp(random.normal(0, 1, 25)), 1e-9)
        inside += (found.low or 0) <= 1 <= (found.high or 0)
    assert 0.92 <= inside / 400 <= 0.98


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), max_size=30), st.lists(st.floats(0, 1e6), max_size=30))
def test_two_sides_turned_round_have_the_inverse_ratio(
    before: list[float], after: list[float]
) -> None:
    """And the other verdict; the order of values is nothing; JSON can say all of it."""
    one = ratio(np.array(before), np.array(after), 0.001)
    other = ratio(np.array(after), np.array(before), 0.001)
    if one.ratio is None or other.ratio is None:
        assert min(len(before), len(after)) < 8
    else:
        assert one.ratio * other.ratio == pytest.approx(1, rel=1e-6)
        turned = {"better": "worse", "worse": "better", "alike": "alike"}
        assert one.verdict is not None
        assert other.verdict == turned[one.verdict]
        mixed = ratio(np.array(before[::-1]), np.array(sorted(after)), 0.001)
        assert mixed.ratio == pytest.approx(one.ratio)
    dumped(one)


def test_sides_that_are_all_the_same_are_alike() -> None:
    """No spread at all is no reason to divide by nothing."""
    found = ratio(np.full(20, 3.0), np.full(20, 3.0), 0.001)
    assert (found.ratio, found.verdict, found.p_value) == (1.0, "alike", 1.0)
    assert ratio(np.full(20, 3.0), np.full(20, 3.01), 0.001).verdict == "alike"


def test_newcombes_interval_is_the_published_one() -> None:
    """56 of 70 and 48 of 80: 0.0524 to 0.3339 (Statist. Med. 17 (1998) 873, table II, a)."""
    found = failure_difference(80 - 48, 48, 70 - 56, 56)
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == (
        pytest.approx(0.0524, abs=5e-5),
        pytest.approx(0.3339, abs=5e-5),
    )
    assert found.verdict == "worse"


def test_a_release_is_compared_whole_and_by_step() -> None:
    """Durations, failures, CPU and memory; a step that only one side has is left out."""

    def steps(count: int, memory_bytes: int, name: str) -> list[PastStepRow]:
        common = (START_S * 1_000_000, 2.0, 1.0, memory_bytes, 0, 0, 0, None)
        return [
            PastStepRow(place, 1, each, "completed", *common)
            for place in range(count)
            for each in ("Load", name)
        ]

    random = np.random.default_rng(2)
    before = runs_of(np.exp(random.normal(3, 0.1, 60)).tolist(), status=["completed"] * 60)
    endings = ["failed" if place % 2 else "completed" for place in range(60)]
    after = runs_of((0.5 * np.exp(random.normal(3, 0.1, 60))).tolist(), status=endings)
    found = compare(side(before, steps(60, 1_000, "Old")), side(after, steps(60, 3_000, "New")))
    assert (found.duration.verdict, found.failures.verdict) == ("better", "worse")
    assert found.verdict == "worse"
    assert found.memory.ratio == pytest.approx(3.0)
    assert found.cpu.verdict == "better"
    assert [each.step for each in found.steps] == ["Load"]
    assert found.steps[0].memory.verdict == "worse"
    assert found.steps[0].duration.verdict == "alike"
    dumped(found)


def test_two_empty_sides_have_no_verdict() -> None:
    """And say why."""
    found = compare(side(NONE), side(NONE))
    assert found.verdict is None
    assert found.duration.reason.startswith("too few")
    assert math.isclose(found.failures.before_runs, 0)
