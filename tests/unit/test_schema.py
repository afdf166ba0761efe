"""Journal lines and CloudEvents are as their schemas say."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from fiveobs import JobEvent
from fiveobs.journal.records import NOT_EVENTS

ROOT = Path(__file__).resolve().parents[2]
SCHEMA: dict[str, Any] = json.loads(files("fiveobs").joinpath("journal/schema.json").read_bytes())
TYPES: list[str] = SCHEMA["properties"]["event_type"]["enum"]
#: Concluded from outside; no worker records it.
NOT_RECORDED = {"job.lost"}
#: The beginning of every line, by which tracks pick theirs without parsing.
FIRST_KEYS = ["id", "seq", "timestamp", "event_type"]

#: What CloudEvents 1.0 asks of an event in JSON, as far as it concerns ours.
CLOUDEVENT = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "pattern": r"^[A-Za-z0-9/._~%:@!$&'()*+,;=?#\[\]-]+$"},
        "type": {"type": "string", "pattern": r"^fiveobs\."},
        "subject": {"type": "string", "minLength": 1},
        "time": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$"},
        "datacontenttype": {"const": "application/json"},
        "traceparent": {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"},
        "data": {"type": "object"},
    },
    "propertyNames": {"pattern": "^[a-z0-9]{1,20}$"},
    "additionalProperties": False,
}


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema, format_checker=FormatChecker())


def problems(schema: dict[str, Any], value: object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator(schema).iter_errors(value)]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Everything that one worker recorded which does all there is to do."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        "PATH": os.environ["PATH"],
        "FIVEOBS_HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        # Nobody answers there: what the worker records stays in the journal.
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "SENTRY_DSN": "http://key@127.0.0.1:9/1",
    }
    command = [sys.executable, "-m", "tests.support.every_event"]
    subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=60, capture_output=True)
    found = [path.read_bytes() for path in sorted((home / "journal").glob("*.log"))]
    return b"".join(found).splitlines()


@pytest.fixture(scope="module")
def records(lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_the_schema_is_one() -> None:
    """The package's schema is a JSON Schema, and every type of record has a definition in it."""
    Draft202012Validator.check_schema(SCHEMA)
    assert [name for name in SCHEMA["$defs"] if name in TYPES] == TYPES
    assert {each.decode() for each in NOT_EVENTS} <= set(TYPES)


def test_every_type_is_recorded(records: list[dict[str, Any]]) -> None:
    """The worker of these tests records every type in the schema, but what workers never record."""
    assert {record["event_type"] for record in records} == set(TYPES) - NOT_RECORDED


def test_every_line_fits_the_schema(records: list[dict[str, Any]]) -> None:
    """Each line that the public functions make is as the schema says."""
    found = {record["id"]: problems(SCHEMA, record) for record in records}
    assert {name: each for name, each in found.items() if each} == {}


def test_every_described_field_is_made(records: list[dict[str, Any]]) -> None:
    """The schema describes no field of a stage, a worker or a metric that nothing makes."""
    made: dict[str, set[str]] = {}
    for record in records:
        made.setdefault(record["event_type"], set()).update(record["data"])
    for event_type in TYPES:
        if event_type.startswith(("stage.", "worker.")) or event_type == "metric":
            described = set(SCHEMA["$defs"][event_type]["properties"])
            left = described - made[event_type] - {"total", "percent", "eta_s"}
            assert left == set(), event_type


def test_lines_begin_in_the_order_that_tracks_rely_on(lines: list[bytes]) -> None:
    """A line's first keys are always the same, and ``sampled`` follows where there is a span."""
    for line in lines:
        keys = list(json.loads(line))
        assert keys[:4] == FIRST_KEYS
        assert ("span" in keys) == (keys[4] == "sampled")


@pytest.mark.parametrize(
    "change",
    [
        {"event_type": "job.exploded"},
        {"timestamp": "2026-01-02 03:04:05"},
        {"trace_id": "0" * 32},
        {"level": "loud"},
        {"sampled": True},
        {"data": {"stage": "Load"}},
        {"unheard_of": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_wrong_line_does_not_fit(records: list[dict[str, Any]], change: dict[str, Any]) -> None:
    """The schema tells a line that is wrong in one field."""
    right = next(each for each in records if each["event_type"] == "stage.started")
    assert problems(SCHEMA, right) == []
    assert problems(SCHEMA, {**copy.deepcopy(right), **change}) != []


def test_a_lost_job_fits(records: list[dict[str, Any]]) -> None:
    """What is concluded from outside has the same form."""
    started = next(each for each in records if each["event_type"] == "job.started")
    lost = {"event_type": "job.lost", "data": {"cause": "killed by signal", "signal": "SIGKILL"}}
    assert problems(SCHEMA, {**started, **lost}) == []


def test_every_event_is_a_cloudevent(records: list[dict[str, Any]]) -> None:
    """``to_cloudevent`` gives CloudEvents 1.0 with the job as subject and the line as data."""
    for record in records:
        cloudevent = JobEvent(record).to_cloudevent()
        assert problems(CLOUDEVENT, cloudevent) == []
        assert cloudevent.get("subject") == record.get("job_id")
        assert cloudevent["data"] == record


def test_the_source_of_a_cloudevent_is_a_uri_reference() -> None:
    """Ids with blanks and slashes are escaped in the source."""
    event = JobEvent({"id": "1", "event_type": "log", "worker_id": "gpu 1/a", "machine_id": "é"})
    source = event.to_cloudevent()["source"]
    assert source == "/fiveobs/%C3%A9/gpu%201%2Fa"
