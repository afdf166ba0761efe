"""The logs track: what is sent to Fluent Bit by Forward or HTTP, or written to standard output."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiveobs import get_logger, observe_job
from fiveobs._config import load_config
from fiveobs._ids import rfc3339
from fiveobs.exceptions import DeliveryError
from fiveobs.testing import capture
from fiveobs.tracks.logs import LogsDestination, time_ns_of
from tests.support.receivers import ForwardReceiver
from tests.support.web import Answer, HttpReceiver, Request

ROOT = Path(__file__).resolve().parents[2]
AT = "2026-01-02T03:04:05.678901Z"


def line(number: int = 1, **fields: Any) -> bytes:
    record = {"id": f"a-{number}", "seq": number, "timestamp": AT, "event_type": "log", "data": {}}
    return json.dumps({**record, **fields}).encode()


def destination(**settings: Any) -> LogsDestination:
    return LogsDestination(load_config({}, settings, strict=True))


def to(receiver: Any, protocol: str, **settings: Any) -> LogsDestination:
    return destination(
        fluent_bit_host=receiver.host if hasattr(receiver, "host") else "127.0.0.1",
        fluent_bit_port=receiver.port,
        fluent_bit_protocol=protocol,
        **settings,
    )


class FluentHttp(HttpReceiver):
    """Fluent Bit's HTTP input, with a proxy before it that asks for credentials."""

    name = "fluent-http"

    def __init__(self, authorization: str | None = None) -> None:
        super().__init__()
        self.authorization = authorization

    def _receive(self, request: Request) -> Answer:
        if self.authorization not in (None, request.headers.get("authorization")):
            return Answer(status=401)
        return Answer(status=201)


# --- times ---


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_records_time_is_its_timestamp(at_us: int) -> None:
    """To the microsecond, in nanoseconds."""
    assert time_ns_of(rfc3339(at_us * 1000)) == at_us * 1000


@pytest.mark.parametrize("text", ["", "now", "2026-01-02", "2026-13-02T03:04:05.000000Z", "x" * 27])
def test_a_timestamp_that_is_none_is_refused(text: str) -> None:
    """So that the record is counted, and not sent as of 1970."""
    with pytest.raises(ValueError):
        time_ns_of(text)


# --- forward ---


def test_forward_sends_records_with_their_time_and_tag() -> None:
    """Every usable line of the batch; the others are counted."""
    with ForwardReceiver() as receiver:
        logs = to(receiver, "forward", fluent_bit_tag="jobs.test")
        bad = [b"", b"{", b"[]", b"null", b"{}", line(timestamp=None), line(timestamp="soon")]
        assert logs.ship([line(1), *bad, line(2, data={"ü": [1, 2.5, None]})], 5.0, {}) == len(bad)
        logs.close()
    first, second = receiver.records
    assert (first[0], first[2]["id"], second[2]["data"]) == (
        *("jobs.test", "a-1"),
        {"ü": [1, 2.5, None]},
    )
    assert abs(float(first[1]) - 1_767_323_045.678901) < 0.001 or first[1] == time_ns_of(AT)


def test_a_batch_without_a_usable_line_opens_no_connection() -> None:
    """There is nothing to say."""
    with ForwardReceiver() as receiver:
        logs = to(receiver, "forward")
        assert logs.ship([b"{", b""], 5.0, {}) == 2
        assert receiver.counts["connections"] == 0
        logs.close()


# --- http ---


def test_http_posts_an_array_to_the_tags_path() -> None:
    """As Fluent Bit's input takes it; without credentials there is no header for them."""
    with FluentHttp() as receiver:
        logs = to(receiver, "http", fluent_bit_tag="jobs.test")
        assert logs.ship([line(1), line(2)], 5.0, {}) == 0
        logs.close()
    (request,) = receiver.requests
    assert request.path == "/jobs.test"
    assert request.headers["content-type"] == "application/json"
    assert [record["id"] for record in json.loads(request.body)] == ["a-1", "a-2"]
    assert "authorization" not in request.headers


def test_http_shows_user_and_password() -> None:
    """By basic authentication; what is refused is told without them."""
    pair = base64.b64encode("ann:pässword1".encode()).decode()
    with FluentHttp(authorization=f"Basic {pair}") as receiver:
        user = {"fluent_bit_username": "ann", "fluent_bit_password": "pässword1"}
        logs = to(receiver, "http", **user)
        assert logs.ship([line()], 5.0, {}) == 0
        logs.close()
        wrong = to(receiver, "http", **{**user, "fluent_bit_password": "wrong-password"})
        with pytest.raises(DeliveryError) as caught:
            wrong.ship([line()], 5.0, {})
        wrong.close()
    assert "wrong-password" not in str(caught.value)


# --- standard output ---


def test_stdout_has_one_line_for_each_record() -> None:
    """After what the application has printed, and nothing but whole lines."""
    program = (
        "from fiveobs import observe_job\n"
        "print('before', end='\\n')\n"
        "with observe_job('job') as job:\n"
        "    job.log.info('said', text='ü')\n"
    )
    ran = _run(program, FLUENT_BIT_PROTOCOL="stdout")
    lines = ran.stdout.splitlines()
    assert lines[0] == "before"
    records = [json.loads(each) for each in lines[1:]]
    types = [record["event_type"] for record in records]
    assert types == ["worker.started", "job.started", "log", "job.completed", "worker.stopped"]
    assert records[2]["data"] == {"text": "ü"}
    assert ran.stderr == ""


def test_stdout_is_used_without_a_stream_object() -> None:
    """A daemon may have none."""
    program = (
        "import sys\n"
        "sys.stdout = None\n"
        "from fiveobs import observe_job\n"
        "with observe_job('job'):\n"
        "    pass\n"
    )
    ran = _run(program, FLUENT_BIT_PROTOCOL="stdout")
    assert len(ran.stdout.splitlines()) == 4


def _run(program: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), **settings},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )


# --- what is sent ---


@pytest.mark.parametrize("protocol", ["forward", "http"])
def test_every_event_is_sent_and_nothing_else(protocol: str) -> None:
    """Measures, spans and envelopes are parts of other tracks."""
    with capture(fluent_bit_protocol=protocol) as captured:
        with pytest.raises(ValueError), observe_job("job") as job:
            job.count("records")
            job.log.info("said")
            raise ValueError
        sent = [event.event_type for event in captured.log_records]
    assert sent == ["worker.started", "job.started", "log", "job.failed"]


def test_the_level_is_for_lines_only() -> None:
    """Events are sent whatever the level is."""
    with capture(log_level="error") as captured:
        log = get_logger()
        log.info("too low")
        log.error("high enough")
        with observe_job("job"):
            pass
        assert [event.message for event in captured.logs] == ["high enough"]
        assert "job.completed" in [event.event_type for event in captured.log_records]
