"""Whatever is asked, with whatever token: nothing fails, nothing is told or done to others.

``FIVEOBS_FUZZ_REQUESTS`` says how many requests are made up, ``FIVEOBS_FUZZ_SEED`` from which seed;
``make fuzz`` makes 100,000.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from fiveobs.monitor.api.document import operations
from fiveobs.monitor.store.auditing import MONITOR, audit_rows
from fiveobs.monitor.store.schema import projects
from tests.support.asgi import Answer, asked
from tests.support.fuzzing import Made, Maker
from tests.support.tenants import PROJECTS, Tenants, secret, tenants

REQUESTS = int(os.environ.get("FIVEOBS_FUZZ_REQUESTS", "3000"))
SEED = int(os.environ.get("FIVEOBS_FUZZ_SEED", "1"))
AT_ONCE = 8
#: So many requests get each route to do something. Few may not where it takes something in the
#: right state: routes that change something, and this one.
MANY, RARE = 20_000, {"socket_of_subscription"}
SECRETS = {place: secret(*place).encode() for place in PROJECTS}
PROBLEM = "application/problem+json"


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Tenants]:
    made = tenants(tmp_path)
    yield made
    made.store.close()


class Watch:
    """Judges every answer, and counts what was asked."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.statuses: Counter[int] = Counter()
        #: By operation: how often it did what it was asked for.
        self.done: Counter[str] = Counter()
        #: By project: how often its secret was told to somebody who may know it.
        self.told: Counter[tuple[str, str]] = Counter()

    def judge(self, made: Made, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        is_done = answer.status < 400
        if is_done:
            self.done[made.operation["operationId"]] += 1
        place = (made.tenant_id, made.project_id)
        for other, text in SECRETS.items():
            if text in answer.body:
                self.told[other] += 1
                if other != place or not made.holder.sees(*place):
                    self._say(made, answer, f"tells of {other}")
        if is_done and not made.is_allowed:
            self._say(made, answer, "is not allowed")
        if made.holder.role is None and answer.status != 401:
            self._say(made, answer, "came without a good token")
        if answer.status >= 500:
            self._say(made, answer, "failed")
        if not is_done and not _is_problem(answer):
            self._say(made, answer, "is refused without a problem")

    def _say(self, made: Made, answer: Answer, what: str) -> None:
        asked_by = f"{made.holder.name}: {made.method} {made.url} {made.body[:300]!r}"
        self.wrong.append(f"{what}: {asked_by} -> {answer.status} {answer.body[:300]!r}")


def _is_problem(answer: Answer) -> bool:
    if answer.headers.get("content-type") != PROBLEM:
        return False
    content = json.loads(answer.body)
    is_whole = content["title"] and content["detail"] and content["status"] == answer.status
    return bool(is_whole and (answer.status != 422 or content["errors"]))


async def ask_all(found: Tenants, watch: Watch) -> None:
    maker, left = Maker(found, SEED), iter(range(REQUESTS))

    async def ask_on() -> None:
        for _ in left:
            made = maker.make()
            answer = await asked(
                found.app,
                made.method,
                made.url,
                token=made.holder.token,
                headers=made.headers,
                body=made.body,
                listen_s=0.05,
            )
            watch.judge(made, answer)
            if answer.status == 201:
                maker.learn(made, answer.content)

    async with found.app.router.lifespan_context(found.app), asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(ask_on())


def test_made_up_requests_neither_fail_nor_leak(found: Tenants) -> None:
    """Tokens of every scope and role, or none, ask every route with ids and names of everybody."""
    watch = Watch()
    asyncio.run(ask_all(found, watch))
    sys.stdout.write(f"\nseed {SEED}: {REQUESTS} requests, {sorted(watch.statuses.items())}\n")
    assert watch.wrong == [], f"{len(watch.wrong)} of seed {SEED}:\n" + "\n".join(watch.wrong[:20])
    # What is looked for can be found: every route did something, and every secret was told to
    # those who may know it, over streams and WebSockets as well.
    methods = {operation["operationId"]: method for method, operation in _operations(found)}
    missing = methods.keys() - watch.done.keys() - {"enable_subscription"}  # none is ever disabled
    changing = {name for name, method in methods.items() if method.lower() != "get"}
    assert missing <= (RARE | changing if REQUESTS < MANY else set())
    assert watch.told.keys() == SECRETS.keys()
    _look_at_what_was_done(found)


def _operations(found: Tenants) -> Iterator[tuple[str, dict[str, str]]]:
    for path, method, operation in operations(found.app.openapi()):
        if path.startswith("/api/"):
            yield method, operation


def _look_at_what_was_done(found: Tenants) -> None:
    """In each project's audit trail there is nobody who may not do what they did there."""
    may = {each.name: each for each in found.holders if each.role in ("operator", "admin")}
    for key, place in _keys(found):
        actors = {row.actor for row in audit_rows(found.store, key, limit=1_000_000)}
        actors -= {secret(*place), MONITOR}  # who made the store, and what nobody asked for
        assert actors, place
        for actor in actors:
            assert may[actor].sees(*place), (place, actor)


def _keys(found: Tenants) -> Iterator[tuple[int, tuple[str, str]]]:
    with found.store.reading() as connection:
        wanted = select(projects.c.project_key, projects.c.tenant_id, projects.c.project_id)
        for key, tenant, project in connection.execute(wanted):
            yield key, (tenant, project)
