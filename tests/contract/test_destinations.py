"""What holds for every track that sends something, whichever it is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import pytest

import fiveobs
from fiveobs import Accounting, current_job, observe_job
from fiveobs.testing import Captured, capture

TRACKS = ("logs", "traces", "metrics", "errors")
#: A destination that takes this long must be noticed by nobody.
FOREVER_S = 60.0
#: Far more than jobs here take, and far less than they would if they waited.
SOON_S = 5.0

each_track = pytest.mark.parametrize("track", TRACKS)


@observe_job("thumbnail")
def thumbnail(path: str) -> str:
    job = current_job()
    assert job is not None
    with job.stage("decode", total=1) as stage:
        stage.advance()
    job.log.info("decoded", path=path)
    if path == "bad":
        raise ValueError(path)
    return path.upper()


def run_jobs() -> None:
    """Give every track something to send, and check that the jobs notice nothing."""
    assert thumbnail("cat") == "CAT"
    with pytest.raises(ValueError, match="bad"):
        thumbnail("bad")


def others(track: str) -> Iterator[str]:
    return (each for each in TRACKS if each != track)


def assert_sums(sums: Mapping[str, Accounting]) -> None:
    for track, each in sums.items():
        assert each.accepted == each.delivered + each.pending + each.dropped, (track, each)
        assert min(each) >= 0, (track, each)


def assert_delivered(captured: Captured, track: str) -> None:
    assert captured.flush(track=track)
    sums = captured.accounting()[track]
    assert sums.accepted > 0
    assert sums == Accounting(sums.accepted, sums.accepted, 0, 0)


def assert_fails(captured: Captured, track: str) -> None:
    assert captured.flush(timeout_s=0.1, track=track) is False
    captured.wait_for(lambda c: c.attempts(track) > 0)


# --- works ---


@each_track
def test_a_working_destination_gets_everything(track: str) -> None:
    """All records of a track are delivered, and none is pending or dropped."""
    with capture() as captured:
        run_jobs()
        assert captured.flush()
        assert_delivered(captured, track)
        assert captured.problems == []


def test_the_five_tracks_tell_of_the_same_job() -> None:
    """Journal, log records, spans, exemplars and Sentry event carry the same ids."""
    with capture() as captured:
        run_jobs()
        good, bad = captured.jobs
        for job in (good, bad):
            ids = captured.ids_agree(job.job_id)
            assert ids == {"job_id": job.job_id, "trace_id": job.trace_id, "span_id": job.span_id}
        assert bad.errors
        assert not good.errors


# --- raises ---


@each_track
def test_a_failing_destination_harms_neither_job_nor_other_tracks(track: str) -> None:
    """While one destination fails, jobs run and the other tracks deliver."""
    with capture(broken={track}) as captured:
        run_jobs()
        for other in others(track):
            assert_delivered(captured, other)
        assert_fails(captured, track)
        sums = captured.accounting()
        assert_sums(sums)
        assert (sums[track].delivered, sums[track].dropped) == (0, 0)


@each_track
def test_a_failing_destination_is_reported(track: str) -> None:
    """A delivery that fails is said once on ``fiveobs.internal``, with the track's name."""
    with capture(broken={track}) as captured:
        run_jobs()
        assert_fails(captured, track)
        captured.wait_for(lambda c: c.problems)
        assert all(problem.startswith(f"{track}: ") for problem in captured.problems)


@each_track
def test_an_outage_that_ends_loses_nothing(track: str) -> None:
    """What a destination did not take is sent again, and all of it arrives once it works."""
    with capture(broken={track}) as captured:
        run_jobs()
        assert_fails(captured, track)
        captured.repair(track)
        assert_delivered(captured, track)
        for job in captured.jobs:
            captured.ids_agree(job.job_id)


@each_track
def test_a_flush_during_an_outage_keeps_its_deadline_and_tells(track: str) -> None:
    """``flush`` comes back in time and says that not everything went through."""
    with capture(broken={track}) as captured:
        run_jobs()
        started = time.monotonic()
        assert captured.flush(timeout_s=0.2) is False
        assert time.monotonic() - started < SOON_S


@pytest.mark.parametrize("track", ["logs", "traces", "errors"])
def test_what_is_refused_for_good_is_dropped_and_counted(track: str) -> None:
    """Records that the destination will never take are dropped; the sum shows each of them."""
    with capture(refusing={track}) as captured:
        run_jobs()
        sums = captured.wait_for(lambda c: c.accounting()[track].dropped and c.accounting())
        assert_sums(sums)
        captured.flush()
        sums = captured.accounting()
        assert sums[track] == Accounting(sums[track].accepted, 0, 0, sums[track].accepted)
        for other in others(track):
            assert_delivered(captured, other)


def test_refused_sums_stay_pending() -> None:
    """Metrics that are refused count as pending: the next sums hold them too."""
    with capture(refusing={"metrics"}) as captured:
        run_jobs()
        assert_fails(captured, "metrics")
        sums = captured.accounting()
        assert_sums(sums)
        assert sums["metrics"].pending == sums["metrics"].accepted > 0
        captured.repair("metrics")
        assert_delivered(captured, "metrics")
        assert captured.metric("jobs.processed") == 2


def test_a_journal_that_cannot_be_written_loses_nothing_that_memory_holds() -> None:
    """With no disk, events wait in memory, are sent from there, and reach the disk later."""
    with capture(broken={"events"}) as captured:
        run_jobs()
        assert captured.flush()
        for track in TRACKS:
            assert_delivered(captured, track)
        held = captured.accounting()["events"]
        assert held.pending == held.accepted > 0
        captured.repair("events")
        captured.wait_for(lambda c: c.accounting()["events"].pending == 0)
        assert_sums(captured.accounting())
        assert list((captured.home / "journal").glob("*.log"))


# --- slow ---


@each_track
def test_a_slow_destination_does_not_hold_up_jobs(track: str) -> None:
    """A delivery that does not end costs the job's thread nothing, nor the other tracks."""
    with capture(slow={track: FOREVER_S}) as captured:
        started = time.monotonic()
        run_jobs()
        assert_fails(captured, track)
        for _ in range(20):
            assert thumbnail("dog") == "DOG"
        assert time.monotonic() - started < SOON_S
        for other in others(track):
            assert_delivered(captured, other)
        sums = captured.accounting()
        assert_sums(sums)
        assert sums[track].delivered == 0
        captured.repair(track)
        assert_delivered(captured, track)


@each_track
def test_a_flush_to_a_slow_destination_keeps_its_deadline(track: str) -> None:
    """``flush`` does not wait longer than it was told to."""
    with capture(slow={track: FOREVER_S}) as captured:
        run_jobs()
        started = time.monotonic()
        assert captured.flush(timeout_s=0.2) is False
        assert time.monotonic() - started < SOON_S
        captured.repair(track)


# --- after close ---


@each_track
def test_shutdown_during_an_outage_keeps_its_deadline(track: str) -> None:
    """``shutdown`` comes back in time, says what happened, and can be repeated."""
    with capture(broken={track}):
        run_jobs()
        started = time.monotonic()
        assert fiveobs.shutdown(timeout_s=0.2) is False
        assert fiveobs.shutdown(timeout_s=0.2) is True
        assert time.monotonic() - started < SOON_S


@each_track
def test_a_job_after_shutdown_is_observed(track: str) -> None:
    """After ``shutdown`` the next job starts everything anew, and every track delivers again."""
    with capture() as captured:
        run_jobs()
        assert fiveobs.shutdown()
        assert fiveobs.flush()
        run_jobs()
        assert_delivered(captured, track)
        assert len(captured.jobs) == 4
        captured.ids_agree(captured.jobs[-1].job_id)


@each_track
def test_what_a_shutdown_leaves_behind_is_still_in_the_journal(track: str) -> None:
    """What could not be sent before the end is on disk for the next process, with its cursor."""
    with capture(broken={track}) as captured:
        run_jobs()
        fiveobs.shutdown(timeout_s=0.2)
        left = captured.home / "journal"
        assert list(left.glob("*.log"))
        assert list(left.glob(f"*.{track}.cursor"))
        assert [job.status for job in captured.jobs] == ["completed", "failed"]
