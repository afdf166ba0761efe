"""What is kept and for how long, over HTTP and in the terminal; and the monitor's own passes."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fiveobs.cli import main
from fiveobs.monitor.figures import Figures
from fiveobs.monitor.retention.policy import PARTS, Policy
from fiveobs.monitor.retention.service import Retention
from fiveobs.monitor.store.engine import default_url, open_store
from tests.support.asgi import ask
from tests.support.ingesting import rows
from tests.support.monitors import Monitor, monitor
from tests.support.retained import START_S, Past, at_day, everything
from tests.support.workers import until

PATH = "/api/t/p/execution"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def running(fiveobs_home: Path) -> Iterator[Monitor]:
    with monitor(fiveobs_home) as found:
        past = Past(found.store, fiveobs_home)
        for project_id in ("p", "q"):
            past.worker(f"t-{project_id}-1", "t", project_id)
            for number in range(5):
                job_id = f"{project_id}-{number}"
                past.job(job_id, at_s=number, took_s=1.0 + number, stem=f"t-{project_id}-1")
        past.take()
        yield found
        past.end()


def said(
    running: Monitor, path: str = PATH, token: str | None = None
) -> dict[str, tuple[str, str]]:
    answer = ask(running.app, "GET", f"{path}/retention", token=token or running.token)
    assert answer.status == 200, answer.body
    parts = answer.content["parts"]
    assert [each["part"] for each in parts] == [part.name for part in PARTS]
    return {each["part"]: (each["keep"], each["saidBy"]) for each in parts}


def put(running: Monitor, body: Any, token: str | None = None) -> Any:
    sent = json.dumps(body).encode()
    return ask(running.app, "PUT", f"{PATH}/retention", token=token or running.token, body=sent)


def test_a_project_says_how_long_it_keeps_things(running: Monitor) -> None:
    """And takes it back; what it says nothing of is as its tenant, or the monitor, says."""
    assert said(running)["logs"] == ("30d", "monitor")
    tenants = {"appliesTo": "tenant", "keep": {"logs": "2w", "errors": "1y"}}
    assert put(running, tenants).status == 200
    answer = put(running, {"keep": {"logs": "forever", "events": "40d"}})
    (logs,) = [each for each in answer.content["parts"] if each["part"] == "logs"]
    assert (logs["keep"], logs["keepSeconds"], logs["saidBy"]) == ("forever", None, "project")
    found = said(running)
    assert (found["events"], found["errors"]) == (("40d", "project"), ("365d", "tenant"))
    assert said(running, "/api/t/q/execution")["logs"] == ("14d", "tenant")
    put(running, {"keep": {"logs": None}})
    assert said(running)["logs"] == ("14d", "tenant")
    noted = rows(running.store, "audit", "action", "target", "outcome", "details")
    assert [each for each in noted if each[0] == "retention.set"][-1] == (
        *("retention.set", "t/p", "done"),
        {"logs": "default"},
    )


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"keep": {"logs": "30"}}, "logs"),
        ({"keep": {"logs": "0d"}}, "logs"),
        ({"keep": {"log": "30d"}}, "log"),
        ({"keep": {"logs": "30d\n"}}, "logs"),
        ({"keep": {}, "appliesTo": "all"}, "appliesTo"),
        ({}, "keep"),
    ],
)
def test_what_cannot_be_used_is_refused(running: Monitor, body: Any, names: str) -> None:
    """With its name; nothing is changed."""
    answer = put(running, body)
    assert answer.status == 422
    assert names in answer.body.decode()
    assert rows(running.store, "keeps") == []


def test_it_is_for_admins_of_what_it_is_about(running: Monitor) -> None:
    """An operator may neither read nor set it; an admin of one project not for its tenant."""
    operator = running.token_of("operator", tenant_id="t", project_id="p")
    admin = running.token_of("admin", tenant_id="t", project_id="p")
    assert ask(running.app, "GET", f"{PATH}/retention", token=operator).status == 403
    assert put(running, {"keep": {"logs": "9d"}}, operator).status == 403
    assert put(running, {"appliesTo": "tenant", "keep": {"logs": "9d"}}, admin).status == 403
    assert put(running, {"keep": {"logs": "9d"}}, admin).status == 200
    assert said(running, token=admin)["logs"] == ("9d", "project")
    other = "/api/t/q/execution/retention"
    assert ask(running.app, "GET", other, token=admin).status == 404


def test_the_history_has_what_has_gone(running: Monitor) -> None:
    """By hour and by day, of one project and as it is asked for."""
    Past(running.store, running.home).clean(200.0)
    viewer = running.token_of("viewer", tenant_id="t", project_id="p")

    def history(query: str = "") -> Any:
        answer = ask(running.app, "GET", f"{PATH}/history{query}", token=viewer)
        assert answer.status == 200, answer.body
        return answer.content

    (series,) = history()["series"]
    assert series["labels"] == {"job_name": "etl", "service": "s", "status": "completed"}
    (day,) = series["buckets"]
    assert (day["startTime"], day["count"], day["sum"]) == ("2026-01-02T00:00:00Z", 5, 15)
    assert (day["minimum"], day["mean"], day["maximum"]) == (1, 3, 5)
    assert day["p50"] == pytest.approx(3, rel=0.05)
    (hour,) = history("?interval=1h&service=s&jobName=etl")["series"][0]["buckets"]
    assert hour["startTime"] == "2026-01-02T03:00:00Z"
    assert history("?jobName=other")["series"] == []
    (measured,) = history("?metric=measure")["series"]
    assert measured["labels"]["name"] == "n"
    assert (measured["buckets"][0]["sum"], measured["buckets"][0]["p50"]) == (10, None)
    assert history("?toTime=2026-01-01T00:00:00Z")["series"][0]["buckets"] == []
    assert history("?fromTime=2026-01-02T00:00:00Z&limit=1")["series"][0]["buckets"] == [day]


# --- the terminal ---


@pytest.fixture
def old(fiveobs_home: Path) -> Iterator[Past]:
    """Jobs that ended long before now, whenever that is."""
    store = open_store(default_url(fiveobs_home))
    past = Past(store, fiveobs_home)
    past.job("a", at_s=-3_000 * 86_400.0)
    past.job("b", at_s=100_000 * 86_400.0)
    past.take()
    yield past
    past.end()
    store.close()


def test_a_dry_run_says_what_would_go(old: Past, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table and as JSON, with from when to when it is; nothing is changed."""
    before = everything(old.store)
    assert main(["retention", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "TENANT" in printed
    assert "rows would go" in printed
    assert main(["retention", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    by_table = {each["table"]: each for each in found["rows"]}
    assert (by_table["jobs"]["rows"], by_table["events"]["rows"]) == (1, 4)
    assert by_table["jobs"]["from"].startswith("2017-")
    assert everything(old.store) == before


def test_without_it_what_has_expired_goes(old: Past, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the rows that the dry run has named; a second time there is nothing."""
    main(["retention", "--dry-run", "--json"])
    counted = json.loads(capsys.readouterr().out)["rows"]
    assert main(["retention", "--json"]) == 0
    gone = json.loads(capsys.readouterr().out)["rows"]
    names = ("table", "part", "rows")
    of_jobs = [[each[name] for name in names] for each in gone if each["table"] != "aggregates"]
    assert sorted(of_jobs) == sorted([each[name] for name in names] for each in counted)
    assert old.jobs() == ["b"]
    assert main(["retention"]) == 0
    assert "nothing has expired" in capsys.readouterr().out


def test_the_environment_is_asked_how_long(
    old: Past, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what cannot be used is named: exit code 2."""
    monkeypatch.setenv("FIVEOBS_RETENTION_EVENTS", "forever")
    main(["retention"])
    assert old.jobs() == ["a", "b"]
    monkeypatch.setenv("FIVEOBS_RETENTION_EVENTS", "soon")
    capsys.readouterr()
    assert main(["retention"]) == 2
    assert "FIVEOBS_RETENTION_EVENTS is 'soon'" in capsys.readouterr().err


def test_the_commands_of_the_how_to_work(old: Past, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of them, in their order: they end with 0, and what has expired is gone."""
    page = (ROOT / "docs" / "howto" / "keep-the-store-small.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ fiveobs (.*)$", page, re.MULTILINE)
    assert len(commands) == 3
    assert [main(shlex.split(each)) for each in commands] == [0, 0, 0]
    assert "rows are gone" in capsys.readouterr().out
    assert old.jobs() == ["b"]


# --- the service ---


def test_the_monitor_cleans_at_its_start_and_says_so(old: Past) -> None:
    """The first pass comes at once; figures tell of it, and it ends when it is told to."""
    figures, stop = Figures(), threading.Event()
    service = Retention(old.store, Policy(), report=lambda *_: None)
    service.watch(figures)
    assert "last_run" not in figures.as_text()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    until(lambda: service.last_at_s is not None, timeout_s=20, what="a pass")
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert old.jobs() == ["b"]
    text = figures.as_text()
    assert 'fiveobs_monitor_retention_rows_total{table="jobs"} 1\n' in text
    assert "fiveobs_monitor_retention_last_run_timestamp_seconds 1" in text


def test_a_pass_that_fails_is_reported(old: Past) -> None:
    """And the service goes on: the next one is made when the store can be used again."""
    reports: list[tuple[str, str]] = []
    service = Retention(
        old.store, Policy(), report=lambda *what: reports.append(what), now=at_day(0.0)
    )
    with old.store.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE trimmed RENAME TO elsewhere")
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    until(lambda: reports, timeout_s=20, what="a report")
    stop.set()
    thread.join(20)
    assert reports[0][0] == "retention"
    assert "trimmed" in reports[0][1]
    with old.store.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO trimmed")
    assert service.step(threading.Event())
    assert service.last_at_s == START_S
