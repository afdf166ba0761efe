"""Runs one job for each way to fail and prints the ids that it saw, a JSON line each."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

from fiveobs import current_job, observe_job

SERVICE = "thumbnails"
IDS: dict[str, Any] = {"session_id": "session-7", "request_id": "request-9"}
#: Stands in an argument, in a local variable and in an attribute of the exception.
PRIVATE = "of a customer"


def tell(name: str) -> None:
    """Print the ids of the job that is running."""
    job = current_job()
    assert job is not None
    ids = {each: getattr(job, each) for each in ("job_id", "trace_id", "span_id", "attempt")}
    os.write(1, json.dumps({"name": name, **ids}).encode() + b"\n")


def plain() -> None:
    job = current_job()
    assert job is not None
    job.log.info("opened", rows=[1, {"größe": None}], ratio=0.5)
    job.progress(0.5, "rendering")
    with job.stage("Scale"):
        raise ValueError("no such image")


def chained() -> None:
    try:
        {}["width"]
    except KeyError as exc:
        raise ValueError("no width") from exc


def in_handler() -> None:
    try:
        int("wide")
    except ValueError:
        raise LookupError("nor is there another")  # noqa: B904 - the context is what is tested


def group() -> None:
    inner = ExceptionGroup("in the pool", [OSError(28, "No space left on device")])
    raise ExceptionGroup("two parts failed", [ValueError("one"), inner])


def deep() -> None:
    def descend(level: int) -> None:
        descend(level + 1)

    descend(0)


def huge() -> None:
    job = current_job()
    assert job is not None
    job.log.error("x" * 100_000)
    raise RuntimeError("größe \U0001f40c " * 100_000)


def broken_text() -> None:
    raise OSError("a file name: \udcff\ud800, a nul: \x00, an escape: \x1b[31m")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def unprintable() -> None:
    raise UnprintableError


def private(order: str = PRIVATE) -> None:
    local = [order]
    error = RuntimeError("could not be shipped")
    error.order = local  # type: ignore[attr-defined]
    raise error


async def in_task() -> None:
    await asyncio.sleep(0)
    raise TimeoutError("no answer")


def asynchronous() -> None:
    asyncio.run(in_task())


def renamed() -> None:
    """An exception whose class and module have odd names."""
    kind = type("Größe\n<locals>" * 50, (Exception,), {"__module__": "m" * 500})
    raise kind("odd")


def attempts() -> None:
    """One job that fails twice."""
    for attempt in (1, 2):
        try:
            with observe_job(
                "attempts", service=SERVICE, job_id="tried-twice", attempt=attempt, **IDS
            ) as job:
                tell("attempts")
                if attempt == 1:
                    job.retrying("busy", delay_s=0.1)
                raise ConnectionError(f"attempt {attempt}")
        except ConnectionError:
            pass


WAYS: tuple[Callable[[], None], ...] = (
    plain,
    chained,
    in_handler,
    group,
    deep,
    huge,
    broken_text,
    unprintable,
    private,
    asynchronous,
    renamed,
)


def main() -> None:
    for way in WAYS:
        name = way.__name__
        try:
            with observe_job(name, service=SERVICE, queue="images", **IDS):
                tell(name)
                way()
        except Exception:
            pass
    attempts()
    with observe_job("fine", service=SERVICE):
        tell("fine")


if __name__ == "__main__":
    main()
