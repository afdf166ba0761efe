"""The reference pages name every event type, instrument and public name, and no other."""

from __future__ import annotations

import inspect
import json
import re
import runpy
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fiveobs
from fiveobs import JobStatus, observe_job
from fiveobs._config import load_config
from fiveobs.journal.records import is_metric
from fiveobs.tracks import _observations, metrics
from fiveobs.tracks._sums import Instrument
from fiveobs.types import Accounting
from tests.support.journals import line

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


@cache
def generator() -> dict[str, Any]:
    return runpy.run_path(str(REFERENCE / "generate.py"))


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def headings(name: str) -> list[str]:
    return re.findall(r"^## `([^`]+)`$", page(name), re.MULTILINE)


@pytest.mark.parametrize(
    "name", ["configuration.md", "events.md", "metrics.md", "api.md", "http-api.md", "export.md"]
)
def test_a_page_is_what_the_generator_makes(name: str) -> None:
    """Nobody has to remember to run the generator: this fails until it was run."""
    assert page(name) == generator()["PAGES"][name]()


def test_every_event_type_is_on_its_page() -> None:
    """The page has a section for each type in the schema and for no other."""
    schema = json.loads(files("fiveobs").joinpath("journal/schema.json").read_bytes())
    assert headings("events.md") == schema["properties"]["event_type"]["enum"]


def test_every_ending_is_an_event_type() -> None:
    """Each final status of a job has its event on the page."""
    assert {f"job.{each.value}" for each in JobStatus if each.is_final} <= set(
        headings("events.md")
    )


def test_every_instrument_is_on_its_page() -> None:
    """The page has a row for each instrument that is defined and for no other."""
    rows = re.findall(r"^\| `([a-z][\w.]*)` \|", page("metrics.md"), re.MULTILINE)
    defined = {
        value.name
        for module in (metrics, _observations)
        for value in vars(module).values()
        if isinstance(value, Instrument)
    }
    assert len(rows) == len(set(rows))
    assert set(rows) == defined


def test_the_spec_s_metric_names_are_on_the_page() -> None:
    """The Prometheus names are those that were asked for."""
    asked = {
        *("jobs_processed_total", "errors_total", "jobs_active", "queue_size"),
        *("job_duration_seconds", "job_queue_wait_seconds", "job_stage_duration_seconds"),
    }
    assert asked <= set(re.findall(r"`(\w+)`", page("metrics.md")))


def test_every_public_name_is_on_its_page() -> None:
    """The page has a section for each public name, with each public method."""
    listed = headings("api.md")
    assert listed[: len(fiveobs.__all__)] == fiveobs.__all__
    text = page("api.md")
    for name in fiveobs.__all__:
        value = getattr(fiveobs, name)
        if inspect.isclass(value):
            section = text.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
            members = [each for each in vars(value) if not each.startswith("_")]
            methods = [each for each in members if inspect.isfunction(getattr(value, each))]
            assert [
                each for each in methods if f"`{each}(" not in section.replace("async ", "")
            ] == []


def test_the_attributes_on_the_page_exist() -> None:
    """What the page says can be read on a job can be read on a job."""
    with observe_job("read") as job:
        assert [name for name in generator()["JOB_ATTRIBUTES"] if not hasattr(job, name)] == []
    fiveobs.shutdown(0)


# --- labels ------------------------------------------------------------------------------------


class Measured:
    """Keeps the labels of what is measured."""

    def __init__(self) -> None:
        self.labels: dict[str, set[tuple[str, ...]]] = {}

    def note(self, instrument: Instrument, labels: Any, *rest: Any) -> None:
        self.labels.setdefault(instrument.name, set()).add(tuple(name for name, _ in labels))

    add = set = record = note


class Nvml:
    """Stands in for a machine with one GPU."""

    NVMLError = RuntimeError

    def __getattr__(self, name: str) -> Any:
        answers = {"Count": 1, "Name": "gpu", "Temperature": 50, "PowerUsage": 1000}
        figures = SimpleNamespace(gpu=50, used=1, total=2)
        found = next((each for part, each in answers.items() if name.endswith(part)), figures)
        return lambda *_: found


def job_lines() -> Iterator[bytes]:
    fields = {"service": "s", "job_name": "n"}
    yield line(1, "job.received", **fields)
    yield line(2, "job.started", data={"queue": "q", "queue_wait_s": 1.0}, **fields)
    yield line(3, "stage.completed", data={"stage": "Load", "duration_s": 1.0}, **fields)
    yield line(4, "job.failed", data={"duration_s": 1.0, "error": {"type": "E"}}, **fields)


def test_the_labels_on_the_page_are_those_that_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each instrument is measured with exactly the labels that the page lists."""
    measured = Measured()
    monkeypatch.setattr(_observations, "_nvml", Nvml)
    monkeypatch.setattr(_observations, "queue_sizes", lambda: {"q": 1.0})
    destination = metrics.MetricsDestination(load_config({}, {}, strict=True), {}, lambda: ())
    destination._application = measured
    lines = list(job_lines())
    assert [is_metric(each) for each in lines] == [True] * len(lines)
    assert destination.ship(lines, 1.0, {}) == 0
    sums = {"events": Accounting(1, 1, 0, 0)}
    for observation in _observations.observations(["s"], set(), sums, 1.0, {"traces": 1}):
        measured.note(*observation)
    listed = generator()["LABELS"]
    found = {name: labels for name, (labels, *_) in ((n, [*v]) for n, v in measured.labels.items())}
    assert found == {name: listed.get(name, ()) for name in found}
    assert set(listed) <= set(found)
