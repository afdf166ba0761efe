"""What a job pays while its destinations misbehave, in ratios to the healthy case.

``python bench/blackhole.py`` runs paced jobs with all destinations healthy, down (nobody listens),
black-holed (accepted, never answered) and slow, in interleaved rounds, each in a fresh process. It
prints the wall time in the job's thread, the longest stall, and the time from the last job to the
end of the process, which ``shutdown(timeout_s=5)`` bounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._case import Plan
from bench._measure import MODULES
from bench._session import CaseResult, machine_text, run_case, versions_text
from tests.support.process import ReceiverProcess

CONDITIONS = ("healthy", "down", "blackhole", "slow")
FIGURES = ("p50_us", "p99_us", "max_us")
#: What `slow` waits before each answer.
SLOW_S = 1.0
#: What is let pass beyond the deadline of shutdown(): the interpreter's own end.
SHUTDOWN_DEADLINE_S, EXIT_MARGIN_S = 5.0, 0.5


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write the raw figures if asked."""
    options = _options(arguments)
    results: dict[str, list[CaseResult]] = {condition: [] for condition in options.conditions}
    before = machine_text()
    with ReceiverProcess() as receivers:
        plan = Plan(
            case=options.case,
            jobs=options.jobs,
            warmup_jobs=0,
            job_us=0,
            pace_us=options.pace_us,
            home="",
            sinks=receivers.addresses,
            flush_first=False,
        )
        for number in range(options.rounds):
            turn = number % len(results)
            order = list(results)[turn:] + list(results)[:turn]
            for condition in order:
                result = _under(condition, options.destination, plan, receivers)
                results[condition].append(result)
                told = result.problem or f"exit after {result.exit_s:.2f} s"
                print(f"round {number + 1}: {condition}: {told}", file=sys.stderr, flush=True)
    _print_report(options, before, results)
    if options.json:
        raw = {name: [dataclasses.asdict(run) for run in runs] for name, runs in results.items()}
        options.json.write_text(json.dumps({"machine": before, "results": raw}, indent=2) + "\n")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="blackhole", description="Jobs under failing receivers.")
    parser.add_argument("--case", choices=MODULES, default="fiveobs")
    parser.add_argument("--jobs", type=int, default=5000, help="jobs per round and condition")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pace-us", type=int, default=1000, help="pause between jobs, in µs")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=CONDITIONS)
    parser.add_argument(
        "--destination", choices=("all", "otlp", "forward", "sentry"), default="all"
    )
    parser.add_argument("--json", type=Path, help="write the raw figures to this file")
    return parser.parse_args(arguments)


def _under(condition: str, destination: str, plan: Plan, receivers: ReceiverProcess) -> CaseResult:
    """Run the case with the destinations in this condition, then set them right again."""
    which = {} if destination == "all" else {"receiver": destination}
    if condition == "down":
        receivers.command(stop=True, **which)
    elif condition != "healthy":
        receivers.set_mode(condition, delay_s=SLOW_S, **which)
    try:
        return run_case(plan, receivers, check=condition == "healthy")
    finally:
        receivers.set_mode("ok")
        receivers.command(start=True)


def _print_report(
    options: argparse.Namespace, before: str, results: dict[str, list[CaseResult]]
) -> None:
    print(f"{before}\n{versions_text()}\n")
    print(
        f"Method. {options.case}, {options.jobs} jobs without warm-up, {options.pace_us} µs apart, "
        f"{options.rounds} interleaved\nrounds, each in a fresh process; destination: "
        f"{options.destination}; slow = {SLOW_S:g} s per answer. p50, p99: median over the\n"
        "rounds; stall, exit: the worst of them. Exit: from the last job to the end of the "
        "process.\n"
    )
    print("condition     p50 µs  p99 µs  stall ms  exit s | times healthy: p50    p99  stall")
    healthy = _figures(results.get("healthy", []))
    for condition, runs in results.items():
        print(_line(condition, runs, healthy))
    for run in results.get("healthy", []):
        for loss in run.losses:
            print(f"healthy, lost on the way: {loss}")


def _figures(runs: list[CaseResult]) -> dict[str, float]:
    if not runs or any(run.problem for run in runs):
        return {}
    taken = {name: [run.figures[name] for run in runs] for name in FIGURES}
    return {
        "p50_us": statistics.median(taken["p50_us"]),
        "p99_us": statistics.median(taken["p99_us"]),
        "max_us": max(taken["max_us"]),
    }


def _line(condition: str, runs: list[CaseResult], healthy: dict[str, float]) -> str:
    figures = _figures(runs)
    if not figures:
        return f"{condition:12} {next((run.problem for run in runs if run.problem), 'not run')}"
    exit_s = max(run.exit_s for run in runs)
    late = " LATE" if exit_s > SHUTDOWN_DEADLINE_S + EXIT_MARGIN_S else ""
    ratios = " ".join(f"{figures[name] / healthy[name]:6.2f}" for name in FIGURES if healthy)
    return (
        f"{condition:12} {figures['p50_us']:7.1f} {figures['p99_us']:7.1f} "
        f"{figures['max_us'] / 1e3:9.2f} {exit_s:7.2f} |            {ratios}{late}"
    )


if __name__ == "__main__":
    sys.exit(main())
