"""The current job wherever its work goes on: threads, executors, tasks, callbacks, generators."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import trace

from fiveobs import ContextThreadPoolExecutor, bind_context, current_job, observe_job
from fiveobs.testing import Captured, capture


@pytest.fixture
def captured() -> Iterator[Captured]:
    with capture() as found:
        yield found


def here() -> tuple[str | None, str]:
    """The current job's id and the current span's."""
    job = current_job()
    span = trace.get_current_span().get_span_context()
    return job.job_id if job else None, f"{span.span_id:016x}"


NOWHERE = (None, "0" * 16)


def in_thread(work: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.usefixtures("captured")
def test_a_job_is_current_in_its_block_only() -> None:
    """Job and span are there inside, and gone after."""
    assert here() == NOWHERE
    with observe_job("outer") as outer:
        assert here() == (outer.job_id, outer.span_id)
        with observe_job("inner") as inner:
            assert here() == (inner.job_id, inner.span_id)
        assert here() == (outer.job_id, outer.span_id)
    assert here() == NOWHERE


# --- threads ---


@pytest.mark.usefixtures("captured")
def test_a_thread_starts_without_a_job_unless_bound() -> None:
    """``bind_context`` brings job and span along; a plain thread has none."""
    with observe_job("job") as job:
        assert in_thread(here) == NOWHERE
        assert in_thread(bind_context(here)) == (job.job_id, job.span_id)


@pytest.mark.usefixtures("captured")
def test_a_bound_function_may_run_many_times_at_once() -> None:
    """Each call has a context of its own, so that jobs in them do not meet."""
    barrier = threading.Barrier(4)

    def work() -> tuple[str, str | None]:
        with observe_job("part") as part:
            barrier.wait(5)
            assert part._parent is not None
            found = (part.trace_id, part._fields.get("parent_job_id"))
            barrier.wait(5)
        return found

    with observe_job("whole") as whole:
        bound = bind_context(work)
        with ThreadPoolExecutor(4) as pool:
            found = [each.result() for each in [pool.submit(bound) for _ in range(4)]]
        assert found == [(whole.trace_id, whole.job_id)] * 4
        assert here() == (whole.job_id, whole.span_id)


@pytest.mark.usefixtures("captured")
def test_a_bound_function_keeps_its_name_arguments_and_result() -> None:
    """Partial objects and lambdas may be bound too; what is raised is raised."""

    def add(one: int, *, two: int) -> int:
        return one + two

    assert bind_context(add).__name__ == "add"
    assert bind_context(functools.partial(add, 1))(two=2) == 3
    with pytest.raises(ZeroDivisionError):
        bind_context(lambda: 1 / 0)()


@pytest.mark.usefixtures("captured")
def test_the_executor_carries_the_job_of_whoever_submits() -> None:
    """``submit`` and ``map``, also when one pool serves two jobs."""
    with ContextThreadPoolExecutor(2) as pool:
        with observe_job("first") as first:
            assert pool.submit(here).result() == (first.job_id, first.span_id)
        with observe_job("second") as second:
            assert (
                list(pool.map(lambda _: here(), range(3))) == [(second.job_id, second.span_id)] * 3
            )
        assert pool.submit(here).result() == NOWHERE


# --- asyncio ---


@pytest.mark.usefixtures("captured")
def test_tasks_inherit_the_job_and_keep_their_own() -> None:
    """Interleaved tasks each have their job; the one that started them has its own again."""

    async def part(name: str, turn: asyncio.Event, other: asyncio.Event) -> list[bool]:
        async with observe_job(name) as job:
            seen = [here() == (job.job_id, job.span_id)]
            other.set()
            await turn.wait()
            seen.append(here() == (job.job_id, job.span_id))
            seen.append(job.parent_span_id == outer_span[0])
        return seen

    outer_span: list[str] = []

    async def main() -> None:
        async with observe_job("outer") as outer:
            outer_span.append(outer.span_id)
            one, two = asyncio.Event(), asyncio.Event()
            found = await asyncio.gather(part("a", one, two), part("b", two, one))
            assert list(found) == [[True] * 3] * 2
            assert here() == (outer.job_id, outer.span_id)

    asyncio.run(main())


@pytest.mark.usefixtures("captured")
def test_callbacks_and_to_thread_run_in_the_job() -> None:
    """``call_soon``, done callbacks and ``asyncio.to_thread`` belong to the job they came from."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with observe_job("job") as job:
            soon: asyncio.Future[Any] = loop.create_future()
            loop.call_soon(lambda: soon.set_result(here()))
            done: asyncio.Future[Any] = loop.create_future()
            task = asyncio.ensure_future(asyncio.sleep(0))
            task.add_done_callback(lambda _: done.set_result(here()))
            expected = (job.job_id, job.span_id)
            assert [await soon, await done, await asyncio.to_thread(here)] == [expected] * 3

    asyncio.run(main())


def test_a_task_that_outlives_its_job_stays_in_the_trace(captured: Captured) -> None:
    """A job it runs later is a child of the one that has ended."""

    async def later(go: asyncio.Event) -> None:
        await go.wait()
        with observe_job("late"):
            pass

    async def main() -> None:
        go = asyncio.Event()
        async with observe_job("early"):
            task = asyncio.create_task(later(go))
            await asyncio.sleep(0)
        go.set()
        await task

    asyncio.run(main())
    early, late = captured.jobs
    assert late.trace_id == early.trace_id
    assert late.span is not None
    assert late.span["parent_span_id"] == early.span_id


# --- generators ---


@pytest.mark.usefixtures("captured")
def test_a_generator_takes_its_span_along_and_leaves_none_behind() -> None:
    """The consumer's span is current between items, the generator's own inside, at any depth."""
    tracer = trace.get_tracer("app")
    inside: list[tuple[Any, Any]] = []

    @observe_job("generate")
    def generate() -> Iterator[int]:
        with tracer.start_as_current_span("inner") as span:
            for number in range(3):
                current = trace.get_current_span()
                inside.append((current is span, current_job() is not None))
                yield number

    with observe_job("consume") as job:
        for _ in generate():
            assert here() == (job.job_id, job.span_id)
    assert here() == NOWHERE
    assert inside == [(True, True)] * 3


# --- endings out of order ---


@pytest.fixture
def otel_log(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    messages: list[str] = []
    with caplog.at_level(logging.DEBUG, "opentelemetry.context"):
        yield messages
    messages += [record.getMessage() for record in caplog.records]
    assert not [each for each in messages if "detach" in each]


@pytest.mark.usefixtures("captured", "otel_log")
def test_blocks_that_end_in_the_wrong_order_leave_nothing_behind() -> None:
    """Neither an ended job nor its span is current after both have ended."""
    first, second = observe_job("first"), observe_job("second")
    first.__enter__()
    inner = second.__enter__()
    first.__exit__(None, None, None)
    assert here() == (inner.job_id, inner.span_id)
    second.__exit__(None, None, None)
    assert here() == NOWHERE
    with observe_job("third") as third:
        assert third.parent_span_id is None


@pytest.mark.usefixtures("captured", "otel_log")
def test_a_job_may_end_in_another_thread() -> None:
    """OpenTelemetry has nothing to complain about, and the thread has no job after it."""
    block = observe_job("moved")
    block.__enter__()
    in_thread(lambda: block.__exit__(None, None, None))
    assert in_thread(here) == NOWHERE
    stage_block = observe_job("staged")
    job = stage_block.__enter__()
    stage = job.stage("part").__enter__()
    in_thread(bind_context(lambda: stage.__exit__(None, None, None)))
    stage_block.__exit__(None, None, None)


@pytest.mark.usefixtures("captured")
def test_a_span_that_the_application_forgets_ends_with_the_job() -> None:
    """What it made current and did not take back is not current after the job."""
    from opentelemetry.context import attach

    with observe_job("careless"):
        attach(trace.set_span_in_context(trace.get_tracer("app").start_span("forgotten")))
    assert here() == NOWHERE
