"""Estimates, trends and comparisons: what they rest on, and when there are none."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiveobs.monitor.store.rows import AttemptRow, JobRow, StageRow, WorkerRow
from fiveobs.monitor.tracking import human, trends
from fiveobs.monitor.tracking.benchmarks import compare, rank_of
from fiveobs.monitor.tracking.estimates import estimate, plan_stages, prediction_accuracy
from fiveobs.monitor.tracking.history import History, PastRun
from fiveobs.monitor.tracking.human import US
from fiveobs.monitor.tracking.queueing import begins_s, queue_estimate, rests_of, system_health
from fiveobs.monitor.tracking.tracked import Tracked

NOW_US = 1_800_000_000 * US


def row(kind: Any, **known: Any) -> Any:
    return kind(**{**dict.fromkeys(kind._fields), **known})


def history(*durations_s: float, stages: dict[str, float] | None = None) -> History:
    runs = [PastRun(job_key=0, duration_s=each, stages=stages or {}) for each in durations_s]
    return History(runs=tuple(runs))


def running(
    elapsed_s: float,
    *,
    percent: float | None = None,
    past: History | None = None,
    planned: str | None = None,
    stages: tuple[StageRow, ...] = (),
    status: str = "running",
    **known: Any,
) -> Tracked:
    started_us = NOW_US - round(elapsed_s * US)
    names = {"job_key": 1, "job_id": "j", "job_name": "n", "service": "s", "attempt": 1}
    times = {"created_at_us": started_us, "started_at_us": started_us, "updated_at_us": NOW_US}
    attempt = row(AttemptRow, percent=percent, planned_stages=planned, **known)
    return Tracked(
        job=row(JobRow, status=status, **names, **times),
        attempt=attempt,
        stages=stages,
        history=past or History(),
        now_us=NOW_US,
    )


def stage(name: str, index: int, elapsed_s: float, **known: Any) -> Any:
    known = {"status": "running", **known}
    started_us = NOW_US - round(elapsed_s * US)
    return row(StageRow, stage=name, stage_index=index, started_at_us=started_us, **known)


def test_without_progress_and_past_there_is_no_estimate() -> None:
    """Nothing is invented."""
    assert estimate(running(10)) is None
    assert estimate(running(10, percent=0.5)) is None
    assert estimate(running(10, past=history(1, 2, 3, 4))) is None


def test_progress_alone_is_a_proportion_without_an_interval() -> None:
    """A quarter took 10 s: the rest takes 30 s; how sure that is cannot be known."""
    found = estimate(running(10, percent=25))
    assert found is not None
    assert (found.method, found.remaining_s, found.low_s, found.runs) == ("progress", 30, None, 0)


def test_history_alone_counts_runs_that_took_longer() -> None:
    """What is left is what was left in past runs at this point, those that had ended left out."""
    found = estimate(running(25, past=history(10, 20, 30, 40, 50)))
    assert found is not None
    assert (found.method, found.remaining_s, found.runs) == ("history", 15, 3)
    assert found.low_s is not None
    assert found.high_s is not None
    assert found.low_s <= found.remaining_s <= found.high_s


def test_a_run_longer_than_all_before_has_no_estimate() -> None:
    """The past says nothing of a run that is longer than it."""
    assert estimate(running(100, past=history(10, 20, 30, 40, 50))) is None


@settings(deadline=None)
@given(
    elapsed_s=st.floats(1, 1e5),
    percent=st.floats(1, 99.9),
    durations=st.lists(st.floats(0.1, 1e6), min_size=5, max_size=100),
)
def test_estimates_lie_in_their_interval(
    elapsed_s: float, percent: float, durations: list[float]
) -> None:
    """Never below nothing, never outside of low and high."""
    found = estimate(running(elapsed_s, percent=percent, past=history(*durations)))
    assert found is not None
    assert found.remaining_s >= 0
    if found.low_s is not None and found.high_s is not None:
        slack = 1e-6 * (1 + found.high_s)
        assert found.low_s - slack <= found.remaining_s <= found.high_s + slack


def test_progress_outweighs_the_past_as_it_grows() -> None:
    """At 1 percent the past decides, at 99 percent the job itself."""
    past = history(*[1000.0] * 10)
    early = estimate(running(1, percent=1, past=past))
    late = estimate(running(99, percent=99, past=past))
    assert early is not None
    assert late is not None
    assert early.remaining_s == pytest.approx(990, abs=1)
    assert late.remaining_s == pytest.approx(10, abs=0.1)


def test_stages_add_up() -> None:
    """What is left of the running stage, and what the others usually take."""
    past = history(*[60.0] * 6, stages={"a": 10.0, "b": 20.0, "c": 30.0})
    first = stage("a", 1, 4.0, eta_s=6.0, updated_at_us=NOW_US)
    tracked = running(4, past=past, planned='["a","b","c"]', stages=(first,))
    found = estimate(tracked)
    assert found is not None
    assert (found.method, found.remaining_s, found.runs) == ("stages", 56.0, 6)
    plan = plan_stages(tracked, found)
    assert [each.stage.name for each in plan] == ["a", "b", "c"]
    ends = [(each.end_us - NOW_US) / US for each in plan]
    assert ends == [6.0, 26.0, 56.0]


def test_the_rest_is_split_where_no_stage_has_a_past() -> None:
    """Stages to come share what is left of the job."""
    first = stage("a", 1, 10.0, eta_s=10.0, updated_at_us=NOW_US)
    tracked = running(10, percent=20, planned='["a","b","c"]', stages=(first,))
    plan = plan_stages(tracked, estimate(tracked))
    assert [(each.end_us - NOW_US) / US for each in plan] == [10.0, 25.0, 40.0]


def test_percent_comes_from_stages_if_the_job_says_none() -> None:
    """Each stage counts as long as it usually takes; alike where that is not known."""
    done = stage("a", 1, 10.0, status="completed")
    half = stage("b", 2, 5.0, percent=50.0)
    past = history(*[60.0] * 5, stages={"a": 10.0, "b": 40.0})
    planned = '["a","b"]'
    assert running(10, planned=planned, stages=(done, half)).percent == 75
    assert running(10, planned=planned, stages=(done, half), past=past).percent == 60
    assert running(10).percent is None


@pytest.mark.parametrize("status", ["paused", "lost", "completed", "failed", "received"])
def test_only_running_jobs_have_an_estimate(status: str) -> None:
    """Nobody knows when a paused job goes on."""
    assert estimate(running(10, percent=50, status=status)) is None


def test_accuracy_is_a_back_test() -> None:
    """Each run is predicted by those before it; even runs are predicted well."""
    assert prediction_accuracy(history(*[10.0] * 14)) is None
    assert prediction_accuracy(history(*[10.0] * 15)) == 100
    uneven = [1.0, 1000.0] * 20
    found = prediction_accuracy(history(*uneven))
    assert found is not None
    assert found < 60


@settings(deadline=None)
@given(st.floats(0.1, 1e6), st.lists(st.floats(0.1, 1e6), min_size=5, max_size=100))
def test_comparisons_add_to_a_hundred(duration_s: float, others: list[float]) -> None:
    """Whole percents, never 99 or 101."""
    found = compare(duration_s, others)
    assert found is not None
    assert found.faster_than + found.similar_to + found.slower_than == 100
    assert min(found.faster_than, found.similar_to, found.slower_than) >= 0


def test_a_run_like_all_others_is_in_the_middle() -> None:
    """Neither the best nor the worst; half of those that took as long are slower."""
    assert rank_of(10.0, [10.0] * 20) == 50
    assert rank_of(9.9, [10.0] * 20) == 100
    assert rank_of(11.0, [10.0] * 15 + [12.0] * 5) == 25
    assert rank_of(10.0, [10.0] * 4) is None


def test_few_others_make_no_comparison() -> None:
    """Four runs are no population."""
    assert compare(1.0, [1.0] * 4) is None
    assert compare(None, [1.0] * 50) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0] * 7, None),
        ([1.0] * 8, 0),
        ([0.0] * 20, 0),
        ([float(each) for each in range(10)], 1),
        ([float(-each) for each in range(10)], -1),
        ([1000 + each / 10 for each in range(20)], 0),
        ([1.0, 9.0] * 10, 0),
    ],
    ids=["few", "same", "zero", "up", "down", "slight", "zigzag"],
)
def test_trends(values: list[float], expected: int | None) -> None:
    """Sure and large enough, or none; too few values say nothing."""
    assert trends.direction(values) == expected


def test_noise_is_seldom_called_a_trend() -> None:
    """About one series of chance in twenty, as the threshold says."""
    chance = random.Random(4)
    calls = [trends.direction([chance.gauss(100, 30) for _ in range(30)]) for _ in range(400)]
    assert sum(each != 0 for each in calls) / 400 < 0.09


def half_done(elapsed_s: float, status: str = "running") -> Tracked:
    """With as much left as it has run."""
    return running(elapsed_s, percent=50, percent_at_us=NOW_US, status=status)


def test_a_place_becomes_free_when_a_job_ends() -> None:
    """The first that waits follows the first that ends; the next after as long as such jobs take.

    It does not matter when somebody asks: what runs has less left then.
    """
    waiting = running(0, status="received", past=history(*[60.0] * 5))
    busy = [half_done(30), half_done(50)]
    starts = [queue_estimate(waiting, place, rests_of(busy)).start_us for place in range(1, 6)]
    assert [(each - NOW_US) / US for each in starts if each] == [30, 50, 90, 110, 150]
    found = queue_estimate(waiting, 1, rests_of(busy))
    assert found.completion_us is not None
    assert (found.completion_us - NOW_US) / US == 90


def test_a_queue_says_nothing_of_what_it_does_not_know() -> None:
    """Nothing runs, one that runs has no estimate, too many run, or there is no past."""
    waiting = running(0, status="received", past=history(*[60.0] * 5))
    assert queue_estimate(waiting, 4, rests_of([])).start_us is None
    assert queue_estimate(waiting, 4, rests_of(None)).start_us is None
    assert queue_estimate(waiting, 4, rests_of([half_done(10), running(10)])).start_us is None
    unknown = running(0, status="received")
    assert queue_estimate(unknown, 4, rests_of([half_done(10)])).start_us is None


@settings(deadline=None)
@given(
    st.integers(1, 60),
    st.lists(st.floats(0.0, 100.0), min_size=1, max_size=6),
    st.floats(0.5, 50.0),
)
def test_turns_are_counted_as_they_pass(position: int, rests_s: list[float], turn_s: float) -> None:
    """However far back, as if each one before had been followed on its way."""
    free_s = sorted(rests_s)
    for _ in range(position - 1):
        free_s = sorted([free_s[0] + turn_s, *free_s[1:]])
    assert begins_s(position, rests_s, turn_s) == pytest.approx(free_s[0])


def test_a_far_place_costs_no_more_than_a_near_one() -> None:
    """Whole turns are not followed one by one."""
    assert begins_s(10_000_001, [5.0, 5.0], 1.0) == 5_000_005


def test_a_queue_without_workers_is_poor() -> None:
    """However few wait; where nothing waits nothing is wrong."""
    assert system_health([], queued=1).queue_health == "Poor"
    assert system_health([], queued=0).queue_health == "Good"


def test_load_is_that_of_the_fullest() -> None:
    """CPU of a machine's workers adds up; memory is the machine's."""
    known = {"active_jobs": 1, "memory_used_bytes": 1, "memory_limit_bytes": 10}
    workers = [
        row(WorkerRow, machine_id="m", cpu_percent=80.0, cpu_count=4.0, **known) for _ in range(2)
    ]
    found = system_health(workers, queued=0)
    assert (found.overall_load, found.resource_availability) == (40, "High")
    assert (found.estimated_capacity, found.queue_health) == ("3 additional jobs", "Good")
    empty = system_health([], queued=50)
    assert (empty.overall_load, empty.estimated_capacity) == (None, None)
    assert empty.queue_health == "Poor"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (human.size(2_469_606_195), "2.3 GB"),
        (human.size(4 * 1024**3), "4.0 GB"),
        (human.size(890 * 1024**2), "890 MB"),
        (human.size(512), "512 bytes"),
        (human.duration(933), "15 minutes 33 seconds"),
        (human.duration(135), "2 minutes 15 seconds"),
        (human.duration(3661), "1 hour 1 minute 1 second"),
        (human.duration(0.25), "0.25 seconds"),
        (human.duration(0), "0 seconds"),
        (human.duration(0.0004), "0.4 milliseconds"),
        (human.rounded_duration(0.004), "4 milliseconds"),
        (human.duration_range(0.01, 0.02), "10-20 milliseconds"),
        (human.duration(float("inf")), None),
        (human.rate(float("inf"), None), None),
        (human.size(float("inf")), None),
        (human.rounded_duration(1110), "18.5 minutes"),
        (human.duration_range(1200, 1500), "20-25 minutes"),
        (human.rate(1250.4, None), "1250 records/second"),
        (human.rate(0.5, "images"), "0.5 images/second"),
        (human.percentile(85), "85th percentile"),
        (human.percentile(1), "1st percentile"),
        (human.percentile(12), "12th percentile"),
        (human.as_time(1_705_746_600_000_000), "2024-01-20T10:30:00Z"),
        (human.as_time(1_705_746_600_000_001), "2024-01-20T10:30:00.000001Z"),
        (human.size(None), None),
        (human.as_time(None), None),
    ],
)
def test_figures_for_people(value: str | None, expected: str | None) -> None:
    """Sizes, durations, rates, ranks and times as the published page writes them."""
    assert value == expected


@settings(deadline=None)
@given(st.integers(-(2**62), 2**62))
def test_any_time_can_be_written(at_us: int) -> None:
    """A time beyond the calendar is written as its end."""
    text = human.as_time(at_us)
    assert text is not None
    assert text.endswith("Z")


def test_the_interval_covers_most_of_what_happens() -> None:
    """Of runs like those before, about eight in ten end within the interval."""
    chance = random.Random(7)
    durations = [chance.lognormvariate(5, 0.3) for _ in range(100)]
    within = 0
    for _ in range(500):
        actual = chance.lognormvariate(5, 0.3)
        found = estimate(running(actual / 4, past=history(*durations)))
        assert found is not None
        assert found.low_s is not None
        assert found.high_s is not None
        within += found.low_s <= actual - actual / 4 <= found.high_s
    assert 0.7 < within / 500 < 0.9


def stages_of(*runs: dict[str, float]) -> History:
    past = (PastRun(job_key=0, duration_s=sum(each.values()), stages=each) for each in runs)
    return History(runs=tuple(past))


def test_the_interval_of_stages_covers_most_of_what_happens() -> None:
    """About eight in ten end within it, also when the last stage runs and nothing follows."""
    chance = random.Random(11)

    def run() -> dict[str, float]:
        return {name: chance.lognormvariate(4, 0.4) for name in ("a", "b")}

    past = stages_of(*(run() for _ in range(100)))
    within = {"a": 0, "b": 0}
    for name in within:
        for _ in range(300):
            actual = run()
            in_stage_s = actual[name] / 4
            rows = (stage("a", 1, 500.0, status="completed"),) if name == "b" else ()
            rows += (stage(name, 2, in_stage_s),)
            found = estimate(running(500, past=past, planned='["a","b"]', stages=rows))
            assert found is not None
            assert found.method == "stages"
            assert found.low_s is not None
            assert found.high_s is not None
            left_s = actual[name] - in_stage_s + (actual["b"] if name == "a" else 0.0)
            assert found.low_s <= found.remaining_s <= found.high_s
            within[name] += found.low_s <= left_s <= found.high_s
    assert all(0.7 < count / 300 < 0.92 for count in within.values()), within


def test_runs_of_an_estimate_by_stages_are_those_it_used() -> None:
    """Runs in which the running stage was over by now are not behind it."""
    past = stages_of(*({"a": 10.0 * number} for number in range(1, 11)))
    found = estimate(running(45, past=past, planned='["a"]', stages=(stage("a", 1, 45.0),)))
    assert found is not None
    assert (found.method, found.runs, found.remaining_s) == ("stages", 6, 30)


def test_a_count_has_the_spread_of_past_stages() -> None:
    """What a count leaves varies as the stage does; without a past there is no interval."""
    past = stages_of(*({"a": each} for each in (50.0, 80.0, 100.0, 120.0, 150.0)))
    counted = stage("a", 1, 50.0, eta_s=10.0, updated_at_us=NOW_US)
    found = estimate(running(50, past=past, planned='["a"]', stages=(counted,)))
    assert found is not None
    assert (found.remaining_s, found.runs) == (10, 5)
    assert (found.low_s, found.high_s) == (pytest.approx(6.2), pytest.approx(13.8))
    alone = estimate(running(50, planned='["a"]', stages=(counted,)))
    assert alone is not None
    assert (alone.remaining_s, alone.low_s, alone.high_s, alone.runs) == (10, None, None, 0)


@pytest.mark.parametrize(
    ("tracked", "expected"),
    [
        (running(25, percent=50, percent_at_us=NOW_US - 15 * US), None),
        (
            running(25, percent=50, percent_at_us=NOW_US - 20 * US, past=history(*[30.0] * 5)),
            ("history", 5),
        ),
        (
            running(
                60,
                planned='["a"]',
                stages=(stage("a", 1, 60.0, eta_s=10.0, updated_at_us=NOW_US - 20 * US),),
            ),
            None,
        ),
        (
            running(
                60,
                planned='["a"]',
                stages=(stage("a", 1, 60.0, eta_s=10.0, updated_at_us=NOW_US - 20 * US),),
                past=history(*[70.0] * 5, stages={"a": 70.0}),
            ),
            ("stages", 10),
        ),
    ],
    ids=["progress", "progress, with a past", "count", "count, with a past"],
)
def test_what_is_overdue_is_not_about_to_end(
    tracked: Tracked, expected: tuple[str, float] | None
) -> None:
    """A prediction that has passed was wrong: another method has its say, or nobody."""
    found = estimate(tracked)
    assert (found and (found.method, found.remaining_s)) == expected


def test_an_overdue_stage_has_no_expected_end() -> None:
    """Nor has anything after it that is not known."""
    late = stage("a", 1, 60.0, eta_s=10.0, updated_at_us=NOW_US - 20 * US)
    tracked = running(60, planned='["a"]', stages=(late,))
    assert plan_stages(tracked, estimate(tracked)) == []


def test_progress_is_measured_at_its_own_moment() -> None:
    """A later message without a percentage does not make the job look slower."""
    known = {"percent": 50.0, "percent_at_us": NOW_US - 10 * US, "progress_at_us": NOW_US}
    found = estimate(running(30, **known))
    assert found is not None
    assert found.remaining_s == 10


def test_stages_lead_further_than_a_percentage_said_before() -> None:
    """A percentage that was said once stands until the stages are further."""
    done = stage("a", 1, 10.0, status="completed", ended_at_us=NOW_US - US)
    half = stage("b", 2, 1.0, percent=50.0, updated_at_us=NOW_US)
    known: dict[str, Any] = {"planned": '["a","b"]', "stages": (done, half)}
    assert running(10, percent=10, percent_at_us=NOW_US - 5 * US, **known).percent == 75
    assert running(10, percent=90, percent_at_us=NOW_US - 5 * US, **known).percent == 90
    assert running(10, percent=10, percent_at_us=NOW_US + 1, **known).percent == 10
