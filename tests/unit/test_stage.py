"""Stages: progress, figures, spans of their own, and the job's present stage."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fiveobs import ContextThreadPoolExecutor, bind_context, observe_job
from fiveobs.testing import Captured, FakeClock, capture


@pytest.fixture
def captured() -> Iterator[Captured]:
    with capture(clock=FakeClock()) as found:
        yield found


def test_a_stage_has_a_beginning_and_an_end(captured: Captured) -> None:
    """Two events with its own span, its number, and what it used."""
    with observe_job("job") as job, job.stage("Loading", total=4, unit="files") as stage:
        captured.clock.advance(2)
        stage.advance(3)
    started, *_, completed = captured.events_of("stage.*")
    assert started.event_type == "stage.started"
    assert dict(started.data) == {"stage": "Loading", "index": 1, "unit": "files", "total": 4}
    assert completed.event_type == "stage.completed"
    data = completed.data
    assert (data["done"], data["percent"], data["duration_s"]) == (3, 75.0, 2.0)
    assert (data["rate_per_s"], data["eta_s"]) == (1.5, 0.667)
    assert {"cpu_s", "memory_rss_bytes", "memory_growth_bytes"} <= data.keys()
    assert started.span_id == completed.span_id != job.span_id
    assert started.job_id == job.job_id


def test_progress_is_said_twice_a_second_at_most(captured: Captured) -> None:
    """However often a stage advances; the end has the sum."""
    with observe_job("job") as job, job.stage("Loading") as stage:
        for _ in range(100):
            captured.clock.advance(0.0625)
            stage.advance(2)
    said = captured.events_of("stage.progress")
    assert len(said) == 12
    assert [each.data["done"] for each in said[:2]] == [16, 32]
    assert "percent" not in said[0].data
    assert captured.events_of("stage.completed")[0].data["done"] == 200


@pytest.mark.parametrize(
    ("total", "done", "percent", "eta_s"),
    [(10, 5, 50.0, 1.0), (10, 20, 100.0, 0.0), (0, 5, None, None), (None, 5, None, None)],
)
def test_progress_has_bounds(
    captured: Captured, total: Any, done: int, percent: Any, eta_s: Any
) -> None:
    """Never above 100 %, never negative, nothing without a total."""
    with observe_job("job") as job, job.stage("Loading", total=total) as stage:
        captured.clock.advance(1)
        stage.advance(done)
        assert (stage.percent, stage.eta_s) == (percent, eta_s)


def test_nothing_done_has_no_time_left(captured: Captured) -> None:
    """A rate of zero tells nothing."""
    with observe_job("job") as job, job.stage("Loading", total=5) as stage:
        assert (stage.rate_per_s, stage.eta_s, stage.percent) == (0.0, None, 0.0)


@pytest.mark.parametrize("bad", ["many", None, object()])
def test_a_count_that_is_no_number_does_not_raise(captured: Captured, bad: Any) -> None:
    """Neither as a step nor as a total."""
    with observe_job("job") as job, job.stage("Loading", total=bad) as stage:
        captured.clock.advance(1)
        stage.advance(bad)
        stage.advance(2)
    assert captured.job().status == "completed"
    assert captured.events_of("stage.completed")


def test_a_stage_that_raises_has_failed(captured: Captured) -> None:
    """The exception goes on; event and span say what it was."""
    with (
        pytest.raises(ValueError, match="bad row"),
        observe_job("job") as job,
        job.stage("Loading"),
    ):
        raise ValueError("bad row")
    (failed,) = captured.events_of("stage.failed")
    assert failed.level == "error"
    assert failed.data["error"] == {"type": "ValueError", "message": "bad row"}
    span = next(each for each in captured.spans if each["name"] == "Loading")
    assert span["status"] == {"code": "ERROR", "message": "bad row"}
    assert span["attributes"]["error.type"] == "ValueError"
    assert span["parent_span_id"] == job.span_id


def test_the_last_event_of_a_job_names_the_stage_that_failed(captured: Captured) -> None:
    """The innermost one; a stage whose error was handled is not named."""
    with (
        pytest.raises(ValueError),
        observe_job("job") as job,
        job.stage("Loading"),
        job.stage("Parsing"),
    ):
        raise ValueError("bad row")
    with pytest.raises(ValueError), observe_job("handled") as job:
        try:
            with job.stage("Loading"):
                raise KeyError("skipped")
        except KeyError:
            pass
        raise ValueError("later")
    first, second = captured.events_of("job.failed")
    assert first.data["stage"] == "Parsing"
    assert "stage" not in second.data


def test_a_stage_has_attributes_of_its_own(captured: Captured) -> None:
    """Said when they are new, and all of them at the end and on the span; secrets are masked."""
    with observe_job("job") as job:
        loading = job.stage("Loading")
        loading.set(algorithm="fast")
        with loading as stage:
            stage.set(valid=True, password="hunter2")
            for _ in range(2):
                captured.clock.advance(1)
                stage.advance(1)
    started, first, second, completed = captured.events_of("stage.*")
    assert started.data["attributes"] == {"algorithm": "fast"}
    everything = {"algorithm": "fast", "valid": True, "password": "[redacted]"}
    assert first.data["attributes"] == everything
    assert "attributes" not in second.data
    assert completed.data["attributes"] == everything
    span = next(each for each in captured.spans if each["name"] == "Loading")
    assert span["attributes"]["algorithm"] == "fast"
    assert "hunter2" not in str(captured.spans)


def test_what_went_over_the_network_is_said_of_a_stage(captured: Captured) -> None:
    """Both ways, beside CPU, memory and disk."""
    with observe_job("job") as job, job.stage("Loading"):
        pass
    (completed,) = captured.events_of("stage.completed")
    assert completed.data["network_receive_bytes"] >= 0
    assert completed.data["network_transmit_bytes"] >= 0


def test_a_size_that_is_told_later_is_on_the_last_event(captured: Captured) -> None:
    """``job.sizes`` comes after the first event; what that has said is not said again."""
    with observe_job("job") as job:
        job.sizes(input_bytes=10, output_bytes=20)
    (completed,) = captured.events_of("job.completed")
    assert (completed.data["input_size_bytes"], completed.data["output_size_bytes"]) == (10, 20)
    with observe_job("job"):
        pass
    assert "input_size_bytes" not in captured.events_of("job.completed")[1].data


def test_stages_within_stages_are_spans_within_spans(captured: Captured) -> None:
    """And the job's present stage is the innermost open one."""
    with observe_job("job") as job:
        with job.stage("outer"):
            with job.stage("inner"):
                assert job.stage_name == "inner"
            assert job.stage_name == "outer"
        assert job.stage_name is None
    spans = {span["name"]: span for span in captured.spans}
    assert spans["inner"]["parent_span_id"] == spans["outer"]["span_id"]
    assert spans["outer"]["parent_span_id"] == spans["job"]["span_id"]
    assert [event.data["index"] for event in captured.events_of("stage.started")] == [1, 2]


def test_parallel_stages_each_have_their_span(captured: Captured) -> None:
    """In threads of the job; once all have ended the job is in no stage."""
    barrier = threading.Barrier(3)

    def part(name: str) -> None:
        with job.stage(name):
            barrier.wait(5)
            with job.stage(f"{name}'s"):
                barrier.wait(5)

    with observe_job("job") as job:
        with ContextThreadPoolExecutor(3) as pool:
            list(pool.map(part, ["a", "b", "c"]))
        assert job.stage_name is None
    spans = {span["name"]: span for span in captured.spans}
    for name in "abc":
        assert spans[name]["parent_span_id"] == job.span_id
        assert spans[f"{name}'s"]["parent_span_id"] == spans[name]["span_id"]


def test_a_stage_in_a_plain_thread_belongs_to_the_job(captured: Captured) -> None:
    """Also where no context was carried along."""
    with observe_job("job") as job:
        thread = threading.Thread(
            target=lambda: job.stage("far").__enter__().__exit__(None, None, None)
        )
        thread.start()
        thread.join()
    spans = {span["name"]: span for span in captured.spans}
    assert spans["far"]["parent_span_id"] == job.span_id
    assert spans["far"]["trace_id"] == job.trace_id


def test_a_job_within_a_stage_is_the_stages_child(captured: Captured) -> None:
    """The tree of spans shows where it was started."""
    with observe_job("outer") as outer, outer.stage("part"):
        bind_context(observe_job("inner")(lambda: None))()
    spans = {span["name"]: span for span in captured.spans}
    assert spans["inner"]["parent_span_id"] == spans["part"]["span_id"]


def test_stages_may_be_awaited(captured: Captured) -> None:
    """``async with`` is as ``with``; tasks in a stage are in its span."""

    async def main() -> None:
        async with observe_job("job") as job, job.stage("part"):
            await asyncio.gather(child(), child())

    async def child() -> None:
        async with observe_job("child"):
            await asyncio.sleep(0)

    asyncio.run(main())
    part = next(span for span in captured.spans if span["name"] == "part")
    children = [span for span in captured.spans if span["name"] == "child"]
    assert [each["parent_span_id"] for each in children] == [part["span_id"]] * 2


def test_a_stage_name_is_made_safe(captured: Captured) -> None:
    """A label of metrics is one short line."""
    with observe_job("job") as job:
        for name in ("a\nb", "", "x" * 500):
            with job.stage(name):
                pass
    names = [event.data["stage"] for event in captured.events_of("stage.started")]
    assert names == ["a_b", "unnamed", "x" * 199 + "…"]


def test_a_stage_outside_a_pipeline_does_nothing() -> None:
    """Where nothing is observed the block runs all the same."""
    with capture(enabled=False) as captured:
        with observe_job("job") as job, job.stage("part", total=2) as stage:
            stage.advance()
            assert stage.percent == 50.0
        assert captured.events == []


def test_a_stage_goes_on_without_its_span(
    captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traces track that raises costs the span, not the events."""
    from fiveobs.tracks.traces import TracesTrack

    def broken(*args: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(TracesTrack, "open_stage", broken)
    with observe_job("job") as job, job.stage("part"):
        pass
    assert [event.event_type for event in captured.events_of("stage.*")] == [
        *("stage.started", "stage.completed"),
    ]
    assert any("broken" in problem for problem in captured.problems)
