"""A store with the jobs of several tenants and projects, and tokens of every scope and role.

What only one project may tell is `secret` of it: it is in log lines, errors, stages, reasons and
webhooks, and nobody ever sends it. Ids and names are what anybody may ask with.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update

from fiveobs.monitor.access import ROLES, create_token, revoke_token
from fiveobs.monitor.api.app import create_app
from fiveobs.monitor.control import Control, Requester
from fiveobs.monitor.ingest.ingester import Ingester
from fiveobs.monitor.rules import stored as ruled
from fiveobs.monitor.settings import MonitorSettings
from fiveobs.monitor.store.engine import Store
from fiveobs.monitor.store.schema import (
    deliveries,
    events,
    expectations,
    firings,
    projects,
    tokens,
)
from fiveobs.monitor.webhooks import subscriptions
from fiveobs.monitor.webhooks.guard import Guard
from fiveobs.monitor.webhooks.sending import Sender
from tests.support.journals import line, write_segment
from tests.support.stores import open_sqlite

__all__ = ["PROJECTS", "SCOPES", "Holder", "Tenants", "job_ids", "names", "secret", "tenants"]

PROJECTS = (("a", "p"), ("a", "q"), ("b", "p"), ("default", "default"))
#: Whose a token may be; ``None`` is all.
SCOPES = ((None, None), ("a", None), ("a", "p"), ("a", "q"), ("b", "p"), ("default", "default"))


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who sends a token, and what it may do; without a role it is no good."""

    token: str | None
    name: str
    role: str | None = None
    tenant_id: str | None = None
    project_id: str | None = None

    def sees(self, tenant_id: str, project_id: str) -> bool:
        return (
            self.role is not None
            and self.tenant_id in (None, tenant_id)
            and self.project_id in (None, project_id)
        )


@dataclass(frozen=True, kw_only=True)
class Tenants:
    """What was made."""

    store: Store
    app: Any
    holders: list[Holder]
    #: By project.
    subscription_ids: dict[tuple[str, str], list[str]]
    rule_ids: dict[tuple[str, str], list[str]]


def secret(tenant: str, project: str) -> str:
    """What nobody else may read, and nobody sends."""
    return f"only-{tenant}.{project}-knows"


def job_ids(tenant: str, project: str) -> list[str]:
    """Its jobs: running, waiting and failed; the last has the same id in every project."""
    return [f"{tenant}.{project}/{kind}" for kind in ("runs", "waits", "failed")] + ["same,id"]


def names(tenant: str, project: str) -> list[str]:
    """Its service, kind of job, session and user."""
    return [f"{what}-{tenant}-{project}" for what in ("service", "name", "session", "user")]


def tenants(home: Path) -> Tenants:
    """Make all of it; who asked for it closes the store."""
    for tenant, project in PROJECTS:
        _write(home, tenant, project)
    store = open_sqlite(home / "store.sqlite3")
    problems: list[str] = []
    ingester = Ingester(store, home / "journal", report=lambda *texts: problems.append(str(texts)))
    while ingester.step():
        pass
    assert problems == []
    settings = MonitorSettings(home=home, store_url="", failures_per_minute=1_000_000)
    app = create_app(store, settings)
    # Names that somebody makes up lead nowhere.
    app.state.sender = Sender(Guard(resolver=lambda _host, _port: ()))
    made = {each: _subscriptions(store, home, *each) for each in PROJECTS}
    rules = {each: _rules(store, *each) for each in PROJECTS}
    holders = _holders(store)
    return Tenants(store=store, app=app, holders=holders, subscription_ids=made, rule_ids=rules)


def _write(home: Path, tenant: str, project: str) -> None:
    own, told = job_ids(tenant, project), secret(tenant, project)
    service, name, session, user = names(tenant, project)
    theirs = next(job_ids(*each)[0] for each in PROJECTS if each != (tenant, project))
    resource = {"fiveobs.tenant.id": tenant, "fiveobs.project.id": project, "service.name": service}
    attributes = {"submitted_by": user, "note": told}
    lines = [line(1, "worker.started", data={"resource": resource, "pid": 7, "cpu_count": 2})]

    def say(job_id: str, event_type: str, **more: Any) -> None:
        same = {"job_name": name, "service": service, "session_id": session, "attempt": 1}
        same |= {"span_id": f"{len(lines):016x}", "message": told}
        lines.append(line(len(lines) + 1, event_type, job_id=job_id, **same, **more))

    for job_id in (own[0], own[2], own[3]):
        needs = {theirs: told, own[1]: told}
        say(
            job_id,
            "job.started",
            parent_job_id=theirs,
            data={"attributes": attributes} | {"depends_on": needs, "stages": [told]},
        )
        say(job_id, "stage.started", data={"stage": told, "index": 1})
        say(job_id, "resource.allocated", data={"resource": told, "resource_name": told})
        say(job_id, "log", level="error", data={"component": told})
    say(own[1], "job.received", data={"attributes": attributes, "depends_on": {theirs: told}})
    failed = {"status": "failed", "duration_s": 2.0, "error": {"type": told, "message": told}}
    say(own[2], "job.failed", level="error", data=failed)
    write_segment(home, f"host.{tenant}.{project}-7-1", 1, *lines)


def _subscriptions(store: Store, home: Path, tenant: str, project: str) -> list[str]:
    """A webhook with a delivery that has failed, a WebSocket, and a reason in the audit trail."""
    told, now_us = secret(tenant, project), round(time.time() * 1e6)
    with store.writing() as connection:
        wanted = select(projects.c.project_key).filter_by(tenant_id=tenant, project_id=project)
        key = connection.execute(wanted).scalar_one()
        made = [
            subscriptions.create(
                connection,
                project_key=key,
                job_key=None,
                kind=kind,
                url=f"https://hooks.invalid/{told}" if kind == "webhook" else None,
                events=["error"],
                filters={},
                authentication=None,
                secret="whsec_AAAA" if kind == "webhook" else None,
                created_by=told,
                now_us=now_us,
                expires_at_us=now_us + 10**12,
            )
            for kind in ("webhook", "websocket")
        ]
        wanted = select(events.c.event_key).where(events.c.project_key == key).limit(1)
        event_key = connection.execute(wanted).scalar_one()
        values = {"event_key": event_key, "status": "dead", "created_at_us": now_us}
        values |= {"subscription_key": made[0].subscription_key, "last_error": told}
        connection.execute(insert(deliveries).values(values))
    who = Requester(key, tenant, project, told, "t")
    Control(store, home).ask(who, job_ids(tenant, project)[0], "pause", told)
    return [row.subscription_id for row in made]


def _rules(store: Store, tenant: str, project: str) -> list[str]:
    """A rule that has given up something, and awaits something."""
    told = secret(tenant, project)
    emit = {"emit": {"type": "log", "message": told}}
    expect = {"event": "job.completed", "within": "1h"}
    with store.writing() as connection:
        wanted = select(projects.c.project_key).filter_by(tenant_id=tenant, project_id=project)
        key = connection.execute(wanted).scalar_one()
        row = ruled.create(
            connection,
            project_key=key,
            name=f"rule of {told}",
            is_enabled=True,
            definition={"on": ["job.failed"], "expect": expect, "then": [emit]},
            created_by=told,
            now_us=1,
        )
        wanted = select(events.c.event_key).where(events.c.project_key == key).limit(1)
        same = {"rule_key": row.rule_key, "project_key": key, "chain": [row.rule_id]}
        same["event_key"] = connection.execute(wanted).scalar_one()
        times = {"cause_at_us": 1, "created_at_us": 1, "ended_at_us": 1}
        firing = {"firing_id": f"fire of {told}", "action": "emit", "action_index": 0}
        given_up = {"status": "dead", "last_error": told}
        connection.execute(insert(firings).values({**same, **times, **firing, **given_up}))
        until = {"from_us": 1, "deadline_us": 2**60, "status": "open", "correlation": told}
        connection.execute(insert(expectations).values({**same, **until}))
    return [row.rule_id]


def _holders(store: Store) -> list[Holder]:
    """Every scope with every role, and those whose tokens are no good."""
    found = []
    for tenant, project in SCOPES:
        for role in ROLES:
            name = f"{role} of {tenant}/{project}"
            scope = {"tenant_id": tenant, "project_id": project}
            made = create_token(store, name=name, role=role, **scope)
            found.append(Holder(token=made.token, name=name, role=role, **scope))
    revoked, expired = (create_token(store, name=name, role="admin") for name in ("gone", "over"))
    revoke_token(store, revoked.token_id)
    with store.writing() as connection:
        ended = update(tokens).where(tokens.c.token_id == expired.token_id)
        connection.execute(ended.values(expires_at_us=1))
    bad = {"none": None, "revoked": revoked.token, "expired": expired.token, "made up": "x"}
    bad["wrong secret"] = f"{(found[0].token or '')[:-4]}AAAA"
    return found + [Holder(token=token, name=name) for name, token in bad.items()]
