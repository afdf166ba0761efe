"""The only loop over the tracks, and the only guard around them.

A track that raises is counted and reported; the next one still runs, and the job never notices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fiveobs._report import report

if TYPE_CHECKING:
    from fiveobs._carrier import Link
    from fiveobs._job import Job
    from fiveobs.types import JobEvent

#: The hooks a track may have, beside ``on_event``: the first when a job begins, before its first
#: event; the second when it ends, before its last one; the third after that.
_HOOKS = ("on_job_opening", "on_job_closing", "on_job_closed")


class Fanout:
    """Calls every track that has a hook, in order; the ending hooks in reverse order.

    Args:
        tracks: In the order in which they start.
    """

    def __init__(self, tracks: Iterable[Any]) -> None:
        listed = tuple(tracks)
        #: Exceptions that tracks have raised, by track.
        self.failures: dict[str, int] = {track.name: 0 for track in listed}
        self._event_calls = _calls(listed, "on_event")
        opening, closing, closed = (_calls(listed, hook) for hook in _HOOKS)
        self._opening_calls = opening
        self._closing_calls = closing[::-1]
        self._closed_calls = closed[::-1]

    def event(self, event: JobEvent) -> None:
        """Hand an event to every track."""
        for name, call in self._event_calls:
            try:
                call(event)
            except Exception as exc:
                self._failed(name, exc)

    def opening(self, job: Job, link: Link) -> None:
        """A job begins: tracks prepare what it needs."""
        for name, call in self._opening_calls:
            try:
                call(job, link)
            except Exception as exc:
                self._failed(name, exc)

    def closing(self, job: Job, error: BaseException | None, data: Mapping[str, Any]) -> None:
        """A job has ended and its last event is about to be made of ``data``."""
        for name, call in self._closing_calls:
            try:
                call(job, error, data)
            except Exception as exc:
                self._failed(name, exc)

    def closed(self, job: Job) -> None:
        """A job is over: tracks take back what they put in its context."""
        for name, call in self._closed_calls:
            try:
                call(job)
            except Exception as exc:
                self._failed(name, exc)

    def _failed(self, name: str, exc: Exception) -> None:
        self.failures[name] += 1
        report(f"track {name}", f"{type(exc).__name__}: {exc}")


def _calls(tracks: Iterable[Any], hook: str) -> tuple[tuple[str, Callable[..., None]], ...]:
    return tuple((track.name, getattr(track, hook)) for track in tracks if hasattr(track, hook))
