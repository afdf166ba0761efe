"""Receivers that die by SIGKILL while batches are under way, and are started again."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.conservation import Did, Held, check
from tests.faults.recv_wiring import ANSWER_S, MARGIN_S, PROTOCOLS, Worker
from tests.peers.harness.program import free_port, until
from tests.support.process import ReceiverProcess

#: Of what the batch is that a receiver dies with, and the track.
KILLED_AT = {"records": "logs", "spans": "traces", "metrics": "metrics", "envelopes": "errors"}
JOBS = 100
QUICK = {
    "FIVEOBS_FLUSH_INTERVAL": "0.02",
    "FIVEOBS_SHUTDOWN_TIMEOUT": "30",
    "METRICS_COLLECTION_INTERVAL": "0.05",
}


def _addresses(protocol: str) -> tuple[dict[str, int], dict[str, str]]:
    """Ports for the receivers, and the settings that lead there."""
    logs = "forward" if protocol == "http" else "fluent_http"
    ports = {name: free_port() for name in ("otlp", "otlp_grpc", logs, "sentry")}
    otlp = ports["otlp_grpc" if protocol == "grpc" else "otlp"]
    return ports, {
        "FLUENT_BIT_HOST": "127.0.0.1",
        "FLUENT_BIT_PORT": str(ports[logs]),
        "FLUENT_BIT_PROTOCOL": "forward" if protocol == "http" else "http",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{otlp}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if protocol == "grpc" else "http/protobuf",
        "SENTRY_DSN": f"http://public@127.0.0.1:{ports['sentry']}/1",
    }


def _busy(receivers: ReceiverProcess) -> bool:
    """Whether each of them has had something since it was started."""
    wanted = {"otlp": "requests", "sentry": "envelopes", "forward": "records"}
    counts = receivers.counts()
    if "fluent_http" in counts:
        wanted |= {"otlp": "grpc_calls", "fluent_http": "records"}
    return all(counts[name].get(wanted[name]) for name in counts)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_receivers_killed_in_the_middle_lose_nothing(
    protocol: str, fiveobs_home: Path, tmp_path: Path
) -> None:
    """They die with a batch of each track in hand, taken and not answered: it is sent again."""
    ports, settings = _addresses(protocol)
    named = [f"{name}={port}" for name, port in ports.items()]
    receivers = ReceiverProcess(program=("tests.faults.workers.recv_receivers", tmp_path, *named))
    did = Did()
    with Worker("worker1", settings | QUICK, did) as worker:
        for kind in KILLED_AT:
            with receivers:
                worker.start_running(JOBS)
                until(lambda: _busy(receivers), timeout_s=ANSWER_S, what="something at each")
                (tmp_path / f"die-{kind}").touch()
                worker.wait()
                worker.run(JOBS)
                assert receivers.wait(ANSWER_S) == -signal.SIGKILL
                receivers.kill()
        with receivers:
            worker.run(JOBS)
            assert worker.flush(ANSWER_S), worker.health()
            assert worker.end() < MARGIN_S
    sums = check(fiveobs_home, Held.written_in(tmp_path), did)
    jobs = (2 * len(KILLED_AT) + 1) * JOBS
    assert sums["traces"].held == jobs
    assert sums["logs"].delivered > 3 * jobs
    for track in KILLED_AT.values():
        assert track == "metrics" or sums[track].repeats > 0, sums  # sums have no repeats
