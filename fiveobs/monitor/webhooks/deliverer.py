"""Delivers: a service of the monitor that plans, sends, tries again, and gives up.

One thread plans and hands out; a few threads send, each for one subscription at a time, so that a
receiver gets its events one after the other. What became of a try is written before the next event
is sent. A monitor that is killed in between sends that event again, under the same ``webhook-id``.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import case, delete, func, not_, select, update

from fiveobs._report import report
from fiveobs.monitor.live.events import LiveEvent, events_by_key
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import deliveries
from fiveobs.monitor.webhooks.planning import Planner
from fiveobs.monitor.webhooks.schedule import (
    HELD_TRIES,
    MAX_TRIES,
    REFUSALS,
    REFUSED_TRIES,
    holds_up,
    pause_s,
)
from fiveobs.monitor.webhooks.sending import Answer, Line, Message, Sender
from fiveobs.monitor.webhooks.signing import message_id
from fiveobs.monitor.webhooks.subscriptions import (
    DEAD,
    DELIVERED,
    DISABLED,
    PENDING,
    DeliveryRow,
    SubscriptionRow,
    by_key,
    deliveries_where,
    disable,
    note,
)
from fiveobs.monitor.webhooks.turns import Turns

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Deliverer"]

_WORKERS = 8
_REST_S = 0.1
_AFTER_FAILURE_S = 1.0
#: Deliveries of one subscription before others have their turn.
_TURN_DELIVERIES, _TURN_RETRIES = 50, 5
#: How long what is being sent may go on after a stop.
_GRACE_S = 1.0
#: How long the outcome of a delivery is kept.
_KEPT_S, _CLEAN_EVERY_S = 30 * 24 * 3600.0, 3600.0
_US = 1_000_000
#: How long it may take to notice what somebody else has changed: a replay, say.
_LOOK_US = 1_000_000
_GONE = 410


class _Work(NamedTuple):
    """What one turn has to send."""

    row: SubscriptionRow
    #: In order: one that fails ends the turn.
    queued: list[DeliveryRow]
    #: Those that have failed often; they hold up nothing.
    aside: list[DeliveryRow]
    events: Mapping[int, LiveEvent]


class Deliverer:
    """Sends webhooks for as long as it runs.

    Args:
        store: Subscriptions, deliveries, events.
        sender: Connects to receivers.
        workers: How many receivers are sent to at once.
        now: Seconds since 1970.
        pause: Seconds until the next try: failures, and what the receiver asked for.
    """

    name = "webhooks"

    def __init__(
        self,
        store: Store,
        sender: Sender,
        *,
        workers: int = _WORKERS,
        now: Callable[[], float] = time.time,
        pause: Callable[[int, float | None], float] = pause_s,
    ) -> None:
        self._store = store
        self._sender = sender
        self._workers = workers
        self._now = now
        self._pause = pause
        self._planner = Planner(store, now=now, clock=time.monotonic)
        self._lock = threading.Lock()
        #: Lines that are in use, by subscription; shared with the threads that send.
        self._lines: dict[int, Line | None] = {}
        self._wake = threading.Event()
        self._clean_at = 0.0
        #: When it is looked for what is due although nothing is known to have changed.
        self._due_at = 0.0
        #: ``delivered``, ``failed`` and ``dead``, since the process began.
        self.counts: Counter[str] = Counter()

    def run(self, stop: threading.Event) -> None:
        """Deliver until told to stop; whatever goes wrong is reported and tried again."""
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="webhook")
        turns = Turns(self._store)
        try:
            while not stop.is_set():
                try:
                    is_busy = turns.is_mine() and self._step(pool, stop)
                except Exception as exc:
                    report("webhooks", f"{type(exc).__name__}: {exc}")
                    is_busy = False
                    stop.wait(_AFTER_FAILURE_S)
                if not is_busy:
                    self._wake.wait(_REST_S)
        finally:
            self._end(pool)
            turns.close()

    # --- one thread --------------------------------------------------------------------------

    def _step(self, pool: ThreadPoolExecutor, stop: threading.Event) -> bool:
        """Plan, and hand out what is due; whether there is more to plan."""
        is_busy = self._planner.step()
        for subscription_key in self._due() if self._may_be_due() else ():
            with self._lock:
                if subscription_key in self._lines:
                    continue
                self._lines[subscription_key] = None
            pool.submit(self._turn, subscription_key, stop)
        if time.monotonic() >= self._clean_at:
            self._clean_at = time.monotonic() + _CLEAN_EVERY_S
            self._clean()
        return is_busy

    def _may_be_due(self) -> bool:
        """Whether it is worth asking: a monitor without webhooks shall cost next to nothing."""
        return self._planner.has_looked or self._wake.is_set() or self._now() >= self._due_at

    def _due(self) -> list[int]:
        """The subscriptions for which something can be sent now."""
        now_us = self._now_us()
        self._wake.clear()
        with self._store.reading() as connection:
            next_us = connection.execute(_NEXT_TRY).scalar()
            self._due_at = min(now_us + _LOOK_US, next_us or now_us + _LOOK_US) / _US
            found = {*_due_in_order(connection, now_us), *_due_aside(connection, now_us)}
        return sorted(found)

    def _clean(self) -> None:
        before_us = self._now_us() - round(_KEPT_S * _US)
        with self._store.writing() as connection:
            connection.execute(
                delete(deliveries).where(
                    deliveries.c.status.in_((DELIVERED, DEAD)),
                    deliveries.c.ended_at_us < before_us,
                )
            )

    def _end(self, pool: ThreadPoolExecutor) -> None:
        """Let what is being sent come to its end, but not for long."""
        pool.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + _GRACE_S
        while self._open_lines() and time.monotonic() < deadline:
            self._wake.wait(0.05)
            self._wake.clear()
        for line in self._open_lines():
            line.abort()
        pool.shutdown(wait=True)
        with self._lock:
            self._lines.clear()

    def _open_lines(self) -> list[Line]:
        with self._lock:
            return [line for line in self._lines.values() if line is not None]

    # --- threads that send -------------------------------------------------------------------

    def _turn(self, subscription_key: int, stop: threading.Event) -> None:
        """Send what is due for one subscription."""
        try:
            work = self._work(subscription_key)
            if work is not None:
                self._send_all(work, stop)
        except Exception as exc:
            report("webhooks", f"{type(exc).__name__}: {exc}")
        finally:
            with self._lock:
                self._lines.pop(subscription_key, None)
            self._wake.set()

    def _work(self, subscription_key: int) -> _Work | None:
        with self._store.reading() as connection:
            row = by_key(connection, subscription_key)
            if row is None or row.status == DISABLED or row.url is None or row.secret is None:
                return None
            mine = deliveries.c.subscription_key == subscription_key, _IS_PENDING
            queued = deliveries_where(connection, *mine, _HOLDS_UP, limit=_TURN_DELIVERIES)
            aside = deliveries_where(
                connection,
                *mine,
                not_(_HOLDS_UP),
                deliveries.c.next_try_at_us <= self._now_us(),
                limit=_TURN_RETRIES,
            )
            keys = [each.event_key for each in (*queued, *aside)]
            return _Work(row, queued, aside, events_by_key(connection, keys))

    def _send_all(self, work: _Work, stop: threading.Event) -> None:
        row = work.row
        line = self._sender.line(row.url or "", row.secret or "", row.authentication)
        with self._lock:
            self._lines[row.subscription_key] = line
        try:
            for delivery in work.queued:
                is_due = (delivery.next_try_at_us or 0) <= self._now_us()
                if stop.is_set() or not is_due or not self._send(line, work, delivery, stop):
                    break
            for delivery in work.aside:
                if stop.is_set():
                    break
                self._send(line, work, delivery, stop)
        finally:
            line.close()

    def _send(self, line: Line, work: _Work, delivery: DeliveryRow, stop: threading.Event) -> bool:
        """Try one delivery and write down what became of it; whether the next one may follow."""
        event = work.events.get(delivery.event_key)
        if event is None:
            self._write(
                work.row, delivery, Answer(None, "the event is no longer stored"), MAX_TRIES
            )
            return True
        webhook_id = message_id(work.row.subscription_id, event.event_id)
        answer = line.send(Message(webhook_id, event.json))
        if stop.is_set() and answer.status is None:
            return False  # it was cut short by us: that was no try
        return self._write(work.row, delivery, answer, delivery.tries + 1)

    def _write(
        self, row: SubscriptionRow, delivery: DeliveryRow, answer: Answer, tries: int
    ) -> bool:
        """Write down the outcome of a try; whether the next delivery may follow."""
        now_us = self._now_us()
        values = {"tries": tries, "http_status": answer.status, "last_error": answer.error or None}
        is_over = answer.is_taken or tries >= MAX_TRIES
        if answer.is_taken:
            values |= {"status": DELIVERED, "next_try_at_us": None, "ended_at_us": now_us}
        elif is_over:
            values |= {"status": DEAD, "next_try_at_us": None, "ended_at_us": now_us}
        else:
            wait_us = round(self._pause(tries, answer.retry_after_s) * _US)
            values |= {"next_try_at_us": now_us + wait_us}
        with self._store.writing() as connection:
            mine = deliveries.c.delivery_key == delivery.delivery_key
            written = connection.execute(update(deliveries).where(mine, _IS_PENDING).values(values))
            if not written.rowcount:
                return False  # the subscription has ended meanwhile: nothing more goes there
            reason = _reason_to_disable(connection, delivery, answer, tries)
            if reason:
                disable(connection, row.subscription_key, reason, now_us)
                note(connection, row, "disable", actor="monitor", now_us=now_us, reason=reason)
        self._count(row, answer, is_dead=is_over and not answer.is_taken, reason=reason)
        return not reason and (is_over or not holds_up(tries, answer.status))

    def _count(self, row: SubscriptionRow, answer: Answer, *, is_dead: bool, reason: str) -> None:
        if reason:
            report("webhooks", f"{row.subscription_id} is disabled: {reason}")
        with self._lock:
            self.counts["delivered" if answer.is_taken else "failed"] += 1
            self.counts["dead"] += is_dead

    def _now_us(self) -> int:
        return round(self._now() * _US)


_IS_PENDING = deliveries.c.status == PENDING
_NEXT_TRY = select(func.min(deliveries.c.next_try_at_us)).where(_IS_PENDING)
#: As `holds_up` says, in SQL.
_HOLDS_UP = deliveries.c.tries < case(
    (deliveries.c.http_status.in_(REFUSALS), REFUSED_TRIES), else_=HELD_TRIES
)


def _due_in_order(connection: Connection, now_us: int) -> list[int]:
    """Subscriptions whose first delivery that is waiting may be tried."""
    first = (
        select(deliveries.c.subscription_key, func.min(deliveries.c.event_key).label("event_key"))
        .where(_IS_PENDING, _HOLDS_UP)
        .group_by(deliveries.c.subscription_key)
        .subquery()
    )
    found = (
        select(deliveries.c.subscription_key)
        .join(
            first,
            (first.c.subscription_key == deliveries.c.subscription_key)
            & (first.c.event_key == deliveries.c.event_key),
        )
        .where(deliveries.c.next_try_at_us <= now_us)
    )
    return [row.subscription_key for row in connection.execute(found)]


def _due_aside(connection: Connection, now_us: int) -> list[int]:
    """Subscriptions with something that has failed often and may be tried again."""
    found = (
        select(deliveries.c.subscription_key)
        .where(_IS_PENDING, not_(_HOLDS_UP))
        .where(deliveries.c.next_try_at_us <= now_us)
        .distinct()
    )
    return [row.subscription_key for row in connection.execute(found)]


def _reason_to_disable(
    connection: Connection, delivery: DeliveryRow, answer: Answer, tries: int
) -> str:
    """Why its subscriber shall not be sent to any more; empty if it shall."""
    if answer.status == _GONE:
        return "the receiver answered 410: it is gone"
    if answer.is_taken or tries < MAX_TRIES:
        return ""
    taken = select(deliveries.c.delivery_key).where(
        deliveries.c.subscription_key == delivery.subscription_key,
        deliveries.c.status == DELIVERED,
        deliveries.c.ended_at_us >= delivery.created_at_us,
    )
    if connection.execute(taken.limit(1)).first() is not None:
        return ""
    return f"nothing was taken in {tries} tries of the last delivery, nor meanwhile"
