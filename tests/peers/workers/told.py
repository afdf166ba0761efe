"""A worker that does what each line of its standard input says, and answers with a line of JSON.

Its destinations are set by the caller's environment. It ends, as a program does, when its standard
input closes.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import sys
import threading
import time
from typing import Any

import fiveobs
from fiveobs import announce_job, observe_job
from fiveobs import observe_queue as observe

SERVICE = "thumbnails"
QUEUE = "images"

#: Carriers of the jobs that wait.
waiting: list[dict[str, str]] = []
#: The jobs that `begin` has opened, in a context of their own: no other job is within them.
running = contextlib.ExitStack()
aside = contextvars.copy_context()


def resize(*, fails: bool = False, carrier: Any = None) -> None:
    """One job with two stages."""
    with contextlib.suppress(ValueError), observe_job("resize", service=SERVICE, carrier=carrier):
        job = fiveobs.current_job()
        assert job is not None
        with job.stage("load"):
            job.log.info("loaded", width=640)
        with job.stage("scale"):
            if fails:
                raise ValueError("no such image")


def succeed(count: str) -> None:
    for _ in range(int(count)):
        resize()


def fail(count: str) -> None:
    for _ in range(int(count)):
        resize(fails=True)


def log(count: str) -> None:
    for number in range(int(count)):
        fiveobs.get_logger().info("line", number=number)


def announce(count: str) -> None:
    """Put jobs into the queue."""
    observe(QUEUE, lambda: len(waiting))
    waiting.extend(announce_job("resize", service=SERVICE, queue=QUEUE) for _ in range(int(count)))


def take(count: str) -> None:
    """Do jobs that wait in the queue."""
    for _ in range(int(count)):
        resize(carrier=waiting.pop(0))


def begin() -> None:
    """Open a job that stays open until `end`."""
    aside.run(running.enter_context, observe_job("watch", service=SERVICE))


def end() -> None:
    aside.run(running.close)


def late(seconds: str) -> None:
    """A job that fails long after its first stage was sent."""
    with contextlib.suppress(ValueError), observe_job("late", service=SERVICE) as job:
        with job.stage("early"):
            pass
        fiveobs.flush(30)
        time.sleep(float(seconds))
        raise ValueError("in the end")


def sampled(normal: str, failed: str, slow: str, slow_s: str) -> None:
    """So many jobs of each kind, mixed; the slow ones take ``slow_s`` seconds."""
    kinds = ["normal"] * int(normal)
    for kind, count in (("failed", int(failed)), ("slow", int(slow))):
        step = len(kinds) // (count + 1)
        for number in range(count):
            kinds.insert((number + 1) * step, kind)
    for kind in kinds:
        one_of(kind, float(slow_s))


def one_of(kind: str, slow_s: float) -> None:
    work = observe_job("work", service=SERVICE, request_id=kind)
    with contextlib.suppress(ValueError), work as job:
        with job.stage("first"):
            pass
        with job.stage("second"):
            if kind == "slow":
                time.sleep(slow_s)
            if kind == "failed":
                raise ValueError("failed")


def flush(timeout_s: str) -> bool:
    return fiveobs.flush(float(timeout_s))


class Stream:
    """Jobs without a pause, on a thread of their own."""

    def __init__(self) -> None:
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.count = 0

    def start(self) -> None:
        self._thread.start()

    def halt(self) -> int:
        self._halt.set()
        self._thread.join()
        return self.count

    def _run(self) -> None:
        while not self._halt.wait(0.005):
            self.count += 1
            resize(fails=self.count % 5 == 0)


def main() -> None:
    fiveobs.configure()
    stream = Stream()
    commands: dict[str, Any] = {
        each.__name__: each
        for each in (succeed, fail, log, announce, take, begin, end, late, sampled, flush)
    }
    commands |= {"stream": stream.start, "count": lambda: stream.count, "halt": stream.halt}
    for line in sys.stdin:
        name, *arguments = line.split()
        sys.stdout.write(json.dumps(commands[name](*arguments)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
