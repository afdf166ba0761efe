"""Routes of rules: made, listed, replaced, tried out, and what they have done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias
from urllib.parse import quote

from fastapi import Depends, HTTPException, Path, Query, Response
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError

from fiveobs.monitor.api.asked import check_url, in_order
from fiveobs.monitor.api.dependencies import ProjectScope, Scope, TheStore, require
from fiveobs.monitor.api.problems import described
from fiveobs.monitor.api.routers import EXECUTION, make_router
from fiveobs.monitor.api.subscriptions import TheSender
from fiveobs.monitor.live.events import events_by_key
from fiveobs.monitor.rules import stored
from fiveobs.monitor.rules.answers import (
    DryRunAnswer,
    DryRunRequest,
    ExpectationsAnswer,
    FiringCounts,
    FiringsAnswer,
    NewRuleAnswer,
    RetryAnswer,
    RetryRequest,
    RuleAnswer,
    RulesAnswer,
    dry_run_answer,
    expectation_answer,
    firing_answer,
    rule_answer,
)
from fiveobs.monitor.rules.book import rule_of
from fiveobs.monitor.rules.models import Rule
from fiveobs.monitor.rules.stored import RuleRow
from fiveobs.monitor.rules.trying import try_event, try_events
from fiveobs.monitor.store.schema import firings
from fiveobs.monitor.tracking.human import US
from fiveobs.monitor.webhooks.sending import Sender

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "create_rule",
    "delete_rule",
    "disable_rule",
    "dry_run_rule",
    "enable_rule",
    "get_rule",
    "list_expectations",
    "list_firings",
    "list_rules",
    "replace_rule",
    "retry_firings",
    "router",
]

#: Rules of one project.
_MOST_RULES = 500
_MOST_LISTED = 1_000

router = make_router("Rules", EXECUTION + "/rules", role=None)
_MAY_READ, _MAY_CHANGE = Depends(require("viewer")), Depends(require("operator"))
RuleId: TypeAlias = Annotated[
    str, Path(alias="ruleId", min_length=1, max_length=64, description="The rule identifier")
]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=_MOST_LISTED, description="How many at most")]
Before: TypeAlias = Annotated[
    int | None, Query(ge=1, le=2**53, description="Only those before this one: `next` of a page")
]
_TAKEN: dict[int | str, dict[str, Any]] = {
    409: described("Another rule of the project has the name, or it has as many as it may")
}
_MADE: dict[int | str, dict[str, Any]] = {
    201: {
        "headers": {
            "Location": {
                "description": "The path of the rule",
                "schema": {"type": "string", "format": "uri-reference"},
                "required": True,
            }
        }
    },
    **_TAKEN,
}


# --- making ------------------------------------------------------------------------------------


@router.post(
    "", summary="Make a rule", status_code=201, responses=_MADE, dependencies=[_MAY_CHANGE]
)
def create_rule(
    *, scope: Scope, store: TheStore, given: TheSender, rule: Rule, response: Response
) -> NewRuleAnswer:
    """Have something done on certain events, from now on."""
    _check(given, rule)
    now_us = _now_us()
    with _named_once(rule), store.writing() as connection:
        if stored.count(connection, scope.project_key) >= _MOST_RULES:
            raise HTTPException(409, f"the project has {_MOST_RULES} rules: delete some first")
        row = stored.create(
            connection,
            project_key=scope.project_key,
            created_by=scope.caller.name,
            now_us=now_us,
            **_values(rule),
        )
        _note(connection, scope, "create", row, now_us)
    place = f"{quote(scope.tenant_id, safe='')}/{quote(scope.project_id, safe='')}"
    response.headers["Location"] = f"/api/{place}/execution/rules/{row.rule_id}"
    return NewRuleAnswer(**_shown(scope, row, secret=row.secret))


@router.put("/{ruleId}", summary="Replace a rule", responses=_TAKEN, dependencies=[_MAY_CHANGE])
def replace_rule(
    *, scope: Scope, store: TheStore, given: TheSender, rule_id: RuleId, rule: Rule
) -> RuleAnswer:
    """Put another rule in its place; one that says the same changes nothing, not even its revision.

    What is still to be done is done as the rule says now. What it awaited is not awaited any more.
    """
    _check(given, rule)
    now_us = _now_us()
    with _named_once(rule), store.writing() as connection:
        row = _found(connection, scope, rule_id)
        if not _is_same(row, rule):
            row = stored.change(connection, row, now_us=now_us, **_values(rule))
            _note(connection, scope, "replace", row, now_us)
        return _answer(connection, scope, row)


@router.delete("/{ruleId}", summary="Delete a rule", status_code=204, dependencies=[_MAY_CHANGE])
def delete_rule(*, scope: Scope, store: TheStore, rule_id: RuleId) -> None:
    """Forget a rule, and what it was still to do; what it has done is in the journal."""
    with store.writing() as connection:
        row = _found(connection, scope, rule_id)
        stored.remove(connection, row.rule_key)
        _note(connection, scope, "delete", row, _now_us())


@router.post("/{ruleId}/enable", summary="Enable a rule", dependencies=[_MAY_CHANGE])
def enable_rule(*, scope: Scope, store: TheStore, rule_id: RuleId) -> RuleAnswer:
    """Have a rule act again, on what happens from now on; what was still to be done goes on."""
    with store.writing() as connection:
        return _enabled(connection, scope, rule_id, is_enabled=True)


@router.post("/{ruleId}/disable", summary="Disable a rule", dependencies=[_MAY_CHANGE])
def disable_rule(*, scope: Scope, store: TheStore, rule_id: RuleId) -> RuleAnswer:
    """Have a rule do nothing; what was still to be done waits."""
    with store.writing() as connection:
        return _enabled(connection, scope, rule_id, is_enabled=False)


def _enabled(
    connection: Connection, scope: ProjectScope, rule_id: str, *, is_enabled: bool
) -> RuleAnswer:
    row, now_us = _found(connection, scope, rule_id), _now_us()
    if row.is_enabled is not is_enabled:
        row = stored.set_enabled(connection, row, is_enabled=is_enabled, now_us=now_us)
        _note(connection, scope, "enable" if is_enabled else "disable", row, now_us)
    return _answer(connection, scope, row)


@router.post("/dry-run", summary="Try a rule out", dependencies=[_MAY_CHANGE])
def dry_run_rule(*, scope: Scope, store: TheStore, request: DryRunRequest) -> DryRunAnswer:
    """What a rule would do, on one event or on past ones, and what it would send. Does nothing."""
    in_order("body", request.from_time, request.to_time)
    if request.event is not None:
        record = request.event.model_dump(exclude_none=True)
        return dry_run_answer(try_event(request.rule, record, rule_id=request.rule_id))
    with store.reading() as connection:
        found = try_events(
            connection,
            request.rule,
            project_key=scope.project_key,
            from_us=request.from_time,
            to_us=request.to_time,
            rule_id=request.rule_id,
        )
    return dry_run_answer(found)


# --- looking -----------------------------------------------------------------------------------


@router.get("", summary="List a project's rules", dependencies=[_MAY_READ])
def list_rules(*, scope: Scope, store: TheStore) -> RulesAnswer:
    """Every rule, by name."""
    with store.reading() as connection:
        rows = stored.listed(connection, scope.project_key)
    return RulesAnswer(rules=[RuleAnswer(**_shown(scope, row)) for row in rows])


@router.get("/{ruleId}", summary="Get a rule", dependencies=[_MAY_READ])
def get_rule(*, scope: Scope, store: TheStore, rule_id: RuleId) -> RuleAnswer:
    """A rule, and how much it has done."""
    with store.reading() as connection:
        return _answer(connection, scope, _found(connection, scope, rule_id))


@router.get("/{ruleId}/firings", summary="List what a rule has done", dependencies=[_MAY_READ])
def list_firings(
    *,
    scope: Scope,
    store: TheStore,
    rule_id: RuleId,
    status: Annotated[
        Literal["pending", "done", "dead", "loop", "limited", "late"] | None,
        Query(description="Only those"),
    ] = None,
    before: Before = None,
    limit: Limit = 100,
) -> FiringsAnswer:
    """What was done because of which event, what is tried again and when, what was given up."""
    with store.reading() as connection:
        row = _found(connection, scope, rule_id)
        wanted = [firings.c.rule_key == row.rule_key]
        if status is not None:
            wanted.append(firings.c.status == status)
        rows = stored.listed_firings(connection, *wanted, before=before, limit=limit)
        events = events_by_key(connection, {each.event_key for each in rows})
    answers = [firing_answer(each, events.get(each.event_key)) for each in rows]
    following = rows[-1].firing_key if len(rows) == limit else None
    return FiringsAnswer(firings=answers, next=following)


@router.get("/{ruleId}/expectations", summary="List what a rule awaits", dependencies=[_MAY_READ])
def list_expectations(
    *,
    scope: Scope,
    store: TheStore,
    rule_id: RuleId,
    status: Annotated[
        Literal["open", "fulfilled", "missed", "cancelled"] | None, Query(description="Only those")
    ] = None,
    before: Before = None,
    limit: Limit = 100,
) -> ExpectationsAnswer:
    """What must follow which event and until when, what did, and what did not."""
    with store.reading() as connection:
        row = _found(connection, scope, rule_id)
        rows = stored.listed_expectations(
            connection, row.rule_key, status=status, before=before, limit=limit
        )
        keys = {each.event_key for each in rows} | {each.met_event_key or 0 for each in rows}
        events = events_by_key(connection, keys)
    answers = [
        expectation_answer(each, events.get(each.event_key), events.get(each.met_event_key or 0))
        for each in rows
    ]
    following = rows[-1].expectation_key if len(rows) == limit else None
    return ExpectationsAnswer(expectations=answers, next=following)


@router.post("/{ruleId}/retry", summary="Do again what was given up", dependencies=[_MAY_CHANGE])
def retry_firings(
    *, scope: Scope, store: TheStore, rule_id: RuleId, request: RetryRequest | None = None
) -> RetryAnswer:
    """Try dead and limited actions again, as the rule says now, under the same keys."""
    now_us, ids = _now_us(), None if request is None else request.firing_ids
    with store.writing() as connection:
        row = _found(connection, scope, rule_id)
        named = None if ids is None else [each for each in ids if "\0" not in each]
        count = stored.retry(connection, row.rule_key, firing_ids=named, now_us=now_us)
        _note(connection, scope, "retry", row, now_us, retried=count)
    return RetryAnswer(retried=count)


# --- what they share ---------------------------------------------------------------------------


def _check(given: Sender, rule: Rule) -> None:
    """Refuse URLs that can be seen to lead where webhooks may not go."""
    for number, action in enumerate(rule.then):
        if action.webhook is not None:
            check_url(given.guard, action.webhook.url, f"then.{number}.webhook.url")


@contextlib.contextmanager
def _named_once(rule: Rule) -> Iterator[None]:
    """Answer 409 where another rule has the name."""
    try:
        yield
    except IntegrityError as exc:
        detail = f"another rule is called {rule.name!r}: replace that one, or take another name"
        raise HTTPException(409, detail) from exc


def _is_same(row: RuleRow, rule: Rule) -> bool:
    try:
        return rule_of(row) == rule
    except ValidationError:  # another version has stored it
        return False


def _values(rule: Rule) -> dict[str, Any]:
    return {"name": rule.name, "is_enabled": rule.enabled, "definition": rule.definition()}


def _found(connection: Connection, scope: ProjectScope, rule_id: str) -> RuleRow:
    row = None if "\0" in rule_id else stored.find(connection, scope.project_key, rule_id)
    if row is None:
        raise HTTPException(404, f"there is no rule {rule_id!r} in this project")
    return row


def _answer(connection: Connection, scope: ProjectScope, row: RuleRow) -> RuleAnswer:
    counts = FiringCounts(**stored.firing_counts(connection, row.rule_key))
    return RuleAnswer(**_shown(scope, row, firings=counts))


def _shown(scope: ProjectScope, row: RuleRow, **more: Any) -> dict[str, Any]:
    return rule_answer(row, sees_queries=scope.caller.may("operator"), **more)


def _note(
    connection: Connection,
    scope: ProjectScope,
    action: str,
    row: RuleRow,
    now_us: int,
    **details: Any,
) -> None:
    by = {"by": scope.caller.token_id}
    stored.note(connection, row, action, actor=scope.caller.name, now_us=now_us, **by, **details)


def _now_us() -> int:
    return round(time.time() * US)
