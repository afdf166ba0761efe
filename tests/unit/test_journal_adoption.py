from __future__ import annotations

import random
import shutil
import time

import pytest

from fiveobs.exceptions import DeliveryError
from fiveobs.journal.adoption import Adopter, cursor_tracks, has_pending
from fiveobs.journal.cursors import load_cursor
from fiveobs.journal.locks import StemLock
from fiveobs.journal.segments import segment_files
from tests.support.journals import append, line, write_cursor, write_segment
from tests.support.shipping import (
    FakeDestination,
    age,
    appended,
    drain,
    make_journal,
    make_shipper,
    start_program,
    until,
)

STEM = "dead-1-2"


class Process:
    """What a process has that adopts: a journal of its own, shippers, an adopter."""

    def __init__(self, folder, *tracks):
        self.journal = make_journal(folder, *tracks)
        self.destinations = {track: FakeDestination(max_records=4) for track in tracks}
        self.shippers = {
            track: make_shipper(self.journal, self.destinations[track], track) for track in tracks
        }
        self.adopter = Adopter(folder, self.shippers)

    def scan(self):
        age(self.adopter._folder)
        self.adopter.scan()

    def ship(self, track="logs"):
        drain(self.shippers[track])
        return self.destinations[track].taken


@pytest.fixture
def folder(fiveobs_home):
    """The journal folder that ``write_segment`` writes to."""
    (fiveobs_home / "journal").mkdir(parents=True)
    return fiveobs_home / "journal"


@pytest.fixture
def process(folder):
    """A process that ships logs and errors."""
    process = Process(folder, "logs", "errors")
    yield process
    process.adopter.close()
    process.journal.close()


def leave(home, *contents, tracks=("logs",), stem=STEM):
    """Leave a dead process's files; return its wanted lines."""
    for number, content in enumerate(contents, 1):
        write_segment(home, stem, number, *content)
    for track in tracks:
        write_cursor(home, stem, track)
    (home / "journal" / f"{stem}.lock").touch()
    return [each[:-1] for content in contents for each in content]


def test_a_dead_processs_lines_are_shipped_from_its_cursor_on(process, folder, fiveobs_home):
    """With the sums that its cursor had, and then its lock file goes."""
    lines = leave(fiveobs_home, [line(1), line(2)], [line(3), line(4)])
    write_cursor(fiveobs_home, STEM, "logs", offset=len(line(1)), delivered=1)
    process.scan()
    process.scan()
    assert process.ship() == lines[1:]
    assert load_cursor(folder / f"{STEM}.logs.cursor").delivered == 4
    assert not (folder / f"{STEM}.lock").exists()
    assert process.adopter._stems == {}
    assert len(segment_files(folder, STEM)) == 2


def test_a_stem_is_left_when_all_its_tracks_are_through(process, folder, fiveobs_home):
    """Not before: its lock stays ours until then."""
    leave(fiveobs_home, [line(1), line(2, "envelope")], tracks=("logs", "errors"))
    process.scan()
    process.ship("errors")
    assert StemLock(folder / f"{STEM}.lock").is_held_elsewhere()
    process.ship("logs")
    assert not (folder / f"{STEM}.lock").exists()


def test_a_young_lock_file_is_left_alone(process, folder, fiveobs_home):
    """Its process may be about to lock it."""
    leave(fiveobs_home, [line(1)])
    process.adopter.scan()
    assert process.adopter._stems == {}


def test_a_living_process_is_left_alone(process, folder):
    """Our own journal, and that of another process."""
    other = make_journal(folder, "logs", machine="other")
    appended(other, range(3))
    process.scan()
    assert process.adopter._stems == {}
    other.close()
    process.scan()
    assert list(process.adopter._stems) == [other.stem]


def test_a_stem_of_tracks_that_we_lack_is_left_alone(process, folder, fiveobs_home):
    """Its lines wait for a process that ships them; one that needs nothing more is finished."""
    leave(fiveobs_home, [line(1, "job.completed")], tracks=("metrics",))
    leave(fiveobs_home, [line(1)], tracks=("metrics",), stem="done-1-2")
    leave(fiveobs_home, tracks=(), stem="empty-1-2")
    process.scan()
    assert process.adopter._stems == {}
    lock = StemLock(folder / f"{STEM}.lock")
    assert lock.path.exists()
    assert not lock.is_held_elsewhere()
    assert not (folder / "done-1-2.lock").exists()
    assert not (folder / "empty-1-2.lock").exists()
    assert has_pending(folder, STEM)


def test_a_stem_of_which_we_ship_a_part_is_left_for_the_rest(process, folder, fiveobs_home):
    """Our tracks are through, the other's lines are still behind its cursor."""
    leave(fiveobs_home, [line(1, "job.completed")], tracks=("logs", "metrics"))
    process.scan()
    assert len(process.ship()) == 1
    assert not StemLock(folder / f"{STEM}.lock").is_held_elsewhere()
    other = Process(folder, "metrics")
    other.scan()
    assert len(other.ship("metrics")) == 1
    assert not (folder / f"{STEM}.lock").exists()
    other.journal.close()


def test_an_adopter_that_ends_leaves_the_rest_to_the_next(process, folder, fiveobs_home):
    """The next one goes on where the first one was."""
    lines = leave(fiveobs_home, [line(number) for number in range(10)])
    process.scan()
    assert process.shippers["logs"]._turn()
    process.destinations["logs"].script.append(DeliveryError("down"))
    process.ship()
    process.adopter.close()
    second = Process(folder, "logs")
    second.scan()
    assert process.destinations["logs"].taken + second.ship() == lines
    assert load_cursor(folder / f"{STEM}.logs.cursor").delivered == 10
    second.journal.close()


def test_a_late_delivery_does_not_touch_the_next_owners_cursor(process, folder, fiveobs_home):
    """A shipper that was left behind at the deadline repeats lines, and takes nothing back."""
    leave(fiveobs_home, [line(number) for number in range(10)])
    process.scan()
    reader = process.adopter._stems[STEM].readers["logs"]
    batch = reader.next_batch(2, 1000)
    process.adopter.close()
    second = Process(folder, "logs")
    second.scan()
    second.ship()
    reader.commit(batch.start, batch.end, delivered=2, dropped=0)
    assert load_cursor(folder / f"{STEM}.logs.cursor").delivered == 10
    second.journal.close()


def test_a_folder_that_is_gone_ends_no_scan(process, folder):
    """There is nothing to adopt then."""
    shutil.rmtree(folder)
    process.adopter.scan()


def test_only_known_tracks_cursors_count(folder, fiveobs_home):
    """A file of somebody else's does not make a track."""
    write_cursor(fiveobs_home, STEM, "logs")
    (folder / f"{STEM}.other.cursor").touch()
    (folder / "other-1-2.errors.cursor").touch()
    assert cursor_tracks(folder, STEM) == ["logs"]


def test_what_memory_held_is_found_by_the_next(folder, tmp_path):
    """A process that had no disk at first leaves lines and cursors like any other."""
    away = tmp_path / "away"
    away.touch()
    first = make_journal(away, "logs", machine="first")
    lines = appended(first, range(5))
    away.unlink()
    first.maintain()
    first._lock_file.release()  # as the kernel does when the process is killed
    second = Process(away, "logs")
    second.scan()
    assert second.ship() == lines
    second.journal.close()


# --- real processes ---

WORKER = """
import os, sys
from pathlib import Path
from tests.support.journals import append, line
from tests.support.shipping import FakeDestination, make_journal, make_shipper

class ToFile(FakeDestination):
    def ship(self, lines, timeout_s, origin):
        os.write(fd, b"".join(each + b"\\n" for each in lines))
        return 0

fd = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
journal = make_journal(Path(sys.argv[1]), "logs", segment_bytes=4000)
shipper = make_shipper(journal, ToFile(max_records=3), interval_s=0.001)
shipper.start()
start = os.getpid() * 1_000_000
for number in range(start, start + 1_000_000):
    append(journal, line(number, data={}, after_s=1))
    os.write(1, b"%d\\n" % number)
"""
ADOPTER = """
import sys
from pathlib import Path
from fiveobs.journal.adoption import Adopter
from tests.support.shipping import FakeDestination, age, drain, make_journal, make_shipper

folder = Path(sys.argv[1])
journal = make_journal(folder, "logs")
destination = FakeDestination(max_records=4)
shipper = make_shipper(journal, destination)
adopter = Adopter(folder, {"logs": shipper})
print("ready", flush=True)
sys.stdin.readline()
for _ in range(50):
    adopter.scan()
    drain(shipper)
print(len(destination.taken), len(set(destination.taken)), flush=True)
"""


def numbers(path):
    """The sequence numbers of the lines in a file."""
    return [int(each.split(b'"seq":')[1].split(b",")[0]) for each in path.read_bytes().splitlines()]


@pytest.mark.parametrize("seed", range(3))
def test_lines_survive_sigkill_at_any_moment(folder, tmp_path, seed):
    """Every line that was accepted arrives: sent by the killed process, or by its heir."""
    shipped = tmp_path / "shipped"
    with start_program(WORKER, folder, shipped) as worker:
        accepted = [int(worker.stdout.readline())]
        until(lambda: shipped.exists() and shipped.stat().st_size)
        deadline = time.monotonic() + random.Random(seed).uniform(0.01, 0.2)
        while time.monotonic() < deadline:
            accepted.append(int(worker.stdout.readline()))
        worker.kill()
        accepted += [int(each) for each in worker.stdout.read().split("\n")[:-1]]
    on_disk = [n for _, _, path in segment_files(folder) for n in numbers(path)]
    heir = Process(folder, "logs")
    heir.scan()
    taken = heir.ship()
    heir.journal.close()
    inherited = [int(each.split(b'"seq":')[1].split(b",")[0]) for each in taken]
    assert set(accepted) <= set(on_disk)
    assert set(numbers(shipped)) | set(inherited) == set(on_disk)
    assert inherited == on_disk[len(on_disk) - len(inherited) :]
    assert not has_pending(folder, segment_files(folder)[0][0])


def test_of_two_adopters_at_once_one_ships(folder, fiveobs_home):
    """No line is shipped twice, none is left."""
    for stem in range(30):
        leave(
            fiveobs_home,
            [line(1000 * stem + number) for number in range(10)],
            stem=f"dead-{stem}-1",
        )
    age(folder)
    with start_program(ADOPTER, folder) as one, start_program(ADOPTER, folder) as two:
        for adopter in (one, two):
            assert adopter.stdout.readline() == "ready\n"
        for adopter in (one, two):
            adopter.stdin.write("\n")
            adopter.stdin.flush()
        counts = [adopter.stdout.readline().split() for adopter in (one, two)]
    assert sum(int(taken) for taken, _ in counts) == 300
    assert [taken for taken, _ in counts] == [unique for _, unique in counts]
    assert not any(has_pending(folder, f"dead-{stem}-1") for stem in range(30))


def test_an_adopted_stem_of_a_killed_adopter_is_free_again(folder, fiveobs_home):
    """The kernel gives its lock back, and the next one ships."""
    lines = leave(fiveobs_home, [line(1), line(2)])
    age(folder)
    hold = ADOPTER.replace("drain(shipper)", "print('took', flush=True); sys.stdin.read()")
    with start_program(hold, folder) as first:
        first.stdin.write("\n")
        first.stdin.flush()
        assert first.stdout.readline() == "ready\n"
        assert first.stdout.readline() == "took\n"
        second = Process(folder, "logs")
        second.scan()
        assert second.ship() == []
        first.kill()
        first.wait()
        second.scan()
        assert second.ship() == lines
    second.adopter.close()
    second.journal.close()


def test_both_kinds_of_lines_are_told_apart(folder, process, fiveobs_home):
    """Each track takes its own lines of a dead process."""
    other = make_journal(folder, "logs", "errors", machine="other")
    append(other, line(1, "envelope"))
    append(other, line(2))
    other.close()
    process.scan()
    assert process.ship("logs") == [line(2)[:-1]]
    assert process.ship("errors") == [line(1, "envelope")[:-1]]
