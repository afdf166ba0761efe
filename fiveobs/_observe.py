"""``observe_job``: the one thing most users need.

Makes new state for each call, so that one decorator serves threads, tasks and recursion. What a
job returns or raises is passed on untouched, and nothing of ours is ever raised into it.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from fiveobs import _runtime
from fiveobs._context import current
from fiveobs._job import Job
from fiveobs._lifecycle import announce, begin, complete, end, newest, resume, suspend
from fiveobs._report import report
from fiveobs._spec import DependsOn, JobSpec, PerCall

F = TypeVar("F", bound=Callable[..., Any])


class JobObserver:
    """What ``observe_job(...)`` gives: a decorator and a context manager, free of state."""

    __slots__ = ("_is_named", "_spec")

    def __init__(self, spec: JobSpec, *, is_named: bool) -> None:
        self._spec = spec
        self._is_named = is_named

    def __call__(self, function: F) -> F:
        """Decorate a function, coroutine function, generator, async generator or method."""
        if isinstance(function, staticmethod | classmethod):
            return cast("F", type(function)(self(function.__func__)))
        if isinstance(function, type) or not callable(function):
            raise TypeError(
                f"observe_job decorates functions and methods, not {function!r}: "
                "decorate the method that does the work, or use 'with observe_job(...)'"
            )
        spec = self._spec
        if not self._is_named:
            spec = spec.named(getattr(function, "__qualname__", type(function).__name__))
        return cast("F", _wrap(function, spec))

    def __enter__(self) -> Job:
        """Start a job; it ends with the block."""
        return begin(self._spec)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the job; what was raised goes on."""
        job = current.get()
        while job is not None and (job._spec is not self._spec or job._is_left):
            job = job._parent
        if job is None:  # left in another order or context than it was entered
            job = newest(self._spec)
        if job is not None:
            end(job, error)

    async def __aenter__(self) -> Job:
        """Start a job; it ends with the block."""
        return begin(self._spec)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the job; what was raised goes on."""
        self.__exit__(exc_type, error, traceback)


@overload
def observe_job(name: F, /) -> F: ...


@overload
def observe_job(
    name: str | None = None,
    /,
    *,
    service: str | None = None,
    job_id: PerCall = None,
    session_id: PerCall = None,
    request_id: PerCall = None,
    attempt: PerCall = None,
    carrier: Any = None,
    queue: str | None = None,
    stages: Sequence[str] = (),
    attributes: Mapping[str, Any] | None = None,
    capture_args: bool = False,
    monitor: str | Mapping[str, Any] | None = None,
    depends_on: DependsOn = None,
) -> JobObserver: ...


def observe_job(
    name: Any = None,
    /,
    *,
    service: str | None = None,
    job_id: PerCall = None,
    session_id: PerCall = None,
    request_id: PerCall = None,
    attempt: PerCall = None,
    carrier: Any = None,
    queue: str | None = None,
    stages: Sequence[str] = (),
    attributes: Mapping[str, Any] | None = None,
    capture_args: bool = False,
    monitor: str | Mapping[str, Any] | None = None,
    depends_on: DependsOn = None,
) -> Any:
    """Observe a piece of work on all five tracks, with one set of ids.

    As a decorator, plain or with arguments, each call is a job; as a context manager (``with`` or
    ``async with``), the block is. A job inside another one is its child. ``job_id``,
    ``session_id``, ``request_id``, ``attempt``, ``carrier`` and ``depends_on`` may be functions:
    each call gives them the job's arguments, so a consumer can say
    ``carrier=lambda message: message.headers``.

    Args:
        name: What kind of job it is, for example ``"resize-image"``; the function's name if left
            out. A label of metrics: keep the number of different names small.
        service: What the job belongs to; ``FIVEOBS_SERVICE`` or ``OTEL_SERVICE_NAME`` if left out.
        job_id: An id of your own; otherwise the carrier's, or a new one that sorts by time.
        session_id: Groups jobs; inherited from the enclosing job.
        request_id: The request that led to the job; inherited from the enclosing job.
        attempt: 1 for the first try, the carrier's, or 1.
        carrier: What ``Job.carrier()`` or ``announce_job()`` gave, however your queue brings it.
        queue: Where the job came from; a label of metrics.
        stages: The names of the stages to come, so that progress can be shown as a whole.
        attributes: Attached to the job's first and last event, its span and its error.
        capture_args: Keep the arguments (redacted, cut) in the job's first event.
        monitor: Send cron check-ins to Sentry under this monitor slug, or under ``slug`` of a
            mapping with a monitor configuration (``schedule``, ``timezone``, …).
        depends_on: Ids of jobs that must be done before this one, or a mapping from each id to the
            reason (``{job_id: "Dataset must be validated"}``); may be a function, too. Recorded
            and shown, not enforced: nothing waits for them.

    Returns:
        The decorated function, with its signature and type; or a decorator and context manager.

    Example:
        >>> @observe_job("resize-image", service="thumbnails")
        ... def resize(path): ...
        >>> with observe_job("nightly-report", monitor="nightly") as job:
        ...     job.progress(0.5, "half way")
    """
    if callable(name) or isinstance(name, classmethod):
        return JobObserver(JobSpec("job"), is_named=False)(name)
    spec = JobSpec(
        "job" if name is None else name,
        service=service,
        job_id=job_id,
        session_id=session_id,
        request_id=request_id,
        attempt=attempt,
        carrier=carrier,
        queue=queue,
        stages=stages,
        attributes=attributes,
        capture_args=capture_args,
        monitor=monitor,
        depends_on=depends_on,
    )
    return JobObserver(spec, is_named=name is not None)


def announce_job(
    name: str,
    /,
    *,
    service: str | None = None,
    job_id: str | None = None,
    session_id: str | None = None,
    request_id: str | None = None,
    attempt: int | None = None,
    queue: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    input_size_bytes: int | None = None,
    depends_on: DependsOn = None,
) -> dict[str, str]:
    """Record ``job.received`` where a job is put into a queue. Never raises.

    So queue depth and queue wait are known, and the worker's job has the same ids.

    Args:
        name: What kind of job it is; as the worker's ``observe_job`` has it.
        service: As there.
        job_id: An id of your own, or a new one.
        session_id: As there.
        request_id: As there.
        attempt: As there.
        queue: The queue's name.
        attributes: Attached to the event.
        input_size_bytes: Size of the payload.
        depends_on: Ids of jobs that must be done before; as ``observe_job`` has it.

    Returns:
        The carrier to send along: ``observe_job(..., carrier=headers)`` takes it.
    """
    spec = JobSpec(name, service=service, queue=queue, attributes=attributes, depends_on=depends_on)
    job = Job(spec, current.get())
    job.input_size_bytes = input_size_bytes
    try:
        return _announce(
            job,
            {
                "job_id": job_id,
                "session_id": session_id,
                "request_id": request_id,
                "attempt": attempt,
            },
        )
    except Exception as exc:
        report("announce_job", f"{job.name}: {type(exc).__name__}: {exc}")
        return {}


def _announce(job: Job, given: dict[str, Any]) -> dict[str, str]:
    pipeline = _runtime.get()
    if pipeline is None:
        return {}
    announce(pipeline, job, given)
    return job.carrier()


# --- decorating --------------------------------------------------------------------------------


def _wrap(function: Callable[..., Any], spec: JobSpec) -> Callable[..., Any]:
    import inspect

    if inspect.iscoroutinefunction(function):
        return _wrap_coroutine(function, spec)
    if inspect.isasyncgenfunction(function):
        return _wrap_async_generator(function, spec)
    if inspect.isgeneratorfunction(function):
        return _wrap_generator(function, spec)
    return _wrap_function(function, spec)


def _wrap_function(function: Callable[..., Any], spec: JobSpec) -> Callable[..., Any]:
    @functools.wraps(function)
    def observed(*args: Any, **kwargs: Any) -> Any:
        job = begin(spec, args, kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            end(job, error)
            raise
        complete(job, result)
        return result

    return observed


def _wrap_coroutine(function: Callable[..., Any], spec: JobSpec) -> Callable[..., Any]:
    @functools.wraps(function)
    async def observed(*args: Any, **kwargs: Any) -> Any:
        job = begin(spec, args, kwargs)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            end(job, error)
            raise
        complete(job, result)
        return result

    return observed


def _wrap_generator(function: Callable[..., Any], spec: JobSpec) -> Callable[..., Any]:
    """The job runs from the first item asked for to the end; between items it is suspended."""

    @functools.wraps(function)
    def observed(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        job = begin(spec, args, kwargs)
        try:
            result = yield from _steps(job, function(*args, **kwargs))
        except BaseException as error:
            end(job, error)
            raise
        complete(job)
        return result

    return observed


def _steps(job: Job, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Drive the generator, with the job current only while it runs."""
    step: Callable[[], Any] = functools.partial(next, generator)
    while True:
        try:
            item = step()
        except StopIteration as stop:
            return stop.value
        inside = suspend(job)
        try:
            sent = yield item
        except GeneratorExit:
            resume(job, inside)
            generator.close()
            raise
        except BaseException as thrown:
            resume(job, inside)
            step = functools.partial(generator.throw, thrown)
        else:
            resume(job, inside)
            step = functools.partial(generator.send, sent)


def _wrap_async_generator(function: Callable[..., Any], spec: JobSpec) -> Callable[..., Any]:
    """As ``_wrap_generator``; async generators cannot delegate, so the steps are taken here."""

    @functools.wraps(function)
    async def observed(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        job = begin(spec, args, kwargs)
        try:
            generator = function(*args, **kwargs)
            step = anext(generator)
            while True:
                item = await step
                inside = suspend(job)
                try:
                    sent = yield item
                except GeneratorExit:
                    resume(job, inside)
                    await generator.aclose()
                    raise
                except BaseException as thrown:
                    resume(job, inside)
                    step = generator.athrow(thrown)
                else:
                    resume(job, inside)
                    step = generator.asend(sent)
        except StopAsyncIteration:
            complete(job)
        except BaseException as error:
            end(job, error)
            raise

    return observed
