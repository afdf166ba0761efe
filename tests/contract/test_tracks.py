"""What holds for every track that is called in the job's thread, ours and a user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fiveobs
from fiveobs import current_job, observe_job
from fiveobs._bus import Bus
from fiveobs.testing import BrokenTrack, Captured, RecordingTrack, SlowTrack, capture
from fiveobs.tracks.errors import ErrorsTrack
from fiveobs.tracks.events import EventsTrack
from fiveobs.tracks.traces import TracesTrack

#: Every call that a job makes into a track of ours: who is counted, and where it is broken.
HOOKS = [
    ("events", EventsTrack, "on_event"),
    ("bus", Bus, "publish"),
    ("traces", TracesTrack, "on_job_opening"),
    ("traces", TracesTrack, "on_job_closing"),
    ("traces", TracesTrack, "on_job_closed"),
    ("errors", ErrorsTrack, "on_job_opening"),
    ("errors", ErrorsTrack, "on_job_closing"),
]
HOOK_IDS = [f"{name}.{hook}" for name, _, hook in HOOKS]
#: What a stage calls; it has a guard of its own.
STAGE_HOOKS = ["open_stage", "close_stage"]


class HookTrack(RecordingTrack):
    """Raises in the named hook."""

    def __init__(self, hook: str) -> None:
        super().__init__("hook")
        setattr(self, hook, self._raise)

    def _raise(self, *args: Any) -> None:
        raise RuntimeError("hook")


@observe_job("sum")
def add_up(*numbers: int) -> int:
    job = current_job()
    assert job is not None
    with job.stage("add"):
        job.progress(0.5, "adding")
    return sum(numbers)


@observe_job("fail")
def fail(error: BaseException) -> None:
    raise error


def assert_unharmed() -> None:
    """Jobs return what they return, and raise the very thing they raise."""
    assert add_up(1, 2) == 3
    error = LookupError("the job's own")
    with pytest.raises(LookupError) as caught:
        fail(error)
    assert caught.value is error
    assert current_job() is None


def broken(_self: object, *args: object) -> None:
    raise RuntimeError("broken on purpose")


def break_hook(monkeypatch: pytest.MonkeyPatch, kind: type, hook: str) -> None:
    monkeypatch.setattr(kind, hook, broken)


# --- our own ---


@pytest.mark.parametrize(("name", "kind", "hook"), HOOKS, ids=HOOK_IDS)
def test_a_track_of_ours_that_raises_is_counted_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: type, hook: str
) -> None:
    """The job goes on, the failure is counted and reported, and later tracks get the event."""
    later = RecordingTrack()
    break_hook(monkeypatch, kind, hook)
    with capture(tracks=[later]) as captured:
        assert_unharmed()
        assert captured.failures()[name] >= 2
        assert any(problem.startswith(f"track {name}: ") for problem in captured.problems)
        assert [event.event_type for event in later.events_of("job.*")] == [
            *("job.started", "job.progress", "job.completed"),
            *("job.started", "job.failed"),
        ]


@pytest.mark.parametrize(("kind", "hook"), [each[1:] for each in HOOKS[2:]], ids=HOOK_IDS[2:])
def test_every_job_is_in_the_journal_whatever_hook_raises(
    monkeypatch: pytest.MonkeyPatch, kind: type, hook: str
) -> None:
    """A job whose trace or error track is broken still begins and ends in the journal."""
    break_hook(monkeypatch, kind, hook)
    with capture() as captured:
        assert_unharmed()
        assert [job.status for job in captured.jobs] == ["completed", "failed"]
        for event in captured.events:
            assert event.trace_id != "", "an absent id is left out"


@pytest.mark.parametrize("hook", STAGE_HOOKS)
def test_a_stage_survives_its_span(monkeypatch: pytest.MonkeyPatch, hook: str) -> None:
    """A stage whose span cannot be opened or closed harms neither the job nor its ids."""
    break_hook(monkeypatch, TracesTrack, hook)
    with capture() as captured:
        assert_unharmed()
        assert any("broken on purpose" in problem for problem in captured.problems)
        assert [job.status for job in captured.jobs] == ["completed", "failed"]


# --- a user's own ---


def test_a_users_track_sees_every_event() -> None:
    """A track of the user's own gets the events that the journal gets, in the same order."""
    track = RecordingTrack()
    with capture(tracks=[track]) as captured:
        assert_unharmed()
        assert [e.id for e in captured.events_of("*.*")] == [e.id for e in track.events_of("*.*")]


def test_a_users_track_that_raises_does_not_stop_the_next_one() -> None:
    """Each failure is counted; the journal and the track after it have everything."""
    first, second = BrokenTrack(raises=OSError("no")), RecordingTrack()
    with capture(tracks=[first, second]) as captured:
        assert_unharmed()
        assert len(first.events) == len(second.events) == captured.failures()["broken"]
        assert captured.failures()["recording"] == 0
        assert captured.problems[0] == "track broken: OSError: no"
        captured.ids_agree(captured.jobs[0].job_id)


@pytest.mark.parametrize("hook", ["on_event", "on_job_opening", "on_job_closing", "on_job_closed"])
def test_a_users_track_may_raise_in_any_hook(hook: str) -> None:
    """Whichever hook of a user's track raises, jobs end as they would without it."""
    with capture(tracks=[HookTrack(hook)]) as captured:
        assert_unharmed()
        assert captured.failures()["hook"] >= 2
        assert [job.status for job in captured.jobs] == ["completed", "failed"]
        for job in captured.jobs:
            captured.ids_agree(job.job_id)


def test_every_track_is_closed_once_whoever_raises() -> None:
    """``shutdown`` closes all tracks, also those before one whose ``close`` raises."""
    tracks = [RecordingTrack(), BrokenTrack(), RecordingTrack("last")]
    with capture(tracks=tracks):
        assert_unharmed()
        assert fiveobs.shutdown()
        assert [track.closed for track in tracks] == [1, 1, 1]


def test_a_slow_track_delays_only_what_it_runs_in() -> None:
    """A user's track runs in the job's thread, so it costs its own delay and nothing is lost."""
    track = SlowTrack(delay_s=60)
    track.release()
    with capture(tracks=[track]) as captured:
        assert_unharmed()
        assert len(captured.jobs) == 2


def test_what_is_no_exception_goes_through_a_track() -> None:
    """``KeyboardInterrupt`` in a track is the user's Ctrl-C, so it is not swallowed."""
    with capture(tracks=[HookTrackInterrupted()]), pytest.raises(KeyboardInterrupt):
        add_up(1)


class HookTrackInterrupted(RecordingTrack):
    """Is where the user's Ctrl-C arrives."""

    def on_event(self, event: fiveobs.JobEvent) -> None:
        if event.event_type == "job.progress":
            raise KeyboardInterrupt


# --- accounting ---


Work = Callable[[Captured], object]


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda c: None, id="nothing"),
        pytest.param(lambda c: assert_unharmed(), id="jobs"),
        pytest.param(lambda c: fiveobs.announce_job("later", queue="q"), id="announced"),
        pytest.param(lambda c: fiveobs.get_logger("x").info("alone"), id="log"),
        pytest.param(lambda c: observe_job("never ended").__enter__(), id="open"),
    ],
)
def test_the_sums_add_up(work: Work) -> None:
    """Accepted is delivered and pending and dropped, for every track, before and after a flush."""
    with capture() as captured:
        work(captured)
        for done in (False, captured.flush()):
            for sums in captured.accounting().values():
                assert sums.accepted == sums.delivered + sums.pending + sums.dropped
                assert not done or sums.pending == sums.dropped == 0
