from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiveobs.journal.cursors import CursorFile, CursorState, Position, load_cursor
from fiveobs.journal.locks import StemLock
from fiveobs.journal.segments import (
    FileSegment,
    FoundSegment,
    MemorySegment,
    segment_files,
    segment_path,
    stem_name,
)
from tests.support.shipping import open_descriptors, program, start_program


def test_a_segment_is_found_by_the_name_it_was_given(tmp_path):
    """Stems with dots and numbers beyond a million come back as they were; others do not count."""
    for stem, number in [("b.local-7-8", 2), ("b.local-7-8", 1_234_567), ("a-1-2", 1)]:
        segment_path(tmp_path, stem, number).touch()
    for name in ("a-1-2.lock", "a-1-2.logs.cursor", "a-1-2.01.log", "a-1-2.000001.log\n", "x.log"):
        (tmp_path / name).touch()
    found = [(stem, number) for stem, number, _ in segment_files(tmp_path)]
    assert found == [("a-1-2", 1), ("b.local-7-8", 2), ("b.local-7-8", 1_234_567)]
    assert [number for _, number, _ in segment_files(tmp_path, "b.local-7-8")] == [2, 1_234_567]
    assert segment_files(tmp_path / "nowhere") == []


@settings(deadline=None)
@given(st.text(max_size=100))
def test_any_machine_id_makes_a_usable_stem(machine):
    """A stem is a file name that leads back to itself, whatever the machine is called."""
    stem = stem_name(machine, 12, 34)
    with tempfile.TemporaryDirectory() as folder:
        segment_path(Path(folder), stem, 1).touch()
        assert [found for found, _, _ in segment_files(Path(folder))] == [stem]


def test_a_line_is_in_the_file_when_append_returns(tmp_path):
    """Another reader of the file sees the line at once."""
    segment = FileSegment(tmp_path / "s.000001.log", 1)
    segment.append(b"one\n")
    assert segment.path.read_bytes() == b"one\n"
    assert segment.read(0, 100) == b"one\n"
    segment.close()


def test_a_short_write_leaves_no_half_line(tmp_path, monkeypatch):
    """What was written of a line that does not fit is taken back, and the append fails."""
    segment = FileSegment(tmp_path / "s.000001.log", 1)
    segment.append(b"whole\n")

    def write_half(fd, content):
        return os.write(fd, content[: len(content) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(segment, "_write", write_half)
        with pytest.raises(OSError, match="only 4 of 9 bytes"):
            segment.append(b"too long\n")
    assert segment.path.read_bytes() == b"whole\n"
    segment.append(b"next\n")
    assert segment.path.read_bytes() == b"whole\nnext\n"
    segment.close()


def test_a_closed_segment_reads_as_empty_and_closes_once(tmp_path):
    """Its descriptor may be another file's by then, so it is neither read nor closed again."""
    segment = FileSegment(tmp_path / "s.000001.log", 1)
    segment.append(b"one\n")
    fd = segment._fd
    segment.close()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    try:
        assert other == fd
        assert segment.read(0, 100) == b""
        segment.sync()
        segment.close()
        segment.abandon()
        os.fstat(other)
    finally:
        os.close(other)


def test_a_deleted_file_stays_readable_and_is_noticed(tmp_path):
    """What was accepted can be shipped even after somebody has removed the file."""
    segment = FileSegment(tmp_path / "s.000001.log", 1)
    segment.append(b"one\n")
    assert not segment.gone()
    segment.path.unlink()
    assert segment.gone()
    assert segment.read(0, 100) == b"one\n"
    segment.path.write_bytes(b"somebody else's\n")
    assert segment.gone()
    segment.close()


def test_a_found_segment_keeps_no_descriptor(tmp_path):
    """A dead process's file is opened for each read; one that is gone reads as empty."""
    path = tmp_path / "s.000001.log"
    path.write_bytes(b"one\ntwo\n")
    segment = FoundSegment(path, 1)
    before = open_descriptors()
    assert segment.read(4, 100) == b"two\n"
    assert segment.size == 8
    assert open_descriptors() == before
    path.unlink()
    assert (segment.read(0, 100), segment.size) == (b"", 0)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(0, 900), st.integers(1, 900))
def test_memory_goes_to_a_file_at_the_same_offsets(contents, offset, limit):
    """Any read of the file gives what the memory gave."""
    with tempfile.TemporaryDirectory() as folder:
        memory = MemorySegment(3, 10_000)
        for each in contents:
            memory.append(each + b"\n")
        file = memory.to_file(Path(folder) / "s.000003.log")
        assert (file.number, file.size, memory.lines) == (3, memory.size, len(contents))
        assert file.read(offset, limit) == memory.read(offset, limit)
        file.close()


def test_memory_replaces_what_an_earlier_try_has_left(tmp_path):
    """A half-written file of the same number does not keep memory from going to disk."""
    path = tmp_path / "s.000001.log"
    path.write_bytes(b"ha")
    memory = MemorySegment(1, 100)
    memory.append(b"one\n")
    memory.to_file(path).close()
    assert path.read_bytes() == b"one\n"


def test_memory_has_a_bound():
    """What does not fit is refused whole."""
    memory = MemorySegment(1, 8)
    memory.append(b"1234567\n")
    assert not memory.has_room(1)
    with pytest.raises(OSError, match="more than 8 bytes"):
        memory.append(b"\n")
    assert memory.read(0, 100) == b"1234567\n"


# --- cursors ---

STATES = st.builds(
    CursorState,
    st.builds(Position, st.integers(1, 2**40), st.integers(0, 2**62)),
    st.integers(0, 2**62),
    st.integers(0, 2**62),
)


@settings(deadline=None)
@given(st.lists(STATES, min_size=1, max_size=5))
def test_a_cursor_comes_back_as_it_was_last_saved(states):
    """Shorter states leave nothing of longer ones."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.logs.cursor"
        with contextlib.closing(CursorFile(path)) as file:
            for state in states:
                file.save(state)
                assert load_cursor(path) == state


@settings(deadline=None)
@given(st.binary(max_size=60) | st.sampled_from([b"[1,2,3]", b"[0,0,0,0]", b"[1,-5,0,0]"]))
def test_a_damaged_cursor_starts_at_the_beginning(content):
    """Any content gives a usable state; without one, everything is shipped again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.logs.cursor"
        path.write_bytes(content)
        state = load_cursor(path)
        assert state.position >= Position(1, 0)
        assert state == CursorState() or content.lstrip().startswith(b"[")


@pytest.mark.parametrize("content", [b"[Infinity,0,0,0]", b"[" * 100_000, b"null", b""])
def test_a_hostile_cursor_starts_at_the_beginning(tmp_path, content):
    """Nothing that a cursor file holds can end a scan."""
    (tmp_path / "c").write_bytes(content)
    assert load_cursor(tmp_path / "c") == CursorState()


def test_a_closed_cursor_writes_no_more(tmp_path):
    """A delivery that ends after the close must not overwrite what the next owner has saved."""
    path = tmp_path / "s.logs.cursor"
    late = CursorFile(path)
    late.save(CursorState(Position(1, 10), 1, 0))
    late.close()
    with contextlib.closing(CursorFile(path)) as owner:
        owner.save(CursorState(Position(1, 90), 9, 0))
    late.save(CursorState(Position(1, 20), 2, 0))
    assert load_cursor(path).position == Position(1, 90)


def test_a_deleted_cursor_is_written_again(tmp_path):
    """A cursor that somebody removed comes back with the next save."""
    path = tmp_path / "s.logs.cursor"
    with contextlib.closing(CursorFile(path)) as file:
        file.save(CursorState())
        path.unlink()
        assert file.is_missing()
        file.save(CursorState(Position(2, 3), 4, 5))
    assert load_cursor(path) == CursorState(Position(2, 3), 4, 5)


# --- locks ---

HELD = """
import sys
from pathlib import Path
from fiveobs.journal.locks import StemLock
print(StemLock(Path(sys.argv[1])).is_held_elsewhere())
"""
HOLD = """
import sys
from pathlib import Path
from fiveobs.journal.locks import StemLock
lock = StemLock(Path(sys.argv[1]))
print(lock.acquire(create=True), flush=True)
sys.stdin.read()
"""
FORK = """
import os, signal, sys
from pathlib import Path
from fiveobs.journal.locks import StemLock
lock = StemLock(Path(sys.argv[1]))
assert lock.acquire(create=True)
if os.fork() == 0:
    print(os.getpid(), lock.is_held_elsewhere(), StemLock(lock.path).is_held_elsewhere())
    lock.abandon()
    print(StemLock(lock.path).is_held_elsewhere(), flush=True)
    signal.pause()
else:
    sys.stdin.readline()
    os._exit(0)
"""


def test_the_kernel_gives_a_dead_owners_lock_back(tmp_path):
    """While a process lives its stem is taken; after SIGKILL it is not."""
    path = tmp_path / "s.lock"
    lock = StemLock(path)
    with start_program(HOLD, path) as owner:
        assert owner.stdout.readline() == "True\n"
        assert lock.is_held_elsewhere()
        assert not lock.acquire(create=True)
        owner.kill()
    assert not lock.is_held_elsewhere()
    assert lock.acquire(create=False)
    lock.release()


def test_a_fork_does_not_inherit_the_lock(tmp_path):
    """A child sees its parent's lock as another's, cannot give it back, and does not keep it."""
    path = tmp_path / "s.lock"
    with start_program(FORK, path) as owner:
        child, *held = owner.stdout.readline().split()
        try:
            assert [*held, owner.stdout.readline()] == ["True", "True", "True\n"]
            assert StemLock(path).is_held_elsewhere()
            owner.stdin.close()
            assert owner.wait(10) == 0
            assert not StemLock(path).is_held_elsewhere()
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_a_second_look_does_not_give_our_own_lock_back(tmp_path):
    """However the path is spelled: closing any descriptor of the file would release it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    own = StemLock(tmp_path / "real" / "s.lock")
    assert own.acquire(create=True)
    for path in (own.path, tmp_path / "link" / "s.lock", tmp_path / "real" / ".." / "link/s.lock"):
        other = StemLock(path)
        assert not other.acquire(create=True)
        assert other.is_held_elsewhere()
        other.release()
    assert program(HELD, own.path) == "True"
    own.release()
    assert program(HELD, own.path) == "False"


def test_a_removed_lock_file_is_no_lock(tmp_path):
    """The owner notices, and takes a new one that others see."""
    lock = StemLock(tmp_path / "s.lock")
    assert lock.acquire(create=True)
    assert lock.is_intact()
    lock.path.unlink()
    assert not lock.is_intact()
    lock.release()
    assert lock.acquire(create=True)
    assert program(HELD, lock.path) == "True"
    lock.release(remove=True)
    assert not lock.path.exists()
    assert not lock.acquire(create=False)
