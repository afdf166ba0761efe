from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiveobs.journal import reader as reader_module
from fiveobs.journal.cursors import CursorFile, CursorState, Position, load_cursor
from fiveobs.journal.reader import CHUNK_BYTES, Reader, StemFiles
from fiveobs.journal.records import WANTS, glance, is_log
from fiveobs.journal.segments import MemorySegment, segment_path
from tests.support.journals import line


class Memory:
    """A source of segments in memory."""

    def __init__(self, *contents: bytes) -> None:
        self.segments = {}
        for content in contents:
            self.add(content)

    def add(self, content: bytes) -> None:
        segment = MemorySegment(len(self.segments) + 1, 1 << 40)
        segment.append(content)
        self.segments[segment.number] = segment

    def segment(self, number):
        return self.segments.get(number)

    def last_number(self):
        return max(self.segments, default=0)

    def origin(self):
        return {}


def read(source, state=None, path=None):
    return Reader(source, is_log, CursorFile(path), state or CursorState())


def take_all(reader, max_records=10, max_bytes=1_000_000):
    """Read and commit to the end; the lines."""
    taken = []
    while True:
        batch = reader.next_batch(max_records, max_bytes)
        reader.commit(batch.start, batch.end, delivered=len(batch.lines), dropped=0)
        if not batch.lines:
            return taken
        taken += batch.lines


# A piece of a segment: a wanted record, one of another track, or damage.
PIECES = st.one_of(
    st.builds(lambda n, x: line(n, data={"x": "x" * x}), st.integers(1, 99), st.integers(0, 300)),
    st.builds(lambda n: line(n, "envelope"), st.integers(1, 99)),
    st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"") + b"\n"),
)
SEGMENTS = st.lists(st.tuples(st.lists(PIECES, max_size=8), st.booleans()), max_size=5)


@settings(deadline=None)
@given(SEGMENTS, st.integers(1, 5), st.integers(1, 800), st.integers(1, 64), st.data())
def test_every_wanted_line_is_read_once_and_in_order(segments, records, size, chunk, data):
    """Whatever lies between them: rotations, empty segments, damage, torn ends; after restarts too.

    The sums agree with what is there at each moment.
    """
    contents = [b"".join(pieces) + (line(1)[:50] if torn else b"") for pieces, torn in segments]
    wanted = [each[:-1] for pieces, _ in segments for each in pieces if is_log(each)]
    saved = reader_module.CHUNK_BYTES
    reader_module.CHUNK_BYTES = chunk
    try:
        source = Memory(*contents)
        state = CursorState()
        taken = []
        while True:
            reader = read(source, CursorState(state.position, state.delivered, state.dropped))
            assert reader.pending() == len(wanted) - len(taken)
            assert reader.has_pending() == (len(taken) < len(wanted))
            batch = reader.next_batch(records, size)
            assert len(batch.lines) <= records
            assert len(batch.lines) <= 1 or sum(map(len, batch.lines)) <= size
            if not data.draw(st.integers(0, 4)):
                reader.rewind(batch.start)
                assert reader.next_batch(records, size).lines == batch.lines
            taken += batch.lines
            reader.commit(batch.start, batch.end, delivered=len(batch.lines), dropped=0)
            state = reader._state
            if not batch.lines:
                break
    finally:
        reader_module.CHUNK_BYTES = saved
    assert taken == wanted
    assert reader.sums() == (len(wanted), 0)


def test_lines_longer_than_a_chunk_are_read_whole():
    """A record of any length comes out as it went in, alone if it is over the batch's bytes."""
    long = [line(n, data={"x": "x" * size}) for n, size in enumerate((300_000, 3_000_000, 1), 1)]
    reader = read(Memory(b"".join(long)))
    assert [reader.next_batch(10, 1000).lines for _ in range(4)] == [
        [long[0][:-1]],
        [long[1][:-1]],
        [long[2][:-1]],
        [],
    ]


def test_a_long_line_does_not_join_a_batch_that_has_no_room_for_it():
    """The bytes of a batch are kept to across chunks, too."""
    lines = [line(n, data={"x": "x" * 1000}) for n in range(300)]
    lines.append(line(300, data={"x": "x" * CHUNK_BYTES}))
    reader = read(Memory(b"".join(lines)))
    assert len(reader.next_batch(1000, CHUNK_BYTES * 2).lines) == 300
    assert len(reader.next_batch(1000, CHUNK_BYTES * 2).lines) == 1


def test_damage_without_an_end_is_passed_over(monkeypatch):
    """Garbage longer than any record costs neither the lines after it nor much memory."""
    monkeypatch.setattr(reader_module, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(reader_module, "CHUNK_BYTES", 100)
    garbage = b"\0" * 50_000
    reader = read(Memory(line(1) + garbage + b"\n" + line(2), garbage, line(3)))
    assert [each + b"\n" for each in take_all(reader)] == [line(1), line(2), line(3)]
    assert reader.pending() == 0


def test_a_torn_last_line_stays_unread_until_it_is_whole():
    """Half a record is never handed out."""
    whole = line(1)
    source = Memory(whole[:-1])
    reader = read(source)
    assert reader.next_batch(10, 1000).lines == []
    source.segments[1].append(b"\n" + line(2)[:20])
    assert take_all(reader) == [whole[:-1]]


def test_a_reader_waits_at_the_end_and_follows_the_rotation():
    """An empty newest segment is no reason to run ahead of it."""
    source = Memory(line(1), b"")
    reader = read(source)
    assert len(take_all(reader)) == 1
    assert reader.position == Position(2, 0)
    source.segments[2].append(line(2))
    source.add(b"")
    source.add(line(3))
    assert [each + b"\n" for each in take_all(reader)] == [line(2), line(3)]
    assert reader.position == Position(4, len(line(3)))


def test_a_segment_given_up_behind_the_cursor_costs_only_itself():
    """Lines before it are still shipped, and every line is counted once."""
    source = Memory(*(line(n) * 10 for n in range(1, 5)))
    reader = read(source)
    first = reader.next_batch(4, 10_000)
    assert reader.skip_segment(3) == 10
    assert reader.skip_segment(3) == 0
    reader.commit(first.start, first.end, delivered=4, dropped=0)
    assert reader.pending() == 6 + 10 + 10
    del source.segments[3]
    assert len(take_all(reader)) == 26
    assert reader.sums() == (30, 10)
    assert reader.skip_segment(3) == 0


def test_the_last_segment_can_be_given_up_too():
    """There is nothing pending then, and nothing is counted twice."""
    reader = read(Memory(line(1) * 3, line(2) * 2))
    assert reader.skip_segment(2) == 2
    assert (reader.pending(), reader.has_pending()) == (3, True)
    assert len(take_all(reader)) == 3
    assert (reader.pending(), reader.has_pending(), reader.sums()) == (0, False, (3, 2))


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_batch_overtaken_by_the_bound_is_counted_as_delivered(ahead):
    """What was counted as dropped while it was on its way counts as delivered when it arrives."""
    source = Memory(line(1) * 5, line(2) * 5)
    reader = read(source)
    batches = [reader.next_batch(5, 10_000) for _ in range(2)]
    assert [batch.start for batch in batches] == [Position(1, 0), Position(2, 0)]
    assert reader.skip_segment(ahead + 1) == 5
    for batch in batches:
        reader.commit(batch.start, batch.end, delivered=4, dropped=1)
    assert reader.sums() == (8, 2)
    assert reader.pending() == 0


def test_a_batch_of_the_next_segment_is_not_taken_for_the_one_given_up():
    """A batch that starts at a segment's end belongs to the segment its lines are in."""
    reader = read(Memory(line(1), line(2) * 3))
    take = reader.next_batch(1, 1000)
    reader.commit(take.start, take.end, delivered=1, dropped=0)
    batch = reader.next_batch(10, 10_000)
    assert reader.skip_segment(1) == 0
    reader.commit(batch.start, batch.end, delivered=3, dropped=0)
    assert reader.sums() == (4, 0)


def test_rewinding_goes_no_further_back_than_asked():
    """Batches that await their commit are not read twice when a later one fails."""
    reader = read(Memory(line(1) * 3))
    held, failed = reader.next_batch(1, 1000), reader.next_batch(1, 1000)
    reader.rewind(failed.start)
    assert reader.next_batch(1, 1000).start == held.end
    reader.rewind()
    assert reader.next_batch(1, 1000).start == held.start


def test_the_cursor_is_on_disk_after_each_commit(tmp_path):
    """A killed process's successor goes on behind the last committed line, with the sums."""
    path = tmp_path / "s.logs.cursor"
    reader = read(Memory(line(1) * 4), path=path)
    reader.next_batch(1, 1000)
    assert load_cursor(path) == CursorState()
    reader.commit(Position(), Position(1, len(line(1))), delivered=0, dropped=1)
    assert load_cursor(path) == CursorState(Position(1, len(line(1))), 0, 1)
    path.unlink()
    reader.keep()
    assert load_cursor(path) == CursorState(Position(1, len(line(1))), 0, 1)
    reader.close()
    reader.commit(Position(1, 1), Position(1, 2 * len(line(1))), delivered=1, dropped=0)
    assert load_cursor(path).delivered == 0


# --- what a dead process left ---


def write(folder, *contents, stem="s-1-2"):
    for number, content in enumerate(contents, 1):
        segment_path(folder, stem, number).write_bytes(content)
    return StemFiles(folder, stem)


def test_files_are_read_with_gaps_and_torn_ends(tmp_path):
    """Missing numbers and unfinished last lines are passed over."""
    write(tmp_path, line(1) + b'{"id', line(2), b"", line(4) + line(5)[:-1])
    segment_path(tmp_path, "s-1-2", 2).unlink()
    files = StemFiles(tmp_path, "s-1-2")
    assert files.last_number() == 4
    reader = read(files)
    assert [each + b"\n" for each in take_all(reader)] == [line(1), line(4)]
    assert not reader.has_pending()


def test_a_file_that_cannot_be_read_now_is_not_skipped(tmp_path, monkeypatch):
    """Too many open files, a disk error: the lines stay where they are until it is over."""
    files = write(tmp_path, line(1), line(2))
    reader = read(files)

    def refuse(path, *_):
        raise OSError(24, "Too many open files", path)

    with monkeypatch.context() as patch:
        patch.setattr(
            "fiveobs.journal.segments.os", SimpleNamespace(**{**vars(os), "open": refuse})
        )
        with pytest.raises(OSError, match="Too many"):
            reader.next_batch(10, 1000)
        with pytest.raises(OSError, match="Too many"):
            reader.has_pending()
    assert len(take_all(reader)) == 2


def test_the_first_line_tells_the_origin(tmp_path):
    """``worker.started`` carries the resource; without it nothing is known."""
    resource = {"host.id": "h"}
    started = line(1, "worker.started", data={"resource": resource})
    assert write(tmp_path, started).origin() == resource
    for number, content in enumerate([b"", b"x\n", line(1), line(1, data={"resource": 1})]):
        assert write(tmp_path, content, stem=f"t{number}-1-2").origin() == {}
    assert StemFiles(tmp_path, "none-1-2").origin() == {}


@pytest.mark.parametrize("track", WANTS)
@given(
    st.lists(
        st.sampled_from(
            [
                b'{"id":"a-1","seq":1,"timestamp":"t","event_type":"job.started","data":{}}',
                b'{"id":"a-2","seq":2,"timestamp":"t","event_type":"job.completed","sampled":true}',
                b'{"id":"a-3","seq":3,"timestamp":"t","event_type":"envelope","data":{"id":"x"}}',
                b'{"id":"a-4","seq":4,"timestamp":"t","event_type":"metric","data":{}}',
                b'{"id":"a-5","seq":5,"timestamp":"t","event_type":"log","message":"{\\"id\\":\\""}',
                b"garbage",
                b"",
            ]
        ),
        min_size=1,
    )
)
def test_a_glance_never_contradicts_a_close_look(track, lines):
    """Where a chunk is judged as a whole, each of its lines is judged the same."""
    verdict = glance(WANTS[track], b"".join(line + b"\n" for line in lines))
    assert verdict is None or all(WANTS[track](line) is verdict for line in lines)
