"""Which steps take time, and which have come to take more."""

from __future__ import annotations

import numpy as np
import pytest

from fiveobs.monitor.analytics.bottlenecks import FEWEST, Bottlenecks, StepUse, find_bottlenecks
from tests.support.past_runs import past, run_row, steady, step_row

COUNT, SINCE = 300, 200


def steps_of(**factors: float) -> Bottlenecks:
    """Three steps; from run 200 on some take so many times as long, a figure is ``Step_figure``."""
    at, took = steady(COUNT)
    steps = []
    for key in range(COUNT):
        for place, name in enumerate(("Load", "Sort", "Report")):
            times = {
                figure: factors.get(f"{name}_{figure}", 1) if key >= SINCE else 1
                for figure in ("duration", "cpu", "memory")
            }
            seconds = took[(key * 7 + place * 101) % COUNT]
            changes = {
                "duration_s": seconds * times["duration"],
                "cpu_s": seconds / 2 * times["cpu"],
                "memory_rss_bytes": int(1e6 * seconds * times["memory"]),
            }
            steps.append(step_row(key, name, at[key] + place, **changes))
    return find_bottlenecks(past([run_row(key, at[key]) for key in range(COUNT)], steps)[1])


def use_of(found: Bottlenecks, step: str) -> StepUse:
    (use,) = [each for each in found.steps if each.step == step]
    return use


@pytest.mark.parametrize("figure", ["duration", "cpu", "memory"])
def test_a_step_that_takes_more_than_before_is_named_with_the_reason(figure: str) -> None:
    """And no other step, and no other reason; since when, how much more, of how many."""
    found = steps_of(**{f"Sort_{figure}": 2.0})
    assert {use.step: use.reasons for use in found.steps} == {
        "Sort": (figure,),
        "Load": (),
        "Report": (),
    }
    growth = getattr(use_of(found, "Sort"), figure)
    at, _ = steady(COUNT)
    assert growth.began_at_s == pytest.approx(at[SINCE], abs=3 * 3_600)
    assert growth.ratio == pytest.approx(2, rel=0.1)
    assert growth.effect > 0.9
    assert growth.before_count + growth.since_count == COUNT


def test_nothing_is_named_where_nothing_has_changed() -> None:
    """Figures are there all the same: those of the clearest rise, which is none."""
    found = steps_of()
    assert [use.reasons for use in found.steps] == [(), (), ()]
    growth = found.steps[0].duration
    assert growth is not None
    assert growth.ratio < 1.25


def test_what_takes_less_is_no_bottleneck() -> None:
    """Half the time is good news."""
    assert not any(use.reasons for use in steps_of(Load_duration=0.5).steps)


def test_a_sure_but_small_change_is_no_finding() -> None:
    """One tenth more, of 5,000 equal runs: as sure as can be, and nobody's trouble."""
    at, _ = steady(5_000)
    steps = [
        step_row(key, "Load", at[key], duration_s=66 if key > 4_000 else 60) for key in range(5_000)
    ]
    _, found = past([run_row(key, at[key]) for key in range(5_000)], steps)
    growth = find_bottlenecks(found).steps[0].duration
    assert growth is not None
    assert growth.p_value < 1e-9
    assert growth.ratio == pytest.approx(1.1)
    assert not growth.is_finding


def test_a_small_rise_does_not_hide_a_large_one() -> None:
    """A tenth more from the middle on, and three times as much in the end: that is named."""
    at, took = steady(400, spread=0.05)
    times = np.where(np.arange(400) >= 370, 3.3, np.where(np.arange(400) >= 200, 1.1, 1))
    steps = [
        step_row(key, "Load", at[key], duration_s=took[key] * times[key]) for key in range(400)
    ]
    _, found = past([run_row(key, at[key]) for key in range(400)], steps)
    use = find_bottlenecks(found).steps[0]
    assert use.reasons == ("duration",)
    assert use.duration is not None
    assert use.duration.began_at_s == pytest.approx(at[370], abs=3 * 3_600)


def test_shares_are_of_all_steps_and_the_largest_comes_first() -> None:
    """A step dominates that takes more than half of the time."""
    rows = [
        step_row(1, "Load", duration_s=70, cpu_s=1),
        step_row(1, "Sort", duration_s=30, cpu_s=3),
    ]
    _, steps = past([run_row(1)], rows)
    found = find_bottlenecks(steps)
    assert [(use.step, use.time_share, use.cpu_share) for use in found.steps] == [
        ("Load", 0.7, 0.25),
        ("Sort", 0.3, 0.75),
    ]
    assert [use.is_dominant for use in found.steps] == [True, False]


def test_only_completed_steps_count() -> None:
    """One that failed or was cut short says nothing of how long it takes."""
    rows = [step_row(1), step_row(2, status="failed", duration_s=1), step_row(3, status="running")]
    _, steps = past([run_row(key) for key in (1, 2, 3)], rows)
    assert [(use.count, use.median_duration_s) for use in find_bottlenecks(steps).steps] == [
        (1, 60)
    ]


def test_too_few_figures_say_nothing_of_a_change() -> None:
    """Below 20 before and after there is none to speak of."""
    for count, is_known in ((2 * FEWEST - 1, False), (2 * FEWEST, True)):
        at, took = steady(count)
        steps = [step_row(key, "Load", at[key], duration_s=took[key]) for key in range(count)]
        _, found = past([run_row(key, at[key]) for key in range(count)], steps)
        assert (find_bottlenecks(found).steps[0].duration is not None) == is_known


def test_what_is_not_known_is_none() -> None:
    """A step without figures is there, with nothing but its count."""
    unknown = {"duration_s": None, "cpu_s": None, "memory_rss_bytes": None}
    _, steps = past([run_row(1)], [step_row(1, **unknown)])
    (use,) = find_bottlenecks(steps).steps
    assert (use.count, use.median_duration_s, use.time_share, use.cpu_share) == (
        1,
        None,
        None,
        None,
    )
    assert (use.median_memory_bytes, use.duration, use.reasons) == (None, None, ())


def test_names_without_end_are_cut() -> None:
    """Of steps that are named after what they work on, the 200 that take most are looked at."""
    rows = [step_row(key, f"file-{key}", duration_s=float(key)) for key in range(1, 1_001)]
    _, steps = past([run_row(key) for key in range(1, 1_001)], rows)
    found = find_bottlenecks(steps).steps
    assert len(found) == 200
    assert found[0].step == "file-1000"
