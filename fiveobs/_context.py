"""Which job is running here, and how that goes along into threads and executors.

The current job lives in a ``contextvars.ContextVar``, so that asyncio tasks have it by themselves.
Threads and executors start with an empty context: wrap what they run with ``bind_context``, or use
``ContextThreadPoolExecutor``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from fiveobs._job import Job

P = ParamSpec("P")
T = TypeVar("T")

current: ContextVar[Job | None] = ContextVar("fiveobs_job", default=None)


def current_job() -> Job | None:
    """The job that is running here, or ``None``.

    Example:
        >>> if job := current_job():
        ...     job.log.info("cache miss", key="a")
    """
    return present()


def present() -> Job | None:
    """The current job; one that has ended where it could not be taken back is taken back now."""
    job = current.get()
    while job is not None and job._is_left and job._token is not None:
        if not _take_back(job):
            break
        job = current.get()
    return job


def leave(job: Job) -> None:
    """The job has ended: make the enclosing one current again.

    Where another one has begun inside it meanwhile and goes on, that happens when that one ends.
    """
    job._is_left = True
    here = current.get()
    if (here is job or (here is not None and here._is_left)) and _take_back(job):
        present()


def suspend(job: Job) -> Job | None:
    """Make the enclosing job current again for a while; returns what was current inside."""
    inside = current.get()
    _take_back(job)
    return inside


def _take_back(job: Job) -> bool:
    token = job._token
    if token is None:
        return False
    try:
        current.reset(token)
    except (ValueError, RuntimeError):  # it became current in another context
        return False
    job._token = None
    return True


def bind_context(function: Callable[P, T]) -> Callable[P, T]:
    """A function that runs in the present context wherever it is called.

    So a thread, an executor or a callback belongs to the job that started it. It may be called
    any number of times, also at the same time.

    Example:
        >>> threading.Thread(target=bind_context(work)).start()
    """
    captured = copy_context()

    @functools.wraps(function)
    def bound(*args: P.args, **kwargs: P.kwargs) -> T:
        return captured.copy().run(function, *args, **kwargs)

    return bound
