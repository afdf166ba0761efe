"""Clocks that are set, pids that come again, lines that were cut off."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from fiveobs.cli._accounts import account
from tests.faults.conservation import Did, Held, check
from tests.faults.worker_runs import Worker, finish, held_by, settle
from tests.support.workers import Destinations

HOUR_S = 3600
_SPAN = re.compile(rb'"span_id":"([0-9a-f]{16})"')
_PROCESS = re.compile(rb'^\{"id":"([0-9a-f]{16})-')


@pytest.mark.parametrize("by_s", [-3 * HOUR_S, 3 * HOUR_S])
def test_a_clock_that_is_set_loses_nothing(by_s: int, fiveobs_home: Path) -> None:
    """Amid the work, by hours: everything arrives, and metrics never go back in time."""
    with Destinations() as there:
        with Worker(there.settings()) as worker:
            for step_s in (0, by_s, by_s):
                worker.ask("step_clock", step_s)
                worker.ask("jobs", 30)
                assert worker.ask("flush", 20)["flushed"]  # a point of each counter
            assert worker.end() == 0
        times = _times_ns(held_by(there))
        assert len(times) >= 3
        assert times == sorted(times)
        said = [_seconds(record["timestamp"]) for _, _, record in there.forward.records]
        steps = [after - before for before, after in pairwise(said)]
        assert abs(max(steps, key=abs) - by_s) < 60
        starts = sorted(span["start_ns"] / 1e9 for span in there.otlp.spans)
        assert abs(max(after - before for before, after in pairwise(starts)) - abs(by_s)) < 60
        settle(there, fiveobs_home, worker)


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


def _times_ns(held: Held) -> list[int]:
    """When the points of one counter were, in the order in which they came."""
    return [
        point["time_ns"]
        for metric in held.metrics
        if metric["name"] == "jobs.processed"
        for point in metric["points"]
        if point["attributes"]["status"] == "success"
    ]


def test_files_from_a_time_to_come_are_adopted(fiveobs_home: Path) -> None:
    """After the clock was set back, what a process left before is not left for hours."""
    with Destinations() as there:
        for each in there.all:
            each.stop()
        with Worker(there.settings()) as worker:
            worker.ask("jobs", 20)
            worker.kill()
        for each in there.all:
            each.start()
        with Worker(there.settings()) as adopter:
            adopter.ask("step_clock", -3 * HOUR_S)
            adopter.ask("adopt")
            assert not list(_locks_but(fiveobs_home, adopter.ask("stem")["stem"]))
            assert adopter.end() == 0
        check(fiveobs_home, held_by(there), Did.of(worker.told), was_killed=True)


def _locks_but(home: Path, stem: str) -> list[Path]:
    return [path for path in (home / "journal").glob("*.lock") if path.stem != stem]


def test_a_reused_pid_at_the_same_moment_overwrites_nothing(fiveobs_home: Path) -> None:
    """Containers start again with pid 1 and, without a clock of their own, at the same time."""
    inside = ["unshare", *(["-pf"] if os.getuid() == 0 else ["-Urpf"])]
    if shutil.which("unshare") is None or (
        subprocess.run([*inside, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs a pid namespace, and unshare of util-linux")
    begun = {"WK_FIRST": '[["stop_clock", 1700000000000000000]]', "MACHINE_ID": "box"}
    with Destinations() as there:
        for each in there.all:
            each.stop()
        lives = []
        for _ in range(3):
            with Worker(there.settings() | begun, prefix=inside) as worker:
                worker.ask("jobs", 10)
                lives.append(worker)
                assert worker.ask("stem")["pid"] == 1
                assert worker.end("leave") == 0
        stems = {path.name.partition(".")[0] for path in (fiveobs_home / "journal").glob("*.log")}
        assert len(stems) == 3
        for each in there.all:
            each.start()
        settle(there, fiveobs_home, *lives)


def test_a_last_line_cut_off_anywhere_costs_that_line_only(fiveobs_home: Path) -> None:
    """Wherever a crash of the machine has torn it: it is counted as torn, the rest delivered."""
    with Destinations() as there:
        for each in there.all:
            each.stop()
        with Worker(there.settings()) as worker:
            worker.ask("jobs", 1)
            worker.kill()
        copies = _tear(fiveobs_home / "journal")
        for each in there.all:
            each.start()
        finish(there)
        assert not list((fiveobs_home / "journal").glob("*.lock"))
        found = check(fiveobs_home, held_by(there), Did(), was_killed=True)
        torn = sum(each.torn for each in account(fiveobs_home / "journal"))
    assert torn == copies - 1  # cut by all of its bytes, nothing is left of it
    assert found["metrics"].held == copies + 1  # the job's end in each copy, and the successor's
    assert found["logs"].repeats == 0


def _tear(folder: Path) -> int:
    """Make of a stem one for each place where its last line can be cut; how many."""
    (segment,) = folder.glob("*.log")
    stem = segment.name.removesuffix(".000001.log")
    content = segment.read_bytes()
    lines = content.splitlines(keepends=True)
    ends = [json.loads(line)["event_type"] for line in lines].index("job.completed")
    # The last line is one that nothing else depends on.
    number = [b'"log"' in line[:150] for line in lines].index(True)
    last = lines.pop(number)
    whole = b"".join(lines[:ends])
    cuts = sorted({*range(1, 9), *range(9, len(last), 4), *range(len(last) - 8, len(last) + 1)})
    for cut in cuts:
        name = f"{stem}{cut:04d}"
        text = (whole + last)[:-cut]
        (folder / f"{name}.000001.log").write_bytes(_renamed(text, cut))
        (folder / f"{name}.lock").touch()
        for cursor in folder.glob(f"{stem}.*.cursor"):
            shutil.copy(cursor, folder / cursor.name.replace(stem, name, 1))
    for path in folder.glob(f"{stem}.*"):
        path.unlink()
    return len(cuts)


def _renamed(content: bytes, number: int) -> bytes:
    """The same records under ids of their own."""
    ids = set(_SPAN.findall(content))
    match = _PROCESS.match(content)
    assert match is not None
    for each in (*ids, match[1]):
        content = content.replace(each, f"{number:04x}".encode() + each[4:])
    return content
