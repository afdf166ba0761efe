"""What a type checker makes of the public names; checked with mypy, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, assert_type

import pytest

import fiveobs
from fiveobs import (
    Accounting,
    ContextThreadPoolExecutor,
    Job,
    JobEvent,
    JobStatus,
    LogHandler,
    Stage,
    Track,
    announce_job,
    bind_context,
    bus,
    configure,
    current_job,
    flush,
    get_logger,
    observe_job,
    shutdown,
)
from fiveobs.testing import (
    BrokenTrack,
    Captured,
    CapturedJob,
    FakeClock,
    RecordingTrack,
    SlowTrack,
    capture,
)

# --- decorating keeps the type ---


@observe_job("resize", service="thumbnails")
def resize(path: str, *, width: int = 100) -> bytes:
    return path.encode() * width


@observe_job
def bare(path: str) -> int:
    return len(path)


@observe_job()
def unnamed(count: int) -> list[int]:
    return [count]


@observe_job("fetch")
async def fetch(url: str) -> dict[str, int]:
    return {url: 1}


@observe_job("rows", depends_on=lambda path: {path: "must be there"})
def rows(path: str) -> Iterator[tuple[int, str]]:
    yield 1, path


@observe_job("messages", queue="mail", carrier=lambda queue: {"queue": queue})
async def messages(queue: str) -> AsyncIterator[bytes]:
    yield queue.encode()


class Worker:
    @observe_job("work")
    def work(self, item: int) -> str:
        return str(item)

    @observe_job("arrive")
    async def arrive(self) -> None: ...

    @staticmethod
    @observe_job("still")
    def still(item: int) -> str:
        return str(item)

    @classmethod
    @observe_job("make")
    def make(cls, item: int) -> Worker:
        return cls()


def functions() -> None:
    assert_type(resize("cat.png", width=3), bytes)
    assert_type(bare("cat.png"), int)
    assert_type(unnamed(3), list[int])
    assert_type(rows("a.csv"), Iterator[tuple[int, str]])
    bare_again: Callable[[str], int] = bare
    assert_type(bare_again("x"), int)
    resize(3)  # type: ignore[arg-type]
    resize("cat.png", 3)  # type: ignore[call-arg]
    bare()  # type: ignore[call-arg]


async def coroutines() -> None:
    assert_type(await fetch("http://a"), dict[str, int])
    pending: Coroutine[Any, Any, dict[str, int]] = fetch("http://a")
    await pending
    async for message in messages("mail"):
        assert_type(message, bytes)
    await fetch(1)  # type: ignore[arg-type]


async def methods() -> None:
    worker = Worker()
    assert_type(worker.work(1), str)
    await worker.arrive()
    assert_type(Worker.still(1), str)
    assert_type(Worker.make(1), Worker)
    worker.work("one")  # type: ignore[arg-type]


# --- jobs and stages ---


def blocks() -> None:
    with observe_job("report", stages=("load", "send"), attempt=2, attributes={"a": 1}) as job:
        assert_type(job, Job)
        assert_type(job.status, JobStatus)
        assert_type(job.percent, float | None)
        assert_type(job.carrier(), dict[str, str])
        with job.stage("load", total=10) as stage:
            assert_type(stage, Stage)
            assert_type(stage.eta_s, float | None)
            stage.advance(2)
            assert_type(stage.set(algorithm="fast", kinds=["a"]), None)
        job.progress(0.5, "half way")
        job.milestone("half", rows=5)
        job.count("rows", 5, unit="{row}", table="a")
        job.log.warning("careful", rows=5)
    observe_job("report", sevice="x")  # type: ignore[call-overload]


async def async_blocks() -> None:
    async with observe_job("report") as job, job.stage("load") as stage:
        assert_type(job, Job)
        assert_type(stage, Stage)
        await job.acheckpoint()


def around() -> None:
    assert_type(current_job(), Job | None)
    assert_type(announce_job("resize", queue="images"), dict[str, str])
    assert_type(bind_context(bare)("x"), int)
    assert_type(flush(1.0), bool)
    assert_type(shutdown(), bool)
    configure(service="thumbnails", tracks=[RecordingTrack()])
    get_logger(__name__).info("ready", port=80)
    handler = LogHandler()
    handler.setLevel("INFO")
    with ContextThreadPoolExecutor(max_workers=2) as pool:
        assert_type(pool.submit(bare, "x").result(), int)
    assert_type(fiveobs.__version__, str)


# --- events, the bus, tracks ---


@bus.subscribe("job.*", service="thumbnails")
def on_job(event: JobEvent) -> None:
    assert_type(event.job_id, str | None)
    assert_type(event.data, Mapping[str, Any])
    assert_type(event.evolve(message="x"), JobEvent)
    assert_type(event.to_cloudevent(), dict[str, Any])


class Own:
    name = "own"

    def on_event(self, event: JobEvent) -> None: ...

    def close(self, timeout_s: float) -> None: ...


def tracks() -> list[Track]:
    on_job(JobEvent({}))
    return [Own(), RecordingTrack(), BrokenTrack(raises=OSError()), SlowTrack(0.1)]


def sums(each: Accounting) -> None:
    assert_type(each.accepted, int)


# --- testing ---


def in_a_test() -> None:
    block: AbstractContextManager[Captured] = capture(slow={"traces": 0.5}, clock=FakeClock())
    with block as captured:
        assert_type(captured.events, list[JobEvent])
        assert_type(captured.logs, list[JobEvent])
        assert_type(captured.spans, list[dict[str, Any]])
        assert_type(captured.job(), CapturedJob)
        assert_type(captured.ids_agree("42"), dict[str, str])
        assert_type(captured.metric("jobs.processed"), float)
        assert_type(captured.accounting(), dict[str, Accounting])
        assert_type(captured.wait_for(lambda c: c.jobs), list[CapturedJob])
    capture({"logs"})  # type: ignore[arg-type, call-arg]


@pytest.mark.fiveobs(sequential_ids=True)
def test_with_the_fixture(fiveobs_capture: Captured) -> None:
    """Never run."""
    assert_type(fiveobs_capture.job().status, JobStatus)
