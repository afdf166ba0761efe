"""What surrounds every route: problems, limits, headers, health, figures and the document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, WebSocket
from sqlalchemy.exc import OperationalError

from fiveobs.monitor.access import Access, create_token
from fiveobs.monitor.api.app import create_app
from fiveobs.monitor.api.dependencies import CurrentCaller, Scope, require
from fiveobs.monitor.api.problems import ProblemError, invalid
from fiveobs.monitor.api.routers import make_open_router
from fiveobs.monitor.figures import Figures
from fiveobs.monitor.services import Services
from fiveobs.monitor.settings import MonitorSettings
from fiveobs.monitor.store.engine import Store
from tests.support.asgi import WEBSOCKET, Answer, ask
from tests.support.stores import open_sqlite

#: Routes that go wrong in every way.
OWN = make_open_router()
LIMITS = {"max_request_bytes": 2_000, "max_url_bytes": 500, "max_header_bytes": 1_000}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_sqlite(tmp_path / "store.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def token(store: Store) -> str:
    return create_token(store, name="test", role="admin").token


@pytest.fixture
def app(store: Store) -> Any:
    return make(store)


def make(store: Store, services: Services | None = None, **settings: Any) -> Any:
    """The application with routes that go wrong in every way."""
    found = create_app(
        store, MonitorSettings(home=Path(), store_url="", **(LIMITS | settings)), services
    )
    found.include_router(OWN)
    return found


@OWN.get("/own/{number}", dependencies=[Depends(require("viewer"))])
def get_own(number: int, limit: int = 1) -> dict[str, int]:
    return {"number": number, "limit": limit}


@OWN.post("/own", dependencies=[Depends(require("viewer"))])
def post_own(body: dict[str, int]) -> dict[str, int]:
    return body


@OWN.get("/fails")
def get_failure(caller: CurrentCaller) -> None:
    raise RuntimeError("the password is hunter2")


@OWN.get("/unreachable")
def get_unreachable() -> None:
    raise OperationalError("SELECT secret", {}, Exception("host db.internal is down"))


@OWN.get("/invalid")
def get_invalid() -> None:
    raise invalid("query", "metrics", "gpu", "valid are cpu and memory")


@OWN.get("/conflict")
def get_conflict() -> None:
    raise ProblemError(409, "it has ended", jobStatus="Completed")


@OWN.websocket("/socket/{tenantId}/{projectId}")
async def socket(websocket: WebSocket, scope: Scope) -> None:
    await websocket.accept()


def problem(answer: Answer, status: int) -> Any:
    """The problem, which has to be a whole one."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.content
    assert found["status"] == status
    assert {"type", "title", "status", "detail"} <= found.keys()
    return found


# --- problems ----------------------------------------------------------------------------------


def test_a_parameter_that_cannot_be_used_is_named(app: Any, token: str) -> None:
    """Each error says where, which, what was sent and what would be valid."""
    found = problem(ask(app, "GET", "/own/seven?limit=x", token=token), 422)
    assert found["errors"] == [
        {
            "in": "path",
            "name": "number",
            "value": "seven",
            "detail": "valid are integers",
        },
        {
            "in": "query",
            "name": "limit",
            "value": "x",
            "detail": "valid are integers",
        },
    ]
    assert found["detail"].startswith("number: 'seven' cannot be used")
    assert app.openapi_schema is None  # nobody waits for the document of all other routes


def test_a_body_that_is_no_json_is_said_to_be_none(app: Any, token: str) -> None:
    """Broken JSON is a problem like any other."""
    found = problem(ask(app, "POST", "/own", token=token, body=b"{"), 422)
    assert found["errors"][0]["in"] == "body"
    assert "JSON" in found["errors"][0]["detail"]


def test_secrets_of_a_body_are_not_repeated(app: Any, token: str) -> None:
    """What is sent under a name such as token is masked in the problem about it."""
    answer = ask(app, "POST", "/own", token=token, body=b'{"token": "hunter2", "a": "b"}')
    assert "hunter2" not in answer.body.decode()
    assert problem(answer, 422)["errors"][0]["value"] == "***"


def test_long_values_are_cut_in_problems(app: Any, token: str) -> None:
    """A problem stays small whatever was sent."""
    answer = ask(app, "GET", "/own/" + "x" * 400, token=token)
    assert len(problem(answer, 422)["errors"][0]["value"]) == 201


def test_routes_can_raise_problems_with_more_in_them(app: Any, token: str) -> None:
    """``invalid`` names a parameter; a ProblemError has members of its own."""
    found = problem(ask(app, "GET", "/invalid", token=token), 422)
    assert found["errors"][0]["value"] == "gpu"
    found = problem(ask(app, "GET", "/conflict", token=token), 409)
    assert found["jobStatus"] == "Completed"


def test_what_is_not_there_and_what_is_not_allowed_are_problems(app: Any, token: str) -> None:
    """Unknown paths and methods say what would be valid."""
    assert "/docs" in problem(ask(app, "GET", "/nothing", token=token), 404)["detail"]
    answer = ask(app, "DELETE", "/own/1", token=token)
    assert "GET" in problem(answer, 405)["detail"]
    assert answer.headers["allow"] == "GET"
    assert ask(app, "GET", "/own/1/", token=token).status == 404  # and no redirect


def test_our_own_failure_says_nothing_but_an_id(
    app: Any, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The cause goes to the log, under the id that the answer has."""
    answer = ask(app, "GET", "/fails", token=token)
    found = problem(answer, 500)
    assert "hunter2" not in answer.body.decode()
    assert found["instance"] in caplog.text
    assert "hunter2" in caplog.text


def test_a_store_that_cannot_be_reached_is_said_to_be_so(app: Any, token: str) -> None:
    """503 with Retry-After, and nothing of where it is."""
    answer = ask(app, "GET", "/unreachable", token=token)
    problem(answer, 503)
    assert answer.headers["retry-after"] == "5"
    assert "db.internal" not in answer.body.decode()


def test_a_store_that_is_gone_is_no_bad_token(app: Any, store: Store, token: str) -> None:
    """While nobody can say whether a token is good, the answer is 503 and not 401."""
    with store.writing() as connection:
        connection.exec_driver_sql("DROP TABLE tokens")
    problem(ask(app, "GET", "/own/1", token=token), 503)


def test_a_websocket_is_refused_with_a_problem(app: Any, token: str) -> None:
    """Before it is accepted, a WebSocket is answered like a request."""
    problem(ask(app, WEBSOCKET, "/socket/a/b"), 401)
    problem(ask(app, WEBSOCKET, "/socket/a/b", token=token), 404)
    assert "/docs" in problem(ask(app, WEBSOCKET, "/nothing", token=token), 404)["detail"]


# --- limits ------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_refused(app: Any, token: str) -> None:
    """Whether it says how long it is or comes in pieces, and before it is kept."""
    body = b'{"a": ' + b"1" * 3_000 + b"}"
    assert "2000" in problem(ask(app, "POST", "/own", token=token, body=body), 413)["detail"]
    problem(ask(app, "POST", "/own", token=token, body=body, chunk_bytes=100), 413)
    announced = {"content-length": "1000000000000"}
    problem(ask(app, "POST", "/own", token=token, headers=announced), 413)


def test_a_body_in_pieces_reaches_its_route_whole(app: Any, token: str) -> None:
    """What is read ahead is handed on."""
    answer = ask(app, "POST", "/own", token=token, body=b'{"a": 1, "b": 22}', chunk_bytes=3)
    assert answer.content == {"a": 1, "b": 22}


def test_a_body_of_somebody_unknown_is_not_even_read(app: Any) -> None:
    """Without a token the answer is 401, however large the body is."""
    problem(ask(app, "POST", "/own", body=b"x" * 5_000), 401)


def test_urls_and_headers_that_are_too_long_are_refused(app: Any, token: str) -> None:
    """414 for the URL, 431 for the headers, by size and by number."""
    problem(ask(app, "GET", "/own/1?x=" + "y" * 500, token=token), 414)
    problem(ask(app, "GET", "/own/1", token=token, headers={"x": "y" * 1_000}), 431)
    many = {f"h{number}": "" for number in range(101)}
    problem(ask(app, "GET", "/own/1", token=token, headers=many), 431)


# --- headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/own/1", "/nothing", "/fails", "/healthz", "/docs"])
def test_every_answer_has_the_headers_for_safety(app: Any, token: str, path: str) -> None:
    """Also problems and our own failures."""
    headers = ask(app, "GET", path, token=token).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_cors_is_off_unless_origins_are_named(store: Store, token: str) -> None:
    """No page of another origin may read an answer; a named one may, and only that one."""
    asked = {"origin": "https://ours.example", "access-control-request-method": "GET"}
    off, on = make(store), make(store, cors_origins=("https://ours.example",))
    answer = ask(off, "GET", "/own/1", token=token, headers=asked)
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert ask(off, "OPTIONS", "/own/1", headers=asked).status == 401
    answer = ask(on, "GET", "/own/1", token=token, headers=asked)
    assert answer.headers["access-control-allow-origin"] == "https://ours.example"
    assert "access-control-allow-credentials" not in answer.headers
    assert ask(on, "OPTIONS", "/own/1", headers=asked).status == 200
    asked["origin"] = "https://theirs.example"
    answer = ask(on, "GET", "/own/1", token=token, headers=asked)
    assert "access-control-allow-origin" not in answer.headers


# --- health and figures ------------------------------------------------------------------------


def test_health_answers_anybody(app: Any) -> None:
    """Neither needs a token, and neither tells figures."""
    assert ask(app, "GET", "/healthz").content == {"status": "ok"}
    assert ask(app, "GET", "/readyz").content == {"status": "ready", "checks": {"store": "ok"}}


def test_it_is_not_ready_without_its_schema(app: Any, store: Store) -> None:
    """A store of another version, or none at all, is said to be what is wrong."""
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'another'")
    answer = ask(app, "GET", "/readyz")
    assert answer.status == 503
    assert "schema" in answer.content["checks"]["store"]
    assert ask(app, "GET", "/healthz").status == 200


def test_it_is_not_ready_while_taking_in_is_far_behind(store: Store) -> None:
    """Above the lag that is allowed, ``/readyz`` says by how much."""
    lag_s = 0.0
    services = Services(
        [], access=Access(store), figures=Figures(), lag_s=lambda: lag_s, max_lag_s=30.0
    )
    app = make(store, services)
    assert ask(app, "GET", "/readyz").status == 200
    lag_s = 31.0
    answer = ask(app, "GET", "/readyz")
    assert answer.status == 503
    assert answer.content["checks"]["ingest"] == "it is 31 s behind: at most 30 s are fine"


LOCAL = {"host": "127.0.0.1:8390"}


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        ("127.0.0.1", LOCAL, 200),
        ("::1", {"host": "[::1]:8390"}, 200),
        ("127.0.0.1", {"host": "localhost"}, 200),
        ("203.0.113.7", LOCAL, 401),
        ("127.0.0.1", {**LOCAL, "x-forwarded-for": "203.0.113.7"}, 401),
        ("127.0.0.1", {**LOCAL, "forwarded": "for=203.0.113.7"}, 401),
        ("127.0.0.1", {"host": "rebound.example"}, 401),
    ],
)
def test_figures_need_a_token_from_elsewhere(
    app: Any, client: str, headers: dict[str, str], status: int
) -> None:
    """This machine may ask without one; not through a proxy, nor under another's name."""
    assert ask(app, "GET", "/metrics", client=client, headers=headers).status == status


def test_figures_are_not_for_a_tenants_token(app: Any, store: Store, token: str) -> None:
    """They are about all tenants: a token of one does not show them."""
    ours = create_token(store, name="a", role="admin", tenant_id="a").token
    assert ask(app, "GET", "/metrics", token=ours, client="127.0.0.1", headers=LOCAL).status == 403
    assert ask(app, "GET", "/metrics", token=token).status == 200


def test_requests_are_counted_by_route_and_never_by_path(app: Any, token: str) -> None:
    """What callers make up becomes no label."""
    for number in range(3):
        ask(app, "GET", f"/own/{number}", token=token)
        ask(app, "GET", f"/made-up-{number}", token=token)
    ask(app, "MADEUP", "/own/1", token=token)
    text = ask(app, "GET", "/metrics", token=token).body.decode()
    own = 'fiveobs_monitor_requests_total{method="GET",route="/own/{number}",status="200"} 3'
    assert own in text
    assert "made-up" not in text
    assert "MADEUP" not in text
    assert 'route="/own/{number}",le="+Inf"} 3' in text


def test_figures_are_text_that_prometheus_reads(app: Any, token: str) -> None:
    """Every line is a comment or a sample; each figure is described once, before its samples."""
    ask(app, "GET", "/own/1", token=token)
    answer = ask(app, "GET", "/metrics", token=token)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    sample = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+(Inf)?')
    lines = answer.body.decode().splitlines()
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)
    described = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(described) == len(set(described))
    assert {"fiveobs_monitor_events_total", "fiveobs_monitor_unreadable_lines_total"} <= set(
        described
    )


def test_series_of_a_figure_are_bounded() -> None:
    """Beyond the bound, what is counted is counted under ``other``."""
    figures = Figures()
    for number in range(600):
        figures.count("x_total", "X.", cause=f"cause-{number}")
    assert figures.value("x_total", cause="other") == 100


# --- the document ------------------------------------------------------------------------------


def test_the_document_says_what_every_route_needs(app: Any) -> None:
    """OpenAPI 3.1; a role for every operation that needs a token, and problems for all errors."""
    document = ask(app, "GET", "/openapi.json").content
    assert document["openapi"].startswith("3.1")
    assert document["security"] == [{"bearer": []}]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "x-fiveobs-role" in operation or not path.startswith("/api/")
            errors = [each for each in operation["responses"] if each.startswith("4")]
            assert "401" in errors
            for status in errors:
                assert "application/problem+json" in operation["responses"][status]["content"]


def test_the_page_needs_nothing_from_elsewhere(app: Any) -> None:
    """No script, no link to another host; its own style is all that the policy lets in."""
    answer = ask(app, "GET", "/docs")
    text = answer.body.decode()
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"?https?:", text)
    assert "style-src 'sha256-" in answer.headers["content-security-policy"]
    for path in app.openapi()["paths"]:
        assert path in text.replace("&#x27;", "'")


def test_what_is_in_the_document_is_escaped_on_the_page(store: Store) -> None:
    """A description with markup in it is shown, not run."""
    found = make(store)

    @found.get("/marked", summary="<b>bold</b>", dependencies=[Depends(require("viewer"))])
    def get_marked() -> None:
        """<script>alert(1)</script>."""

    text = ask(found, "GET", "/docs").body.decode()
    assert "<script" not in text
    assert "&lt;b&gt;bold" in text
