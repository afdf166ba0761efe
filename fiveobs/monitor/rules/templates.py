"""Placeholders such as ``{event.job_id}`` in what an action sends; nothing in them is run.

A value that is one placeholder and nothing else keeps its type. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from fiveobs.monitor.rules.facts import MISSING, field_problem, is_text

__all__ = ["ROOTS", "filled", "template_problem"]

#: ``{{`` and ``}}`` are braces; one alone is what it is unless a placeholder begins with it.
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([A-Za-z_][^{}\s]*)\}")
_MOST_TEXT_CHARS = 4_000
#: What may stand before the first dot beside ``event``, which is followed by a field.
ROOTS = ("rule.id", "rule.name", "firing.id")


def template_problem(text: str) -> str | None:
    """What would be valid instead of a text with placeholders; ``None`` if all of them are."""
    if len(text) > _MOST_TEXT_CHARS or not is_text(text):
        return f"valid are texts of up to {_MOST_TEXT_CHARS} characters"
    for found in _PLACEHOLDER.finditer(text):
        name = found[1]
        if name is None or name in ROOTS:
            continue
        root, _, path = name.partition(".")
        if root != "event" or field_problem(path) is not None:
            valid = f"valid are {{event.FIELD}}, {{{'}, {'.join(ROOTS)}}}"
            return f"there is no {{{name}}}: {valid}; a brace itself is written twice"
    return None


def filled(value: Any, get: Callable[[str], Any]) -> Any:
    """A value with its placeholders replaced, in lists and objects, too.

    Args:
        value: What an action has.
        get: Gives what a placeholder stands for; what is `MISSING` is an empty text, or null where
            it is all that there is.
    """
    if isinstance(value, str):
        return _filled_text(value, get)
    if isinstance(value, Mapping):
        return {name: filled(each, get) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, get) for each in value]
    return value


def _filled_text(text: str, get: Callable[[str], Any]) -> Any:
    whole = _PLACEHOLDER.fullmatch(text)
    if whole is not None and whole[1]:
        found = get(whole[1])
        return None if found is MISSING else found
    return _PLACEHOLDER.sub(lambda each: _text(each, get), text)


def _text(found: re.Match[str], get: Callable[[str], Any]) -> str:
    if found[1] is None:
        return found[0][0]
    value = get(found[1])
    if value is MISSING or value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
