"""gRPC servers, and what stands in their place, that answer a call in no sound way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.recv_wiring import ANSWER_S, MARGIN_S, Wiring
from tests.support.grpc_answers import ANSWERS, grpc_answer

JOBS = 50


@pytest.mark.parametrize(
    "kind",
    ["no status in the trailers", "half a message", "a redirect", "a bad request", "a reset"],
)
def test_an_unsound_answer_to_a_call_drops_nothing(kind: str, fiveobs_home: Path) -> None:
    """The spans of the call are kept, and the sums; a sound server gets them later."""
    with Wiring("grpc", fiveobs_home) as there:
        there.proxies["otlp"].fault = grpc_answer(ANSWERS[kind])
        with there.worker() as worker:
            worker.run(JOBS)
            worker.wait_until_failing("traces", "metrics")
            there.heal()
            worker.run(JOBS)
            assert worker.flush(ANSWER_S), worker.health()
            assert worker.end() < MARGIN_S
        sums = there.check()
    assert sums["traces"].held == 2 * JOBS
