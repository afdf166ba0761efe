"""An executor whose work belongs to the job that submitted it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from fiveobs._context import bind_context

__all__ = ["ContextThreadPoolExecutor"]

P = ParamSpec("P")
T = TypeVar("T")


class ContextThreadPoolExecutor(ThreadPoolExecutor):
    """A ``ThreadPoolExecutor`` that carries the current job into its threads.

    Example:
        >>> with ContextThreadPoolExecutor(4) as pool:
        ...     pool.map(resize, paths)
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule a call in the submitter's context."""
        return super().submit(bind_context(fn), *args, **kwargs)
