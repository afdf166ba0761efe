"""Streams and webhooks of real monitors that are killed, and of clients that do not listen."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from fiveobs import observe_job
from tests.support.hooks import HookReceiver
from tests.support.serving import Serving, serving
from tests.support.workers import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
EVENTS = "/api/default/default/execution/events"
SUBSCRIBE = "/api/default/default/execution/subscribe"
ROUNDS, JOBS = 5, 20
#: How long events may take to come.
_STREAM_S = 60


def jobs(count: int) -> None:
    """Let jobs run."""
    for _ in range(count):
        with observe_job("resize-image", service="thumbnails"):
            pass


def answers(monitor: Serving, token: str) -> None:
    """Wait until the project is known."""
    path = EVENTS + "?lastEventId=x"
    until(lambda: monitor.get(path, token).status_code == 422, what="the project")


def has_seen(count: int, hook: HookReceiver) -> bool:
    """Whether so many requests have come."""
    return len(hook.seen) >= count


def read(monitor: Serving, token: str, after: str | None, count: int) -> Iterator[tuple[str, str]]:
    """Id and event id of so many events of the project."""
    headers = {"Authorization": f"Bearer {token}"}
    if after is not None:
        headers["Last-Event-ID"] = after
    key, found, deadline = "", 0, time.monotonic() + _STREAM_S
    with httpx.stream(
        "GET", f"{monitor.url}{EVENTS}?from=start&types=job.*", headers=headers, timeout=20
    ) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("id: "):
                key = line[4:]
            # Comments keep a stream alive that has nothing to say.
            assert time.monotonic() < deadline, f"{found} of {count} events in {_STREAM_S} s"
            if line.startswith("data: "):
                yield key, json.loads(line[6:])["id"]
                found += 1
                if found == count:
                    return


def test_a_stream_over_killed_monitors_has_every_event_once() -> None:
    """Resumed by the last event id after each SIGKILL: none is lost, none comes twice."""
    seen: list[str] = []
    last: str | None = None
    token: str | None = None
    jobs(1)
    for _ in range(ROUNDS):
        with serving() as monitor:
            token = monitor.token or token
            assert token is not None
            answers(monitor, token)
            jobs(JOBS)
            found = list(read(monitor, token, last, JOBS))
            last = found[-1][0]
            seen += [event_id for _, event_id in found]
            monitor.process.send_signal(signal.SIGKILL)
            monitor.process.wait()
    with serving() as monitor:
        rest = 2 * (ROUNDS * JOBS + 1) - len(seen)
        seen += [event_id for _, event_id in read(monitor, token or "", last, rest)]
    assert len(seen) == len(set(seen)) == 2 * (ROUNDS * JOBS + 1)


def test_a_webhook_over_killed_monitors_loses_nothing() -> None:
    """Killed at any moment: every event arrives, repeats under the same webhook-id, in order."""
    jobs(1)
    with HookReceiver() as hook:
        hook.mode, hook.delay_s = "slow", 0.01
        token = None
        for number in range(ROUNDS):
            with serving(FIVEOBS_WEBHOOK_ALLOWED_NETWORKS="127.0.0.0/8") as monitor:
                token = monitor.token or token
                if number == 0:
                    _subscribe(monitor, token or "", hook.endpoint)
                jobs(JOBS)
                goal = len(hook.seen) + 6
                hook.wait_for(partial(has_seen, goal), timeout_s=60)
                monitor.process.send_signal(signal.SIGKILL)
                monitor.process.wait()
        with serving(FIVEOBS_WEBHOOK_ALLOWED_NETWORKS="127.0.0.0/8"):
            hook.wait_for(lambda each: len(set(each.sequences)) == ROUNDS * JOBS, timeout_s=60)
    ids = {request.headers["webhook-id"]: request.body for request in hook.seen}
    assert len(ids) == ROUNDS * JOBS
    assert len(hook.seen) - len(ids) <= ROUNDS, "more than the one on its way was repeated"
    assert hook.sequences == sorted(hook.sequences)


def _subscribe(monitor: Serving, token: str, url: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    body: dict[str, Any] = {
        "subscriptionType": "webhook",
        "webhookUrl": url,
        "events": ["jobCompleted"],
    }

    def answer() -> bool:
        return httpx.post(monitor.url + SUBSCRIBE, json=body, headers=headers).status_code == 201

    until(answer, what="a subscription")


def test_a_client_that_does_not_read_costs_no_memory() -> None:
    """The monitor keeps nothing for it; another client gets everything meanwhile."""
    psutil = pytest.importorskip("psutil")
    jobs(1)
    with serving() as monitor:
        token = monitor.token or ""
        answers(monitor, token)
        host, _, port = monitor.url.removeprefix("http://").partition(":")
        head = f"GET {EVENTS}?from=start HTTP/1.1\r\nHost: {host}\r\n"
        deaf = [socket.create_connection((host, int(port))) for _ in range(20)]
        for each in deaf:
            each.sendall(f"{head}Authorization: Bearer {token}\r\n\r\n".encode())
        jobs(300)
        first = list(read(monitor, token, None, 600))
        process = psutil.Process(monitor.process.pid)
        before_bytes = process.memory_info().rss
        jobs(3_000)
        assert len(list(read(monitor, token, first[-1][0], 6_000))) == 6_000
        grown_bytes = process.memory_info().rss - before_bytes
        for each in deaf:
            each.close()
    # What the ring may hold, and no more for twenty clients than for one.
    assert grown_bytes < 96 * 1024 * 1024


def test_a_stop_ends_streams() -> None:
    """SIGTERM: a stream ends in good order, and the monitor does not wait for its client."""
    jobs(1)
    with serving() as monitor:
        token = monitor.token or ""
        answers(monitor, token)
        url = f"{monitor.url}{EVENTS}?from=start"
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.stream("GET", url, headers=headers, timeout=20) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("retry:")
            monitor.process.send_signal(signal.SIGTERM)
            assert list(lines)  # to its end, without an error
        assert monitor.process.wait(timeout=15) == 0
