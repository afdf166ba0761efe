"""Which events a stream is for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fiveobs.monitor.live.events import LiveEvent

__all__ = ["TYPE_PATTERN", "Wanted"]

#: An event type, or the beginning of one and a star: ``job.completed``, ``job.*``, ``*``.
TYPE_PATTERN = re.compile(r"\*|[a-z][a-z_]{0,31}(\.(\*|[a-z][a-z_]{0,31}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter of events; an empty tuple means any. Equal ones share what is made for them."""

    project_key: int
    job_key: int | None = None
    #: Event types, with a star at the end for anything.
    types: tuple[str, ...] = ()
    #: 10 debug to 50 critical: the least level.
    level: int = 0
    job_ids: frozenset[str] = frozenset()
    job_names: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    session_ids: frozenset[str] = frozenset()
    #: Only the events from which on a job has one of these statuses.
    statuses: frozenset[str] = frozenset()

    @property
    def is_narrow(self) -> bool:
        """Whether it asks for more than a project's or a job's events."""
        return bool(
            self.types
            or self.level > 10
            or self.job_ids
            or self.job_names
            or self.services
            or self.session_ids
            or self.statuses
        )

    def takes(self, event: LiveEvent) -> bool:
        """Whether an event is wanted."""
        return (
            event.project_key == self.project_key
            and (self.job_key is None or event.job_key == self.job_key)
            and event.level >= self.level
            and (not self.types or any(_is_type(event.event_type, each) for each in self.types))
            and (not self.job_ids or event.job_id in self.job_ids)
            and (not self.job_names or event.job_name in self.job_names)
            and (not self.services or event.service in self.services)
            and (not self.session_ids or event.session_id in self.session_ids)
            and (not self.statuses or event.status in self.statuses)
        )


def _is_type(event_type: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return event_type.startswith(pattern[:-1])
    return event_type == pattern
