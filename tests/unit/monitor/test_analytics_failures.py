"""What fails, and what those that fail have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiveobs.monitor.analytics.columns import Origin
from fiveobs.monitor.analytics.failures import FailureAnalysis, FailureRate, analyse_failures
from fiveobs.monitor.analytics.fingerprints import fingerprint
from tests.support.past_runs import HOUR_S, MONDAY_S, past, run_row, step_row

# --- fingerprints ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("row 7: 'x' is no number", "row <number>: <quoted> is no number"),
        ("took 1.5e3 s, at most -20", "took <number> s, at most <number>"),
        ("no file /var/data/part-7.csv, sorry", "no file <path>, sorry"),
        (r"no file C:\data\x.csv here", "no file <path> here"),
        ("job 123e8400-e29b-41d4-a716-446655440000 is gone", "job <uuid> is gone"),
        ("at 0x7f3a and deadbeef0123", "at <hex> and <hex>"),
        ("GET https://a.example/b?c=1 gave 503", "GET <url> gave <number>"),
        ("10.0.0.7:5432 refused", "<ip> refused"),
        ("since 2027-01-11T08:00:00Z", "since <time>"),
        ("mail to ann@example.org failed", "mail to <email> failed"),
        ("customer-1234 and worker_7 are unknown", "<id> and <id> are unknown"),
        ("\"a b\" is no 'c d'", "<quoted> is no <quoted>"),
        ("two\n  lines", "two lines"),
        ("it's over, don't try", "it<quoted>t try"),
        ("utf8 codec can't decode", "utf8 codec can't decode"),
    ],
)
def test_what_differs_from_case_to_case_is_left_out(message: str, expected: str) -> None:
    """Numbers, ids, addresses, paths, times and quoted values; words stay."""
    assert fingerprint("", message) == expected
    assert fingerprint("ValueError", message) == f"ValueError: {expected}"


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.uuids(), st.text("abcdef123", min_size=1))
def test_the_same_error_has_one_fingerprint(one: int, two: int, some: Any, name: str) -> None:
    """Whatever the numbers, ids and names in it."""
    message = "row {0} of '{2}' in /data/{2}.csv, batch {1}: expected {0}"
    found = {fingerprint("E", message.format(number, some, name)) for number in (one, two)}
    assert found == {"E: row <number> of <quoted> in <path>, batch <uuid>: expected <number>"}


@given(st.text(max_size=2_000))
def test_any_text_has_a_fingerprint_that_is_no_longer_than_needed(text: str) -> None:
    """Of bounded length, in bounded time, and always the same."""
    found = fingerprint("E", text)
    assert found == fingerprint("E", text)
    assert len(found) <= 5_000


def test_nothing_has_an_empty_fingerprint() -> None:
    """And a type alone has that."""
    assert fingerprint("", "") == ""
    assert fingerprint("KeyError", "") == "KeyError"


# --- groups ------------------------------------------------------------------------------------


def test_errors_are_grouped_by_what_they_have_in_common() -> None:
    """The most frequent first: how many, when, the last message, and the last jobs."""
    rows = [
        run_row(key, MONDAY_S + key, error_type="ValueError", error_message=f"row {key} is odd")
        for key in range(8)
    ]
    rows += [run_row(8, MONDAY_S + 8, status="lost"), run_row(9), run_row(10, status="stopped")]
    found = analyse_failures(*past(rows))
    assert (found.run_count, found.failed_count) == (10, 9)
    first, second = found.groups
    assert (first.fingerprint, first.count) == ("ValueError: row <number> is odd", 8)
    assert first.share == pytest.approx(8 / 9)
    assert (first.first_seen_at_s, first.last_seen_at_s) == (MONDAY_S, MONDAY_S + 7)
    assert (first.message, first.job_ids[0], len(first.job_ids)) == ("row 7 is odd", "job-7", 5)
    assert (second.fingerprint, second.error_type) == ("lost", "lost")
    assert first.group_id != second.group_id
    assert analyse_failures(*past(rows[:3])).groups[0].group_id == first.group_id


def test_the_same_words_of_another_type_are_another_error() -> None:
    """As are other words of the same type."""
    errors = [("A", "gone"), ("B", "gone"), ("A", "full")]
    rows = [
        run_row(n, error_type=kind, error_message=text) for n, (kind, text) in enumerate(errors)
    ]
    assert len(analyse_failures(*past(rows)).groups) == 3


# --- rates and suspects ------------------------------------------------------------------------


def history(fails: Any, *, count: int = 1_200, releases: int = 4, seed: int = 1) -> FailureAnalysis:
    """Runs of some releases, one after the other, on six workers of three machines.

    Args:
        fails: The probability with which a run fails, of its number, worker and release.
        count: How many runs.
        releases: How many releases.
        seed: Of what is drawn.
    """
    chance, rows, origins = np.random.default_rng(seed), [], {}
    for number in range(count):
        worker, release = int(chance.integers(0, 6)), number * releases // count
        key = release * 10 + worker
        origins[key] = Origin(f"w{worker}", f"m{worker % 3}", f"1.{release}")
        is_failed = chance.random() < fails(number, worker, release)
        error = {"error_type": "E", "error_message": f"no {number}"} if is_failed else {}
        rows.append(run_row(number, MONDAY_S + number * HOUR_S, worker_key=key, **error))
    return analyse_failures(*past(rows, origins=origins))


def rate_of(found: FailureAnalysis, dimension: str, value: str) -> FailureRate:
    (rate,) = [each for each in found.rates if (each.dimension, each.value) == (dimension, value)]
    return rate


def test_a_release_that_fails_more_often_is_the_suspect() -> None:
    """It alone: its runs explain why their workers and machines look worse."""
    found = history(lambda _number, _worker, release: 0.25 if release == 2 else 0.03)
    (suspect,) = found.suspects
    assert (suspect.dimension, suspect.value, suspect.count) == ("release", "1.2", 300)
    assert suspect.share == pytest.approx(0.25, abs=0.06)
    assert suspect.other_share == pytest.approx(0.03, abs=0.02)
    assert suspect.difference == pytest.approx(suspect.share - suspect.other_share)
    assert suspect.ratio == pytest.approx(suspect.share / suspect.other_share)
    assert suspect.first_seen_at_s == MONDAY_S + 600 * HOUR_S


def test_a_machine_that_fails_more_often_is_the_suspect() -> None:
    """And none of its two workers, which fail no more often than it."""
    found = history(lambda _number, worker, _release: 0.3 if worker % 3 == 1 else 0.02)
    assert [(each.dimension, each.value) for each in found.suspects] == [("machine", "m1")]


def test_two_causes_are_two_suspects() -> None:
    """The second is looked for among the runs that the first does not explain."""
    found = history(
        lambda _n, worker, release: 0.4 if release == 1 else 0.3 if worker == 5 else 0.02
    )
    assert {(each.dimension, each.value) for each in found.suspects} == {
        ("release", "1.1"),
        ("worker", "w5"),
    }


def test_failures_that_began_have_a_time_and_a_release() -> None:
    """The release whose first run was about then, if one was."""
    found = history(lambda _number, _worker, release: 0.25 if release == 3 else 0.03)
    assert found.onset is not None
    assert found.onset.began_at_s == pytest.approx(MONDAY_S + 900 * HOUR_S, abs=20 * HOUR_S)
    assert found.onset.release == "1.3"
    assert found.onset.before_count + found.onset.since_count == 1_200
    other = history(lambda number, _worker, _release: 0.25 if number > 750 else 0.03)
    assert other.onset is not None
    assert other.onset.release == ""


def test_failures_that_are_as_frequent_as_ever_accuse_nobody() -> None:
    """In 20 histories of 1,200 runs and 5% failures."""
    for seed in range(20):
        found = history(lambda _number, _worker, _release: 0.05, seed=seed)
        assert (found.suspects, found.onset) == ((), None)


def test_a_sure_but_small_difference_is_no_suspicion() -> None:
    """Four points more, of 20,000 runs: beyond chance, and below the five points that count."""
    found = history(lambda _n, _w, release: 0.05 if release == 1 else 0.01, count=20_000)
    assert rate_of(found, "release", "1.1").p_value < 1e-9
    assert found.suspects == ()


def test_rates_have_an_interval_and_a_test_against_the_rest() -> None:
    """Of each dimension, of every value that is known, most failing first."""
    found = history(lambda _number, worker, _release: 0.5 if worker == 0 else 0.0)
    rate = rate_of(found, "worker", "w0")
    assert found.rates[0] == rate
    assert rate.failed == found.failed_count
    assert rate.low < rate.share < rate.high
    assert rate.other_share == 0
    assert rate.p_value < 1e-9
    assert rate_of(found, "worker", "w1").p_value == 1
    assert [each.value for each in found.suspects] == ["w0"]
    assert found.suspects[0].ratio is None


def test_who_is_tried_again_and_which_step_fails_is_counted_and_not_accused() -> None:
    """Steps do different things, and a second attempt has failed before."""
    rows, steps = [], []
    for key in range(400):
        attempt = 2 if key % 4 == 0 else 1
        is_failed = attempt == 2 and key % 8 == 0
        error = {"error_type": "E", "error_message": "no"} if is_failed else {}
        rows.append(run_row(key, MONDAY_S + key, attempt=attempt, **error))
        status = "failed" if is_failed else "completed"
        steps += [
            step_row(key, "Load", attempt=attempt),
            step_row(key, "Save", attempt=attempt, status=status),
        ]
    found = analyse_failures(*past(rows, steps))
    assert (rate_of(found, "attempt", "2").share, rate_of(found, "attempt", "1").share) == (0.5, 0)
    assert rate_of(found, "step", "Save").failed == 50
    assert rate_of(found, "step", "Load").failed == 0
    assert found.suspects == ()


def test_what_everybody_has_is_not_tested_against_nobody() -> None:
    """With one worker there is no rest."""
    rows = [run_row(key, MONDAY_S + key, error_type="E") for key in range(30)]
    found = analyse_failures(*past(rows, origins={1: Origin("w")}))
    rate = rate_of(found, "worker", "w")
    assert (rate.share, rate.other_share, rate.p_value) == (1, None, 1)
    assert found.suspects == ()
