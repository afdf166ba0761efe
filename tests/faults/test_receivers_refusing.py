"""Receivers that take some of it, later, or never: pauses are kept and drops are counted."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from tests.faults.recv_wiring import ANSWER_S, MARGIN_S, PROTOCOLS, Wiring, Worker
from tests.support.proxy import relay
from tests.support.web import HttpReceiver

JOBS = 50
#: More than the pause after a first failure that says nothing.
ASKED_S = 1
both = pytest.mark.parametrize("protocol", PROTOCOLS)


def _http_receivers(there: Wiring) -> list[HttpReceiver]:
    receivers = (there.otlp, there.logs, there.sentry)
    return [each for each in receivers if isinstance(each, HttpReceiver)]


def _finish(worker: Worker) -> None:
    assert worker.flush(ANSWER_S), worker.health()
    assert worker.end() < MARGIN_S


# --- later ---------------------------------------------------------------------------------------


def _gaps(receiver: HttpReceiver) -> dict[str, float]:
    """Seconds between the first two requests for each path."""
    times = defaultdict(list)
    for at_s, path in receiver.arrivals:
        times[path].append(at_s)
    return {path: at_s[1] - at_s[0] for path, at_s in times.items()}


@both
def test_no_request_comes_before_retry_after_is_over(protocol: str, fiveobs_home: Path) -> None:
    """After a 429 a track is silent for as long as it was asked, even where a flush wants more."""
    with Wiring(protocol, fiveobs_home) as there:
        throttled = _http_receivers(there)
        for receiver in throttled:
            receiver.mode, receiver.retry_after_s = "throttle", ASKED_S
        with there.worker() as worker:
            worker.run(JOBS)
            for receiver in throttled:
                wanted = 2 if receiver is there.otlp else 1
                receiver.wait_for(lambda r, n=wanted: len(r.arrivals) >= n, timeout_s=ANSWER_S)
                receiver.mode = "ok"
            worker.flush(0.2)
            worker.run(JOBS)
            _finish(worker)
        sums = there.check()
        gaps = {path: gap_s for each in throttled for path, gap_s in _gaps(each).items()}
    assert len(gaps) == 3 if protocol == "http" else 4
    assert {path: gap_s for path, gap_s in gaps.items() if gap_s < ASKED_S - 0.05} == {}
    assert sums["traces"].held == 2 * JOBS


@both
def test_half_an_answer_counts_as_none(protocol: str, fiveobs_home: Path) -> None:
    """An answer cut off in its middle says nothing: the batch goes out again, as a repeat."""
    with Wiring(protocol, fiveobs_home, fault=relay(answer_bytes=10)) as there:
        if protocol == "grpc":  # the server says something else first
            there.proxies["otlp"].fault = relay(answer_bytes=100)
        with there.worker() as worker:
            worker.run(JOBS)
            worker.wait_until_failing()
            there.heal()
            worker.run(JOBS)
            _finish(worker)
        sums = there.check()
    repeats = {track: sums[track].repeats for track in ("logs", "traces", "errors")}
    assert min(repeats.values()) > 0, repeats
    assert sums["traces"].held == 2 * JOBS


@pytest.mark.parametrize("mode", ["half_ack", "wrong_ack", "garbage"])
def test_a_forward_batch_without_its_own_ack_is_sent_again(mode: str, fiveobs_home: Path) -> None:
    """No ack, an ack for another chunk, or bytes that are none: the records come once more."""
    with Wiring("http", fiveobs_home) as there:
        there.logs.mode = mode  # type: ignore[assignment]
        with there.worker() as worker:
            for chunks in (2, 4):
                worker.run(JOBS)
                there.logs.wait_for(lambda r, n=chunks: r.counts["chunks"] >= n, timeout_s=ANSWER_S)
                there.heal()  # a new connection, rather than waiting for an ack that never comes
            there.logs.mode = "ok"
            there.heal()
            _finish(worker)
        sums = there.check()
    assert sums["logs"].repeats > 0


# --- never ---------------------------------------------------------------------------------------


@both
def test_records_refused_for_good_are_dropped_and_nothing_else(
    protocol: str, fiveobs_home: Path
) -> None:
    """A receiver answers 400 to each batch with a certain job in it: only that job is dropped."""
    there = Wiring(protocol, fiveobs_home)
    for receiver in _http_receivers(there):
        receiver.poison = b"-poison"
    with there:
        with there.worker() as worker:
            for _ in range(4):
                worker.run(JOBS - 1)
                worker.run(1, mark="-poison")  # each of them fails
            _finish(worker)
        poisoned = {"traces": 4, "errors": 4}
        if protocol == "grpc":  # Forward has no way to say no
            poisoned["logs"] = 3 * 4
        sums = there.check(dropped=poisoned)
    assert sums["traces"].held == 4 * (JOBS - 1)
    assert sums["errors"].held == 4 * (JOBS // 10 - 1)


@both
def test_a_batch_that_is_too_large_is_sent_in_parts(protocol: str, fiveobs_home: Path) -> None:
    """A receiver takes 15 kB at a time (413): all arrives but the one longer line."""
    there = Wiring(protocol, fiveobs_home)
    for receiver in _http_receivers(there):
        receiver.max_body_bytes = 15_000
    with there:
        with there.worker() as worker:
            worker.run(2 * JOBS)
            worker.run(1, size_bytes=30_000)
            worker.run(2 * JOBS)
            _finish(worker)
        sums = there.check(dropped={"logs": 1} if protocol == "grpc" else {})
    assert sums["traces"].held == 4 * JOBS + 1


@both
def test_spans_that_a_partial_success_rejects_are_dropped(
    protocol: str, fiveobs_home: Path
) -> None:
    """They are counted as dropped, the rest of their batch as delivered."""
    there = Wiring(protocol, fiveobs_home)
    there.otlp.rejects = lambda span: span["attributes"]["job.id"].endswith("7")
    with there:
        with there.worker() as worker:
            worker.run(JOBS)
            _finish(worker)
        sums = there.check(dropped={"traces": JOBS // 10})
    assert sums["traces"].held == JOBS - JOBS // 10


def test_a_grpc_receiver_in_trouble_gets_everything_later(fiveobs_home: Path) -> None:
    """INTERNAL says nothing against a batch: it is kept, and sent again until it is taken."""
    with Wiring("grpc", fiveobs_home) as there:
        there.otlp.mode = "error"
        with there.worker() as worker:
            worker.run(JOBS)
            there.otlp.wait_for(lambda r: r.counts["grpc_calls"] >= 4, timeout_s=ANSWER_S)
            there.otlp.mode = "ok"
            worker.run(JOBS)
            _finish(worker)
        sums = there.check()
    assert sums["traces"].held == 2 * JOBS
