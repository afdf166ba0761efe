"""A Celery application: what a worker runs, and what sends to it.

``python -m celery -A celery_app worker`` runs the worker. ``python celery_app.py TASK COUNT`` sends
tasks, waits for their results and prints each as a JSON line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from celery import Celery

from fiveobs import announce_job, current_job, observe_job

app = Celery("celery_app", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    result_expires=60,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
)


def headers_of(task, *_):
    """The carrier that came with the message."""
    return task.request.headers


def attempt_of(task, *_):
    """Counts retries, and that the task came back because its process was lost."""
    return 1 + task.request.retries + bool(task.request.delivery_info.get("redelivered"))


@app.task(bind=True)
@observe_job("resize-image", service="thumbnails", carrier=headers_of)
def resize(self, number):
    """Work that goes well."""
    with current_job().stage("Scale"):
        current_job().log.info("scaled", number=number)
    return {"pid": os.getpid()}


@app.task(bind=True, autoretry_for=(OSError,), max_retries=1, default_retry_delay=0)
@observe_job("fetch-image", service="thumbnails", carrier=headers_of, attempt=attempt_of)
def fetch(self, number):
    """Work that goes well the second time."""
    if not self.request.retries:
        raise OSError(f"image {number} is not there yet")
    return {"pid": os.getpid()}


@app.task(bind=True)
@observe_job("heavy-image", service="thumbnails", carrier=headers_of, attempt=attempt_of)
def heavy(self, number):
    """Work whose first process is killed by the system."""
    killed = Path(os.environ["KILLED_ONCE"])
    if not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"pid": os.getpid()}


def send(task, job_name, count):
    """Announce and send; the results are waited for."""
    with observe_job("upload", service="shop") as upload:
        sent = []
        for number in range(count):
            headers = announce_job(job_name, service="thumbnails", queue="celery")
            sent.append(task.apply_async([number], headers=headers))
    for result in sent:
        said = {"trace_id": upload.trace_id, **result.get(timeout=60)}
        sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    tasks = {
        "resize": (resize, "resize-image"),
        "fetch": (fetch, "fetch-image"),
        "heavy": (heavy, "heavy-image"),
    }
    send(*tasks[sys.argv[1]], int(sys.argv[2]))
