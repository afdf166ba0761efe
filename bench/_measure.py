"""Runs one case in this process and prints its figures as one JSON line.

Started by the benchmarks with the case's environment and the plan on standard input; the libraries
compared set up process-wide state, so each case gets a process of its own.
"""

from __future__ import annotations

import array
import gc
import importlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench._case import Case, Plan  # noqa: E402 - the root must be on the path first

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MODULES", "job_data", "quantiles_us"]

#: The module of each case.
MODULES = {
    "nothing": "nothing",
    "otel-span": "otel_span",
    "hand-wired": "hand_wired",
    "logfire": "logfire_span",
    "ddtrace": "ddtrace_span",
    "fiveobs": "fiveobs_job",
    "fiveobs-sampled-out": "fiveobs_job",
    "fiveobs-unconfigured": "fiveobs_job",
    "fiveobs-two-logs": "fiveobs_job",
}


def main() -> None:
    """Measure the case that the plan on standard input names."""
    plan = Plan(**json.loads(sys.stdin.readline()))
    module = importlib.import_module(f"bench.baselines.{MODULES[plan.case]}")
    case: Case = module.build(plan)
    _run(case, plan, range(plan.warmup_jobs))
    if plan.flush_first:
        case.flush()
    gc.collect()
    cpu_start_s, wall_start_s = time.process_time(), time.perf_counter()
    walls_ns, idle_cpu_s = _run(case, plan, range(plan.warmup_jobs, plan.all_jobs))
    last_job_at_s, wall_jobs_s = time.monotonic(), time.perf_counter() - wall_start_s
    if plan.flush_first:
        case.flush()
    case.shutdown()
    cpu_s = time.process_time() - cpu_start_s - idle_cpu_s
    figures = {
        **quantiles_us(walls_ns),
        "cpu_us": cpu_s / plan.jobs * 1e6,
        "jobs_s": wall_jobs_s,
        "last_job_at_s": last_job_at_s,
        "shutdown_s": time.monotonic() - last_job_at_s,
        "expected": case.expected,
        "local_counts": case.local_counts(),
        "notes": case.notes,
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


def job_data(number: int) -> dict[str, Any]:
    """The data of one job; the same for every case."""
    return {
        "id": f"job-{number:08d}",
        "service_required": "bench",
        "input": {"path": f"/data/{number}.png", "width": 640, "height": 480, "quality": 0.85},
    }


def _run(case: Case, plan: Plan, numbers: Iterable[int]) -> tuple[array.array[int], float]:
    """Run jobs back to back or paced; return wall times in ns and the CPU that pauses cost."""
    clock, job, pause_s = time.perf_counter_ns, case.job, plan.pace_us / 1e6
    everything = [job_data(number) for number in numbers]
    walls_ns = array.array("q", bytes(8 * len(everything)))
    idle_cpu_s = 0.0
    for index, data in enumerate(everything):
        start_ns = clock()
        job(data)
        walls_ns[index] = clock() - start_ns
        if pause_s:
            before_s = time.thread_time()
            time.sleep(pause_s)
            idle_cpu_s += time.thread_time() - before_s
    return walls_ns, idle_cpu_s


def quantiles_us(walls_ns: Iterable[int]) -> dict[str, float]:
    """Median, tail and worst of wall times, in microseconds."""
    ordered = sorted(walls_ns)
    cuts = statistics.quantiles(ordered, n=1000, method="inclusive")
    return {
        "p50_us": cuts[499] / 1e3,
        "p90_us": cuts[899] / 1e3,
        "p99_us": cuts[989] / 1e3,
        "p999_us": cuts[998] / 1e3,
        "max_us": ordered[-1] / 1e3,
    }


if __name__ == "__main__":
    main()
