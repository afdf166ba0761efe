"""Jobs for RQ, as a worker imports them, and what sends them.

``python rq_jobs.py FUNCTION COUNT`` sends jobs, waits until they have ended and prints what became
of each as a JSON line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import redis
import rq

from fiveobs import announce_job, flush, observe_job

QUEUE = "thumbs"
RETRIES = 2


def headers_of(_number):
    """The carrier that was put into the job's meta."""
    return rq.get_current_job().meta["headers"]


def attempt_of(_number):
    """Counts RQ's retries, which it counts down."""
    return 1 + RETRIES - rq.get_current_job().retries_left


@observe_job("resize-image", service="thumbnails", carrier=headers_of)
def resize(number):
    """Work that goes well."""
    return number


def resize_and_flush(number):
    """The same, and all of it has been sent before the work horse leaves."""
    try:
        return resize(number)
    finally:
        flush(timeout_s=60)


@observe_job("heavy-image", service="thumbnails", carrier=headers_of, attempt=attempt_of)
def heavy(number):
    """Work whose first work horse is killed by the system."""
    killed = Path(os.environ["KILLED_ONCE"])
    if not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def has_ended(job):
    """Whether RQ will not run it any more."""
    job.refresh()
    status = job.get_status(refresh=False).value
    return status == "finished" or (status == "failed" and not job.retries_left)


def send(function, job_name, count):
    """Announce and send; what becomes of the jobs is waited for."""
    queue = rq.Queue(QUEUE, connection=redis.Redis.from_url(os.environ["REDIS_URL"]))
    with observe_job("upload", service="shop") as upload:
        sent = []
        for number in range(count):
            headers = announce_job(job_name, service="thumbnails", queue=QUEUE)
            meta = {"headers": headers}
            sent.append(queue.enqueue(function, number, meta=meta, retry=rq.Retry(RETRIES)))
    for job in sent:
        while not has_ended(job):
            time.sleep(0.02)
        said = {"trace_id": upload.trace_id, "status": job.get_status().value}
        sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    functions = {
        "resize": (resize, "resize-image"),
        "resize_and_flush": (resize_and_flush, "resize-image"),
        "heavy": (heavy, "heavy-image"),
    }
    function, job_name = functions[sys.argv[1]]
    send(f"rq_jobs.{function.__name__}", job_name, int(sys.argv[2]))
