"""A journal, its shippers and its disk in any order: every record is accounted for."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fiveobs.exceptions import DeliveryError
from tests.support.journals import append, line
from tests.support.shipping import (
    Clock,
    FakeDestination,
    drain,
    full_disk,
    make_journal,
    make_shipper,
)

EVENTS = st.sampled_from(["log", "job.completed", "metric", "envelope", "job.progress"])
OUTCOMES = st.sampled_from(
    [0, 0, 1, 100, DeliveryError("no"), DeliveryError("x", permanent=True), ValueError("bug")]
)
TRACKS = ("logs", "metrics", "errors")


class JournalMachine(RuleBasedStateMachine):
    """A journal with three shippers, on a disk that comes and goes."""

    @initialize(segment=st.integers(300, 3000), memory=st.integers(1000, 5000))
    def begin(self, segment, memory):
        self.home = tempfile.TemporaryDirectory()
        self.folder = Path(self.home.name) / "journal"
        self.disk = None
        self.journal = make_journal(
            self.folder, *TRACKS, segment_bytes=segment, memory_bytes=memory
        )
        self.clock = Clock()
        self.destinations = {track: FakeDestination(max_records=4) for track in TRACKS}
        self.shippers = {
            track: make_shipper(
                self.journal,
                self.destinations[track],
                track,
                clock=self.clock,
                export_interval_s=5 if track == "metrics" else None,
            )
            for track in TRACKS
        }
        self.number = 0
        self.closed = False

    @rule(kind=EVENTS, size=st.sampled_from([0, 0, 10, 300, 2000, 9000]))
    def append(self, kind, size):
        self.number += 1
        append(self.journal, line(self.number, kind, data={"x": "x" * size}))

    @rule(track=st.sampled_from(TRACKS), outcomes=st.lists(OUTCOMES, max_size=3))
    def ship(self, track, outcomes):
        self.destinations[track].script.extend(outcomes)
        self.shippers[track]._turn()
        self.destinations[track].script.clear()

    @rule(track=st.sampled_from(TRACKS), poison=st.integers(2, 5))
    def ship_with_poison(self, track, poison):
        self.destinations[track].poison = lambda text: len(text) % poison == 0
        self.shippers[track]._turn()
        self.destinations[track].poison = lambda _: False

    @rule(error=st.sampled_from([None, DeliveryError("no"), DeliveryError("no", permanent=True)]))
    def export(self, error):
        if error is not None:
            self.destinations["metrics"].export_errors.append(error)
        self.clock.now += 400
        self.shippers["metrics"]._turn()
        self.destinations["metrics"].export_errors.clear()

    @rule(seconds=st.sampled_from([1, 400]))
    def wait(self, seconds):
        self.clock.now += seconds

    @rule(which=st.floats(0, 1))
    def give_up(self, which):
        self.journal.give_up_segment(1 + int(which * (self.journal.last_number() - 1)))

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

    @rule()
    def delete_the_folder(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    @precondition(lambda self: self.number > 10)
    @rule()
    def close(self):
        self.journal.close()
        self.closed = True

    @invariant()
    def everything_is_accounted_for(self):
        journal = self.journal
        assert journal._memory_bytes() <= journal._settings.memory_bytes
        assert journal.accepted("events") == self.number
        for track, reader in journal.readers.items():
            if self.closed:
                continue  # its files are closed: what is pending cannot be counted here any more
            sums = reader.sums()
            dropped = journal.dropped(track)
            assert journal.accepted(track) == sums.delivered + reader.pending() + dropped

    def teardown(self):
        if not hasattr(self, "home"):
            return
        if self.disk is not None:
            self.disk.__exit__(None, None, None)
        if not self.closed:
            self.ship_the_rest()
        self.journal.close()
        self.home.cleanup()

    def ship_the_rest(self):
        self.clock.now += 400
        for track, shipper in self.shippers.items():
            drain(shipper)
            drain(shipper)
            journal, reader = self.journal, self.journal.readers[track]
            assert reader.position == journal.end()
            assert journal.accepted(track) == reader.sums().delivered + journal.dropped(track)
            assert len(set(self.destinations[track].taken)) >= reader.sums().delivered


JournalMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_everything_is_accounted_for_at_any_time = JournalMachine.TestCase
