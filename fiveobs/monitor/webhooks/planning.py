"""Decides which events go to which subscriber: reads each event once, writes a delivery for each.

How far a subscription has come is stored together with its deliveries, so an event leads to one
delivery however often the monitor is killed. A subscriber that takes nothing has a bounded number
of deliveries: from there on its events wait where they are, in the store. Used by one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import delete, func, insert, select, update

from fiveobs.monitor.live.events import LiveEvent, events_after, newest_key
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import deliveries, subscriptions, told
from fiveobs.monitor.webhooks.choosing import Choice, Told, is_end, to_progress
from fiveobs.monitor.webhooks.subscriptions import (
    ACTIVE,
    EXPIRED,
    PENDING,
    WEBHOOK,
    SubscriptionRow,
    rows_where,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["MAX_PENDING", "Planner"]

#: Deliveries that one subscription may have waiting.
MAX_PENDING = 1_000
_BATCH_EVENTS = 1_000
#: Subscriptions that are further behind than this do not hold up the others.
_BEHIND_EVENTS = 5_000
#: How many events may be looked at in vain before that is written down.
_UNWRITTEN_EVENTS = 10_000
#: How often subscriptions are looked at although nothing has happened, and full ones again.
_LOOK_S, _FULL_S = 2.0, 1.0
_US = 1_000_000


class _Plan(NamedTuple):
    """What a stretch of events means for one subscription."""

    row: SubscriptionRow
    #: How far it has been looked at.
    end: int
    matches: list[LiveEvent]
    told: dict[tuple[int, int], Told]
    #: Jobs that have ended: what was told of them is forgotten.
    ended_jobs: set[int]
    is_full: bool


class Planner:
    """Plans deliveries.

    Args:
        store: Events, subscriptions, deliveries.
        now: Seconds since 1970.
        clock: Monotonic seconds.
        max_pending: Deliveries that one subscription may have waiting.
    """

    def __init__(
        self,
        store: Store,
        *,
        now: Callable[[], float],
        clock: Callable[[], float],
        max_pending: int = MAX_PENDING,
    ) -> None:
        self._store = store
        self._now = now
        self._clock = clock
        self._max_pending = max_pending
        self._newest = -1
        self._look_at = 0.0
        #: The last step found that something may be new.
        self.has_looked = False
        #: How far subscriptions have been looked at in vain since that was written down.
        self._passed: dict[int, int] = {}
        #: Until when those that have enough waiting are left alone.
        self._full_until: dict[int, float] = {}

    def step(self) -> bool:
        """Plan what is new; whether there is more.

        Raises:
            sqlalchemy.exc.OperationalError: The store cannot be reached.
        """
        with self._store.reading() as connection:
            newest = newest_key(connection)
            self.has_looked = newest != self._newest or self._clock() >= self._look_at
            if not self.has_looked:
                return False
            rows = rows_where(connection, _IS_WANTED)
        self._look_at = self._clock() + _LOOK_S
        self._forget(rows)
        is_done = True
        for group in self._groups(rows, newest):
            is_done = self._plan_group(group, newest) and is_done
        self._expire(rows, newest)
        # Looked at again at once if there was more than one step takes.
        self._newest = newest if is_done else -1
        return not is_done

    def _forget(self, rows: list[SubscriptionRow]) -> None:
        known = {row.subscription_key for row in rows}
        for key in self._passed.keys() - known:
            del self._passed[key]
        for key in self._full_until.keys() - known:
            del self._full_until[key]

    def _place(self, row: SubscriptionRow) -> int:
        return max(row.event_key, self._passed.get(row.subscription_key, 0))

    def _groups(self, rows: list[SubscriptionRow], newest: int) -> list[list[SubscriptionRow]]:
        """Those that are up to date, together; of those that are behind, the one furthest."""
        now = self._clock()
        open_ones = [
            row
            for row in rows
            if row.kind == WEBHOOK
            and self._place(row) < newest
            and self._full_until.get(row.subscription_key, 0) <= now
        ]
        near = [row for row in open_ones if self._place(row) >= newest - _BEHIND_EVENTS]
        behind = [row for row in open_ones if self._place(row) < newest - _BEHIND_EVENTS]
        groups = [near] if near else []
        return [*groups, [min(behind, key=self._place)]] if behind else groups

    def _plan_group(self, rows: list[SubscriptionRow], newest: int) -> bool:
        """Plan a stretch of events for some subscriptions; whether it reached the newest."""
        after = min(map(self._place, rows))
        job_keys = {row.job_key for row in rows}
        with self._store.reading() as connection:
            events = events_after(
                connection,
                after,
                up_to=newest,
                project_keys={row.project_key for row in rows},
                job_key=job_keys.pop() if len(job_keys) == 1 else None,
                limit=_BATCH_EVENTS,
            )
            is_all = len(events) < _BATCH_EVENTS
            end = newest if is_all else events[-1].event_key
            plans = [self._plan(connection, row, events, end) for row in rows]
        self._write(plans)
        return is_all

    def _plan(
        self, connection: Connection, row: SubscriptionRow, events: Iterable[LiveEvent], end: int
    ) -> _Plan:
        choice = Choice.stored(row.events, row.filters)
        place, until = self._place(row), row.expires_at_us
        wanted = [
            event
            for event in events
            if event.event_key > place
            and event.project_key == row.project_key
            and row.job_key in (None, event.job_key)
            and (until is None or event.at_us <= until)
            and choice.takes(event)
        ]
        plan = _Plan(row, max(end, place), [], {}, set(), is_full=False)
        if not wanted:
            return plan
        room = self._max_pending - _count_pending(connection, row.subscription_key)
        known = _told(connection, row.subscription_key, wanted)
        for event in wanted:
            if len(plan.matches) >= room:
                return plan._replace(end=event.event_key - 1, is_full=True)
            _fold(plan, choice, known, event)
        return plan

    # --- writing -----------------------------------------------------------------------------

    def _write(self, plans: list[_Plan]) -> None:
        found = [plan for plan in plans if plan.matches]
        vain = [plan for plan in plans if not plan.matches]
        found += [plan for plan in vain if plan.end - plan.row.event_key > _UNWRITTEN_EVENTS]
        if found:
            with self._store.writing() as connection:
                places = _locked(connection, [plan.row.subscription_key for plan in found])
                # Where another monitor was here, or somebody has ended it, it is not ours.
                ours = [
                    plan
                    for plan in found
                    if places.get(plan.row.subscription_key) == plan.row.event_key
                ]
                for plan in ours:
                    self._write_plan(connection, plan)
            plans = [plan for plan in plans if plan in ours or plan not in found]
        for plan in plans:
            self._passed[plan.row.subscription_key] = plan.end
            if plan.is_full:
                self._full_until[plan.row.subscription_key] = self._clock() + _FULL_S

    def _write_plan(self, connection: Connection, plan: _Plan) -> None:
        key, now_us = plan.row.subscription_key, round(self._now() * _US)
        rows = [
            {
                "subscription_key": key,
                "event_key": event.event_key,
                "status": PENDING,
                "created_at_us": now_us,
                "next_try_at_us": now_us,
            }
            for event in plan.matches
        ]
        if rows:
            connection.execute(insert(deliveries), rows)
        _write_told(connection, key, plan)
        place = update(subscriptions).where(subscriptions.c.subscription_key == key)
        connection.execute(place.values(event_key=plan.end))

    def _expire(self, rows: list[SubscriptionRow], newest: int) -> None:
        now_us = round(self._now() * _US)
        over = [
            row.subscription_key
            for row in rows
            if row.expires_at_us is not None
            and row.expires_at_us <= now_us
            and (row.kind != WEBHOOK or self._place(row) >= newest)
        ]
        if not over:
            return
        with self._store.writing() as connection:
            ended = update(subscriptions).where(subscriptions.c.subscription_key.in_(over))
            still = ended.where(subscriptions.c.status == ACTIVE)
            connection.execute(still.values(status=EXPIRED, ended_reason="its time is over"))
            forgotten = told.c.subscription_key.in_(over)
            connection.execute(delete(told).where(forgotten))


_IS_WANTED = subscriptions.c.status == ACTIVE


def _fold(
    plan: _Plan, choice: Choice, known: dict[tuple[int, int], Told], event: LiveEvent
) -> None:
    """Take an event, unless it is progress that is no news."""
    job_key = event.job_key or 0
    progress = to_progress(event) if event.level < 30 else None
    if progress is not None:
        key = (job_key, progress.stage_index)
        if not choice.is_news(progress, plan.told.get(key, known.get(key))):
            return
        if progress.percent is not None:
            plan.told[key] = Told(progress.attempt, progress.percent)
    if event.job_key is not None and is_end(event):
        plan.ended_jobs.add(event.job_key)
    plan.matches.append(event)


def _count_pending(connection: Connection, subscription_key: int) -> int:
    wanted = select(func.count()).select_from(deliveries)
    mine = wanted.where(deliveries.c.subscription_key == subscription_key, _IS_PENDING)
    return int(connection.execute(mine).scalar_one())


_IS_PENDING = deliveries.c.status == PENDING


def _told(
    connection: Connection, subscription_key: int, events: Iterable[LiveEvent]
) -> dict[tuple[int, int], Told]:
    """What was last told of the jobs that make progress in these events."""
    job_keys = {event.job_key for event in events if event.event_type.endswith(".progress")}
    if not job_keys:
        return {}
    wanted = select(told).where(
        told.c.subscription_key == subscription_key, told.c.job_key.in_(job_keys - {None})
    )
    return {
        (row.job_key, row.stage_index): Told(row.attempt, row.percent)
        for row in connection.execute(wanted)
    }


def _write_told(connection: Connection, subscription_key: int, plan: _Plan) -> None:
    for (job_key, stage_index), (attempt, percent) in plan.told.items():
        names = {
            "subscription_key": subscription_key,
            "job_key": job_key,
            "stage_index": stage_index,
        }
        changed = update(told).filter_by(**names).values(attempt=attempt, percent=percent)
        if not connection.execute(changed).rowcount:
            values: dict[str, Any] = {**names, "attempt": attempt, "percent": percent}
            connection.execute(insert(told).values(values))
    if plan.ended_jobs:
        ended = told.c.job_key.in_(plan.ended_jobs)
        connection.execute(delete(told).where(told.c.subscription_key == subscription_key, ended))


def _locked(connection: Connection, keys: list[int]) -> dict[int, int]:
    """How far these subscriptions have come; they are ours until the transaction ends."""
    wanted = (
        select(subscriptions.c.subscription_key, subscriptions.c.event_key)
        .where(subscriptions.c.subscription_key.in_(keys), subscriptions.c.status == ACTIVE)
        .order_by(subscriptions.c.subscription_key)
        .with_for_update()
    )
    return {row.subscription_key: row.event_key for row in connection.execute(wanted)}
