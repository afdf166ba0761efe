"""The page of HTTP routes, from the monitor's OpenAPI document. Run through ``generate.py``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

__all__ = ["page"]

Document = dict[str, Any]

_HEAD = """# HTTP API

<!-- Made by docs/reference/generate.py from the OpenAPI document; change it in fiveobs/monitor. -->

What `fiveobs serve` answers, made from its OpenAPI document, which the monitor itself gives at
`/openapi.json`, and to read at `/docs`. [`fiveobs.client`](../howto/ask-the-monitor.md) asks all of
it from Python, and [`fiveobs jobs`, `job` and `watch`](cli.md) in the terminal.

- Every request needs a token: `Authorization: Bearer …`. The role that a route needs is beside it:
  a viewer sees, an operator also controls jobs, an admin may do everything. Of another tenant or
  project a token sees nothing: what is there is answered like what is not.
- Times are RFC 3339 in UTC. Beside what is written for people (`"2.3 GB"`) stands the number with
  its unit (`memoryUsageBytes`). What is not known is `null`, or left out where the table says so.
- Parameters and fields of a request that a route does not know are refused: they may be slips. An
  id in a path is percent-encoded, so that it may hold anything, `/` as `%2F` included.
- Fields may be added to answers in any version; ignore those that you do not know.
"""
_PROBLEM_HEAD = """
## Problems

Whatever is refused is answered with `application/problem+json` (RFC 9457):

"""
_METHODS = ("get", "post", "put", "patch", "delete")
_WEBSOCKETS = "x-fiveobs-websockets"
#: Statuses that any route can answer with, whatever it is asked.
_ANYWHERE = ("4XX", "5XX")
_PROBLEM = "application/problem+json"
_REF = "#/components/schemas/"


def page(document: Document) -> str:
    """The whole page."""
    groups: dict[str, list[str]] = {}
    for method, path, route in _routes(document):
        tag = next(iter(route.get("tags", ())), "Other")
        groups.setdefault(tag, []).append(_route(document, method, path, route))
    about = {each["name"]: each.get("description", "") for each in document.get("tags", ())}
    sections = "".join(
        f"\n## {tag}\n{_paragraph(about.get(tag, ''))}{''.join(routes)}"
        for tag, routes in groups.items()
    )
    return _HEAD + sections + _problems(document) + _schemas(document)


def _routes(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, routes in document["paths"].items():
        for method in _METHODS:
            if method in routes:
                yield method.upper(), path, routes[method]
    for path, route in document[_WEBSOCKETS].items():
        yield "WebSocket", path, route


def _paragraph(text: str) -> str:
    return f"\n{' '.join(text.split())}\n" if text else ""


def _route(document: Document, method: str, path: str, route: dict[str, Any]) -> str:
    role = route.get("x-fiveobs-role")
    title = f"\n### {route.get('summary') or route['operationId']}\n"
    first = f"\n`{method} {path}`{f' ({role})' if role else ''}\n"
    return (
        title
        + first
        + _paragraph(_markdown(route.get("description", "")))
        + _parameters(route)
        + _body(document, route)
        + "".join(_answers(document, route))
        + _refusals(route)
    )


def _parameters(route: dict[str, Any]) -> str:
    """Those of the path, the query and the headers."""
    rows = [
        f"| `{each['name']}`{'' if each['in'] == 'query' else ' (' + each['in'] + ')'} "
        f"| {_type(each['schema'])} | {_default(each['schema'])} "
        f"| {_cell(each.get('description', ''))} |\n"
        for each in sorted(route.get("parameters", ()), key=_place)
    ]
    head = "\n| Parameter | Type | Default | |\n|---|---|---|---|\n"
    return head + "".join(rows) if rows else ""


def _place(parameter: dict[str, Any]) -> int:
    """Path first, from the left to the right; then as the route has them."""
    order = ("tenantId", "projectId", "jobId", "job_uuid", "subscriptionId", "execution_id")
    order += ("workflow_id",)
    is_path = parameter["in"] == "path"
    return order.index(parameter["name"]) if is_path else len(order)


def _body(document: Document, route: dict[str, Any]) -> str:
    content = route.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return ""
    return f"\nBody: {_type(content.get('schema', {}))}\n{_example(document, content)}"


def _answers(document: Document, route: dict[str, Any]) -> Iterator[str]:
    for status, answer in route.get("responses", {}).items():
        if status >= "4":
            continue
        if status == "101":
            yield f"\nAnswer {status}: {_lower(answer['description'])}\n"
        elif not answer.get("content"):
            yield f"\nAnswer {status}: nothing\n"
        for media_type, content in answer.get("content", {}).items():
            schema = content.get("schema", {})
            kind = _type(schema) if media_type == "application/json" else f"`{media_type}`"
            yield f"\nAnswer {status}: {kind}{_headers(answer)}\n{_example(document, content)}"


def _headers(answer: dict[str, Any]) -> str:
    """What stands in the headers of an answer."""
    found = [
        f"`{name}` ({_lower(each['description'])})"
        for name, each in answer.get("headers", {}).items()
    ]
    return f", with the header {', '.join(found)}" if found else ""


def _refusals(route: dict[str, Any]) -> str:
    """The statuses of its problems; what is said of one for this route alone stands beside it."""
    found = [
        f"{status} ({_lower(answer['description'])})" if status == "409" else status
        for status, answer in route.get("responses", {}).items()
        if status >= "4" and status not in _ANYWHERE and _is_problem(answer)
    ]
    return f"\n[Problems](#problems): {', '.join(found)}\n" if found else ""


def _is_problem(answer: dict[str, Any]) -> bool:
    return _PROBLEM in answer.get("content", {})


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _example(document: Document, content: dict[str, Any]) -> str:
    found = content.get("example")
    if found is None:
        found = next((each["value"] for each in content.get("examples", {}).values()), None)
    if found is None and "$ref" in content.get("schema", {}):
        schema = document["components"]["schemas"][_name(content["schema"])]
        found = schema.get("example", next(iter(schema.get("examples", ())), None))
    if found is None:
        return ""
    text = found if isinstance(found, str) else json.dumps(found, indent=2, ensure_ascii=False)
    language = "text" if isinstance(found, str) else "json"
    return f"\n```{language}\n{text.strip()}\n```\n"


def _problems(document: Document) -> str:
    fields = _fields(document["components"]["schemas"]["Problem"])
    return _PROBLEM_HEAD + fields + _statuses(document)


def _statuses(document: Document) -> str:
    """What each status means, its headers, and an example."""
    found: dict[str, tuple[str, str, Any]] = {}
    for _method, _path, route in _routes(document):
        for status, answer in route.get("responses", {}).items():
            if _is_problem(answer):
                meaning = "Depends on the route" if status == "409" else answer["description"]
                headers = ", ".join(f"`{name}`" for name in answer.get("headers", {}))
                example = answer["content"][_PROBLEM].get("example", {})
                found.setdefault(status, (meaning, headers, example))
    rows = "".join(
        f"| {status} | {_cell(meaning)} | {headers} | {_cell(str(example.get('detail', '')))} |\n"
        for status, (meaning, headers, example) in sorted(found.items())
    )
    table = f"\n| Status | Meaning | Headers | For example |\n|---|---|---|---|\n{rows}"
    return table + _example(document, {"example": found["422"][2]})


# --- types -------------------------------------------------------------------------------------


def _schemas(document: Document) -> str:
    """Every object that a route takes or answers with."""
    parts = ["\n## Types\n\nA field in **bold** is always there.\n"]
    for name, schema in sorted(document["components"]["schemas"].items()):
        if name == "Problem" or "properties" not in schema:
            continue
        parts.append(f"\n### {name}\n{_paragraph(_markdown(schema.get('description', '')))}\n")
        parts.append(_fields(schema))
    return "".join(parts)


def _fields(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"| {f'**`{name}`**' if name in required else f'`{name}`'} | {_type(field)} "
        f"| {_cell(field.get('description', ''))} |\n"
        for name, field in schema["properties"].items()
    )
    return f"| Field | Type | |\n|---|---|---|\n{rows}"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = _name(schema)
        return f"[{name}](#{name.lower()})"
    if choices := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        kinds = list(dict.fromkeys(_type(each) for each in choices))
        return " or ".join(kind for kind in kinds if kind != "integer" or "number" not in kinds)
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return _bounded(schema)


def _bounded(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "anything")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    name = {"date-time": "time", "uri": "URL"}.get(schema.get("format", ""), kind)
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    if least is not None and most is not None:
        return f"{name}, {least} to {most}"
    return f"{name}, from {least}" if least is not None else name


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "" if default is None else f"`{json.dumps(default).strip(chr(34))}`"


def _name(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).removeprefix(_REF)


def _markdown(text: str) -> str:
    return text.replace("``", "`")


def _cell(text: str) -> str:
    return " ".join(_markdown(text).split()).replace("|", "\\|")
