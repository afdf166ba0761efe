"""The statistics beneath the analytics, held to SciPy's and to what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from fiveobs.monitor.analytics.columns import Floats
from fiveobs.monitor.analytics.rates import more_often, wilson
from fiveobs.monitor.analytics.robust import (
    cliffs_delta,
    corrected,
    grouped_median,
    rise_of,
    robust_scale,
    shift,
)
from fiveobs.monitor.analytics.slopes import block_medians, slope_of

numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))


def samples(least: int = 1) -> st.SearchStrategy[Floats]:
    return arrays(np.float64, st.integers(least, 40), elements=numbers)


# --- medians and effect sizes ------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 5), numbers), max_size=60))
def test_grouped_medians_are_the_medians_of_the_groups(pairs: list[tuple[int, float]]) -> None:
    """And NaN of a group without values."""
    groups = np.array([group for group, _ in pairs], dtype=np.int64)
    values = np.array([value for _, value in pairs], dtype=np.float64)
    found = grouped_median(groups, values, 6)
    for group in range(6):
        own = values[groups == group]
        assert found[group] == np.median(own) if len(own) else np.isnan(found[group])


@given(samples(), samples())
def test_cliffs_delta_counts_all_pairs(before: Floats, after: Floats) -> None:
    """Those in which the later is larger, less those in which it is smaller."""
    signs = np.sign(after[:, None] - before[None, :])
    assert cliffs_delta(before, after) == pytest.approx(signs.mean())


@given(samples(), samples())
def test_a_shift_is_the_median_difference_of_all_pairs(before: Floats, after: Floats) -> None:
    """Hodges and Lehmann's; backwards it is the same with the other sign."""
    every = after[:, None] - before[None, :]
    assert shift(before, after) == pytest.approx(np.median(every))
    assert shift(after, before) == pytest.approx(-shift(before, after))


def test_a_shift_of_large_samples_is_that_of_some_of_their_values() -> None:
    """Of 20,000 values each it is as exact as the samples are, and costs 90,000 differences."""
    chance = np.random.default_rng(1)
    before, after = chance.normal(0, 1, 20_000), chance.normal(0.5, 1, 20_000)
    assert shift(before, after) == pytest.approx(0.5, abs=0.03)


def test_the_scale_of_a_normal_sample_is_its_standard_deviation() -> None:
    """One value in ten may be absurd."""
    values = np.random.default_rng(1).normal(0, 3, 10_000)
    assert robust_scale(values) == pytest.approx(3, rel=0.05)
    values[::10] = 1e9
    assert robust_scale(values) == pytest.approx(3.6, rel=0.15)
    assert robust_scale(np.empty(0)) == 0


def test_a_p_value_is_corrected_for_what_else_was_looked_at() -> None:
    """So many times as large, and never above 1."""
    assert corrected(0.01, 20) == pytest.approx(0.2)
    assert corrected(0.2, 20) == 1
    assert corrected(0.2, 0) == 0.2


# --- a rise ------------------------------------------------------------------------------------


@given(samples(10), st.floats(1.5, 100), st.floats(-100, 100))
def test_a_rise_does_not_depend_on_the_unit(values: Floats, scale: float, offset: float) -> None:
    """It is found by ranks: what keeps the order keeps the place."""
    rounded = np.round(values)  # so that scaling cannot make two equal
    assert rise_of(rounded, 2) == rise_of(rounded * scale + offset, 2)


def test_a_rise_is_found_where_it_is() -> None:
    """Within a few values of it, and surely."""
    values = np.random.default_rng(1).normal(0, 1, 400)
    values[300:] += 2
    found = rise_of(values, 20)
    assert found is not None
    assert abs(found.place - 300) <= 3
    assert found.p_value < 1e-12


def test_a_fall_is_no_rise() -> None:
    """What becomes smaller has no p-value to speak of."""
    found = rise_of(np.arange(200, 0, -1.0), 20)
    assert found is not None
    assert found.p_value > 0.5


def test_too_few_or_equal_values_rise_nowhere() -> None:
    """There have to be enough on both sides."""
    assert rise_of(np.arange(39.0), 20) is None
    assert rise_of(np.empty(0), 1) is None
    found = rise_of(np.ones(100), 20)
    assert found is not None
    assert found.p_value == 1


def test_a_rise_by_chance_is_as_rare_as_its_p_value_says() -> None:
    """Of 2,000 sequences without one fewer than 5% have a p-value below 5%."""
    chance = np.random.default_rng(7)
    found = [rise_of(chance.normal(0, 1, 100), 10) for _ in range(2_000)]
    p_values = np.array([each.p_value for each in found if each is not None])
    assert 0.01 < (p_values < 0.05).mean() <= 0.05


# --- slopes ------------------------------------------------------------------------------------


@given(samples(3))
def test_the_slope_is_theil_and_sen_s(values: Floats) -> None:
    """As SciPy has it, the test as SciPy's Kendall's tau in the large."""
    places = np.arange(len(values), dtype=np.float64)
    found = slope_of([(places, values)])
    assert found is not None
    assert found.slope == pytest.approx(stats.theilslopes(values, places).slope)
    assert found.low <= found.slope <= found.high
    assert 0 <= found.p_value <= 1


def test_the_test_of_a_slope_is_mann_s_and_kendall_s() -> None:
    """As SciPy's Kendall's tau but for the correction for continuity."""
    values = np.random.default_rng(3).normal(0, 1, 100) + np.arange(100) / 100
    found = slope_of([(np.arange(100.0), values)])
    assert found is not None
    expected = stats.kendalltau(np.arange(100), values, method="asymptotic").pvalue
    assert found.p_value == pytest.approx(expected, rel=0.05)


def test_the_interval_of_a_slope_has_it_19_times_in_20() -> None:
    """Of 400 lines with noise, at least 92% and at most 98%."""
    chance, places = np.random.default_rng(5), np.arange(50.0)
    hits = 0
    for _ in range(400):
        found = slope_of([(places, 2 * places + chance.normal(0, 5, 50))])
        assert found is not None
        hits += found.low <= 2 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_strata_have_levels_of_their_own() -> None:
    """Two that rise alike give that slope, however far one lies above the other."""
    places = np.arange(20.0)
    found = slope_of([(places, 3 * places), (places, 3 * places - 1_000)])
    assert found is not None
    assert found.slope == pytest.approx(3)
    assert found.p_value < 1e-9


def test_there_is_no_slope_without_two_places() -> None:
    """Of nothing, of one point, of many at the same place."""
    assert slope_of([]) is None
    assert slope_of([(np.ones(1), np.ones(1))]) is None
    assert slope_of([(np.ones(5), np.arange(5.0))]) is None


@given(samples(1), st.integers(1, 50))
def test_blocks_lose_no_level(values: Floats, blocks: int) -> None:
    """There are at most so many, in order, between the least and the most."""
    places = np.arange(len(values), dtype=np.float64)
    of_places, medians = block_medians(places, values, blocks)
    assert len(medians) == min(blocks, len(values))
    assert (np.diff(of_places) > 0).all()
    assert values.min() <= medians.min() <= medians.max() <= values.max()


# --- rates -------------------------------------------------------------------------------------


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_interval_of_a_share_is_wilson_s(one: int, two: int) -> None:
    """As SciPy has it; of nothing it is everything."""
    failed, count = min(one, two), max(one, two)
    found = wilson(failed, count)
    if count:
        expected = stats.binomtest(failed, count).proportion_ci(method="wilson")
        assert found.low == pytest.approx(expected.low, abs=1e-12)
        assert found.high == pytest.approx(expected.high, abs=1e-12)
    else:
        assert found == (0, 1)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=2, max_size=6))
def test_whether_a_group_fails_more_often_is_fisher_s_test(pairs: list[tuple[int, int]]) -> None:
    """As SciPy has it, one-sided, of each group against the rest."""
    failed, well = (np.array(each) for each in zip(*pairs, strict=True))
    found = more_often(failed, failed + well, int(failed.sum()), int((failed + well).sum()))
    for place, p_value in enumerate(found):
        others = [failed.sum() - failed[place], well.sum() - well[place]]
        table = [[failed[place], well[place]], others]
        assert p_value == pytest.approx(stats.fisher_exact(table, "greater").pvalue, abs=1e-9)
