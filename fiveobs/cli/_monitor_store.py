"""The store of the monitor, for commands that work on it themselves; and the extra they need."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fiveobs.exceptions import ConfigError

if TYPE_CHECKING:
    from fiveobs.monitor.settings import MonitorSettings
    from fiveobs.monitor.store.engine import Store

__all__ = ["add_store_arguments", "needs_monitor", "opened_store"]

_PACKAGE = "fiveobs"


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the store is to a command's arguments."""
    parser.add_argument("--store-url", metavar="URL", help="the store (FIVEOBS_STORE_URL)")
    parser.add_argument("--home", metavar="PATH", help="FIVEOBS_HOME of the monitor")


@contextlib.contextmanager
def opened_store(command: str, args: argparse.Namespace) -> Iterator[tuple[Store, MonitorSettings]]:
    """The store, closed at the end, and the settings it was found by.

    Args:
        command: What the user called, for the message.
        args: ``store_url`` and ``home`` override the environment.

    Raises:
        ConfigError: The store cannot be opened, or the extra is not installed.
    """
    try:
        from fiveobs.monitor.settings import load_settings
        from fiveobs.monitor.store.engine import opened

        settings = load_settings(os.environ, store_url=args.store_url, home=args.home)
        store = opened(settings.store_url)
    except ModuleNotFoundError as exc:
        raise needs_monitor(command, exc) from exc
    with contextlib.closing(store):
        yield store, settings


def needs_monitor(command: str, exc: ModuleNotFoundError) -> Exception:
    """The error to raise where a module is not there: ours, if the extra is what is missing."""
    name = (exc.name or "").partition(".")[0]
    if name in ("", _PACKAGE):
        return exc
    return ConfigError(f"'fiveobs {command}' needs {name}: pip install 'fiveobs[monitor]'")
