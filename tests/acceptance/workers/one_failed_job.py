"""Runs one job that fails, in the shape that the first argument names; prints the ids it had."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import socket
import subprocess
import sys
from typing import Any

from fiveobs import ContextThreadPoolExecutor, announce_job, current_job, observe_job

IDS: dict[str, Any] = {"session_id": "session-7", "request_id": "request-9", "attempt": 2}


def tell(role: str = "failed") -> None:
    """Print the ids of the job that is running."""
    job = current_job()
    assert job is not None
    names = ("job_id", "trace_id", "span_id", "session_id", "request_id", "attempt")
    ids = {name: getattr(job, name) for name in names}
    ids |= {"role": role, "parent_span_id": job.parent_span_id}
    ids |= {"worker_id": f"{socket.gethostname()}-{os.getpid()}"}
    os.write(1, json.dumps(ids).encode() + b"\n")


def fail() -> None:
    tell()
    raise ValueError("no such image")


@observe_job("resize", service="thumbnails", **IDS)
def function() -> None:
    fail()


@observe_job("resize", service="thumbnails", **IDS)
async def coroutine() -> None:
    await asyncio.sleep(0)
    fail()


def thread_pool() -> None:
    with observe_job("outer", service="thumbnails", **IDS), ContextThreadPoolExecutor(2) as pool:
        tell("outer")
        pool.submit(inner).result()


@observe_job("resize", service="thumbnails", **IDS)
def generator() -> Any:
    yield 1
    fail()


@observe_job("resize", service="thumbnails", **IDS)
async def async_generator_job() -> Any:
    yield 1
    await asyncio.sleep(0)
    fail()


async def async_generator() -> None:
    async for _ in async_generator_job():
        pass


def context_manager() -> None:
    with observe_job("resize", service="thumbnails", **IDS):
        fail()


async def async_context_manager() -> None:
    async with observe_job("resize", service="thumbnails", **IDS):
        await asyncio.sleep(0)
        fail()


@observe_job("resize", service="thumbnails", attempt=2)
def inner() -> None:
    fail()


def nested() -> None:
    with observe_job("outer", service="thumbnails", **IDS):
        tell("outer")
        try:
            inner()
        except ValueError:
            pass


@observe_job("resize", service="thumbnails", carrier=lambda headers: headers)
def continued(headers: dict[str, str]) -> None:
    fail()


def in_other_process(context: Any) -> None:
    with observe_job("resize", service="thumbnails", **IDS) as job:
        tell("outer")
        process = context.Process(target=continued, args=(job.carrier(),))
        process.start()
        process.join()


def fork() -> None:
    in_other_process(multiprocessing.get_context("fork"))


def spawn() -> None:
    in_other_process(multiprocessing.get_context("spawn"))


def program() -> None:
    with observe_job("resize", service="thumbnails", **IDS) as job:
        tell("outer")
        command = [sys.executable, __file__, "continued", json.dumps(job.carrier())]
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)


def announced() -> None:
    continued(announce_job("resize", service="thumbnails", queue="images", **IDS))


def main() -> None:
    shape, *args = sys.argv[1:]
    if shape == "continued":
        continued(json.loads(args[0]))
    try:
        made = globals()[shape]()
        if shape == "generator":
            list(made)
        elif asyncio.iscoroutine(made):
            asyncio.run(made)
    except ValueError:
        pass


if __name__ == "__main__":
    main()
