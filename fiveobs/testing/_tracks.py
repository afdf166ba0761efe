"""Tracks to pass to ``configure(tracks=[...])`` or ``capture(tracks=[...])`` in tests."""

from __future__ import annotations

import threading

from fiveobs._subscription import compile_patterns
from fiveobs.types import JobEvent


class RecordingTrack:
    """Keeps what it is given.

    Args:
        name: Its name in reports.
    """

    def __init__(self, name: str = "recording") -> None:
        self.name = name
        #: Every record, in order; also those that are no events (``metric``, ``span``).
        self.events: list[JobEvent] = []
        #: How often it was closed.
        self.closed = 0

    def on_event(self, event: JobEvent) -> None:
        """Keep the event."""
        self.events.append(event)

    def events_of(self, pattern: str) -> list[JobEvent]:
        """The events whose type matches, for example ``job.*``."""
        types = compile_patterns(pattern)
        return [event for event in self.events if types.fullmatch(event.event_type)]

    def close(self, timeout_s: float) -> None:
        """Count it."""
        self.closed += 1


class BrokenTrack(RecordingTrack):
    """Keeps what it is given, and raises each time.

    Args:
        raises: What to raise, from ``on_event`` and from ``close``.
        name: Its name in reports.
    """

    def __init__(self, raises: Exception | None = None, name: str = "broken") -> None:
        super().__init__(name)
        self.raises = raises if raises is not None else RuntimeError("this track is broken")

    def on_event(self, event: JobEvent) -> None:
        """Keep the event, then raise."""
        super().on_event(event)
        raise self.raises

    def close(self, timeout_s: float) -> None:
        """Count it, then raise."""
        super().close(timeout_s)
        raise self.raises


class SlowTrack(RecordingTrack):
    """Takes its time with each event, in the job's thread.

    Args:
        delay_s: How long.
        name: Its name in reports.
    """

    def __init__(self, delay_s: float, name: str = "slow") -> None:
        super().__init__(name)
        self.delay_s = delay_s
        self._released = threading.Event()

    def on_event(self, event: JobEvent) -> None:
        """Wait, then keep the event."""
        self._released.wait(self.delay_s)
        super().on_event(event)

    def release(self) -> None:
        """End the present delay, and have no more."""
        self._released.set()
