"""Past runs in columns."""

from __future__ import annotations

import numpy as np

from fiveobs.monitor.analytics.columns import Origin, coded
from tests.support.past_runs import MONDAY_S, past, run_row, step_row


def test_runs_come_in_the_order_in_which_they_began() -> None:
    """Whatever order the rows have; runs that never began are left out."""
    rows = [run_row(3, MONDAY_S + 30), run_row(1, MONDAY_S + 10), run_row(2, started_at_us=None)]
    runs, _ = past(rows)
    assert runs.job_key.tolist() == [1, 3]
    assert runs.started_at_s.tolist() == [MONDAY_S + 10, MONDAY_S + 30]


def test_what_is_not_known_is_nan_or_empty() -> None:
    """Numbers are NaN, texts are empty, a process has the key -1."""
    unknown = {"duration_s": None, "cpu_s": None, "queue_wait_s": None, "worker_key": None}
    runs, steps = past([run_row(1, **unknown)], [step_row(1, memory_rss_bytes=None)])
    for values in (runs.duration_s, runs.cpu_s, runs.queue_wait_s, steps.memory_bytes):
        assert np.isnan(values).all()
    assert (runs.error_type[0], runs.release[0], runs.worker_key[0]) == ("", "", -1)


def test_where_a_run_ran_follows_from_its_process() -> None:
    """Worker, machine and release are those of the worker's key."""
    origins = {7: Origin("w", "m", "1.2.3")}
    runs, _ = past([run_row(1, worker_key=7), run_row(2, worker_key=8)], origins=origins)
    assert runs.worker_key.tolist() == [7, 8]
    found = zip(runs.worker, runs.machine, runs.release, strict=True)
    assert list(found) == [("w", "m", "1.2.3"), ("", "", "")]


def test_a_lost_run_failed_and_a_stopped_one_did_not() -> None:
    """Who was stopped, cancelled or interrupted neither failed nor was completed."""
    words = ("completed", "failed", "lost", "stopped", "cancelled", "interrupted")
    runs, _ = past([run_row(place, MONDAY_S + place, status=w) for place, w in enumerate(words)])
    assert runs.is_failed.tolist() == [False, True, True, False, False, False]
    assert runs.is_completed.tolist() == [True, False, False, False, False, False]


def test_a_step_belongs_to_its_run_and_attempt() -> None:
    """Steps of attempts that are not among the runs are left out."""
    rows = [run_row(1, MONDAY_S + 5), run_row(2), run_row(1, MONDAY_S + 9, attempt=2)]
    steps = [step_row(1), step_row(1, attempt=2), step_row(1, attempt=3), step_row(9), step_row(2)]
    runs, found = past(rows, steps)
    assert found.run.tolist() == [0, 1, 2]
    assert runs.job_key[found.run].tolist() == [2, 1, 1]


def test_some_of_them_are_cut_together() -> None:
    """By mask, by place and by slice, all columns alike."""
    runs, steps = past([run_row(key, MONDAY_S + key) for key in range(4)], [step_row(2)])
    for wanted in (runs.job_key > 1, np.array([2, 3]), slice(2, None)):
        cut = runs.where(wanted)
        assert (len(cut), cut.job_id.tolist()) == (2, ["job-2", "job-3"])
    assert len(steps.where(steps.is_failed)) == 0


def test_no_rows_are_no_columns() -> None:
    """Everything is there, and empty."""
    runs, steps = past([])
    assert (len(runs), len(steps), steps.names) == (0, 0, [])
    assert runs.is_failed.tolist() == runs.is_completed.tolist() == steps.is_failed.tolist() == []


def test_texts_become_places_in_a_sorted_list() -> None:
    """So that they group as numbers do."""
    texts = np.array(["b", "", "a", "b"], dtype=object)
    found = coded(texts)
    assert found.names == ["", "a", "b"]
    assert [found.names[code] for code in found.codes] == texts.tolist()
