"""One monitor at a time does what is to be done once, also where several share a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from fiveobs.monitor.store.engine import Store

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["WEBHOOKS", "Turns"]

#: Any number, as long as nobody else locks it. Two that send webhooks would send everything twice.
WEBHOOKS = 0x66_69_76_68
_ASK_EVERY_S, _CHECK_EVERY_S = 5.0, 2.0


class Turns:
    """Tells whether it is this monitor's turn. Used by one thread.

    With PostgreSQL that is whoever holds a lock which ends with the connection; with SQLite it
    always is, because one monitor serves a file.

    Args:
        store: What they share.
        lock: For what: the number of the lock.
    """

    def __init__(self, store: Store, lock: int = WEBHOOKS) -> None:
        self._store = store
        self._lock = lock
        self._holding: Connection | None = None
        self._ask_at = 0.0

    def is_mine(self) -> bool:
        """Whether to do it now."""
        if self._store.is_sqlite:
            return True
        if time.monotonic() < self._ask_at:
            return self._holding is not None
        try:
            self._ask()
        except SQLAlchemyError:
            self.close()
            raise
        is_mine = self._holding is not None
        self._ask_at = time.monotonic() + (_CHECK_EVERY_S if is_mine else _ASK_EVERY_S)
        return is_mine

    def close(self) -> None:
        """Let others have it; idempotent."""
        holding, self._holding = self._holding, None
        if holding is not None:
            holding.invalidate()  # closes it for good: the lock goes with it
            holding.close()

    def _ask(self) -> None:
        if self._holding is not None:
            self._holding.exec_driver_sql("SELECT 1")
            return
        connection = self._store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        query = f"SELECT pg_try_advisory_lock({self._lock})"
        if connection.exec_driver_sql(query).scalar():
            self._holding = connection
        else:
            connection.close()
