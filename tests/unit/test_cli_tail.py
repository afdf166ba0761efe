"""``fiveobs tail`` and the command line as a whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fiveobs._version import __version__
from fiveobs.cli import main
from fiveobs.cli._journals import lines_backward, lines_forward
from fiveobs.cli._records import duration_text, short_id
from fiveobs.cli._selection import Selection
from fiveobs.cli._terminal import Output, plain
from fiveobs.cli.tail import Follower, last_lines
from fiveobs.journal.records import WANTS
from fiveobs.journal.writer import Journal, JournalSettings
from tests.support.journals import append, line, write_segment

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("tail", "find", "doctor", "config")


class Terminal:
    """A stream that says it is a terminal."""

    def isatty(self):
        return True

    def write(self, text):
        return len(text)


def seqs(printed: str) -> list[int]:
    return [json.loads(each)["seq"] for each in printed.splitlines()]


def tail(*arguments: str) -> int:
    return main(["tail", "--no-follow", *arguments])


@pytest.fixture
def two_stems(fiveobs_home):
    """Two processes whose records alternate: odd numbers in one, even ones in the other."""
    write_segment(fiveobs_home, "a-1-1", 1, *(line(seq) for seq in range(1, 40, 2)))
    write_segment(fiveobs_home, "b-2-2", 1, *(line(seq) for seq in range(2, 20, 2)))
    write_segment(fiveobs_home, "b-2-2", 2, *(line(seq) for seq in range(20, 41, 2)))
    return fiveobs_home


# --- the command line as a whole ---


def test_version_is_printed(capsys):
    """``--version`` prints the version and ends with 0."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fiveobs {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "COMMAND"),
        (["tial"], "'tial'"),
        (["tail", "--level", "loud"], "'loud'"),
        (["tail", "-n", "-3"], "'-3'"),
        (["tail", "-n", "3.5"], "'3.5'"),
        (["tail", "--since", "yesterday"], "'yesterday'"),
        (["tail", "--job", " "], "id is empty"),
        (["tail", "--home", "/nowhere/at/all"], "'/nowhere/at/all'"),
        (["find"], "ID"),
        (["find", "abcdef", "--limit", "0"], "'0'"),
        (["doctor", "--timeout", "soon"], "'soon'"),
        (["doctor", "--color", "pink"], "'pink'"),
    ],
)
def test_a_wrong_argument_is_named(capsys, arguments, named):
    """What cannot be used ends with 2 and one message that names it, without a traceback."""
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert named in said
    assert "Traceback" not in said


def test_a_command_loads_no_other_command():
    """``fiveobs tail`` loads neither the other commands nor what only they need."""
    program = (
        "import sys; from fiveobs.cli import main; main(['tail', '--no-follow']);"
        "print(*sorted(set(sys.modules) & {'fiveobs.cli.doctor', 'fiveobs.cli.find',"
        " 'opentelemetry', 'sentry_sdk', 'grpc', 'fluent'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_colours_are_for_terminals_and_can_be_forbidden():
    """Colours go to terminals only, NO_COLOR forbids them, and the option decides over both."""
    assert Output("auto", Terminal(), {}).is_coloured
    assert not Output("auto", Terminal(), {"NO_COLOR": "1"}).is_coloured
    assert not Output("auto", Terminal(), {"TERM": "dumb"}).is_coloured
    assert not Output("never", Terminal(), {}).is_coloured
    assert Output("always", Terminal(), {"NO_COLOR": "1"}).is_coloured
    assert not Output("auto", None, {}).is_coloured


def test_every_flag_is_in_the_reference():
    """``docs/reference/cli.md`` names every command and every flag that ``--help`` lists."""
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        section = page.partition(f"\n## fiveobs {command}\n")[2].partition("\n## ")[0]
        assert section, f"no section for {command}"
        for flag in flags_of(command) - {"--help", "-h", "--color"}:
            assert f"`{flag}" in section, f"{command} {flag}"
    for flag in ("--version", "--color", "--help"):
        assert f"`{flag}" in page


def flags_of(command: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-m", "fiveobs", command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = done.stdout.partition("options:")[2]
    lines = [each.strip() for each in listed.splitlines() if each.startswith("  -")]
    words = [word.strip(",") for each in lines for word in each.split("  ")[0].split()]
    return {word for word in words if word.startswith("-")}


# --- the last lines ---


def test_the_last_lines_of_all_processes_come_in_time_order(two_stems, capsys):
    """``-n`` merges all processes by time and takes the latest, over segment borders."""
    assert tail("-n", "25", "--json") == 0
    assert seqs(capsys.readouterr().out) == list(range(16, 41))


def test_ten_lines_are_shown_unless_told_otherwise(two_stems, capsys):
    """Without ``-n`` the last ten are shown; ``-n 0`` shows none and ``-n all`` everything."""
    counts = []
    for arguments in ((), ("-n", "0"), ("-n", "all")):
        assert tail("--json", *arguments) == 0
        counts.append(len(capsys.readouterr().out.splitlines()))
    assert counts == [10, 0, 40]


def test_json_prints_the_lines_as_they_are(fiveobs_home, capsys):
    """``--json`` prints the journal's own bytes."""
    written = line(1, "job.started", message="größer „zitiert“ \\ \t", job_id="j")
    write_segment(fiveobs_home, "a-1-1", 1, written)
    assert tail("--json") == 0
    assert capsys.readouterr().out.encode() == written


def test_torn_and_damaged_lines_are_passed_over(fiveobs_home, capsys):
    """An unfinished last line and garbage in between do not end or falsify the output."""
    write_segment(
        fiveobs_home, "a-1-1", 1, line(1), b'{"id":"x"\n\n\xff\xfe\n', line(2), line(3)[:50]
    )
    for arguments in (("-n", "9"), ("-n", "all")):
        assert tail("--json", *arguments) == 0
        assert seqs(capsys.readouterr().out) == [1, 2]


def test_an_empty_home_is_no_error(capsys):
    """Without any journal there is nothing to print, and that is fine."""
    assert tail() == 0
    assert capsys.readouterr().out == ""


def test_long_lines_are_read_backward_whole(tmp_path):
    """Lines longer than a chunk come out whole from the end, as they do from the front."""
    lines = [b"a" * 10, b"b" * 300_000, b"", b"c" * 65_536, b"d"]
    path = tmp_path / "segment"
    path.write_bytes(b"".join(each + b"\n" for each in lines) + b"torn")
    assert list(lines_backward(path, path.stat().st_size)) == lines[::-1]
    assert [each for _, each in lines_forward(path)] == lines


# --- filters ---


@pytest.fixture
def mixed(fiveobs_home):
    """One record of each kind that the filters tell apart; the number names it."""
    ids = {"job_id": "0198f0aa-bbbb-7ccc-8ddd-0123456789ab", "trace_id": "ab" * 16}
    write_segment(
        fiveobs_home,
        "a-1-1",
        1,
        line(1, "job.started", **ids, session_id="s-one", job_name="resize"),
        line(2, "job.progress", **ids, data={"percent": 40}),
        line(3, "log", level="warning", message="Disk nearly FULL", worker_id="gpu-1"),
        line(4, "log", level="critical", service="mining", machine_id="m-1", request_id="r-1"),
        line(5, "metric", level="debug", **ids),
        line(6, "span", span={}),
        line(7, "envelope"),
        line(8, "worker.heartbeat"),
        line(9, "stage.completed", parent_job_id=ids["job_id"]),
    )
    return fiveobs_home


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], [1, 2, 3, 4, 9]),
        (["--all"], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (["--job", "0198f0aa-bbbb-7ccc-8ddd-0123456789ab"], [1, 2]),
        (["--job", "0123456789ab"], [1, 2]),
        (["--job", "0198f0"], [1, 2]),
        (["--job", "0198f"], []),
        (["0123456789ab"], [1, 2, 9]),
        (["0123456789ab", "m-1"], [1, 2, 4, 9]),
        (["--trace", "ab" * 16, "--session", "s-one"], [1]),
        (["--trace", "ab" * 16, "--all"], [1, 2, 5]),
        (["--worker", "gpu-1", "--worker", "gpu-2"], [3]),
        (["--machine", "m-1"], [4]),
        (["--request", "r-1"], [4]),
        (["--service", "mining"], [4]),
        (["--service", "min*"], [4]),
        (["--name", "resize"], [1]),
        (["--type", "job.*"], [1, 2]),
        (["--type", "job.started", "--type", "stage.*"], [1, 9]),
        (["--type", "worker.*"], [8]),
        (["--type", "metric"], [5]),
        (["--type", "*"], [1, 2, 3, 4, 8, 9]),
        (["--level", "warn"], [3, 4]),
        (["--grep", "nearly full"], [3]),
        (["--since", "2026-01-02T03:04:09Z"], [4, 9]),
        (["--since", "2026-01-02T03:04:09Z", "-n", "1"], [9]),
        (["--since", "10m"], []),
        (["--level", "error", "--service", "thumbnails"], []),
    ],
)
def test_filters_choose_what_is_shown(mixed, capsys, arguments, shown):
    """Different options must all be met, repeated ones need one to be met."""
    assert tail("--json", *arguments) == 0
    assert seqs(capsys.readouterr().out) == shown


def test_an_id_that_needs_escaping_is_found(fiveobs_home, capsys):
    """Ids with quotes, backslashes or letters beyond ASCII are found as they were given."""
    job_id = 'größe "1" \\ 2'
    write_segment(fiveobs_home, "a-1-1", 1, line(1, "job.started", job_id=job_id), line(2))
    assert tail("--json", "--job", job_id) == 0
    assert seqs(capsys.readouterr().out) == [1]


# --- for people ---


def test_a_line_says_what_happened(fiveobs_home, capsys):
    """Time, level, type, whose, which job, what was said and the figures are on one line."""
    write_segment(
        fiveobs_home,
        "a-1-1",
        1,
        line(
            1,
            "job.completed",
            level="warning",
            job_name="resize",
            job_id="0198f0aa-bbbb-7ccc-8ddd-0123456789ab",
            message="done",
            attempt=2,
            data={"percent": 87.5, "duration_s": 93.2, "error": {"type": "ValueError"}},
        ),
    )
    assert tail() == 0
    said = capsys.readouterr().out
    assert said.startswith("2026-01-02 ")
    assert said.endswith(
        " WARN  job.completed   thumbnails/resize 0123456789ab done"
        " (87.5%, 1 min 33 s, ValueError, attempt 2)\n"
    )


def test_messages_cannot_steer_the_terminal(fiveobs_home, capsys):
    """Control characters and line breaks in a job's text are taken out of what people see."""
    text = "one\x1b[2Jtwo\nthree\x07\u202efour"
    write_segment(
        fiveobs_home, "a-1-1", 1, line(1, message=text, service="s\x1b]0;x", job_id="\x1b")
    )
    assert tail() == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "one\ufffd[2Jtwo three\ufffd\ufffdfour" in said
    assert plain(said.rstrip("\n")).isprintable()


def test_levels_are_coloured_when_asked_for(mixed, capsys):
    """With ``--color always`` the level has its colour; without a terminal there is none."""
    assert tail("--level", "critical", "--color", "always") == 0
    assert "\x1b[1;31mCRIT \x1b[0m" in capsys.readouterr().out
    assert tail("--level", "critical") == 0
    assert "\x1b" not in capsys.readouterr().out


def test_short_forms_are_readable():
    """Ids that sort by time are told apart by their end; durations have fitting units."""
    assert short_id("0198f0aa-bbbb-7ccc-8ddd-0123456789ab") == "0123456789ab"
    assert short_id("order-17") == "order-17"
    assert short_id("x" * 30) == "…" + "x" * 23
    texts = [duration_text(each) for each in (0.0000421, 0.25, 1, 59.9, 61, 7322)]
    assert texts == ["42 µs", "250 ms", "1.0 s", "59.9 s", "1 min 1 s", "2 h 2 min"]


# --- following ---


def test_a_follower_sees_files_appear_grow_rotate_and_vanish(fiveobs_home):
    """Each step gives what was appended since the last one, in whichever file."""
    old = write_segment(fiveobs_home, "a-1-1", 1, line(1))
    follower = Follower(fiveobs_home / "journal", Selection())
    assert follower.step() == []
    write_segment(fiveobs_home, "a-1-1", 1, line(3), line(5)[:20])
    write_segment(fiveobs_home, "b-2-2", 1, line(2))
    assert [each.seq for each in follower.step()] == [2, 3]
    write_segment(fiveobs_home, "a-1-1", 1, line(5)[20:])
    write_segment(fiveobs_home, "a-1-1", 2, line(6))
    assert [each.seq for each in follower.step()] == [5, 6]
    old.unlink()
    assert follower.step() == []
    write_segment(fiveobs_home, "a-1-1", 2, line(7))
    assert [each.seq for each in follower.step()] == [7]


def test_following_begins_where_the_last_lines_end(fiveobs_home):
    """What is appended between finding the last lines and following is shown once."""
    write_segment(fiveobs_home, "a-1-1", 1, line(1))
    selection = Selection()
    follower = Follower(fiveobs_home / "journal", selection)
    write_segment(fiveobs_home, "a-1-1", 1, line(2))
    for count in (10, None):
        assert [each.seq for each in last_lines(follower, selection, count)] == [1]
    assert [each.seq for each in follower.step()] == [2]


def test_a_journal_that_rotates_while_it_is_written_loses_nothing(fiveobs_home):
    """A follower of a real journal sees every line once, in order, over many segments."""
    settings = JournalSettings(segment_bytes=2000)
    journal = Journal(fiveobs_home / "journal", "m", settings, WANTS, lambda *_: None)
    follower = Follower(fiveobs_home / "journal", Selection())
    seen = []
    for seq in range(1, 101):
        append(journal, line(seq))
        if seq % 7 == 0:
            seen += [each.seq for each in follower.step()]
    journal.close()
    assert seen + [each.seq for each in follower.step()] == list(range(1, 101))
    assert len(follower.start) == 1


def test_it_follows_until_interrupted(fiveobs_home):
    """A real ``fiveobs tail`` prints what is appended while it runs; Ctrl-C ends it quietly."""
    write_segment(fiveobs_home, "a-1-1", 1, line(1))
    with subprocess.Popen(
        [sys.executable, "-m", "fiveobs", "tail", "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ},
        text=True,
    ) as process:
        assert process.stdout is not None
        assert seqs(process.stdout.readline()) == [1]
        write_segment(fiveobs_home, "b-2-2", 1, line(2))
        assert seqs(process.stdout.readline()) == [2]
        process.send_signal(2)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")


def test_it_ends_quietly_when_its_reader_has_gone(fiveobs_home):
    """When what reads its output ends, it ends too, without a word and without a new event."""
    write_segment(fiveobs_home, "a-1-1", 1, line(1))
    with subprocess.Popen(
        [sys.executable, "-m", "fiveobs", "tail", "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert seqs(process.stdout.readline()) == [1]
        process.stdout.close()
        assert process.wait(timeout=10) == 0
        assert process.stderr.read() == ""
