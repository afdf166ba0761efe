from __future__ import annotations

import errno
import shutil
import subprocess
import threading

import pytest

from fiveobs.journal.adoption import cursor_tracks
from fiveobs.journal.cursors import Position
from fiveobs.journal.locks import StemLock
from fiveobs.journal.records import WANTS
from fiveobs.journal.segments import FileSegment, MemorySegment, segment_files
from tests.support.journals import append, line
from tests.support.shipping import (
    FakeDestination,
    Reports,
    appended,
    drain,
    full_disk,
    make_journal,
    make_shipper,
    open_descriptors,
)


def on_disk(folder):
    """The lines in the files, in order."""
    return [each for _, _, path in segment_files(folder) for each in path.read_bytes().splitlines()]


def read_all(journal, track="logs"):
    destination = FakeDestination(max_records=7)
    drain(make_shipper(journal, destination, track))
    return destination.taken


def test_lines_are_on_disk_when_append_returns_across_rotations(tmp_path):
    """Each line lies whole in one file; files end at their size; readers follow."""
    journal = make_journal(tmp_path / "a" / "b", "logs", segment_bytes=1000)
    for number in range(1, 40):
        lines = appended(journal, [number])
        assert on_disk(journal.folder)[-1:] == lines
    files = segment_files(journal.folder)
    assert [number for _, number, _ in files] == list(range(1, len(files) + 1))
    assert all(path.read_bytes().endswith(b"\n") for _, _, path in files if path.stat().st_size)
    assert read_all(journal) == on_disk(journal.folder)
    journal.close()


def test_threads_may_append_at_once(tmp_path):
    """No line is lost or torn."""
    journal = make_journal(tmp_path, "logs", segment_bytes=2000)
    threads = [
        threading.Thread(target=appended, args=(journal, range(start, start + 200), 20))
        for start in (1000, 2000, 3000, 4000)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(on_disk(tmp_path))) == 800
    assert sorted(read_all(journal)) == sorted(on_disk(tmp_path))
    journal.close()


class Interrupted(FileSegment):
    """Has a signal handler append while a line is being written or a file is begun."""

    def __init__(self, path, number):
        self.handler("begun")
        super().__init__(path, number)

    def append(self, content):
        super().append(content)
        self.handler("written")

    def handler(self, moment):
        """Nothing, until the test sets one."""


@pytest.mark.parametrize("chosen", ["begun", "written"])
def test_a_signal_handler_may_append_in_the_middle_of_an_append(tmp_path, monkeypatch, chosen):
    """Also while the next segment is being begun: nothing is lost, and nothing goes amiss."""
    monkeypatch.setattr("fiveobs.journal.writer.FileSegment", Interrupted)
    reports = Reports()
    journal = make_journal(tmp_path, "logs", segment_bytes=900, reports=reports)
    numbers = iter(range(1000, 2000))
    depth = []

    def handler(_, moment):
        if moment == chosen and not depth:
            depth.append(1)
            appended(journal, [next(numbers)], 100)
            depth.pop()

    monkeypatch.setattr(Interrupted, "handler", handler)
    appended(journal, range(1, 30), 100)
    made = next(numbers) - 1000
    journal.maintain()
    assert len(set(read_all(journal))) == 29 + made == journal.accepted("logs")
    assert reports == []
    journal.close()


def test_a_line_given_while_memory_is_begun_is_kept(tmp_path, monkeypatch):
    """Even then, with neither the old segment nor the new one at hand."""
    with full_disk():
        journal = make_journal(tmp_path, "logs", segment_bytes=10**6)
        new_memory = journal._new_memory
        numbers, lines = iter([50, 51]), []

        def interrupted(size):
            lines.extend(appended(journal, [next(numbers)]))
            segment = new_memory(size)
            lines.extend(appended(journal, [next(numbers)]))
            return segment

        monkeypatch.setattr(journal, "_new_memory", interrupted)
        lines += appended(journal, [1])
        monkeypatch.undo()
        lines += appended(journal, [2])
    assert sorted(read_all(journal)) == sorted(lines)
    assert len(lines) == 4
    journal.close()


# --- a disk that refuses ---


def test_a_full_disk_turns_to_memory_and_back(tmp_path):
    """Order, positions and sums are the same wherever the lines are; nothing is lost."""
    reports = Reports()
    journal = make_journal(tmp_path, "logs", reports=reports)
    lines = appended(journal, range(10))
    first = journal.readers["logs"].next_batch(5, 10_000)
    with full_disk():
        lines += appended(journal, range(10, 20))
        assert journal.pending_events() == 10
        journal.maintain()
        assert journal.pending_events() == 10
        in_memory = journal.end()
    lines += appended(journal, range(20, 25))
    assert isinstance(journal._tail, MemorySegment)
    journal.readers["logs"].commit(first.start, first.end, delivered=5, dropped=0)
    journal.maintain()
    assert (journal.pending_events(), journal.end().segment) == (0, in_memory.segment)
    lines += appended(journal, range(25, 30))
    assert on_disk(tmp_path) == lines
    assert read_all(journal) == lines[5:]
    assert reports[0][1].endswith("[Errno 28] No space left on device; using memory")
    assert len(reports) == 2
    journal.close()


@pytest.mark.parametrize("segment_bytes", [1024, 10**7])
def test_memory_is_bounded_and_drops_are_counted_exactly(tmp_path, segment_bytes):
    """The oldest lines go; a reader that is still at the files before them loses none of those."""
    journal = make_journal(
        tmp_path, "logs", "metrics", memory_bytes=20_000, segment_bytes=segment_bytes
    )
    kept = appended(journal, range(10))
    with full_disk():
        later = appended(journal, range(10, 500), 50)
        append(journal, line(500, "job.completed"))
        append(journal, line(501, data={"x": "x" * 30_000}))
        assert sum(len(each._content) for each in journal._memory()) <= 20_000
        drain(make_shipper(journal, destination := FakeDestination()))
    taken = destination.taken
    assert taken[:10] == kept
    assert taken[10:-1] == later[len(later) - (len(taken) - 11) :]
    dropped = journal.accepted("logs") - len(taken)
    assert journal.dropped("logs") == dropped > 250
    assert journal.lost["events"] == dropped
    assert journal.readers["logs"].pending() == 0
    assert (journal.accepted("metrics"), journal.readers["metrics"].pending()) == (1, 1)
    journal.close()


def test_a_line_longer_than_a_memory_segment_is_kept(tmp_path):
    """As long as all of memory has room for it."""
    journal = make_journal(None, "logs", memory_bytes=1_000_000)
    lines = [*appended(journal, [1]), *appended(journal, [2], 700_000), *appended(journal, [3])]
    assert read_all(journal) == lines
    journal.close()


def test_without_a_disk_to_the_end_the_lines_are_counted_as_lost(tmp_path):
    """After close, accepted is still delivered + pending + dropped, and nothing is pending."""
    (tmp_path / "file").touch()
    reports = Reports()
    journal = make_journal(tmp_path / "file" / "journal", "logs", reports=reports)
    appended(journal, range(3))
    assert len(reports) == 1
    assert "using memory" in reports[0][1]
    journal.close()
    appended(journal, range(3, 5))
    assert (journal.lost["events"], journal.pending_events()) == (5, 0)
    assert journal.dropped("logs") == journal.accepted("logs") == 5
    assert journal.readers["logs"].pending() == 0
    journal.close()


def test_a_folder_that_becomes_writable_is_used(tmp_path):
    """With all that an adopter needs: the lock, the cursors, the lines."""
    (tmp_path / "j").touch()
    journal = make_journal(tmp_path / "j", "logs", "errors")
    lines = appended(journal, range(3))
    (tmp_path / "j").unlink()
    journal.maintain()
    lines += appended(journal, range(3, 6))
    assert on_disk(tmp_path / "j") == lines
    assert cursor_tracks(tmp_path / "j", journal.stem) == ["errors", "logs"]
    assert journal._lock_file.is_intact()
    journal.close()


def test_a_promotion_that_stops_half_way_goes_on_later(tmp_path, monkeypatch):
    """What went to disk stays there, what did not stays in memory, in order."""
    with full_disk():
        journal = make_journal(tmp_path, "logs", memory_bytes=16_000)
        lines = appended(journal, range(60), 50)
    left = iter(range(3))
    to_file = MemorySegment.to_file

    def limited(self, path):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "full")
        return to_file(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(MemorySegment, "to_file", limited)
        journal.maintain()
    assert 0 < journal.pending_events() < 60
    lines += appended(journal, range(60, 65))
    assert read_all(journal)[-len(lines) :] == lines[-journal.accepted("logs") :]
    journal.maintain()
    assert journal.pending_events() == 0
    assert on_disk(tmp_path) == lines[len(lines) - len(on_disk(tmp_path)) :]
    assert len(on_disk(tmp_path)) + journal.lost["events"] == 65
    journal.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_real_disk_that_fills_up_and_is_freed(small_disk):
    """No half line is left, memory takes over, and everything is on disk in the end."""
    journal = make_journal(small_disk / "journal", "logs", segment_bytes=300_000)
    (small_disk / "other").write_bytes(b"x" * 600_000)
    lines = appended(journal, range(1000), 700)
    assert journal.pending_events() > 0
    whole = on_disk(small_disk / "journal")
    assert whole == lines[: len(whole)]
    assert all(path.read_bytes()[-1:] in (b"\n", b"") for _, _, path in segment_files(small_disk))
    (small_disk / "other").unlink()
    journal.maintain()
    lines += appended(journal, range(1000, 1010), 700)
    assert journal.pending_events() + len(on_disk(small_disk / "journal")) == 1010
    assert read_all(journal) == lines
    journal.close()


# --- files that vanish ---


def test_a_deleted_file_is_followed_by_a_new_one(tmp_path):
    """What was in it is still shipped, and what comes is on disk again."""
    reports = Reports()
    journal = make_journal(tmp_path, "logs", reports=reports)
    lines = appended(journal, range(5))
    segment_files(tmp_path)[0][2].unlink()
    journal.maintain()
    lines += appended(journal, range(5, 8))
    assert on_disk(tmp_path) == lines[5:]
    assert "was deleted" in reports[0][1]
    assert read_all(journal) == lines
    journal.close()


def test_a_deleted_folder_comes_back_with_lock_and_cursors(tmp_path):
    """So that whoever comes after us finds what we could not ship."""
    folder = tmp_path / "journal"
    journal = make_journal(folder, "logs", "errors")
    lines = appended(journal, range(5))
    read_all(journal, "errors")
    shutil.rmtree(folder)
    lines += appended(journal, [5])
    journal.maintain()
    lines += appended(journal, range(6, 8))
    assert on_disk(folder) == lines[6:]
    assert StemLock(folder / f"{journal.stem}.lock").is_held_elsewhere()
    assert cursor_tracks(folder, journal.stem) == ["errors", "logs"]
    assert read_all(journal) == lines
    journal.close()


def test_closing_does_not_bring_a_deleted_folder_back(tmp_path):
    """Whoever has removed it after the last line meant it."""
    folder = tmp_path / "journal"
    journal = make_journal(folder, "logs")
    shutil.rmtree(folder)
    journal.close()
    assert not folder.exists()


# --- keeping ---


def test_files_that_all_have_read_are_closed(tmp_path):
    """A journal with a backlog holds the backlog's files open, no others."""
    journal = make_journal(tmp_path, "logs", "errors", segment_bytes=500)
    appended(journal, range(20))
    read_all(journal, "errors")
    assert len(journal._segments) > 5
    read_all(journal)
    journal.maintain()
    assert list(journal._segments) == [journal.last_number()]
    journal.close()


def test_giving_up_a_segment_counts_what_was_not_shipped(tmp_path):
    """On every track; the newest segment stays."""
    reports = Reports()
    journal = make_journal(tmp_path, "logs", "metrics", segment_bytes=1000, reports=reports)
    for number in range(30):
        append(journal, line(number, "job.completed" if number % 2 else "log"))
    first = sum(map(WANTS["metrics"], segment_files(tmp_path)[0][2].read_bytes().splitlines()))
    assert journal.give_up_segment(1)
    assert not journal.give_up_segment(journal.last_number())
    assert segment_files(tmp_path)[0][1] == 2
    assert journal.dropped("metrics") == first > 0
    assert "at its bound" in reports.about("journal bound")[0]
    assert len(read_all(journal, "metrics")) == 15 - first
    journal.close()


def test_syncing_covers_rotated_files_and_survives_a_failing_disk(tmp_path, monkeypatch):
    """A disk that fails to sync never reaches the job, and is reported."""
    reports, synced = Reports(), []
    journal = make_journal(
        tmp_path, "logs", segment_bytes=400, fsync_interval_s=1e-9, reports=reports
    )
    monkeypatch.setattr(FileSegment, "sync", lambda segment: synced.append(segment.number))
    appended(journal, range(6))
    read_all(journal)
    journal.release_read()
    journal.maintain()
    assert synced == list(range(1, journal.last_number() + 1))
    journal.close()

    def fail(segment):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(FileSegment, "sync", fail)
    journal = make_journal(tmp_path, "logs", machine="n", fsync_interval_s=0, reports=reports)
    lines = appended(journal, range(2))
    journal.maintain()
    assert read_all(journal) == lines
    assert "cannot be synced" in reports.about("journal sync")[0]
    journal.close()


@pytest.mark.parametrize("is_shipped", [True, False])
def test_closing_removes_the_lock_file_when_all_is_shipped(tmp_path, is_shipped):
    """Else it stays, unlocked: a sign for whoever adopts the rest."""
    journal = make_journal(tmp_path, "logs")
    appended(journal, range(3))
    if is_shipped:
        read_all(journal)
    journal.close()
    lock = tmp_path / f"{journal.stem}.lock"
    assert lock.exists() is not is_shipped
    assert not StemLock(lock).is_held_elsewhere()


def test_a_child_closes_its_parents_files_and_nothing_else(tmp_path):
    """No descriptor of the parent's journal stays open in a forked child."""
    before = open_descriptors()
    journal = make_journal(tmp_path, "logs", "errors")
    appended(journal, range(3))
    journal.abandon()
    assert open_descriptors() == before


def test_records_that_never_became_lines_are_accounted_for():
    """A bound before the journal counts as accepted and dropped."""
    reports = Reports()
    journal = make_journal(None, "traces", reports=reports)
    journal.lose("traces", 7)
    assert (journal.accepted("traces"), journal.dropped("traces")) == (7, 7)
    assert reports == [("traces", "7 records were dropped: a buffer is full")]
    journal.close()


def test_the_end_is_a_position(tmp_path):
    """``end`` is where a reader is that has read everything."""
    journal = make_journal(tmp_path, "logs")
    assert journal.end() == Position(1, 0)
    appended(journal, [1])
    read_all(journal)
    assert journal.readers["logs"].position == journal.end()
    journal.close()
