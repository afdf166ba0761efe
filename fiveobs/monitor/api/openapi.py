"""Gives the OpenAPI document, and a page to read it on.

The page is made here, without scripts and without anything from elsewhere, so that it works where
there is no internet, and under the strictest content security policy.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import orjson
from fastapi import Request  # noqa: TC002 - FastAPI reads the annotations
from starlette.responses import HTMLResponse, Response

from fiveobs.monitor.api.document import describe, operations
from fiveobs.monitor.api.routers import make_open_router

__all__ = ["get_document", "get_page", "router"]

router = make_open_router(include_in_schema=False)


@router.get("/openapi.json")
def get_document(request: Request) -> Response:
    """The OpenAPI document."""
    return Response(orjson.dumps(describe(request.app)), media_type="application/json")


@router.get("/docs")
def get_page(request: Request) -> HTMLResponse:
    """The OpenAPI document, to read."""
    policy = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'"
    return HTMLResponse(_page(describe(request.app)), headers={"Content-Security-Policy": policy})


_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .75rem; overflow: auto; max-height: 24rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem;
  border-bottom: 1px solid var(--line); }
details { border: 1px solid var(--line); border-radius: 4px; margin: .5rem 0;
  padding: .5rem .75rem; }
summary { cursor: pointer; }
summary b { display: inline-block; min-width: 4.5rem; }
.role { float: right; opacity: .7; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def _page(document: Mapping[str, Any]) -> str:
    info = document["info"]
    groups: dict[str, list[str]] = {}
    for path, method, operation in operations(document):
        tag = (operation.get("tags") or ["Other"])[0]
        groups.setdefault(tag, []).append(_operation(document, method, path, operation))
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(found)}" for tag, found in groups.items())
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{title}</h1><p>{escape(info.get('description', ''))}</p>"
        f'<p>For programs: <a href="openapi.json">openapi.json</a>.</p>{body}</body></html>'
    )


def _operation(
    document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]
) -> str:
    role = operation.get("x-fiveobs-role")
    shown = f'<span class="role">{escape(role)}</span>' if role else ""
    head = f"<summary>{shown}<b>{method.upper()}</b> <code>{escape(path)}</code></summary>"
    text = "".join(
        f"<p>{escape(operation[name])}</p>"
        for name in ("summary", "description")
        if name in operation
    )
    body = operation.get("requestBody", {}).get("content", {})
    parts = [head, text, _parameters(operation), _contents(document, "Body", body)]
    for status, answer in operation.get("responses", {}).items():
        if status.startswith("2"):
            parts.append(_contents(document, f"Answer {status}", answer.get("content", {})))
    return f"<details>{''.join(parts)}</details>"


def _parameters(operation: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
        f"<td>{escape(_kind(each.get('schema', {})))}</td>"
        f"<td>{escape(each.get('description', ''))}</td></tr>"
        for each in operation.get("parameters", ())
    )
    head = "<tr><th>Parameter</th><th>In</th><th>Type</th><th>Meaning</th></tr>"
    return f"<table>{head}{rows}</table>" if rows else ""


def _kind(schema: Mapping[str, Any]) -> str:
    """A parameter's type, bounds and default in a few words."""
    kinds = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    words = [_one_kind(each) for each in kinds]
    if "default" in schema:
        words.append(f"default {schema['default']}")
    return ", ".join(filter(None, words))


def _one_kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    bounds = [
        f"{word} {schema[name]}"
        for name, word in (("minimum", "from"), ("maximum", "to"))
        if name in schema
    ]
    return " ".join([str(schema.get("format", schema.get("type", ""))), *bounds])


def _contents(document: Mapping[str, Any], what: str, contents: Mapping[str, Any]) -> str:
    return "".join(
        f"<h4>{escape(what)}: {escape(media_type)}</h4>{_shown(document, content)}"
        for media_type, content in contents.items()
    )


def _shown(document: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """The example if there is one, else the schema."""
    examples: Iterable[Any] = (content.get("examples") or {}).values()
    example = content.get("example", next((each.get("value") for each in examples), None))
    if example is None:
        schema = content.get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        example = document.get("components", {}).get("schemas", {}).get(name, schema)
    text = example if isinstance(example, str) else _indented(example)
    return f"<pre>{escape(text)}</pre>"


def _indented(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode()
