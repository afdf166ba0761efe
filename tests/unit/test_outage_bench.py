"""How ``bench/outage.py`` judges what it has measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import outage
from bench._case import Plan
from bench._session import CaseResult
from bench._stalls import _stall
from bench.baselines import fiveobs_job

DOWN = outage.Trial("otlp", "down")
QUIET = {"wall_us": 300, "blocked_us": 0, "ours_us": 0, "cpu_us": 200, "gc_us": 0, "stall_us": 200}


def result(*, exit_s: float = 1.0, p99_us: float = 100.0, **changes: Any) -> CaseResult:
    stalls = [{**QUIET, **changes}]
    figures = {"p50_us": 50.0, "p99_us": p99_us, "max_us": 300.0, "stalls": stalls}
    return CaseResult(case="fiveobs", figures=figures, exit_s=exit_s)


def results(run: CaseResult) -> dict[outage.Trial, list[CaseResult]]:
    return {outage.CONTROL: [result()], outage.HEALTHY: [result()], DOWN: [run]}


@pytest.mark.parametrize(
    ("run", "missed"),
    [
        (result(), []),
        (result(stall_us=5_100), ["stall"]),
        (result(p99_us=121), ["p99"]),
        (result(exit_s=5.6), ["exit"]),
        (result(exit_s=5.6, stall_us=9_000, p99_us=121), ["p99", "stall", "exit"]),
    ],
)
def test_a_missed_goal_fails_the_run(run: CaseResult, missed: list[str]) -> None:
    """It is named, and the exit code tells; a smoke run only prints it."""
    figures = outage._figures([run])
    assert figures is not None
    assert outage._missed(DOWN, figures.p99_us / 100, figures) == missed
    assert outage._is_bad(results(run), judge=True) == bool(missed)
    assert not outage._is_bad(results(run), judge=False)


def test_cpu_in_the_jobs_thread_is_a_stall() -> None:
    """The job does nothing: 6 ms of CPU in its thread are ours, as 6 ms on a lock would be."""
    busy = _stall(1, wall_ns=6_000_000, cpu_ns=6_000_000, mine_ns=0, others_ns=0, gc_ns=0)
    locked = _stall(1, wall_ns=6_000_000, cpu_ns=0, mine_ns=0, others_ns=0, gc_ns=0)
    waiting = _stall(1, wall_ns=6_000_000, cpu_ns=0, mine_ns=6_000_000, others_ns=0, gc_ns=0)
    assert [each.stall_us for each in (busy, locked, waiting)] == [6_000, 6_000, 0]


def test_what_fails_or_is_lost_fails_a_smoke_run_too() -> None:
    """A case without figures, or a healthy one that lost something, is no measurement."""
    assert outage._is_bad(results(CaseResult(case="fiveobs", problem="failed")), judge=False)
    lossy = results(result())
    lossy[outage.HEALTHY][0].losses.append("otlp.spans: delivered 1 of 2")
    assert outage._is_bad(lossy, judge=False)


def test_the_control_has_no_goals() -> None:
    """What the machine does to a loop without fiveobs is not ours to meet."""
    figures = outage._figures([result(stall_us=9_000, exit_s=9)])
    assert figures is not None
    assert outage._missed(outage.CONTROL, 9.0, figures) == []


def test_every_way_of_sending_can_be_measured() -> None:
    """OTLP over gRPC and logs to the HTTP input lead to their receivers; others cannot be asked."""
    plan = Plan(
        case="fiveobs",
        jobs=1,
        warmup_jobs=0,
        job_us=0,
        pace_us=0,
        home=str(Path("home")),
        sinks={
            "otlp": {"endpoint": "http://h:1", "grpc_endpoint": "http://h:2"},
            "fluent_http": {"host": "h", "port": 3},
            "sentry": {"dsn": "http://k@h:4/1"},
        },
        otlp="grpc",
        logs="http",
    )
    variables = fiveobs_job.environment(plan)
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://h:2"
    assert variables["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc"
    assert (variables["FLUENT_BIT_PORT"], variables["FLUENT_BIT_PROTOCOL"]) == ("3", "http")
    assert "fluent_http.records" in fiveobs_job._expected(plan)
    with pytest.raises(SystemExit):
        outage._options(["--case", "hand-wired", "--otlp", "grpc"])
