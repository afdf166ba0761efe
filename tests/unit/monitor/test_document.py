"""The OpenAPI document: its examples are what its schemas say, and nothing is left to guess."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match

from fiveobs.monitor.api.app import create_app
from fiveobs.monitor.api.document import WEBSOCKETS, of_route, operations
from fiveobs.monitor.api.routes import routes_of
from tests.support.asgi import ask
from tests.support.stores import open_sqlite

ROOT = Path(__file__).parents[3]
SUPPORT = ROOT / "tests" / "support"
#: The published examples, word for word.
PUBLISHED = json.loads((SUPPORT / "tracking_examples.json").read_text(encoding="utf-8"))
SUBSCRIBE = json.loads((SUPPORT / "subscribe_example.json").read_text(encoding="utf-8"))
FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    store = open_sqlite(tmp_path_factory.mktemp("document") / "store.sqlite3")
    yield create_app(store)
    store.close()


@pytest.fixture(scope="module")
def document(app: Any) -> Any:
    return ask(app, "GET", "/openapi.json").content


def by_id(document: Any) -> dict[str, Any]:
    return {operation["operationId"]: operation for _, _, operation in operations(document)}


def places(document: Any) -> Iterator[tuple[str, Any]]:
    """Everything that has a schema and may have an example, by what it is."""
    for name, operation in by_id(document).items():
        for each in operation.get("parameters", ()):
            yield f"{name}, parameter {each['name']}", each
        for content in operation.get("requestBody", {}).get("content", {}).values():
            yield f"{name}, body", content
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                yield f"{name}, {status} as {media_type}", content
            for header, each in answer.get("headers", {}).items():
                yield f"{name}, {status}, header {header}", each


def wrong(document: Any, schema: Any, example: Any) -> list[str]:
    """Where an example is not what a schema says, down to the field that is missing."""
    whole = {"components": document["components"], "allOf": [schema]}
    checker = Draft202012Validator(whole, format_checker=FORMATS)
    deepest = (best_match([each]) for each in checker.iter_errors(example))
    return [f"at {each.json_path}: {each.message[:200]}" for each in deepest if each]


def test_every_example_is_what_its_schema_says(document: Any) -> None:
    """Of parameters, bodies, answers and problems: no field is missing or of another type."""
    found = [
        f"{what}, {text}"
        for what, place in places(document)
        if "example" in place
        for text in wrong(document, place["schema"], place["example"])
    ]
    assert found == [], "add what is missing to the examples.json:\n" + "\n".join(found)


def test_the_check_finds_what_is_missing(document: Any) -> None:
    """A required field that an example lacks is named with its place, also in a part."""
    place = by_id(document)["get_logs"]["responses"]["200"]["content"]["application/json"]
    example = json.loads(json.dumps(place["example"]))
    del example["logs"][2]["eventId"], example["executionMetrics"]["memoryUsageBytes"]
    example["logs"][0]["timestamp"] = "yesterday"
    found = "\n".join(wrong(document, place["schema"], example))
    assert "at $.logs[2]: 'eventId' is a required property" in found
    assert "at $.executionMetrics: 'memoryUsageBytes' is a required property" in found
    assert "at $.logs[0].timestamp: 'yesterday' is not a 'date-time'" in found


def test_everything_has_an_example(document: Any) -> None:
    """Each parameter, body and answer, and each problem: one of its own status."""
    bare = [
        what
        for what, place in places(document)
        if "example" not in place and ", header " not in what
    ]
    assert bare == []
    for name, operation in by_id(document).items():
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get("application/problem+json")
            if content is not None:
                shown = str(content["example"]["status"])
                assert shown.startswith(status.rstrip("X")), (name, status)


def test_the_published_examples_are_there(document: Any) -> None:
    """The tracking API's answers and the subscription have every published value, and ours."""
    found = by_id(document)
    for name, published in PUBLISHED.items():
        content = found[f"get_{name}"]["responses"]["200"]["content"]["application/json"]
        assert_within(published, content["example"], name)
    subscribe = found["subscribe_to_job"]
    body = subscribe["requestBody"]["content"]["application/json"]["example"]
    assert body == SUBSCRIBE["request"]
    answer = subscribe["responses"]["201"]["content"]["application/json"]["example"]
    assert_within(SUBSCRIBE["answer"], answer, "subscribe")


def assert_within(published: Any, shown: Any, where: str) -> None:
    if isinstance(published, dict):
        for name, value in published.items():
            assert name in shown, f"{where}.{name}"
            assert_within(value, shown[name], f"{where}.{name}")
    elif isinstance(published, list):
        assert len(published) == len(shown), where
        for number, value in enumerate(published):
            assert_within(value, shown[number], f"{where}[{number}]")
    else:
        assert (type(published), published) == (type(shown), shown), where


def test_operations_are_named_after_their_functions(app: Any, document: Any) -> None:
    """Names that clients are generated with: short, unique, and the same as long as the code's."""
    named = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(named) == len(set(named))
    functions = {route.name for route in routes_of(app)} - {"get_document", "get_page"}
    assert set(named) == functions


def test_every_websocket_is_in_the_document(app: Any, document: Any) -> None:
    """OpenAPI has no place for them: they stand beside the paths, with all that a route has."""
    sockets = {route.path_format for route in routes_of(app) if "socket_of" in route.name}
    assert document[WEBSOCKETS].keys() == sockets
    assert len(sockets) == 3
    for operation in document[WEBSOCKETS].values():
        assert operation["x-fiveobs-role"] == "viewer"
        assert {"101", "401", "404", "422", "503"} <= operation["responses"].keys()
        assert {"tenantId", "lastEventId"} <= {each["name"] for each in operation["parameters"]}
    assert "409" in by_id(document)["socket_of_subscription"]["responses"]
    text = ask(app, "GET", "/docs").body.decode()
    assert all(path in text for path in sockets)


def test_headers_of_answers_are_in_the_document(document: Any) -> None:
    """Where to look next, and when to ask again."""
    found = by_id(document)
    assert "Refresh" in found["get_batch"]["responses"]["200"]["headers"]
    for name in ("subscribe_to_job", "subscribe_to_project"):
        assert found[name]["responses"]["201"]["headers"]["Location"]["required"] is True
    for operation in found.values():
        for status in ("429", "503"):
            answer = operation["responses"][status]
            is_said = "application/json" in answer["content"]  # /readyz says what is wrong instead
            assert is_said or "Retry-After" in answer["headers"]
        assert "WWW-Authenticate" in operation["responses"]["401"]["headers"]


def test_the_document_says_where_it_is_served(document: Any) -> None:
    """Relative to the document: whatever name the monitor has."""
    assert document["servers"] == [{"url": "/"}]


def test_parameters_are_left_out_and_not_null(document: Any) -> None:
    """No parameter of a query or header has null as a value."""
    schemas = [place["schema"] for what, place in places(document) if ", parameter " in what]
    assert '"null"' not in json.dumps(schemas)


def test_bounds_are_written_as_they_are_meant(document: Any) -> None:
    """A whole number is no 60.0."""
    texts = json.dumps(document["components"]["schemas"]["SubscribeRequest"])
    assert '"minimum": 60,' in texts
    assert '"maximum": 2592000,' in texts


def test_statuses_are_those_that_can_be(document: Any) -> None:
    """What has no parameter finds nothing wrong with one; what has a state can be in the wrong."""
    found = by_id(document)
    assert not {"403", "404", "422"} & found["get_health"]["responses"].keys()
    for name in ("stop_job", "subscribe_to_job", "replay_deliveries", "send_test"):
        assert "409" in found[name]["responses"]
    assert "409" not in found["get_logs"]["responses"]


# --- the page that is made of it ---------------------------------------------------------------


def test_the_reference_has_all_of_a_route(document: Any) -> None:
    """WebSockets, parameters of the path, headers of answers and statuses of problems."""
    page = runpy.run_path(str(ROOT / "docs/reference/http_api.py"))["page"](document)
    for path in document[WEBSOCKETS]:
        assert f"\n`WebSocket {path}` (viewer)\n" in page
    routes = sum(page.count(f"` ({role})\n") for role in ("viewer", "operator", "admin"))
    named = page.count("\n| `tenantId` (path) |") + page.count("\n| `tenantId` |")
    assert named == routes
    assert "with the header `Refresh`" in page
    assert "with the header `Location`" in page
    assert "| `Retry-After` |" in page
    assert page.count("\n[Problems](#problems): 401") == len(by_id(document))
    assert "409 (the job's state does not allow it" in page


def test_refusals_of_several_threads_do_not_meet(app: Any) -> None:
    """What is wrong with a request is worked out in threads; none leaves a warning to another."""
    routes = [route for route in routes_of(app) if getattr(route, "methods", None)]
    with ThreadPoolExecutor(4) as threads:
        made = threads.map(lambda route: of_route(route, min(route.methods)), routes * 4)
        assert all(document["paths"] is not None for document, _ in made)
