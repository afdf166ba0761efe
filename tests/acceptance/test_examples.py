"""Every example, run as a user runs it; what it shows is looked up at the receiving end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.programs import ROOT, run_example
from tests.support.receivers import ForwardReceiver, OtlpReceiver, SentryReceiver

EXAMPLES = sorted(
    path.name for path in (ROOT / "examples").glob("*.py") if not path.name.startswith("_")
)


class Destinations(NamedTuple):
    """One receiver per kind, and the variables that lead there."""

    otlp: OtlpReceiver
    forward: ForwardReceiver
    sentry: SentryReceiver

    @property
    def variables(self) -> dict[str, str]:
        return {
            "FLUENT_BIT_HOST": "127.0.0.1",
            "FLUENT_BIT_PORT": str(self.forward.port),
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.otlp.endpoint,
            "SENTRY_DSN": self.sentry.dsn,
        }

    def run(self, name: str, *arguments: str, code: int = 0) -> str:
        return run_example(name, *arguments, code=code, **self.variables)

    def events(self, event_type: str) -> list[dict[str, Any]]:
        """The events of a type that the log receiver holds, repeats left out."""
        records = {record["id"]: record for _tag, _time, record in self.forward.records}
        return [each for each in records.values() if each["event_type"] == event_type]

    def job_spans(self, job_name: str) -> list[dict[str, Any]]:
        """The spans of a kind of job, without those of its stages."""
        spans = {span["span_id"]: span for span in self.otlp.spans}
        return [span for span in spans.values() if span["name"] == job_name]

    def check_ins(self) -> list[dict[str, Any]]:
        return [item.payload for item in self.sentry.items if item.type == "check_in"]


@pytest.fixture
def destinations() -> Iterator[Destinations]:
    with (
        OtlpReceiver(with_grpc=False) as otlp,
        ForwardReceiver() as forward,
        SentryReceiver() as sentry,
    ):
        yield Destinations(otlp, forward, sentry)


def found_id(output: str) -> str:
    """The id that an example says to look for next."""
    match = re.search(r"fiveobs find (\S+)", output)
    assert match is not None, output
    return match[1]


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "demo.py"])
def test_runs_without_any_destination(name: str, fiveobs_home: Path, tmp_path: Path) -> None:
    """Each example ends well with nothing configured, says what is next, and leaves a journal."""
    has_queue = name in ("producer.py", "consumer.py")
    arguments = ["--queue", str(tmp_path / "queue")] if has_queue else []
    if name == "consumer.py":
        run_example("producer.py", "--no-consumer", *arguments)
        arguments += ["--idle", "0.2"]
    output = run_example(name, *arguments)
    assert "look next" in output.lower() or name == "consumer.py"
    journals = list((fiveobs_home / "journal").glob("*.log"))
    assert journals
    assert not list((fiveobs_home / "journal").glob("*.cursor"))


def test_readme_lists_every_example() -> None:
    """The table in examples/README.md has all examples and nothing else."""
    text = (ROOT / "examples" / "README.md").read_text()
    assert sorted(re.findall(r"^\| \[`(\w+\.py)`\]", text, re.MULTILINE)) == EXAMPLES


def test_bare_script_has_a_child_job(destinations: Destinations) -> None:
    """The inner function's job is a child of the outer one's, in the same trace."""
    output = destinations.run("bare_script.py", str(ROOT / "tests"))
    (outer,) = destinations.job_spans("find-duplicates")
    (inner,) = destinations.job_spans("report")
    assert outer["attributes"]["job.id"] == found_id(output)
    assert inner["trace_id"] == outer["trace_id"]
    assert inner["parent_span_id"] == outer["span_id"]
    assert destinations.otlp.metric_totals["files.hashed"] > 50


def test_threads_belong_to_the_submitting_job(destinations: Destinations) -> None:
    """Every file compressed in a thread is a child of the folder's job."""
    output = destinations.run("thread_pool.py", "--files", "12")
    (folder,) = destinations.job_spans("compress-folder")
    files = destinations.job_spans("compress-file")
    assert len(files) == 12
    assert {span["trace_id"] for span in files} == {folder["trace_id"]} == {found_id(output)}
    assert {span["parent_span_id"] for span in files} == {folder["span_id"]}


def test_asyncio_cancels_what_hangs(destinations: Destinations) -> None:
    """The job that hangs ends as cancelled and is no error; the others complete."""
    output = destinations.run("asyncio_worker.py")
    (cancelled,) = destinations.events("job.cancelled")
    assert cancelled["request_id"] == found_id(output) == "get-never-answers"
    completed = destinations.events("job.completed")
    assert len(completed) > 20
    assert len({event["trace_id"] for event in completed}) == len(completed)
    assert not destinations.sentry.events


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pool_is_one_trace(destinations: Destinations, method: str) -> None:
    """Forked or spawned, the children's jobs are in the parent's trace, and none is lost."""
    output = destinations.run("process_pool.py", "--start-method", method)
    received = {event["job_id"] for event in destinations.events("job.received")}
    done = [
        event
        for event in destinations.events("job.completed")
        if event["job_name"] == "count-tokens"
    ]
    assert {event["job_id"] for event in done} == received
    assert {event["trace_id"] for event in done} == {found_id(output)}
    (parent,) = destinations.job_spans("count-library")
    assert parent["attributes"]["worker.id"] not in {event["worker_id"] for event in done}
    assert len(destinations.job_spans("count-tokens")) == len(done) == 8


def test_queue_carries_the_ids(destinations: Destinations, tmp_path: Path) -> None:
    """Producer and consumer are two processes with one trace and the same job ids."""
    output = destinations.run("producer.py", "--files", "3", "--queue", str(tmp_path / "queue"))
    (plan,) = destinations.job_spans("plan-outlines")
    outlines = destinations.job_spans("outline")
    assert {span["trace_id"] for span in outlines} == {plan["trace_id"]} == {found_id(output)}
    assert {span["kind"] for span in outlines} == {"CONSUMER"}
    workers = {span["attributes"]["worker.id"] for span in outlines}
    assert plan["attributes"]["worker.id"] not in workers
    announced = {event["job_id"] for event in destinations.events("job.received")}
    assert {span["attributes"]["job.id"] for span in outlines} == announced


def test_queue_wait_is_known(destinations: Destinations, tmp_path: Path) -> None:
    """What a job has waited between the two processes is in its first event and in a metric."""
    destinations.run("producer.py", "--files", "3", "--queue", str(tmp_path / "queue"))
    started = [
        event for event in destinations.events("job.started") if event["job_name"] == "outline"
    ]
    assert len(started) == 5
    assert all(event["data"]["queue_wait_s"] > 0 for event in started)
    assert destinations.otlp.metric_totals["job.queue.wait"] == len(started)


def test_second_attempt_keeps_the_job_id(destinations: Destinations, tmp_path: Path) -> None:
    """The file that is not there is tried twice under one job id, and both errors are reported."""
    destinations.run("producer.py", "--files", "1", "--queue", str(tmp_path / "queue"))
    failed = destinations.events("job.failed")
    assert sorted(event["attempt"] for event in failed) == [1, 2]
    assert len({event["job_id"] for event in failed}) == 1
    traces = {event["contexts"]["trace"]["trace_id"] for event in destinations.sentry.events}
    assert traces == {event["trace_id"] for event in failed}
    assert len(destinations.sentry.events) == 2


@pytest.mark.parametrize(("arguments", "status"), [((), "ok"), (("--fail",), "error")])
def test_cron_checks_in(
    destinations: Destinations, arguments: tuple[str, ...], status: str
) -> None:
    """A check-in tells that the job runs, and a second one, with its id, how it ended."""
    destinations.run("cron_job.py", *arguments, code=0 if status == "ok" else 1)
    first, last = destinations.check_ins()
    assert (first["status"], last["status"]) == ("in_progress", status)
    assert first["check_in_id"] == last["check_in_id"]
    assert {first["monitor_slug"], last["monitor_slug"]} == {"nightly-backup"}
    assert len(destinations.sentry.events) == (status == "error")


def test_gpu_job_leaves_figures(destinations: Destinations) -> None:
    """The rate, the duration of each product and the device's figures arrive as metrics."""
    destinations.run("gpu_figures.py", "--size", "16", "--rounds", "5")
    totals = destinations.otlp.metric_totals
    assert totals["multiplication.duration"] == 5
    assert totals["multiplication.rate"] > 0
    assert totals.get("process.memory.used") or totals.get("gpu.memory.used")
    assert destinations.events("resource.allocated")
    assert destinations.events("resource.released")
