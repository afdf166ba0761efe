"""Predictions of durations and failures: in order, calibrated, and from the past alone."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiveobs.monitor.analytics.backtest import Trials, back_test, trials_of
from fiveobs.monitor.analytics.calibration import (
    Answers,
    answers_of,
    brier,
    pinball,
    score,
    simple_answers,
)
from fiveobs.monitor.analytics.mixing import Mixing, Recalibration
from fiveobs.monitor.analytics.prediction import MIN_RUNS, Coming, predict
from tests.support.past_runs import runs_of

ENDINGS = ("completed", "completed", "completed", "failed", "stopped")


def lognormal(count: int, seed: int, spread: float = 0.5) -> list[float]:
    random = np.random.default_rng(seed)
    return np.exp(random.normal(4.0, spread, count)).tolist()


# --- durations ---------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    took=st.lists(
        st.tuples(
            st.floats(0.001, 1e7), st.sampled_from(ENDINGS), st.none() | st.integers(0, 2**40)
        ),
        max_size=40,
    ),
    elapsed_s=st.floats(0, 1e7),
    size=st.none() | st.integers(0, 2**62),
)
def test_what_is_said_is_in_order(
    took: list[tuple[float, str, int | None]], elapsed_s: float, size: int | None
) -> None:
    """Low, usual and high never cross, nothing is negative, and JSON can say all of it."""
    runs = runs_of(
        [each[0] for each in took],
        status=[each[1] for each in took],
        sizes_bytes=[each[2] for each in took],
    )
    found = predict(runs, Coming(input_size_bytes=size, elapsed_s=elapsed_s))
    for interval in (found.duration, found.remaining):
        if interval is not None:
            assert 0 <= interval.low_s <= interval.usual_s <= interval.high_s
    if found.duration is not None:
        completed = [each[0] for each in took if each[1] == "completed"]
        assert found.duration.high_s <= max(completed) * (1 + 1e-9)
        assert found.duration.low_s >= elapsed_s
    assert found.failure_probability is None or 0 <= found.failure_probability <= 1
    json.dumps(dataclasses.asdict(found), allow_nan=False)


@pytest.mark.parametrize("count", [0, 1, MIN_RUNS - 1])
def test_nothing_is_said_of_few_runs(count: int) -> None:
    """Fewer than five past runs say nothing."""
    found = predict(runs_of([10.0] * count))
    assert (found.duration, found.remaining, found.failure_probability) == (None, None, None)
    assert (found.completed_runs, found.calibration.coverage) == (count, None)


def test_runs_that_are_all_alike_are_predicted_to_the_second() -> None:
    """Their interval has no width, and every run lies in it."""
    found = predict(runs_of([30.0] * 50))
    assert found.duration is not None
    assert found.duration.low_s == pytest.approx(30)
    assert found.duration.high_s == pytest.approx(30)
    assert found.calibration.coverage == 1


@pytest.mark.parametrize("spread", [0.1, 0.5, 1.0])
def test_the_interval_holds_eight_in_ten(spread: float) -> None:
    """Of a known distribution, whatever its width; and so says the back-test."""
    took_s = lognormal(1_500, 7, spread)
    found = predict(runs_of(took_s[:1_100]))
    assert found.calibration.coverage == pytest.approx(0.8, abs=0.05)
    assert found.duration is not None
    later = np.array(took_s[1_100:])
    within = (later >= found.duration.low_s) & (later <= found.duration.high_s)
    assert within.mean() == pytest.approx(0.8, abs=0.1)
    assert found.duration.usual_s == pytest.approx(np.exp(4.0), rel=spread / 2)


def test_predictions_beat_what_is_simple() -> None:
    """Both baselines, at both quantiles, where durations have a spread and sizes tell of them."""
    random = np.random.default_rng(3)
    sizes = np.exp(random.normal(12.0, 1.0, 800))
    took_s = sizes / 1_000 * np.exp(random.normal(0.0, 0.2, 800))
    found = predict(runs_of(took_s.tolist(), sizes_bytes=sizes.astype(int).tolist()))
    ours = found.calibration
    assert ours.pinball_p50_s is not None
    assert ours.pinball_p90_s is not None
    for name in ("mean", "last"):
        theirs = found.simple[name]
        assert theirs.runs == ours.runs
        assert ours.pinball_p50_s < (theirs.pinball_p50_s or 0)
        assert ours.pinball_p90_s < (theirs.pinball_p90_s or 0)


def test_nothing_is_foreseen_that_was_never_seen() -> None:
    """However runs have grown or varied, high is no more than the longest that is known."""
    random = np.random.default_rng(6)
    for took_s in (1.02 ** np.arange(400), np.exp(random.normal(0, 5, 400))):
        found = predict(runs_of(took_s.tolist())).duration
        assert found is not None
        assert found.high_s <= took_s[-100:].max() * (1 + 1e-9)
        assert found.low_s >= took_s[-100:].min() * (1 - 1e-9)


def test_a_run_is_predicted_by_those_of_its_size() -> None:
    """Small inputs take a second and large ones a hundred: each is predicted by its like."""
    runs = runs_of([1.0, 100.0] * 100, sizes_bytes=[10, 1_000_000] * 100)
    for size, took_s in ((10, 1.0), (1_000_000, 100.0)):
        found = predict(runs, Coming(input_size_bytes=size)).duration
        assert found is not None
        assert found.usual_s == pytest.approx(took_s)


def test_a_new_release_is_believed_soon() -> None:
    """After a few runs of a release that takes twice as long, so does what is predicted."""
    runs = runs_of([10.0] * 60 + [20.0] * 6, releases=["1"] * 60 + ["2"] * 6)
    found = predict(runs).duration
    assert found is not None
    assert found.usual_s == pytest.approx(20)
    before = predict(runs, Coming(release="1")).duration
    assert before is not None
    assert before.usual_s == pytest.approx(10)
    assert predict(runs, Coming(release="3")).duration is not None


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(12)))
def test_the_order_in_which_rows_come_is_nothing(order: list[int]) -> None:
    """Runs are put in the order of time first."""
    runs = runs_of(lognormal(12, 1))
    mixed = runs.where(np.array(order))
    again = mixed.where(np.argsort(mixed.started_at_s))
    assert predict(again) == predict(runs)


# --- while it runs -----------------------------------------------------------------------------


def test_a_run_that_goes_on_is_predicted_by_longer_ones() -> None:
    """Whoever was done by now is left out, and the rest is what is left of the whole."""
    runs = runs_of([10.0] * 40 + [100.0] * 20)
    early, late = predict(runs), predict(runs, Coming(elapsed_s=50))
    assert early.duration is not None
    assert late.duration is not None
    assert late.remaining is not None
    assert late.duration.low_s == pytest.approx(100)
    assert late.remaining.usual_s == pytest.approx(50)


def test_a_run_longer_than_nearly_all_has_no_estimate() -> None:
    """With fewer than three past runs that took longer, nothing is said of its end."""
    found = predict(runs_of([*map(float, range(1, 41))]), Coming(elapsed_s=38))
    assert (found.duration, found.remaining) == (None, None)


def test_what_is_said_while_runs_go_on_is_judged_too() -> None:
    """At the moment at which their usual duration had passed; the interval holds eight in ten."""
    found = predict(runs_of(lognormal(1_000, 5)))
    assert 300 < found.during.runs < 700
    assert found.during.coverage == pytest.approx(0.8, abs=0.08)
    assert found.during.brier is None


# --- failures ----------------------------------------------------------------------------------


def test_the_probability_of_failure_is_near_the_rate() -> None:
    """Where three in ten fail, and nothing else tells which."""
    random = np.random.default_rng(2)
    status = ["failed" if each < 0.3 else "completed" for each in random.random(600)]
    found = predict(runs_of([5.0] * 600, status=status))
    assert found.failure_probability == pytest.approx(0.3, abs=0.15)
    assert found.calibration.brier == pytest.approx(0.21, abs=0.03)
    assert found.calibration.brier <= (found.simple["mean"].brier or 0)


def test_a_bad_time_is_noticed() -> None:
    """Ten failures after hundreds that went well make the next one probable."""
    status = ["completed"] * 300 + ["failed"] * 10
    found = predict(runs_of([5.0] * 310, status=status))
    assert (found.failure_probability or 0) > 0.5


def test_who_fails_early_is_past_it() -> None:
    """A run that goes on when those that fail are over is not likely to fail any more."""
    status = (["failed"] + ["completed"] * 3) * 50
    took_s = ([1.0] + [60.0] * 3) * 50
    runs = runs_of(took_s, status=status)
    now, later = predict(runs), predict(runs, Coming(elapsed_s=30))
    assert (later.failure_probability or 0) < (now.failure_probability or 0) / 4


def test_who_was_stopped_neither_failed_nor_succeeded() -> None:
    """Stopped and cancelled runs change nothing that is said."""
    took_s = lognormal(40, 4)
    plain = predict(runs_of(took_s, apart_s=1_000.0))
    mixed = [value for each in took_s for value in (each, 3.0)]
    status = ["completed", "stopped"] * 40
    assert predict(runs_of(mixed, status=status, apart_s=500.0)) == plain


# --- the back-test -----------------------------------------------------------------------------


def trials(asked_s: list[float], took_s: list[float]) -> Trials:
    count = len(asked_s)
    return Trials(
        asked_at_s=np.array(asked_s),
        ended_at_s=np.array(asked_s) + np.array(took_s),
        duration_s=np.array(took_s),
        is_completed=np.ones(count, np.bool_),
        is_failed=np.zeros(count, np.bool_),
        groups=np.zeros((count, 1), np.int64),
        features=np.empty((count, 0)),
    )


def test_only_what_had_ended_is_known() -> None:
    """Runs that were still under way, or ended at that very moment, are not."""
    found, _ = back_test(trials([0.0, 1.0, 10.0, 10.5], [10.0, 1.5, 1.0, 1.0]))
    said = {each.place: each.forecast for each in found}
    assert said[0].interval() is None
    assert said[1].interval() is None
    only = said[2].interval()  # the first ends at 10, too: it is not known yet
    assert only is not None
    assert (only.usual_s, only.runs) == (pytest.approx(1.5), 1)
    assert len(said[3].known) == 2


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 200), st.floats(0.1, 1e6))
def test_what_comes_later_changes_nothing_that_was_said(place: int, other_s: float) -> None:
    """A forecast is the same whatever the run, and those after it, then do."""
    took_s = lognormal(60, 9)
    place %= 60
    changed = [*took_s[:place], *(other_s for _ in took_s[place:])]
    asked_s = [1e7 * number for number in range(60)]
    answers = [
        answers_of(each, back_test(each)[0]).duration_s
        for each in (trials(asked_s, took_s), trials(asked_s, changed))
    ]
    assert np.array_equal(answers[0][: place + 1], answers[1][: place + 1], equal_nan=True)


def test_simple_answers_are_the_mean_and_the_last() -> None:
    """Of the runs that had ended, ten at most."""
    given_ = trials([100.0 * number for number in range(13)], [float(n) for n in range(1, 14)])
    found = simple_answers(given_, 0)
    assert found["mean"].duration_s[12, 1] == pytest.approx(np.mean(range(3, 13)))
    assert found["last"].duration_s[12, 1] == 12
    assert found["spread"].duration_s[12, 1] == pytest.approx(7.5)
    assert np.isnan(found["last"].duration_s[0]).all()
    assert found["mean"].failure[12] == 0


def test_trials_are_asked_about_when_runs_began() -> None:
    """A group for each release, and one of all; the feature is the logarithm of the size."""
    runs = runs_of([1.0, 2.0, 3.0], sizes_bytes=[10, None, 0], releases=["b", "a", "b"])
    found = trials_of(runs)
    assert found.asked_at_s.tolist() == runs.started_at_s.tolist()
    assert found.groups.tolist() == [[1, 0], [0, 0], [1, 0]]
    assert found.features[0, 0] == pytest.approx(np.log(10))
    assert np.isnan(found.features[1:]).all()
    assert trials_of(runs_of([1.0])).groups.tolist() == [[0]]


# --- losses ------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from([0.1, 0.5, 0.9]))
def test_the_pinball_loss_is_least_at_the_quantile(values: list[float], probability: float) -> None:
    """No value loses less than an empirical quantile of that probability."""
    outcome = np.array(values)
    best = np.quantile(outcome, probability, method="inverted_cdf")
    least = pinball(outcome, best, probability).mean()
    others = [pinball(outcome, np.float64(each), probability).mean() for each in [*values, 0.0]]
    assert least <= min(others) + 1e-6


def test_losses_are_as_their_formulas_have_them() -> None:
    """Half the error at the median; nine times as much above the 90th percentile as below it."""
    outcome = np.array([10.0])
    assert pinball(outcome, np.array([8.0]), 0.5).tolist() == [1.0]
    assert pinball(outcome, np.array([0.0]), 0.9).tolist() == [9.0]
    assert pinball(outcome, np.array([20.0]), 0.9).tolist() == [pytest.approx(1.0)]
    assert brier(np.array([True, False]), np.array([0.75, 0.5])).tolist() == [0.0625, 0.25]


def test_a_score_counts_only_what_was_said() -> None:
    """Runs of which nothing was said are not judged."""
    given_ = trials([0.0, 100.0, 200.0], [5.0, 5.0, 50.0])
    said = np.array([[np.nan] * 3, [4.0, 5.0, 6.0], [4.0, 5.0, 6.0]])
    found = score(given_, Answers(duration_s=said, failure=np.array([np.nan, 0.5, 0.0])))
    assert (found.runs, found.coverage, found.pinball_p50_s) == (2, 0.5, 11.25)
    assert (found.judged_runs, found.brier) == (2, 0.125)


# --- learning ----------------------------------------------------------------------------------


def test_an_expert_that_is_wrong_loses_its_say_but_never_all_of_it() -> None:
    """The right one gets nearly everything; who does not speak keeps what it had."""
    mixing, awake = Mixing(3), np.array([True, True, False])
    for _ in range(500):
        weights = mixing.weights(awake)
        mixing.learn(awake, weights, np.array([1.0, 0.0, 0.0]), float(weights[0]))
    found = mixing.weights(np.ones(3, np.bool_))
    assert found.sum() == pytest.approx(1)
    assert found[1] > found[2] > found[0] > 0
    assert mixing.weights(awake)[1] > 0.99


def test_probabilities_are_set_further_out_where_tails_are_fat() -> None:
    """Outcomes that lie outside more often than said move the interval outwards, to a bound."""
    found = Recalibration(0.1)
    for place in range(400):
        probability = (0.02, 0.5, 0.98)[place % 3]
        found.learn(probability, probability)
    assert found.probabilities().tolist() == pytest.approx([0.02, 0.5, 0.98])
    for _ in range(400):
        found.learn(1.0, 1.0)
    assert found.high == 1 - Recalibration.FURTHEST
