from __future__ import annotations

import os

import pytest

from fiveobs.journal.adoption import Adopter
from fiveobs.journal.cursors import load_cursor
from fiveobs.journal.retention import enforce_bound
from fiveobs.journal.segments import segment_files, segment_path
from tests.support.journals import line, write_cursor, write_segment
from tests.support.shipping import (
    FakeDestination,
    Reports,
    age,
    appended,
    drain,
    make_journal,
    make_shipper,
    start_program,
)


class House:
    """A folder, our journal in it, and what others left there."""

    def __init__(self, home):
        self.home = home
        self.folder = home / "journal"
        self.reports = Reports()
        self.journal = make_journal(self.folder, "logs", segment_bytes=1000, reports=self.reports)
        self.destination = FakeDestination()
        self.shipper = make_shipper(self.journal, self.destination)
        self.adopter = Adopter(self.folder, {"logs": self.shipper})

    def leave(self, stem, segments=3, *, at=1, dead=True, shipped=0):
        """Another process's segments of 5 lines, changed at ``at``, ``at + 1`` and so on."""
        for number in range(1, segments + 1):
            content = [line(10 * number + each) for each in range(5)]
            path = write_segment(self.home, stem, number, *content)
            os.utime(path, (at + number - 1, at + number - 1))
        write_cursor(self.home, stem, "logs", segment=shipped + 1, delivered=5 * shipped)
        if dead:
            (self.folder / f"{stem}.lock").touch()

    def enforce(self, max_bytes):
        return enforce_bound(self.folder, max_bytes, self.journal, self.adopter)

    def left(self, stem):
        return [number for _, number, _ in segment_files(self.folder, stem)]

    def size(self, *stems):
        return sum(p.stat().st_size for s, _, p in segment_files(self.folder) if s in stems)

    def cursor(self, stem):
        return load_cursor(self.folder / f"{stem}.logs.cursor")


@pytest.fixture
def house(fiveobs_home):
    """A house with our own journal only."""
    house = House(fiveobs_home)
    yield house
    house.adopter.close()
    house.journal.close()


def test_within_the_bound_nothing_is_deleted(house):
    """Neither shipped nor unshipped."""
    house.leave("a-1-2")
    assert house.enforce(house.size("a-1-2")) == 0
    assert house.left("a-1-2") == [1, 2, 3]


def test_shipped_files_go_first_however_young(house):
    """Of finished stems and of unfinished ones; then the oldest of the others."""
    house.leave("old-1-2", at=1)
    house.leave("partly-1-2", at=100, shipped=1)
    house.leave("young-1-2", at=200, dead=False)
    one = house.size("old-1-2") // 3
    assert house.enforce(9 * one - 1) == 1
    assert house.left("partly-1-2") == [2, 3]
    assert house.enforce(5 * one) == 3
    assert (house.left("young-1-2"), house.left("old-1-2")) == ([], [1, 2, 3])
    assert house.enforce(4 * one) == 1
    assert house.left("old-1-2") == [2, 3]
    assert house.cursor("old-1-2").dropped == 5
    assert house.cursor("partly-1-2").dropped == 0


def test_what_is_deleted_unshipped_is_counted_and_said(house):
    """On the dead process's cursor, so that the sums of whoever ships the rest are right."""
    house.leave("a-1-2")
    assert house.enforce(house.size("a-1-2") - 1) == 1
    assert house.reports.about("journal bound") == [
        "5 records were dropped unshipped: the journal is at its bound"
    ]
    age(house.folder)
    house.adopter.scan()
    drain(house.shipper)
    assert len(house.destination.taken) == 10
    state = house.cursor("a-1-2")
    assert (state.delivered, state.dropped) == (10, 5)


def test_stems_in_our_care_count_with_their_reader(house):
    """Half-shipped segments are dropped from where the reader is."""
    house.leave("a-1-2")
    house.destination.max_records = 2
    age(house.folder)
    house.adopter.scan()
    house.shipper._turn()
    assert house.enforce(house.size("a-1-2") - 1) == 1
    drain(house.shipper)
    state = house.cursor("a-1-2")
    assert (state.delivered, state.dropped, len(house.destination.taken)) == (12, 3, 12)
    assert not (house.folder / "a-1-2.lock").exists()


def test_our_own_files_go_when_they_are_the_oldest(house):
    """All but the newest; accepted is still delivered + pending + dropped."""
    lines = appended(house.journal, range(40))
    house.enforce(0)
    assert house.left(house.journal.stem) == [house.journal.last_number()]
    drain(house.shipper)
    taken, dropped = len(house.destination.taken), house.journal.dropped("logs")
    assert taken + dropped == house.journal.accepted("logs") == 40
    assert house.destination.taken == lines[dropped:]


def test_a_segment_in_the_middle_may_be_the_oldest(house):
    """A clock that was set back costs the lines of that segment, no others."""
    lines = appended(house.journal, range(20))
    per_file = len(segment_files(house.folder)[0][2].read_bytes().splitlines())
    os.utime(segment_path(house.folder, house.journal.stem, 2), (1, 1))
    assert house.enforce(house.size(house.journal.stem) - 1) == 1
    assert 2 not in house.left(house.journal.stem)
    drain(house.shipper)
    assert house.destination.taken == lines[:per_file] + lines[2 * per_file :]
    assert house.journal.dropped("logs") == per_file


LIVING = """
import sys
from pathlib import Path
from tests.support.shipping import FakeDestination, appended, drain, make_journal, make_shipper
journal = make_journal(Path(sys.argv[1]), "logs", machine="living", segment_bytes=1000)
appended(journal, range(40))
drain(make_shipper(journal, FakeDestination()))
appended(journal, range(40))
print(journal.stem, flush=True)
sys.stdin.read()
"""


def test_a_living_processs_files_are_its_own(house):
    """Shipped or not, and however far over the bound they are."""
    with start_program(LIVING, house.folder) as living:
        stem = living.stdout.readline().strip()
        before = house.left(stem)
        assert len(before) > 5
        assert house.enforce(0) == 0
        assert house.left(stem) == before
        living.kill()
    assert house.enforce(0) == len(before)
    assert house.left(stem) == []


def test_nothing_stays_of_a_stem_without_segments(house):
    """Its cursors and its lock go with the last segment."""
    house.leave("a-1-2")
    house.leave("b-1-2", dead=False, shipped=3)
    house.enforce(0)
    left = {path.name for path in house.folder.iterdir()}
    assert {name for name in left if not name.startswith(house.journal.stem)} == set()


def test_nothing_stays_of_a_stem_that_was_given_up_in_our_care(house):
    """The shipper finds that it is through, and the rest goes with it."""
    house.leave("a-1-2")
    age(house.folder)
    house.adopter.scan()
    assert house.enforce(0) == 3
    drain(house.shipper)
    assert [path.name for path in house.folder.iterdir() if path.name.startswith("a-")] == []


def test_a_file_that_cannot_be_deleted_ends_nothing(house, monkeypatch):
    """The next ones are tried."""
    house.leave("a-1-2", dead=False, shipped=3)
    stuck = segment_path(house.folder, "a-1-2", 1)
    stuck.unlink()
    stuck.mkdir()
    (stuck / "x").write_bytes(b"x" * 5000)
    assert house.enforce(0) == 2
    (stuck / "x").unlink()
    stuck.rmdir()
