"""The service that rules are: plans what they have to do, does it, tries again, gives up.

One thread plans and hands out; each action has a thread while it is done. Before that it is
claimed: until its lease ends nobody else does it, and the lease is renewed while it goes on. What
became of it is written down, then recorded in the journal, as ``workflow.triggered``. A monitor
that is killed in between leaves a lease that ends, and the action is done again under the same key.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import and_, delete, or_, select, update

from fiveobs._others import record_for
from fiveobs._report import report
from fiveobs.monitor.live.events import events_by_key
from fiveobs.monitor.rules import expecting
from fiveobs.monitor.rules.acting import Outcome, Work, launched_job_id, perform
from fiveobs.monitor.rules.book import rule_of
from fiveobs.monitor.rules.facts import Facts
from fiveobs.monitor.rules.planning import Planner, job_facts
from fiveobs.monitor.rules.stored import (
    DEAD,
    DONE,
    LATE,
    LIMITED,
    LOOP,
    PENDING,
    FiringRow,
    listed_firings,
    rows_where,
)
from fiveobs.monitor.rules.telling import of_project, told
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import expectations, firings, rules
from fiveobs.monitor.webhooks.schedule import pause_s
from fiveobs.monitor.webhooks.sending import Line, Sender

__all__ = ["RuleEngine"]

_US = 1_000_000
_REST_S, _AFTER_FAILURE_S = 0.1, 1.0
#: Actions at once: of one rule, and of all together.
_MOST_OF_RULE, _MOST = 4, 16
#: How long a claim lasts unless it is renewed, and how often it is.
_LEASE_S, _RENEW_S = 60.0, 15.0
#: How long what is being done may go on after a stop.
_GRACE_S = 1.0
#: How often it is looked for what was not told, and how old that must be: a thread may be at it.
_TELL_S, _UNTOLD_S = 2.0, 10.0
#: How long what has ended is kept.
_KEPT_S, _CLEAN_EVERY_S = 30 * 24 * 3600.0, 3600.0
#: What may still be on its way into a journal when a deadline passes.
_MARGIN_S = 2.0
#: How long it may take to notice what somebody else has changed: a retry, say.
_LOOK_S = 1.0


class _Running(NamedTuple):
    """An action that is being done."""

    row: FiringRow
    lines: list[Line]


class RuleEngine:
    """Has rules act for as long as it runs.

    Args:
        store: Rules, firings, events.
        sender: Connects to receivers.
        settled_s: So many seconds ago all that is in the journals was in the store; ``None`` if
            that is not known yet.
        now: Seconds since 1970.
        pause: Seconds until the next try: failures, and what the receiver asked for.
        lease_s: How long a claim lasts, in seconds.
    """

    name = "rules"

    def __init__(
        self,
        store: Store,
        sender: Sender,
        *,
        settled_s: Callable[[], float | None],
        now: Callable[[], float] = time.time,
        pause: Callable[[int, float | None], float] = pause_s,
        lease_s: float = _LEASE_S,
    ) -> None:
        self._store = store
        self._sender = sender
        self._settled_s = settled_s
        self._now = now
        self._pause = pause
        self._lease_us = round(lease_s * _US)
        self._planner = Planner(store, now=now, clock=time.monotonic)
        self._lock = threading.Lock()
        #: By firing id: a store may use keys again.
        self._running: dict[str, _Running] = {}
        self._wake = threading.Event()
        self._is_stopping = False
        self._renew_at = self._tell_at = self._clean_at = 0.0
        #: When it is next looked for what is due.
        self._due_at_s = 0.0
        #: ``done``, ``failed``, ``dead`` and so on, since the process began.
        self.counts: Counter[str] = Counter()

    def run(self, stop: threading.Event) -> None:
        """Act until told to stop; whatever goes wrong is reported and tried again."""
        self._is_stopping = False
        while not stop.is_set():
            try:
                is_busy = self.step()
            except Exception as exc:
                report("rules", f"{type(exc).__name__}: {exc}")
                is_busy = False
                stop.wait(_AFTER_FAILURE_S)
            if not is_busy:
                self._wake.wait(_REST_S)
        self._end()

    # --- one thread --------------------------------------------------------------------------

    def step(self) -> bool:
        """Plan, hand out what is due, and look after the rest; whether there is more to plan.

        Raises:
            sqlalchemy.exc.OperationalError: The store cannot be reached.
        """
        settled_s = self._settled_s()
        is_busy = self._planner.step()
        if not is_busy and settled_s is not None:
            is_busy = self._planner.expire(self._now_us() - round((settled_s + _MARGIN_S) * _US))
        if is_busy or self._wake.is_set() or self._now() >= self._due_at_s:
            self._hand_out()
        self._look_after(time.monotonic())
        return is_busy

    def _look_after(self, now: float) -> None:
        if now >= self._renew_at:
            self._renew_at = now + min(_RENEW_S, self._lease_us / _US / 4)
            self._renew()
        if now >= self._tell_at:
            self._tell_at = now + _TELL_S
            self._tell_left()
        if now >= self._clean_at:
            self._clean_at = now + _CLEAN_EVERY_S
            self._clean()

    def _hand_out(self) -> None:
        self._wake.clear()
        self._due_at_s = self._now() + _LOOK_S
        for row in self._claimed():
            with self._lock:
                self._running[row.firing_id] = _Running(row, [])
            thread = threading.Thread(target=self._do, args=(row,), name=row.firing_id, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # there are too many: its lease ends
                self._forget(row)
                raise

    def _claimed(self) -> list[FiringRow]:
        """What is due and nobody else does: ours until the lease ends."""
        running = Counter(each.row.rule_key for each in self._under_way())
        room = _MOST - running.total()
        if room <= 0:
            return []
        now_us = self._now_us()
        full = [key for key, count in running.items() if count >= _MOST_OF_RULE]
        enabled = select(rules.c.rule_key).where(rules.c.is_enabled.is_(True))
        wanted = and_(
            _IS_PENDING,
            firings.c.next_try_at_us <= now_us,
            firings.c.rule_key.not_in(full),
            firings.c.rule_key.in_(enabled),
        )
        with self._store.reading() as connection:
            due = _first_due(connection, wanted, room)
        if not due:
            return []
        taken = []
        with self._store.writing() as connection:
            for row in due:
                if running[row.rule_key] < _MOST_OF_RULE and self._claim(connection, row, now_us):
                    running[row.rule_key] += 1
                    until_us = now_us + self._lease_us
                    taken.append(row._replace(tries=row.tries + 1, next_try_at_us=until_us))
        return taken

    def _claim(self, connection: Any, row: FiringRow, now_us: int) -> bool:
        mine = (firings.c.firing_id == row.firing_id) & _IS_PENDING
        done = connection.execute(
            update(firings)
            .where(mine, firings.c.next_try_at_us == row.next_try_at_us)
            .values(next_try_at_us=now_us + self._lease_us, tries=row.tries + 1)
        )
        return bool(done.rowcount)

    def _renew(self) -> None:
        """Put leases ahead: of what is still being done, not of what was just to be tried again."""
        running = self._under_way()
        if not running:
            return
        until_us = self._now_us() + self._lease_us
        with self._store.writing() as connection:
            renewed = [each for each in running if _is_renewed(connection, each.row, until_us)]
        with self._lock:
            for each in renewed:
                if each.row.firing_id in self._running:
                    row = each.row._replace(next_try_at_us=until_us)
                    self._running[row.firing_id] = each._replace(row=row)

    def _tell_left(self) -> None:
        """Record what has ended and was not recorded: planned so, or left by a killed monitor."""
        before_us = self._now_us() - round(_UNTOLD_S * _US)
        is_left = and_(
            firings.c.told_at_us.is_(None),
            firings.c.ended_at_us.is_not(None),
            or_(firings.c.status.in_(_PLANNED), firings.c.ended_at_us < before_us),
        )
        with self._store.reading() as connection:
            left = listed_firings(connection, is_left, limit=100)
        for row in reversed(left):
            is_told = self._tell(row, self._work(row), row.status, row.last_error or "")
            if is_told and row.status in _PLANNED:
                self.counts[row.status] += 1

    def _clean(self) -> None:
        now_us = self._now_us()
        before_us = now_us - round(_KEPT_S * _US)
        with self._store.writing() as connection:
            for table in (firings, expectations):
                connection.execute(delete(table).where(table.c.ended_at_us < before_us))
            expecting.forget(connection, self._planner.ready, now_us)

    def _end(self) -> None:
        """Let what is being done come to its end, but not for long; its lease ends by itself."""
        deadline = time.monotonic() + _GRACE_S
        while self._under_way() and time.monotonic() < deadline:
            self._wake.wait(0.05)
            self._wake.clear()
        self._is_stopping = True
        for each in self._under_way():
            for line in each.lines:
                line.abort()

    def _forget(self, row: FiringRow) -> None:
        with self._lock:
            self._running.pop(row.firing_id, None)

    def _under_way(self) -> list[_Running]:
        with self._lock:
            return list(self._running.values())

    # --- threads that act --------------------------------------------------------------------

    def _do(self, row: FiringRow) -> None:
        """Do one action and write down what became of it."""
        try:
            work = self._work(row)
            if isinstance(work, str):
                self._write(row, Outcome(work, is_final=True), None, 0)
            else:
                outcome = self._perform(row, work)
                if outcome.error and self._is_stopping:  # cut short by us: that was no try
                    self._change(row, next_try_at_us=self._now_us(), tries=row.tries - 1)
                    return
                self._write(row, outcome, work, work.rule.limits.max_tries)
        except Exception as exc:  # its lease ends, and it is done again
            report("rules", f"{type(exc).__name__}: {exc}")
        finally:
            self._forget(row)
            self._wake.set()

    def _perform(self, row: FiringRow, work: Work) -> Outcome:
        if row.action == "launch":
            # Known before it is: what the job does is then known to come from this rule.
            self._change(row, job_id=launched_job_id(row.firing_id))

        def record(event_type: str, level: str, message: str, data: Mapping[str, Any]) -> bool:
            return record_for(self._fields(row, work), event_type, level, message, data)

        with self._lock:
            lines = self._running[row.firing_id].lines
        return perform(work, self._sender, record, lines.append)

    def _fields(self, row: FiringRow, work: Work) -> dict[str, Any]:
        with self._store.reading() as connection:
            return of_project(connection, row.project_key, work.facts.record)

    def _work(self, row: FiringRow) -> Work | str:
        """What is to be done, as the rule says now; a text says why it cannot be."""
        with self._store.reading() as connection:
            found = rows_where(connection, rules.c.rule_key == row.rule_key)
            event = events_by_key(connection, [row.event_key]).get(row.event_key)
            if not found:
                return "the rule is deleted"
            if event is None:
                return "the event is no longer stored"
            of_job = job_facts(connection, event)
            missed = _missed(connection, row)
        try:
            rule = rule_of(found[0])
        except ValidationError as exc:
            return f"the rule cannot be used: {exc.error_count()} problems"
        if row.action_index >= len(rule.then):
            return "the rule has been changed: it has no such action any more"
        facts = Facts.of(event, lambda: of_job)
        chain, secret = tuple(row.chain), found[0].secret
        return Work(
            found[0].rule_id, rule, secret, row.action_index, row.firing_id, facts, chain, missed
        )

    def _write(self, row: FiringRow, outcome: Outcome, work: Work | None, most: int) -> None:
        """Write down the outcome of a try, and record it if it was the last."""
        now_us = self._now_us()
        is_over = not outcome.error or outcome.is_final or row.tries >= most
        status = DONE if not outcome.error else DEAD if is_over else PENDING
        values: dict[str, Any] = {"status": status, "last_error": outcome.error or None}
        if is_over:
            values |= {"next_try_at_us": None, "ended_at_us": now_us}
        else:
            wait_us = round(self._pause(row.tries, outcome.retry_after_s) * _US)
            values["next_try_at_us"] = now_us + wait_us
        if not self._change(row, **values):
            return  # the rule was deleted meanwhile
        with self._lock:
            self.counts["failed" if status == PENDING else status] += 1
        if status == DEAD:
            report("rules", f"{row.firing_id} is given up: {outcome.error}")
        if is_over:
            self._tell(row, work or "", status, outcome.error)

    def _change(self, row: FiringRow, **values: Any) -> bool:
        with self._store.writing() as connection:
            mine = (firings.c.firing_id == row.firing_id) & _IS_PENDING
            return bool(connection.execute(update(firings).where(mine).values(values)).rowcount)

    def _tell(self, row: FiringRow, work: Work | str, status: str, reason: str) -> bool:
        """Record the outcome in the journal, then note that; whether it is recorded."""
        if isinstance(work, Work):
            level, message, data = told(work, row, status, reason)
            fields = self._fields(row, work)
            if not record_for(fields, "workflow.triggered", level, message, data):
                return False
        with self._store.writing() as connection:
            mine = firings.c.firing_id == row.firing_id
            connection.execute(update(firings).where(mine).values(told_at_us=self._now_us()))
        return True

    def _now_us(self) -> int:
        return round(self._now() * _US)


_IS_PENDING = firings.c.status == PENDING


def _is_renewed(connection: Any, row: FiringRow, until_us: int) -> bool:
    """Whether a lease was still held, and is put ahead."""
    held = (firings.c.firing_id == row.firing_id) & _IS_PENDING
    held &= firings.c.next_try_at_us == row.next_try_at_us
    done = connection.execute(update(firings).where(held).values(next_try_at_us=until_us))
    return bool(done.rowcount)


#: What ends when it is planned.
_PLANNED = (LOOP, LIMITED, LATE)


def _first_due(connection: Any, wanted: Any, room: int) -> list[FiringRow]:
    """What has waited longest."""
    columns = [firings.c[name] for name in FiringRow._fields]
    found = select(*columns).where(wanted).order_by(firings.c.next_try_at_us).limit(room)
    return [FiringRow(*row) for row in connection.execute(found)]


def _missed(connection: Any, row: FiringRow) -> dict[str, Any] | None:
    """What was awaited, of a firing that is about that."""
    if row.expectation_key is None:
        return None
    return expecting.described(connection, row.expectation_key)
