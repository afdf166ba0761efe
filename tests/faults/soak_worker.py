"""A worker of the soak: runs jobs in bursts at full speed, and writes down each that has ended.

``soak_worker run LIFE TRUTH JOBS_PER_S`` goes on until it is killed; the life is the service of its
jobs, so that its metrics are told from those of others. TRUTH is a file of its own to
which each job appends one byte, its kind, as soon as its last event has been recorded: the n-th
byte is job ``LIFE-n``. ``soak_worker last TIMEOUT_S`` only delivers what others have left.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import fiveobs
from fiveobs import observe_job

#: Jobs of one burst.
_BURST = 250
#: Every so many jobs one is of this kind.
_RICH_EVERY, _FAILING_EVERY = 10, 100


def _plain(life: str, job_id: str) -> None:
    with observe_job("plain", service=life, job_id=job_id):
        pass


def _rich(life: str, job_id: str) -> None:
    with observe_job("rich", service=life, job_id=job_id) as job:
        job.log.info("line", text="x" * 100)
        job.count("records", 1, life=life)
        with job.stage("load"):
            pass


def _failing(life: str, job_id: str) -> None:
    with (
        contextlib.suppress(ValueError),
        observe_job("failing", service=life, job_id=job_id),
    ):
        int("no number")


def _one(life: str, number: int) -> bytes:
    job_id = f"{life}-{number}"
    if number % _FAILING_EVERY == 0:
        _failing(life, job_id)
        return b"f"
    if number % _RICH_EVERY == 0:
        _rich(life, job_id)
        return b"r"
    _plain(life, job_id)
    return b"p"


def run(life: str, truth: str, jobs_per_s: str) -> None:
    fiveobs.configure()
    ended = os.open(truth, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    number, began_at_s = 0, time.monotonic()
    while True:
        for number in range(number + 1, number + _BURST + 1):  # noqa: B020 - it goes on
            os.write(ended, _one(life, number))
        ahead_s = number / float(jobs_per_s) - (time.monotonic() - began_at_s)
        time.sleep(max(0.0, ahead_s))


def last(timeout_s: str) -> None:
    until_s = time.monotonic() + float(timeout_s)
    fiveobs.configure()
    journal = Path(os.environ["FIVEOBS_HOME"], "journal")
    while len(list(journal.glob("*.lock"))) > 1 and time.monotonic() < until_s:
        fiveobs.flush(0.2)
        time.sleep(0.05)
    fiveobs.shutdown(max(1.0, until_s - time.monotonic()))


if __name__ == "__main__":
    {"run": run, "last": last}[sys.argv[1]](*sys.argv[2:])
