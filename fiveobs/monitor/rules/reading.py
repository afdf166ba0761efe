"""Rules as YAML: read strictly, and written.

YAML 1.2's core: ``on`` is a name and not true, ``2026-01-02`` is text, a name stands once. Neither
anchors nor tags, which could make much out of little, or other things than data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from fiveobs.exceptions import BadInputError

__all__ = ["read_rules", "written"]

_MOST_BYTES = 1024 * 1024
#: What YAML 1.1 takes for something else than text, and a rule does not.
_NOT_RESOLVED = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge")
#: Ends of lines beside the usual ones.
_BREAKS = ("\x85", "\u2028", "\u2029")
_BOOL = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """YAML as far as rules need it."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not read: write it out",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            name = self.construct_object(key_node, deep=True)
            if not isinstance(name, str):
                raise _marked(key_node, f"{name!r} is no name: valid is text")
            if name in found:
                raise _marked(key_node, f"{name} stands there twice")
            found[name] = self.construct_object(value_node, deep=True)
        return found


def _construct(loader: Any, node: Any) -> dict[Any, Any]:
    return loader.construct_mapping(node)  # type: ignore[no-any-return]


_Loader.add_constructor("tag:yaml.org,2002:map", _construct)
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, expression)
        for tag, expression in found
        if tag not in _NOT_RESOLVED and (tag != _BOOL or first in "tTfF")
    ]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _marked(node: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def read_rules(text: str) -> list[dict[str, Any]]:
    """The rules of a file: under ``rules``, or one by itself.

    Args:
        text: YAML, of which JSON is a part.

    Raises:
        BadInputError: It cannot be read; what is wrong with a rule the monitor says.
    """
    if len(text.encode("utf-8", "replace")) > _MOST_BYTES:
        raise BadInputError(f"the file is too long: valid are up to {_MOST_BYTES} bytes")
    try:
        found = yaml.load(text, _Loader)  # noqa: S506 - derived from SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise BadInputError(f"the file is no YAML that can be read: {_said(exc)}") from exc
    if isinstance(found, dict) and found.keys() == {"rules"}:
        found = found["rules"]
    elif isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not found or not all(isinstance(e, dict) for e in found):
        raise BadInputError("the file has no rules: valid is 'rules:' with a list of them, or one")
    names = [each.get("name") for each in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInputError(f"the file has two rules called {twice!r}: give each a name of its own")
    return found


def _said(exc: Exception) -> str:
    mark = getattr(exc, "problem_mark", None)
    where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    return f"{where}{getattr(exc, 'problem', None) or type(exc).__name__}"


def written(rules: Sequence[dict[str, Any]]) -> str:
    """Rules as a file that `read_rules` reads."""
    content = {"rules": list(rules)}
    options: dict[str, Any] = {"sort_keys": False, "width": 100}
    text = str(yaml.safe_dump(content, allow_unicode=True, **options))
    if any(mark in text for mark in _BREAKS):  # written as they are, they are read as blanks
        text = str(yaml.safe_dump(content, **options))
    return text
