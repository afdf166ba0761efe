"""Whether the analytics find what is wrong, and only that.

``python bench/defects.py`` makes 200 histories with each planted defect and 200 clean ones
(`_histories.py` says of what they are made and how large the defects are), runs all four detectors
on each, and prints how many defects were found by name, how many histories had something else
found besides, and on how many clean ones any detector said anything. Exits with 1 if a target is
missed. The thresholds of the detectors were chosen on other seeds than the one that this begins
with.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._histories import DEFECTS, History, make_history
from fiveobs.monitor.analytics.anomalies import find_anomalies
from fiveobs.monitor.analytics.bottlenecks import find_bottlenecks
from fiveobs.monitor.analytics.failures import analyse_failures
from fiveobs.monitor.analytics.trends import find_trends

#: Of the planted defects at least so many are found, of clean histories at most so many accused.
TARGET_FOUND, TARGET_FALSE = 0.95, 0.02
CLEAN = "clean"
SEED = 20_270_110


def said_of(history: History) -> set[tuple[str, str]]:
    """All that the detectors say: which of them, and what it names.

    Runs that took long because one of their steps was made to are unusual indeed, so to say so of
    them is right in a clean history, too.
    """
    runs, steps = history.runs, history.steps
    said: set[tuple[str, str]] = set()
    for step in find_bottlenecks(steps).steps:
        said |= {("bottleneck", step.step)} if step.reasons else set()
    trends = find_trends(runs, steps)
    said |= {("leak", trends.leak.release)} if trends.leak is not None else set()
    said |= {("trend", each.figure) for each in trends.trends if each.direction != "steady"}
    failures = analyse_failures(runs, steps)
    said |= {(each.dimension, each.value) for each in failures.suspects}
    said |= {("failures", "onset")} if failures.onset is not None else set()
    found = find_anomalies(runs, steps, now_s=history.now_s)
    said |= {("spike", _slot(each.weekday, each.hour)) for each in found.slow_slots}
    said |= {("quiet", "") for _ in found.quiet_periods}
    expected = set(runs.job_id[history.outliers])
    said |= {("run", each.job_id) for each in found.unusual_runs if each.job_id not in expected}
    return said


def _slot(weekday: int | None, hour: int | None) -> str:
    return "-".join(str(each) for each in (weekday, hour) if each is not None)


def examine(task: tuple[int, int, str]) -> tuple[str, int, str, float, set[tuple[str, str]]]:
    """One history: its defect, number, what was planted and how large, and what was said."""
    seed, number, defect = task
    kind = None if defect == CLEAN else defect
    history = make_history([seed, number, len(defect)], kind)
    return defect, number, history.planted, history.size, said_of(history)


def main(arguments: list[str] | None = None) -> int:
    """Make, examine, print; 1 if a target is missed."""
    options = _options(arguments)
    tasks = [
        (options.seed, number, defect)
        for defect in options.defects
        for number in range(options.count)
    ]
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        results = list(pool.imap_unordered(examine, tasks, chunksize=5))
    took_s = time.perf_counter() - began
    print(f"{len(tasks)} histories, seed {options.seed}, in {took_s:.0f} s")
    missed = 0
    for defect in options.defects:
        missed += _print(defect, [each[1:] for each in results if each[0] == defect], options.all)
    return int(missed > 0)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=200, help="histories of each sort")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--all", action="store_true", help="name every miss and false alarm")
    sorts = [*DEFECTS, CLEAN]
    parser.add_argument("--defects", nargs="+", choices=sorts, default=sorts)
    return parser.parse_args(arguments)


Result = tuple[int, str, float, set[tuple[str, str]]]


def _print(defect: str, results: list[Result], is_all: bool) -> int:
    count = len(results)
    if defect == CLEAN:
        wrong = [each for each in results if each[3]]
        is_met = len(wrong) <= TARGET_FALSE * count
        by_detector = Counter(name for each in wrong for name in {name for name, _ in each[3]})
        print(
            f"{defect:<11} {len(wrong):>4} of {count} accused, {len(wrong) / count:.1%}"
            f" (target: at most {TARGET_FALSE:.0%}) {'ok' if is_met else 'MISSED'}"
            f" {dict(by_detector) if wrong else ''}"
        )
    else:
        wrong = [each for each in results if not _is_found(defect, each)]
        share = 1 - len(wrong) / count
        others = Counter(
            name
            for each in results
            for name in {
                name for name, value in each[3] if not _names(defect, each[1], name, value)
            }
        )
        is_met = share >= TARGET_FOUND
        print(
            f"{defect:<11} {count - len(wrong):>4} of {count} found, {share:.1%}"
            f" (target: at least {TARGET_FOUND:.0%}) {'ok' if is_met else 'MISSED'};"
            f" also said: {dict(others)}"
        )
    if is_all:
        for number, planted, size, said in sorted(wrong, key=lambda each: each[0]):
            print(f"    {number}: planted {planted} {size:.2f}, said {sorted(said)[:8]}")
    return int(not is_met)


def _is_found(defect: str, result: Result) -> bool:
    return any(_names(defect, result[1], name, value) for name, value in result[3])


def _names(defect: str, planted: str, name: str, value: str) -> bool:
    return name == defect and (value == planted or defect == "leak")


if __name__ == "__main__":
    sys.exit(main())
