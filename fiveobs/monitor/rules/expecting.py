"""What must follow an event: noted, fulfilled, missed, and met late.

An event may be taken in before the one that it follows, because each worker's journal is read by
itself. So whatever a rule awaits is kept for a while, and looked at when something is awaited. Each
function works within the transaction of its caller, who plans alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import delete, insert, or_, select, update

from fiveobs.monitor.rules.book import Ready
from fiveobs.monitor.rules.stored import ExpectationRow
from fiveobs.monitor.store.schema import expectations, sightings
from fiveobs.monitor.tracking.human import as_time

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "FULFILLED",
    "MISSED",
    "MOST_DUE",
    "OPEN",
    "Seen",
    "described",
    "due",
    "expect",
    "forget",
    "miss",
    "see",
]

OPEN, FULFILLED, MISSED = "open", "fulfilled", "missed"
MOST_DUE = 200
_US = 1_000_000
#: How long what is awaited is kept beside the time that a rule gives it: as long may the event
#: before it be on its way.
_KEPT_US = 3_600 * _US


_COLUMNS: Any = tuple(expectations.c[name] for name in ExpectationRow._fields)


class Seen(NamedTuple):
    """An event that a rule awaits, or that it awaits something after."""

    correlation: str
    event_key: int
    at_us: int


def expect(
    connection: Connection, ready: Ready, seen: Seen, chain: Sequence[str], now_us: int
) -> None:
    """Await what must follow an event, unless it is there already."""
    rule = ready.rule.expect
    assert rule is not None  # noqa: S101 - the caller has looked
    from_us = seen.at_us - round(rule.before_s * _US)
    deadline_us = seen.at_us + round(rule.within_s * _US)
    met = _met(connection, ready.row.rule_key, seen, from_us, deadline_us)
    connection.execute(
        insert(expectations).values(
            rule_key=ready.row.rule_key,
            project_key=ready.row.project_key,
            event_key=seen.event_key,
            correlation=seen.correlation,
            from_us=from_us,
            deadline_us=deadline_us,
            status=OPEN if met is None else FULFILLED,
            met_event_key=None if met is None else met.event_key,
            met_at_us=None if met is None else met.at_us,
            ended_at_us=None if met is None else now_us,
            chain=list(chain),
        )
    )


def _met(connection: Connection, rule_key: int, seen: Seen, from_us: int, deadline_us: int) -> Any:
    """The first event that fulfils it, of those that were taken in before; not itself."""
    wanted = (
        select(sightings.c.event_key, sightings.c.at_us)
        .where(sightings.c.rule_key == rule_key, sightings.c.correlation == seen.correlation)
        .where(sightings.c.at_us.between(from_us, deadline_us))
        .where(sightings.c.event_key != seen.event_key)
        .order_by(sightings.c.at_us)
        .limit(1)
    )
    return connection.execute(wanted).first()


def see(connection: Connection, ready: Ready, seen: Seen, now_us: int) -> list[ExpectationRow]:
    """Something that a rule awaits has happened; what it was too late for, and told so already."""
    key = ready.row.rule_key
    connection.execute(
        insert(sightings).values(
            rule_key=key,
            event_key=seen.event_key,
            correlation=seen.correlation,
            at_us=seen.at_us,
            seen_at_us=now_us,
        )
    )
    mine = (
        (expectations.c.rule_key == key)
        & (expectations.c.correlation == seen.correlation)
        & (expectations.c.from_us <= seen.at_us)
        & (expectations.c.event_key != seen.event_key)
    )
    met = {"met_event_key": seen.event_key, "met_at_us": seen.at_us}
    is_open = expectations.c.status == OPEN
    in_time = expectations.c.deadline_us >= seen.at_us
    connection.execute(
        update(expectations)
        .where(mine, is_open, in_time)
        .values(status=FULFILLED, ended_at_us=now_us, **met)
    )
    unmet = expectations.c.met_event_key.is_(None)
    missed = select(*_COLUMNS).where(mine, expectations.c.status == MISSED, unmet)
    late = [ExpectationRow(*row) for row in connection.execute(missed)]
    not_in_time = or_(expectations.c.status == MISSED, is_open)
    connection.execute(update(expectations).where(mine, not_in_time, unmet).values(**met))
    return late


def due(connection: Connection, rule_keys: Iterable[int], until_us: int) -> list[ExpectationRow]:
    """What should have happened by then for these rules, and did not; the longest ago first."""
    wanted = (
        select(*_COLUMNS)
        .where(expectations.c.status == OPEN, expectations.c.deadline_us < until_us)
        .where(expectations.c.rule_key.in_(sorted(rule_keys)))
        .order_by(expectations.c.deadline_us)
        .limit(MOST_DUE)
    )
    return [ExpectationRow(*row) for row in connection.execute(wanted)]


def miss(connection: Connection, row: ExpectationRow, now_us: int) -> bool:
    """Give up awaiting; whether it was still awaited."""
    mine = expectations.c.expectation_key == row.expectation_key
    done = connection.execute(
        update(expectations)
        .where(mine, expectations.c.status == OPEN)
        .values(status=MISSED, ended_at_us=now_us)
    )
    return bool(done.rowcount)


def forget(connection: Connection, ready: Sequence[Ready], now_us: int) -> None:
    """Forget what was seen so long ago that nothing can be awaited before it any more."""
    for each in ready:
        rule = each.rule.expect
        if rule is None:
            continue
        kept_us = round((rule.within_s + rule.before_s) * _US) + _KEPT_US
        old = sightings.c.seen_at_us < now_us - kept_us
        connection.execute(delete(sightings).where(sightings.c.rule_key == each.row.rule_key, old))


def described(connection: Connection, expectation_key: int) -> dict[str, Any] | None:
    """What was awaited, in words that whoever is told of it can use."""
    wanted = select(*_COLUMNS).where(expectations.c.expectation_key == expectation_key)
    row = connection.execute(wanted).first()
    if row is None:
        return None
    found = ExpectationRow(*row)
    return {
        "from": as_time(found.from_us),
        "until": as_time(found.deadline_us),
        "correlation": found.correlation,
        **({} if found.met_at_us is None else {"came_at": as_time(found.met_at_us)}),
    }
