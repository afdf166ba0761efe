"""What the monitor reads of a journal folder, whatever happens to the files meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fiveobs.journal.locks import StemLock
from fiveobs.journal.segments import segment_path
from fiveobs.monitor.ingest.follower import Follower, Piece, Place
from tests.support.journals import line, write_segment

STEM = "host-1-1767323045000000"


class Reader:
    """A follower whose pieces count as stored once they are read."""

    def __init__(self, home: Path, stored: Place | None = None) -> None:
        self.places = {} if stored is None else {STEM: stored}
        self.now = 0.0
        self.home = home
        self.reports: list[tuple[str, str]] = []
        self.follower = Follower(
            home / "journal",
            lambda stems: self.places,
            report=lambda *what: self.reports.append(what),
            clock=lambda: self.now,
        )

    def read(self, max_bytes: int = 1 << 20) -> list[Piece]:
        pieces = self.follower.read(max_bytes)
        for piece in pieces:
            self.follower.moved(piece.stem, piece.end)
        self.now += 10.0  # the folder is listed anew
        return pieces

    def contents(self) -> list[bytes]:
        return [piece.content for piece in self.read()]


@pytest.fixture
def reader(fiveobs_home: Path) -> Reader:
    return Reader(fiveobs_home)


def held(home: Path) -> StemLock:
    """A living process's lock."""
    path = home / "journal" / f"{STEM}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    found = StemLock(path)
    assert found.acquire(create=True)
    return found


@pytest.fixture
def lock(fiveobs_home: Path) -> Iterator[StemLock]:
    """Hold the journal's lock for as long as the test lasts."""
    found = held(fiveobs_home)
    yield found
    found.release()


def test_a_folder_that_is_not_there_yet_holds_nothing(reader: Reader) -> None:
    """A monitor may be started before the first worker."""
    assert reader.read() == []


def test_a_file_is_read_as_it_grows(reader: Reader) -> None:
    """Each line comes once, from where the last reading ended."""
    write_segment(reader.home, STEM, 1, line(1))
    assert reader.contents() == [line(1)]
    assert reader.contents() == []
    write_segment(reader.home, STEM, 1, line(2), line(3))
    (piece,) = reader.read()
    assert piece.content == line(2) + line(3)
    assert piece.start == piece.begin == Place(1, len(line(1)))


def test_what_is_not_told_to_be_stored_is_read_again(reader: Reader) -> None:
    """A transaction that failed loses nothing."""
    write_segment(reader.home, STEM, 1, line(1))
    first = reader.follower.read(1 << 20)
    assert reader.follower.read(1 << 20) == first


@pytest.mark.usefixtures("lock")
def test_a_line_that_is_being_written_waits_for_its_end(reader: Reader) -> None:
    """Half a line of a living process is neither read nor damage."""
    write_segment(reader.home, STEM, 1, line(1), line(2)[:20])
    assert reader.contents() == [line(1)]
    assert reader.contents() == []
    write_segment(reader.home, STEM, 1, line(2)[20:])
    assert reader.contents() == [line(2)]


@pytest.mark.usefixtures("lock")
def test_rotation_leads_from_one_file_to_the_next(reader: Reader) -> None:
    """The piece from the new file follows the place where the old one ended."""
    write_segment(reader.home, STEM, 1, line(1))
    reader.read()
    write_segment(reader.home, STEM, 2, line(2))
    (piece,) = reader.read()
    assert (piece.content, piece.damage) == (line(2), "")
    assert (piece.start, piece.begin) == (Place(1, len(line(1))), Place(2))


def test_several_files_at_once_are_read_in_order(reader: Reader) -> None:
    """A journal that was written while no monitor ran is read from its first file to its last."""
    for number in (1, 2, 3):
        write_segment(reader.home, STEM, number, line(number))
    assert [reader.contents() for _ in range(4)] == [[line(1)], [line(2)], [line(3)], []]


def test_a_new_journal_is_found(reader: Reader) -> None:
    """A process that starts late, and one whose files appear late, are read from the start."""
    write_segment(reader.home, STEM, 1, line(1))
    reader.read()
    write_segment(reader.home, "late-2-1767323046000000", 1, line(7))
    assert reader.contents() == [line(7)]


@pytest.mark.parametrize("has_next", [True, False])
def test_a_torn_line_is_damage_once_nothing_can_follow_it(
    reader: Reader, has_next: bool, request: pytest.FixtureRequest
) -> None:
    """A process that died in the middle of a line leaves it to be kept and counted."""
    write_segment(reader.home, STEM, 1, line(1), b'{"id":"torn')
    if has_next:
        request.getfixturevalue("lock")
        write_segment(reader.home, STEM, 2, line(2))
    assert reader.contents() == [line(1)]
    (piece,) = reader.read()
    assert (piece.content, piece.damage) == (b'{"id":"torn', "the line has no end")
    assert reader.contents() == ([line(2)] if has_next else [])


def test_a_file_that_was_deleted_unread_is_damage(reader: Reader) -> None:
    """The gap is told, with the segments that it is made of, and reading goes on behind it."""
    write_segment(reader.home, STEM, 4, line(4))
    (gap,) = reader.read()
    assert (gap.start, gap.end, gap.content) == (Place(1), Place(4), b"")
    assert gap.damage == (
        "segment 1 to 3: deleted before its end was read; nobody knows how many bytes"
    )
    assert reader.contents() == [line(4)]


def test_a_file_deleted_after_the_folder_was_listed_is_damage_next_time(reader: Reader) -> None:
    """It is not mistaken for one that has been read to its end."""
    for number in (1, 2):
        write_segment(reader.home, STEM, number, line(number))
    reader.follower.read(0)
    found = reader.follower._followed[STEM]
    segment_path(reader.home / "journal", STEM, 1).unlink()
    assert reader.follower._next(found, 1 << 20) is None
    assert "segment 1" in reader.read()[0].damage
    assert reader.contents() == [line(2)]


def test_reading_goes_on_at_the_stored_place(fiveobs_home: Path) -> None:
    """After a restart the store says where."""
    write_segment(fiveobs_home, STEM, 1, line(1), line(2))
    reader = Reader(fiveobs_home, stored=Place(1, len(line(1))))
    assert reader.contents() == [line(2)]


def test_a_reading_is_bounded_and_everybody_has_a_turn(reader: Reader) -> None:
    """A journal of megabytes does not keep a small one waiting, nor fill the memory."""
    busy = line(1, message="x" * 1000)
    write_segment(reader.home, "a-busy", 1, *[busy] * 2000)
    write_segment(reader.home, "z-calm", 1, line(5))
    seen: list[str] = []
    for _ in range(4):
        pieces = reader.read(100_000)
        seen += [piece.stem for piece in pieces]
        assert sum(len(piece.content) for piece in pieces) <= 200_000
    assert "z-calm" in seen


def test_a_line_longer_than_a_chunk_is_read_whole(reader: Reader) -> None:
    """Chunks grow until a line ends."""
    long = line(1, message="x" * 3_000_000)
    write_segment(reader.home, STEM, 1, long, line(2))
    assert b"".join(reader.contents() + reader.contents()) == long + line(2)


def test_a_journal_that_has_ended_is_not_opened_again(reader: Reader) -> None:
    """Once its lock is gone and all is read it costs nothing, until a file is added."""
    living = held(reader.home)
    write_segment(reader.home, STEM, 1, line(1))
    reader.read()
    living.release(remove=True)
    reader.read()
    assert all(journal.is_done for journal in reader.follower._followed.values())
    write_segment(reader.home, STEM, 1, line(2))
    write_segment(reader.home, STEM, 2, line(3))
    assert reader.contents() + reader.contents() == [line(2), line(3)]


# --- what goes wrong with one journal stays with it ---


def test_a_journal_that_cannot_be_read_keeps_no_other_one_waiting(reader: Reader) -> None:
    """A folder by such a name, say: it is reported once with what to do, and the others go on."""
    odd = segment_path(reader.home / "journal", "a-1-1", 1)
    odd.mkdir(parents=True)
    write_segment(reader.home, STEM, 1, line(1))
    assert reader.contents() == [line(1)]
    write_segment(reader.home, STEM, 1, line(2))
    assert reader.contents() == [line(2)]
    ((cause, message),) = reader.reports
    assert cause == "journal"
    assert message.startswith(f"{odd}: Is a directory; the other journals go on.")


def test_a_journal_that_can_be_read_again_is_read(reader: Reader) -> None:
    """It is tried again, after longer and longer pauses."""
    odd = segment_path(reader.home / "journal", STEM, 1)
    odd.mkdir(parents=True)
    for _ in range(5):
        assert reader.read() == []
    odd.rmdir()
    write_segment(reader.home, STEM, 1, line(1))
    tries = 1
    while reader.contents() != [line(1)]:
        tries += 1
        assert tries < 10
    assert len(reader.reports) == 1


def test_a_journal_deleted_whole_is_damage_as_far_as_it_was_not_read(reader: Reader) -> None:
    """Its only file is gone: how many bytes were seen in it is told, once."""
    write_segment(reader.home, STEM, 1, line(1))
    assert reader.contents() == [line(1)]
    path = write_segment(reader.home, STEM, 1, line(2), line(3))
    reader.follower.read(0)  # sees how large it is
    path.unlink()
    reader.now += 10.0
    (gap,) = reader.read()
    assert (gap.start, gap.end, gap.content) == (Place(1, len(line(1))), Place(2), b"")
    size = len(line(2) + line(3))
    assert gap.damage == f"segment 1: deleted before its end was read; at least {size} bytes"
    assert reader.read() == []


def test_several_files_deleted_at_once_are_damage_together(reader: Reader) -> None:
    """The bytes of all of them are told."""
    paths = [write_segment(reader.home, STEM, number, line(number)) for number in (1, 2, 3)]
    reader.follower.read(0)
    for path in paths:
        path.unlink()
    reader.now += 10.0
    (gap,) = reader.read()
    size = sum(len(line(number)) for number in (1, 2, 3))
    assert gap.damage == f"segment 1 to 3: deleted before its end was read; at least {size} bytes"


def test_a_journal_deleted_while_the_store_fails_is_damage_all_the_same(reader: Reader) -> None:
    """A transaction that failed forgets where the reading was, not what there was to read."""
    path = write_segment(reader.home, STEM, 1, line(1))
    reader.follower.read(1 << 20)
    reader.follower.forget()
    path.unlink()
    reader.now += 10.0
    (gap,) = reader.read()
    assert f"at least {len(line(1))} bytes" in gap.damage


def test_a_journal_deleted_after_it_was_read_is_forgotten(reader: Reader) -> None:
    """Nothing was lost, so nothing is told."""
    path = write_segment(reader.home, STEM, 1, line(1))
    reader.read()
    reader.read()
    path.unlink()
    assert reader.read() == []
    assert reader.follower._followed == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")
def test_a_torn_line_of_a_killed_process_is_damage_although_its_lock_file_stays(
    reader: Reader,
) -> None:
    """The kernel gives the lock back; the file is there until somebody adopts the journal."""
    living = held(reader.home)
    write_segment(reader.home, STEM, 1, line(1), b'{"id":"torn')
    assert [reader.contents(), reader.contents()] == [[line(1)], []]
    living.release()
    assert living.path.exists()
    reader.read()
    (piece,) = reader.read()
    assert (piece.content, piece.damage) == (b'{"id":"torn', "the line has no end")


def test_a_line_that_still_grows_is_not_torn_whoever_holds_the_lock(reader: Reader) -> None:
    """A lock held on another machine may be none here: a line must rest before it is damage."""
    held(reader.home).release()
    write_segment(reader.home, STEM, 1, b'{"id"')
    for part in (b":", b"1", b","):
        assert reader.read() == []
        write_segment(reader.home, STEM, 1, part)
    write_segment(reader.home, STEM, 1, line(1))
    assert reader.contents() == [b'{"id":1,' + line(1)]
