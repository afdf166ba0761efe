"""What would be valid for a part of a request, in words, as the OpenAPI document has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

__all__ = ["in_words", "resolved", "schema_of", "valid"]

Schema: TypeAlias = Mapping[str, Any]
_REF = "#/components/schemas/"
_TIME = "times as in RFC 3339, for example 2024-01-20T10:30:00Z"
_NOUNS = {
    "boolean": "true and false",
    "integer": "integers",
    "null": "null",
    "number": "numbers",
    "None": "any values",
}


def schema_of(document: Schema, operation: Schema, loc: Sequence[int | str]) -> Schema | None:
    """What the document says of a part of a request; ``None`` if nothing.

    Args:
        document: The OpenAPI document.
        operation: The operation.
        loc: Where the part is: ``query``, ``path``, ``header`` or ``body``, then names and places
            in lists.
    """
    where, *rest = loc
    if where == "body":
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        found: Schema | None = content.get("schema")
    else:
        name, *rest = rest or [""]
        named = [each for each in operation.get("parameters", ()) if each["name"] == name]
        found = next((each["schema"] for each in named if each["in"] == where), None)
    for part in rest:
        found = found and _inside(resolved(document, found), part)
    return found and resolved(document, found)


def resolved(document: Schema, schema: Schema) -> Schema:
    """The schema itself: behind a reference, and of one that may also be null the other."""
    while True:
        parts = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
        if len(parts) == 1:
            schema = parts[0]
        elif str(schema.get("$ref", "")).startswith(_REF):
            schema = document["components"]["schemas"][schema["$ref"].removeprefix(_REF)]
        else:
            return schema


def valid(document: Schema, schema: Schema) -> str:
    """What a schema allows, as a sentence."""
    words = in_words(document, schema)
    return f"valid is {words}" if "const" in schema else f"valid are {words}"


def in_words(document: Schema, schema: Schema) -> str:
    """What a schema allows."""
    schema = resolved(document, schema)
    if "enum" in schema or "const" in schema:
        return ", ".join(map(_shown, schema.get("enum", [schema.get("const")])))
    if "anyOf" in schema and "type" not in schema:
        return " or ".join(in_words(document, each) for each in schema["anyOf"])
    kind = str(schema.get("type"))
    if kind == "string":
        return _texts(schema)
    if kind in _NOUNS:
        return f"{_NOUNS[kind]}{_bounds(schema, ('minimum', 'maximum'), ' from ')}"
    return _objects(schema) if kind == "object" else _lists(document, schema)


def _inside(schema: Schema, part: int | str) -> Schema | None:
    if isinstance(part, int):
        found: Schema | None = schema.get("items")
    else:
        found = schema.get("properties", {}).get(part)
    return found


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _objects(schema: Schema) -> str:
    names = schema.get("properties", ())
    return f"objects with {', '.join(names)}" if names else "objects"


def _lists(document: Schema, schema: Schema) -> str:
    many = _bounds(schema, ("minItems", "maxItems"), " of ")
    return f"lists{many}: {in_words(document, schema.get('items', {}))}"


def _texts(schema: Schema) -> str:
    if schema.get("format") == "date-time":
        return _TIME
    length = _bounds(schema, ("minLength", "maxLength"), " of ")
    characters = f"text{length} characters" if length else "text"
    pattern = schema.get("pattern")
    return f"{characters} that fits {pattern}" if pattern else characters


def _bounds(schema: Schema, names: tuple[str, str], word: str) -> str:
    """``from 1 to 10``, or what there is of it."""
    least, most = (schema.get(name) for name in names)
    if least is None:
        return "" if most is None else f"{word}up to {most}".replace(" from up", " up")
    return f"{word}{least} to {most}" if most is not None else f"{word}{least} or more"
