"""Sentry's normalizer judges what tests send: here that it does, and what it says."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from fiveobs._parsers import UnusableError
from fiveobs._settings import SETTINGS
from tests.peers.harness.normalizer import need_normalizer
from tests.support.journals import line, write_segment
from tests.support.normalizer import complaints, complaints_in_journal
from tests.support.sentry import SentryReceiver

EVENT_ID = "0123456789abcdef0123456789abcdef"
GOOD = {"event_id": EVENT_ID, "level": "error", "timestamp": 1_767_323_045.5}
BAD = {**GOOD, "level": "loud", "exception": {"values": [{"type": "E", "stacktrace": 3}]}}


@pytest.fixture(autouse=True)
def _there() -> None:
    need_normalizer()


def envelope(event: dict[str, Any]) -> bytes:
    payload = json.dumps(event)
    header = json.dumps({"type": "event", "length": len(payload)})
    return f"{{}}\n{header}\n{payload}\n".encode()


def post(receiver: SentryReceiver, event: dict[str, Any]) -> None:
    url = f"{receiver.endpoint}/api/1/envelope/"
    request = urllib.request.Request(url, data=envelope(event), method="POST")
    with urllib.request.urlopen(request, timeout=5):
        pass


def test_it_names_what_is_wrong() -> None:
    """Fields that are malformed or unknown, wherever they are; nothing about a good event."""
    assert complaints(GOOD) == []
    said = "\n".join(complaints(BAD))
    assert "invalid level" in said
    assert "exception.values.0.stacktrace" in said
    assert "frobnicate" in "\n".join(complaints({**GOOD, "frobnicate": 1}))


def test_what_is_only_shortened_is_no_complaint() -> None:
    """Sentry cuts long messages; that is its affair."""
    assert complaints({**GOOD, "logentry": {"formatted": "x" * 100_000}}) == []


def test_a_receiver_that_was_sent_a_bad_event_fails_when_it_stops() -> None:
    """Once, with the event's id; one that was sent a good event does not."""
    with SentryReceiver() as good:
        post(good, GOOD)
    bad = SentryReceiver().start()
    post(bad, BAD)
    with pytest.raises(AssertionError, match=f"event {EVENT_ID}.*invalid level"):
        bad.stop()
    bad.stop()


def test_the_first_failure_of_a_test_is_the_one_that_shows() -> None:
    """A receiver says nothing of events when the block has raised already."""
    with pytest.raises(LookupError), SentryReceiver() as receiver:
        post(receiver, BAD)
        raise LookupError


def test_envelopes_in_a_journal_are_judged(tmp_path: Path) -> None:
    """Each, also among other lines; torn ones and those that only talk of envelopes are not."""
    texts = {name: envelope(event).decode() for name, event in (("good", GOOD), ("bad", BAD))}
    lines = [line(1), line(2, "envelope", data={"envelope": texts["good"]})]
    write_segment(tmp_path, "s", 1, *lines)
    assert complaints_in_journal(tmp_path / "journal") == []
    talk = line(3, data={"text": '"event_type":"envelope"'})
    bad = line(4, "envelope", data={"envelope": texts["bad"]})
    write_segment(tmp_path, "s", 2, talk, bad, line(5), bad[:-20])
    found = complaints_in_journal(tmp_path / "journal")
    assert found
    assert len(found) == len(complaints(BAD))
    assert complaints_in_journal(tmp_path / "nowhere") == []


@pytest.mark.parametrize("field", ["environment", "release"])
@pytest.mark.parametrize(
    "value",
    [
        "a b",
        "v1.0+2@x",
        "äö",
        "a/b",
        "a\\b",
        "none",
        "None",
        ".",
        "..",
        "latest",
        "x" * 64,
        "x" * 250,
    ],
)
def test_what_configure_takes_for_a_name_is_one_to_sentry(field: str, value: str) -> None:
    """An environment or a release that Sentry would discard is refused beforehand, and no other."""
    setting = next(each for each in SETTINGS if each.attr == f"sentry_{field}")
    try:
        taken = setting.parse(value) == value
    except UnusableError:
        taken = False
    assert taken is not bool(complaints({"event_id": EVENT_ID, field: value}))
