"""Receivers that break off, answer wrongly or half: nothing counts as delivered that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.recv_wiring import ANSWER_S, MARGIN_S, PROTOCOLS, Wiring
from tests.support.proxy import Fault, relay, say

JOBS = 50
JOBS_TAKE_S = 10.0
both = pytest.mark.parametrize("protocol", PROTOCOLS)


def _http(status: str, *fields: str, body: str = "") -> Fault:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields]
    return say("\r\n".join([*head, "", body]).encode())


FAULTS: dict[str, Fault] = {
    "cut in a batch": relay(request_bytes=700),
    "garbage": say(b"\x00\xff\xfe garbage \r\n\r\n" * 8),
    "another protocol": say(b"220 mail.example.com ESMTP\r\n"),
    "a truncated chunk": say(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nno more than this"
    ),
    "a truncated body": say(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nno more than this"),
    "a web page": _http(
        "200 OK", "Content-Type: text/html", body="<!DOCTYPE html><html>Please log in</html>"
    ),
    "a redirect": _http("307 Temporary Redirect", "Location: http://127.0.0.1:1/elsewhere"),
    "a server error": _http("500 Internal Server Error"),
    "unavailable": _http("503 Service Unavailable"),
    "no such page": _http("404 Not Found"),
}


@both
@pytest.mark.parametrize("kind", FAULTS)
def test_a_receiver_that_fails_for_a_while_loses_nothing(
    kind: str, protocol: str, fiveobs_home: Path
) -> None:
    """Jobs run on meanwhile; what was sent in vain is sent again, and none of it is dropped."""
    with Wiring(protocol, fiveobs_home, fault=FAULTS[kind]) as there:
        with there.worker() as worker:
            assert worker.run(JOBS) < JOBS_TAKE_S
            worker.wait_until_failing()
            assert not worker.flush(0.2)
            there.heal()
            worker.run(JOBS)
            assert worker.flush(ANSWER_S), worker.health()
            assert worker.end() < MARGIN_S
        sums = there.check()
    assert sums["traces"].held == 2 * JOBS
    assert sums["errors"].held == 2 * JOBS // 10
