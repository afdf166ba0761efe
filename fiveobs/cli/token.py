"""``fiveobs token``: makes, lists and revokes what lets callers into the monitor.

Works on the store itself, so it needs no token; whoever can write the store may do this.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fiveobs import _parsers
from fiveobs._parsers import UnusableError
from fiveobs.cli._monitor_store import add_store_arguments, opened_store
from fiveobs.cli._terminal import plain, table
from fiveobs.exceptions import BadInputError

if TYPE_CHECKING:
    from fiveobs.monitor.access import TokenRow
    from fiveobs.monitor.settings import MonitorSettings
    from fiveobs.monitor.store.engine import Store

__all__ = ["add_parser", "run"]

_US = 1_000_000
_ID = re.compile(r"[0-9a-f]{1,16}")
_ROLES = ("viewer", "operator", "admin")
_HEAD = ("ID", "NAME", "ROLE", "TENANT", "PROJECT", "CREATED", "EXPIRES", "LAST USED", "STATE")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the ``token`` command to the command line."""
    parser = subparsers.add_parser(
        "token",
        help="make, list and revoke the monitor's tokens",
        description="Make, list and revoke what lets callers into the monitor.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_create(actions)
    listing = _add_action(actions, "list", _list, "print every token; never what lets in")
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    revoking = _add_action(actions, "revoke", _revoke, "end a token for good, within seconds")
    revoking.add_argument(
        "token_id", metavar="ID", help="the token's id, as 'list' shows it, or the whole token"
    )
    revoking.add_argument(
        "--keep-subscriptions",
        action="store_true",
        help="leave the subscriptions made with it; else they end with it",
    )
    parser.set_defaults(run=run)


def _add_create(actions: Any) -> None:
    parser = _add_action(actions, "create", _create, "make a token and print it, this once")
    parser.add_argument("--name", required=True, help="what it is for; stands in the audit trail")
    parser.add_argument(
        "--role",
        choices=_ROLES,
        default="viewer",
        help="viewer reads, operator also stops jobs, subscribes and makes rules, admin also"
        " changes others' subscriptions and reads the audit trail"
        " (default: viewer)",
    )
    parser.add_argument("--tenant", metavar="ID", help="good for this tenant only")
    parser.add_argument("--project", metavar="ID", help="good for this project of it only")
    parser.add_argument(
        "--expires", metavar="TIME", help="ends after a while (12h, 30d) or at a time (2030-01-31)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the token alone")


def _add_action(
    actions: Any, name: str, do: Callable[..., int], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    add_store_arguments(parser)
    parser.set_defaults(do=do)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do one of the actions.

    Args:
        args: ``do`` is the action.

    Returns:
        0, or 1 if there is no such token.

    Raises:
        BadInputError: A value cannot be used.
        ConfigError: The store cannot be opened, or the extra is not installed.
    """
    with opened_store("token", args) as (store, settings):
        code: int = args.do(args, store, settings)
    return code


def _create(args: argparse.Namespace, store: Store, _settings: MonitorSettings) -> int:
    from fiveobs.monitor.access import create_token

    made = create_token(
        store,
        name=args.name,
        role=args.role,
        tenant_id=args.tenant,
        project_id=args.project,
        expires_at_us=None if args.expires is None else _moment_us(args.expires),
        actor=_who(),
    )
    # Alone on its line, so that it can be read into a variable or a file.
    print(json.dumps({"id": made.token_id, "token": made.token}) if args.json else made.token)
    return 0


def _list(args: argparse.Namespace, store: Store, _settings: MonitorSettings) -> int:
    from fiveobs.monitor.access import list_tokens

    rows = list_tokens(store)
    if args.json:
        print(json.dumps([_as_json(row) for row in rows], indent=2))
        return 0
    for line in table([_HEAD, *(_as_cells(row) for row in rows)]):
        print(line)
    return 0


def _revoke(args: argparse.Namespace, store: Store, settings: MonitorSettings) -> int:
    from fiveobs.monitor.access import id_of, revoke_token

    token_id = id_of(args.token_id)
    keep = args.keep_subscriptions
    done = revoke_token(store, token_id, actor=_who(), keep_subscriptions=keep)
    if done is None:
        print(f"there is no good token {_named(token_id)}: 'fiveobs token list' shows all")
        return 1
    for path in _files_of(settings, token_id):
        path.unlink(missing_ok=True)
    ended = f" and disabled {done.subscriptions} subscriptions" if done.subscriptions else ""
    print(f"revoked {token_id}{ended}")
    return 0


def _who() -> str:
    """Whoever sits at the terminal, for the audit trail: nobody asks them for a token."""
    try:
        return f"{getpass.getuser()} at a terminal"
    except (OSError, KeyError, ImportError):  # a user id without a name
        return "somebody at a terminal"


def _named(token_id: str) -> str:
    """An id as it was given; nothing that may be part of a secret."""
    return repr(token_id) if _ID.fullmatch(token_id) else "of that id"


def _files_of(settings: MonitorSettings, token_id: str) -> Iterator[Any]:
    """The file that still has this token, if there is one."""
    with contextlib.suppress(OSError):
        if f"_{token_id}_" in settings.token_file.read_text(encoding="utf-8"):
            yield settings.token_file


def _moment_us(text: str) -> int:
    """``30d`` (from now), or a time such as ``2030-01-31T12:00``, in microseconds since 1970.

    Raises:
        BadInputError: It is neither.
    """
    try:
        seconds: float = _parsers.duration(1.0)(text)
        return round((time.time() + seconds) * _US)
    except UnusableError:
        pass
    try:
        return round(datetime.fromisoformat(text.strip()).astimezone().timestamp() * _US)
    except (ValueError, OverflowError):
        raise BadInputError(
            f"--expires {text!r} is no time; use how long from now (12h, 30d, at most 366d), or a"
            " moment (2030-01-31T12:00, local time unless it says otherwise)"
        ) from None


def _state(row: TokenRow) -> str:
    if row.revoked_at_us is not None:
        return "revoked"
    return "good" if row.is_valid(round(time.time() * _US)) else "expired"


def _as_json(row: TokenRow) -> dict[str, Any]:
    return {
        "id": row.token_id,
        "name": row.name,
        "role": row.role,
        "tenantId": row.tenant_id,
        "projectId": row.project_id,
        "createdAt": _as_time(row.created_at_us),
        "expiresAt": _as_time(row.expires_at_us),
        "usedAt": _as_time(row.used_at_us),
        "revokedAt": _as_time(row.revoked_at_us),
        "state": _state(row),
    }


def _as_cells(row: TokenRow) -> tuple[str, ...]:
    times = (row.created_at_us, row.expires_at_us, row.used_at_us)
    scope = (row.tenant_id or "all", row.project_id or "all")
    shown = (_as_time(each) or "never" for each in times)
    return (row.token_id, plain(row.name), row.role, *map(plain, scope), *shown, _state(row))


def _as_time(at_us: int | None) -> str | None:
    if at_us is None:
        return None
    return f"{datetime.fromtimestamp(at_us // _US, UTC):%Y-%m-%dT%H:%M:%SZ}"
