"""Puts an example beside every parameter, body, answer and problem of the OpenAPI document.

Those of the tracking API's answers are the published ones, with our fields beside theirs. They are
put in after FastAPI has made the document, because it leaves ``null`` out of what it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

__all__ = ["add"]

#: The answers of `fiveobs/monitor/tracking/examples.json`, by the operation that gives them.
_TRACKING = {
    "get_batch": "batch",
    "get_dependencies": "dependencies",
    "get_logs": "logs",
    "get_metrics": "metrics",
    "get_progress": "progress",
    "get_timeline": "timeline",
}
_JSON, _PROBLEM = "application/json", "application/problem+json"


def add(operation: dict[str, Any]) -> None:
    """Put the examples into an operation."""
    name = operation["operationId"]
    given, ours = _read("fiveobs.monitor.api"), _read("fiveobs.monitor.tracking")
    answers = dict(given["answers"].get(name, {}))
    if name in _TRACKING:
        answers["200"] = ours[_TRACKING[name]]
    parameters = given["parameters"][""] | given["parameters"].get(name, {})
    for each in operation.get("parameters", ()):
        _put(each, parameters, each["name"])
    body = operation.get("requestBody", {}).get("content", {}).get(_JSON)
    if body is not None:
        _put(body, given["requests"], name)
    for status, answer in operation["responses"].items():
        for media_type, content in answer.get("content", {}).items():
            if media_type in (_JSON, _PROBLEM):
                others = given["problems"] if media_type == _PROBLEM else {}
                _put(content, others | answers, status)


@cache
def _read(package: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(files(package).joinpath("examples.json").read_bytes())
    return found


def _put(place: dict[str, Any], found: Mapping[str, Any], name: str) -> None:
    if name in found:
        place["example"] = found[name]
