"""Decides which rules an event is for: reads each event once, writes down what is to be done.

How far events have been looked at is stored together with what they led to, so an event leads to
each action once, however often a monitor is killed and however many of them there are. Used by one
thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from sqlalchemy import func, insert, select, update

from fiveobs._report import report
from fiveobs.monitor.live.events import LiveEvent, events_after, newest_key
from fiveobs.monitor.rules import expecting
from fiveobs.monitor.rules.book import Book, Ready, firing_id
from fiveobs.monitor.rules.facts import Facts
from fiveobs.monitor.rules.stored import LATE, LIMITED, LOOP, PENDING
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import attempts, firings, jobs, rule_progress, rules
from fiveobs.monitor.tracking.human import as_time

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Planner", "job_facts"]

_BATCH_EVENTS = 200
#: Events that are gone through at most to find so many.
_STRETCH_EVENTS = 50_000
#: How many events may be looked at in vain before that is written down.
_UNWRITTEN_EVENTS = 10_000
#: How often rules are looked at although nothing has happened.
_LOOK_S = 1.0
_US, _MINUTE_US = 1_000_000, 60_000_000
_PLACE = "events"
#: Parents of a job that are looked at for the rule that has started one of them.
_MOST_PARENTS = 8
#: In the place of an action: what is said of the rule as a whole.
_NO_ACTION = -1


class _Match(NamedTuple):
    """What an event means for one rule."""

    ready: Ready
    facts: Facts
    event_key: int
    at_us: int
    #: The rules that led to the event.
    chain: tuple[str, ...]
    #: It is for the rule, or it is what the rule awaits, or both.
    is_cause: bool
    is_awaited: bool


class Planner:
    """Plans what rules have to do.

    Args:
        store: Events, rules, firings.
        now: Seconds since 1970.
        clock: Monotonic seconds.
    """

    def __init__(
        self, store: Store, *, now: Callable[[], float], clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._now = now
        self._clock = clock
        self._book = Book()
        self._newest = -1
        self._look_at = 0.0
        #: How far events were looked at in vain since that was written down.
        self._passed = 0
        self._ready: list[Ready] = []

    @property
    def ready(self) -> list[Ready]:
        """The rules that were in force at the last step."""
        return self._ready

    def step(self) -> bool:
        """Plan what is new; whether there is more.

        Raises:
            sqlalchemy.exc.OperationalError: The store cannot be reached.
        """
        with self._store.reading() as connection:
            newest = newest_key(connection)
            if newest == self._newest and self._clock() < self._look_at:
                return False
            self._ready = self._book.read(connection)
            stored = _place(connection)
        self._look_at = self._clock() + _LOOK_S
        is_all = not self._ready or self._plan(stored, newest)
        if not self._ready:
            self._passed = newest
        self._newest = newest if is_all else -1
        return not is_all

    def _plan(self, stored: int, newest: int) -> bool:
        """Plan a stretch of events; whether it reached the newest."""
        first = min(each.row.after_key for each in self._ready)
        after = max(stored, self._passed, first)
        if after >= newest:
            self._passed = newest
            return True
        last = min(newest, after + _STRETCH_EVENTS)
        with self._store.reading() as connection:
            events = events_after(
                connection,
                after,
                up_to=last,
                project_keys={each.row.project_key for each in self._ready},
                types=frozenset().union(*(each.types | each.awaited_types for each in self._ready)),
                limit=_BATCH_EVENTS,
            )
            is_all = len(events) < _BATCH_EVENTS
            end = last if is_all else events[-1].event_key
            matches = [each for event in events for each in self._matches(connection, event)]
        is_in_vain = not matches and end - stored <= _UNWRITTEN_EVENTS
        if not is_in_vain and not self._write(matches, stored, end):
            return False  # another monitor was here, or a rule was changed: begin again
        self._passed = end
        return end == newest

    # --- looking -----------------------------------------------------------------------------

    def _matches(self, connection: Connection, event: LiveEvent) -> Iterator[_Match]:
        facts = Facts.of(event, lambda: job_facts(connection, event))
        chain: tuple[str, ...] | None = None
        for ready in self._ready:
            row = ready.row
            if event.project_key != row.project_key or event.event_key <= row.after_key:
                continue
            is_cause, is_awaited = ready.is_for(facts), ready.awaits(facts)
            if is_cause or is_awaited:
                if chain is None:
                    chain = facts.chain or self._chain_of_job(connection, event)
                yield _Match(
                    ready, facts, event.event_key, event.at_us, chain, is_cause, is_awaited
                )

    def _chain_of_job(self, connection: Connection, event: LiveEvent) -> tuple[str, ...]:
        """The rules that led to the event's job being started, or one of its parents."""
        starts_jobs = any(each.launch for ready in self._ready for each in ready.rule.then)
        job_id = event.job_id if starts_jobs else None
        for _ in range(1 + _MOST_PARENTS):
            if job_id is None:
                break
            mine = {"project_key": event.project_key, "job_id": job_id}
            found = connection.execute(select(firings.c.chain).filter_by(**mine).limit(1)).scalar()
            if found:
                return tuple(found)
            job_id = connection.execute(select(jobs.c.parent_job_id).filter_by(**mine)).scalar()
        return ()

    # --- writing -----------------------------------------------------------------------------

    def _write(self, matches: Sequence[_Match], stored: int, end: int) -> bool:
        """Write what events led to, and how far they were looked at; whether it was our turn."""
        now_us = round(self._now() * _US)
        with self._store.writing() as connection:
            if _locked_place(connection) != stored:
                return False
            rows = {each.ready.row.rule_key: each.ready.row for each in matches}
            valid = _revisions(connection, rows)
            if any((rows[key].rule_id, rows[key].revision) != valid[key] for key in valid):
                return False
            planned: list[dict[str, Any]] = []
            for match in matches:
                if match.ready.row.rule_key in valid:
                    planned += self._planned(connection, match, now_us)
            _insert(connection, planned, {each.row.rule_key: each for each in self._ready})
            connection.execute(
                update(rule_progress).where(rule_progress.c.name == _PLACE).values(event_key=end)
            )
        return True

    def _planned(
        self, connection: Connection, match: _Match, now_us: int
    ) -> Iterator[dict[str, Any]]:
        ready, facts = match.ready, match.facts
        if match.is_awaited and (correlation := ready.correlation(facts)) is not None:
            seen = expecting.Seen(correlation, match.event_key, match.at_us)
            for late in expecting.see(connection, ready, seen, now_us):
                yield _late(ready, late, now_us)
        if not match.is_cause:
            return
        values = {
            **_values(ready, match.event_key, match.at_us, now_us),
            "chain": [*match.chain, ready.row.rule_id],
        }
        if (refusal := ready.refusal(match.chain)) is not None:
            report("rules", f"{ready.row.rule_id} does not act on {facts.origin}: {refusal}")
            yield _ended(values, LOOP, ready, facts.origin, refusal)
        elif ready.rule.expect is None:
            yield from _actions(ready, values, facts.origin)
        else:
            self._expect(connection, match, values)

    def _expect(self, connection: Connection, match: _Match, values: Mapping[str, Any]) -> None:
        ready = match.ready
        correlation = ready.correlation(match.facts)
        if correlation is None:
            same = ready.rule.expect.same if ready.rule.expect else ""
            report("rules", f"{ready.row.rule_id} awaits nothing after an event without {same}")
            return
        seen = expecting.Seen(correlation, match.event_key, match.at_us)
        expecting.expect(connection, ready, seen, values["chain"], values["created_at_us"])

    # --- what did not happen -----------------------------------------------------------------

    def expire(self, until_us: int) -> bool:
        """Act on what should have happened by then and did not; whether there may be more.

        Args:
            until_us: All that was written into journals up to this time has been planned for.

        Raises:
            sqlalchemy.exc.OperationalError: The store cannot be reached.
        """
        by_key = {each.row.rule_key: each for each in self._ready if each.rule.expect}
        if not by_key:
            return False
        with self._store.reading() as connection:
            rows = expecting.due(connection, by_key, until_us)
        if not rows:
            return False
        now_us = round(self._now() * _US)
        with self._store.writing() as connection:
            _locked_place(connection)
            planned: list[dict[str, Any]] = []
            for row in rows:
                if expecting.miss(connection, row, now_us):
                    ready = by_key[row.rule_key]
                    values = _values(ready, row.event_key, row.deadline_us, now_us)
                    values |= {"chain": row.chain, "expectation_key": row.expectation_key}
                    planned += _actions(ready, values, f"missed {row.event_key}")
                    if row.met_event_key is not None:
                        planned.append(_late(ready, row, now_us))
            _insert(connection, planned, by_key)
        return len(rows) == expecting.MOST_DUE


# --- rows --------------------------------------------------------------------------------------


def _values(ready: Ready, event_key: int, at_us: int, now_us: int) -> dict[str, Any]:
    return {
        "rule_key": ready.row.rule_key,
        "project_key": ready.row.project_key,
        "event_key": event_key,
        "cause_at_us": at_us,
        "expectation_key": None,
        "created_at_us": now_us,
        "status": PENDING,
        "next_try_at_us": now_us,
        "ended_at_us": None,
        "last_error": None,
    }


def _actions(ready: Ready, values: Mapping[str, Any], origin: str) -> Iterator[dict[str, Any]]:
    """One row for each action of a rule."""
    for number, action in enumerate(ready.rule.then):
        key = firing_id(ready.row.rule_id, origin, number)
        yield {**values, "firing_id": key, "action_index": number, "action": action.kind}


def _ended(
    values: Mapping[str, Any], status: str, ready: Ready, origin: str, reason: str
) -> dict[str, Any]:
    """A row for something that is only to be told."""
    return {
        **values,
        "firing_id": firing_id(ready.row.rule_id, f"{status} {origin}", _NO_ACTION),
        "action_index": _NO_ACTION,
        "action": "none",
        "status": status,
        "next_try_at_us": None,
        "ended_at_us": values["created_at_us"],
        "last_error": reason,
    }


def _late(ready: Ready, row: Any, now_us: int) -> dict[str, Any]:
    """What was awaited has happened after all."""
    values = _values(ready, row.event_key, row.deadline_us, now_us)
    values |= {"chain": row.chain, "expectation_key": row.expectation_key}
    reason = f"what was awaited until {as_time(row.deadline_us)} came late"
    return _ended(values, LATE, ready, str(row.event_key), reason)


def _insert(
    connection: Connection, planned: Iterable[dict[str, Any]], ready: Mapping[int, Ready]
) -> None:
    """Add what is not there yet, as much as each rule may do in a minute."""
    rows = list({row["firing_id"]: row for row in planned}.values())
    wanted = select(firings.c.firing_id).where(
        firings.c.firing_id.in_([row["firing_id"] for row in rows])
    )
    known = set(connection.execute(wanted).scalars()) if rows else set()
    rows = [row for row in rows if row["firing_id"] not in known]
    for key in {row["rule_key"] for row in rows}:
        own = [row for row in rows if row["rule_key"] == key and row["status"] == PENDING]
        _limit(connection, own, ready[key].rule.limits.max_per_minute)
    if rows:
        connection.execute(insert(firings), rows)


def _limit(connection: Connection, rows: Sequence[dict[str, Any]], most: int) -> None:
    """Of what one rule has to do, end what is more than it may do in a minute."""
    if not rows:
        return
    minutes = [row["cause_at_us"] // _MINUTE_US for row in rows]
    minute = firings.c.cause_at_us // _MINUTE_US
    counted = (
        select(minute, func.count())
        .where(firings.c.rule_key == rows[0]["rule_key"])
        .where(firings.c.cause_at_us >= min(minutes) * _MINUTE_US)
        .where(firings.c.cause_at_us < (max(minutes) + 1) * _MINUTE_US)
        .where(firings.c.status.not_in((LIMITED, LOOP, LATE)))
        .group_by(minute)
    )
    used = Counter({int(at): int(total) for at, total in connection.execute(counted)})
    for row, at in zip(rows, minutes, strict=True):
        used[at] += 1
        if used[at] > most:
            reason = f"more than {most} in a minute: limits.max_per_minute"
            row |= {"status": LIMITED, "next_try_at_us": None, "last_error": reason}
            row["ended_at_us"] = row["created_at_us"]


# --- the store ---------------------------------------------------------------------------------


def _place(connection: Connection) -> int:
    wanted = select(rule_progress.c.event_key).where(rule_progress.c.name == _PLACE)
    return int(connection.execute(wanted).scalar_one())


def _locked_place(connection: Connection) -> int:
    """How far events have been looked at; others wait until the transaction ends."""
    wanted = select(rule_progress.c.event_key).where(rule_progress.c.name == _PLACE)
    return int(connection.execute(wanted.with_for_update()).scalar_one())


def _revisions(connection: Connection, keys: Iterable[int]) -> dict[int, tuple[str, int]]:
    """Of these rules those that are enabled: their ids, as keys are used again, and revisions."""
    wanted = select(rules.c.rule_key, rules.c.rule_id, rules.c.revision).where(
        rules.c.rule_key.in_(sorted(keys)), rules.c.is_enabled.is_(True)
    )
    return {row.rule_key: (row.rule_id, row.revision) for row in connection.execute(wanted)}


def job_facts(connection: Connection, event: LiveEvent) -> dict[str, Any]:
    """The fields of an event's job as they are now, by the names that rules have for them."""
    if event.job_key is None:
        return {}
    same = (attempts.c.job_key == jobs.c.job_key) & (attempts.c.attempt == jobs.c.attempt)
    row = connection.execute(
        select(jobs, attempts.c.attributes)
        .outerjoin(attempts, same)
        .where(jobs.c.job_key == event.job_key)
    ).first()
    if row is None:
        return {}
    names = ("status", "attempt", "submitted_by", "priority", "queue", "duration_s")
    found = {name: getattr(row, name) for name in names}
    for name in ("created", "started", "ended"):
        found[f"{name}_at"] = as_time(getattr(row, f"{name}_at_us"))
    found["attributes"] = orjson.loads(row.attributes or "null")
    return {name: value for name, value in found.items() if value is not None}
