"""What every analysis promises, whatever the runs: finite answers that no order changes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiveobs.monitor.analytics.columns import Origin, PastRunRow, PastStepRow
from fiveobs.monitor.api.analytics import router
from fiveobs.monitor.enhanced import findings, volume
from fiveobs.monitor.enhanced.analyses import ANALYSES, Past
from tests.support.past_runs import DAY_S, MONDAY_S, past, run_row, steady, step_row

MODELS: dict[str, type[findings.Finding]] = {
    "bottlenecks": findings.Bottlenecks,
    "resource-trends": findings.ResourceTrends,
    "failure-analysis": findings.FailureAnalysis,
    "anomalies": findings.Anomalies,
    "predictive": volume.Prediction,
    "throughput": volume.Throughput,
    "capacity": volume.Capacity,
    "comparison": volume.Comparison,
}
NOW_S = MONDAY_S + 40 * DAY_S
ORIGINS = {key: Origin(f"w{key % 3}", f"m{key % 2}", f"1.{key}") for key in range(4)}
Rows = tuple[list[PastRunRow], list[PastStepRow]]

figures = st.none() | st.just(0.0) | st.floats(0, 1e12) | st.floats(0, 100)
sizes = st.none() | st.integers(0, 2**62)
texts = st.none() | st.sampled_from(["E", "row 7 is odd", "", "'x'", "ü\0"])
statuses = st.sampled_from(["completed", "completed", "failed", "lost", "stopped", "running"])


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Up to sixty runs, at any times, with any figures, known or not."""
    runs, steps = [], []
    for key in range(draw(st.integers(0, 60))):
        at_s = MONDAY_S + draw(st.floats(-40 * DAY_S, 40 * DAY_S))
        run = run_row(
            key,
            at_s,
            attempt=draw(st.integers(1, 3)),
            status=draw(statuses),
            duration_s=draw(figures),
            queue_wait_s=draw(figures),
            cpu_s=draw(figures),
            worker_key=draw(st.none() | st.integers(0, 4)),
            error_type=draw(texts),
            error_message=draw(texts),
        )
        runs.append(run)
        for stage in draw(st.lists(st.sampled_from(["Load", "Sort", ""]), max_size=3)):
            step = step_row(
                key,
                stage,
                at_s,
                attempt=run.attempt,
                status=draw(statuses),
                started_at_us=draw(st.sampled_from([None, run.started_at_us])),
                duration_s=draw(figures),
                cpu_s=draw(figures),
                memory_rss_bytes=draw(sizes),
            )
            steps.append(step)
    return runs, steps


def answer(name: str, found: Rows) -> Any:
    """What the API would say, as JSON that may have neither NaN nor infinity."""
    runs, steps = past(*found, ORIGINS)
    begin_s = MONDAY_S - 41 * DAY_S
    known = Past(runs, steps, {0: 1, 1: 2**40}, NOW_S, from_s=begin_s, to_s=NOW_S)
    options: dict[str, Any] = {"before": known} if name == "comparison" else {}
    result: Any = ANALYSES[name](known, **options)
    plain = result if isinstance(result, dict) else asdict(result)
    assert orjson.loads(orjson.dumps(plain)) == with_lists(plain), "a number is NaN or infinite"
    return MODELS[name].model_validate(result).model_dump(mode="json")


def with_lists(value: Any) -> Any:
    """With lists for tuples, as JSON has them."""
    if isinstance(value, dict):
        return {name: with_lists(each) for name, each in value.items()}
    return [with_lists(each) for each in value] if isinstance(value, list | tuple) else value


def test_every_route_has_a_model_here() -> None:
    """So that a new analysis is held to these promises, too."""
    paths = {route.path.split("/analytics/")[1].split("/")[0] for route in router.routes}  # type: ignore[attr-defined]
    assert paths == set(ANALYSES) == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=40, deadline=None)
@given(found=rows(), seed=st.integers(0, 99))
def test_any_runs_have_an_answer_that_no_order_changes(name: str, found: Rows, seed: int) -> None:
    """It is finite, fits its model, and is the same for the same rows in another order."""
    runs, steps = list(found[0]), list(found[1])
    expected = answer(name, (runs, steps))
    random.Random(seed).shuffle(runs)
    assert answer(name, (runs, steps)) == expected


Made = Callable[[int], Rows]


def without_figures(count: int) -> Rows:
    """Nothing is known of these runs but that they were."""
    at, _ = steady(count)
    nothing = {"duration_s": None, "cpu_s": None}
    runs = [run_row(key, at[key], **nothing, queue_wait_s=None) for key in range(count)]
    return runs, [
        step_row(key, "L", at[key], **nothing, memory_rss_bytes=None) for key in range(count)
    ]


def all_equal(count: int) -> Rows:
    """Each is as the other, and at the same time."""
    return [run_row(key) for key in range(count)], [step_row(key) for key in range(count)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("made", [without_figures, all_equal])
@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_nothing_is_wrong_where_nothing_is_known_or_different(
    name: str, made: Made, count: int
) -> None:
    """No finding of none, one, two or many runs that are all alike or without figures."""
    said = answer(name, made(count))
    assert not any(step.get("reasons") for step in said.get("steps", ()))
    assert said.get("verdict") in (None, "alike")
    assert all(each["direction"] == "steady" for each in said.get("trends", ()))
    for finding in ("leak", "onset", "suspects", "unusual_runs", "slow_slots"):
        assert not said.get(finding)


@pytest.mark.parametrize("name", ["bottlenecks", "anomalies", "resource-trends"])
def test_another_unit_of_time_changes_no_finding(name: str) -> None:
    """Everything sixteen times as long: the same steps, runs and trends, sixteen times as large."""
    at, took = steady(300)
    took[200:] *= 3
    took[50] *= 40

    def made(times: int) -> Rows:
        seconds = took * times
        runs = [run_row(key, at[key], duration_s=seconds[key]) for key in range(300)]
        return runs, [step_row(key, "L", at[key], duration_s=seconds[key]) for key in range(300)]

    one, other = answer(name, made(1)), answer(name, made(16))
    assert without_sizes(one) == without_sizes(other)
    assert one != other


#: What has a unit.
SIZES = ("median", "p90", "value", "usual", "before", "since", "slope", "low_per", "high_per")


def without_sizes(value: Any) -> Any:
    if isinstance(value, list):
        return [without_sizes(each) for each in value]
    if not isinstance(value, dict):
        return pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
    return {
        name: without_sizes(each)
        for name, each in value.items()
        if not name.startswith(SIZES) or name.endswith("_count")
    }
