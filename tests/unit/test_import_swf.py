"""``fiveobs import swf``: traces become journals that the monitor takes in like any others."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import fiveobs
from fiveobs.cli import _imported, main
from fiveobs.cli._imported import Importing, kind_of
from fiveobs.cli._swf import BadLine, Job, TraceReader
from tests.support.ingesting import Taking, rows
from tests.support.stores import open_sqlite

HEADER = b"; Version: 2.2\n; UnixStartTime: 1000000000\n; MaxProcs: 64\n"
#: Numbers made up by hand: one job for each thing that a line can say.
LINES = (
    b"1 0 10 100 4 50.5 1000 4 3600 2000 1 5 2 3 1 0 -1 -1\n",
    b"2 50 20 200 8 -1 -1 8 7200 -1 0 6 2 -1 1 0 1 30\n",
    b"3 100 -1 -1 -1 -1 -1 -1 -1 -1 5 7 2 -1 1 0 -1 -1\n",
    b"4 110 5 30 1 -1 -1 1 60 -1 5 5 2 3 1 0 -1 -1\n",
    b"5 120 -1 7 1 -1 -1 1 10 -1 -1 5 2 3 -1 -1 -1 -1\n",
    b"6 130 0 50 1 -1 -1 1 60 -1 1 -1 -1 -1 -1 -1 -1 -1\n",
    b"6 130 0 20 1 -1 -1 1 60 -1 2 -1 -1 -1 -1 -1 -1 -1\n",
    b"6 -1 5 30 1 -1 -1 1 60 -1 3 -1 -1 -1 -1 -1 -1 -1\n",
    b"7 150 5 -1 1 -1 -1 1 10 -1 -1 5 2 3 1 0 -1 -1\n",
)


def jobs(*lines: bytes) -> list[Job | BadLine]:
    return list(TraceReader(lines))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.swf"
    path.write_bytes(HEADER + b"".join(LINES))
    return path


def imported(home: Path, *arguments: str) -> int:
    home.mkdir(exist_ok=True)
    return main(["import", "swf", *arguments, "--home", str(home)])


def journal(home: Path) -> list[bytes]:
    files = sorted((home / "journal").glob("*.log"))
    return [line for path in files for line in path.read_bytes().splitlines()]


# --- reading -----------------------------------------------------------------------------------


def test_every_field_of_a_job_is_read() -> None:
    """In its unit; -1 is unknown."""
    (found,) = jobs(LINES[0])
    assert found == Job(
        line=1,
        number=1,
        submitted_s=0,
        wait_s=10,
        run_s=100,
        processors=4,
        cpu_s=50.5,
        memory_kib=1000,
        requested_processors=4,
        requested_s=3600,
        requested_memory_kib=2000,
        status=1,
        user=5,
        group=2,
        application=3,
        queue=1,
        partition=0,
        preceding=None,
        think_s=None,
    )


def test_the_header_says_when_the_trace_began() -> None:
    """And everything else that it says; a trace without one begins in 1970."""
    reader = TraceReader(HEADER.splitlines(keepends=True))
    assert reader.start_s == 0
    assert list(reader) == []
    assert (reader.start_s, reader.header["MaxProcs"]) == (1_000_000_000, "64")
    assert TraceReader([]).start_s == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"x y", "2 fields; a job has 18"),
        (b"1 0 " + b"1 " * 8 + b"7" + b" 1" * 7, "status: '7'"),
        (b"1 soon" + b" 1" * 16, "submit time: 'soon'"),
        (b"1 nan" + b" 1" * 16, "submit time: 'nan'"),
        (b"-1 0" + b" 1" * 16, "job number: '-1'"),
        (b"1 -1" + b" 1" * 16, "submit time: '-1'"),
        (b"1 1e99" + b" 1" * 16, "submit time: '1e99'"),
        (b"1 0 1e11" + b" 1" * 15, "wait time: '1e11'"),
        (b"\xff" + b" 1" * 17, "job number"),
    ],
)
def test_a_bad_line_is_named_with_the_reason(line: bytes, reason: str) -> None:
    """By its number in the file; the lines around it are read."""
    first, found, last = jobs(LINES[0], line, LINES[1])
    assert isinstance(first, Job)
    assert isinstance(last, Job)
    assert isinstance(found, BadLine)
    assert found.number == 2
    assert reason in found.reason


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_no_bytes_break_the_reader(lines: list[bytes]) -> None:
    """Whatever is in a file, each line is a job, a bad line, a comment or empty."""
    assert all(isinstance(each, Job | BadLine) for each in TraceReader(lines))


def test_times_may_lie_as_far_as_they_can(tmp_path: Path) -> None:
    """The last moment that a header and a job can name is written as any other."""
    trace = tmp_path / "late.swf"
    late = b"1 1e10 1e10 1e10" + b" 1" * 6 + b" 1" + b" 1" * 7
    trace.write_bytes(b"; UnixStartTime: 99999999999\n" + late + b"\n")
    assert imported(tmp_path / "home", str(trace)) == 0
    taking = Taking(open_sqlite(tmp_path / "store.sqlite3"), tmp_path / "home")
    assert taking.all() == 5
    assert taking.reports == []


def test_a_kind_of_job_is_an_application_of_a_user() -> None:
    """As far as the trace tells them."""
    names = [kind_of(each) for each in jobs(*LINES[:2], LINES[5]) if isinstance(each, Job)]
    assert names == ["user-5-app-3", "user-6", "job"]


# --- journals ----------------------------------------------------------------------------------


def test_every_line_is_as_the_schema_has_it(trace: Path, tmp_path: Path) -> None:
    """In the order of their times, and numbered."""
    assert imported(tmp_path / "home", str(trace)) == 0
    schema = Path(fiveobs.__file__).parent / "journal" / "schema.json"
    validator = Draft202012Validator(json.loads(schema.read_bytes()))
    found = [json.loads(each) for each in journal(tmp_path / "home")]
    assert [error.message for each in found for error in validator.iter_errors(each)] == []
    assert [each["seq"] for each in found] == list(range(1, len(found) + 1))
    times = [each["timestamp"] for each in found]
    assert times == sorted(times)


def test_the_monitor_takes_the_jobs_in(trace: Path, tmp_path: Path) -> None:
    """Each with its status, times, figures and who asked for it; what did not run is left out."""
    home = tmp_path / "home"
    assert imported(home, str(trace)) == 0
    store = open_sqlite(tmp_path / "store.sqlite3")
    taking = Taking(store, home)
    taking.all()
    assert taking.reports == []
    columns = ("status", "queue", "submitted_by", "duration_s", "created_at_us")
    found = rows(store, "jobs", *columns)
    start_us = 1_000_000_000 * 1_000_000
    assert found == [
        ("completed", "queue-1", "user-5", 100.0, start_us),
        ("failed", "queue-1", "user-6", 200.0, start_us + 50_000_000),
        ("cancelled", "queue-1", "user-7", None, start_us + 100_000_000),
        ("cancelled", "queue-1", "user-5", 30.0, start_us + 110_000_000),
        ("completed", None, "user-5", 7.0, start_us + 120_000_000),
        ("completed", None, None, 50.0, start_us + 130_000_000),
    ]
    attempts = rows(store, "attempts", "queue_wait_s", "cpu_s", "error_type", "started_at_us")
    assert attempts[0] == (10.0, 202.0, None, start_us + 10_000_000)
    assert attempts[1] == (20.0, None, "Failed", start_us + 70_000_000)
    assert attempts[4][0] is None
    told = json.loads(rows(store, "attempts", "attributes")[0])
    assert (told["requested_s"], told["requested_memory_bytes"]) == (3600, 2000 * 1024)
    assert rows(store, "kinds", "service", "job_name")[0] == ("cluster", "user-5-app-3")
    store.close()


def test_importing_twice_counts_once(trace: Path, tmp_path: Path) -> None:
    """The second time writes the same bytes again, which are in the store already."""
    home = tmp_path / "home"
    store = open_sqlite(tmp_path / "store.sqlite3")
    for _ in range(2):
        assert imported(home, str(trace)) == 0
        Taking(store, home).all()
    assert len(rows(store, "jobs", "job_id")) == 6
    assert len(rows(store, "events", "event_key")) == len(journal(home))
    assert imported(home, str(trace), "--service", "other") == 0
    Taking(store, home).all()
    assert len(rows(store, "jobs", "job_id")) == 12
    store.close()


def test_jobs_belong_to_the_project_that_the_settings_name(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker's would; the same trace of two projects is two sets of jobs."""
    store = open_sqlite(tmp_path / "store.sqlite3")
    for project in ("one", "two"):
        monkeypatch.setenv("FIVEOBS_TENANT_ID", "grid")
        monkeypatch.setenv("FIVEOBS_PROJECT_ID", project)
        assert imported(tmp_path / "home", str(trace)) == 0
        Taking(store, tmp_path / "home").all()
    names = dict(rows(store, "projects", "project_key", "project_id"))
    found = [names[key] for key in rows(store, "jobs", "project_key")]
    assert (found.count("one"), found.count("two")) == (6, 6)
    store.close()


def test_what_was_imported_and_left_out_is_said(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By how the jobs ended; bad lines with their numbers."""
    with trace.open("ab") as file:
        file.write(b"nonsense\n" * 12)
    assert imported(tmp_path / "home", str(trace)) == 0
    said = capsys.readouterr().out
    assert (
        "6 jobs imported into service cluster: 2 cancelled, 2 completed, 1 failed, 1 status" in said
    )
    assert "left out: 2 parts, 1 without a run time, 12 bad lines" in said
    assert "line 13: 1 fields; a job has 18" in said
    assert "and 2 more lines that cannot be read" in said


def test_a_trace_can_begin_at_another_time(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it is moved, and its jobs are others; what is old is said to be, and why."""
    home = tmp_path / "home"
    assert imported(home, str(trace)) == 0
    assert "they are old: a monitor keeps jobs for 180 days" in capsys.readouterr().out
    first = [json.loads(line) for line in journal(home)]
    later = tmp_path / "later"
    assert imported(later, str(trace), "--start", "2100-01-31T12:00Z") == 0
    assert "old" not in capsys.readouterr().out
    moved = [json.loads(line) for line in journal(later)]
    assert [line["event_type"] for line in moved] == [line["event_type"] for line in first]
    assert moved[0]["timestamp"].startswith("2100-01-31T12:00:00")
    assert not {line.get("job_id") for line in moved[1:-1]} & {line.get("job_id") for line in first}
    assert imported(later, str(trace), "--start", "soon") == 2
    assert "--start 'soon' is no moment" in capsys.readouterr().err


def test_strict_writes_nothing_if_a_line_is_bad(trace: Path, tmp_path: Path) -> None:
    """And takes a trace without bad lines as ever."""
    home = tmp_path / "home"
    assert imported(home, str(trace), "--strict") == 0
    trace.write_bytes(trace.read_bytes() + b"nonsense\n")
    assert imported(tmp_path / "strict", str(trace), "--strict") == 1
    assert not (tmp_path / "strict" / "journal").exists()


def test_a_compressed_trace_is_the_same_trace(trace: Path, tmp_path: Path) -> None:
    """With the ending .gz; one that is broken off is refused with what to do."""
    packed = tmp_path / "cluster.swf.gz"
    packed.write_bytes(gzip.compress(trace.read_bytes()))
    for name, path in (("a", trace), ("b", packed)):
        assert imported(tmp_path / name, str(path), "--service", "s") == 0
    assert journal(tmp_path / "a") == journal(tmp_path / "b")
    packed.write_bytes(packed.read_bytes()[:-9])
    assert imported(tmp_path / "c", str(packed)) == 2


def test_what_cannot_be_imported_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not there, one without jobs, a service without a name, another format."""
    empty = tmp_path / "empty.swf"
    empty.write_bytes(HEADER)
    assert imported(tmp_path / "home", str(empty)) == 1
    assert "no job in it was imported" in capsys.readouterr().out
    assert imported(tmp_path / "home", str(tmp_path / "none.swf")) == 1
    assert "none.swf" in capsys.readouterr().err
    assert imported(tmp_path / "home", str(empty), "--service", " ") == 2
    assert main(["import", "csv", str(empty)]) == 2
    assert "choose from" in capsys.readouterr().err


def test_a_long_trace_is_cut_into_segments(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of whole lines; read one after the other they are the journal."""
    assert imported(tmp_path / "whole", str(trace)) == 0
    monkeypatch.setattr(_imported, "SEGMENT_BYTES", 1_000)
    assert imported(tmp_path / "cut", str(trace)) == 0
    files = sorted((tmp_path / "cut" / "journal").iterdir())
    assert len(files) > 3
    assert all(path.read_bytes().endswith(b"\n") for path in files)
    assert journal(tmp_path / "cut") == journal(tmp_path / "whole")


def test_memory_is_that_of_the_jobs_under_way() -> None:
    """Ten times the jobs take no more of it."""

    def lines(count: int) -> Iterator[bytes]:
        for number in range(1, count + 1):
            yield b"%d %d 5 60 1 -1 -1 1 60 -1 1 5 2 3 1 0 -1 -1\n" % (number, 10 * number)

    def peak(count: int) -> int:
        tracemalloc.start()
        found = (each for each in TraceReader(lines(count)) if isinstance(each, Job))
        said = sum(1 for _ in Importing("ab" * 16, "s", {}).lines(found))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert said == 3 * count + 2
        return most

    peak(200)
    assert peak(5_000) < 1.5 * peak(500)
