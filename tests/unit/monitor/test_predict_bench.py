"""``bench/predict.py``: what it says of a trace, and that what is made up says that it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench import predict
from bench._traces import MADE, made_trace
from fiveobs.cli._swf import BadLine, Job, TraceReader


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["predict.py", *arguments])
    return predict.main()


@pytest.mark.parametrize("name", MADE)
def test_a_trace_that_is_made_up_says_so(name: str) -> None:
    """In its header; all of its lines are jobs, and the same seed makes the same."""
    lines = list(made_trace(name, 300, 3))
    assert b"GENERATED" in b"".join(lines[:4])
    found = list(TraceReader(lines))
    assert [each for each in found if isinstance(each, BadLine)] == []
    assert len(found) == 300
    assert lines == list(made_trace(name, 300, 3))
    assert {each.status for each in found if isinstance(each, Job)} == {0, 1}


def test_predictions_of_made_up_traces_beat_what_is_simple(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """At both quantiles; the output says what was made up, and the figures are there as JSON."""
    out = tmp_path / "figures.json"
    arguments = ("--jobs", "1500", "--json", str(out), "--write", str(tmp_path))
    code = run(monkeypatch, *arguments)
    said = capsys.readouterr().out
    assert said.count("GENERATED") == 2
    figures = json.loads(out.read_text())
    losses = [name for each in figures for name in each["missed"] if name.startswith("pinball")]
    assert losses == []
    assert code == (1 if any(each["missed"] for each in figures) else 0)
    trace = tmp_path / "generated-services.swf"
    run(monkeypatch, "--trace", str(trace), "--limit", "200", "--at", "start")
    said = capsys.readouterr().out
    assert "generated-services.swf: 200 jobs" in said
    assert "GENERATED" not in said
