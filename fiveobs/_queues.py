"""Queue sizes that the application tells us: read when metrics are collected."""

from __future__ import annotations

from collections.abc import Callable

from fiveobs._report import report
from fiveobs._spec import clean_name

_sizes: dict[str, Callable[[], float]] = {}


def observe_queue(queue: str, size: Callable[[], float] | None) -> None:
    """Give the metric ``queue.size`` a source.

    Args:
        queue: The queue's name, a label of the metric.
        size: Called whenever metrics are collected, on a thread of ours; how many jobs wait.
            ``None`` ends it.

    Example:
        >>> observe_queue("thumbnails", lambda: redis.llen("thumbnails"))
    """
    name = clean_name(queue, "queue")
    if size is None:
        _sizes.pop(name, None)
    else:
        _sizes[name] = size


def queue_sizes() -> dict[str, float]:
    """The size of every observed queue; one whose source raises is left out."""
    sizes = {}
    for queue, size in list(_sizes.items()):
        try:
            sizes[queue] = float(size())
        except Exception as exc:
            report(f"queue {queue}", f"its size cannot be read: {type(exc).__name__}: {exc}")
    return sizes
