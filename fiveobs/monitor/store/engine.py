"""Opens a store: the connections, SQLite's settings, and the migration to the present schema.

Thread safety: a ``Store`` may be shared by threads; each takes connections of its own from the
pool. It must not cross a fork.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from fiveobs.exceptions import ConfigError

__all__ = ["Store", "default_url", "masked", "open_store", "opened", "sqlite_path"]

_BACKENDS = ("sqlite", "postgresql")
#: How long a writer waits for another one, in milliseconds.
_BUSY_TIMEOUT_MS = 30_000
_SQLITE_SETTINGS = {
    # Of a file that is made now. An event takes half a kilobyte: larger pages mean fewer writes.
    "page_size": "8192",
    "journal_mode": "wal",
    # With WAL this survives a crash of the process; a power cut may take the last commits, which
    # are then read from the journals again, because the cursors go with them.
    "synchronous": "normal",
    "busy_timeout": str(_BUSY_TIMEOUT_MS),
    "foreign_keys": "on",
    # Some systems have SQLite write zeros over whatever is deleted: only where that costs nothing.
    "secure_delete": "fast",
    "temp_store": "memory",
    "cache_size": "-65536",
    "mmap_size": str(256 * 1024 * 1024),
    "wal_autocheckpoint": "2000",
    "journal_size_limit": str(64 * 1024 * 1024),
}
_ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_POOL_SIZE, _POOL_OVERFLOW = 8, 24


class Store:
    """A database with the present schema.

    Args:
        engine: Its connections.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._lock = threading.Lock()
        #: Threads of this process that write just now, or wait until they can.
        self.writers = 0

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of SQLite's; PostgreSQL otherwise."""
        return self.engine.dialect.name == "sqlite"

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one moment of the store and changes nothing."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN" if self.is_sqlite else _ONE_MOMENT)
            try:
                yield connection
            finally:
                connection.rollback()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back by an exception."""
        with self._counted(), self.engine.connect() as connection:
            if self.is_sqlite:
                # Asked for at once: a transaction that reads first and writes later may find that
                # somebody else has written in between, and fails however long it waits.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self.writers += 1
        try:
            yield
        finally:
            with self._lock:
                self.writers -= 1

    def close(self) -> None:
        """Give up the connections; idempotent."""
        self.engine.dispose()


def default_url(home: Path) -> str:
    """Where the store is if nothing else is said: a file in ``FIVEOBS_HOME``."""
    return f"sqlite:///{home / 'monitor' / 'store.sqlite3'}"


def sqlite_path(url: str) -> Path | None:
    """The file of a store of SQLite's; ``None`` for any other.

    Raises:
        ConfigError: The URL names no store that there is.
    """
    address = _address(url)
    if address.get_backend_name() != "sqlite" or not address.database:
        return None
    return Path(address.database).resolve()


def open_store(url: str, *, migrate: bool = True) -> Store:
    """Connect and bring the schema up to date.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://USER:PASSWORD@HOST/NAME``.
        migrate: Apply migrations that are missing.

    Raises:
        ConfigError: The URL names no store that there is.
        sqlalchemy.exc.OperationalError: It cannot be reached.
    """
    address = _address(url)
    if address.get_backend_name() == "sqlite":
        _make_folder(address)
    store = Store(_engine(address))
    if migrate:
        from fiveobs.monitor.store.migrating import upgrade

        upgrade(store)
    return store


def opened(url: str) -> Store:
    """Open a store for whoever reads the error, should it fail.

    Raises:
        ConfigError: It cannot be opened.
    """
    try:
        return open_store(url)
    except (SQLAlchemyError, OSError) as exc:
        cause = str(getattr(exc, "orig", None) or exc).strip().partition("\n")[0]
        raise ConfigError(f"the store {masked(url)} cannot be opened: {cause}") from exc


def _address(url: str) -> URL:
    try:
        address = make_url(url)
        backend = address.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        backend = ""
    if backend not in _BACKENDS:
        raise ConfigError(
            f"FIVEOBS_STORE_URL: {masked(url)!r} is no store: valid are sqlite:///PATH and "
            "postgresql://USER:PASSWORD@HOST:PORT/NAME"
        )
    return address.set(drivername={"postgresql": "postgresql+psycopg"}.get(backend, backend))


def masked(url: str) -> str:
    """The URL as far as it can be shown: nothing between ``//`` and ``@``, nothing after ``?``."""
    scheme, slashes, rest = url.partition("//")
    rest, question, _query = rest.partition("?")
    rest = f"***@{rest.rpartition('@')[2]}" if "@" in rest else rest
    return f"{scheme}{slashes}{rest}{question and '?***'}"


def _make_folder(address: URL) -> None:
    if not address.database or address.database == ":memory:":
        raise ConfigError(
            "FIVEOBS_STORE_URL: SQLite needs a file: sqlite:////var/lib/fiveobs.sqlite3"
        )
    path = Path(address.database)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # It holds what webhooks are signed with: for this user alone, and so are the files beside it,
    # which take its mode. Only a new one is opened here: to close one that is open elsewhere in
    # this process would give up its locks.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _engine(address: URL) -> Engine:
    if address.get_backend_name() == "postgresql":
        return create_engine(
            address, pool_size=_POOL_SIZE, max_overflow=_POOL_OVERFLOW, pool_pre_ping=True
        )
    engine = create_engine(
        address,
        poolclass=QueuePool,
        pool_size=_POOL_SIZE,
        max_overflow=_POOL_OVERFLOW,
        connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT_MS / 1000},
    )
    event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # Transactions are begun by us, not by the driver, which would begin them too late.
    connection.isolation_level = None
    cursor = connection.cursor()
    for name, value in _SQLITE_SETTINGS.items():
        cursor.execute(f"PRAGMA {name}={value}")
    cursor.close()
