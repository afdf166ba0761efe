"""What a journal's files say of its sums, while its process lives and when it has died."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fiveobs.cli._accounts import DEAD, FINISHED, StemAccount, account
from fiveobs.exceptions import DeliveryError
from fiveobs.journal.segments import TALLY_SUFFIX, segment_files
from fiveobs.journal.tally import TallyFile, load_tally
from fiveobs.journal.writer import Journal
from tests.support.journals import append, line
from tests.support.shipping import (
    Clock,
    FakeDestination,
    appended,
    drain,
    full_disk,
    make_journal,
    make_shipper,
)

TRACKS = ("logs", "metrics", "errors")
EVENTS = st.sampled_from(["log", "job.completed", "metric", "envelope", "job.progress"])
OUTCOMES = st.lists(
    st.sampled_from([0, 0, 1, DeliveryError("no"), DeliveryError("x", permanent=True)]), max_size=3
)


def only(folder: Path) -> StemAccount:
    """The account of the one stem there is."""
    (found,) = account(folder)
    return found


def four(stem: StemAccount, track: str) -> tuple[int, int, int, int]:
    """Accepted, delivered, pending, dropped; they must be known to add up."""
    sums = stem.tracks[track]
    assert sums.adds_up, (track, sums)
    assert sums.counted_stems == 1, (track, sums)
    return sums.accepted, sums.delivered, sums.pending, sums.dropped


def after_a_kill(journal: Journal) -> StemAccount:
    """What its files say if its process dies at this moment."""
    assert journal.folder is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "journal")
        shutil.copytree(journal.folder, folder)  # nobody holds the copy's lock
        found = only(folder)
    assert found.state == DEAD
    return found


class DiskMachine(RuleBasedStateMachine):
    """A journal with shippers on a disk that comes and goes; its files are looked at each time."""

    @initialize(segment=st.integers(300, 3000), memory=st.integers(1000, 5000))
    def begin(self, segment, memory):
        self.home = tempfile.TemporaryDirectory()
        folder = Path(self.home.name, "journal")
        self.journal = make_journal(folder, *TRACKS, segment_bytes=segment, memory_bytes=memory)
        self.destinations = {track: FakeDestination(max_records=4) for track in TRACKS}
        self.shippers = {
            track: make_shipper(self.journal, self.destinations[track], track, clock=Clock())
            for track in TRACKS
        }
        self.number = 0
        self.disk = None

    @rule(kind=EVENTS, size=st.sampled_from([0, 0, 10, 300, 2000, 9000]))
    def append(self, kind, size):
        self.number += 1
        append(self.journal, line(self.number, kind, after_s=0, data={"x": "x" * size}))

    @rule(track=st.sampled_from(TRACKS), outcomes=OUTCOMES)
    def ship(self, track, outcomes):
        self.destinations[track].script.extend(outcomes)
        self.shippers[track]._resume_at = 0.0
        self.shippers[track]._turn()
        self.destinations[track].script.clear()

    @rule()
    def turn_the_disk_on_or_off(self):
        if self.disk is None:
            self.disk = full_disk()
            self.disk.__enter__()
        else:
            self.disk.__exit__(None, None, None)
            self.disk = None

    @rule()
    def maintain(self):
        self.journal.maintain()

    @rule(count=st.integers(1, 3))
    def lose(self, count):
        self.journal.lose("errors", count)

    @rule()
    def remove_a_file_that_was_read(self):
        files = segment_files(self.journal.folder)  # none, if that of a full disk was removed
        if files and files[0][1] < self.journal.oldest_unread():
            self.journal.give_up_segment(files[0][1])

    @invariant()
    def the_files_say_what_the_process_knows(self):
        journal = self.journal
        found = only(journal.folder)
        lost, pending = journal.lost["events"], journal.pending_events()
        assert four(found, "events") == (self.number, self.number - pending - lost, pending, lost)
        for track, reader in journal.readers.items():
            sums = reader.sums().delivered, reader.pending(), journal.dropped(track)
            assert four(found, track) == (journal.accepted(track), *sums)

    @invariant()
    def a_kill_costs_what_was_in_memory_only(self):
        journal = self.journal
        found = after_a_kill(journal)
        lost = journal.lost["events"] + journal.pending_events()
        assert four(found, "events") == (self.number, self.number - lost, 0, lost)
        for track, reader in journal.readers.items():
            accepted, delivered, pending, dropped = four(found, track)
            assert (accepted, delivered) == (journal.accepted(track), reader.sums().delivered)
            in_memory = reader.pending() - pending
            assert in_memory >= 0
            assert dropped == journal.dropped(track) + in_memory

    def teardown(self):
        if not hasattr(self, "home"):
            return
        try:
            self.end()
        finally:
            if self.disk is not None:
                self.disk.__exit__(None, None, None)
            self.home.cleanup()

    def end(self):
        """The disk may be full at that moment; no file is left if the last one was removed."""
        self.journal.close()
        for found in account(self.journal.folder):
            lost = self.journal.lost["events"]
            assert four(found, "events") == (self.number, self.number - lost, 0, lost)
            for track in TRACKS:
                assert four(found, track)[3] == self.journal.dropped(track)


DiskMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[phase for phase in Phase if phase is not Phase.shrink],
)


class TestFilesSayTheSums(DiskMachine.TestCase):
    """A living, a killed and an ended process's sums are known from its files alone."""


def test_a_kill_on_a_full_disk_is_counted_to_the_record(tmp_path):
    """Lines that were in memory only are dropped, and those on disk are pending."""
    journal = make_journal(tmp_path, "logs")
    appended(journal, range(1, 11))
    with full_disk():
        appended(journal, range(11, 31))
        found = after_a_kill(journal)
    assert four(found, "events") == (30, 10, 0, 20)
    assert four(found, "logs") == (30, 0, 10, 20)
    journal.close()


def test_a_kill_amid_the_move_to_disk_counts_no_line_twice(tmp_path):
    """A file that was written from memory, and not yet noted, holds the lines that it holds."""
    journal = make_journal(tmp_path, "logs", memory_bytes=8 * 400)
    with full_disk():
        appended(journal, range(1, 7))
    noted = (tmp_path / f"{journal.stem}{TALLY_SUFFIX}").read_bytes()
    assert journal._move_oldest_memory()
    before = journal.pending_events()
    assert before > 0
    (tmp_path / f"{journal.stem}{TALLY_SUFFIX}").write_bytes(noted)
    found = after_a_kill(journal)
    assert four(found, "events") == (6, 6 - before, 0, before)
    assert four(found, "logs") == (6, 0, 6 - before, before)
    journal.close()


def test_the_end_on_a_full_disk_is_counted_to_the_record(tmp_path):
    """What the disk does not take at the end is dropped, whatever was delivered from memory."""
    journal = make_journal(tmp_path, "logs")
    appended(journal, range(1, 11))
    with full_disk():
        appended(journal, range(11, 31))
        journal.close()
    found = only(tmp_path)
    assert four(found, "events") == (30, 10, 0, 20)
    assert four(found, "logs") == (30, 0, 10, 20)
    assert found.removed_files == 0


def test_a_line_after_the_end_is_counted_as_dropped(tmp_path):
    """A thread that outlives the journal's close is told nothing, and its line is not forgotten."""
    journal = make_journal(tmp_path, "logs")
    appended(journal, range(1, 11))
    journal.close()
    appended(journal, [11])
    assert four(only(tmp_path), "events") == (11, 10, 0, 1)
    assert four(only(tmp_path), "logs") == (11, 0, 10, 1)


def test_records_that_never_became_lines_are_counted_in_the_files(tmp_path):
    """What a full buffer has cost is in the sums after the process, too."""
    journal = make_journal(tmp_path, "traces")
    journal.lose("traces", 3)
    journal.close()
    assert four(only(tmp_path), "traces") == (3, 0, 0, 3)
    assert four(only(tmp_path), "events") == (0, 0, 0, 0)


def test_files_removed_after_their_delivery_stay_in_the_sums(tmp_path):
    """Accepted is known, and compared with the cursors, where the first files are gone."""
    journal = make_journal(tmp_path, "logs", segment_bytes=1000)
    shipper = make_shipper(journal, FakeDestination())
    appended(journal, range(1, 31))
    drain(shipper)
    removed = journal.oldest_unread() - 1
    assert removed > 2
    for number in range(1, removed + 1):
        journal.give_up_segment(number)
    journal.close()
    found = only(tmp_path)
    assert (found.state, found.removed_files) == (FINISHED, removed)
    assert found.lines < 30
    assert four(found, "events") == four(found, "logs") == (30, 30, 0, 0)


def test_a_deleted_tally_is_written_anew(tmp_path):
    """Maintenance puts it back, with all that was counted before."""
    journal = make_journal(tmp_path, "logs")
    with full_disk():
        appended(journal, range(1, 11))
        path = tmp_path / f"{journal.stem}{TALLY_SUFFIX}"
        path.unlink()
        journal.maintain()
        found = load_tally(path)
    assert found is not None
    assert (found.accepted, found.in_memory) == ({"events": 10, "logs": 10}, 10)
    journal.close()


def test_a_tally_that_cannot_be_written_disturbs_nothing(tmp_path):
    """A disk that refuses even that costs the count, not the line."""
    journal = make_journal(tmp_path, "logs")
    TallyFile.abandon(journal._tally)
    journal._tally._path = tmp_path / "absent" / "x.tally"
    with full_disk():
        appended(journal, range(1, 11))
    journal.maintain()
    assert only(tmp_path).tracks["events"].delivered == 10
    journal.close()


@pytest.mark.parametrize(
    "change",
    [
        {"accepted": {}},
        {"accepted": [1]},
        {"lost": {"events": -1}},
        {"place": [1]},
        {"place": [1, 2, 3]},
        {"in_memory": True},
        {"given_up": "1"},
    ],
)
def test_a_damaged_tally_is_as_an_absent_one(change, tmp_path):
    """The sums are then taken from lines and cursors alone."""
    journal = make_journal(tmp_path, "logs")
    appended(journal, range(1, 4))
    journal.close()
    path = tmp_path / f"{journal.stem}{TALLY_SUFFIX}"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    assert load_tally(path) is None
    assert four(only(tmp_path), "logs") == (3, 0, 3, 0)
