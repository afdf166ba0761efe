"""The soak's schedule and its ledger: what decides whether a soak means anything."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.faults.soak_ledger import Ledger, Seen
from tests.faults.soak_schedule import CALM_S, MINUTE_S, QUIET_S, RECEIVERS, schedule

if TYPE_CHECKING:
    from pathlib import Path

SECONDS, WORKERS = 60.0, 2


@pytest.mark.parametrize("seed", range(20))
def test_everything_is_well_at_the_end(seed: int) -> None:
    """Whatever goes wrong is put right before the quiet end, in order of time."""
    faults = schedule(seed, SECONDS, WORKERS)
    assert faults == sorted(faults, key=lambda fault: fault.at_s)
    assert all(0 < fault.at_s <= SECONDS - QUIET_S for fault in faults)
    for name in RECEIVERS:
        mine = [fault for fault in faults if fault.target == name]
        ill, well = mine[::2], mine[1::2]
        assert len(ill) == len(well) > 3
        for bad, good in zip(ill, well, strict=True):
            is_kill = bad.what == "kill"
            assert good.what == ("start" if is_kill else "mode")
            assert is_kill or (bad.mode != "ok" and good.mode == "ok")


def test_every_minute_ends_with_a_calm() -> None:
    """No receiver is ill then, so that a long soak leaves no more behind than a short one."""
    for fault in schedule(3, 10 * MINUTE_S, WORKERS):
        if fault.target in RECEIVERS and (fault.what == "kill" or fault.mode != "ok"):
            assert fault.at_s % MINUTE_S < MINUTE_S - CALM_S


def test_a_seed_gives_the_same_schedule_again() -> None:
    """A soak that failed can be run again; another seed is another soak."""
    assert schedule(7, SECONDS, WORKERS) == schedule(7, SECONDS, WORKERS)
    assert schedule(7, SECONDS, WORKERS) != schedule(8, SECONDS, WORKERS)


def test_some_seeds_hold_every_kind_of_fault() -> None:
    """Over a few seeds each mode, kills of each receiver and both ends of each worker come up."""
    faults = [fault for seed in range(20) for fault in schedule(seed, SECONDS, WORKERS)]
    modes = {fault.mode for fault in faults}
    assert modes == {"ok", "blackhole", "slow", "error", "throttle", "garbage", "half_ack"}
    assert {fault.target for fault in faults if fault.mode == "half_ack"} == {"forward"}
    ends = Counter((fault.target, fault.what) for fault in faults)
    for name in RECEIVERS:
        assert ends[name, "kill"]
    for number in range(WORKERS):
        assert ends[f"worker-{number}", "kill"]
        assert ends[f"worker-{number}", "terminate"]


def test_repeats_are_told_from_first_receipts() -> None:
    """Each id counts once; what comes again is a repeat."""
    seen = Seen()
    assert [seen.add(each) for each in ("a-1", "a-5000", "a-1", "b-1", "a-1")] == [
        *(True, True, False, True, False)
    ]
    assert (seen.distinct, seen.repeats) == (3, 2)
    assert [seen.count("a", number) for number in (1, 2, 5000, 10**6)] == [3, 0, 1, 0]


def test_a_ledger_is_read_as_it_grows_and_past_torn_lines(tmp_path: Path) -> None:
    """Half a line is waited for; one that a killed receiver left is no receipt."""
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    ledger.read()
    path.write_text("\nlog x-1 w0l0-1 .\njob w0l0-1 .\njob w0l0-12")
    ledger.read()
    assert ledger.job_spans.distinct == 1
    with path.open("a") as file:
        file.write("\nlog x-1 w0l0-1 .\nlog x-2 w0l0-1 .\nsum a/1/jobs.processed/ 3 .\n")
        file.write("sum a/1/jobs.processed/ 2 .\nsum b/1/jobs.processed/ 4 .\n")
    ledger.read()
    assert (ledger.job_spans.distinct, ledger.records.distinct, ledger.records.repeats) == (1, 2, 1)
    assert ledger.job_records.count("w0l0", 1) == 2
    assert ledger.total("jobs.processed") == 7
