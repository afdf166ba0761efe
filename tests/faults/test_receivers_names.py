"""A name service that hangs: no job waits for it, no end of a worker, and no other track."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.recv_wiring import ANSWER_S, MARGIN_S, PROTOCOLS, SHUTDOWN_S, Wiring
from tests.support.names import NameServer, can_hang_names

JOBS = 200
JOBS_TAKE_S = 10.0
#: Makes names hang for a wiring's workers; what it returns ends that.
Hang = Callable[[Wiring], Callable[[], None]]


@pytest.fixture
def hang(tmp_path: Path) -> Iterator[Hang]:
    """Hang names by a name service of ours, or inside the program where that cannot be had."""
    if not can_hang_names():
        yield lambda there: _hang_inside(there, tmp_path / "names-work")
        return
    with NameServer(tmp_path) as names:

        def hang_outside(there: Wiring) -> Callable[[], None]:
            there.within = names.within()
            return lambda: _answer(names, there)

        yield hang_outside


def _answer(names: NameServer, there: Wiring) -> None:
    names.wait_until_asked(*there.hosts.values(), timeout_s=ANSWER_S)
    names.answers = True


def _hang_inside(there: Wiring, until: Path) -> Callable[[], None]:
    if there.protocol == "grpc":
        pytest.skip("gRPC looks names up by itself; to hang that takes root, and unshare")
    there.within = ("env", f"HANG_NAMES_UNTIL={until}")
    return until.touch


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_hanging_name_service_delays_neither_jobs_nor_the_end(
    protocol: str, hang: Hang, fiveobs_home: Path
) -> None:
    """Every destination is a name that is never resolved; once it is, everything arrives."""
    with Wiring(protocol, fiveobs_home) as there:
        there.hosts = {name: f"{name}.fault.test" for name in there.proxies}
        resolve = hang(there)
        with there.worker() as worker:
            assert worker.run(JOBS) < JOBS_TAKE_S
            assert not worker.flush(0.3)
            assert worker.run(JOBS) < JOBS_TAKE_S
            assert worker.end() < SHUTDOWN_S + MARGIN_S
        assert not there.otlp.spans
        resolve()
        there.deliver_the_rest()
        sums = there.check()
    assert sums["traces"].held == 2 * JOBS + 1


def test_a_hanging_name_holds_up_its_own_track_only(hang: Hang, fiveobs_home: Path) -> None:
    """While the logs' host is not resolved, traces and errors arrive; the logs follow later."""
    with Wiring("http", fiveobs_home) as there:
        there.hosts = {"logs": "logs.fault.test"}
        resolve = hang(there)
        with there.worker() as worker:
            worker.run(JOBS)
            there.otlp.wait_for(lambda r: len(r.spans) >= JOBS, timeout_s=ANSWER_S)
            there.sentry.wait_for(lambda r: len(r.envelopes) >= JOBS // 10, timeout_s=ANSWER_S)
            assert not there.logs.records
            assert worker.end() < SHUTDOWN_S + MARGIN_S
        resolve()
        there.deliver_the_rest()
        there.check()
