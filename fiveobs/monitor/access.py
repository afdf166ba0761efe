"""Who may call: bearer tokens, their roles, and the tenant and project that each is good for.

A token is ``fiveobs_<id>_<secret>``. The id is public: it finds the row, and stands in the audit
trail. Of the secret only the SHA-256 is kept. A slow hash, as for passwords, would gain nothing:
what makes a password hash slow is meant to hinder guessing, and 256 random bits cannot be guessed
at any speed. A fast one means that checking a token costs a caller nothing and cannot be used to
burn the monitor's CPU.

Thread safety: all of it may be used by several threads.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from sqlalchemy import Connection, insert, select, update

from fiveobs.exceptions import BadInputError
from fiveobs.monitor.store import auditing
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import projects, subscriptions, tokens
from fiveobs.monitor.webhooks.subscriptions import ACTIVE, disable, note, rows_where

__all__ = [
    "ROLES",
    "Access",
    "Caller",
    "NewToken",
    "Revoked",
    "Role",
    "TokenRow",
    "create_first_token",
    "create_token",
    "good_token",
    "id_of",
    "list_tokens",
    "revoke_token",
]

#: What a token allows, each including those before it.
Role: TypeAlias = Literal["viewer", "operator", "admin"]
ROLES: tuple[str, ...] = get_args(Role)
_PREFIX = "fiveobs"
_SECRET_BYTES = 32
_MOST_TOKEN_CHARS = 128
_MOST_NAME_CHARS = 200
_US = 1_000_000
#: How long a token that was found good is not looked up again: a revoked one is refused after it.
_KEPT_S = 1.0
_MOST_KEPT = 4_096
#: Any number, as long as nobody else locks it: two monitors must not both make a first token.
_ADVISORY_LOCK = 0x66_69_76_66
#: Compared with where there is no such token, so that this takes as long as where there is one.
_NO_HASH = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who asks, as their token says."""

    token_id: str
    name: str
    role: Role
    #: ``None`` means every tenant.
    tenant_id: str | None = None
    #: ``None`` means every project of the tenant.
    project_id: str | None = None

    def may(self, role: str) -> bool:
        """Whether the caller's role includes this one."""
        return ROLES.index(self.role) >= ROLES.index(role)

    @property
    def sees_all(self) -> bool:
        """Whether every project of every tenant is the caller's."""
        return self.tenant_id is None and self.project_id is None

    def sees(self, tenant_id: str | None, project_id: str | None) -> bool:
        """Whether what belongs to this tenant and project is the caller's; ``None`` is all."""
        return self.tenant_id in (None, tenant_id) and self.project_id in (None, project_id)


class NewToken(NamedTuple):
    """A token that was just made: the only time that it can be read."""

    token_id: str
    token: str


class Revoked(NamedTuple):
    """What ended with a token."""

    #: How many.
    subscriptions: int


class TokenRow(NamedTuple):
    """What is known of a token; times are microseconds since 1970."""

    token_id: str
    name: str
    role: str
    tenant_id: str | None
    project_id: str | None
    created_at_us: int
    expires_at_us: int | None
    used_at_us: int | None
    revoked_at_us: int | None
    is_first: bool

    def is_valid(self, now_us: int) -> bool:
        """Whether it lets anybody in."""
        return self.revoked_at_us is None and (
            self.expires_at_us is None or now_us < self.expires_at_us
        )


def create_token(
    store: Store,
    *,
    name: str,
    role: str,
    tenant_id: str | None = None,
    project_id: str | None = None,
    expires_at_us: int | None = None,
    actor: str = auditing.MONITOR,
) -> NewToken:
    """Make a token; the audit trail says so.

    Args:
        store: Where its hash is kept.
        name: What it is for; shown in lists and in the audit trail.
        role: One of `ROLES`.
        tenant_id: Whose jobs it shows; ``None`` is everybody's.
        project_id: One project of that tenant; ``None`` is all of them.
        expires_at_us: When it ends; ``None`` is never.
        actor: Who makes it, for the audit trail.

    Raises:
        BadInputError: A value cannot be used.
    """
    _check(name, role, tenant_id, project_id, expires_at_us)
    with store.writing() as connection:
        return _add(
            connection,
            name=name,
            role=role,
            tenant_id=tenant_id,
            project_id=project_id,
            expires_at_us=expires_at_us,
            actor=actor,
        )


def create_first_token(store: Store) -> NewToken | None:
    """Make the token of a store that has none yet: an admin's; ``None`` if there are some."""
    with store.writing() as connection:
        if not store.is_sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        if connection.execute(select(tokens.c.token_key).limit(1)).first() is not None:
            return None
        return _add(connection, name="first", role="admin", is_first=True, actor=auditing.MONITOR)


def list_tokens(store: Store) -> list[TokenRow]:
    """Every token that was ever made, the oldest first."""
    wanted = select(*(tokens.c[name] for name in TokenRow._fields)).order_by(tokens.c.token_key)
    with store.reading() as connection:
        return [TokenRow(*row) for row in connection.execute(wanted)]


def revoke_token(
    store: Store,
    token_id: str,
    *,
    actor: str = auditing.MONITOR,
    keep_subscriptions: bool = False,
) -> Revoked | None:
    """End a token for good; ``None`` if there is none that is still good.

    Args:
        store: Where it is kept.
        token_id: Which.
        actor: Who ends it, for the audit trail.
        keep_subscriptions: Leave the subscriptions made with it; else they are disabled.
    """
    wanted = (tokens.c.token_id == token_id) & tokens.c.revoked_at_us.is_(None)
    with store.writing() as connection:
        done = connection.execute(update(tokens).where(wanted).values(revoked_at_us=_now_us()))
        if not done.rowcount:
            return None
        _note(connection, actor, "token.revoke", token_id)
        ended = 0 if keep_subscriptions else _end_subscriptions(connection, token_id, actor)
        return Revoked(ended)


def _end_subscriptions(connection: Connection, token_id: str, actor: str) -> int:
    mine = (subscriptions.c.token_id == token_id) & (subscriptions.c.status == ACTIVE)
    rows, now_us, reason = rows_where(connection, mine), _now_us(), "its token was revoked"
    for row in rows:
        disable(connection, row.subscription_key, reason, now_us)
        note(connection, row, "disable", actor=actor, now_us=now_us, reason=reason)
    return len(rows)


def good_token(connection: Connection, token_id: str | None) -> TokenRow | None:
    """A token that lets in at this moment of the store; ``None`` if it does not."""
    row = _row(connection, token_id or "")
    return row[1] if row is not None and row[1].is_valid(_now_us()) else None


def id_of(text: str) -> str:
    """A token's id: of a whole token the part that is public, else the text as it is."""
    return _parts(text.strip())[0] or text


class Access:
    """Tells who a token belongs to.

    Args:
        store: Where tokens are kept.
        now: Seconds since 1970.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        store: Store,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._now = now
        self._clock = clock
        self._lock = threading.Lock()
        #: By the token's hash: who it is, when it was looked up, and when it ends. Bounded.
        self._kept: OrderedDict[str, tuple[Caller, float, int | None]] = OrderedDict()
        self._used: dict[str, int] = {}

    def known(self, token: str) -> Caller | None:
        """Who a token belongs to, if it was looked up a moment ago; does not block."""
        with self._lock:
            found = self._kept.get(_hash(token))
            if found is None or self._clock() - found[1] > _KEPT_S:
                return None
            if found[2] is not None and self._now_us() >= found[2]:
                return None
            return found[0]

    def was_good(self, token: str) -> bool:
        """Whether this token was good when it was last looked up."""
        with self._lock:
            return _hash(token) in self._kept

    def find(self, token: str) -> Caller | None:
        """Who a token belongs to, ``None`` if nobody. Blocks: it asks the store.

        Raises:
            sqlalchemy.exc.OperationalError: The store cannot be reached.
        """
        token_id, secret = _parts(token)
        with self._store.reading() as connection:
            row = _row(connection, token_id)
        expected = _NO_HASH if row is None else row[0]
        # Compared in any case, and in constant time: how long it takes tells nothing.
        is_right = hmac.compare_digest(_hash(secret), expected)
        if row is None or not is_right or not row[1].is_valid(self._now_us()):
            with self._lock:
                self._kept.pop(_hash(token), None)
            return None
        return self._keep(token, row[1])

    def write_used(self) -> None:
        """Store when tokens were last used. Not done for each request: it would be a write."""
        with self._lock:
            used, self._used = self._used, {}
        if not used:
            return
        with self._store.writing() as connection:
            for token_id, at_us in used.items():
                found = update(tokens).where(tokens.c.token_id == token_id)
                connection.execute(found.values(used_at_us=at_us))

    def _keep(self, token: str, row: TokenRow) -> Caller:
        caller = Caller(
            token_id=row.token_id,
            name=row.name,
            role=row.role,  # type: ignore[arg-type]
            tenant_id=row.tenant_id,
            project_id=row.project_id,
        )
        with self._lock:
            self._used[row.token_id] = self._now_us()
            self._kept[_hash(token)] = (caller, self._clock(), row.expires_at_us)
            self._kept.move_to_end(_hash(token))
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return caller

    def _now_us(self) -> int:
        return round(self._now() * _US)


def _check(
    name: str,
    role: str,
    tenant_id: str | None,
    project_id: str | None,
    expires_at_us: int | None,
) -> None:
    if not name.strip() or len(name) > _MOST_NAME_CHARS or not name.isprintable():
        raise BadInputError(
            f"name: {name[:_MOST_NAME_CHARS]!r} cannot be used: valid are 1 to "
            f"{_MOST_NAME_CHARS} characters on one line"
        )
    if role not in ROLES:
        raise BadInputError(f"role: {role!r} is none: valid are {', '.join(ROLES)}")
    if project_id is not None and tenant_id is None:
        raise BadInputError(f"project: {project_id!r} needs a tenant: name the tenant too")
    for what, value in (("tenant", tenant_id), ("project", project_id)):
        if value is not None and not value.strip():
            raise BadInputError(f"{what}: {value!r} names none: leave it out to mean all")
    if expires_at_us is not None and expires_at_us <= _now_us():
        raise BadInputError("expires: that time has passed: valid are times to come")


def _add(connection: Connection, *, actor: str, **values: Any) -> NewToken:
    token_id, secret = secrets.token_hex(8), secrets.token_urlsafe(_SECRET_BYTES)
    row = {"token_id": token_id, "hash": _hash(secret), "created_at_us": _now_us(), **values}
    connection.execute(insert(tokens).values(row))
    _note(connection, actor, "token.create", token_id)
    return NewToken(token_id, f"{_PREFIX}_{token_id}_{secret}")


def _note(connection: Connection, actor: str, action: str, token_id: str) -> None:
    """Say in the audit trail what was done to a token, and what it is good for."""
    found = _row(connection, token_id)
    if found is None:
        return
    row = found[1]
    key = select(projects.c.project_key).filter_by(
        tenant_id=row.tenant_id, project_id=row.project_id
    )
    details = {"name": row.name, "role": row.role, "expires_at_us": row.expires_at_us}
    auditing.note(
        connection,
        at_us=_now_us(),
        project_key=connection.execute(key).scalar(),
        actor=actor,
        action=action,
        target=token_id,
        outcome="done",
        details={**details, "tenantId": row.tenant_id, "projectId": row.project_id},
    )


def _parts(token: str) -> tuple[str, str]:
    """Id and secret; empty where it is no token of ours."""
    parts = token.split("_", 2)
    if len(parts) != 3 or parts[0] != _PREFIX or len(token) > _MOST_TOKEN_CHARS:
        return "", ""
    return parts[1], parts[2]


def _row(connection: Connection, token_id: str) -> tuple[str, TokenRow] | None:
    columns = [tokens.c[name] for name in TokenRow._fields]
    wanted = select(tokens.c.hash, *columns).where(tokens.c.token_id == token_id)
    found = connection.execute(wanted).first()
    return None if found is None else (found[0], TokenRow(*found[1:]))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _now_us() -> int:
    return round(time.time() * _US)
