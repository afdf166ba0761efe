"""``fiveobs rules``: what a monitor shall do on which events."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiveobs import _parsers
from fiveobs._parsers import UnusableError
from fiveobs.cli._asking import add_monitor, asking
from fiveobs.cli._terminal import plain, table
from fiveobs.exceptions import BadInputError, ConfigError, NotFoundError, ProblemError

if TYPE_CHECKING:
    from fiveobs.client import Client
    from fiveobs.client.answers import RuleAnswer

__all__ = ["add_parser", "run"]

_STATUSES = ("pending", "done", "dead", "loop", "limited", "late")
_MOST = 1_000
#: An event that no rule is asked about: to have a rule looked at, and no more.
_NO_EVENT = {"event_type": "log"}
_RULES_HEAD = ("NAME", "ENABLED", "ON", "THEN", "REVISION", "ID")
_FIRINGS_HEAD = ("STATUS", "ACTION", "TRIES", "EVENT", "JOB", "CREATED", "ID", "ERROR")


def add_parser(subparsers: Any) -> None:
    """Define the command's arguments."""
    parser = subparsers.add_parser(
        "rules",
        help="say what a monitor shall do on which events",
        description="List, apply, try out and delete rules, and see what they have done.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = _add(actions, "list", _list, "list rules")
    listing.add_argument("--yaml", action="store_true", help="print a file that 'apply' takes")
    apply = _add(actions, "apply", _apply, "make rules as a file says, or change those it names")
    trying = _add(actions, "dry-run", _dry_run, "say what the rules of a file would do; do nothing")
    for each in (apply, trying):
        each.add_argument("file", metavar="FILE", help="YAML or JSON; - is standard input")
    trying.add_argument("--event", metavar="FILE", help="try on this event, as JSON, alone")
    trying.add_argument(
        "--last", metavar="TIME", default="1h", help="try on events of so long (default: 1h)"
    )
    for name, do, text in (
        ("delete", _delete, "delete rules"),
        ("enable", _enable, "have rules act again"),
        ("disable", _disable, "have rules do nothing"),
    ):
        _add(actions, name, do, text).add_argument(
            "rule", nargs="+", metavar="RULE", help="its name or id"
        )
    firings = _add(actions, "firings", _firings, "list what a rule has done, the newest first")
    retry = _add(actions, "retry", _retry, "do again what a rule has given up or left out")
    for each in (firings, retry):
        each.add_argument("rule", metavar="RULE", help="its name or id")
    firings.add_argument("--status", metavar="S", help=f"only these: {', '.join(_STATUSES)}")
    firings.add_argument("-n", "--lines", metavar="N", help="how many at most (default: 30)")
    retry.add_argument("firing", nargs="*", metavar="ID", help="only these; ids of 'firings'")


def _add(actions: Any, name: str, do: Callable[..., int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    add_monitor(parser)
    parser.set_defaults(do=do)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do one of the actions.

    Args:
        args: ``do`` is the action.

    Returns:
        0, or 1 if something could not be done.

    Raises:
        BadInputError: A file or a value cannot be used.
        ConfigError: A package that is needed is not installed.
        MonitorError: The monitor refused, or did not answer.
    """
    with asking(args) as client:
        code: int = args.do(args, client)
    return code


# --- rules -------------------------------------------------------------------------------------


def _list(args: argparse.Namespace, client: Client) -> int:
    answer = client.rules()
    if args.json:
        _print_json(answer.raw)
    elif args.yaml:
        print(_reading().written([dict(each.rule) for each in answer.rules]), end="")
    else:
        rows = [_cells(each) for each in answer.rules]
        for line in table([_RULES_HEAD, *rows]):
            print(line)
    return 0


def _cells(rule: RuleAnswer) -> tuple[str, ...]:
    then = ", ".join(next(iter(each)) for each in rule.rule["then"])
    on = rule.rule["on"]
    types = on if isinstance(on, str) else ", ".join(on)
    shown = (plain(rule.name), "yes" if rule.enabled else "no", types, then)
    return (*shown, str(rule.revision), rule.rule_id)


def _apply(args: argparse.Namespace, client: Client) -> int:
    written = _read(args.file)
    if _refused(client, written):
        print("nothing was changed", file=sys.stderr)
        return 1
    before = {each.name: each for each in client.rules().rules}
    answers = []
    for each in written:
        known = before.get(each["name"])
        if known is None:
            made = client.create_rule(each)
            answers.append(made.raw)
            _say(args, f"{plain(each['name'])}: made; its secret, this once: {made.secret}")
            continue
        changed = client.replace_rule(known.rule_id, each)
        answers.append(changed.raw)
        is_same = changed.revision == known.revision
        _say(args, f"{plain(each['name'])}: {'unchanged' if is_same else 'changed'}")
    if args.json:
        _print_json(answers)
    return 0


def _refused(client: Client, written: Sequence[dict[str, Any]]) -> bool:
    """Have every rule looked at before any is changed; whether one is refused, having said why."""
    is_refused = False
    for each in written:
        try:
            client.dry_run_rule(each, event=_NO_EVENT)
        except ProblemError as exc:
            is_refused = True
            _complain(each, exc)
    return is_refused


def _delete(args: argparse.Namespace, client: Client) -> int:
    return _each(args, client, client.delete_rule, "deleted")


def _enable(args: argparse.Namespace, client: Client) -> int:
    return _each(args, client, client.enable_rule, "enabled")


def _disable(args: argparse.Namespace, client: Client) -> int:
    return _each(args, client, client.disable_rule, "disabled")


def _each(args: argparse.Namespace, client: Client, do: Callable[[str], object], done: str) -> int:
    """Do it to each rule; one that is not there does not hold up the others."""
    failures = 0
    for text in args.rule:
        try:
            do(_rule_id(client, text))
            _say(args, f"{plain(text)}: {done}")
        except ProblemError as exc:
            failures += 1
            print(f"fiveobs: {plain(exc)}", file=sys.stderr)
    return 1 if failures else 0


def _dry_run(args: argparse.Namespace, client: Client) -> int:
    chosen: dict[str, Any] = {"from_time": datetime.now(UTC) - timedelta(seconds=_last_s(args))}
    if args.event is not None:
        chosen = {"event": _event(args.event)}
    written = _read(args.file)
    known = {each.name: each.rule_id for each in client.rules().rules}
    answers, code = [], 0
    for each in written:
        try:
            answer = client.dry_run_rule(each, rule_id=known.get(each.get("name", "")), **chosen)
        except ProblemError as exc:
            code = 1
            _complain(each, exc)
            continue
        answers.append({"name": each["name"], **answer.raw})
        if not args.json:
            _show_tried(each["name"], answer)
    if args.json:
        _print_json(answers)
    return code


def _show_tried(name: str, answer: Any) -> None:
    more = ", and there are more" if answer.is_cut else ""
    print(f"{plain(name)}: for {answer.matched} of {answer.looked_at} events{more}")
    for each in answer.events:
        about = f" of {plain(each.job_id)}" if each.job_id else ""
        detail = f": {plain(each.detail)}" if each.detail else ""
        print(f"  {each.at} {each.event_type}{about}: {each.outcome}{detail}")
        for action in each.actions:
            print(f"    {action.action}: {plain(json.dumps(action.sends, ensure_ascii=False))}")


# --- firings -----------------------------------------------------------------------------------


def _firings(args: argparse.Namespace, client: Client) -> int:
    if args.status not in (None, *_STATUSES):
        raise BadInputError(f"--status {args.status!r} is none; use {', '.join(_STATUSES)}")
    limit = _count(args.lines)
    answer = client.firings(_rule_id(client, args.rule), status=args.status, limit=limit)
    if args.json:
        _print_json(answer.raw)
        return 0
    rows = [
        (
            *(each.status, each.action, str(each.tries), each.event_type or "-"),
            *(plain(each.job_id or "-"), f"{each.created_at:%Y-%m-%dT%H:%M:%SZ}"),
            *(each.firing_id, plain(each.last_error or "")),
        )
        for each in answer.firings
    ]
    for line in table([_FIRINGS_HEAD, *rows]):
        print(line)
    return 0


def _retry(args: argparse.Namespace, client: Client) -> int:
    answer = client.retry_firings(_rule_id(client, args.rule), firing_ids=args.firing or None)
    if args.json:
        _print_json(answer.raw)
    else:
        print(f"{answer.retried} are done again")
    return 0 if answer.retried or not args.firing else 1


# --- what they share ---------------------------------------------------------------------------


def _complain(written: dict[str, Any], exc: ProblemError) -> None:
    """Say all that is wrong with a rule, a line each."""
    name = plain(written.get("name"))
    errors = exc.problem.get("errors") or [{"name": "", "detail": str(exc)}]
    for each in errors:
        place = str(each["name"]).removeprefix("rule.")
        value = f" {each['value']!r} cannot be used:" if "value" in each else ""
        where = f"{place}:{value} " if place else ""
        print(f"fiveobs: {name}: {where}{plain(each['detail'])}", file=sys.stderr)


def _rule_id(client: Client, text: str) -> str:
    """The id of the rule that is meant: by its name or its id.

    Raises:
        NotFoundError: There is none.
    """
    rules = client.rules().rules
    found = next((each for each in rules if text in (each.name, each.rule_id)), None)
    if found is None:
        names = ", ".join(each.name for each in rules) or "none"
        message = f"there is no rule {text!r}: there are {names}"
        raise NotFoundError(message, status=404, problem={})
    return found.rule_id


def _read(file: str) -> list[dict[str, Any]]:
    return _reading().read_rules(_text(file))  # type: ignore[no-any-return]


def _reading() -> Any:
    try:
        from fiveobs.monitor.rules import reading
    except ModuleNotFoundError as exc:
        name = (exc.name or "").partition(".")[0]
        if name in ("", "fiveobs"):
            raise
        raise ConfigError(f"'fiveobs rules' needs {name}: pip install 'fiveobs[monitor]'") from exc
    return reading


def _event(file: str) -> dict[str, Any]:
    try:
        found = json.loads(_text(file))
    except ValueError as exc:
        raise BadInputError(f"--event {file!r} is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise BadInputError(f"--event {file!r} is no event; use an object with its event_type")
    return found


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise BadInputError(f"{file!r} is no text in UTF-8") from exc


def _last_s(args: argparse.Namespace) -> float:
    try:
        return float(_parsers.duration(1.0)(args.last))
    except UnusableError as exc:
        raise BadInputError(f"--last {args.last!r} is no time; use {exc.valid}") from None


def _count(text: str | None) -> int:
    if text is None:
        return 30
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise BadInputError(f"-n {text!r} is no number of firings; use 1 to {_MOST}")
    return int(text)


def _say(args: argparse.Namespace, line: str) -> None:
    if not args.json:
        print(line)


def _print_json(value: Any) -> None:
    from fiveobs.cli._screen import as_json

    print(as_json(value))
