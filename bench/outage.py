"""What a job pays while its destinations misbehave, in ratios to the healthy case.

``python bench/outage.py`` runs paced jobs with all destinations healthy, and with each of them (and
all together) down (nobody listens), black-holed (accepted, never answered) and slow; in interleaved
rounds, each in a fresh process, with the receivers in a process of their own. It prints the wall
time in the job's thread, the longest stall and what of it can be ours, and the time from the last
job to the end of the process, which ``shutdown(timeout_s=5)`` bounds. One job in 200 fails, in
every condition, and is timed like the others. ``--otlp grpc`` and ``--logs http`` send traces and
metrics over gRPC and logs to Fluent Bit's HTTP input. The exit code is 1 if a goal is missed, a
case fails or the healthy one loses something; with ``--smoke`` the goals are only printed.

A machine that others use stalls everybody. So each slow job's wall time is taken apart (see
:mod:`bench._stalls`), and a control runs in the same rounds: the same loop without fiveobs, whose
job does nothing but spend about the CPU time that fiveobs takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._case import Plan
from bench._measure import MODULES
from bench._session import CaseResult, machine_text, run_case, versions_text
from bench._stalls import SUSPECT_US
from tests.support.process import ReceiverProcess

DESTINATIONS = ("otlp", "forward", "sentry", "all")
CONDITIONS = ("down", "blackhole", "slow")
#: What `slow` waits before each answer.
SLOW_S = 1.0
#: One job in so many fails, so that there is something to send to Sentry.
FAIL_EVERY = 200
#: CPU that a job of the control spends.
CONTROL_US = 50
#: What is let pass beyond the deadline of shutdown(): the interpreter's own end.
SHUTDOWN_DEADLINE_S, EXIT_MARGIN_S = 5.0, 0.5
#: The goals: p99 in times of the healthy one, and the longest stall of our doing.
GOAL_RATIO, GOAL_MS = 1.2, 5.0
HEAD = "{:8} {:9} {:>7} {:>7} {:>6} {:>6} {:>7} {:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>6}"


class Trial(NamedTuple):
    """One row of the report."""

    destination: str
    condition: str


CONTROL = Trial("-", "control")
HEALTHY = Trial("-", "healthy")


class Figures(NamedTuple):
    """What the rounds of one trial come to: medians of quantiles, the worst of the rest."""

    p50_us: float
    p99_us: float
    raw_ms: float
    blocked_ms: float
    ours_ms: float
    cpu_ms: float
    gc_ms: float
    stall_ms: float
    exit_s: float


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write the raw figures if asked."""
    options = _options(arguments)
    trials = [CONTROL, HEALTHY] + [
        Trial(destination, condition)
        for destination in options.destinations
        for condition in options.conditions
    ]
    results: dict[Trial, list[CaseResult]] = {trial: [] for trial in trials}
    before = machine_text()
    with ReceiverProcess() as receivers:
        for number in range(options.rounds):
            turn = number * len(trials) // options.rounds
            for trial in trials[turn:] + trials[:turn]:
                result = _run(trial, options, receivers)
                results[trial].append(result)
                told = result.problem or f"exit after {result.exit_s:.2f} s"
                print(f"round {number + 1}: {' '.join(trial)}: {told}", file=sys.stderr, flush=True)
    _print_report(options, before, results)
    if options.json:
        raw = {
            " ".join(trial): [dataclasses.asdict(run) for run in runs]
            for trial, runs in results.items()
        }
        options.json.write_text(json.dumps({"machine": before, "results": raw}, indent=2) + "\n")
    return int(_is_bad(results, judge=not options.smoke))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="outage", description="Jobs under failing receivers.")
    parser.add_argument("--case", choices=MODULES, default="fiveobs")
    parser.add_argument("--jobs", type=int, default=5000, help="jobs per process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pace-us", type=int, default=1000, help="pause between jobs, in µs")
    parser.add_argument("--conditions", nargs="*", choices=CONDITIONS, default=CONDITIONS)
    parser.add_argument("--destinations", nargs="*", choices=DESTINATIONS, default=DESTINATIONS)
    parser.add_argument("--otlp", choices=("http", "grpc"), default="http")
    parser.add_argument("--logs", choices=("forward", "http"), default="forward")
    parser.add_argument("--smoke", action="store_true", help="missed goals do not fail the run")
    parser.add_argument("--json", type=Path, help="write the raw figures to this file")
    options = parser.parse_args(arguments)
    if (options.otlp, options.logs) != ("http", "forward") and not options.case.startswith("five"):
        parser.error(f"only fiveobs is wired for --otlp and --logs, not {options.case}")
    return options


def _run(trial: Trial, options: argparse.Namespace, receivers: ReceiverProcess) -> CaseResult:
    """Run the case with the destinations in this condition, then set them right again."""
    is_control = trial == CONTROL
    plan = Plan(
        case="nothing" if is_control else options.case,
        jobs=options.jobs,
        warmup_jobs=0,
        job_us=CONTROL_US if is_control else 0,
        pace_us=options.pace_us,
        home="",
        sinks=receivers.addresses,
        flush_first=False,
        fail_every=0 if is_control else FAIL_EVERY,
        otlp=options.otlp,
        logs=options.logs,
    )
    named = plan.logs_sink if trial.destination == "forward" else trial.destination
    which = {} if named in ("all", "-") else {"receiver": named}
    if trial.condition == "down":
        receivers.command(stop=True, **which)
    elif trial.condition in CONDITIONS:
        receivers.set_mode(trial.condition, delay_s=SLOW_S, **which)
    try:
        check = trial.condition not in CONDITIONS
        return run_case(plan, receivers, check=check, program="bench._stalls")
    finally:
        receivers.set_mode("ok")
        receivers.command(start=True)


def _print_report(
    options: argparse.Namespace, before: str, results: dict[Trial, list[CaseResult]]
) -> None:
    print(f"{before}\n{versions_text()}\n")
    print(
        f"Method. {options.case}, {options.jobs} jobs without warm-up, {options.pace_us} µs apart, "
        f"{options.rounds} interleaved rounds, each in a\nfresh process; traces and metrics over "
        f"{options.otlp}, logs over {options.logs}; slow = {SLOW_S:g} s per "
        "answer. p50, p99: median over the rounds; all else: the worst of them.\n"
        "wall: the longest job. blocked: the longest that a job was neither running nor waiting\n"
        "for a processor (wall - cpu - run_delay): the most that others' locks can have cost.\n"
        "ours: that, less the time that other threads of the process waited for a processor.\n"
        "cpu: the most CPU that one job took, garbage collection (gc, wall) included. stall: the "
        "most of\nours and cpu together, the job's body being empty. Looked into are jobs of "
        f"{SUSPECT_US} µs and more.\ncontrol: no fiveobs, a job that spends {CONTROL_US} µs of "
        "CPU: what the machine itself does to such a loop.\n"
        "exit: from the last job to the end of the process.\n"
    )
    print(HEAD.format(*("", "", "µs", "µs", "times", "", "longest", *[""] * 7)).rstrip())
    names = ("where", "condition", "p50", "p99", "p50", "p99", "wall ms", "blocked", "ours")
    print(HEAD.format(*names, "cpu ms", "gc ms", "stall", "exit s", "goals"))
    healthy = _figures(results[HEALTHY])
    for trial, runs in results.items():
        print(_line(trial, runs, healthy))
    for run in results[HEALTHY]:
        for loss in run.losses:
            print(f"healthy, lost on the way: {loss}")


def _figures(runs: list[CaseResult]) -> Figures | None:
    if not runs or any(run.problem for run in runs):
        return None
    stalls = [stall for run in runs for stall in run.figures["stalls"]]

    def worst_ms(field: str) -> float:
        return max((stall[field] for stall in stalls), default=0.0) / 1e3

    return Figures(
        p50_us=statistics.median(run.figures["p50_us"] for run in runs),
        p99_us=statistics.median(run.figures["p99_us"] for run in runs),
        raw_ms=max(run.figures["max_us"] for run in runs) / 1e3,
        blocked_ms=worst_ms("blocked_us"),
        ours_ms=worst_ms("ours_us"),
        cpu_ms=worst_ms("cpu_us"),
        gc_ms=worst_ms("gc_us"),
        stall_ms=worst_ms("stall_us"),
        exit_s=max(run.exit_s for run in runs),
    )


def _line(trial: Trial, runs: list[CaseResult], healthy: Figures | None) -> str:
    figures = _figures(runs)
    if figures is None or healthy is None:
        problem = next((run.problem for run in runs if run.problem), "healthy failed")
        return f"{trial.destination:8} {trial.condition:9} {problem}"
    ratios = (figures.p50_us / healthy.p50_us, figures.p99_us / healthy.p99_us)
    missed = _missed(trial, ratios[1], figures)
    return HEAD.format(
        *trial,
        *(f"{figures.p50_us:.1f}", f"{figures.p99_us:.1f}"),
        *(f"{ratio:.2f}" for ratio in ratios),
        *(f"{value:.2f}" for value in figures[2:]),
        "-" if trial == CONTROL else ",".join(missed) or "met",
    )


def _missed(trial: Trial, p99_ratio: float, figures: Figures) -> list[str]:
    """What of the goals is missed; nothing is asked of the control."""
    if trial == CONTROL:
        return []
    return [
        name
        for name, is_missed in (
            ("p99", p99_ratio > GOAL_RATIO),
            ("stall", figures.stall_ms > GOAL_MS),
            ("exit", figures.exit_s > SHUTDOWN_DEADLINE_S + EXIT_MARGIN_S),
        )
        if is_missed
    ]


def _is_bad(results: dict[Trial, list[CaseResult]], *, judge: bool) -> bool:
    """Whether a case failed, the healthy one lost something or, if judged, a goal is missed."""
    healthy = _figures(results[HEALTHY])
    if healthy is None or any(run.losses for run in results[HEALTHY]):
        return True
    for trial, runs in results.items():
        figures = _figures(runs)
        if figures is None:
            return True
        if judge and _missed(trial, figures.p99_us / healthy.p99_us, figures):
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
