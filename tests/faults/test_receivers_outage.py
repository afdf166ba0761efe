"""Receivers that are gone or mute: jobs run on, workers end in time, all arrives later."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.recv_wiring import ANSWER_S, MARGIN_S, PROTOCOLS, SHUTDOWN_S, Wiring
from tests.peers.harness.program import until
from tests.support.proxy import Fault, deaf, relay, silent

JOBS = 200
#: What they may take at most, together; they take a fiftieth of a second each on no machine.
JOBS_TAKE_S = 10.0
MUTE: dict[str, Fault] = {
    "silent": silent,
    "never reads": deaf,
    "drips": relay(answer_pause_s=1.0),
    "closes at once": relay(request_bytes=1),
}
both = pytest.mark.parametrize("protocol", PROTOCOLS)
_SOCKETS = Path("/proc/net/tcp")


def _stuck_bytes(there: Wiring, name: str) -> int:
    """Bytes written to a proxy that its kernel has no room for."""
    rows = [line.split() for line in _SOCKETS.read_text().splitlines()[1:]]
    port = f":{there.proxies[name].port:04X}"
    return sum(int(row[4].partition(":")[0], 16) for row in rows if row[2].endswith(port))


@both
@pytest.mark.parametrize("kind", MUTE)
def test_a_worker_ends_in_time_before_mute_receivers(
    kind: str, protocol: str, fiveobs_home: Path
) -> None:
    """200 jobs run on while nobody answers, the worker ends in time, a later one delivers all."""
    with Wiring(protocol, fiveobs_home, fault=MUTE[kind], window_bytes=4096) as there:
        with there.worker() as worker:
            assert worker.run(JOBS, size_bytes=4000) < JOBS_TAKE_S
            there.wait_until_played()
            if kind == "never reads" and _SOCKETS.exists():
                # gRPC says next to nothing before its server has spoken.
                for name in ("logs",) if protocol == "grpc" else ("logs", "otlp"):
                    until(lambda n=name: _stuck_bytes(there, n), what="a full window")
            assert worker.run(JOBS) < JOBS_TAKE_S
            assert not worker.flush(0.2)
            assert worker.end() < SHUTDOWN_S + MARGIN_S
        there.heal()
        there.deliver_the_rest()
        sums = there.check(was_killed=kind == "drips")
    assert sums["traces"].held == 2 * JOBS + 1
    assert sums["errors"].held == 2 * JOBS // 10


@both
def test_receivers_that_come_up_after_the_worker_get_everything(
    protocol: str, fiveobs_home: Path
) -> None:
    """Nobody listens when the worker starts; what happened before they come up arrives as well."""
    with Wiring(protocol, fiveobs_home) as there:
        there.refuse_connections()
        with there.worker() as worker:
            assert worker.run(JOBS) < JOBS_TAKE_S
            worker.wait_until_failing()
            assert not worker.flush(0.2)
            assert not any(proxy.counts["connections"] for proxy in there.proxies.values())
            there.heal()
            assert worker.flush(ANSWER_S), worker.health()
            assert worker.end() < MARGIN_S
        sums = there.check()
    assert sums["traces"].held == JOBS
    assert sums["errors"].held == JOBS // 10
