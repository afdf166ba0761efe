"""A job that computes, on a GPU where there is one, and the figures it leaves behind.

Multiplies matrices with the first of torch, cupy and numpy that is installed, else in plain Python,
and checks the result. The job says which device it has taken, measures its own rate, and gives the
device's figures as gauges: those of the GPU where NVIDIA's library answers
(``pip install 'fiveobs[gpu]'``), those of the process and the processor elsewhere. Such figures of
the whole machine are in the metrics track anyway; here they belong to the job.

    python examples/gpu_figures.py [--size N] [--rounds N]
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil

from fiveobs import ConnectorLogger, Job, observe_job


class Engine(NamedTuple):
    """Something that multiplies matrices."""

    library: str
    device: str
    size: int
    #: Multiplies two n by n matrices of ones; the sum of the product, which must be n cubed.
    multiply: Callable[[int], float]


def _torch() -> Engine:
    torch = importlib.import_module("torch")
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def multiply(size: int) -> float:
        ones = torch.ones((size, size), device=device, dtype=torch.float64)
        return float((ones @ ones).sum())

    return Engine("torch", device, 2048 if device == "cuda" else 512, multiply)


def _cupy() -> Engine:
    cupy = importlib.import_module("cupy")

    def multiply(size: int) -> float:
        ones = cupy.ones((size, size))
        return float((ones @ ones).sum())

    multiply(8)  # fails here where there is no device
    return Engine("cupy", "cuda", 2048, multiply)


def _numpy() -> Engine:
    numpy = importlib.import_module("numpy")

    def multiply(size: int) -> float:
        ones = numpy.ones((size, size))
        return float((ones @ ones).sum())

    return Engine("numpy", "cpu", 512, multiply)


def _python() -> Engine:
    def multiply(size: int) -> float:
        rows = columns = [[1.0] * size for _ in range(size)]
        return sum(
            sum(a * b for a, b in zip(row, column, strict=True))
            for row in rows
            for column in columns
        )

    return Engine("plain Python", "cpu", 64, multiply)


def engine() -> Engine:
    """The best one that works here."""
    for make in (_torch, _cupy, _numpy):
        try:
            return make()
        except Exception:  # not installed, or without a device
            continue
    return _python()


def gpu_figures() -> dict[str, float]:
    """The figures of the first GPU; empty where NVIDIA's library does not answer."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return {
            "gpu.utilization": nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
            "gpu.memory.used": memory.used,
            "gpu.temperature": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        }
    except Exception:  # no library, no driver, no device
        return {}


def cpu_figures() -> dict[str, float]:
    """The figures of this process and of the processor."""
    return {
        "cpu.utilization": psutil.cpu_percent(interval=None) / 100,
        "process.memory.used": psutil.Process().memory_info().rss,
        "machine.memory.utilization": psutil.virtual_memory().percent / 100,
    }


def compute(job: Job, chosen: Engine, size: int, rounds: int) -> None:
    """Multiply, check, measure."""
    with job.stage("Multiply", total=rounds, unit="multiplications") as stage:
        for done in range(1, rounds + 1):
            started = time.perf_counter()
            total = chosen.multiply(size)
            duration_s = time.perf_counter() - started
            if total != float(size) ** 3:
                raise ArithmeticError(f"the sum is {total}, not {float(size) ** 3}")
            job.record("multiplication.duration", duration_s, unit="s", library=chosen.library)
            stage.advance()
            job.progress(done=done, total=rounds)
    flops = 2 * float(size) ** 3 * stage.rate_per_s
    job.gauge("multiplication.rate", flops, unit="{flop}/s", library=chosen.library)
    job.result(size=size, rounds=rounds, flop_per_s=round(flops))
    print(f"{rounds} products of {size} x {size} with {chosen.library}: {flops / 1e9:,.3f} GFLOP/s")


def main() -> int:
    """Compute, and show the figures that the job has recorded."""
    parser = argparse.ArgumentParser(description="Multiply matrices and record figures.")
    parser.add_argument("--size", type=int, help="rows of a matrix (default: fits the engine)")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    chosen = engine()
    cpu_figures()  # the first look at the processor's load only starts the clock
    with observe_job("multiply", service="numerics", attributes={"device": chosen.device}) as job:
        connector = ConnectorLogger("numerics")
        connector.resource_allocated(chosen.device, library=chosen.library)
        compute(job, chosen, args.size or chosen.size, args.rounds)
        for name, value in (gpu_figures() or cpu_figures()).items():
            job.gauge(name, value, device=chosen.device)
            print(f"  {name:<28} {value:,.2f}")
        connector.resource_released(chosen.device)
    print(f"\nLook next:  fiveobs find {job.job_id}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
