"""Runs jobs without end in sight and prints what the process uses from time to time."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import threading
from typing import Any

import psutil

import fiveobs
from fiveobs import observe_job


@observe_job("compute", service="soak")
def plain(number: int) -> int:
    return number + 1


def rich(number: int) -> None:
    with observe_job("customer", service="soak", session_id=f"session-{number}") as job:
        job.log.info("line", number=number)
        job.count("records", 3, kind=str(number % 7))
        with job.stage("load", total=2) as stage:
            stage.advance(2)


def failing(number: int) -> None:
    with contextlib.suppress(ValueError), observe_job("failing", service="soak"):
        int(f"no {number}")


def figures(number: int) -> dict[str, Any]:
    gc.collect()
    process = psutil.Process()
    threads = [thread.name for thread in threading.enumerate()]
    rss = process.memory_info().rss
    return {"jobs": number, "rss_bytes": rss, "fds": process.num_fds(), "threads": len(threads)}


def main() -> None:
    total, every = map(int, sys.argv[1:])
    for number in range(1, total + 1):
        if number % 100 == 0:
            failing(number)
        elif number % 10 == 0:
            rich(number)
        else:
            plain(number)
        if number % every == 0 or number == 10_000:
            fiveobs.flush(30)
            os.write(1, json.dumps(figures(number)).encode() + b"\n")


if __name__ == "__main__":
    main()
