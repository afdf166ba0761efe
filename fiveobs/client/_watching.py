"""What a watch is to ask next, what it has learnt, and when it is over; does no I/O itself."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypedDict

from fiveobs.client._calls import Call, job_path, logs, subscription_path
from fiveobs.client._events import EventStream
from fiveobs.client._following import DEFAULT_PATIENCE_S, Following
from fiveobs.client.answers import LogsAnswer
from fiveobs.exceptions import AnswerError, BadInputError
from fiveobs.types import JobEvent

__all__ = ["WatchOptions", "Watching"]

_log = logging.getLogger("fiveobs.client")
#: After these nothing follows, but for a job that was thought lost and is not.
_ENDINGS = frozenset(
    f"job.{status}"
    for status in ("completed", "failed", "stopped", "cancelled", "interrupted", "lost")
)
_BEGINNINGS = frozenset({"job.received", "job.retrying", "job.started"})
_ENDED = frozenset({"Completed", "Failed", "Stopped", "Cancelled", "Interrupted", "Lost"})
_LEVELS = {"DEBUG": 0, "INFO": 1, "WARN": 2, "ERROR": 3}
_RANKS = {"debug": 0, "info": 1, "warning": 2, "error": 3, "critical": 4}


class WatchOptions(TypedDict, total=False):
    """Which events a watch gives, and from where on; what is left out means any."""

    #: Event types; a star at the end stands for anything: ``job.*``.
    types: Collection[str]
    #: The least level: ``DEBUG``, ``INFO``, ``WARN`` or ``ERROR``.
    level: str
    #: Of these jobs.
    job_ids: Collection[str]
    #: Of jobs of these names.
    job_names: Collection[str]
    #: Of these services.
    services: Collection[str]
    #: Of these sessions.
    session_ids: Collection[str]
    #: Only the events from which on a job has one of these statuses: ``Running``, ``Failed`` …
    statuses: Collection[str]
    #: What a subscription without a webhook is for; then nothing else can be chosen.
    subscription_id: str
    #: Only those after the event with this id (``last_event_id`` of an earlier watch).
    after: str
    #: From the first event of the project, not from now on; a job's always are.
    from_start: bool
    #: How long the monitor may be gone before the watch gives up, in seconds; default 60.
    patience_s: float


class Watching(Following[JobEvent]):
    """One watch, over as many connections as it takes.

    Args:
        job_id: Ends with this job; ``None`` never ends.
        options: Which events.

    Raises:
        BadInputError: There is no such option or level.
    """

    def __init__(self, job_id: str | None, options: WatchOptions) -> None:
        if unknown := options.keys() - WatchOptions.__annotations__.keys():
            raise BadInputError(f"a watch has no option {min(unknown)!r}")
        self._job_id = job_id
        #: The attempt whose end was the last that was seen; ``None`` while one runs.
        self._ended_attempt: int | None = None
        self._types = _several(options, "types")
        self._least = _rank(options.get("level", "DEBUG"))
        super().__init__(
            _path(job_id, options),
            self._query(options),
            options.get("after", ""),
            options.get("patience_s", DEFAULT_PATIENCE_S),
        )

    def _query(self, options: WatchOptions) -> dict[str, list[str]]:
        found = {
            "jobIds": _several(options, "job_ids"),
            "jobName": _several(options, "job_names"),
            "service": _several(options, "services"),
            "sessionId": _several(options, "session_ids"),
            "status": _several(options, "statuses"),
            "from": ["start"] if options.get("from_start") else [],
        }
        if "subscription_id" in options:
            return {}
        if self._job_id is None:
            # Of one job everything is asked, because its end must be seen, whatever is wanted.
            level = options.get("level")
            found |= {"types": self._types, "level": [level] if level else []}
        return {name: values for name, values in found.items() if values}

    def take(self, chunk: bytes) -> Iterator[JobEvent]:
        """Give the events in what has come.

        Raises:
            AnswerError: It is no event.
        """
        for message in self._stream.feed(chunk):
            self._failures = 0
            event = _to_event(message.data)
            if event.event_type in _ENDINGS:
                self._ended_attempt = event.attempt or 1
            elif event.event_type in _BEGINNINGS:
                self._ended_attempt = None
            if self._is_wanted(event):
                yield event

    def question(self) -> Call[LogsAnswer] | None:
        """What is to be asked to know whether the job has ended; ``None`` if it runs on.

        An end that is seen may be that of an earlier attempt. And if nothing comes, the end may
        have been before the place where the watch began.
        """
        if self._job_id is None or not (self._stream.has_comment or self._ended_attempt):
            return None
        return logs(self._job_id, level="DEBUG", limit=1)

    def answered(self, answer: LogsAnswer) -> None:
        """Learn how the job is."""
        newest = answer.logs[-1] if answer.logs else None
        is_newest = (
            self._stream.has_comment
            or newest is None
            or (
                (newest.attempt or 1) == self._ended_attempt and newest.event_type != "job.retrying"
            )
        )
        self.is_over = is_newest and answer.job_status in _ENDED
        self._stream.has_comment = False
        self._ended_attempt = None

    def _begin_anew(self) -> None:
        _log.warning(
            "the monitor does not have event %s (was its store restored from a backup?):"
            " the watch goes on from now, and may have left events out",
            self.last_event_id,
        )
        self._stream = EventStream("")
        if "subscriptions/" not in self.path:
            self.query["from"] = ["now"]

    def _is_wanted(self, event: JobEvent) -> bool:
        return _RANKS.get(event.level, 1) >= self._least and (
            not self._types or any(_is_type(event.event_type, each) for each in self._types)
        )


def _path(job_id: str | None, options: WatchOptions) -> str:
    """The stream, below the project's.

    Raises:
        BadInputError: It would be chosen twice.
    """
    subscription_id = options.get("subscription_id")
    if subscription_id is None:
        return "events" if job_id is None else job_path(job_id, "events")
    others = options.keys() - {"subscription_id", "after", "patience_s"}
    if job_id is not None or others:
        other = "a job" if job_id is not None else min(others)
        raise BadInputError(f"a subscription says which events: leave out {other}")
    return subscription_path(subscription_id, "events")


def _several(options: Mapping[str, Any], name: str) -> list[str]:
    """What was given; one text counts as one of them."""
    given = options.get(name, ())
    return [given] if isinstance(given, str) else [str(each) for each in given]


def _rank(level: str) -> int:
    if level not in _LEVELS:
        raise BadInputError(f"level: {level!r} is none; use {', '.join(_LEVELS)}")
    return _LEVELS[level]


def _is_type(event_type: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return event_type.startswith(pattern[:-1])
    return event_type == pattern


def _to_event(data: str) -> JobEvent:
    try:
        record: Mapping[str, Any] = json.loads(data)["data"]
        return JobEvent(dict(record))
    except (KeyError, TypeError, ValueError) as exc:
        raise AnswerError(f"the monitor sent no event: {data:.80}") from exc
