"""Which events a subscription is for: the published names, what they stand for, and the filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fiveobs.monitor.live.events import STATUSES, LiveEvent, events_after

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "EVENT_NAMES",
    "Choice",
    "Progress",
    "Teller",
    "Told",
    "is_end",
    "to_progress",
]

_ERROR, _WARNING, _INFO = 40, 30, 20
_PROGRESS = frozenset({"job.progress", "stage.progress"})
#: What says how far a stream was told of progress, and how many event keys are gone through for it.
_REMEMBERED_TYPES = tuple(sorted({*_PROGRESS, *STATUSES}))
_REMEMBERED_KEYS, _BATCH_EVENTS = 100_000, 1_000
#: By published name, the event types that it stands for. ``error`` and ``warning`` are levels.
EVENT_NAMES: Mapping[str, frozenset[str]] = {
    "jobReceived": frozenset({"job.received"}),
    "jobStarted": frozenset({"job.started"}),
    "progressUpdate": _PROGRESS,
    "milestone": frozenset({"job.milestone"}),
    "stageStarted": frozenset({"stage.started"}),
    "stageCompleted": frozenset({"stage.completed"}),
    "stageFailed": frozenset({"stage.failed"}),
    "jobCompleted": frozenset({"job.completed"}),
    "jobFailed": frozenset({"job.failed"}),
    "jobRetrying": frozenset({"job.retrying"}),
    "jobStopped": frozenset({"job.stopped"}),
    "jobCancelled": frozenset({"job.cancelled"}),
    "jobInterrupted": frozenset({"job.interrupted"}),
    "jobPaused": frozenset({"job.paused"}),
    "jobResumed": frozenset({"job.resumed"}),
    "jobLost": frozenset({"job.lost"}),
    "resourceAllocated": frozenset({"resource.allocated"}),
    "resourceReleased": frozenset({"resource.released"}),
    "stateChanged": frozenset({"state.changed"}),
    "workflowTriggered": frozenset({"workflow.triggered"}),
    "serviceHealthChanged": frozenset({"service.health_changed"}),
    "workerStarted": frozenset({"worker.started"}),
    "workerStopped": frozenset({"worker.stopped"}),
    "log": frozenset({"log"}),
    "warning": frozenset(),
    "error": frozenset(),
}


class Told(NamedTuple):
    """The progress that a subscriber was last told of a job, or of one of its stages."""

    attempt: int
    percent: float


class Progress(NamedTuple):
    """What an event says of progress."""

    #: The stage's number; 0 for the job itself.
    stage_index: int
    attempt: int
    #: 0 to 100; ``None`` if it does not say.
    percent: float | None


def to_progress(event: LiveEvent) -> Progress | None:
    """What an event says of progress; ``None`` if it is about something else."""
    if event.event_type not in _PROGRESS:
        return None
    data = event.data
    percent, index = data.get("percent"), data.get("index", 0)
    if isinstance(percent, bool) or not isinstance(percent, int | float):
        percent = None
    is_stage = event.event_type == "stage.progress" and isinstance(index, int)
    return Progress(index if is_stage else 0, event.attempt or 1, percent)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a subscriber chose."""

    #: Of `EVENT_NAMES`.
    events: tuple[str, ...]
    #: Progress is told again once it has changed by so many percent; 0 tells all of it.
    min_progress_increment: float = 1.0
    #: Events of level debug too.
    includes_debug: bool = False
    #: Whatever is of level error or critical, even if ``events`` does not name it.
    notifies_on_errors: bool = False

    @classmethod
    def stored(cls, events: list[str], filters: Mapping[str, Any]) -> Choice:
        """As the store has it."""
        return cls(tuple(events), **filters)

    def filters(self) -> dict[str, Any]:
        """What the store keeps beside ``events``."""
        return {
            "min_progress_increment": self.min_progress_increment,
            "includes_debug": self.includes_debug,
            "notifies_on_errors": self.notifies_on_errors,
        }

    def takes(self, event: LiveEvent) -> bool:
        """Whether an event is wanted; for progress, whether it may be (see `is_news`)."""
        if event.level < _INFO and not self.includes_debug:
            return False
        if event.level >= _ERROR and (self.notifies_on_errors or "error" in self.events):
            return True
        if _WARNING <= event.level < _ERROR and "warning" in self.events:
            return True
        return any(event.event_type in EVENT_NAMES.get(each, ()) for each in self.events)

    def is_news(self, progress: Progress, told: Told | None) -> bool:
        """Whether progress is far enough from what was last told."""
        if self.min_progress_increment <= 0:
            return True
        if progress.percent is None:
            return False  # how far it has come, nobody can tell
        if told is None or told.attempt != progress.attempt:
            return True  # the first, or begun again
        if progress.percent >= 100 > told.percent:
            return True
        return abs(progress.percent - told.percent) >= self.min_progress_increment


class Teller:
    """Chooses for one stream, and remembers the progress that it was told.

    Args:
        choice: What is wanted.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        #: By job, and then by stage. What has ended is forgotten.
        self._told: dict[int | None, dict[int, Told]] = {}

    def __call__(self, event: LiveEvent) -> bool:
        """Whether the event is to be sent; a progress that is sent is remembered."""
        if is_end(event):
            self._told.pop(event.job_key, None)
        if not self._choice.takes(event):
            return False
        progress = to_progress(event)
        if progress is None or event.level >= _WARNING:
            return True
        told = self._told.setdefault(event.job_key, {})
        is_news = self._choice.is_news(progress, told.get(progress.stage_index))
        if is_news and progress.percent is not None:
            told[progress.stage_index] = Told(progress.attempt, progress.percent)
        return is_news

    def resume(
        self, connection: Connection, project_key: int, job_key: int | None, start: int, last: int
    ) -> None:
        """Remember what was told up to an event, by choosing again from what is stored.

        Args:
            connection: Where events are.
            project_key: Whose.
            job_key: Of which job; ``None`` is all.
            start: The place at which the subscription began. What is very long ago is left out:
                of a job whose progress was last told then, one may be told too often.
            last: The last event that was seen.
        """
        place = max(start, last - _REMEMBERED_KEYS)
        while True:
            found = events_after(
                connection,
                place,
                up_to=last,
                project_keys=(project_key,),
                job_key=job_key,
                types=_REMEMBERED_TYPES,
                limit=_BATCH_EVENTS,
            )
            for event in found:
                self(event)
            if len(found) < _BATCH_EVENTS:
                return
            place = found[-1].event_key


def is_end(event: LiveEvent) -> bool:
    """Whether a job has ended with this event."""
    return event.status not in (None, "received", "running", "paused", "lost")
