"""Rules in a store, an engine whose time a test moves, and what came of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import orjson
from sqlalchemy import select

import fiveobs
from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.rules import stored
from fiveobs.monitor.rules.engine import RuleEngine
from fiveobs.monitor.rules.models import Rule
from fiveobs.monitor.rules.stored import RuleRow
from fiveobs.monitor.store import schema
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.reading import MONITOR_SERVICE
from fiveobs.monitor.webhooks.guard import Guard
from fiveobs.monitor.webhooks.sending import Sender
from tests.support.hooks import LOOPBACK
from tests.support.journals import START_NS
from tests.support.workers import until

__all__ = ["START_S", "Ruling", "Running", "add_rule", "change_rule"]

#: The made-up time, in seconds since 1970.
START_S = START_NS // 1_000_000_000


def add_rule(store: Store, written: Mapping[str, Any], project_key: int = 1) -> RuleRow:
    """A rule, as the API stores it."""
    rule = Rule.model_validate(dict(written))
    with store.writing() as connection:
        return stored.create(
            connection,
            project_key=project_key,
            name=rule.name,
            is_enabled=rule.enabled,
            definition=rule.definition(),
            created_by="test",
            now_us=1,
        )


def change_rule(store: Store, row: RuleRow, written: Mapping[str, Any]) -> RuleRow:
    """Replace it."""
    rule = Rule.model_validate(dict(written))
    values = {"name": rule.name, "is_enabled": rule.enabled, "definition": rule.definition()}
    with store.writing() as connection:
        return stored.change(connection, row, **values, now_us=2)


class Ruling:
    """An engine, its clock, and the journal that it records into.

    Args:
        store: Where rules are.
        home: The home whose journals are taken in.
        options: Of the engine.
    """

    def __init__(self, store: Store, home: Path, **options: Any) -> None:
        self.store = store
        self.home = home
        self.now_s = START_S + 10_000.0
        #: So many seconds ago all journals were in the store.
        self.settled_s: float | None = 0.0
        sender = Sender(Guard([LOOPBACK]), total_s=5.0)
        options.setdefault("pause", lambda failures, asked: 10.0 * failures)
        self.engine = RuleEngine(
            store,
            options.pop("sender", sender),
            settled_s=lambda: self.settled_s,
            now=lambda: self.now_s,
            **options,
        )
        fiveobs.configure(home=home, service=MONITOR_SERVICE)
        self._ingester = Ingester(store, home / "journal", report=print)

    def close(self) -> None:
        """End what it records with."""
        fiveobs.shutdown(1.0)

    def ingest(self) -> None:
        """Take in what it has recorded."""
        while self._ingester.step():
            pass

    def work(self, done: Callable[[], bool] | None = None) -> None:
        """Go on until nothing is left to do now, or until something is so."""

        def is_done() -> bool:
            self.now_s += 0.001  # what is due now is due
            self.engine._due_at_s = 0.0
            is_busy = self.engine.step()
            is_idle = not is_busy and not self.engine._under_way() and not self.due()
            return done() if done is not None else is_idle

        until(is_done, timeout_s=30, what="the rules' work")

    def due(self) -> list[Any]:
        """What is waiting and may be tried now."""
        now_us = round(self.now_s * 1e6)  # as the engine has it
        found = self.firings()
        return [row for row in found if row.status == "pending" and row.next_try_at_us <= now_us]

    def firings(self) -> list[Any]:
        """All there are, in their order."""
        return _rows(self.store, schema.firings)

    def expectations(self) -> list[Any]:
        """All there are, in their order."""
        return _rows(self.store, schema.expectations)

    def statuses(self) -> list[str]:
        """Of all firings."""
        return [row.status for row in self.firings()]

    def recorded(self, event_type: str = "workflow.triggered") -> list[Any]:
        """What it has recorded, as the store has it, with its data."""
        self.ingest()
        wanted = schema.events.c.event_type == event_type
        with self.store.reading() as connection:
            found = connection.execute(
                select(schema.events).where(wanted).order_by(schema.events.c.event_key)
            ).all()
        return [(row, orjson.loads(row.data)) for row in found]


def _rows(store: Store, table: Any) -> list[Any]:
    with store.reading() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key.columns)))


class Running:
    """An engine in a thread, as the monitor runs it."""

    def __init__(self, engine: RuleEngine) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=engine.run, args=(self._stop,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10.0)
        assert not self._thread.is_alive(), f"it runs at {time.time()}"
