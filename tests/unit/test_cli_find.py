"""``fiveobs find``: every record of an id over all tracks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fiveobs.cli import main
from fiveobs.journal.records import WANTS
from fiveobs.journal.writer import Journal, JournalSettings
from tests.support.journals import append, line, write_cursor, write_segment

ROOT = Path(__file__).resolve().parents[2]
JOB = "0198f0aa-bbbb-7ccc-8ddd-0123456789ab"
OTHER = "0198f0aa-bbbb-7ccc-8ddd-ffffffffffff"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENTRY = "9fb29b0cdfe14a5a8e8ad1bd76b47d17"


def find(capsys, *arguments: str) -> tuple[int, str]:
    code = main(["find", *arguments])
    return code, capsys.readouterr().out


def found(capsys, *arguments: str) -> dict:
    code, printed = find(capsys, "--json", *arguments)
    answer = json.loads(printed)
    assert code == (0 if answer["count"] or answer.get("child_jobs") else 1)
    return answer


def numbers(answer: dict) -> list[int]:
    return [each["record"]["seq"] for each in answer["records"]]


@pytest.fixture
def journal(fiveobs_home):
    """A job that failed at the second attempt, over two processes, beside another job's records."""
    ids = {
        "job_id": JOB,
        "job_name": "resize",
        "trace_id": TRACE,
        "span_id": "00f067aa0ba902b7",
        "session_id": "session-xyz",
        "request_id": "request-77",
        "worker_id": "worker-gpu-01",
        "machine_id": "machine-prod-03",
    }
    first = [
        line(1, "job.received", **ids),
        line(2, "job.started", **ids, attempt=1),
        line(3, "job.started", job_id=OTHER, job_name="other", worker_id="worker-gpu-01"),
        line(4, "job.retrying", **ids, attempt=1, data={"next_attempt": 2}),
    ]
    second = [
        line(5, "job.started", **ids, attempt=2),
        line(6, "log", **ids, message="half way"),
        line(7, "envelope", **ids, data={"envelope": f'{{"event_id":"{SENTRY}"}}\n{{}}'}),
        line(8, "job.started", job_id="child-000001", job_name="child", parent_job_id=JOB),
        line(
            9,
            "job.failed",
            **ids,
            attempt=2,
            level="error",
            span={"name": "resize"},
            data={
                "duration_s": 1.25,
                "error": {"type": "ValueError", "message": "bad image"},
                "sentry_event_id": SENTRY,
            },
        ),
    ]
    write_segment(fiveobs_home, "a-1-1", 1, *first)
    write_segment(fiveobs_home, "b-2-2", 1, *second)
    write_cursor(fiveobs_home, "a-1-1", "logs", segment=2, delivered=4)
    write_cursor(fiveobs_home, "b-2-2", "logs", offset=len(second[0]), delivered=1)
    write_cursor(fiveobs_home, "b-2-2", "traces")
    write_cursor(fiveobs_home, "b-2-2", "errors", segment=2, delivered=1, dropped=1)
    return fiveobs_home


ALL = [1, 2, 4, 5, 6, 7, 9]


@pytest.mark.parametrize(
    ("wanted", "kinds", "shown"),
    [
        (JOB, ["job_id"], ALL),
        (JOB.upper(), ["job_id"], ALL),
        (JOB.replace("-", ""), ["job_id"], ALL),
        ("…0123456789ab", ["job_id"], ALL),
        ("456789ab", ["job_id"], ALL),
        (TRACE, ["trace_id"], ALL),
        ("4bf92f35-77b3-4da6-a3ce-929d0e0e4736", ["trace_id"], ALL),
        ("4bf92f", ["trace_id"], ALL),
        ("00f067aa0ba902b7", ["span_id"], ALL),
        ("session-xyz", ["session_id"], ALL),
        ("request-77", ["request_id"], ALL),
        ("machine-prod-03", ["machine_id"], ALL),
        ("worker-gpu-01", ["worker_id"], [1, 2, 3, 4, 5, 6, 7, 9]),
        ("00000000000000aa-6", ["id", "job_id"], ALL),
        (SENTRY, ["job_id", "sentry_event_id"], ALL),
        ("9fb29b0c", ["job_id", "sentry_event_id"], ALL),
        ("00000000000000aa-3", ["id", "job_id"], [3]),
    ],
)
def test_every_kind_of_id_is_found(journal, capsys, wanted, kinds, shown):
    """Records are found by any id, however it is written, in time order over all processes.

    The id of one event, or of one Sentry event, leads to the whole job.
    """
    answer = found(capsys, wanted)
    assert (answer["kinds"], numbers(answer)) == (kinds, shown)


def test_each_record_says_which_tracks_have_shipped_it(journal, capsys):
    """A record's tracks are those that take it; the cursors say whether they have shipped it."""
    tracks = {each["record"]["seq"]: each["tracks"] for each in found(capsys, JOB)["records"]}
    assert tracks == {
        1: {"events": "delivered", "logs": "delivered", "metrics": "not configured"},
        2: {"events": "delivered", "logs": "delivered"},
        4: {"events": "delivered", "logs": "delivered"},
        5: {"events": "delivered", "logs": "delivered"},
        6: {"events": "delivered", "logs": "pending"},
        7: {"errors": "delivered or dropped"},
        9: {
            "events": "delivered",
            "logs": "pending",
            "traces": "pending",
            "metrics": "not configured",
        },
    }


def test_the_summary_tells_the_job_from_its_end(journal, capsys):
    """Status, duration, attempts, error and relatives come from the latest records."""
    answer = found(capsys, JOB)
    (job,) = answer["jobs"]
    assert (job["status"], job["duration_s"], job["attempts"]) == ("failed", 1.25, 2)
    assert job["error"] == "ValueError: bad image"
    assert answer["child_jobs"] == {"child-000001": "child"}
    assert answer["ids"]["sentry_event_id"] == [SENTRY]
    (child,) = found(capsys, "child-000001")["jobs"]
    assert (child["status"], child["parent_job_id"]) == ("running", JOB)


def test_queries_for_other_tools_are_given(journal, capsys):
    """For each track there is a query to paste, and the metrics' time is around the job's."""
    queries = {title: dict(rows) for title, rows in found(capsys, JOB)["queries"].items()}
    assert queries["Logs"]["query"] == f'job_id="{JOB}"'
    assert queries["Logs"]["LogQL"] == f'{{service_name=~".+"}} |= "{JOB}"'
    assert queries["Traces"]["query"] == f'trace_id="{TRACE}"'
    assert queries["Traces"]["TraceQL"] == f'{{ span.job.id = "{JOB}" }}'
    assert queries["Metrics"]["query"] == (
        'worker_id="worker-gpu-01" AND timestamp >= 2026-01-02T03:03:06Z'
        " AND timestamp <= 2026-01-02T03:05:14Z"
    )
    assert queries["Metrics"]["PromQL"] == (
        'increase(jobs_processed_total{worker_id="worker-gpu-01"}[128s] @ 1767323114)'
    )
    assert queries["Errors"] == {"Sentry event": SENTRY, "Sentry": f"job_id:{JOB}"}
    assert queries["Events"]["query"] == 'session_id="session-xyz"'


def test_people_see_records_then_the_summary(journal, capsys):
    """Without ``--json`` each record is a line with its tracks, and the summary follows."""
    code, printed = find(capsys, JOB)
    records, _, summary = printed.partition("\n\n")
    assert code == 0
    assert len(records.splitlines()) == len(ALL)
    assert "[events, logs:pending, traces:pending, metrics:not sent]" in records
    for text in (f"Job {JOB} thumbnails/resize", "failed: ValueError: bad image", "1.2 s"):
        assert text in summary
    for text in ("child-000001", "session-xyz", "LogQL", "TraceQL", "PromQL", f"job_id:{JOB}"):
        assert text in summary


def test_the_record_that_was_asked_for_is_marked(journal, capsys):
    """When one record's id was given, it is marked among those of its job."""
    _, printed = find(capsys, "00000000000000aa-6")
    marked = [each for each in printed.splitlines() if each.startswith("> ")]
    assert len(marked) == 1
    assert "half way" in marked[0]


def test_an_ambiguous_part_lists_the_candidates(journal, capsys):
    """A part that fits several ids finds none of them, but says which there are."""
    answer = found(capsys, "0198f0aa")
    assert answer["count"] == 0
    assert {each["id"] for each in answer["candidates"]} == {JOB, OTHER}
    code, printed = find(capsys, "0198f0aa")
    assert code == 1
    assert "thumbnails/resize failed" in printed
    assert OTHER in printed


def test_a_whole_id_is_not_taken_for_a_part(fiveobs_home, capsys):
    """An id that is also the beginning of others is found alone."""
    lines = (
        line(seq, "job.started", job_id=job) for seq, job in enumerate(("job-12", "job-123"), 1)
    )
    write_segment(fiveobs_home, "a-1-1", 1, *lines)
    assert numbers(found(capsys, "job-12")) == [1]


def test_parts_below_six_characters_find_nothing(journal, capsys):
    """Five characters of an id are too few; whoever tries is told so."""
    code, printed = find(capsys, "4bf92")
    assert code == 1
    assert "at least 6 characters" in printed


def test_an_id_in_the_text_of_a_record_is_not_an_id(fiveobs_home, capsys):
    """A message or data that mentions an id does not make the record one of that id."""
    write_segment(fiveobs_home, "a-1-1", 1, line(1, message=f"see {JOB}", data={"job_id": JOB}))
    assert found(capsys, JOB)["candidates"] == []


def test_nothing_found_says_where_it_looked(journal, capsys):
    """What was searched, and how much of it, is said when nothing is found."""
    code, printed = find(capsys, "no-such-job")
    assert code == 1
    assert "9 records in 2 files" in printed
    assert str(journal / "journal") in printed


def test_a_home_without_journal_says_what_to_do(capsys, fiveobs_home):
    """Where no journal is, the message leads to FIVEOBS_HOME."""
    code, printed = find(capsys, "no-such-job")
    assert code == 1
    assert "FIVEOBS_HOME" in printed
    assert not fiveobs_home.exists()


def test_the_limit_keeps_the_latest_records(journal, capsys):
    """``--limit`` bounds what is printed, not what is counted and summed up."""
    answer = found(capsys, JOB, "--limit", "2")
    assert (answer["count"], numbers(answer)) == (7, [7, 9])
    assert answer["jobs"][0]["first_at"].endswith("03:04:06.000000Z")


def test_many_jobs_are_summed_up_by_status(fiveobs_home, capsys):
    """Of a worker's many jobs some are shown and the others counted."""
    lines = (
        line(seq, "job.completed", job_id=f"job-{seq:04}", worker_id="worker-1")
        for seq in range(1, 51)
    )
    write_segment(fiveobs_home, "a-1-1", 1, *lines)
    _, printed = find(capsys, "worker-1")
    assert "and 30 more jobs: 30 completed" in printed


def test_a_real_journal_of_many_segments_is_searched(fiveobs_home, capsys):
    """Records are found in all segments that a journal has written, at their true places."""
    settings = JournalSettings(segment_bytes=4000)
    journal = Journal(fiveobs_home / "journal", "m", settings, WANTS, lambda *_: None)
    for seq in range(1, 201):
        append(journal, line(seq, "log", job_id=f"job-{seq % 10:06}"))
    journal.close()
    answer = found(capsys, "job-000007")
    assert numbers(answer) == list(range(7, 201, 10))
    for each in answer["records"]:
        path = fiveobs_home / "journal" / f"{each['stem']}.{each['segment']:06}.log"
        at_place = path.read_bytes()[each["offset"] :].partition(b"\n")[0]
        assert json.loads(at_place) == each["record"]


def test_it_runs_as_a_program(journal):
    """``python -m fiveobs find`` prints and ends with 0, or with 1 where there is nothing."""
    for wanted, code in ((JOB, 0), ("no-such-job", 1)):
        done = subprocess.run(
            [sys.executable, "-m", "fiveobs", "find", wanted],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (code, "")
        assert wanted in done.stdout
