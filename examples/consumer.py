"""The other half of a queue between two processes: works off what ``producer.py`` has sent.

Takes the carrier out of each message, so that its jobs continue the producer's ids. A job that
fails is put back once: the second attempt has the same ``job_id`` and the number 2. The metric
``queue_size`` says how many messages wait. Ends when nothing has come for a while.

    python examples/consumer.py [--idle SECONDS] [--queue FOLDER]
"""

from __future__ import annotations

import argparse
import ast
import sys
import time
from pathlib import Path
from typing import Any

from _spool import Queue, default_folder, open_queue

from fiveobs import current_job, observe_job, observe_queue

MAX_ATTEMPTS = 2


@observe_job(
    "outline",
    service="consumer",
    carrier=lambda message, _queue: message["headers"],
    attempt=lambda message, _queue: message["attempt"],
)
def outline(message: dict[str, Any], queue: Queue) -> list[str]:
    """The names of the classes and functions of a module."""
    job = current_job()
    assert job is not None
    print(f"taken    {message['path']}  job {job.job_id}  attempt {job.attempt}")
    try:
        with job.stage("Parse"):
            tree = ast.parse(Path(message["path"]).read_bytes())
    except OSError as error:
        if message["attempt"] < MAX_ATTEMPTS:
            job.retrying(error, delay_s=0)
            queue.put({**message, "attempt": message["attempt"] + 1})
        raise
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = [node.name for node in tree.body if isinstance(node, kinds)]
    job.result(names=len(names))
    return names


def consume(queue: Queue, idle_s: float) -> tuple[int, int]:
    """Work until nothing has come for ``idle_s``; how many attempts went well and did not."""
    done = failed = 0
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < idle_s:
        message = queue.take()
        if message is None:
            time.sleep(0.02)
            continue
        try:
            names = outline(message, queue)
        except Exception as error:  # a worker lives on when a job fails
            failed += 1
            print(f"failed   {message['path']}: {error}")
        else:
            done += 1
            print(f"done     {message['path']}: {len(names)} names")
        quiet_since = time.monotonic()
    return done, failed


def main() -> int:
    """Work off the queue."""
    parser = argparse.ArgumentParser(description="Work off what producer.py has sent.")
    parser.add_argument("--idle", type=float, default=2.0, help="seconds to wait for more")
    parser.add_argument("--queue", type=Path, default=default_folder())
    args = parser.parse_args()
    queue = open_queue(args.queue)
    observe_queue("outlines", queue.size)
    done, failed = consume(queue, args.idle)
    print(f"{done} done, {failed} attempts failed, and the queue is empty")
    if not done + failed:
        print("\nNothing was there; to send something:  python examples/producer.py --no-consumer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
