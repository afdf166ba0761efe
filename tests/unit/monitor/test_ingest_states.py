"""The state of a job follows from its events, whatever order they are read in."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiveobs._ids import rfc3339
from fiveobs.monitor.ingest.projection import Projection
from fiveobs.monitor.ingest.states import FINAL, JobState, WorkerState
from fiveobs.monitor.ingest.values import to_us
from tests.support.journals import START_NS, line

JOB = "job-1"


class Names:
    """Keys of names: the same for the same names in every order."""

    def project(self, tenant_id: str, project_id: str) -> int:
        return 1

    def kind(self, project_key: int, service: str, job_name: str) -> int:
        return int.from_bytes(f"{service}/{job_name}".encode()[:6])


class Fold:
    """Folds records of workers into the rows of one job."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[int, str], JobState] = {}
        self.workers = {key: WorkerState(key, f"w{key}", 1) for key in range(1, 10)}
        self.projection = Projection(lambda _table: 1, 0, Names(), self.jobs)

    def add(self, worker: int, record: dict[str, Any]) -> None:
        self.projection.add(self.workers[worker], record)

    @property
    def job(self) -> JobState:
        return self.jobs[1, JOB]

    @property
    def rows(self) -> dict[str, Any]:
        """Every column of the job, its attempts and stages."""
        attempts = [self.job.attempts[key] for key in sorted(self.job.attempts)]
        stages = [each.stages[key] for each in attempts for key in sorted(each.stages)]
        named = [*[("job", self.job)], *[("attempt", each) for each in attempts]]
        named += [("stage", each) for each in stages]
        return {
            f"{kind} {number}": dict(zip(row.columns, row.values(row), strict=True))
            for number, (kind, row) in enumerate(named)
        }


def record(at_s: float, event_type: str, *, attempt: int = 1, **data: Any) -> dict[str, Any]:
    """A line about the job; what only the job itself says, by the worker that runs it."""
    fields = {"job_id": JOB, "job_name": "resize", "attempt": attempt, "data": data}
    if event_type.startswith("job.") and event_type not in ("job.received", "job.lost"):
        fields["span_id"] = "aa"
    found: dict[str, Any] = json.loads(line(1, event_type, after_s=at_s, **fields))
    return found


def folded(*records: tuple[int, dict[str, Any]]) -> Fold:
    fold = Fold()
    for worker, each in records:
        fold.add(worker, each)
    return fold


def status(*records: tuple[int, dict[str, Any]]) -> str:
    return folded(*records).job.status


STARTED = (1, record(1, "job.started"))


# --- one event after the other ---


def test_a_job_that_waits_is_received_and_one_that_has_begun_runs() -> None:
    """``job.received`` and ``job.started`` lead to these two statuses."""
    assert status((2, record(0, "job.received"))) == "received"
    assert status((2, record(0, "job.received")), STARTED) == "running"


def test_a_job_whose_beginning_was_not_read_runs_once_it_does_something() -> None:
    """Its own events are evidence enough; a line that anybody may have written is not."""
    assert status((1, record(3, "job.progress", percent=10))) == "running"
    assert status((1, record(3, "log"))) == "received"


def test_pause_and_resume_follow_each_other_by_time() -> None:
    """The later of the two stands."""
    paused, resumed = (1, record(2, "job.paused")), (1, record(3, "job.resumed"))
    assert status(STARTED, paused) == "paused"
    assert status(STARTED, paused, resumed) == "running"
    assert status(STARTED, (2, resumed[1]), paused) == "running"


def test_progress_does_not_end_a_pause() -> None:
    """Another thread of the job may still have had something to say."""
    assert status(STARTED, (1, record(2, "job.paused")), (1, record(3, "job.progress"))) == "paused"


def test_final_statuses_win_over_everything() -> None:
    """Nothing that comes before or after changes how a job has ended; the earliest end stands."""
    for final in sorted(FINAL):
        ended = (1, record(5, f"job.{final}"))
        later = [(3, record(9, "job.lost")), (2, record(9, "job.resumed"))]
        assert status(STARTED, ended, *later) == final
        assert status(*later, STARTED, ended) == final
        assert status(STARTED, (2, record(7, "job.failed")), ended) == final


def test_a_lost_job_is_taken_back_by_what_it_does_later() -> None:
    """A later event of its own does so, an earlier one does not, and its cause goes."""
    lost = (3, record(5, "job.lost", cause="host gone"))
    found = folded(STARTED, lost)
    assert (found.job.status, found.job.attempts[1].lost_cause) == ("lost", "host gone")
    assert status(STARTED, lost, (1, record(4, "job.progress"))) == "lost"
    found = folded(STARTED, lost, (1, record(6, "stage.started", stage="a", index=1)))
    assert (found.job.status, found.job.attempts[1].lost_cause) == ("running", None)


def test_a_paused_job_that_was_lost_is_paused_again() -> None:
    """A sign of life takes the conclusion back, not what was before it."""
    lost, alive = (3, record(5, "job.lost")), (1, record(6, "job.progress"))
    assert status(STARTED, (1, record(2, "job.paused")), lost, alive) == "paused"


def test_a_heartbeat_that_lists_a_lost_job_takes_it_back() -> None:
    """Its worker says that it runs; the heartbeat of another worker says nothing of it."""
    lost = (3, record(5, "job.lost"))
    beat = record(6, "worker.heartbeat", jobs=[{"job_id": JOB}])
    del beat["job_id"]
    assert status(STARTED, lost, (1, beat)) == "running"
    assert status(STARTED, (1, beat), lost) == "running"
    assert status(STARTED, lost, (2, beat)) == "lost"


def test_a_job_has_the_status_of_its_last_attempt() -> None:
    """The attempt with the highest number, also where an earlier one is read later."""
    failed, again = (1, record(2, "job.failed")), (2, record(3, "job.started", attempt=2))
    assert status(STARTED, failed, again) == "running"
    assert status(again, STARTED, failed) == "running"


def test_the_same_attempt_may_be_begun_by_another_worker() -> None:
    """A queue that delivers again counts no attempt; the job is then the other worker's run."""
    lost, again = (3, record(5, "job.lost")), (2, record(9, "job.started") | {"span_id": "bb"})
    for order in itertools.permutations((STARTED, lost, again)):
        attempt = folded(*order).job.attempts[1]
        assert (attempt.status, attempt.worker_key, attempt.span_id) == ("running", 2, "bb")
        assert attempt.started_at_us == to_us(again[1]["timestamp"])


def test_who_reports_a_job_does_not_run_it() -> None:
    """A beginning without a span is told by somebody else, and leaves open where the job runs."""
    told, moved = record(1, "job.started"), record(2, "job.progress")
    del told["span_id"], moved["span_id"]
    attempt = folded((5, told), (5, moved)).job.attempts[1]
    assert (attempt.status, attempt.worker_key) == ("running", None)
    attempt = folded((5, told), STARTED).job.attempts[1]
    assert attempt.worker_key == 1


# --- a clock that is set back ---


HOUR_S = 3600.0


def test_a_lost_job_is_found_again_although_its_clock_was_set_back() -> None:
    """What comes later in its journal is later; another journal has not changed its mind."""
    lost = (3, record(HOUR_S + 5, "job.lost"))
    begun = (1, record(HOUR_S, "job.started"))
    progress = (1, record(10, "job.progress", percent=30.0))
    assert status(begun, (1, record(HOUR_S + 5, "job.progress")), lost) == "lost"
    seen = rfc3339(START_NS + round((HOUR_S + 3) * 1e9))
    lost = (3, record(HOUR_S + 5, "job.lost", last_seen_at=seen))
    for alive in (progress, (1, beat(12, duration_s=9.0))):
        found = folded(begun, (1, record(HOUR_S + 3, "log")), lost, alive)
        assert found.job.status == "running"


def test_a_pause_ends_although_the_clock_was_set_back() -> None:
    """And begins, too."""
    paused, resumed = record(HOUR_S, "job.paused"), record(20, "job.resumed")
    assert status(STARTED, (1, paused), (1, resumed)) == "running"
    paused, resumed = record(20, "job.paused"), record(HOUR_S, "job.resumed")
    assert status(STARTED, (1, resumed), (1, paused)) == "paused"


def test_progress_is_taken_although_the_clock_was_set_back() -> None:
    """The figures are those of the last line, and the times that are shown are the clock's."""
    begun = (1, record(HOUR_S, "job.started"))
    done = (1, record(30, "job.completed", percent=100.0))
    attempt = folded(begun, (1, record(HOUR_S + 1, "job.progress", percent=20.0)), done)
    found = attempt.job.attempts[1]
    assert (found.percent, found.status) == (100.0, "completed")
    assert found.ended_at_us == to_us(done[1]["timestamp"])


# --- a job that is run again under the same number ---


def run(worker: int, span: str, *events: tuple[float, str]) -> list[tuple[int, dict[str, Any]]]:
    """What the process of one run wrote of it: its own events with its span, stages with theirs."""
    found = []
    for at_s, event_type in events:
        is_stage = event_type.startswith("stage.")
        data = {"stage": f"of {span}", "index": 1} if is_stage else {"percent": at_s}
        made = record(at_s, event_type, **data)
        found.append((worker, made | {"span_id": f"{span}-stage" if is_stage else span}))
    return found


MONDAY = run(
    *(1, "aa", (1, "job.started"), (2, "stage.started"), (3, "stage.completed")),
    *((4, "job.progress"), (5, "job.completed")),
)
TUESDAY = run(2, "bb", (101, "job.started"), (102, "stage.started"), (103, "job.progress"))
TUESDAY_FAILED = [*TUESDAY, *run(2, "bb", (105, "job.failed"))]


def test_the_next_run_of_the_same_number_takes_its_place() -> None:
    """``job_id="nightly"`` each day: the job runs, fails, and may be lost, as the last one does."""
    job = folded(*MONDAY, *TUESDAY).job
    attempt = job.attempts[1]
    assert (job.status, attempt.span_id, attempt.worker_key) == ("running", "bb", 2)
    assert (attempt.percent, attempt.ended_at_us, attempt.runs) == (103, None, 2)
    assert [stage.stage for stage in attempt.stages.values()] == ["of bb"]
    assert folded(*MONDAY, *TUESDAY_FAILED).job.status == "failed"
    seen = rfc3339(START_NS + 104 * 10**9)
    lost = (3, record(110, "job.lost", last_seen_at=seen))
    for order in itertools.permutations((MONDAY, TUESDAY, [lost])):
        job = folded(*itertools.chain.from_iterable(order)).job
        assert (job.status, job.attempts[1].lost_cause) == ("lost", "exited")


def test_a_report_that_the_run_before_is_lost_does_not_touch_the_next_one() -> None:
    """It says when the job was last seen."""
    seen = rfc3339(START_NS + 4 * 10**9)
    lost = (3, record(150, "job.lost", last_seen_at=seen))
    for order in itertools.permutations((MONDAY[:4], TUESDAY, [lost])):
        assert status(*itertools.chain.from_iterable(order)) == "running"


def test_two_runs_in_one_process_follow_each_other_in_its_journal() -> None:
    """Also where the clock was set back in between."""
    earlier = run(1, "bb", (0.1, "job.started"), (0.2, "job.progress"))
    assert status(*MONDAY, *earlier) == "running"
    assert folded(*MONDAY, *earlier).job.attempts[1].span_id == "bb"


def test_a_run_that_follows_one_whose_beginning_was_not_read_is_another_one() -> None:
    """What is known of the first one is its end; what of the second one lacks its beginning."""
    assert status(*MONDAY[3:], *TUESDAY) == "running"
    assert status(*MONDAY, *TUESDAY[2:]) == "running"


def test_measures_are_those_of_the_last_run() -> None:
    """What the run before has counted is not added to it."""
    measure = {"kind": "counter", "name": "n", "value": 1, "unit": "", "labels": {}}
    first = [(1, record(3, "metric", **measure) | {"span_id": "aa"})] * 3
    second = [(2, record(103, "metric", **measure) | {"span_id": "bb"})] * 2
    for order in ([*MONDAY, *first, *TUESDAY, *second], [*TUESDAY, *second, *MONDAY, *first]):
        fold = folded(*order)
        ((measured,),) = [list(fold.projection.rows.measures.values())]
        assert measured[2:4] == [2, 2]


def test_a_run_anew_comes_after_the_retries_of_the_one_before() -> None:
    """A higher number is later only among the attempts of one run."""
    retried = [(1, record(7, "job.started", attempt=2) | {"span_id": "cc"})]
    retried += [(1, record(8, "job.completed", attempt=2) | {"span_id": "cc"})]
    for order in ([*MONDAY, *retried, *TUESDAY], [*TUESDAY, *MONDAY, *retried]):
        assert status(*order) == "running"


@settings(deadline=None, max_examples=300)
@given(st.lists(st.integers(0, 119), min_size=20, max_size=20))
def test_any_interleaving_of_two_runs_leads_to_the_same_rows(choices: list[int]) -> None:
    """The week's journals may be read in any order: the last run stands, with its own stages."""
    again = run(4, "cc", (50, "job.started"), (51, "stage.started"), (52, "job.failed"))
    announced = [(5, record(0.5, "job.received", queue="q")), (5, record(100, "log"))]
    files = [MONDAY, TUESDAY_FAILED, again, announced]
    one = folded(*itertools.chain.from_iterable(files))
    other = folded(*_interleaved(itertools.cycle(choices), files))
    assert other.rows == one.rows
    assert (one.job.status, one.job.attempts[1].runs) == ("failed", 3)


# --- what heartbeats say ---


def beat(at_s: float, *, attempt: int = 1, span_id: str = "aa", **listed: Any) -> dict[str, Any]:
    """A heartbeat that lists the job."""
    entry = {"job_id": JOB, "job_name": "resize", "attempt": attempt, "span_id": span_id}
    found = record(at_s, "worker.heartbeat", jobs=[{**entry, **listed}])
    del found["job_id"], found["attempt"], found["job_name"]
    return found


def test_a_job_whose_beginning_was_not_read_runs_where_a_heartbeat_lists_it() -> None:
    """Its worker, its run and when it began are known from there, so it can be lost and stopped."""
    job = folded((1, beat(60, duration_s=50.0))).job
    attempt = job.attempts[1]
    assert (job.status, attempt.worker_key, attempt.span_id) == ("running", 1, "aa")
    assert attempt.started_at_us == to_us(record(10, "log")["timestamp"])
    assert job.kind_key == Names().kind(1, "thumbnails", "resize")
    lost = (3, record(70, "job.lost", last_seen_at=record(60, "log")["timestamp"]))
    assert status((1, beat(60, duration_s=50.0)), lost) == "lost"
    assert status((1, record(50, "log")), (1, beat(60, duration_s=50.0)), lost) == "lost"


def test_what_a_job_says_of_its_beginning_is_better_than_what_a_heartbeat_says() -> None:
    """A heartbeat may be written between a job's beginning and its first line."""
    described = {"span_id": "aa", "service": "other", "parent_job_id": "p"}
    begun = (1, record(1, "job.started", stages=["a"]) | described)
    listed = (1, beat(1.001, duration_s=0.002))
    one, other = folded(begun, listed), folded(listed, begun)
    for fold in (one, other):
        assert (fold.job.parent_job_id, fold.job.kind_key) == ("p", Names().kind(1, "other", ""))
        found = fold.job.attempts[1]
        assert found.started_at_us == to_us(begun[1]["timestamp"])
        assert (found.planned_stages, found.runs) == ('["a"]', 1)


def test_a_heartbeat_that_comes_after_the_end_changes_nothing() -> None:
    """It was being made while the job ended."""
    fold = folded(*MONDAY)
    before = fold.rows
    fold.add(1, beat(5.1, duration_s=4.1))
    assert fold.rows == before


def test_a_heartbeat_tells_of_a_run_whose_beginning_was_not_read() -> None:
    """Another run than the one that has ended, which is not taken for it."""
    fold = folded(*MONDAY, (2, beat(200, span_id="bb", duration_s=99.0)))
    assert (fold.job.status, fold.job.attempts[1].worker_key) == ("running", 2)
    fold = folded(*TUESDAY, (1, beat(104, span_id="aa", duration_s=103.0)))
    assert (fold.job.attempts[1].span_id, fold.job.attempts[1].runs) == ("bb", 1)


def test_a_heartbeat_does_not_end_a_pause() -> None:
    """A paused job is alive."""
    paused = [*run(1, "aa", (1, "job.started"), (2, "job.paused"))]
    assert status(*paused, (1, beat(60, duration_s=59.0))) == "paused"


# --- what is refused ---


def deep(levels: int) -> dict[str, Any]:
    """More levels than JSON can be written with."""
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"a": found}
    return found


@pytest.mark.parametrize("event_type", ["job.completed", "job.started", "stage.started"])
def test_an_event_that_is_refused_changes_nothing(event_type: str) -> None:
    """Its data cannot be written: the job is as it was, and no key is used up."""
    fold = folded(STARTED)
    before, key = fold.rows, fold.projection.event_key
    refused = record(3, event_type, stage="a", index=1, percent=9.0, deep=deep(300))
    with pytest.raises(TypeError, match="Recursion limit"):
        fold.add(1, refused)
    assert (fold.rows, fold.projection.event_key) == (before, key)
    fold.add(1, record(4, "log"))
    assert [row[0] for row in fold.projection.rows.events] == [1, 2]


def test_a_worker_s_event_that_is_refused_changes_nothing() -> None:
    """The worker is as it was, too."""
    fold = Fold()
    refused = record(1, "worker.started", resource=deep(300), pid=7)
    del refused["job_id"]
    before = fold.workers[1].values(fold.workers[1])
    with pytest.raises(TypeError, match="Recursion limit"):
        fold.add(1, refused)
    assert fold.workers[1].values(fold.workers[1]) == before


@pytest.mark.parametrize("needed", [5, 1.5, True, [[1]], {"a": {}}, "job-0"])
def test_what_a_job_needs_may_be_nonsense(needed: object) -> None:
    """It begins all the same: what is no id of a job is left out."""
    fold = folded((1, record(1, "job.started", depends_on=needed)))
    assert fold.job.status == "running"
    assert [row[1] for row in fold.projection.rows.dependencies] == (
        ["job-0"] if needed == "job-0" else ["a"] if isinstance(needed, dict) else []
    )


def test_a_job_that_is_refused_uses_up_no_key() -> None:
    """Whether it is refused is known before it is given a key."""
    keys: list[str] = []
    projection = Projection(lambda table: keys.append(table) or 1, 0, Names(), {})
    for refused in (record(1, "job.started", attempt=2**40), record(1, "log") | {"job_id": ""}):
        with pytest.raises(ValueError, match=r"attempt|job_id"):
            projection.add(WorkerState(1, "w1", 1), refused)
    assert keys == []


def test_a_name_that_is_too_long_is_cut() -> None:
    """The writer takes it, so the monitor does: a measure, a stage, a resource."""
    fold = folded(STARTED, (1, record(2, "stage.started", stage="s" * 300, index=1)))
    assert fold.job.attempts[1].stages[1].stage == "s" * 256
    measure = {"kind": "counter", "name": "n" * 300, "value": 1, "unit": "", "labels": {}}
    fold.add(1, record(3, "metric", **measure))
    fold.add(1, record(3, "metric", **measure | {"name": "n" * 301}))
    ((_, _, named, _),) = fold.projection.rows.measures
    assert named == "n" * 256


# --- in any order ---


def _story() -> list[list[tuple[int, dict[str, Any]]]]:
    """What each process wrote about one job, in its order."""
    announcer = [
        (2, record(0.5, "log", note="to be queued")),
        (2, record(1.0, "job.received", queue="q", attributes={"priority": "high"})),
        (2, record(40.0, "log", note="asked about it")),
    ]
    first = [
        (1, record(2.0, "job.started", stages=["a", "b"], queue="q", input_size_bytes=5)),
        (1, record(2.5, "stage.started", stage="a", index=1, unit="rows", total=10)),
        (1, record(3.0, "stage.progress", stage="a", index=1, unit="rows", done=5, percent=50.0)),
        (1, record(3.5, "job.progress", percent=20.0, done=1, total=5)),
        (1, record(4.0, "job.paused")),
        (1, record(6.0, "job.resumed")),
        (1, record(6.5, "stage.completed", stage="a", index=1, done=10, duration_s=4.0)),
        (1, record(7.0, "stage.started", stage="b", index=2, unit="rows")),
        (1, record(8.0, "job.failed", duration_s=6.0, percent=55.0, stage="b")),
        (1, record(8.1, "job.retrying", reason="again", delay_s=1.0)),
    ]
    second = [
        (4, record(10.0, "job.started", attempt=2, stages=["a"])),
        (4, record(11.0, "job.progress", attempt=2, percent=90.0)),
        (4, record(30.0, "log", attempt=2, note="late")),
    ]
    reporter = [(5, record(5.0, "job.progress", percent=33.0, done=2)), (5, record(9, "log"))]
    monitor = [(3, record(20.0, "job.lost", attempt=2, cause="host gone"))]
    return [announcer, first, second, reporter, monitor]


def _interleaved(
    choices: Iterator[int], files: list[list[tuple[int, dict[str, Any]]]]
) -> list[tuple[int, dict[str, Any]]]:
    rest = [list(each) for each in files]
    found = []
    while rest := [each for each in rest if each]:
        found.append(rest[next(choices) % len(rest)].pop(0))
    return found


@settings(deadline=None, max_examples=300)
@given(st.lists(st.integers(0, 119), min_size=20, max_size=20))
def test_any_interleaving_of_the_files_leads_to_the_same_rows(choices: list[int]) -> None:
    """Each file in its order, the files in any: job, attempts and stages end up the same."""
    one = folded(*itertools.chain.from_iterable(_story()))
    other = folded(*_interleaved(itertools.cycle(choices), _story()))
    assert other.rows == one.rows
    assert one.job.status == "lost"


def test_columns_of_rows_are_those_of_the_tables() -> None:
    """A row class has each column of its table, in order, so a row is written as it is."""
    from fiveobs.monitor.store import schema

    fold = folded(STARTED, (1, record(2, "stage.started", stage="a", index=1)))
    table_rows = {
        schema.events: fold.projection.rows.events[0],
        schema.jobs: fold.job.values(fold.job),
    }
    for table, row in table_rows.items():
        assert len(row) == len(table.columns)
    event = dict(zip(schema.events.columns.keys(), fold.projection.rows.events[0], strict=True))
    assert (event["event_type"], event["level"], event["data"]) == ("job.started", 20, "{}")
