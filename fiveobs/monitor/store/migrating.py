"""Brings a store's schema up to date, with Alembic. Safe to run in several processes at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

    from fiveobs.monitor.store.engine import Store

__all__ = ["configuration", "upgrade"]

#: Any number, as long as nobody else locks it: two monitors must not migrate one database at once.
_ADVISORY_LOCK = 0x66_69_76_65


def upgrade(store: Store, revision: str = "head") -> None:
    """Apply the migrations up to ``revision``, all in one transaction.

    Args:
        store: Where.
        revision: Alembic's name of a revision; ``head`` is the newest.
    """
    from alembic import command

    with store.writing() as connection:
        if not store.is_sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        command.upgrade(configuration(connection), revision)


def configuration(connection: Connection) -> Config:
    """Alembic's configuration, bound to a connection whose transaction is the caller's."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    return config
