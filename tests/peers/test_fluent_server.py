"""Logs at a Fluent Forward server that we did not write: acks, shared key, TLS, kills, odd data."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.peers.harness.fluent_server import Certificates, FluentServer
from tests.peers.harness.program import HOST, until
from tests.peers.harness.received import WORKERS, environment, run_program
from tests.peers.harness.worker import Worker, spec_block
from tests.support import workers

pytestmark = pytest.mark.peer

KEY = "a key that both know"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: What the logs track leaves to other tracks.
NO_EVENTS = ("metric", "span", "envelope")
KILLS = 3
#: Most records of one delivery.
BATCH = 512


def settings(server: FluentServer, **more: str) -> dict[str, str]:
    """The specification's variables that lead to this server, and nowhere else."""
    return {
        **spec_block(),
        "FLUENT_BIT_HOST": HOST,
        "FLUENT_BIT_PORT": str(server.port),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "",
        "SENTRY_DSN": "",
        "FIVEOBS_SHUTDOWN_TIMEOUT": "60s",
        **more,
    }


def shipped(home: Path) -> dict[str, dict[str, Any]]:
    """What the journal has for the logs track, by record id."""
    records = [each for each in workers.events(home) if each["event_type"] not in NO_EVENTS]
    by_id = {each["id"]: each for each in records}
    assert len(by_id) == len(records)
    return by_id


def ids(server: FluentServer) -> list[str]:
    return [record["id"] for _, _, record in server.records]


def assert_arrived_once(server: FluentServer, home: Path) -> None:
    """Every record, as it stands in the journal, under our tag, with its time."""
    expected = shipped(home)
    assert Counter(ids(server)) == Counter(list(expected))
    for tag, time_ns, record in server.records:
        assert tag == "fiveobs"
        assert record == expected[record["id"]]
        since = datetime.fromisoformat(record["timestamp"]) - EPOCH
        assert time_ns == since // timedelta(microseconds=1) * 1000


def doctor(home: Path, variables: dict[str, str], *arguments: str) -> dict[str, Any]:
    """What ``fiveobs doctor`` finds."""
    command = [sys.executable, "-m", "fiveobs", "doctor", "--json", *arguments]
    done = subprocess.run(
        command,
        env=environment(**{**variables, "FIVEOBS_HOME": str(home)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def assert_all_delivered(home: Path, variables: dict[str, str]) -> None:
    """The cursor is at the end, and the sums say so."""
    logs = doctor(home, variables, "--no-probe")["tracks"]["logs"]
    count = len(shipped(home))
    found = [logs[name] for name in ("accepted", "delivered", "pending", "dropped")]
    assert found == [count, count, 0, 0]
    assert logs["adds_up"]


@pytest.fixture(params=["plain", "shared key", "TLS", "TLS and shared key"])
def guarded(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[FluentServer, dict[str, str]]]:
    """A server, guarded in each way, and what a worker must be told of it."""
    key = KEY if "key" in request.param else None
    tls = Certificates.make(tmp_path / "tls") if "TLS" in request.param else None
    more = {"FLUENT_BIT_SHARED_KEY": key} if key else {}
    if tls:
        more |= {"FLUENT_BIT_TLS": "true", "FLUENT_BIT_TLS_CA": str(tls.certificate)}
    with FluentServer(tmp_path / "server", shared_key=key, tls=tls) as server:
        yield server, settings(server, **more)


def test_every_record_arrives_once(
    guarded: tuple[FluentServer, dict[str, str]], fiveobs_home: Path
) -> None:
    """Acknowledged, unchanged, with ids and times; the doctor finds nothing pending or wrong."""
    server, variables = guarded
    with Worker(fiveobs_home, variables) as worker:
        worker.tell("succeed 20")
        worker.tell("fail 5")
        worker.tell(f"log {BATCH}")  # so that one delivery is not enough
    assert worker.errors == ""
    assert_arrived_once(server, fiveobs_home)
    assert_all_delivered(fiveobs_home, variables)
    found = doctor(fiveobs_home, variables)
    assert found["tracks"]["logs"]["probe"]["taken"] is True
    assert [each for each in found["findings"] if each["severity"] == "problem"] == []


def test_the_ids_of_a_job_arrive_with_it(tmp_path: Path, fiveobs_home: Path) -> None:
    """Each record of a job has its job, trace and span id, and the process's names."""
    with FluentServer(tmp_path / "server") as server:
        with Worker(fiveobs_home, settings(server)) as worker:
            worker.tell("fail 1")
        records = [record for _, _, record in server.records]
    of_job = [record for record in records if "job_id" in record]
    types = [record["event_type"] for record in of_job]
    assert types[0] == "job.started"
    assert types[-1] == "job.failed"
    assert len({(record["job_id"], record["trace_id"]) for record in of_job}) == 1
    assert of_job[0]["span_id"] == of_job[-1]["span_id"]
    block = spec_block()
    for record in records:
        assert record["worker_id"] == block["WORKER_ID"]
        assert record["machine_id"] == block["MACHINE_ID"]


def test_odd_data_arrives_as_it_was_recorded(tmp_path: Path, fiveobs_home: Path) -> None:
    """Bytes, broken text, every script, control characters, extreme numbers, large records."""
    with FluentServer(tmp_path / "server") as server:
        variables = settings(server, FIVEOBS_HOME=str(fiveobs_home))
        (told,) = run_program(WORKERS / "odd_records.py", **variables)
        assert_arrived_once(server, fiveobs_home)
        logs = [record for _, _, record in server.records if record["event_type"] == "log"]
    assert len(logs) == told["made"]
    text = "\n".join(record["message"] for record in logs)
    assert "größe 尺寸" in text
    assert "nul \x00" in text
    values = {name: value for record in logs for name, value in record["data"].items()}
    assert values["large"] == 2**53 - 1
    assert max(len(json.dumps(record)) for record in logs) > 60_000
    assert_all_delivered(fiveobs_home, variables)


def test_a_wrong_key_loses_nothing(tmp_path: Path, fiveobs_home: Path) -> None:
    """It is said what is wrong; once the server has the worker's key, everything is delivered."""
    server = FluentServer(tmp_path / "server", shared_key="another key")
    variables = settings(server, FLUENT_BIT_SHARED_KEY=KEY)
    with server, Worker(fiveobs_home, variables) as worker:
        worker.tell("fail 3")
        assert worker.tell("flush 1") is False
        assert server.records == []
        assert "check shared key" in worker.errors
        assert KEY not in worker.errors
        found = doctor(fiveobs_home, variables)
        assert "check shared key" in found["tracks"]["logs"]["probe"]["error"]
        assert found["tracks"]["logs"]["pending"] == len(shipped(fiveobs_home))
        server.stop()
        server.shared_key = KEY
        server.start()
        assert worker.tell("flush 60") is True
        worker.end()
        assert_arrived_once(server, fiveobs_home)
    assert_all_delivered(fiveobs_home, variables)


def test_a_server_that_proves_nothing_gets_nothing(tmp_path: Path, fiveobs_home: Path) -> None:
    """One whose certificate is of an authority we do not trust; it is said, and all is kept."""
    theirs, trusted = (Certificates.make(tmp_path / name) for name in ("theirs", "trusted"))
    with FluentServer(tmp_path / "server", tls=theirs) as server:
        variables = settings(
            server,
            FLUENT_BIT_TLS="true",
            FLUENT_BIT_TLS_CA=str(trusted.certificate),
            FIVEOBS_SHUTDOWN_TIMEOUT="1s",
        )
        with Worker(fiveobs_home, variables) as worker:
            worker.tell("fail 3")
            assert worker.tell("flush 1") is False
        assert server.records == []
    assert "certificate" in worker.errors
    logs = doctor(fiveobs_home, variables, "--no-probe")["tracks"]["logs"]
    assert logs["pending"] == len(shipped(fiveobs_home))


def test_a_server_killed_in_mid_stream_loses_nothing(tmp_path: Path, fiveobs_home: Path) -> None:
    """Again and again: what it had not acknowledged comes again, and little comes twice."""
    with FluentServer(tmp_path / "server") as server:
        variables = settings(server, FIVEOBS_FLUSH_INTERVAL="50ms")
        with Worker(fiveobs_home, variables) as worker:
            worker.tell("stream")
            for _ in range(KILLS):
                seen = server.count
                until(lambda: server.count > seen + 100, what="the stream goes on")  # noqa: B023
                server.kill()
                made = worker.tell("count")
                until(lambda: worker.tell("count") > made + 20, what="jobs go on")  # noqa: B023
                server.start()
            worker.tell("halt")
            assert worker.tell("flush 60") is True
        received = Counter(ids(server))
        expected = shipped(fiveobs_home)
        assert set(expected) - set(received) == set()
        assert set(received) - set(expected) == set()
        assert received.total() - len(received) <= KILLS * BATCH
        assert "could not be reached" in worker.errors
    assert_all_delivered(fiveobs_home, variables)
