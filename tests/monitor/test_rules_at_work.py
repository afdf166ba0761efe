"""Rules as users have them: applied in the terminal, acted on by ``fiveobs serve``, real jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fiveobs.client import Client
from tests.support.hooks import HookReceiver, is_signed
from tests.support.serving import Serving, serving
from tests.support.workers import until

JOB = """
import sys
from fiveobs import current_job, observe_job

@observe_job("nightly-report", service="reports", job_id=sys.argv[1], session_id=sys.argv[2])
def work():
    current_job().milestone("rows loaded", rows=128)

work()
"""
#: A package of somebody's, as it is installed: what rules may call, by entry point.
PACKAGE = """
import os, subprocess, sys

def note(firing):
    with open(os.environ["NOTES"], "a", encoding="utf-8") as file:
        file.write(f"{firing.event.job_id} {firing.parameters['rows']} {firing.idempotency_key}\\n")

def start(launch):
    code = (
        "import json, sys; from fiveobs import observe_job\\n"
        "with observe_job('follow-up', service='reports', carrier=json.loads(sys.argv[1])): pass"
    )
    import json
    subprocess.run([sys.executable, "-c", code, json.dumps(dict(launch.carrier))], check=True)
"""
ENTRY_POINTS = (
    "[fiveobs.processors]\nnote = theirs:note\n[fiveobs.launchers]\nstart = theirs:start\n"
)
RULES = """
rules:
  - name: tell-about-reports
    on: job.completed
    where: {{service: reports, job_name: nightly-report}}
    then:
      - webhook: {{url: "{url}"}}
      - launch: {{launcher: start}}
  - name: note-rows
    on: job.milestone
    then:
      - process: {{processor: note, parameters: {{rows: "{{event.data.rows}}"}}}}
  - name: no-acknowledgement
    on: job.completed
    where: {{job_name: nightly-report}}
    expect: {{event: service.health_changed, same: session, within: 1s}}
    then:
      - emit:
          type: state.changed
          level: warning
          message: "{{event.job_id}} was not acknowledged"
          data: {{entity: report, to_state: overdue}}
"""


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Serving]:
    theirs = tmp_path / "site"
    info = theirs / "theirs-1.0.dist-info"
    info.mkdir(parents=True)
    (theirs / "theirs.py").write_text(PACKAGE, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    path = os.pathsep.join(filter(None, (str(theirs), os.environ.get("PYTHONPATH"))))
    with serving(
        PYTHONPATH=path,
        NOTES=str(tmp_path / "notes"),
        FIVEOBS_WEBHOOK_ALLOWED_NETWORKS="127.0.0.0/8",
    ) as found:
        yield found
        assert found.stop() == 0
        assert "Traceback" not in found.said


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "fiveobs", *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)


def run_job(job_id: str) -> None:
    subprocess.run([sys.executable, "-c", JOB, job_id, "session-7"], check=True, timeout=60)


def test_what_a_rule_says_is_done_for_a_real_job(monitor: Serving, tmp_path: Path) -> None:
    """The webhook arrives, signed; the job's log says so; processor and launcher are called."""
    file = tmp_path / "rules.yaml"
    with HookReceiver() as hook, Client() as client:
        file.write_text(RULES.format(url=hook.endpoint), encoding="utf-8")
        run_job("before")  # so that the project is there
        until(lambda: command("rules", "list").returncode == 0, timeout_s=30, what="the project")
        done = command("rules", "apply", str(file), "--json")
        assert done.returncode == 0, done.stderr
        secrets = {each["name"]: each["secret"] for each in json.loads(done.stdout)}
        run_job("report-1")
        hook.wait_for(lambda receiver: len(receiver.seen) >= 1, timeout_s=30)
        (request,) = hook.seen
        body = json.loads(request.body)
        assert is_signed(request, secrets["tell-about-reports"])
        assert (body["subject"], body["type"]) == ("report-1", "fiveobs.job.completed")

        def said() -> dict[str, str]:
            entries = client.logs("report-1", level="DEBUG").logs
            return {each.message: each.level for each in entries}

        overdue = "report-1 was not acknowledged"
        wanted = {
            "rule tell-about-reports: webhook done",
            "rule tell-about-reports: launch done",
            "rule note-rows: process done",
            "rule no-acknowledgement: emit done",
            overdue,
        }
        until(lambda: said().keys() >= wanted, timeout_s=60, what=f"{wanted} in the job's log")
        assert said()[overdue] == "WARN"
        notes = (tmp_path / "notes").read_text(encoding="utf-8").splitlines()
        assert [each.rpartition(" ")[0] for each in notes] == ["report-1 128"]
        (launch,) = [
            each
            for each in client.firings(rule_id(client, "tell-about-reports")).firings
            if each.action == "launch"
        ]
        assert launch.started_job_id is not None
        started = until(
            lambda: [each for each in client.jobs().jobs if each.job_id == launch.started_job_id],
            timeout_s=30,
            what="the job that was started",
        )
        assert (started[0].job_name, started[0].status) == ("follow-up", "Completed")
        graph = client.dependencies(launch.started_job_id).dependency_graph
        edges = {(each.from_, each.to, each.type) for each in graph.edges}
        assert ("report-1", launch.started_job_id, "parent") in edges


def rule_id(client: Client, name: str) -> str:
    return next(each.rule_id for each in client.rules().rules if each.name == name)


def test_a_killed_monitor_goes_on_with_what_was_to_be_done(
    fiveobs_home: Path, tmp_path: Path
) -> None:
    """What was awaited when it was killed is acted on by the next one, once."""
    file = tmp_path / "rules.yaml"
    file.write_text(
        "name: unanswered\non: job.completed\nwhere: {job_name: nightly-report}\n"
        "expect: {event: service.health_changed, same: session, within: 5s}\n"
        "then: [{emit: {type: log, message: 'nobody answered {event.job_id}'}}]\n",
        encoding="utf-8",
    )
    with serving() as first, Client() as client:
        run_job("before")
        until(lambda: command("rules", "list").returncode == 0, timeout_s=30, what="the project")
        assert command("rules", "apply", str(file)).returncode == 0
        found = rule_id(client, "unanswered")
        run_job("report-2")
        until(lambda: client.expectations(found).expectations, timeout_s=30, what="it is awaited")
        first.process.kill()
        first.process.wait()
    with serving(), Client() as client:
        until(
            lambda: [e.status for e in client.firings(found).firings] == ["done"],
            timeout_s=60,
            what="the rule's action",
        )
        assert [each.status for each in client.expectations(found).expectations] == ["missed"]
        until(
            lambda: (
                [
                    each.message
                    for each in client.logs("report-2").logs
                    if each.message == "nobody answered report-2"
                ]
                == ["nobody answered report-2"]
            ),
            timeout_s=30,
            what="the line in the job's log",
        )
