"""SIGKILL at any moment: what was accepted is in the journal, and a later process delivers it."""

from __future__ import annotations

import random
import re
import subprocess
import threading
from collections import Counter
from pathlib import Path

from tests.support import workers
from tests.support.programs import run_example
from tests.support.receivers import ForwardReceiver

KILLS = 100
AT_ONCE = 4
LONGEST_LIFE_S = 0.02


def _kill_some(first: int, settings: dict[str, str], dice: random.Random) -> set[str]:
    """Start some workers, kill each at a moment of its own, and return what they printed."""
    options = {"stderr": subprocess.DEVNULL, "text": False, "bufsize": 0}
    batch = [
        workers.start("until_killed", number, settings=settings, **options)
        for number in range(first, first + AT_ONCE)
    ]
    heard = []
    timers = []
    for process in batch:
        assert process.stdout is not None
        heard.append(process.stdout.read(4096))  # it has begun
        timers.append(threading.Timer(dice.uniform(0, LONGEST_LIFE_S), process.kill))
        timers[-1].start()
    printed: set[str] = set()
    for process, timer, begun in zip(batch, timers, heard, strict=True):
        out, _ = process.communicate(timeout=20)
        timer.join()
        whole, _, _ = (begun + out).rpartition(b"\n")
        printed.update(whole.decode().split("\n"))
    return printed


def test_what_was_accepted_survives_sigkill(fiveobs_home: Path) -> None:
    """After 100 kills every job that was reported has its first, middle and last event on disk."""
    dice = random.Random(20_240_607)
    receiver = ForwardReceiver().start()
    receiver.stop()  # an outage, for as long as the workers live
    settings = {
        "FLUENT_BIT_HOST": receiver.host,
        "FLUENT_BIT_PORT": str(receiver.port),
        "FIVEOBS_HEARTBEAT_INTERVAL": "0.2",
    }
    printed: set[str] = set()
    for first in range(0, KILLS, AT_ONCE):
        printed |= _kill_some(first, settings, dice)
    printed.discard("")
    assert len(printed) > KILLS

    records = workers.events(fiveobs_home)
    assert len({record["id"] for record in records}) == len(records)
    lines = Counter(record["job_id"] for record in records if "job_id" in record)
    assert {job_id for job_id in printed if lines[job_id] < 3} == set()

    with receiver:
        workers.run("lives", "successor", settings=settings)
    received = {record["id"] for _, _, record in receiver.records}
    assert {record["id"] for record in records} - received == set()


def test_the_demo_loses_nothing_to_a_killed_worker() -> None:
    """What a worker had recorded when it was killed arrives; its job is tried again."""
    output = run_example("demo.py", "--files", "60", "--plain", "--kill")
    assert "was killed while it worked on" in output
    match = re.search(r"recorded ([\d,]+) events before it was killed; ([\d,]+) have", output)
    assert match is not None, output
    assert match[1] == match[2]
