"""The calls that are about rules; see `fiveobs.client._calls`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from fiveobs.client._call import Call
from fiveobs.client.answers import (
    DryRunAnswer,
    ExpectationsAnswer,
    FiringsAnswer,
    NewRuleAnswer,
    RetryAnswer,
    RuleAnswer,
    RulesAnswer,
)
from fiveobs.exceptions import BadInputError

__all__ = [
    "create_rule",
    "delete_rule",
    "disable_rule",
    "dry_run_rule",
    "enable_rule",
    "expectations",
    "firings",
    "replace_rule",
    "retry_firings",
    "rule",
    "rule_path",
    "rules",
]


def rules() -> Call[RulesAnswer]:
    """Every rule of the project, by name."""
    return Call(path="rules", answer=RulesAnswer)


def rule(rule_id: str) -> Call[RuleAnswer]:
    """One rule, and how much it has done."""
    return Call(path=rule_path(rule_id), answer=RuleAnswer)


def create_rule(written: Mapping[str, Any]) -> Call[NewRuleAnswer]:
    """Have something done on certain events; the answer has what verifies webhooks, once.

    Args:
        written: The rule, with the names of its YAML.
    """
    return Call(method="POST", path="rules", answer=NewRuleAnswer, body=written)


def replace_rule(rule_id: str, written: Mapping[str, Any]) -> Call[RuleAnswer]:
    """Put another rule in its place; one that says the same leaves its revision as it is.

    Args:
        rule_id: The rule.
        written: What it is to be, with the names of its YAML.
    """
    return Call(method="PUT", path=rule_path(rule_id), answer=RuleAnswer, body=written)


def delete_rule(rule_id: str) -> Call[None]:
    """Forget a rule, and what it was still to do."""
    return Call(method="DELETE", path=rule_path(rule_id), answer=type(None))


def enable_rule(rule_id: str) -> Call[RuleAnswer]:
    """Have a rule act again, on what happens from now on."""
    return Call(method="POST", path=rule_path(rule_id, "enable"), answer=RuleAnswer)


def disable_rule(rule_id: str) -> Call[RuleAnswer]:
    """Have a rule do nothing; what was still to be done waits."""
    return Call(method="POST", path=rule_path(rule_id, "disable"), answer=RuleAnswer)


def firings(
    rule_id: str, *, status: str | None = None, before: int | None = None, limit: int = 100
) -> Call[FiringsAnswer]:
    """What a rule has done because of which event, and what it has given up; the newest first.

    Args:
        rule_id: The rule.
        status: Only what is ``pending``, ``done``, ``dead``, ``loop``, ``limited`` or ``late``.
        before: Only what came before: ``next`` of an earlier answer.
        limit: At most so many.
    """
    query = {"status": status, "before": before, "limit": limit}
    return Call(path=rule_path(rule_id, "firings"), answer=FiringsAnswer, query=query)


def expectations(
    rule_id: str, *, status: str | None = None, before: int | None = None, limit: int = 100
) -> Call[ExpectationsAnswer]:
    """What a rule awaits after which event, and what did not come; the newest first.

    Args:
        rule_id: The rule.
        status: Only what is ``open``, ``fulfilled``, ``missed`` or ``cancelled``.
        before: Only what came before: ``next`` of an earlier answer.
        limit: At most so many.
    """
    query = {"status": status, "before": before, "limit": limit}
    return Call(path=rule_path(rule_id, "expectations"), answer=ExpectationsAnswer, query=query)


def retry_firings(rule_id: str, *, firing_ids: Iterable[str] | None = None) -> Call[RetryAnswer]:
    """Do again what was given up or left out.

    Args:
        rule_id: The rule.
        firing_ids: Only these of ``firings``; ``None`` is all.
    """
    body = {"firingIds": None if firing_ids is None else list(firing_ids)}
    path = rule_path(rule_id, "retry")
    return Call(method="POST", path=path, answer=RetryAnswer, body=body)


def dry_run_rule(
    written: Mapping[str, Any],
    *,
    rule_id: str | None = None,
    event: Mapping[str, Any] | None = None,
    from_time: datetime | None = None,
    to_time: datetime | None = None,
) -> Call[DryRunAnswer]:
    """What a rule would do, and what it would send; nothing is done.

    Args:
        written: The rule, with the names of its YAML.
        rule_id: The stored rule that it is, or would replace.
        event: Try it on this one, with the names of a journal's line; ``None`` is past events.
        from_time: On past events from then on; aware.
        to_time: On past events until then; aware.
    """
    body = {
        "rule": dict(written),
        "ruleId": rule_id,
        "event": None if event is None else dict(event),
        "fromTime": from_time,
        "toTime": to_time,
    }
    return Call(method="POST", path="rules/dry-run", answer=DryRunAnswer, body=body)


def rule_path(rule_id: str, *rest: str) -> str:
    """The path of one rule, below its project's.

    Raises:
        BadInputError: It is no id.
    """
    if rule_id in ("", ".", "..") or "/" in rule_id:
        raise BadInputError(f"{rule_id!r} is no rule id; use one as it was given")
    return "/".join(("rules", quote(rule_id, safe=""), *rest))
