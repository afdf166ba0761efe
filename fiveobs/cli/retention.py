"""``fiveobs retention``: takes what has expired out of the monitor's store, or says what would go.

Works on the store itself, also while a monitor serves it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fiveobs.cli._monitor_store import add_store_arguments, opened_store
from fiveobs.cli._terminal import plain, table

if TYPE_CHECKING:
    from fiveobs.monitor.retention.cleaner import Cleaner
    from fiveobs.monitor.retention.counting import Expired
    from fiveobs.monitor.store.engine import Store

__all__ = ["add_parser", "run"]

_US = 1_000_000
_HEAD = ("TENANT", "PROJECT", "PART", "TABLE", "ROWS", "FROM", "TO")
_GONE_HEAD = _HEAD[:5]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the ``retention`` command to the command line."""
    parser = subparsers.add_parser(
        "retention",
        help="take what has expired out of the monitor's store",
        description="Take what has expired out of the monitor's store, in small batches, as the"
        " monitor does every hour. FIVEOBS_RETENTION_… say how long what is kept.",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would go; nothing is changed"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_store_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Take it out, or count it.

    Args:
        args: ``dry_run`` and ``json``, and where the store is.

    Returns:
        0, or 1 if a monitor is at it just now.

    Raises:
        ConfigError: The store cannot be opened, or the extra is not installed.
    """
    with opened_store("retention", args) as (store, settings):
        from fiveobs.monitor.retention.cleaner import Cleaner

        cleaner = Cleaner(store, settings.retention)
        return _count(args, cleaner) if args.dry_run else _clean(args, store, cleaner)


def _count(args: argparse.Namespace, cleaner: Cleaner) -> int:
    began_s = time.monotonic()
    found = cleaner.count()
    took_s = time.monotonic() - began_s
    total = sum(each.rows for each in found)
    if args.json:
        rows = [_as_json(each) for each in found]
        print(json.dumps({"dryRun": True, "tookSeconds": round(took_s, 3), "rows": rows}, indent=2))
        return 0
    _print_table(_HEAD, [_as_cells(each) for each in found])
    about = "about " if any(each.is_estimate for each in found) else ""
    print(f"{about}{total:,} rows would go; counted in {took_s:.1f} s, nothing was changed")
    return 0


def _clean(args: argparse.Namespace, store: Store, cleaner: Cleaner) -> int:
    from fiveobs.monitor.retention.service import LOCK
    from fiveobs.monitor.webhooks.turns import Turns

    with contextlib.closing(Turns(store, LOCK)) as turns:
        if not turns.is_mine():
            print("a monitor takes out what has expired just now: try again when it has")
            return 1
        passed = cleaner.clean(threading.Event())
    found = sorted(passed.rows.items())
    if args.json:
        rows = [{**_names(*gone), "rows": count} for gone, count in found]
        took = round(passed.took_s, 3)
        print(json.dumps({"dryRun": False, "tookSeconds": took, "rows": rows}, indent=2))
        return 0
    _print_table(_GONE_HEAD, [(*map(plain, gone), f"{count:,}") for gone, count in found])
    print(f"{passed.rows.total():,} rows are gone, in {passed.took_s:.1f} s")
    return 0


def _print_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    for line in table([head, *rows]) if rows else _nothing():
        print(line)


def _nothing() -> Iterator[str]:
    yield "nothing has expired"


def _names(tenant_id: str, project_id: str, part: str, name: str) -> dict[str, str]:
    return {"tenantId": tenant_id, "projectId": project_id, "part": part, "table": name}


def _as_json(each: Expired) -> dict[str, Any]:
    return {
        **_names(each.project.tenant_id, each.project.project_id, each.part, each.table),
        "rows": each.rows,
        "isEstimate": each.is_estimate,
        "from": _as_time(each.from_us),
        "to": _as_time(each.to_us),
    }


def _as_cells(each: Expired) -> tuple[str, ...]:
    names = (each.project.tenant_id, each.project.project_id, each.part, each.table)
    rows = f"~{each.rows:,}" if each.is_estimate else f"{each.rows:,}"
    times = (_as_time(at_us) or "" for at_us in (each.from_us, each.to_us))
    return (*map(plain, names), rows, *times)


def _as_time(at_us: int | None) -> str | None:
    if at_us is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_us // _US))
