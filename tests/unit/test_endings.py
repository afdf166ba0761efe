"""How jobs end, as the journal has it; and that nothing of ours shows in what they do."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import fiveobs
from fiveobs import JobStopped, _control, _runtime, current_job, observe_job
from tests.support.workers import events, until

FINAL = ("completed", "failed", "cancelled", "interrupted", "stopped")


@pytest.fixture(autouse=True)
def home(fiveobs_home: Path) -> Iterator[Path]:
    """A pipeline for this test alone."""
    fiveobs.configure()
    yield fiveobs_home
    fiveobs.shutdown()


def ends(home: Path) -> list[str]:
    """How the jobs of this test ended, in order."""
    types = [record["event_type"].removeprefix("job.") for record in events(home)]
    return [name for name in types if name in FINAL]


# --- the kinds of end ----------------------------------------------------------------------------


def test_a_job_that_returns_is_completed(home: Path) -> None:
    """Its event has the status and the duration; the caller gets the very object."""
    thing = object()

    @observe_job
    def job() -> object:
        return thing

    assert job() is thing
    (event,) = events(home, "job.completed")
    assert event["data"]["status"] == "completed"
    assert event["data"]["duration_s"] > 0


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (ValueError("no"), "failed"),
        (ExceptionGroup("several", [ValueError()]), "failed"),
        (StopIteration(), "failed"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(3), "interrupted"),
        (BaseExceptionGroup("several", [KeyboardInterrupt()]), "interrupted"),
        (asyncio.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
        (JobStopped("asked"), "stopped"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
@pytest.mark.parametrize("shape", ["decorator", "context manager"])
def test_an_exception_decides_the_end_and_passes(
    home: Path, error: BaseException, end: str, shape: str
) -> None:
    """The caller gets the same exception object, raised where it was raised."""

    def work() -> None:
        raise error

    def run() -> None:
        if shape == "decorator":
            observe_job("work")(work)()
        else:
            with observe_job("work"):
                work()

    with pytest.raises(type(error)) as caught:
        run()
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None
    assert traceback.extract_tb(error.__traceback__)[-1].name == "work"
    assert ends(home) == [end]


def test_a_cause_is_kept(home: Path) -> None:
    """``raise … from`` reaches the caller, and both exceptions are in the event's stack trace."""
    cause = KeyError("a")
    with pytest.raises(ValueError) as caught, observe_job("job"):
        raise ValueError("b") from cause
    assert caught.value.__cause__ is cause
    (event,) = events(home, "job.failed")
    assert event["data"]["error"]["type"] == "ValueError"
    assert "KeyError" in event["data"]["error"]["stacktrace"]


def test_a_cancelled_task_is_cancelled(home: Path) -> None:
    """``task.cancel()`` ends the job as cancelled, and the task too."""

    async def main() -> None:
        begun = asyncio.Event()

        @observe_job("waits")
        async def waits() -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(waits())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert ends(home) == ["cancelled"]


def test_a_timeout_is_seen_as_cancelled_inside(home: Path) -> None:
    """``asyncio.timeout`` cancels what is inside and raises its own error outside."""

    async def main() -> None:
        async with asyncio.timeout(0.01):
            async with observe_job("waits"):
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert ends(home) == ["cancelled"]


def test_a_generator_closed_early_is_cancelled(home: Path) -> None:
    """Its own ``finally`` runs as without us."""
    cleaned = []

    @observe_job("numbers")
    def numbers() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            cleaned.append(current_job() is not None)

    generator = numbers()
    assert next(generator) == 1
    generator.close()
    assert cleaned == [True]
    assert ends(home) == ["cancelled"]


def test_a_generator_never_started_is_no_job(home: Path) -> None:
    """A generator's job begins with the first item that is asked for."""

    @observe_job("numbers")
    def numbers() -> Iterator[int]:
        yield 1

    numbers().close()
    assert events(home, "job.started") == []


@pytest.mark.parametrize("is_awaited", [False, True])
def test_a_requested_stop_ends_the_job_as_stopped(home: Path, *, is_awaited: bool) -> None:
    """``checkpoint`` raises ``JobStopped``, which ``except Exception`` does not catch."""

    async def work() -> None:
        async with observe_job("loop") as job:
            _control.request(home, job.job_id, "stop")
            while True:
                try:
                    if is_awaited:
                        await job.acheckpoint()
                    else:
                        job.checkpoint()
                except Exception:
                    pytest.fail("a stop is no Exception")

    with pytest.raises(JobStopped):
        asyncio.run(work())
    assert ends(home) == ["stopped"]


def test_a_paused_job_waits_and_goes_on(home: Path) -> None:
    """``job.paused`` and ``job.resumed`` are recorded, and the job completes."""
    with observe_job("loop") as job:
        _control.request(home, job.job_id, "pause")
        waiting = threading.Thread(target=job.checkpoint)
        waiting.start()
        until(lambda: events(home, "job.paused"))
        assert waiting.is_alive()
        _control.request(home, job.job_id, "resume")
        waiting.join(5)
        assert not waiting.is_alive()
        job.checkpoint()
    types = [event["event_type"] for event in events(home)]
    assert types[1:] == ["job.started", "job.paused", "job.resumed", "job.completed"]


def test_a_paused_job_can_be_stopped(home: Path) -> None:
    """A stop wins over a pause."""
    ended: list[BaseException] = []
    begun = threading.Event()

    def work() -> None:
        try:
            with observe_job("loop", job_id="p1") as job:
                begun.set()
                _control.request(home, job.job_id, "pause")
                job.checkpoint()
        except JobStopped as stopped:
            ended.append(stopped)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: events(home, "job.paused"))
    _control.request(home, "p1", "stop")
    thread.join(5)
    assert len(ended) == 1
    assert ends(home) == ["stopped"]


# --- one decorator, many calls -------------------------------------------------------------------


def test_recursion_makes_a_chain_of_jobs(home: Path) -> None:
    """Each call has an id of its own and the caller's as its parent."""

    @observe_job("count")
    def count(depth: int) -> list[str]:
        job = current_job()
        assert job is not None
        below = count(depth - 1) if depth else []
        assert current_job() is job
        return [job.job_id, *below]

    ids = count(3)
    assert len(set(ids)) == 4
    parents = {event["job_id"]: event.get("parent_job_id") for event in events(home, "job.started")}
    assert [parents[each] for each in ids] == [None, *ids[:-1]]
    assert ends(home) == ["completed"] * 4
    assert current_job() is None


@pytest.mark.parametrize("shape", ["decorator", "context manager"])
def test_threads_do_not_share_a_call(home: Path, shape: str) -> None:
    """Overlapping calls of one observer in threads each have their own duration and id."""
    both = threading.Barrier(8)
    observer = observe_job("work")

    def body() -> str:
        both.wait(5)
        job = current_job()
        assert job is not None
        return job.job_id

    def in_block() -> str:
        with observer:
            return body()

    work = observer(body) if shape == "decorator" else in_block
    with ThreadPoolExecutor(8) as pool:
        ids = [future.result() for future in [pool.submit(work) for _ in range(8)]]
    assert len(set(ids)) == 8
    assert sorted(event["job_id"] for event in events(home, "job.completed")) == sorted(ids)


@pytest.mark.parametrize("shape", ["decorator", "context manager"])
def test_tasks_do_not_share_a_call(home: Path, shape: str) -> None:
    """Interleaved calls under ``asyncio.gather`` each keep their job across every ``await``."""
    observer = observe_job("work")

    async def body(number: int) -> str:
        job = current_job()
        assert job is not None
        for _ in range(number):
            await asyncio.sleep(0)
            assert current_job() is job
        return job.job_id

    async def in_block(number: int) -> str:
        async with observer:
            return await body(number)

    work = observer(body) if shape == "decorator" else in_block

    async def main() -> list[str]:
        return await asyncio.gather(*(work(number) for number in range(10)))

    ids = asyncio.run(main())
    assert len(set(ids)) == 10
    assert ends(home) == ["completed"] * 10


def test_blocks_may_end_in_another_order_than_they_began(home: Path) -> None:
    """Two blocks that overlap without one being inside the other both end."""
    first, second = observe_job("first"), observe_job("second")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    names = [event["job_name"] for event in events(home, "job.completed")]
    assert names == ["first", "second"]
    assert current_job() is None


def test_a_block_may_be_left_in_another_thread(home: Path) -> None:
    """An ``ExitStack`` closed by another thread ends the job that it entered."""
    stack = contextlib.ExitStack()
    stack.enter_context(observe_job("handed over"))
    thread = threading.Thread(target=stack.close)
    thread.start()
    thread.join()
    assert ends(home) == ["completed"]
    assert current_job() is None


# --- generators ----------------------------------------------------------------------------------


def test_a_generator_does_not_leak_its_job_to_the_consumer() -> None:
    """Between items the consumer's own job is the current one; inside it is the generator's."""
    seen = []

    @observe_job("producer")
    def producer() -> Iterator[int]:
        for number in range(3):
            job = current_job()
            seen.append(job.name if job else None)
            yield number

    assert current_job() is None
    for _ in producer():
        assert current_job() is None
    with observe_job("consumer") as consumer:
        for _ in producer():
            assert current_job() is consumer
    assert seen == ["producer"] * 6


def test_an_async_generator_does_not_leak_its_job_to_the_consumer() -> None:
    """As with generators."""

    @observe_job("producer")
    async def producer() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            job = current_job()
            assert job is not None
            assert job.name == "producer"
            yield number

    async def main() -> None:
        async with observe_job("consumer") as consumer:
            async for _ in producer():
                assert current_job() is consumer
        assert current_job() is None

    asyncio.run(main())


def test_interleaved_generators_keep_their_jobs(home: Path) -> None:
    """Two generators taken in turns run in jobs of their own and both complete."""

    @observe_job("numbers")
    def numbers() -> Iterator[str]:
        for _ in range(3):
            job = current_job()
            assert job is not None
            yield job.job_id

    pairs = list(zip(numbers(), numbers(), strict=False))
    assert len({a for a, _ in pairs}) == 1
    assert len({b for _, b in pairs}) == 1
    assert pairs[0][0] != pairs[0][1]
    assert all("parent_job_id" not in event for event in events(home, "job.started"))


def test_a_generator_keeps_its_protocol() -> None:
    """``send``, ``throw`` and the return value work as without us."""

    @observe_job("echo")
    def echo() -> Any:
        got = yield "ready"
        try:
            got = yield got
        except ValueError as error:
            got = yield f"caught {error}"
        return got

    generator = echo()
    assert next(generator) == "ready"
    assert generator.send(1) == 1
    assert generator.throw(ValueError("x")) == "caught x"
    with pytest.raises(StopIteration) as stop:
        generator.send("end")
    assert stop.value.value == "end"


def test_an_async_generator_keeps_its_protocol(home: Path) -> None:
    """``asend``, ``athrow`` and ``aclose`` work as without us."""

    @observe_job("echo")
    async def echo() -> Any:
        got = yield "ready"
        try:
            got = yield got
        except ValueError as error:
            yield f"caught {error}"
        yield "last"

    async def main() -> None:
        generator = echo()
        assert await anext(generator) == "ready"
        assert await generator.asend(1) == 1
        assert await generator.athrow(ValueError("x")) == "caught x"
        await generator.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(generator)

    asyncio.run(main())
    assert ends(home) == ["cancelled"]


# --- what can be decorated -----------------------------------------------------------------------


class Worker:
    """Has a job of every kind of method."""

    @observe_job
    def method(self, value: int) -> tuple[object, int]:
        return self, value

    @observe_job
    @classmethod
    def above(cls, value: int) -> tuple[object, int]:
        return cls, value

    @classmethod
    @observe_job
    def below(cls, value: int) -> tuple[object, int]:
        return cls, value

    @observe_job
    @staticmethod
    def static(value: int) -> int:
        return value


@observe_job("module-level")
def module_level(value: int) -> int:
    """Its docstring."""
    return value * 2


def test_methods_are_jobs(home: Path) -> None:
    """Methods, class methods and static methods get what they would get, and are named for it."""
    worker = Worker()
    assert worker.method(1) == (worker, 1)
    assert Worker.above(2) == (Worker, 2)
    assert Worker.below(3) == (Worker, 3)
    assert Worker.static(4) == 4
    names = [event["job_name"] for event in events(home, "job.completed")]
    assert names == ["Worker.method", "Worker.above", "Worker.below", "Worker.static"]


def test_a_decorated_function_looks_like_itself() -> None:
    """Name, docstring and kind stay, and it pickles by name, as ``multiprocessing`` needs it."""
    assert module_level.__name__ == "module_level"
    assert module_level.__doc__ == "Its docstring."
    assert pickle.loads(pickle.dumps(Worker.below))(3) == (Worker, 3)
    observer = pickle.loads(pickle.dumps(observe_job("pickled", service="s")))
    assert observer(abs)(-3) == 3


def test_calling_a_class_a_job_is_refused() -> None:
    """A class is no piece of work, and the message says what to do instead."""
    with pytest.raises(TypeError, match="decorate the method"):
        observe_job("job")(Worker)


# --- long lives ----------------------------------------------------------------------------------


def test_a_job_that_starts_its_successor_does_not_keep_it(home: Path) -> None:
    """A job that schedules the next one, again and again, keeps no chain of ended jobs alive."""
    import gc
    import weakref

    seen: list[weakref.ref[Any]] = []

    async def tick(left: int) -> None:
        with observe_job("tick") as job:
            seen.append(weakref.ref(job))
            task = asyncio.create_task(tick(left - 1)) if left else None
        if task is not None:
            tasks.append(task)

    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        await tick(20)
        while tasks:
            await tasks.pop()

    asyncio.run(main())
    gc.collect()
    assert len(seen) == 21
    assert [ref() for ref in seen] == [None] * 21
    assert ends(home) == ["completed"] * 21


def test_spans_of_a_trace_that_is_over_do_not_wait(home: Path) -> None:
    """A job that outlives the one that started it takes no place in the buffer for good."""
    fiveobs.configure(traces_endpoint="http://127.0.0.1:9", trace_sample_ratio=0.0)

    async def inner(outer_has_ended: asyncio.Event) -> None:
        with observe_job("inner") as job:
            await outer_has_ended.wait()
            with job.stage("stage"):
                pass

    async def main() -> None:
        outer_has_ended = asyncio.Event()
        with observe_job("outer"):
            task = asyncio.create_task(inner(outer_has_ended))
            await asyncio.sleep(0)
        outer_has_ended.set()
        await task

    asyncio.run(main())
    pipeline = _runtime.get()
    assert pipeline is not None
    assert ends(home) == ["completed"] * 2
    assert pipeline.traces._waiting_count == 0
    assert pipeline.accounting()["traces"].accepted == 0
