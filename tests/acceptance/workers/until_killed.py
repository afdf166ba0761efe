"""Runs jobs until it is killed; prints a job's id as soon as its last event has been recorded."""

from __future__ import annotations

import os
import sys
import threading

from fiveobs import observe_job


def emit(name: str) -> None:
    number = 0
    while True:
        number += 1
        job_id = f"{name}-{number}"
        with observe_job("work", service="sigkill", job_id=job_id) as job:
            job.log.info("line", text="x" * (number % 500))
        os.write(1, f"{job_id}\n".encode())


if __name__ == "__main__":
    threading.Thread(target=emit, args=(f"{sys.argv[1]}-b",), daemon=True).start()
    emit(f"{sys.argv[1]}-a")
