"""How a soak judges: what it must complain of, and what it may let pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fiveobs.cli._accounts import TrackAccount
from tests.faults.soak_ledger import Ledger
from tests.faults.soak_receivers import _envelope
from tests.faults.soak_sums import compare_series, complaints_about_sums, series_of
from tests.peers.harness.normalizer import need_normalizer
from tests.support.envelopes import parse_envelope


def sums(**counts: Any) -> TrackAccount:
    return TrackAccount(**{"accepted": 10, "delivered": 10, "counted_stems": 1, **counts})


@pytest.mark.parametrize(
    ("counts", "received", "said"),
    [
        ({}, 9, "1 counted as delivered did not arrive"),
        ({}, 9, "1 did not arrive"),
        ({"delivered": 9, "dropped": 1}, 9, "1 were dropped"),
        ({"delivered": 9, "pending": 1}, 9, "1 could not be delivered in time"),
        ({"delivered": 9, "dropped": 1}, 10, "10 arrived, and 9 are counted as delivered"),
        ({}, 11, "1 arrived that nobody accepted"),
        ({"delivered": 9}, 10, "the sums do not add up, of all"),
        ({"wrong_stems": ["soak-1"]}, 10, "the sums do not add up, of ['soak-1']"),
    ],
)
def test_each_sum_that_differs_is_a_complaint(
    counts: dict[str, Any], received: int, said: str
) -> None:
    """Lost, dropped, left over, counted otherwise than it arrived, or invented."""
    assert f"logs: {said}" in list(complaints_about_sums("logs", sums(**counts), received))


def test_sums_that_agree_are_none() -> None:
    """All accepted is delivered and has arrived."""
    assert list(complaints_about_sums("logs", sums(), 10)) == []


def test_what_was_counted_twice_does_not_hide_what_was_lost() -> None:
    """Of two lives one lacks two jobs and another has two too many: the total is right."""
    arrived, repeats, wrong = compare_series({"a": 5, "b": 5}, {"a": 3, "b": 7}, may_repeat=True)
    assert (arrived, repeats) == (8, 2)
    assert wrong == ["metrics: a lacks 2 of 5"]


def test_without_a_kill_nothing_may_be_counted_twice() -> None:
    """Nor may a series come from nowhere, be there kills or not."""
    _, _, wrong = compare_series({"a": 5}, {"a": 6}, may_repeat=False)
    assert wrong == ["metrics: a is 6, and 5 were accepted"]
    _, _, wrong = compare_series({}, {"b": 1}, may_repeat=True)
    assert wrong == ["metrics: b is 1, and 0 were accepted"]


def test_a_line_counts_in_the_series_that_the_receivers_have(tmp_path: Path) -> None:
    """Journal and ledger name a series alike, whichever process has summed it."""
    record = {
        "id": "1-1",
        "seq": 1,
        "timestamp": "2026-01-02T03:04:05.000006Z",
        "event_type": "job.completed",
        "service": "w0l0",
        "job_name": "plain",
        "data": {"status": "completed"},
    }
    series = series_of(json.dumps(record, separators=(",", ":")).encode() + b"\n")
    assert series == "jobs.processed/name=plain,service=w0l0,status=success"
    path = tmp_path / "ledger"
    path.write_text(f"sum h-1/7/{series} 3 .\nsum h-2/9/{series} 4 .\nsum h-2/9/{series} 5 .\n")
    ledger = Ledger(path)
    ledger.read()
    assert ledger.series() == {series: 8}


def test_every_envelope_is_judged(tmp_path: Path) -> None:
    """The first of many that Sentry would complain of is in the ledger before it is answered."""
    need_normalizer()
    lines = []
    for number in range(20):
        event = {
            "event_id": f"{number + 1:032x}",
            "level": "error" if number else "loud",
            "tags": {"job_id": f"w0l0-{number}"},
        }
        item = json.dumps(event)
        header = json.dumps({"type": "event", "length": len(item)})
        lines += _envelope(parse_envelope(f"{{}}\n{header}\n{item}\n".encode()))
    path = tmp_path / "ledger"
    path.write_text("".join(f"{line} .\n" for line in lines))
    ledger = Ledger(path)
    ledger.read()
    assert ledger.errors.distinct == 20
    assert {each.split()[1] for each in ledger.faults} == {f"{1:032x}:"}
    assert all("invalid level" in each for each in ledger.faults)
