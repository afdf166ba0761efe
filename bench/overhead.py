"""What observing a job costs, beside other ways of doing it, measured side by side in one run.

``python bench/overhead.py`` prints a table and the ratios of fiveobs to each other case, with the
targets. See ``bench/README.md`` for what each case is. Each case runs in a fresh process, once per
round; the rounds interleave the cases, so that a busy moment of the machine hits all of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._case import Plan
from bench._measure import MODULES
from bench._session import CaseResult, machine_text, run_case, versions_text
from tests.support.process import ReceiverProcess

#: The figures that are put together over the rounds by their medians.
FIGURES = ("p50_us", "p90_us", "p99_us", "cpu_us")
#: (our case, what it is compared with, figure, target): at most so many times the other.
TARGETS = (
    ("fiveobs", "hand-wired", "p50_us", 1 / 8),
    ("fiveobs", "hand-wired", "cpu_us", 1 / 4),
    ("fiveobs", "otel-span", "p50_us", 1.5),
    ("fiveobs", "logfire", "p50_us", 1.0),
)
METHOD = """\
Method. Each case ran in a fresh process per round, the cases of a round one after another in the
order shown, turned by one place each round; the destinations were count-only receivers in another
process. {jobs} jobs after {warmup_jobs} not counted, body {body}, {pace} between jobs,
{rounds} rounds; a figure is the median over the rounds. Wall time: perf_counter_ns around each call
in the job's thread, so it holds what background threads take of the interpreter meanwhile. CPU: of
the whole process, background threads included, from before the first job until after the last flush
and shutdown, over the number of jobs; CPU spent in pauses is left out. "added" is less the same
figure of `nothing`; ratios are of added figures."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write the raw figures if asked."""
    options = _options(arguments)
    results: dict[str, list[CaseResult]] = {case: [] for case in options.cases}
    before = machine_text()
    with ReceiverProcess() as receivers:
        plan = Plan(
            case="",
            jobs=options.jobs,
            warmup_jobs=options.warmup_jobs,
            job_us=options.job_us,
            pace_us=options.pace_us,
            home="",
            sinks=receivers.addresses,
        )
        for number in range(options.rounds):
            _round(number, plan, receivers, results)
    _print_report(options, before, results)
    if options.json:
        _write_json(options, before, results)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="overhead", description="What observing a job costs.")
    parser.add_argument("--jobs", type=int, default=5000, help="jobs per round and case")
    parser.add_argument("--warmup-jobs", type=int, default=500, help="jobs before, not counted")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job-us", type=int, default=0, help="CPU of the job's own body, in µs")
    parser.add_argument("--pace-us", type=int, default=0, help="pause between jobs, in µs")
    parser.add_argument("--cases", nargs="+", choices=MODULES, default=list(MODULES))
    parser.add_argument("--json", type=Path, help="write the raw figures to this file")
    options = parser.parse_args(arguments)
    if "nothing" not in options.cases:
        options.cases.insert(0, "nothing")
    return options


def _round(
    number: int, plan: Plan, receivers: ReceiverProcess, results: dict[str, list[CaseResult]]
) -> None:
    cases = list(results)
    turn = number % len(cases)
    for case in cases[turn:] + cases[:turn]:
        if any(result.problem for result in results[case]):
            continue  # it failed in an earlier round and is named in the report
        result = run_case(dataclasses.replace(plan, case=case), receivers)
        results[case].append(result)
        p50_us = result.figures.get("p50_us")
        told = result.problem or f"p50 {p50_us:.1f} µs"
        print(f"round {number + 1}: {case}: {told}", file=sys.stderr, flush=True)


def _medians(results: list[CaseResult]) -> dict[str, float]:
    return {
        figure: statistics.median(result.figures[figure] for result in results)
        for figure in FIGURES
    }


def _print_report(
    options: argparse.Namespace, before: str, results: dict[str, list[CaseResult]]
) -> None:
    print(f"{before}\n{versions_text()}\n")
    print(_method(options), f"Order: {', '.join(results)}.\n", sep="\n")
    measured = {
        case: _medians(runs)
        for case, runs in results.items()
        if runs and not any(run.problem for run in runs)
    }
    _print_table(measured, results)
    _print_losses(results)
    if "fiveobs" in measured:
        _print_ratios(measured)
    lossy = {case for case, runs in results.items() if any(run.losses for run in runs)}
    _print_targets(measured, lossy)


def _method(options: argparse.Namespace) -> str:
    return METHOD.format(
        jobs=options.jobs,
        warmup_jobs=options.warmup_jobs,
        rounds=options.rounds,
        body=f"{options.job_us} µs of CPU" if options.job_us else "trivial",
        pace=f"{options.pace_us} µs" if options.pace_us else "no pause",
    )


def _print_table(
    measured: dict[str, dict[str, float]], results: dict[str, list[CaseResult]]
) -> None:
    print("µs per job               p50     p90     p99     CPU | added: p50     CPU")
    for case, runs in results.items():
        if case not in measured:
            print(f"{case:20} {runs[-1].problem}")
            continue
        figures, added = measured[case], _added(measured, case)
        shown = " ".join(f"{figures[figure]:7.1f}" for figure in FIGURES)
        print(f"{case:20} {shown} |     {added['p50_us']:7.1f} {added['cpu_us']:7.1f}")
    print()
    for case in measured:
        if notes := results[case][0].figures["notes"]:
            print(f"{case}: {notes}")


def _added(measured: dict[str, dict[str, float]], case: str) -> dict[str, float]:
    nothing = measured["nothing"]
    return {figure: measured[case][figure] - nothing[figure] for figure in FIGURES}


def _print_losses(results: dict[str, list[CaseResult]]) -> None:
    lossy = [
        f"{case}, round {number}: {loss}"
        for case, runs in results.items()
        for number, run in enumerate(runs, start=1)
        for loss in run.losses
    ]
    print("\nLost on the way: " + ("\n  ".join(["", *lossy]) if lossy else "nothing") + "\n")


def _ratio(
    measured: dict[str, dict[str, float]], ours: str, other: str, figure: str
) -> float | None:
    if ours not in measured or other not in measured:
        return None
    theirs = _added(measured, other)[figure]
    return _added(measured, ours)[figure] / theirs if theirs > 0 else None


def _print_ratios(measured: dict[str, dict[str, float]]) -> None:
    print("fiveobs, times the other (added)   p50     p90     p99     CPU")
    for other in measured:
        if other in ("fiveobs", "nothing"):
            continue
        ratios = [_ratio(measured, "fiveobs", other, figure) for figure in FIGURES]
        shown = " ".join("      -" if each is None else f"{each:7.3f}" for each in ratios)
        print(f"{other:30} {shown}")
    print()


def _print_targets(measured: dict[str, dict[str, float]], lossy: set[str]) -> None:
    for ours, other, figure, target in TARGETS:
        ratio = _ratio(measured, ours, other, figure)
        name = f"{ours} <= {target:g} x {other} ({figure.removesuffix('_us')})"
        if ratio is None:
            print(f"target {name}: not measured")
        elif {ours, other} & lossy:
            print(f"target {name}: {ratio:.3f}, void: a case lost what it should have sent")
        else:
            print(f"target {name}: {ratio:.3f}, {'reached' if ratio <= target else 'missed'}")


def _write_json(
    options: argparse.Namespace, before: str, results: dict[str, list[CaseResult]]
) -> None:
    raw: dict[str, Any] = {
        "machine": before,
        "versions": versions_text(),
        "method": _method(options),
        "options": {name: value for name, value in vars(options).items() if name != "json"},
        "results": {
            case: [dataclasses.asdict(run) for run in runs] for case, runs in results.items()
        },
    }
    options.json.write_text(json.dumps(raw, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
