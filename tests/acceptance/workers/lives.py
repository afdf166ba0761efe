"""Ways in which processes live and end; the first argument names one. Prints JSON lines."""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fiveobs
from fiveobs import _runtime, observe_job

#: A child that takes longer hangs.
CHILD_TIMEOUT_S = 15.0


def say(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


@observe_job("work", service="lives", job_id=lambda number: f"job-{number}")
def work(number: int) -> int:
    return number * 2


def wait_for(pid: int) -> None:
    """Wait for a child; kill and name one that hangs."""
    deadline = time.monotonic() + CHILD_TIMEOUT_S
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    say(hung=pid)


def wait_until_adopted() -> None:
    """Wait until no stem but our own waits for somebody to ship it."""
    journal = Path(os.environ["FIVEOBS_HOME"], "journal")
    deadline = time.monotonic() + 20
    while len(list(journal.glob("*.lock"))) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)


# --- forks ---------------------------------------------------------------------------------------


def fork_then(leave: Any, fork: Any = os.fork, children: int = 3) -> None:
    work(0)
    for number in range(1, children + 1):
        pid = fork()
        if not pid:
            work(number)
            leave(0)
        wait_for(pid)


def fork_exit() -> None:
    fork_then(sys.exit)


def fork_os_exit() -> None:
    fork_then(os._exit)
    wait_until_adopted()


def c_fork() -> None:
    # PyDLL keeps the interpreter's lock over the call, as a C program that embeds Python does. Our
    # threads are let come to rest before: without its hooks, CPython itself cannot cope with a
    # thread that wants that lock just then.
    fork = ctypes.PyDLL(None).fork
    fork_then(sys.exit, lambda: time.sleep(0.2) or fork())  # type: ignore[func-returns-value]


def hammer(children: str, threads: str) -> None:
    """Fork while threads emit without pause."""
    stop = threading.Event()

    def emit() -> None:
        while not stop.is_set():
            with observe_job("busy", service="lives") as job:
                job.log.info("line")

    workers = [threading.Thread(target=emit) for _ in range(int(threads))]
    for worker in workers:
        worker.start()
    for number in range(int(children)):
        pid = os.fork()
        if not pid:
            work(number)
            (sys.exit if number % 2 else os._exit)(0)
        wait_for(pid)
    stop.set()
    for worker in workers:
        worker.join()


# --- pools ---------------------------------------------------------------------------------------


def pool(method: str, end: str) -> None:
    work(0)
    made = multiprocessing.get_context(method).Pool(2)
    results = made.map(work, range(1, 9), chunksize=1)
    getattr(made, end)()
    made.join()
    say(results=results)


def executor(method: str) -> None:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as made:
        say(results=list(made.map(work, range(1, 9))))


# --- endings -------------------------------------------------------------------------------------


def nothing_configured() -> None:
    say(flushed=fiveobs.flush(), down=fiveobs.shutdown())
    work(1)
    say(flushed=fiveobs.flush(), down=fiveobs.shutdown())
    say(down=fiveobs.shutdown(0), flushed=fiveobs.flush(0))
    work(2)
    say(down=fiveobs.shutdown())


def black_hole(jobs: str) -> None:
    for number in range(int(jobs)):
        observer = observe_job("work", service="lives", job_id=f"job-{number}")
        with contextlib.suppress(ValueError), observer:
            int(f"no {number}")
    say(flushed=fiveobs.flush(0.5))
    pipeline = _runtime.get()
    assert pipeline is not None
    sums = {track: vars_of(each) for track, each in pipeline.accounting().items()}
    say(sums=sums, ended_at=time.time())


def vars_of(sums: Any) -> dict[str, int]:
    return {name: getattr(sums, name) for name in ("accepted", "delivered", "pending", "dropped")}


def successor() -> None:
    with observe_job("successor", service="lives"):
        wait_until_adopted()


def one_job() -> None:
    work(1)


def waits(handler: str, where: str) -> None:
    """Wait in a job for a signal."""
    told = threading.Event()
    if handler == "own":
        signal.signal(signal.SIGTERM, lambda *_: told.set())
    fiveobs.configure()

    def wait() -> None:
        with observe_job("waits", service="lives", job_id="waits"):
            say(ready=True)
            while not told.wait(0.02):
                pass

    if where == "main":
        wait()
    else:
        with ThreadPoolExecutor(1) as threads:
            threads.submit(wait).result()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
