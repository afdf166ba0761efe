"""Write the classes of ``fiveobs.client.answers`` from the monitor's OpenAPI document.

Run through ``generate.py``. A schema that only one group of routes answers with is in the module of
that group; what several use is in ``shared``.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["modules"]

Document = dict[str, Any]
#: Groups of routes, by what their path ends with, in their order.
GROUPS = {
    "logs": "the entries of a job's log",
    "progress": "how far a job is",
    "timeline": "what happened to a job, and what is to come",
    "metrics": "what a job uses, and how it compares",
    "dependencies": "what a job needs, and what needs it",
    "batch": "many jobs at once",
}
#: The other groups, by the tag of the route.
TAGS = {
    "Subscriptions": ("subscriptions", "who is told of a job's events"),
    "Rules": ("rules", "what shall be done on which events, and what was"),
    "Control": ("control", "what was done to a job"),
    "State": ("state", "what is observed and desired, and documents"),
    "Tokens": ("tokens", "tokens"),
    "Live events": ("live", "live events"),
    "Retention": ("retention", "how long everything is kept, and figures of what has gone"),
    "Export and report": ("report", "how the jobs of a period went"),
}
#: Groups that are there for what reads them already, or that nobody asks for in a program.
NOT_READ = ("Stream monitoring", "Enhanced monitoring")
_SHARED = "what several answers have in common"
#: Fields that are not shown.
_SECRET = ("secret", "ticket", "token")
_REF = "#/components/schemas/"
_WIDTH = 100
_SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}


class _Class(NamedTuple):
    name: str
    schema: dict[str, Any]


def modules(document: Document) -> dict[str, str]:
    """The text of each module, by its name; ``__init__`` names all classes."""
    schemas = document["components"]["schemas"]
    used = {group: _closure(schemas, roots) for group, roots in _roots(document).items()}
    times = Counter(name for names in used.values() for name in names)
    shared = sorted(name for name, count in times.items() if count > 1)
    homes = dict.fromkeys(shared, "shared")
    for group, names in used.items():
        homes |= {name: group for name in names if name not in homes}
    groups = {group: _title(group) for group in homes.values()}
    made = {group: _module(group, title, schemas, homes) for group, title in sorted(groups.items())}
    return {"__init__": _index(homes), **made}


def _title(group: str) -> str:
    titles = dict(TAGS.values())
    return {**GROUPS, **titles, "shared": _SHARED}.get(group, group)


def _roots(document: Document) -> dict[str, list[str]]:
    """The schemas that the routes of each group answer with."""
    found: dict[str, list[str]] = {}
    for path, routes in document["paths"].items():
        for route in routes.values():
            group = _group(path, route)
            for status, response in route.get("responses", {}).items():
                if group and status.startswith("2"):
                    content = response.get("content", {}).get("application/json", {})
                    found.setdefault(group, []).extend(_refs(content.get("schema", {})))
    return found


def _group(path: str, route: dict[str, Any]) -> str | None:
    if not path.startswith("/api/"):
        return None
    tag = next(iter(route.get("tags", ())), "")
    if tag in NOT_READ:
        return None
    if tag in TAGS:
        return TAGS[tag][0]
    last = path.rsplit("/", 1)[1]
    return last if last in GROUPS else re.sub(r"\W+", "_", tag.lower()) or None


def _closure(schemas: dict[str, Any], roots: list[str]) -> list[str]:
    """The roots and all that they hold, what is held before what holds it."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        if name not in found:
            for inner in _refs(schemas[name]):
                if inner != name:
                    add(inner)
            found[name] = None

    for name in roots:
        add(name)
    return list(found)


def _refs(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix(_REF)
        for key, value in schema.items():
            if key not in ("example", "examples", "$ref"):
                yield from _refs(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _refs(value)


# --- Python ------------------------------------------------------------------------------------


def _class_name(schema_name: str) -> str:
    return re.sub(r"\W", "", schema_name.removesuffix("Model"))


def _module(group: str, title: str, schemas: dict[str, Any], homes: dict[str, str]) -> str:
    own = [name for name, home in homes.items() if home == group]
    ordered = [name for name in _closure(schemas, own) if homes[name] == group]
    body = "".join(_class(_Class(name, schemas[name])) for name in ordered)
    shared = {
        _class_name(ref)
        for name in ordered
        for ref in _refs(schemas[name])
        if homes.get(ref) == "shared" and group != "shared"
    }
    names = sorted(map(_class_name, ordered))
    return (
        f'"""Answers: {title}.\n\nMade by docs/reference/generate.py from the OpenAPI document.\n'
        f'"""\n\nfrom __future__ import annotations\n\n{_imports(body, shared)}\n\n{_all(names)}'
        f"{body}"
    )


def _imports(body: str, shared: set[str]) -> str:
    dataclass = "dataclass, field" if "field(" in body else "dataclass"
    lines = [
        "from collections.abc import Mapping" if "Mapping[" in body else "",
        f"from dataclasses import {dataclass}",
        "from datetime import datetime" if "datetime" in body else "",
        "from typing import Any" if "Any" in body else "",
        "",
        "from fiveobs.client._reading import Answer",
    ]
    kept = [line for at, line in enumerate(lines) if line or at == 4]
    if shared:
        kept.append(f"from fiveobs.client.answers.shared import {', '.join(sorted(shared))}")
    return "\n".join(kept)


def _all(names: list[str]) -> str:
    line = f"__all__ = [{', '.join(_quoted(name) for name in names)}]"
    if len(line) <= _WIDTH:
        return line + "\n"
    return "__all__ = [\n" + "".join(f"    {_quoted(name)},\n" for name in names) + "]\n"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _class(each: _Class) -> str:
    name = _class_name(each.name)
    text = each.schema.get("description", f"{name}.")
    head = f"\n\n@dataclass(frozen=True, kw_only=True)\nclass {name}(Answer):\n"
    required = set(each.schema.get("required", ()))
    lines = "".join(
        _field(json_name, schema, is_required=json_name in required)
        for json_name, schema in each.schema.get("properties", {}).items()
    )
    return f"{head}{_docstring(text)}\n{lines}".rstrip("\n") + "\n"


def _docstring(text: str) -> str:
    first, *rest = _sentences(text)
    if not rest and len(first) + 10 <= _WIDTH:
        return f'    """{first}"""\n'
    wrapped = textwrap.fill(" ".join(rest), _WIDTH - 4) if rest else ""
    body = textwrap.indent(f"{first}\n\n{wrapped}".rstrip(), "    ").strip()
    return f'    """{body}\n    """\n'


def _sentences(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n")]


def _field(json_name: str, schema: dict[str, Any], *, is_required: bool) -> str:
    name = _snake(json_name)
    kind, may_be_null = _type(schema)
    default = "" if is_required else " = None"
    if may_be_null or not is_required:
        kind = kind if kind == "Any" else f"{kind} | None"
    given = [] if is_required else ["default=None"]
    given += ["repr=False"] if name in _SECRET else []
    given += [f'metadata={{"json": "{json_name}"}}'] if _camel(name) != json_name else []
    if given and given != ["default=None"]:
        default = f" = field({', '.join(given)})"
    comment = textwrap.wrap(" ".join(schema.get("description", "").split()), _WIDTH - 8)
    lines = [f"    #: {line}" for line in comment]
    return "\n".join([*lines, f"    {name}: {kind}{default}"]) + "\n"


def _snake(name: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    return f"{snake}_" if snake in ("from", "class", "raw") else snake


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _type(schema: dict[str, Any]) -> tuple[str, bool]:
    """The annotation, and whether it may be null."""
    if "$ref" in schema:
        return _class_name(schema["$ref"].removeprefix(_REF)), False
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        kinds = [_type(each)[0] for each in choices if each.get("type") != "null"]
        may_be_null = any(each.get("type") == "null" for each in choices)
        return _one_of(list(dict.fromkeys(kinds))), may_be_null
    if len(schema.get("allOf", ())) == 1:
        return _type(schema["allOf"][0])
    return _plain_type(schema), False


def _one_of(kinds: list[str]) -> str:
    if sorted(kinds) == ["float", "int"]:
        return "float"
    return kinds[0] if len(kinds) == 1 else "Any"


def _plain_type(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if kind == "array":
        return f"tuple[{_type(schema.get('items', {}))[0]}, ...]"
    if kind == "object":
        return "Mapping[str, Any]"
    if kind == "string" and schema.get("format") == "date-time":
        return "datetime"
    return _SIMPLE.get(str(kind), "Any")


def _index(homes: dict[str, str]) -> str:
    by_home: dict[str, list[str]] = {}
    for name, home in homes.items():
        by_home.setdefault(home, []).append(_class_name(name))
    imports = "".join(_import(home, sorted(names)) for home, names in sorted(by_home.items()))
    every = sorted(_class_name(name) for name in homes)
    return (
        '"""The classes of a monitor\'s answers; frozen, with the units in the names.\n\n'
        "Made by docs/reference/generate.py from the OpenAPI document. A field is ``None`` where\n"
        "the monitor does not know it.\n"
        f'"""\n\nfrom __future__ import annotations\n\n{imports}\n{_all(every)}'
    )


def _import(home: str, names: list[str]) -> str:
    line = f"from fiveobs.client.answers.{home} import {', '.join(names)}\n"
    if len(line) <= _WIDTH + 1:
        return line
    listed = "".join(f"    {name},\n" for name in names)
    return f"from fiveobs.client.answers.{home} import (\n{listed})\n"
