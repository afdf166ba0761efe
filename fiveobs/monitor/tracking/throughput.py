"""How much work is done, and how quickly: counts of one unit, over the time that they took.

Stages of one job may count different things; bytes and records have no sum. A job's figures are
those of the unit of its counted stage, in all its stages that count the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fiveobs.monitor.store.rows import EventRow, StageRow
from fiveobs.monitor.tracking.human import US
from fiveobs.monitor.tracking.said import details_of

__all__ = [
    "DEFAULT_UNIT",
    "PROGRESS_TYPES",
    "Step",
    "counted_in",
    "rate_by_interval",
    "rates",
    "steps",
]

#: What is counted where nobody says.
DEFAULT_UNIT = "records"
#: Events that say how much is done, or that nothing is yet.
PROGRESS_TYPES = ("stage.started", "stage.progress", "stage.completed", "stage.failed")
_BEGINNINGS = frozenset({"job.started", "stage.started"})
#: A rate over less time than this is noise: the end of a stage follows its last progress at once.
_SHORTEST_S = 0.1


class Step(NamedTuple):
    """How much was done from one moment to another."""

    stage: str | None
    from_us: int
    to_us: int
    done: float


def counted_in(rows: Iterable[StageRow], unit: str) -> tuple[float, float] | None:
    """How many of a unit stages did, and in how many seconds; ``None`` if none did any."""
    found = [
        (row.done, row.duration_s)
        for row in rows
        if row.done and row.duration_s and (row.unit or DEFAULT_UNIT) == unit
    ]
    return (sum(done for done, _ in found), sum(took_s for _, took_s in found)) if found else None


def steps(events: Iterable[EventRow], unit: str) -> Iterator[Step]:
    """From one event that counts to the next of the same stage of the same attempt.

    A stage begins with nothing done. Progress of the job itself has no stage and no unit.
    """
    before: dict[Any, tuple[int, float]] = {}
    for event in events:
        details = details_of(event)
        done = 0.0 if event.event_type in _BEGINNINGS else details.get("done")
        if not isinstance(done, int | float) or (details.get("unit") or DEFAULT_UNIT) != unit:
            continue
        key = event.attempt, details.get("index")
        last = before.get(key)
        if last is not None and event.at_us > last[0] and done >= last[1]:
            yield Step(details.get("stage"), last[0], event.at_us, done - last[1])
        before[key] = event.at_us, done


def rates(found: Iterable[Step], stage: str | None) -> list[float]:
    """Units a second in each step of a stage that is long enough to tell."""
    return [
        step.done * US / (step.to_us - step.from_us)
        for step in found
        if step.stage == stage and step.to_us - step.from_us >= _SHORTEST_S * US
    ]


def rate_by_interval(found: Iterable[Step], interval_us: int, from_us: int) -> dict[int, float]:
    """Units a second by interval: all that was done in it over the time in which it was done.

    A step that lies in several intervals was equally quick in each.

    Args:
        found: The steps.
        interval_us: How long an interval is, in microseconds; its number is that since 1970.
        from_us: What was before is left out.
    """
    done: dict[int, float] = {}
    took: dict[int, int] = {}
    for step in found:
        at_us = max(step.from_us, from_us)
        while at_us < step.to_us:
            place = at_us // interval_us
            end_us = min(step.to_us, (place + 1) * interval_us)
            share = (end_us - at_us) / (step.to_us - step.from_us)
            done[place] = done.get(place, 0.0) + step.done * share
            took[place] = took.get(place, 0) + end_us - at_us
            at_us = end_us
    return {place: done[place] * US / took[place] for place in done}
