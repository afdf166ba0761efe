"""How good predictions are: past jobs are predicted one after the other, beside simple answers.

``python bench/predict.py --trace FILE`` takes a trace in the Standard Workload Format (with the
ending .gz, compressed) that was recorded somewhere; several may be given. Without one it makes two
up, which its output says: they show that the method works where it should, and prove nothing about
jobs that anybody has. ``bench/README.md`` says where recorded traces are.

Each job is predicted when it was submitted (``--at start``: when it began), from those jobs alone
that had ended before; nothing is tuned to a trace. Simple answers come from the last ten jobs of
the same user and application: ``mean`` is their mean and ``last`` the last of them, for all
quantiles alike; ``spread`` are the quantiles of the ten. All are judged by the same jobs: those of
which each says something.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from bench._traces import MADE, made_trace
from fiveobs.cli._swf import COMPLETED, FAILED, Job, TraceReader
from fiveobs.monitor.analytics.backtest import Trials, back_test
from fiveobs.monitor.analytics.calibration import (
    Score,
    answers_during,
    answers_of,
    common,
    score,
    simple_answers,
)
from fiveobs.monitor.analytics.prediction import MIN_LONGER

#: What the interval is to hold, and by how much it may miss that.
COVERAGE, TARGET_MISS = 0.8, 0.05
OURS = "fiveobs"
#: A run of 0 seconds took less than half a second.
_LEAST_S = 0.5


def main() -> int:
    """Measure, print, and say whether the goals are met."""
    args = _parser().parse_args()
    found = []
    for name, lines in _traces(args):
        trials = trials_of_trace(list(_jobs(lines, args.limit)), at_start=args.at == "start")
        measured = measure(trials)
        _print(name, measured)
        found.append({"trace": name, "at": args.at, **measured})
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0 if all(each["missed"] == [] for each in found) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trace", metavar="FILE", type=Path, action="append", default=[])
    parser.add_argument("--at", choices=("submit", "start"), default="submit")
    parser.add_argument("--limit", type=int, help="the first so many jobs of a trace only")
    parser.add_argument("--jobs", type=int, default=6_000, help="of a trace that is made up")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", metavar="FOLDER", type=Path, help="keep what is made up there")
    parser.add_argument("--json", metavar="FILE", type=Path, help="the figures, too")
    return parser


def _traces(args: argparse.Namespace) -> Iterator[tuple[str, Iterable[bytes]]]:
    for path in args.trace:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield path.name, file
    for name in () if args.trace else MADE:
        lines = list(made_trace(name, args.jobs, args.seed))
        if args.write is not None:
            args.write.mkdir(parents=True, exist_ok=True)
            (args.write / f"generated-{name}.swf").write_bytes(b"".join(lines))
        yield f"{name} (GENERATED, seed {args.seed})", lines


def _jobs(lines: Iterable[bytes], limit: int | None) -> Iterator[Job]:
    """The jobs that ran: completed (or not said to be anything else), or failed."""
    count = 0
    for each in TraceReader(lines):
        if isinstance(each, Job) and each.run_s is not None and each.status in (-1, 0, 1):
            count += 1
            if limit is not None and count > limit:
                return
            yield each


def trials_of_trace(jobs: list[Job], *, at_start: bool) -> Trials:
    """Jobs as trials, in groups: of the same user and application, of the same user, all.

    Alike are jobs that requested the same time and processors.
    """
    submitted_s = np.array([job.submitted_s for job in jobs])
    began_s = submitted_s + np.array([job.wait_s or 0.0 for job in jobs])
    run_s = np.array([max(job.run_s or 0.0, _LEAST_S) for job in jobs])
    kinds = _codes([(job.user, job.application) for job in jobs])
    users = _codes([job.user for job in jobs])
    everybody = np.zeros(len(jobs), np.int64)
    groups = [kinds, everybody] if len(set(kinds)) == len(set(users)) else [kinds, users, everybody]
    statuses = np.array([job.status for job in jobs])
    requested = [(job.requested_s, job.requested_processors or job.processors) for job in jobs]
    features = np.log([[each or np.nan for each in pair] for pair in requested])
    return Trials(
        asked_at_s=began_s if at_start else submitted_s,
        ended_at_s=began_s + run_s,
        duration_s=run_s,
        is_completed=np.isin(statuses, (COMPLETED, -1)),
        is_failed=statuses == FAILED,
        groups=np.column_stack(groups),
        features=features,
    )


def _codes(names: list[Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    known: dict[Any, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)


def measure(trials: Trials) -> dict[str, Any]:
    """Scores by name, and which goals were missed."""
    began = time.process_time()
    asked, _ = back_test(trials)
    took_s = time.process_time() - began
    answers = {OURS: answers_of(trials, asked), **simple_answers(trials, 0)}
    judged = common(answers)
    scores = {name: score(trials, each, judged) for name, each in answers.items()}
    during = score(trials, answers_during(trials, asked, MIN_LONGER))
    return {
        "jobs": len(trials),
        "failed": int(trials.is_failed.sum()),
        "kinds": len(set(trials.groups[:, 0].tolist())),
        "us_per_job": 1e6 * took_s / max(len(trials), 1),
        "scores": {name: asdict(each) for name, each in scores.items()},
        "during": asdict(during),
        "all_jobs": asdict(score(trials, answers[OURS])),
        "missed": missed(scores),
    }


def missed(scores: dict[str, Score]) -> list[str]:
    """The goals that are not met."""
    ours, found = scores[OURS], []
    for name in ("mean", "last"):
        for loss in ("pinball_p50_s", "pinball_p90_s"):
            mine, theirs = getattr(ours, loss), getattr(scores[name], loss)
            if mine is None or theirs is None or mine >= theirs:
                found.append(f"{loss} of {name}")
    if ours.coverage is None or abs(ours.coverage - COVERAGE) > TARGET_MISS:
        found.append("coverage")
    return found


def _print(name: str, found: dict[str, Any]) -> None:
    print(f"\n{name}: {found['jobs']:,} jobs of {found['kinds']:,} kinds, ", end="")
    print(f"{found['failed']:,} failed; {found['us_per_job']:.0f} µs of CPU each")
    print(f"{'':10}{'p50 loss s':>12}{'p90 loss s':>12}{'coverage':>10}{'Brier':>8}{'jobs':>9}")
    rows = [*found["scores"].items(), ("during", found["during"]), ("all", found["all_jobs"])]
    for label, each in rows:
        figures = [
            _figure(each["pinball_p50_s"], 12, 1),
            _figure(each["pinball_p90_s"], 12, 1),
            _figure(each["coverage"], 10, 3),
            _figure(each["brier"] if found["failed"] else None, 8, 4),
        ]
        print(f"{label:10}{''.join(figures)}{each['runs']:>9,}")
    print("missed: " + (", ".join(found["missed"]) or "nothing"))


def _figure(value: float | None, width: int, digits: int) -> str:
    return f"{'-' if value is None else format(value, f'.{digits}f'):>{width}}"


if __name__ == "__main__":
    sys.exit(main())
