"""The conditions of a rule: which of the events of its type it is for.

Pure. Nothing that is asked takes longer than the text that is looked at: patterns are those of file
names, which do not go back and try again without end.
"""

from __future__ import annotations

import fnmatch
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from fiveobs.monitor.ingest.values import LEVELS, whole
from fiveobs.monitor.rules.facts import MISSING, Facts, field_problem, is_text

__all__ = ["OPERATORS", "Condition", "Problem", "compiled", "problems"]

#: Whether an event is meant.
Condition: TypeAlias = Callable[[Facts], bool]
_Test: TypeAlias = Callable[[Any], bool]

_MOST_CONDITIONS, _DEEPEST = 100, 8
_MOST_PATTERN_CHARS, _MOST_TEXT_CHARS = 200, 10_000
_GROUPS = ("all", "any", "not")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
OPERATORS = ("eq", "ne", *_COMPARE, "in", "contains", "matches", "exists")
_SCALARS = "valid are text, numbers, true and false"
_VALID: Mapping[str, str] = {
    **dict.fromkeys(("eq", "ne", "contains"), _SCALARS),
    **dict.fromkeys(_COMPARE, "valid are numbers and text"),
    "in": "valid are lists of 1 to 100 texts, numbers, true and false",
    "matches": f"valid are patterns of 1 to {_MOST_PATTERN_CHARS} characters, in which * is "
    "anything, ? one character and [abc] one of these",
    "exists": "valid are true and false",
}


class Problem(NamedTuple):
    """Something in a rule that cannot be used."""

    #: The names and places in lists that lead to it.
    path: tuple[str | int, ...]
    value: object
    #: What would be valid.
    valid: str


# --- what is wrong -----------------------------------------------------------------------------


def problems(where: object) -> list[Problem]:
    """All that cannot be used in conditions."""
    found = list(_group_problems(where, (), 1))
    if not found and (count := _count(where)) > _MOST_CONDITIONS:
        found.append(Problem((), count, f"valid are up to {_MOST_CONDITIONS} conditions"))
    return found


def _group_problems(where: object, path: tuple[str | int, ...], depth: int) -> Iterator[Problem]:
    if not isinstance(where, Mapping) or not where:
        valid = "valid are objects with a field or any, all, not, and what it is compared with"
        yield Problem(path, where, valid)
        return
    if depth > _DEEPEST:
        yield Problem(path, depth, f"valid are groups up to {_DEEPEST} deep")
        return
    for name, test in where.items():
        here = (*path, str(name))
        if name in ("any", "all"):
            if not isinstance(test, list) or not test:
                yield Problem(here, test, "valid are lists of conditions")
                continue
            for number, each in enumerate(test):
                yield from _group_problems(each, (*here, number), depth + 1)
        elif name == "not":
            yield from _group_problems(test, here, depth + 1)
        elif (fields := field_problem(name)) is not None:
            yield Problem(here, name, f"there is no such field: {fields}")
        else:
            yield from _test_problems(test, here)


def _test_problems(test: object, path: tuple[str | int, ...]) -> Iterator[Problem]:
    if not isinstance(test, Mapping):
        name = "in" if isinstance(test, list) else "eq"
        if not _is_operand(name, test):
            yield Problem(path, test, f"{_VALID[name]}, or one of {', '.join(OPERATORS)}")
        return
    if not test:
        yield Problem(path, test, f"valid are objects with {', '.join(OPERATORS)}")
    for name, operand in test.items():
        if name not in OPERATORS:
            valid = f"there is no such operator: valid are {', '.join(OPERATORS)}"
            yield Problem((*path, str(name)), name, valid)
        elif not _is_operand(name, operand):
            yield Problem((*path, name), operand, _VALID[name])


def _is_operand(name: str, value: object) -> bool:
    if name == "in":
        return isinstance(value, list) and 0 < len(value) <= 100 and all(map(_is_scalar, value))
    if name == "exists":
        return isinstance(value, bool)
    if name == "matches":
        return isinstance(value, str) and 0 < len(value) <= _MOST_PATTERN_CHARS and is_text(value)
    if name in _COMPARE:
        return _is_scalar(value) and not isinstance(value, bool)
    return _is_scalar(value)


def _is_scalar(value: object) -> bool:
    if isinstance(value, float):  # neither NaN nor an infinity can be written in JSON
        return math.isfinite(value)
    return whole(value) is not None or isinstance(value, bool) or is_text(value)


def _count(where: Any) -> int:
    total = 0
    for name, test in where.items():
        if name == "not":
            total += _count(test)
        elif name in _GROUPS:
            total += sum(map(_count, test))
        else:
            total += len(test) if isinstance(test, Mapping) else 1
    return total


# --- what is meant -----------------------------------------------------------------------------


def compiled(where: Mapping[str, Any]) -> Condition:
    """Whether all conditions hold, in which `problems` found nothing; of none they do."""
    parts = [_part(name, test) for name, test in where.items()]
    return lambda facts: all(part(facts) for part in parts)


def _part(name: str, test: Any) -> Condition:
    if name == "not":
        inner = compiled(test)
        return lambda facts: not inner(facts)
    if name in _GROUPS:
        inners = [compiled(each) for each in test]
        decide = any if name == "any" else all
        return lambda facts: decide(each(facts) for each in inners)
    if not isinstance(test, Mapping):
        test = {"in" if isinstance(test, list) else "eq": test}
    tests = [_test(name, each, operand) for each, operand in test.items()]

    def holds(facts: Facts) -> bool:
        value = facts.get(name)
        return all(each(value) for each in tests)

    return holds


def _test(field: str, name: str, operand: Any) -> _Test:
    if name in _COMPARE:
        return _comparison(field, _COMPARE[name], operand)
    if name == "matches":
        match = re.compile(fnmatch.translate(operand)).match
        return lambda value: isinstance(value, str) and bool(match(value[:_MOST_TEXT_CHARS]))
    tests: dict[str, _Test] = {
        "eq": lambda value: _equals(value, operand),
        "ne": lambda value: not _equals(value, operand),
        "in": lambda value: any(_equals(value, each) for each in operand),
        "contains": lambda value: _contains(value, operand),
        "exists": lambda value: (value is not MISSING) is operand,
    }
    return tests[name]


def _comparison(field: str, compare: Callable[[Any, Any], bool], operand: Any) -> _Test:
    levels = LEVELS if field == "level" else {}
    bound = levels.get(operand, operand) if isinstance(operand, str) else operand

    def test(value: Any) -> bool:
        found = levels.get(value, value) if isinstance(value, str) else value
        is_text = isinstance(found, str) and isinstance(bound, str)
        return (is_text or (_is_number(found) and _is_number(bound))) and compare(found, bound)

    return test


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equals(value: Any, operand: Any) -> bool:
    """True is not 1: JSON tells them apart."""
    return isinstance(value, bool) is isinstance(operand, bool) and bool(value == operand)


def _contains(value: Any, operand: Any) -> bool:
    """A part of a text, an item of a list, a name in an object."""
    if isinstance(value, str):
        return isinstance(operand, str) and operand in value
    if isinstance(value, list):
        return any(_equals(each, operand) for each in value)
    return isinstance(value, Mapping) and operand in value
