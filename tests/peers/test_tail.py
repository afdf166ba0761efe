"""Logs by tail: who reads the journals beside the worker gets every record, and each once.

The reader is the harness's, which does what ``collector-config/fluent-bit.yaml`` says.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.peers.harness.program import until
from tests.peers.harness.tailer import Tailed, Tailer
from tests.peers.harness.worker import Worker, spec_block
from tests.support import workers

pytestmark = pytest.mark.peer

NOT_LOGS = {"metric", "span", "envelope"}
#: Small, so that the journal goes on in new files again and again.
SEGMENT_BYTES = 20_000
SETTINGS = {
    **spec_block(),
    "DISABLE_FLUENT_BIT_LOGGING": "true",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "",
    "SENTRY_DSN": "",
    "FIVEOBS_JOURNAL_SEGMENT_BYTES": str(SEGMENT_BYTES),
}


def logs_of(home: Path) -> dict[str, dict[str, Any]]:
    """The journal's log records, by id."""
    return {each["id"]: each for each in workers.events(home) if each["event_type"] not in NOT_LOGS}


def assert_is_journal(tailed: list[Tailed], home: Path) -> None:
    """Every record of the journal was read once, unchanged, and with its own time."""
    expected = logs_of(home)
    assert Counter(each.record["id"] for each in tailed) == Counter(list(expected))
    for tag, at, record in tailed:
        assert tag == "fiveobs.journal"
        assert record == expected[record["id"]]
        assert at == datetime.fromisoformat(record["timestamp"])


def test_a_reader_of_the_journal_gets_every_record_once(tmp_path: Path, fiveobs_home: Path) -> None:
    """While a worker writes without a pause and goes on in new files; nothing is sent by it."""
    tailer, tailed = Tailer(fiveobs_home, tmp_path / "db"), list[Tailed]()
    with Worker(fiveobs_home, SETTINGS) as worker:
        worker.tell("stream")

        def segments() -> int:
            tailed.extend(tailer.look())
            return len(list((fiveobs_home / "journal").glob("*.log")))

        until(lambda: segments() >= 4, timeout_s=60, what="the journal is in four files")
        worker.tell("halt")
    tailed += tailer.look()
    assert len(tailed) > 100
    assert_is_journal(tailed, fiveobs_home)


def test_a_reader_that_is_started_again_goes_on_where_it_was(
    tmp_path: Path, fiveobs_home: Path
) -> None:
    """Its database says how far each file was read: nothing is read twice or left out."""
    tailed: list[Tailed] = []
    with Worker(fiveobs_home, SETTINGS) as worker:
        for _ in range(4):
            worker.tell("succeed 20")
            worker.tell("fail 2")
            tailed += Tailer(fiveobs_home, tmp_path / "db").look()
    tailed += Tailer(fiveobs_home, tmp_path / "db").look()
    assert len({each.record["job_id"] for each in tailed if "job_id" in each.record}) == 4 * 22
    assert_is_journal(tailed, fiveobs_home)


def test_segments_that_go_were_read_before(tmp_path: Path, fiveobs_home: Path) -> None:
    """The journal keeps its bound by deleting whole files; who keeps up has read them."""
    small = SETTINGS | {"FIVEOBS_JOURNAL_MAX_BYTES": str(10 * SEGMENT_BYTES)}
    small["FIVEOBS_HEARTBEAT_INTERVAL"] = "0.2"  # old files are looked for this often
    tailer, tailed = Tailer(fiveobs_home, tmp_path / "db"), list[Tailed]()
    with Worker(fiveobs_home, small) as worker:

        def is_trimmed() -> bool:
            worker.tell("succeed 10")
            tailed.extend(tailer.look())
            return not list((fiveobs_home / "journal").glob("*.000001.log"))

        until(is_trimmed, timeout_s=60, what="the first file is gone")
    tailed += tailer.look()
    seqs = sorted(each.record["seq"] for each in tailed)
    assert len(seqs) == len(set(seqs))
    assert logs_of(fiveobs_home).keys() < {each.record["id"] for each in tailed}
    started, completed = (
        {each.record["job_id"] for each in tailed if each.record["event_type"] == f"job.{what}"}
        for what in ("started", "completed")
    )
    assert started == completed
    assert len(started) % 10 == 0
