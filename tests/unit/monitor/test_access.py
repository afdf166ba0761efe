"""Tokens, roles, tenants: who gets in where, for every route that there is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from fiveobs.exceptions import BadInputError
from fiveobs.monitor.access import (
    ROLES,
    Access,
    create_first_token,
    create_token,
    list_tokens,
    revoke_token,
)
from fiveobs.monitor.api.access import OPEN_PATHS, FailureLimit
from fiveobs.monitor.api.app import create_app
from fiveobs.monitor.api.routes import role_of, routes_of
from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.settings import MonitorSettings
from fiveobs.monitor.store.engine import Store, open_store
from fiveobs.monitor.store.schema import tokens
from tests.support.asgi import WEBSOCKET, Answer, ask
from tests.support.journals import line, write_segment
from tests.support.stores import open_sqlite

#: Told nowhere but in jobs of tenant b.
SECRET = "only-b-may-read-this"
JOB_A, JOB_B = "job-of-a", "job-of-b"


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def write_jobs(home: Path, tenant: str, job_id: str, text: str) -> None:
    """A journal of tenant's project ``p`` with one job that has failed."""
    resource = {"fiveobs.tenant.id": tenant, "fiveobs.project.id": "p", "service.name": text}
    same = {"job_id": job_id, "job_name": text, "attempt": 1, "service": text, "session_id": text}
    failed = {"duration_s": 2.0, "error_type": text, "error_message": text}
    lines = (
        line(1, "worker.started", data={"resource": resource, "pid": 7}),
        line(2, "job.started", **same, data={"attributes": {"submitted_by": text}}),
        line(3, "log", **same, message=text, level="error"),
        line(4, "job.failed", **same, level="error", data=failed),
    )
    write_segment(home, f"host-{tenant}-7-1", 1, *lines)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    home = tmp_path_factory.mktemp("access")
    write_jobs(home, "a", JOB_A, "seen-by-a")
    write_jobs(home, "b", JOB_B, SECRET)
    opened = open_sqlite(home / "store.sqlite3")
    problems: list[str] = []
    ingester = Ingester(opened, home / "journal", report=lambda *texts: problems.append(str(texts)))
    while ingester.step():
        pass
    assert problems == []
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def app(store: Store) -> Any:
    settings = MonitorSettings(home=Path(), store_url="", failures_per_minute=1_000_000)
    return create_app(store, settings)


def token_of(store: Store, role: str, tenant: str | None = None, project: str | None = None) -> str:
    made = create_token(store, name=role, role=role, tenant_id=tenant, project_id=project)
    return made.token


# --- the matrix: every route, every role, tenants of one's own and others ----------------------


def methods_of(route: Any) -> list[str]:
    return sorted((route.methods or set()) - {"HEAD"}) if hasattr(route, "methods") else [WEBSOCKET]


def all_routes(app: Any) -> list[tuple[str, str, str | None]]:
    """Method, path and role of all that there is."""
    return [
        (method, route.path_format, role_of(route))
        for route in routes_of(app)
        for method in methods_of(route)
        if route.path not in OPEN_PATHS
    ]


def filled(path: str, tenant: str, project: str, other: str) -> str:
    """A path with its parameters."""
    path = path.replace("{tenantId}", tenant).replace("{projectId}", project)
    while "{" in path:
        start, end = path.index("{"), path.index("}")
        path = path[:start] + other + path[end + 1 :]
    return path


def asked(app: Any, method: str, path: str, token: str | None, **more: Any) -> Answer:
    body = b"{}" if method in ("POST", "PUT", "PATCH") else b""
    return ask(app, method, path, token=token, body=body, **more)


def test_every_route_says_what_role_it_needs(app: Any) -> None:
    """No route is without a role, save for those that answer anybody."""
    routes = all_routes(app)
    assert len(routes) >= 6
    assert [route for route in routes if route[2] is None] == []


def test_every_route_refuses_who_brings_no_good_token(app: Any, store: Store) -> None:
    """No token, a made-up one, a revoked one and one with a wrong secret: 401 on every route."""
    revoked = create_token(store, name="revoked", role="admin")
    revoke_token(store, revoked.token_id)
    good = token_of(store, "admin")
    for token in (None, "nonsense", "", revoked.token, f"{good[:-4]}AAAA"):
        for method, path, _role in all_routes(app):
            answer = asked(app, method, filled(path, "a", "p", JOB_A), token)
            assert answer.status == 401, (method, path, token)
            assert answer.headers["www-authenticate"].startswith("Bearer ")
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reaches_what_it_allows_and_nothing_above(app: Any, store: Store, role: str) -> None:
    """Each route refuses with 403 exactly the roles below the one that it names."""
    token = token_of(store, role, "a", "p")
    for method, path, needed in all_routes(app):
        answer = asked(app, method, filled(path, "a", "p", "no-such-thing"), token)
        assert needed is not None
        is_enough = ROLES.index(role) >= ROLES.index(needed)
        assert (answer.status != 403) == is_enough, (method, path, role, answer)
        assert answer.status != 401


@pytest.mark.parametrize("role", ROLES)
def test_a_tenant_sees_no_difference_between_anothers_and_nothing(
    app: Any, store: Store, role: str
) -> None:
    """Another tenant's project answers as one that there is not: same status, headers and words."""
    token = token_of(store, role, "a")
    for method, path, _role in all_routes(app):
        if "{tenantId}" not in path:
            continue
        theirs = asked(app, method, filled(path, "b", "p", JOB_B), token)
        nobodys = asked(app, method, filled(path, "z", "p", JOB_B), token)
        assert theirs.status == nobodys.status == 404, (method, path)
        assert theirs.body.replace(b"'b'", b"'z'") == nobodys.body
        assert theirs.headers == nobodys.headers


@pytest.mark.parametrize("role", ROLES)
def test_a_project_sees_nothing_of_its_tenants_other_projects(
    app: Any, store: Store, role: str
) -> None:
    """A token of one project is answered 404 for the tenant's others."""
    token = token_of(store, role, "a", "another")
    for method, path, _role in all_routes(app):
        if "{tenantId}" in path:
            answer = asked(app, method, filled(path, "a", "p", JOB_A), token)
            assert answer.status == 404, (method, path)


def queries_of(app: Any, path: str) -> Iterator[str]:
    """For each query parameter of a path, the values that lead to tenant b."""
    operation = app.openapi()["paths"].get(path, {}).get("get", {})
    for each in operation.get("parameters", ()):
        if each["in"] == "query":
            for value in (JOB_B, SECRET, "b", f"{JOB_A},{JOB_B}"):
                yield f"?{each['name']}={value}"


@pytest.mark.parametrize("role", ROLES)
def test_no_parameter_reaches_what_is_another_tenants(app: Any, store: Store, role: str) -> None:
    """Whatever id of tenant b is put into whichever parameter, nothing of b's comes back."""
    token = token_of(store, role, "a")
    for method, path, _role in all_routes(app):
        for query in ("", *queries_of(app, path)):
            url = filled(path, "a", "p", JOB_B) + query
            answer = asked(app, method, url, token)
            told = answer.body.replace(query.partition("=")[2].encode() or b"\0", b"")
            assert SECRET.encode() not in told, (method, url)
            if "{jobId}" in path and method in ("GET", WEBSOCKET) and not query:
                assert answer.status == 404, (method, url)


def test_the_owner_sees_the_job(app: Any, store: Store) -> None:
    """The checks above mean something: with a token of b's the same is answered."""
    token = token_of(store, "viewer", "b")
    path = f"/api/b/p/execution/job/{JOB_B}/logs?level=DEBUG"
    answer = ask(app, "GET", path, token=token)
    assert answer.status == 200
    assert SECRET in answer.body.decode()


def test_a_job_of_another_tenant_is_as_unknown_as_no_job(app: Any, store: Store) -> None:
    """Under one's own project, another tenant's job id and a made-up one read the same."""
    token = token_of(store, "admin", "a")
    base = "/api/a/p/execution/job"
    theirs = ask(app, "GET", f"{base}/{JOB_B}/progress", token=token)
    nobodys = ask(app, "GET", f"{base}/job-of-z/progress", token=token)
    assert theirs.status == nobodys.status == 404
    assert theirs.body.replace(b"job-of-b", b"job-of-z") == nobodys.body


# --- tokens ------------------------------------------------------------------------------------


def test_the_store_keeps_no_token(tmp_path: Path) -> None:
    """Neither the token nor its secret is anywhere in the database, only a SHA-256."""
    path = tmp_path / "store.sqlite3"
    opened = open_store(f"sqlite:///{path}")
    made = create_token(opened, name="ci", role="viewer")
    opened.close()
    secret = made.token.removeprefix(f"fiveobs_{made.token_id}_")
    assert len(secret) == 43  # 256 bits in base64
    dump = "\n".join(sqlite3.connect(path).iterdump())
    assert made.token_id in dump
    assert secret not in dump


def test_there_is_one_first_token(tmp_path: Path) -> None:
    """A store without tokens gets an admin's for all tenants; one with any gets none."""
    opened = open_sqlite(tmp_path / "store.sqlite3")
    first = create_first_token(opened)
    assert first is not None
    (row,) = list_tokens(opened)
    assert (row.role, row.tenant_id, row.project_id, row.is_first) == ("admin", None, None, True)
    assert create_first_token(opened) is None
    revoke_token(opened, first.token_id)
    assert create_first_token(opened) is None
    opened.close()


def test_a_revoked_token_lets_in_for_a_second_at_most(store: Store) -> None:
    """What is remembered of a token is looked up again after a second."""
    clock = Clock()
    access = Access(store, clock=clock)
    made = create_token(store, name="short", role="viewer")
    assert access.known(made.token) is None
    assert access.find(made.token) is not None
    revoke_token(store, made.token_id)
    assert access.known(made.token) is not None
    clock.now_s += 1.1
    assert access.known(made.token) is None
    assert access.find(made.token) is None
    assert not access.was_good(made.token)


def test_a_token_ends_when_it_expires(store: Store) -> None:
    """An expired token is refused, also one that was good a moment ago."""
    now = Clock()
    access = Access(store, now=now, clock=lambda: 0.0)
    made = create_token(store, name="expiring", role="viewer")
    with store.writing() as connection:
        found = update(tokens).where(tokens.c.token_id == made.token_id)
        connection.execute(found.values(expires_at_us=round((now.now_s + 5.0) * 1e6)))
    assert access.find(made.token) is not None
    assert access.known(made.token) is not None
    now.now_s += 5.0
    assert access.known(made.token) is None
    assert access.find(made.token) is None


def test_the_last_use_is_stored_when_it_is_asked_for(store: Store) -> None:
    """A request writes nothing; what was used is written together, later."""
    access = Access(store)
    made = create_token(store, name="used", role="viewer")
    assert access.find(made.token) is not None
    used = {row.token_id: row.used_at_us for row in list_tokens(store)}
    assert used[made.token_id] is None
    access.write_used()
    used = {row.token_id: row.used_at_us for row in list_tokens(store)}
    assert used[made.token_id] is not None


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"name": "", "role": "viewer"}, "name"),
        ({"name": "two\nlines", "role": "viewer"}, "name"),
        ({"name": "x", "role": "root"}, "viewer, operator, admin"),
        ({"name": "x", "role": "viewer", "project_id": "p"}, "tenant"),
        ({"name": "x", "role": "viewer", "tenant_id": " "}, "tenant"),
        ({"name": "x", "role": "viewer", "expires_at_us": 1}, "expires"),
    ],
)
def test_a_token_that_cannot_be_is_refused(
    store: Store, values: dict[str, Any], named: str
) -> None:
    """The error names what cannot be used and what would be valid."""
    with pytest.raises(BadInputError, match=named):
        create_token(store, **values)


@pytest.mark.parametrize(
    "token", ["", "fiveobs", "fiveobs__", "fiveobs_x_y", "other_1_2", "fiveobs_" + "x" * 10_000]
)
def test_what_is_no_token_belongs_to_nobody(store: Store, token: str) -> None:
    """Any text may come as a token."""
    assert Access(store).find(token) is None


# --- too many bad ones -------------------------------------------------------------------------


def test_an_address_with_many_bad_tokens_has_to_wait(store: Store) -> None:
    """Beyond the limit it is answered 429 with Retry-After; other addresses are not concerned."""
    app = create_app(store, MonitorSettings(home=Path(), store_url="", failures_per_minute=3))
    path = "/api/a/p/execution/tracking/batch"
    statuses = [ask(app, "GET", path, token=f"bad-{n}").status for n in range(4)]
    assert statuses == [401, 401, 401, 429]
    answer = ask(app, "GET", path, token="bad")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert ask(app, "GET", path, token="bad", client="203.0.113.8").status == 401
    assert ask(app, "GET", path).status == 401


def test_nobody_locks_out_the_owner_of_a_token_that_was_good(store: Store) -> None:
    """Behind one address, bad tokens of some hold up new ones, but none that was good before."""
    app = create_app(store, MonitorSettings(home=Path(), store_url="", failures_per_minute=1))
    path = "/api/a/p/execution/tracking/batch"
    old, new = token_of(store, "viewer", "a"), token_of(store, "viewer", "a")
    assert ask(app, "GET", path, token=old).status == 200
    assert ask(app, "GET", path, token="bad").status == 401
    assert ask(app, "GET", path, token=new).status == 429
    assert ask(app, "GET", path, token=old).status == 200


def test_failures_are_forgotten_after_a_minute() -> None:
    """The window ends, and a new one begins with the next failure."""
    clock = Clock()
    limit = FailureLimit(2, clock=clock)
    limit.failed("x")
    limit.failed("x")
    assert limit.wait_s("x") == pytest.approx(60.0)
    clock.now_s += 60.0
    assert limit.wait_s("x") == 0.0
    limit.failed("x")
    assert limit.wait_s("x") == 0.0


def test_failures_of_many_addresses_take_bounded_memory() -> None:
    """However many addresses fail, only the newest ten thousand are kept."""
    limit = FailureLimit(2)
    for number in range(12_000):
        limit.failed(str(number))
    assert len(limit) == 10_000


def test_addresses_of_one_ipv6_network_count_as_one(store: Store) -> None:
    """A host with a network of its own cannot go on under another of its addresses."""
    app = create_app(store, MonitorSettings(home=Path(), store_url="", failures_per_minute=1))
    path = "/api/a/p/execution/tracking/batch"
    assert ask(app, "GET", path, token="bad", client="2001:db8::1").status == 401
    assert ask(app, "GET", path, token="bad", client="2001:db8::2").status == 429
    assert ask(app, "GET", path, token="bad", client="2001:db8:0:1::1").status == 401


# --- where a token may come from ---------------------------------------------------------------


def test_a_token_in_the_url_is_not_read(app: Any, store: Store) -> None:
    """URLs are logged on their way, so a token in one is no token."""
    token = token_of(store, "viewer", "a")
    for name in ("token", "access_token", "ticket"):
        assert ask(app, "GET", f"/api/a/p/execution/tracking/batch?{name}={token}").status == 401


def test_a_websocket_may_bring_its_token_as_a_subprotocol(app: Any, store: Store) -> None:
    """Browsers cannot set headers there; the token is not sent back."""
    token = token_of(store, "viewer", "a")
    url = "/api/a/p/execution/events/ws"
    offered = {"sec-websocket-protocol": f"cloudevents.json, fiveobs.bearer.{token}"}
    assert ask(app, WEBSOCKET, url, headers=offered).status == 101
    wrong = {"sec-websocket-protocol": "cloudevents.json, fiveobs.bearer.bad"}
    assert ask(app, WEBSOCKET, url, headers=wrong).status == 401
    assert ask(app, WEBSOCKET, url).status == 401


def test_another_scheme_of_authorization_is_refused(app: Any, store: Store) -> None:
    """``Basic`` is no bearer token, whatever follows it."""
    token = token_of(store, "viewer", "a")
    path = "/api/a/p/execution/tracking/batch"
    assert ask(app, "GET", path, headers={"authorization": f"Basic {token}"}).status == 401
    assert ask(app, "GET", path, headers={"authorization": f"bearer {token}"}).status == 200


# --- who made them -----------------------------------------------------------------------------


def test_the_trail_has_tokens_for_those_whom_they_concern(app: Any, store: Store) -> None:
    """A project's admin sees who made its tokens; only who sees all projects sees the others."""
    made = {
        "everywhere": create_token(store, name="everywhere", role="admin"),
        "tenant": create_token(store, name="tenant", role="admin", tenant_id="a"),
        "project": create_token(store, name="project", role="admin", tenant_id="a", project_id="p"),
        "other": create_token(store, name="other", role="admin", tenant_id="b", project_id="p"),
    }
    seen = {}
    for name, token in made.items():
        tenant = "b" if name == "other" else "a"
        path = f"/api/{tenant}/p/execution/audit?limit=1000"
        entries = ask(app, "GET", path, token=token.token).content["entries"]
        shown = {each["target"] for each in entries if each["action"] == "token.create"}
        seen[name] = {each for each, token in made.items() if token.token_id in shown}
    assert seen == {
        "everywhere": {"everywhere", "tenant", "project"},
        "tenant": {"project"},
        "project": {"project"},
        "other": {"other"},
    }
